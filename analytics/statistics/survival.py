"""How long spans last when the end of some was not observed: the Kaplan-Meier estimate and its median."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def kaplan_meier(duration_s: Array, ended: np.ndarray) -> tuple[Array, Array]:
    """The share of spans that last longer than each time at which one ended.

    Args:
        duration_s: (n,) observed durations.
        ended: (n,) bool, False where the span was still going on when observation stopped (right-censored).

    Returns:
        times `(k,)`, rising, and the share `(k,)` that survives beyond each.

    >>> times, share = kaplan_meier(np.array([1.0, 2.0, 2.0, 4.0]), np.array([True, True, False, True]))
    >>> times.tolist(), share.tolist()
    ([1.0, 2.0, 4.0], [0.75, 0.5, 0.0])
    """
    times, count = np.unique(duration_s[ended], return_counts=True)
    at_risk = len(duration_s) - np.searchsorted(np.sort(duration_s), times)
    share: Array = np.cumprod(1 - count / at_risk, dtype=np.float64).astype(np.float64)
    return times, share


def median_duration(duration_s: Array, ended: np.ndarray) -> float | None:
    """The first time that at most half of the spans outlast; None if more than half still went on when last seen."""
    times, share = kaplan_meier(duration_s, ended)
    below = np.flatnonzero(share <= 0.5 + 1e-12)
    return float(times[below[0]]) if len(below) else None
