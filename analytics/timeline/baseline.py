"""What a person's resting face looks like to the model, taken off before smoothing; off unless asked for.

Some faces look angry or sad at rest. Programs for reading faces therefore let the user calibrate a person: FaceReader,
as its maker describes it, corrects for a person's bias towards an emotion, found either from pictures in which they
look neutral or continuously as their average expression (Noldus, https://noldus.com/facereader). Here likewise, in log
odds against neutral, where a bias adds up with what is shown whatever its strength:

    odds_k      = log(p_k / p_neutral)                                  for each face and emotion k
    excess_k    = max(0, mean over the baseline of odds_k - ODDS_AT_REST)
    corrected p = the probabilities whose log odds are odds_k - excess_k

So the baseline becomes a face that shows nothing, and an emotion is only ever taken off, never added: whoever looks
plainly neutral at rest is left alone.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from analytics.tables.quantization import PROBABILITY_STEP
from analytics.timeline.time_tolerance import TIME_TOLERANCE_S
from fer_models.labels import EMOTIONS

BaselineMethod = Literal["none", "own_mean", "neutral_stretch"]
LEAST_P = PROBABILITY_STEP / 2  # stands for what is rounded to 0, whose log is not finite
NEUTRAL = EMOTIONS.index("neutral")
# A face at rest: neutral 0.70, each of the others 0.05. For comparison, the geometric mean of what the packaged model
# says of the neutral pictures of FER-2013 PublicTest that it reads rightly: neutral 0.77, the others 0.01 to 0.10.
ODDS_AT_REST = float(np.log(0.05 / 0.70))


@dataclass(frozen=True)
class BaselineConfig:
    """Where a person's face at rest is found.

    `own_mean` is for long recordings in which a person mostly shows little: their average face is taken as at rest.
    `neutral_stretch` takes `span_s` of the video or, without it, in each track the `stretch_s` that look most neutral.

    Raises:
        ValueError: if a value is out of its range.
    """

    method: BaselineMethod = "none"
    span_s: tuple[float, float] | None = None  # start and end in the video's own time
    stretch_s: float = 2.0  # long enough to outlast a blink or a word, short enough to be found
    # Mean p_neutral that a stretch needs to be found; a given span does not. Who smiles throughout shows no rest.
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
    """The face at rest of each of t tracks; NaN for tracks in which none was found, which are left as they are."""

    start_s: np.ndarray  # (t,) span it was taken from
    end_s: np.ndarray  # (t,)
    probabilities: np.ndarray  # (t, 7), those of the mean log odds


def find_baselines(
    track: np.ndarray,
    start_s: np.ndarray,
    end_s: np.ndarray,
    probabilities: np.ndarray,
    counts: np.ndarray,
    config: BaselineConfig,
) -> Baselines:
    """The face at rest of each track.

    Args:
        track: (m,) whole numbers from 0 without a hole; rows of a track stand together, in order of time.
        start_s: (m,) time at which the frame of each row is shown.
        end_s: (m,) time at which it stops being shown.
        probabilities: (m, 7).
        counts: (m,) bool; other rows are passed over and may be NaN.
        config: the settings.
    """
    bounds = np.searchsorted(track, np.arange(track[-1] + 2)) if len(track) else np.zeros(1, np.int64)
    n_tracks = len(bounds) - 1
    found = Baselines(np.full(n_tracks, np.nan), np.full(n_tracks, np.nan), np.full((n_tracks, len(EMOTIONS)), np.nan))
    for number, (first, stop) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        row = first + np.flatnonzero(counts[first:stop])
        p = probabilities[row]
        row_s = end_s[row] - start_s[row]
        taken = _rows_at_rest(start_s[row], end_s[row], row_s, p[:, NEUTRAL], config)
        if taken is not None:
            inside = row[taken]
            found.start_s[number], found.end_s[number] = start_s[inside[0]], end_s[inside[-1]]
            found.probabilities[number] = _from_odds(np.average(_odds(p[taken]), axis=0, weights=row_s[taken]))
    return found


def correct(track: np.ndarray, probabilities: np.ndarray, baselines: Baselines) -> np.ndarray:
    """The probabilities `(m, 7)` less what each track shows at rest; rows of tracks without a baseline stay.

    A face that is its own baseline:

    >>> p = np.array([[0.6, 0.02, 0.02, 0.02, 0.02, 0.02, 0.3]])
    >>> correct(np.array([0]), p, Baselines(np.zeros(1), np.ones(1), p)).round(2).tolist()
    [[0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.71]]
    """
    excess = np.maximum(_odds(baselines.probabilities) - ODDS_AT_REST, 0)
    excess[:, NEUTRAL] = 0  # whose log odds are 0 by definition
    has_baseline = ~np.isnan(baselines.start_s)[track]
    corrected = probabilities.copy()
    corrected[has_baseline] = _from_odds(_odds(probabilities[has_baseline]) - excess[track[has_baseline]])
    return corrected


def _rows_at_rest(
    start_s: np.ndarray, end_s: np.ndarray, row_s: np.ndarray, p_neutral: np.ndarray, config: BaselineConfig
) -> slice | None:
    """Which of a track's rows that count are its baseline, if it has one."""
    if not row_s.sum() > 0 or config.method == "none":
        return None
    if config.method == "own_mean":
        return slice(0, len(start_s))
    if config.span_s is not None:
        inside = slice(*np.searchsorted(start_s, config.span_s).tolist())
        return inside if row_s[inside].sum() > 0 else None
    # Every stretch that begins with a row; it holds the rows that begin within it, and counts if they fill half of it.
    stop = np.searchsorted(start_s, start_s + config.stretch_s - TIME_TOLERANCE_S)
    filled_s = _sums(row_s, stop)
    is_full = filled_s >= config.stretch_s / 2
    neutral = np.where(is_full, _sums(p_neutral * row_s, stop) / np.where(is_full, filled_s, 1), -1)
    first = int(neutral.round(9).argmax())  # of equals the first, whatever the rounding of the sums
    return slice(first, int(stop[first])) if neutral[first] >= config.min_neutral else None


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
