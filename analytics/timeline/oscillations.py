"""Find where a measure of a person goes up and down repeatedly: a mouth that speaks, a head that nods or is shaken."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analytics.time_tolerance import is_longer, is_shorter

# A row is near a turning point if its value differs from it by at most this share of the smallest swing.
NEAR_SHARE = 0.2


@dataclass(frozen=True)
class OscillationRule:
    """Criteria of an oscillation. A swing is the change from one turning point to the next.

    Raises:
        ValueError: if a value is out of its range.
    """

    min_swing: float  # smallest change between two turning points
    min_swings: int  # smallest number of consecutive swings of an oscillation
    max_swing_s: float  # a swing that takes longer ends the oscillation
    min_mean_swing_s: float  # smallest mean duration of the swings; a faster oscillation is noise
    max_pause_s: float = 0.0  # oscillations that are separated by less time are joined

    def __post_init__(self) -> None:
        if not 0 <= self.min_mean_swing_s < self.max_swing_s < np.inf:
            raise ValueError(f"0 <= min_mean_swing_s < max_swing_s must hold, got {self}")
        if not (self.min_swing > 0 and self.min_swings >= 2 and self.max_pause_s >= 0):
            raise ValueError(f"min_swing > 0, min_swings >= 2 and max_pause_s >= 0 must hold, got {self}")


@dataclass(frozen=True)
class Swing:
    """The change of a measure from one turning point to the next."""

    start: int  # last row near the first turning point
    end: int  # first row near the second one
    size: float  # difference between the turning points


@dataclass(frozen=True, eq=False)
class RowSpans:
    """The first and the last row of each of n intervals, and how strong it is."""

    first: np.ndarray  # (n,) int64
    last: np.ndarray  # (n,) int64, inclusive
    strength: np.ndarray  # (n,) float64

    @classmethod
    def of(cls, spans: list[tuple[int, int, float]]) -> "RowSpans":
        """Intervals from their first row, last row and strength."""
        first, last, strength = zip(*spans, strict=True) if spans else ((), (), ())
        return cls(np.array(first, np.int64), np.array(last, np.int64), np.array(strength, float))


def find_oscillations(pts_s: np.ndarray, values: np.ndarray, rule: OscillationRule) -> RowSpans:
    """The intervals of one run in which `values` oscillates, from the start of the first swing to the end of the last.

    The strength is the median size of the swings.

    Args:
        pts_s: (m,) time of each row, increasing.
        values: (m,) the measure, all known.
        rule: what counts as an oscillation.
    """
    joined: list[list[Swing]] = []
    for series in _quick_series(pts_s, find_swings(pts_s, values, rule), rule):
        # The first swing has no time for which its first turning point was held, so that it does not count in the mean.
        least_s = rule.min_mean_swing_s * (len(series) - 1)
        if len(series) < rule.min_swings or is_shorter(float(pts_s[series[-1].end] - pts_s[series[0].end]), least_s):
            continue
        if joined and not is_longer(float(pts_s[series[0].start] - pts_s[joined[-1][-1].end]), rule.max_pause_s):
            joined[-1] += series
        else:
            joined.append(series)
    strength = [float(np.median([swing.size for swing in series])) for series in joined]
    return RowSpans.of([(series[0].start, series[-1].end, size) for series, size in zip(joined, strength, strict=True)])


def find_swings(pts_s: np.ndarray, values: np.ndarray, rule: OscillationRule) -> list[Swing]:
    """The swings between adjacent turning points, without the time for which the turning points are held.

    Noise decides which row of a still face is the turning point. From the row at which the change has reached
    `min_swing`, the turning points are therefore searched again within `max_swing_s`: the swing begins at the last row
    near the one before, and ends at the first row near the one after. Smaller changes in this time are no swings.

    >>> rule = OscillationRule(min_swing=1.0, min_swings=2, max_swing_s=0.3, min_mean_swing_s=0.0)
    >>> find_swings(np.arange(6) / 10, np.array([0.0, 0.1, 0.0, 1.5, 1.4, 1.6]), rule)
    [Swing(start=2, end=3, size=1.6)]
    """
    near = NEAR_SHARE * rule.min_swing
    swings: list[Swing] = []
    for first, last in itertools.pairwise(turning_points(values.tolist(), rule.min_swing)):
        time_s, change = pts_s[first : last + 1], np.abs(values[first : last + 1] - values[first])
        reached = int(np.argmax(change >= rule.min_swing))
        rows = np.flatnonzero(~is_longer(np.abs(time_s - time_s[reached]), rule.max_swing_s))
        before, after = change[rows[0] : reached + 1], change[reached : rows[-1] + 1]
        size = float(after.max() - before.min())
        if size >= rule.min_swing:
            start = int(rows[0] + np.flatnonzero(before <= before.min() + near)[-1])
            end = reached + int(np.argmax(after >= after.max() - near))
            swings.append(Swing(first + start, first + end, size))
    return swings


def turning_points(values: list[float], min_swing: float) -> list[int]:
    """The indices of alternating high and low points that differ by at least `min_swing` from one to the next.

    Of equal extremes the first is taken.

    >>> turning_points([0.0, 0.0, 1.0, 1.0, 0.9, 0.0], 0.5)
    [0, 2, 5]
    """
    turns: list[int] = []
    low = high = 0  # rows of the lowest and the highest value since the last turning point
    direction = 0  # direction of the current swing: 1 up, -1 down, 0 before the first one
    for i, value in enumerate(values):
        if value > values[high]:
            high = i
        if value < values[low]:
            low = i
        if direction <= 0 and value - values[low] >= min_swing:
            turns.append(low)
            direction, high = 1, i
        elif direction >= 0 and values[high] - value >= min_swing:
            turns.append(high)
            direction, low = -1, i
    if direction:
        turns.append(high if direction > 0 else low)
    return turns


def _quick_series(pts_s: np.ndarray, swings: list[Swing], rule: OscillationRule) -> Iterator[list[Swing]]:
    """The longest series of swings none of which takes longer than `max_swing_s`.

    The time for which a turning point is held counts as part of the swing that follows, except of the first swing.
    """
    series: list[Swing] = []
    for swing in swings:
        if series and is_longer(float(pts_s[swing.end] - pts_s[series[-1].end]), rule.max_swing_s):
            yield series
            series = []
        if series or not is_longer(float(pts_s[swing.end] - pts_s[swing.start]), rule.max_swing_s):
            series.append(swing)
    if series:
        yield series
