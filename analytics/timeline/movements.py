"""Facial movements from the landmarks of tracked faces: smile, raised brows, blinks, speaking, nods and head shakes.

docs/movements.md explains the rules and where they come from.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np

from analytics.tables.schema import MOVEMENT_KINDS
from analytics.time_tolerance import TIME_TOLERANCE_S, is_later, is_longer, is_shorter
from analytics.timeline.blinks import BlinkRule, find_blinks
from analytics.timeline.oscillations import OscillationRule, RowSpans, find_oscillations

_BLINK, _SPEAKING, _NOD, _HEAD_SHAKE = range(len(MOVEMENT_KINDS))


@dataclass(frozen=True)
class MovementConfig:
    """Smallest score of trusted landmarks, and criteria of each kind of movement."""

    min_landmark_score: float = 0.5
    blink: BlinkRule = field(default_factory=BlinkRule)
    # Speaking, in distances between the eyes: the mouth of a person who speaks opens and closes 2 to 7 times per second
    # (Chandrasekaran et al., The Natural Statistics of Audiovisual Speech, PLoS Computational Biology 2009), so a swing
    # takes 0.07 to 0.25 s. Longer swings bridge lengthened vowels and short stops.
    speaking: OscillationRule = field(
        default_factory=lambda: OscillationRule(
            min_swing=0.05, min_swings=4, max_swing_s=0.4, min_mean_swing_s=0.07, max_pause_s=0.5
        )
    )
    # Nods and head shakes, in degrees: at 1 to 5 Hz, a swing takes 0.1 to 0.5 s.
    head: OscillationRule = field(
        default_factory=lambda: OscillationRule(min_swing=4.0, min_swings=3, max_swing_s=0.5, min_mean_swing_s=0.1)
    )
    # Longest time between frames: at fewer than 20 frames per second, a blink of 0.1 s may fall between two frames, and
    # the swings of a mouth that opens and closes seven times per second can no longer be counted.
    max_step_s: float = 0.05
    # Longest time without a trusted face within a run: two frames of 25 per second, three of 30. If each missing face
    # ended a run, many movements would be cut, and rates too low.
    max_gap_s: float = 0.1
    # If a frame is shown for longer than `max_step_s`, the rest of its time is such a gap where there are this many
    # frames per second on average, see `local_frame_s`: 20 of 25 frames are shown for 40, 40, 40 and 80 ms. The number
    # rounds to 20, as one frame more or less may begin in the two seconds.
    min_local_fps: float = 19.5
    min_run_s: float = 0.5  # shorter runs are not measured: the longest blink and open eyes around it take as long
    # Smallest share of the time of a run in which no face is missing, or faces are at most `max_step_s` apart. If every
    # second one of 25 faces per second is missing, so is most speech.
    min_dense_share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.min_landmark_score <= 1:
            raise ValueError(f"min_landmark_score must be in [0, 1], got {self.min_landmark_score}")


@dataclass(frozen=True, eq=False)
class TrackedMeasures:
    """Measures of m faces that are in tracks, ordered by track and time; NaN where not known or not trusted."""

    track: np.ndarray  # (m,) whole numbers
    part: np.ndarray  # (m,) whole numbers that change with the track and at shot boundaries
    start_s: np.ndarray  # (m,) time at which the frame is first shown
    end_s: np.ndarray  # (m,) time at which the next frame replaces it
    local_frame_s: np.ndarray  # (m,) mean duration of the frames around it, see `local_frame_s`
    eye_openness: np.ndarray  # (m,) mean openness of both eyes, or that of the eye that is known
    mouth_opening: np.ndarray  # (m,) opening of the mouth, in distances between the eyes
    yaw_deg: np.ndarray  # (m,)
    pitch_deg: np.ndarray  # (m,)


@dataclass(frozen=True, eq=False)
class Movements:
    """The n movements found, ordered by track and time, and for how long movements could be measured in the m faces."""

    track: np.ndarray  # (n,)
    kind: np.ndarray  # (n,) index of the kind of each movement in `MOVEMENT_KINDS`
    start_s: np.ndarray  # (n,)
    end_s: np.ndarray  # (n,) end of the half-open interval
    strength: np.ndarray  # (n,) strength of each movement, see `schema.MOVEMENTS`
    is_speaking: np.ndarray  # (m,) bool
    # (m,) seconds from each face to the next one of its unbroken run, and the duration of the last one's frame, at most
    # `max_step_s` of it where there are too few frames per second; 0 where movements could not be measured: untrusted,
    # or in a run that is too short.
    measured_s: np.ndarray
    is_measured: np.ndarray  # (m,) bool, whether movements could be measured while the whole frame is shown


def local_frame_s(start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    """The mean duration of the frames that begin in the second before or after the beginning of each of n frames.

    >>> local_frame_s(np.array([0.0, 0.5, 3.0]), np.array([0.5, 0.9, 4.0]))
    array([0.45, 0.45, 1.  ])
    """
    first = np.searchsorted(start_s, start_s - 1 - TIME_TOLERANCE_S)
    stop = np.searchsorted(start_s, start_s + 1 - TIME_TOLERANCE_S)
    total_s = np.append(0, np.cumsum(end_s - start_s))
    mean_s: np.ndarray = (total_s[stop] - total_s[first]) / (stop - first)
    return mean_s


def relative_to_rest(track: np.ndarray, values: np.ndarray, is_good: np.ndarray) -> np.ndarray:
    """`values` minus their median over the good rows of each track; NaN where not known, or without a good row.

    >>> relative_to_rest(np.array([0, 0, 0, 1]), np.array([1.0, 2.0, 5.0, 7.0]), np.array([True, True, True, False]))
    array([-1.,  0.,  3., nan])
    """
    relative = np.full(len(values), np.nan)
    for rows in _rows_of_tracks(track):
        known = values[rows][is_good[rows] & ~np.isnan(values[rows])]
        if len(known):
            relative[rows] = values[rows] - np.median(known)
    return relative


def mean_of_known(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The mean of two measures, or the one that is known; NaN where neither is.

    >>> mean_of_known(np.array([1.0, np.nan, np.nan]), np.array([2.0, 2.0, np.nan]))
    array([1.5, 2. , nan])
    """
    return np.where(np.isnan(first), second, np.where(np.isnan(second), first, (first + second) / 2))


