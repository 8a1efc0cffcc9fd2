"""Episodes: intervals in which a track shows an emotion clearly, found with two thresholds (hysteresis)."""

from dataclasses import dataclass

import numpy as np

from analytics.time_tolerance import is_longer, is_shorter
from analytics.timeline.runs import after_gap, begins_run
from analytics.tracking.ranges import expand_ranges


@dataclass(frozen=True)
class EpisodeConfig:
    """Criteria of an episode. Two thresholds keep a probability near one of them from flickering.

    Raises:
        ValueError: if a value is out of its range.
    """

    on: float = 0.5  # an episode begins where the smoothed probability of the label reaches this value
    off: float = 0.35  # an episode ends where that probability falls below this value, or where the label changes
    max_gap_s: float = 0.3  # a gap of up to this length, without another label, does not end an episode
    min_duration_s: float = 0.3  # shorter episodes are dropped, because they are mostly noise of the classifier

    def __post_init__(self) -> None:
        if not 0 < self.off <= self.on <= 1:
            raise ValueError(f"0 < off <= on <= 1 must hold, got off={self.off}, on={self.on}")
        for name in ("max_gap_s", "min_duration_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Episodes:
    """Episodes of one emotion, one entry of each `(n,)` array per episode; intervals are half-open."""

    first_row: np.ndarray  # int64
    last_row: np.ndarray  # int64
    start_s: np.ndarray
    end_s: np.ndarray
    apex_s: np.ndarray  # (n,) time at which the probability is highest, for the first time
    peak: np.ndarray
    mean: np.ndarray  # (n,) mean probability over time, without rows where it is unknown


def find_episodes(
    track: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
    values: np.ndarray,
    is_other: np.ndarray,
    config: EpisodeConfig,
) -> Episodes:
    """Find the intervals from where `values` reach `on` to where they fall below `off` or are unknown.

    Gaps of up to `max_gap_s`, with or without a visible face, are bridged unless another emotion is shown in them, so
    that a track is never in two episodes at once. A longer gap without a visible face always ends an episode.

    Args:
        track: (m,) whole numbers; rows of a track are contiguous and ordered by time.
        start_s: (m,) time at which the frame of each row is first shown.
        end_s: (m,) time at which the next frame replaces it.
        values: (m,) smoothed probability, NaN where the emotion is not the label.
        is_other: (m,) bool, whether another emotion is the label.
        config: the settings.
    """
    segment = np.cumsum(begins_run(track) | after_gap(start_s, end_s, config.max_gap_s))
    first, last = _runs(segment, _is_on(segment, values, config))
    n_other = np.concatenate([[0], np.cumsum(is_other)])
    apart = (
        (track[first[1:]] != track[last[:-1]])
        | is_longer(start_s[first[1:]] - end_s[last[:-1]], config.max_gap_s)
        | (n_other[first[1:]] > n_other[last[:-1]])
    )
    outer = np.ones(min(1, len(first)), bool)
    first, last = first[np.concatenate([outer, apart])], last[np.concatenate([apart, outer])]
    long_enough = ~is_shorter(end_s[last] - start_s[first], config.min_duration_s)
    first, last = first[long_enough], last[long_enough]
    if not len(first):
        nothing = np.empty(0)
        return Episodes(first, last, nothing, nothing, nothing, nothing, nothing)
    episode, row = expand_ranges(first, last + 1)
    begins = np.concatenate([[0], np.cumsum(last - first + 1)[:-1]])
    value, time_s = values[row], (end_s - start_s)[row]
    peak = np.fmax.reduceat(value, begins)
    apex_s = np.minimum.reduceat(np.where(value == peak[episode], start_s[row], np.inf), begins)
    # Each row weighs at least a nanosecond, because two frames may have the same time.
    time_s = np.where(np.isnan(value), 0, np.maximum(time_s, 1e-9))
    mean = np.add.reduceat(np.nan_to_num(value) * time_s, begins) / np.add.reduceat(time_s, begins)
    return Episodes(first, last, start_s[first], end_s[last], apex_s, peak, mean)


def observed_ends(
    episodes: Episodes, shot: np.ndarray, start_s: np.ndarray, end_s: np.ndarray, is_known: np.ndarray, max_gap_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the onset and the offset of each episode were observed: `(n,)` bool each.

    An onset was observed if the same person had a label just before, in the same shot and without a gap of more than
    `max_gap_s`; an offset likewise just after. Otherwise the episode may have begun earlier or gone on for longer.

    Args:
        episodes: the episodes.
        shot: (m,) whole numbers that change with the track and at shot boundaries.
        start_s: (m,) as for `find_episodes`.
        end_s: (m,) as for `find_episodes`.
        is_known: (m,) bool, whether each row has a label.
        max_gap_s: longest gap.
    """
    unbroken = ~(begins_run(shot) | after_gap(start_s, end_s, max_gap_s))
    before = np.append(False, unbroken[1:] & is_known[:-1]) if len(shot) else unbroken
    after = np.append(unbroken[1:] & is_known[1:], False) if len(shot) else unbroken
    return before[episodes.first_row], after[episodes.last_row]


def _is_on(segment: np.ndarray, values: np.ndarray, config: EpisodeConfig) -> np.ndarray:
    """The state of the two thresholds at each row: that of the last row that was clearly on or off."""
    clearly_on = values >= config.on
    decided = clearly_on | ~(values >= config.off) | begins_run(segment)
    rows = np.arange(len(values))
    last_decided = np.maximum.accumulate(np.where(decided, rows, 0))
    is_on: np.ndarray = clearly_on[last_decided]
    return is_on


def _runs(segment: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last row of each unbroken run of True within a segment."""
    begins = np.flatnonzero(begins_run(segment) | begins_run(state))
    last = np.append(begins, len(state))[1:] - 1
    on = state[begins]
    return begins[on], last[on]
