"""Episodes: spans of time in which a track shows an emotion clearly, found with two thresholds."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EpisodeConfig:
    """When an emotion counts as shown. Two thresholds keep a probability near one of them from flickering.

    Raises:
        ValueError: if a value is out of its range.
    """

    on: float = 0.5  # begins where the smoothed probability reaches this
    off: float = 0.35  # ends where it falls below this
    max_gap_s: float = 0.3  # spans with a shorter break between them are one
    min_duration_s: float = 0.3  # then shorter spans are dropped: mostly noise of the classifier

    def __post_init__(self) -> None:
        if not 0 < self.off <= self.on <= 1:
            raise ValueError(f"0 < off <= on <= 1 must hold, got off={self.off}, on={self.on}")
        for name in ("max_gap_s", "min_duration_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Episodes:
    """Episodes of one emotion, one entry of each `(n,)` array per episode; spans are half-open."""

    first_row: np.ndarray  # int64, the row it begins with
    start_s: np.ndarray
    end_s: np.ndarray
    apex_s: np.ndarray  # time of the first highest value
    peak: np.ndarray
    mean: np.ndarray  # over time, less rows that are not known


def find_episodes(
    track: np.ndarray, start_s: np.ndarray, end_s: np.ndarray, values: np.ndarray, config: EpisodeConfig
) -> Episodes:
    """Spans from where `values` reach `on` to where they fall below `off`, are no longer known, or the track ends.

    Args:
        track: (m,) whole numbers; rows of a track stand together, in order of time.
        start_s: (m,) time at which the frame of each row is shown.
        end_s: (m,) time at which it stops being shown.
        values: (m,) smoothed probability, NaN where not known.
        config: the settings.
    """
    first, last = _runs(track, _is_on(track, values, config))
    apart = (track[first[1:]] != track[last[:-1]]) | (start_s[first[1:]] - end_s[last[:-1]] > config.max_gap_s)
    outer = np.ones(min(1, len(first)), bool)
    first, last = first[np.concatenate([outer, apart])], last[np.concatenate([apart, outer])]
    long_enough = end_s[last] - start_s[first] >= config.min_duration_s
    first, last = first[long_enough], last[long_enough]
    if not len(first):
        nothing = np.empty(0)
        return Episodes(first, nothing, nothing, nothing, nothing, nothing)
    row = _rows_between(first, last)
    episode = np.repeat(np.arange(len(first)), last - first + 1)
    begins = np.concatenate([[0], np.cumsum(last - first + 1)[:-1]])
    value, time_s = values[row], (end_s - start_s)[row]
    peak = np.fmax.reduceat(value, begins)
    apex_s = np.minimum.reduceat(np.where(value == peak[episode], start_s[row], np.inf), begins)
    time_s = np.where(np.isnan(value), 0, np.maximum(time_s, 1e-9))  # two frames may share one time
    mean = np.add.reduceat(np.nan_to_num(value) * time_s, begins) / np.add.reduceat(time_s, begins)
    return Episodes(first, start_s[first], end_s[last], apex_s, peak, mean)


def _is_on(track: np.ndarray, values: np.ndarray, config: EpisodeConfig) -> np.ndarray:
    """The state of the two thresholds at each row: that of the last row that was clearly on or off."""
    clearly_on = values >= config.on
    decided = clearly_on | ~(values >= config.off) | _changed(track)
    rows = np.arange(len(values))
    last_decided = np.maximum.accumulate(np.where(decided, rows, 0))
    is_on: np.ndarray = clearly_on[last_decided]
    return is_on


def _runs(track: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last row of each unbroken run of True within a track."""
    begins = np.flatnonzero(_changed(track) | _changed(state))
    last = np.append(begins, len(state))[1:] - 1
    on = state[begins]
    return begins[on], last[on]


def _changed(values: np.ndarray) -> np.ndarray:
    """Whether each row differs from the one before it; the first one does."""
    return np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]])


def _rows_between(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """All rows from `first` to `last`, episode after episode."""
    lengths = last - first + 1
    offsets = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    rows: np.ndarray = np.repeat(first, lengths) + offsets
    return rows
