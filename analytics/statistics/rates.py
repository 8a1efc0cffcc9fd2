"""Events per minute, where participants differ in their rate and in how long they were observed."""

import numpy as np
from numpy.typing import NDArray

from analytics.statistics.intervals import MIN_UNITS, Estimate, jackknife_reach, unequal_weights_note

Array = NDArray[np.float64]


def rate_per_minute(counts: Array, observed_s: Array) -> Estimate:
    """Events per minute over all participants: the sum of counts over the sum of time, with an interval.

    The interval is Student's t on the logarithm of the rate, with the variance of a ratio over participants, so that it
    allows for any differences between them (no Poisson assumption) and never includes negative rates. The influence of
    each participant is divided by one minus their share of the time, as in the jackknife; unequal shares lower the
    degrees of freedom.

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
    weights = minutes / minutes.sum()
    changes = (counts / counts.sum() - weights) / (1 - weights)
    reach = jackknife_reach((changes**2).sum(), weights)
    if reach is None:
        return Estimate(rate, note=unequal_weights_note(weights, "observed time"))
    if reach < 1e-12:
        return Estimate(rate, note="no interval: the values do not vary")
    return Estimate(rate, float(rate * np.exp(-reach)), float(rate * np.exp(reach)))
