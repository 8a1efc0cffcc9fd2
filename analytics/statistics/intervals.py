"""Confidence intervals and tests for means, differences and dominance, and Holm's adjustment.

Every value passed in here belongs to one independent unit (a participant, or a video without participants); see
`analytics.statistics.clusters` for how the values of one participant become one value. Formulas, sources and simulated
coverage: docs/statistics.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
# With fewer independent units per group, no interval is given: none would hold its level, see docs/statistics.md.
MIN_UNITS = 5
# With fewer, as if fewer than three participants had contributed equally, the quantile of Student's t exceeds 4.3 and
# grows steeply: on a logarithmic scale, the limits of the interval would differ by orders of magnitude.
MIN_DEGREES_OF_FREEDOM = 2
MIN_DOMINANCE_UNITS = 2  # the order of single units says nothing about groups
# Values that differ by less are equal but for rounding errors: they are shares, probabilities or kappas.
ROUNDING = 1e-9

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An estimate with its interval and two-sided p-value; None where it cannot be given, and `note` says why."""

    estimate: float | None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    note: str = ""

    def within(self, least: float, most: float) -> "Estimate":
        """The same with its interval cut to possible values.

        >>> Estimate(0.9, 0.7, 1.1).within(-1, 1)
        Estimate(estimate=0.9, low=0.7, high=1, p_value=None, note='')
        """
        if self.low is None or self.high is None:
            return self
        low, high = (min(max(end, least), most) for end in (self.low, self.high))
        return replace(self, low=low, high=high)


def mean_interval(values: Array) -> Estimate:
    """The mean of `(n,)` values with Student's t interval.

    >>> found = mean_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    >>> round(found.low, 3), found.estimate, round(found.high, 3)
    (1.037, 3.0, 4.963)
    """
    if not len(values):
        return Estimate(None, note="no values")
    mean = float(values.mean())
    if len(values) < MIN_UNITS:
        return Estimate(mean, note=_too_few(len(values)))
    return _t_interval(mean, _standard_error(values), len(values) - 1)


def welch_difference(a: Array, b: Array) -> Estimate:
    """mean(a) - mean(b) of independent values, with Welch's t interval (unequal variances)."""
    if not len(a) or not len(b):
        return Estimate(None, note="no values")
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) < MIN_UNITS:
        return Estimate(difference, note=_too_few(min(len(a), len(b))))
    error_a, error_b = _standard_error(a), _standard_error(b)
    return _t_interval(difference, float(np.hypot(error_a, error_b)), _welch_df(error_a, len(a), error_b, len(b)))


def paired_difference(a: Array, b: Array) -> Estimate:
    """mean(a - b), where `a[i]` and `b[i]` belong to the same unit, with Student's t interval of the differences."""
    return mean_interval(a - b)


def cliffs_delta(a: Array, b: Array) -> Estimate:
    """P(a > b) - P(a < b) over all pairs of independent values, with Newcombe's score interval.

    The interval has the values of theta = (delta + 1) / 2 that lie within z standard errors of the estimate, where the
    variance is a function of theta (Newcombe's method 5). If the sample variance is larger than this variance, as in
    groups with very different spread, their geometric mean takes its place.
    """
    if not len(a) or not len(b):
        return Estimate(None, note="no values")
    if min(len(a), len(b)) < MIN_DOMINANCE_UNITS:
        return Estimate(None, note=_no_dominance(min(len(a), len(b))))
    sign = np.sign(a[:, None] - b)
    delta = float(sign.mean())
    if min(len(a), len(b)) < MIN_UNITS:
        return Estimate(delta, note=_too_few(min(len(a), len(b))))
    theta = (delta + 1) / 2
    expected = newcombe_variance(theta, len(a), len(b))
    observed = (_standard_error(sign.mean(axis=1)) ** 2 + _standard_error(sign.mean(axis=0)) ** 2) / 4
    inflation = np.sqrt(max(1.0, observed / expected)) if expected > 0 else 1.0

    def distance(other: float) -> float:
        """The distance from the estimate to `other`, in standard errors that hold if `other` is the true value."""
        variance = inflation * newcombe_variance(other, len(a), len(b))
        return abs(other - theta) / np.sqrt(variance) if variance > 0 else np.inf * (other != theta)

    low, high = (_last_within(distance, theta, end) for end in (0.0, 1.0))
    return Estimate(delta, 2 * low - 1, 2 * high - 1)


def newcombe_variance(theta: float, n_a: int, n_b: int) -> float:
    """The variance of the estimate of P(a > b) + P(a = b) / 2 if its value is `theta`: Newcombe's method 5."""
    n = (n_a + n_b) / 2 - 1
    return theta * (1 - theta) * (1 + n * (1 - theta) / (2 - theta) + n * theta / (1 + theta)) / (n_a * n_b)