def without_outliers(values: np.ndarray) -> np.ndarray:
    """Replace each value but the first and last by the median of it and its neighbors.

    Key frames place a face slightly differently than the close-ups between them, which would look like a movement of
    one frame, five times per second.

    >>> without_outliers(np.array([0.0, 1.0, 0.0, 0.0, 2.0, 2.0])).tolist()
    [0.0, 0.0, 0.0, 0.0, 2.0, 2.0]
    """
    if len(values) < 3:
        return values
    middle = np.median([values[:-2], values[1:-1], values[2:]], axis=0)
    return np.concatenate([values[:1], middle, values[-1:]])


def find_movements(faces: TrackedMeasures, config: MovementConfig) -> Movements:
    """Find all movements; none spans a shot boundary or a gap of more than `max_gap_s` without a trusted face.

    In shorter gaps, nothing is interpolated: next to outliers of single frames, that would invent movements.
    """
    found: list[tuple[int, RowSpans]] = []
    usual = _usual(faces.track, faces.eye_openness)
    is_brief = _is_brief(faces, config)
    # After `max_step_s`, other frames do not show what happens anymore. The end of the only frame of a video is NaN.
    longest_s = np.where(is_brief, config.max_step_s + config.max_gap_s, config.max_step_s)
    end_s = np.fmin(faces.end_s, faces.start_s + longest_s)
    runs = _unbroken_runs(faces, is_brief, end_s, config)
    for run in runs:
        start_s = faces.start_s[run]
        blinks = find_blinks(start_s, faces.eye_openness[run], usual[run[0]], config.blink)
        speaking = find_oscillations(start_s, without_outliers(faces.mouth_opening[run]), config.speaking)
        found += [(_BLINK, _rows_of(run, blinks)), (_SPEAKING, _rows_of(run, speaking))]
        found += _head_gestures(faces, run, config.head)
    kind = np.concatenate([np.empty(0, np.int64), *(np.full(len(spans.first), k) for k, spans in found)])
    first, last, strength = (
        np.concatenate([np.empty(0, kind_of), *(getattr(spans, name) for _, spans in found)])
        for name, kind_of in (("first", np.int64), ("last", np.int64), ("strength", np.float64))
    )
    order = np.lexsort((kind, faces.start_s[first], faces.track[first]))
    kind, first, last, strength = kind[order], first[order], last[order], strength[order]
    is_speaking = np.zeros(len(faces.track), bool)
    for begin, end in zip(first[kind == _SPEAKING].tolist(), last[kind == _SPEAKING].tolist(), strict=True):
        is_speaking[begin : end + 1] = True
    measured_s = np.zeros(len(faces.track))
    for run in runs:
        measured_s[run] = np.diff(faces.start_s[run], append=end_s[run[-1]])
    is_measured = (measured_s > 0) & is_brief
    is_speaking &= is_measured  # a movement may span a single frame without trusted landmarks, or end in a long one
    return Movements(
        faces.track[first], kind, faces.start_s[first], end_s[last], strength, is_speaking, measured_s, is_measured
    )


