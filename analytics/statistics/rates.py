"""Events per minute, where participants differ in their rate and in how long they were observed."""

import numpy as np
from numpy.typing import NDArray

from analytics.statistics.intervals import MIN_UNITS, Estimate, t_quantile

# With fewer, as if fewer than three participants had been observed equally long, the quantile of Student's t exceeds
# 4.3 and grows steeply: on the logarithm, the limits of the interval would differ by orders of magnitude.
MIN_DEGREES_OF_FREEDOM = 2

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
    influence = (counts / counts.sum() - weights) / (1 - weights)
    error = float(np.sqrt((n - 1) / n * (influence**2).sum()))
    if error < 1e-12:
        return Estimate(rate, note="no interval: the values do not vary")
    degrees_of_freedom = 1 / float((weights**2).sum()) - 1
    if degrees_of_freedom < MIN_DEGREES_OF_FREEDOM:
        return Estimate(rate, note=f"no interval: one participant has {100 * weights.max():.0f} % of the observed time")
    reach = t_quantile(degrees_of_freedom) * error
    return Estimate(rate, float(rate * np.exp(-reach)), float(rate * np.exp(reach)))
