"""Probabilities smoothed over time within a track, and labels that do not flicker."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import solve_banded


@dataclass(frozen=True)
class SmoothingConfig:
    """How much time and how much lead it takes to change the emotion of a track.

    Raises:
        ValueError: if a value is out of its range.
    """

    method: Literal["exponential_both_sides"] = "exponential_both_sides"  # the only one; stored beside the constant
    time_constant_s: float = 0.3  # weight of a neighbor falls to 37 % at this distance, on both sides
    max_reach_s: float = 1.0  # farther than this from any good face of the track, nothing is known
    min_lead: float = 0.1  # a new emotion must lead the present one by this probability

    def __post_init__(self) -> None:
        for name in ("time_constant_s", "max_reach_s"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        if not 0 <= self.min_lead < 1:
            raise ValueError(f"min_lead must be in [0, 1), got {self.min_lead}")


def smooth(
    track: np.ndarray, pts_s: np.ndarray, values: np.ndarray, weights: np.ndarray, config: SmoothingConfig
) -> np.ndarray:
    """Weighted mean over the neighbors in the same track, whose weight falls exponentially with distance in time.

    The kernel is symmetric: the whole video is known, so nothing lags behind.

    Args:
        track: (m,) whole numbers; rows of a track stand together.
        pts_s: (m,) seconds, not falling within a track.
        values: (m, k); rows of weight 0 may be NaN.
        weights: (m,), 0 or more: the time a row stands for, 0 if it must not count.
        config: the settings.

    Returns:
        (m, k) float64; NaN farther than `max_reach_s` from any row of the track that counts.
    """
    starts = _starts(track)
    fade = np.exp(-np.where(starts[1:], np.inf, np.diff(pts_s)) / config.time_constant_s)
    weighted = np.where(weights[:, None] > 0, values, 0) * weights[:, None]
    own = np.column_stack([weighted, weights])
    # A row's own share is in both running sums.
    total = _running_sum(own, fade) + _running_sum(own[::-1], fade[::-1])[::-1] - own
    # Far from all neighbors the sum may underflow to 0.
    known = (_distance_to_known(starts, pts_s, weights > 0) <= config.max_reach_s) & (total[:, -1] > 0)
    return np.where(known[:, None], total[:, :-1] / np.where(known, total[:, -1], 1)[:, None], np.nan)


def steady_labels(track: np.ndarray, probabilities: np.ndarray, min_lead: float) -> np.ndarray:
    """Labels that change only to one whose probability leads that of the present label by `min_lead`.

    Args:
        track: (m,) whole numbers; rows of a track stand together, in order of time.
        probabilities: (m, k), NaN rows where not known.
        min_lead: lead that a new label needs, in probability.

    Returns:
        (m,) int8 column of the label; -1 where not known.
    """
    if not len(track):
        return np.empty(0, np.int8)
    known = ~np.isnan(probabilities[:, 0])
    top = np.where(known, probabilities.argmax(1), -1)
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    fresh = _starts(track) | ~np.concatenate([[False], known[:-1]])
    labels = top.copy()
    # Rows whose best leads by enough take it whatever came before; only the others depend on the row before them.
    for row in np.flatnonzero(known & ~fresh & (first - second < min_lead)).tolist():
        present = labels[row - 1]
        if probabilities[row, top[row]] - probabilities[row, present] < min_lead:
            labels[row] = present
    return labels.astype(np.int8)


def _starts(track: np.ndarray) -> np.ndarray:
    """Whether each row is the first of its track."""
    return np.concatenate([np.ones(min(1, len(track)), bool), track[1:] != track[:-1]])


def _running_sum(own: np.ndarray, fade: np.ndarray) -> np.ndarray:
    """`sum[i] = own[i] + fade[i - 1] * sum[i - 1]`, solved as one bidiagonal system."""
    if not len(own):
        return own
    diagonals = np.ones((2, len(own)))
    diagonals[1, :-1] = -fade
    return np.asarray(solve_banded((1, 0), diagonals, own, check_finite=False))


def _distance_to_known(starts: np.ndarray, pts_s: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Time from each row to the nearest known row of its track; infinite if there is none."""
    group = np.cumsum(starts)
    distance = np.full(len(pts_s), np.inf)
    rows = np.flatnonzero(known)
    if not len(rows):
        return distance
    after = np.searchsorted(rows, np.arange(len(pts_s)))
    for nearest in (rows[np.maximum(after - 1, 0)], rows[np.minimum(after, len(rows) - 1)]):
        gap = np.where(group[nearest] == group, np.abs(pts_s[nearest] - pts_s), np.inf)
        distance = np.minimum(distance, gap)
    return distance
