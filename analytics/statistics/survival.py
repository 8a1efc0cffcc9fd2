"""Duration of intervals, some of whose ends were not observed: Kaplan-Meier estimate, its median and interval."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analytics.statistics.intervals import MIN_UNITS, Estimate, jackknife_reach, unequal_weights_note

Array = NDArray[np.float64]


def kaplan_meier(duration_s: Array, ended: np.ndarray) -> tuple[Array, Array]:
    """The share of intervals that last longer than each time at which one ended.

    Args:
        duration_s: (n,) observed durations.
        ended: (n,) bool, False where observation stopped before the interval ended (right-censored).

    Returns:
        times `(k,)`, increasing, and the share `(k,)` that survives beyond each.

    >>> times, share = kaplan_meier(np.array([1.0, 2.0, 2.0, 4.0]), np.array([True, True, False, True]))
    >>> times.tolist(), share.tolist()
    ([1.0, 2.0, 4.0], [0.75, 0.5, 0.0])
    """
    times, count = np.unique(duration_s[ended], return_counts=True)
    share: Array = np.cumprod(1 - count / _at_risk(duration_s, times), dtype=np.float64).astype(np.float64)
    return times, share


def median_interval(duration_s: Array, ended: np.ndarray, clusters: Sequence[str]) -> Estimate:
    """The median duration with an interval, where intervals of one participant are not independent.

    The interval has the times at which one half lies within the limits of Kaplan-Meier's curve (Brookmeyer and
    Crowley). The limits are computed on the scale log(-log(share)) with Student's t and the variance over participants
    of their contributions to log(share). As in the jackknife, each contribution is divided by one minus the
    participant's share of the observed ends; unequal shares lower the degrees of freedom. If each participant has one
    interval, whose end was observed, the variance is Greenwood's times n / (n - 1). `high` is None if the upper limit
    never falls to one half before the last interval ends, where the variance is not defined. Where one half of the
    intervals survive from one end until the next, the median is the middle between them.

    Args:
        duration_s: (n,) as for `kaplan_meier`.
        ended: (n,)
        clusters: (n,) the participant of each interval.
    """
    if not len(duration_s):
        return Estimate(None, note="no median: no episode has an observed onset")
    times, share = kaplan_meier(duration_s, ended)
    median = _median(times, share)
    names, of_cluster = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    n = len(names)
    if median is None:
        return Estimate(None, note="no median: more than half outlast the observed time")
    if n < MIN_UNITS:
        return Estimate(median, note=f"no interval: {MIN_UNITS} participants are needed, got {n}")
    if (n_ended := len(np.unique(of_cluster[ended]))) < MIN_UNITS:
        return Estimate(median, note=f"no interval: ends in {MIN_UNITS} participants are needed, got {n_ended}")
    weights = np.bincount(of_cluster[ended], minlength=n) / ended.sum()
    squares = np.zeros(len(times))
    for k in range(n):
        squares += (_log_share_influence(duration_s, ended, of_cluster == k, times) / (1 - weights[k])) ** 2
    reach = jackknife_reach(squares, weights)
    if reach is None:
        return Estimate(median, note=unequal_weights_note(weights, "observed ends"))
    hazard = -np.log(np.clip(share, 1e-12, 1 - 1e-12))
    factor = np.exp(np.minimum(reach / hazard, 700))
    low = _first_at_most_half(times, np.exp(-hazard * factor))
    # At a share of 0, every influence is 0, as if the end of the last interval were certain.
    high = _first_at_most_half(times[share > 0], np.exp(-hazard / factor)[share > 0])
    if high is not None:
        return Estimate(median, low, max(high, median))
    reason = "the durations differ too little" if ended.all() else "too few ends were observed"
    return Estimate(median, low, note=f"no upper end: {reason}")


def _at_risk(duration_s: Array, times: Array) -> np.ndarray:
    """The number of intervals that last at least until each time."""
    at_risk: np.ndarray = len(duration_s) - np.searchsorted(np.sort(duration_s), times)
    return at_risk


def _log_share_influence(duration_s: Array, ended: np.ndarray, mine: np.ndarray, times: Array) -> Array:
    """The contribution of some intervals to -log(share) of all at each time, minus its expectation.

    The share is a product of 1 - ends / at_risk, so the derivative of -log(share) by the ends is 1 / (at_risk - ends).
    """
    at_risk, ends = _at_risk(duration_s, times), _count_at(duration_s[ended], times)
    own_ends, own_at_risk = _count_at(duration_s[mine & ended], times), _at_risk(duration_s[mine], times)
    remaining = np.where(at_risk > ends, at_risk - ends, np.inf)  # nobody remains at a share of 0, which is not used
    influence: Array = np.cumsum((own_ends - own_at_risk * ends / at_risk) / remaining)
    return influence


def _count_at(values: Array, times: Array) -> np.ndarray:
    """The number of values that equal each time."""
    ordered = np.sort(values)
    count: np.ndarray = np.searchsorted(ordered, times, "right") - np.searchsorted(ordered, times, "left")
    return count


def _median(times: Array, share: Array) -> float | None:
    first, below = _first_at_most_half(times, share), times[share < 0.5 - 1e-12]
    return first if first is None or not len(below) else (first + float(below[0])) / 2


def _first_at_most_half(times: Array, share: Array) -> float | None:
    below = np.flatnonzero(share <= 0.5 + 1e-12)
    return float(times[below[0]]) if len(below) else None
