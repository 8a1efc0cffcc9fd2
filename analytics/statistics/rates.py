"""Counts per minute of observation, where participants differ in their rate and in how long they were observed."""

from typing import Any

import numpy as np

from analytics.statistics.intervals import MIN_UNITS, Estimate, mean_interval

Array = np.ndarray[Any, np.dtype[np.float64]]


def rate_per_minute(counts: Array, observed_s: Array) -> Estimate:
    """Events per minute over all participants: the sum of counts over the sum of time, with an interval.

    The interval is Student's t on the logarithm of the rate, with the linearized variance of a ratio over participants,
    so that it allows for any differences between them (no Poisson assumption) and never includes negative rates.

    Args:
        counts: (n,) events of each participant.
        observed_s: (n,) seconds for which each was observed; participants without any are left out.
    """
    seen = observed_s > 0
    counts, minutes = counts[seen], observed_s[seen] / 60
    n = len(counts)
    if not n:
        return Estimate(None, note="nobody was observed")
    rate = float(counts.sum() / minutes.sum())
    if n < MIN_UNITS:
        return Estimate(rate, note=f"no interval: {MIN_UNITS} participants are needed, got {n}")
    if rate == 0:
        return Estimate(rate, note="no interval: no event was observed")
    # Influence of each participant on log(rate); its mean is 0.
    influence = (counts - rate * minutes) / (rate * minutes.mean())
    on_log = mean_interval(influence)
    if on_log.low is None or on_log.high is None:
        return Estimate(rate, note=on_log.note)
    return Estimate(rate, float(rate * np.exp(on_log.low)), float(rate * np.exp(on_log.high)))