def _head_gestures(faces: TrackedMeasures, run: np.ndarray, rule: OscillationRule) -> list[tuple[int, RowSpans]]:
    """Nods and head shakes of a run: an oscillation of one angle in which the other one moves less."""
    found: list[tuple[int, RowSpans]] = []
    pitch_deg, yaw_deg = without_outliers(faces.pitch_deg[run]), without_outliers(faces.yaw_deg[run])
    for kind, moving, other in ((_NOD, pitch_deg, yaw_deg), (_HEAD_SHAKE, yaw_deg, pitch_deg)):
        spans = find_oscillations(faces.start_s[run], moving, rule)
        kept = [
            (first, last, strength)
            for first, last, strength in zip(
                spans.first.tolist(), spans.last.tolist(), spans.strength.tolist(), strict=True
            )
            if np.std(moving[first : last + 1]) > np.std(other[first : last + 1])
        ]
        found.append((kind, _rows_of(run, RowSpans.of(kept))))
    return found


def _is_brief(faces: TrackedMeasures, config: MovementConfig) -> np.ndarray:
    """Whether the frame of each face is replaced soon enough to measure movements across its whole time, (m,) bool."""
    frame_s = faces.end_s - faces.start_s
    is_frequent = faces.local_frame_s <= 1 / config.min_local_fps
    is_brief: np.ndarray = ~is_longer(frame_s, config.max_step_s) | (
        is_frequent & ~is_longer(frame_s, config.max_step_s + config.max_gap_s)
    )
    return is_brief


def _unbroken_runs(
    faces: TrackedMeasures, is_brief: np.ndarray, end_s: np.ndarray, config: MovementConfig
) -> list[np.ndarray]:
    """The rows of each run of known faces of a part in which movements can be measured.

    Args:
        faces: the faces.
        is_brief: (m,) bool, see `_is_brief`.
        end_s: (m,) time up to which each face shows what happens.
        config: the settings.
    """
    row = np.flatnonzero(~np.isnan(faces.eye_openness + faces.mouth_opening + faces.yaw_deg + faces.pitch_deg))
    before, after = row[:-1], row[1:]
    is_new = (
        (faces.part[after] != faces.part[before])
        | ~is_brief[before]
        | is_longer(faces.start_s[after] - faces.end_s[before], config.max_gap_s)
    )
    runs: list[np.ndarray] = []
    for run in np.split(row, np.flatnonzero(is_new) + 1):
        step_s = np.diff(faces.start_s[run], append=end_s[run[-1:]])
        is_dense = ~is_longer(step_s, config.max_step_s) | ~is_later(faces.start_s[run] + step_s, end_s[run])
        run_s, dense_s = step_s.sum(), step_s[is_dense].sum()
        if not (is_shorter(run_s, config.min_run_s) or is_shorter(dense_s, config.min_dense_share * run_s)):
            runs.append(run)
    return runs


def _rows_of(run: np.ndarray, spans: RowSpans) -> RowSpans:
    """Spans of rows of a run as spans of rows of the table; `run` holds the row of each of its faces."""
    return RowSpans(run[spans.first], run[spans.last], spans.strength)


def _usual(track: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The median of the known values of the track of each row; NaN for a track without any."""
    usual = np.full(len(track), np.nan)
    for rows in _rows_of_tracks(track):
        known = values[rows][~np.isnan(values[rows])]
        usual[rows] = np.median(known) if len(known) else np.nan
    return usual


def _rows_of_tracks(track: np.ndarray) -> list[slice]:
    """The rows of each track, which are contiguous."""
    changes = np.flatnonzero(track[1:] != track[:-1]) + 1
    return [slice(first, stop) for first, stop in itertools.pairwise([0, *changes.tolist(), len(track)])]
