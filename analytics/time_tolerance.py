"""Compare durations with limits so that rounding of presentation times decides nothing."""

from typing import TypeVar

import numpy as np

# Seconds; far below the time base of any container, far above the rounding errors of sums of times.
TIME_TOLERANCE_S = 1e-6

Seconds = TypeVar("Seconds", float, np.ndarray)


def is_longer(duration_s: Seconds, limit_s: float) -> Seconds:
    """Whether durations exceed `limit_s`; equal up to the tolerance is not longer.

    >>> bool(is_longer(0.8 - 0.5, 0.3)), bool(is_longer(1.1 - 0.8, 0.3))
    (False, False)
    """
    return duration_s > limit_s + TIME_TOLERANCE_S  # type: ignore[return-value]


def is_shorter(duration_s: Seconds, limit_s: float) -> Seconds:
    """Whether durations fall below `limit_s`; equal up to the tolerance is not shorter.

    >>> bool(is_shorter(1.1 - 0.8, 0.3)), bool(is_shorter(0.8 - 0.5, 0.3))
    (False, False)
    """
    return duration_s < limit_s - TIME_TOLERANCE_S  # type: ignore[return-value]
