"""Correct probabilities for a person's resting face before smoothing; off by default.

In log odds against neutral, what the resting face exceeds a neutral one by is subtracted: docs/statistics.md.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from analytics.tables.quantization import PROBABILITY_STEP
from analytics.time_tolerance import TIME_TOLERANCE_S, is_later, is_shorter
from fer_models.labels import EMOTIONS

BaselineMethod = Literal["none", "own_mean", "neutral_stretch"]
# Probabilities that were rounded to 0 are replaced by this value, because log(0) is infinite.
LEAST_P = PROBABILITY_STEP / 2
NEUTRAL = EMOTIONS.index("neutral")
# Log odds of an emotion in a resting face: neutral 0.70, each of the others 0.05. For comparison, the geometric mean of
# the packaged model over the neutral images of FER-2013 PublicTest that it classifies correctly is neutral 0.77 and the
# others 0.01 to 0.10.
ODDS_AT_REST = float(np.log(0.05 / 0.70))


@dataclass(frozen=True)
class BaselineConfig:
    """Settings of the search for a person's resting face.

    `own_mean` is for long recordings in which a person mostly shows little: the average face is taken as resting.
    `neutral_stretch` takes `span_s` of the video or, without it, the most neutral `stretch_s` of each track.

    Raises:
        ValueError: if a value is out of its range.
    """

    method: BaselineMethod = "none"
    span_s: tuple[float, float] | None = None  # start and end of a resting period, in player time
    # Length of the most neutral part of a track: longer than a blink or a word, short enough to occur.
    stretch_s: float = 2.0
    # Smallest mean p_neutral of such a part (not of `span_s`): a person who smiles throughout has no resting face.
    min_neutral: float = 1 / 3

    def __post_init__(self) -> None:
        if self.method not in get_args(BaselineMethod):
            raise ValueError(f"baseline must be one of {', '.join(get_args(BaselineMethod))}, got {self.method!r}")
        if self.span_s is not None and self.method != "neutral_stretch":
            raise ValueError(f"a span is for baseline neutral_stretch, not for {self.method}")
        if self.span_s is not None and not self.span_s[0] < self.span_s[1]:
            raise ValueError(f"the span must end after it starts, got {self.span_s[0]:g} to {self.span_s[1]:g} s")
        if not 0 <= self.min_neutral <= 1:
            raise ValueError(f"min_neutral must be in [0, 1], got {self.min_neutral}")
        if not 0 < self.stretch_s < np.inf:
            raise ValueError(f"stretch_s must be more than 0, got {self.stretch_s}")


@dataclass(frozen=True, eq=False)
class Baselines:
    """The resting face of each of t tracks; NaN for tracks without one, which are not corrected."""

    start_s: np.ndarray  # (t,) start of the time from which the resting face was taken
    end_s: np.ndarray  # (t,)
    probabilities: np.ndarray  # (t, 7) probabilities of the mean log odds in that time; rows sum to 1


def find_baselines(
    track: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
    probabilities: np.ndarray,
    counts: np.ndarray,
    config: BaselineConfig,
) -> Baselines:
    """Find the resting face of each track.

    Args:
        track: (m,) whole numbers from 0 without gaps; rows of a track are contiguous and ordered by time.
        start_s: (m,) time at which the frame of each row is first shown.
        end_s: (m,) time at which the next frame replaces it.
        probabilities: (m, 7).
        counts: (m,) bool; other rows are ignored and may be NaN.
        config: the settings.
    """
    bounds = np.searchsorted(track, np.arange(track[-1] + 2)) if len(track) else np.zeros(1, np.int64)
    n_tracks = len(bounds) - 1
    found = Baselines(np.full(n_tracks, np.nan), np.full(n_tracks, np.nan), np.full((n_tracks, len(EMOTIONS)), np.nan))
    for number, (first, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        row = first + np.flatnonzero(counts[first:stop])
        from_s, to_s = _time_at_rest(start_s[row], end_s[row], probabilities[row, NEUTRAL], config)
        from_s, to_s = np.maximum(start_s[row], from_s), np.minimum(end_s[row], to_s)
        taken = np.flatnonzero(is_later(to_s, from_s))
        if len(taken):
            found.start_s[number], found.end_s[number] = from_s[taken[0]], to_s[taken[-1]]
            odds, weights = _odds(probabilities[row[taken]]), (to_s - from_s)[taken]
            found.probabilities[number] = _from_odds(np.average(odds, axis=0, weights=weights))
    return found


def correct(track: np.ndarray, probabilities: np.ndarray, baselines: Baselines) -> np.ndarray:
    """Subtract the resting face of each track from probabilities `(m, 7)`; tracks without one are unchanged.

    The sum of each row stays, as the probability of a model's other classes does. A face that is its own baseline:

    >>> p = np.array([[0.6, 0.02, 0.02, 0.02, 0.02, 0.02, 0.3]])
    >>> correct(np.array([0]), p, Baselines(np.zeros(1), np.ones(1), p)).round(2).tolist()
    [[0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.71]]
    """
    excess = np.maximum(_odds(baselines.probabilities) - ODDS_AT_REST, 0)
    excess[:, NEUTRAL] = 0  # the log odds of neutral are 0 by definition
    has_baseline = ~np.isnan(baselines.start_s)[track]
    corrected = probabilities.copy()
    of_seven = _from_odds(_odds(probabilities[has_baseline]) - excess[track[has_baseline]])
    corrected[has_baseline] = of_seven * probabilities[has_baseline].sum(axis=1, keepdims=True)
    return corrected


def _time_at_rest(
    start_s: np.ndarray, end_s: np.ndarray, p_neutral: np.ndarray, config: BaselineConfig
) -> tuple[float, float]:
    """Start and end of the time in which the rows of a track that count are its baseline; equal without one."""
    if not len(start_s) or config.method == "none":
        return 0.0, 0.0
    if config.method == "own_mean":
        return -np.inf, np.inf
    if config.span_s is not None:
        return config.span_s
    # A stretch of `stretch_s` begins at each row, and counts if rows fill half of it. Its last row may end after it.
    stretch_end_s = start_s + config.stretch_s
    stop = np.searchsorted(start_s, stretch_end_s - TIME_TOLERANCE_S)
    beyond_s = np.maximum(end_s[stop - 1] - stretch_end_s, 0)
    filled_s = _sums(end_s - start_s, stop) - beyond_s
    is_full = ~is_shorter(filled_s, config.stretch_s / 2)
    neutral_s = _sums(p_neutral * (end_s - start_s), stop) - p_neutral[stop - 1] * beyond_s
    neutral = np.where(is_full, neutral_s / np.where(is_full, filled_s, 1), -1)
    first = int(neutral.round(9).argmax())  # rounded, so that the first of equally neutral stretches is chosen
    return (start_s[first], stretch_end_s[first]) if neutral[first] >= config.min_neutral else (0.0, 0.0)


def _sums(values: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The sum of `values[i:stop[i]]` for each i."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    sums: np.ndarray = total[stop] - total[:-1]
    return sums


def _odds(probabilities: np.ndarray) -> np.ndarray:
    """Log odds against neutral, `(m, 7)`; 0 for neutral itself."""
    logs = np.log(np.maximum(probabilities, LEAST_P))
    odds: np.ndarray = logs - logs[:, NEUTRAL : NEUTRAL + 1]
    return odds


def _from_odds(odds: np.ndarray) -> np.ndarray:
    """Probabilities `(…, 7)` with these log odds."""
    powers = np.exp(odds - odds.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities
