"""Find where a measure of a person goes up and down repeatedly: a mouth that speaks, a head that nods or is shaken."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analytics.timeline.time_tolerance import is_longer, is_shorter


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
        if not (self.min_swing > 0 and self.min_swings >= 1 and self.max_pause_s >= 0):
            raise ValueError(f"min_swing and min_swings must be more than 0, max_pause_s 0 or more, got {self}")


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


def unbroken_runs(part: np.ndarray, pts_s: np.ndarray, is_known: np.ndarray, max_step_s: float) -> list[np.ndarray]:
    """The rows of each run of known rows that are at most `max_step_s` apart, at least two rows each.

    Args:
        part: (m,) whole numbers, one for each part of a track without a shot boundary; its rows are contiguous.
        pts_s: (m,) time of each row, increasing within a part.
        is_known: (m,) bool.
        max_step_s: a longer step between known rows ends a run.
    """
    row = np.flatnonzero(is_known)
    is_new = (part[row][1:] != part[row][:-1]) | is_longer(np.diff(pts_s[row]), max_step_s)
    return [run for run in np.split(row, np.flatnonzero(is_new) + 1) if len(run) > 1]


def find_oscillations(pts_s: np.ndarray, values: np.ndarray, rule: OscillationRule) -> RowSpans:
    """The intervals of one run in which `values` oscillates, from the first to the last turning point.

    The strength is the median size of the swings.

    Args:
        pts_s: (m,) time of each row, increasing.
        values: (m,) the measure, all known.
        rule: what counts as an oscillation.
    """
    turns = turning_points(values.tolist(), rule.min_swing)
    spans: list[tuple[int, int, float]] = []
    for series in _quick_series(pts_s, turns, rule):
        least_s = rule.min_mean_swing_s * (len(series) - 1)
        if len(series) > rule.min_swings and not is_shorter(float(pts_s[series[-1]] - pts_s[series[0]]), least_s):
            spans.append((series[0], series[-1], float(np.median(np.abs(np.diff(values[series]))))))
    return RowSpans.of(_join(pts_s, spans, rule.max_pause_s))


def turning_points(values: list[float], min_swing: float) -> list[int]:
    """The indices of alternating high and low points that differ by at least `min_swing` from one to the next.

    Of equal extremes the first is taken, except where the first swing begins.

    >>> turning_points([0.0, 0.0, 1.0, 1.0, 0.9, 0.0], 0.5)
    [1, 2, 5]
    """
    turns: list[int] = []
    low = high = 0  # rows of the lowest and the highest value since the last turning point
    direction = 0  # direction of the current swing: 1 up, -1 down, 0 before the first one
    for i, value in enumerate(values):
        if value > values[high] or (direction == 0 and value == values[high]):
            high = i
        if value < values[low] or (direction == 0 and value == values[low]):
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


def _quick_series(pts_s: np.ndarray, turns: list[int], rule: OscillationRule) -> Iterator[list[int]]:
    """The series of turning points between which no swing takes longer than `max_swing_s`."""
    series: list[int] = []
    for turn in turns:
        if series and is_longer(float(pts_s[turn] - pts_s[series[-1]]), rule.max_swing_s):
            yield series
            series = []
        series.append(turn)
    yield series


def _join(pts_s: np.ndarray, spans: list[tuple[int, int, float]], max_pause_s: float) -> list[tuple[int, int, float]]:
    """Join intervals with a pause of up to `max_pause_s`; the strength is that of the stronger one."""
    joined: list[tuple[int, int, float]] = []
    for first, last, strength in spans:
        if joined and not is_longer(float(pts_s[first] - pts_s[joined[-1][1]]), max_pause_s):
            before = joined.pop()
            first, strength = before[0], max(before[2], strength)
        joined.append((first, last, strength))
    return joined
