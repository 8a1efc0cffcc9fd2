"""Smooth probabilities over time within a track, and derive labels that do not flicker."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from analytics.time_tolerance import is_longer
from analytics.timeline.runs import begins_run


@dataclass(frozen=True)
class SmoothingConfig:
    """Settings of smoothing, and of changes of a track's label.

    Raises:
        ValueError: if a value is out of its range.
    """

    # The only method so far; stored with the results, next to the time constant.
    method: Literal["exponential_both_sides"] = "exponential_both_sides"
    time_constant_s: float = 0.3  # at this distance in time, before and after, the weight of a neighbor falls to 37 %
    max_reach_s: float = 0.3  # labels extend at most this long before and after the frame of a good face
    # A new label needs a probability that exceeds that of the present label by at least this much.
    min_lead: float = 0.1

    def __post_init__(self) -> None:
        for name in ("time_constant_s", "max_reach_s"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        if not 0 <= self.min_lead < 1:
            raise ValueError(f"min_lead must be in [0, 1), got {self.min_lead}")


def smooth(
    track: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    config: SmoothingConfig,
) -> np.ndarray:
    """Average each row with its neighbors, weighted by time and by exp(-distance in time / time_constant_s).

    The kernel is symmetric: the whole video is known, so the result does not lag behind. A row that lasts longer than
    one time constant counts in full in its own mean, but no longer than that in the means of its neighbors, which it
    would outweigh.

    Args:
        track: (m,) whole numbers, one for each part of a track to smooth by itself; its rows are contiguous.
        start_s: (m,) time at which the frame of each row is first shown, non-decreasing within a track.
        end_s: (m,) time at which the next frame replaces it.
        values: (m, k); rows of weight 0 may be NaN.
        weights: (m,), 0 or more: the time that a row represents, 0 if it must not count.
        config: the settings.

    Returns:
        (m, k) float64; NaN for rows of weight 0 that do not lie wholly within `max_reach_s` before or after another.
    """
    starts = begins_run(track)
    fade = np.exp(-np.where(starts[1:], np.inf, np.diff(start_s)) / config.time_constant_s)
    values_and_one = np.column_stack([np.where(weights[:, None] > 0, values, 0), np.ones(len(weights))])
    own = values_and_one * weights[:, None]
    lent = values_and_one * np.minimum(weights, config.time_constant_s)[:, None]
    # Both running sums contain what the row lends.
    total = _running_sum(lent, fade) + _running_sum(lent[::-1], fade[::-1])[::-1] - 2 * lent + own
    # Far from all neighbors, the sum of weights may underflow to 0.
    in_reach = ~is_longer(_distance_to_known(starts, start_s, end_s, weights > 0), config.max_reach_s)
    known = in_reach & (total[:, -1] > 0)
    return np.where(known[:, None], total[:, :-1] / np.where(known, total[:, -1], 1)[:, None], np.nan)


def steady_labels(track: np.ndarray, probabilities: np.ndarray, min_lead: float) -> np.ndarray:
    """Label each row with the likeliest class, changing only to one that leads the present label by `min_lead`.

    Args:
        track: (m,) whole numbers, one for each part of a track that begins with a new label; rows ordered by time.
        probabilities: (m, k).
        min_lead: lead that a new label needs, in probability.

    Returns:
        (m,) int8 column of the label.
    """
    if not len(track):
        return np.empty(0, np.int8)
    top: np.ndarray = probabilities.argmax(1)
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    labels = top.copy()
    # Rows whose likeliest class leads by enough take it, whatever came before; only the others depend on earlier rows.
    for row in np.flatnonzero(~begins_run(track) & (first - second < min_lead)).tolist():
        present = labels[row - 1]
        if probabilities[row, top[row]] - probabilities[row, present] < min_lead:
            labels[row] = present
    return labels.astype(np.int8)


def _running_sum(own: np.ndarray, fade: np.ndarray) -> np.ndarray:
    """`sum[i] = own[i] + fade[i - 1] * sum[i - 1]`, for each column of `own`."""
    if not len(own):
        return own
    fades = [0.0, *fade.tolist()]
    sums = [
        list(accumulate(zip(column, fades, strict=True), lambda total, item: item[0] + item[1] * total, initial=0.0))[
            1:
        ]
        for column in own.T.tolist()
    ]
    return np.array(sums).T


def _distance_to_known(starts: np.ndarray, start_s: np.ndarray, end_s: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Time from the nearest known row of its track to the farther edge of each row; infinite if there is none."""
    rows, index, group = np.flatnonzero(known), np.arange(len(start_s)), np.cumsum(starts)
    if not len(rows):
        return np.full(len(start_s), np.inf)
    before = rows[np.maximum(np.searchsorted(rows, index, side="right") - 1, 0)]
    after = rows[np.minimum(np.searchsorted(rows, index), len(rows) - 1)]
    follows = (before <= index) & (group[before] == group)
    precedes = (after >= index) & (group[after] == group)
    since_s = np.where(follows, end_s - end_s[before], np.inf)
    until_s = np.where(precedes, start_s[after] - start_s, np.inf)
    distance: np.ndarray = np.fmin(since_s, until_s)  # the end of the only frame of a video is NaN
    return distance
