"""Find blinks: short dips of the openness of the eyes between moments at which they are open."""

from dataclasses import dataclass

import numpy as np

from analytics.time_tolerance import is_longer, longest
from analytics.timeline.oscillations import RowSpans


@dataclass(frozen=True)
class BlinkRule:
    """Criteria of a blink.

    A blink lasts 100 to 400 ms (Soukupová and Čech, Real-Time Eye Blink Detection using Facial Landmarks, CVWW 2016).

    Raises:
        ValueError: if a value is out of its range.
    """

    max_duration_s: float = 0.4
    min_frames: int = 2  # a dip of one frame is noise
    closed_share: float = 0.7  # the eyes close to this share of how far they were open, or further
    open_share: float = 0.85  # a blink begins when they fall below this share, and ends when they are back at it
    # A blink begins with eyes open to this share of the person's median: closed and narrow eyes do not blink.
    min_open_share: float = 0.6

    def __post_init__(self) -> None:
        if not 0 < self.closed_share < self.open_share < 1:
            raise ValueError(f"0 < closed_share < open_share < 1 must hold, got {self}")
        if not 0 < self.max_duration_s < np.inf:
            raise ValueError(f"0 < max_duration_s must hold, got {self}")


def find_blinks(pts_s: np.ndarray, openness: np.ndarray, usual_openness: float, rule: BlinkRule) -> RowSpans:
    """The blinks in one run of rows; blinks that begin before the run or end after it are left out.

    How far the eyes are open around a row is the smaller of two highest values: that of the `max_duration_s` before
    it and that of the `max_duration_s` after it. The strength of a blink is the largest share by which the openness
    falls below that.

    Args:
        pts_s: (m,) time of each row, increasing.
        openness: (m,) openness of the eyes.
        usual_openness: the person's median openness.
        rule: what counts as a blink.
    """
    open_level = _open_level(pts_s, openness, rule.max_duration_s)
    share = openness / np.maximum(open_level, 1e-6)
    is_low = share < rule.open_share
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_low, [False]]).astype(np.int8)))
    spans: list[tuple[int, int, float]] = []
    for first, stop in edges.reshape(-1, 2).tolist():
        if first == 0 or stop == len(openness) or stop - first < rule.min_frames:
            continue
        level = open_level[first:stop].max()
        opens = min(openness[first - 1], openness[stop]) >= rule.open_share * level
        is_usual = level >= rule.min_open_share * usual_openness
        is_short = not is_longer(pts_s[stop] - pts_s[first], rule.max_duration_s)
        depth = 1 - share[first:stop].min()
        if opens and is_usual and is_short and depth >= 1 - rule.closed_share:
            spans.append((first, stop - 1, float(depth)))
    return RowSpans.of(spans)


def _open_level(pts_s: np.ndarray, openness: np.ndarray, window_s: float) -> np.ndarray:
    """The smaller of the highest values up to `window_s` before and after each row, both with the row itself."""
    rows = np.arange(len(pts_s))
    first = np.searchsorted(pts_s, pts_s - longest(window_s))
    stop = np.searchsorted(pts_s, pts_s + longest(window_s), side="right")
    # `reduceat` takes pairs of bounds; the value appended last keeps the bound len(pts_s) valid.
    padded = np.append(openness, -np.inf)
    before = np.maximum.reduceat(padded, np.column_stack([first, rows + 1]).ravel())[::2]
    after = np.maximum.reduceat(padded, np.column_stack([rows, stop]).ravel())[::2]
    level: np.ndarray = np.minimum(before, after)
    return level
