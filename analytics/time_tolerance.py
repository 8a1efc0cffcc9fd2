"""Compare times, and durations with limits, so that rounding and the exact frame rate decide nothing."""

from typing import TypeVar

import numpy as np

from fer_models.frame_batch import ROUNDING_S

# Seconds between equal times; far below the time base of any container, far above the rounding errors of sums of times.
TIME_TOLERANCE_S = 1e-6
# Durations meet a limit up to this share of it and `ROUNDING_S`: three frames at 29.97 per second, which take 0.1001 s,
# or 0.101 s in whole milliseconds, count as 0.1 s, as at 30 per second.
LIMIT_TOLERANCE = 0.002

Seconds = TypeVar("Seconds", float, np.ndarray)


def is_later(time_s: Seconds, other_s: Seconds | float) -> Seconds:
    """Whether times lie after others; equal up to rounding errors is not later.

    >>> bool(is_later(0.1 + 0.2, 0.3)), bool(is_later(0.301, 0.3))
    (False, True)
    """
    return time_s > other_s + TIME_TOLERANCE_S  # type: ignore[return-value]


def is_longer(duration_s: Seconds, limit_s: float) -> Seconds:
    """Whether durations exceed `limit_s`; equal up to the tolerance is not longer.

    >>> bool(is_longer(3 * 1001 / 30000, 0.1)), bool(is_longer(4 / 30, 0.1))
    (False, True)
    """
    return duration_s > longest(limit_s)  # type: ignore[return-value]


def is_shorter(duration_s: Seconds, limit_s: float) -> Seconds:
    """Whether durations fall below `limit_s`; equal up to the tolerance is not shorter.

    >>> bool(is_shorter(1.1 - 0.8, 0.3)), bool(is_shorter(0.26, 0.3))
    (False, True)
    """
    return duration_s < shortest(limit_s)  # type: ignore[return-value]


def longest(limit_s: float) -> float:
    """The longest duration that counts as `limit_s`.

    >>> round(longest(0.3), 4)
    0.3016
    """
    return limit_s + LIMIT_TOLERANCE * limit_s + ROUNDING_S


def shortest(limit_s: float) -> float:
    """The shortest duration that counts as `limit_s`.

    >>> round(shortest(0.3), 4)
    0.2984
    """
    return limit_s - LIMIT_TOLERANCE * limit_s - ROUNDING_S