def paired_dominance(a: Array, b: Array) -> Estimate:
    """P(a > b) - P(a < b) within pairs, with Tango's score interval for a difference of paired proportions."""
    n, above, below = len(a), int((a > b).sum()), int((a < b).sum())
    if not n:
        return Estimate(None, note="no values")
    if n < MIN_DOMINANCE_UNITS:
        return Estimate(None, note=_no_dominance(n))
    dominance = (above - below) / n
    if n < MIN_UNITS:
        return Estimate(dominance, note=_too_few(n))
    limit = _normal_quantile()
    low, high = (_tango_bound(above, below, n, side * limit) for side in (1, -1))
    return Estimate(dominance, low, high)


def tango_score(difference: float, above: int, below: int, n: int) -> float:
    """Tango's score statistic for the hypothesis that P(above) - P(below) is `difference`."""
    b = -above - below + (2 * n - above + below) * difference
    c = -below * difference * (1 - difference)
    p_below = (np.sqrt(max(b**2 - 8 * n * c, 0)) - b) / (4 * n)
    variance = n * (2 * p_below + difference * (1 - difference))
    distance = above - below - n * difference
    if variance <= 0:
        return 0.0 if distance == 0 else float(np.copysign(np.inf, distance))
    return float(distance / np.sqrt(variance))


def jackknife_reach(squares: Array, weights: Array) -> Array | None:
    """Half the length of the interval of an estimate that is pooled over units of unequal weight.

    The variance is that of the jackknife, and unequal weights lower the degrees of freedom of Student's t.

    Args:
        squares: (...) the sum over the n units of the squared change of the estimate where the unit is left out.
        weights: (n,) share of each unit in what the estimate rests on; their sum is 1.

    Returns:
        `(...)`; None with fewer than `MIN_DEGREES_OF_FREEDOM`, see `unequal_weights_note`.
    """
    degrees_of_freedom = 1 / float((weights**2).sum()) - 1
    if degrees_of_freedom < MIN_DEGREES_OF_FREEDOM:
        return None
    n = len(weights)
    return np.asarray(t_quantile(degrees_of_freedom) * np.sqrt((n - 1) / n * squares))


def unequal_weights_note(weights: Array, of_what: str) -> str:
    """The note of an estimate for which `jackknife_reach` is None."""
    return f"no interval: few participants have most of the {of_what}, one of them {100 * weights.max():.0f} %"


def holm(p_values: list[float | None]) -> list[float | None]:
    """Holm's step-down adjustment for the number of `p_values`; None counts as a test with p = 1, and stays None.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.04, 0.09, None, 0.09]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def _no_dominance(n: int) -> str:
    return f"no Cliff's delta: {MIN_DOMINANCE_UNITS} participants per group are needed, got {n}"


def _too_few(n: int) -> str:
    return f"no interval: {MIN_UNITS} participants per group are needed, got {n}"


def _standard_error(values: Array) -> float:
    """Standard error of the mean; exactly 0 for equal values, which rounding errors would hide."""
    return 0.0 if np.ptp(values) <= ROUNDING else float(values.std(ddof=1) / np.sqrt(len(values)))


def _welch_df(error_a: float, n_a: int, error_b: float, n_b: int) -> float:
    """Welch-Satterthwaite degrees of freedom; without any variance those of the smaller group."""
    total = error_a**2 + error_b**2
    if total == 0:
        return min(n_a, n_b) - 1
    return total**2 / (error_a**4 / (n_a - 1) + error_b**4 / (n_b - 1))


def _t_interval(estimate: float, error: float, df: float) -> Estimate:
    if error == 0:
        return Estimate(estimate, note="no interval: the values do not vary")
    from scipy.special import stdtr

    reach = t_quantile(df) * error
    p_value = float(2 * stdtr(df, -abs(estimate) / error))
    return Estimate(estimate, estimate - reach, estimate + reach, p_value)


def t_quantile(df: float) -> float:
    """The quantile of Student's t for a two-sided interval at `LEVEL`."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + LEVEL) / 2))


def _normal_quantile() -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + LEVEL) / 2))


def _last_within(distance: Callable[[float], float], start: float, end: float) -> float:
    """The value between `start` and `end` at which an increasing distance reaches the normal quantile; by bisection."""
    limit = _normal_quantile()
    for _ in range(50):
        middle = (start + end) / 2
        start, end = (middle, end) if distance(middle) <= limit else (start, middle)
    return (start + end) / 2


def _tango_bound(above: int, below: int, n: int, limit: float) -> float:
    """Find by bisection the difference at which the score statistic, which falls with it, crosses `limit`."""
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tango_score(middle, above, below, n) > limit else (low, middle)
    return (low + high) / 2
