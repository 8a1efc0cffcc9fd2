"""Summarize tracks: means, shares of time, episodes and transitions between emotions."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from analytics.tables.arrow_utils import decode_categories, emotion_columns, to_column
from analytics.timeline.baseline import Baselines
from analytics.timeline.episodes import EpisodeConfig, find_episodes, observed_ends
from analytics.timeline.movement_tables import movements_of_tracks
from analytics.timeline.movements import Movements
from analytics.timeline.runs import after_gap, begins_run, number_runs
from fer_models.labels import EMOTIONS

# No label persists across a longer absence, and no transition is counted across a longer time without a label.
UNSEEN_S = 1.0


@dataclass(frozen=True, eq=False)
class TrackedFaces:
    """The m faces that are in tracks, ordered by track (from 0) and time."""

    row: np.ndarray  # (m,) index into the table `faces`
    track: np.ndarray  # (m,)
    shot: np.ndarray  # (m,) whole numbers that change with the track and at shot boundaries
    frame: np.ndarray  # (m,) index of the frame among the sampled frames
    start_s: np.ndarray  # (m,) time at which the frame is first shown
    end_s: np.ndarray  # (m,) time at which the next frame replaces it
    det_score: np.ndarray  # (m,)
    face_px: np.ndarray  # (m,)
    is_switch: np.ndarray  # (m,) bool, True where the track may continue with another person; at most once per track
    is_ok: np.ndarray  # (m,) bool, True for faces of good quality that are not left out because of speech
    is_left_out: np.ndarray  # (m,) bool, True for faces of good quality that are left out because of speech
    # (m,) bool, True for those of `is_ok` with probabilities; without the quality filter, for all with probabilities
    counts: np.ndarray
    probabilities: np.ndarray  # (m, 7), NaN where not known
    smoothed: np.ndarray  # (m, 7), NaN where not known
    label: np.ndarray  # (m,) index of the smoothed emotion, -1 where not known
    baselines: Baselines  # the resting face of each track
    movements: Movements

    @property
    def is_carried(self) -> np.ndarray:
        """(m,) bool, True for low-quality faces whose label is carried over from good faces nearby in time."""
        is_carried: np.ndarray = (self.label >= 0) & ~self.counts
        return is_carried

    @property
    def duration_s(self) -> np.ndarray:
        """(m,) how long the frame of each face is shown."""
        duration_s: np.ndarray = self.end_s - self.start_s
        return duration_s

    @property
    def stretch(self) -> np.ndarray:
        """(m,) increasing whole numbers: a new one for each track and each return after more than `UNSEEN_S`."""
        return stretches(self.track, self.start_s, self.end_s)


def tracks_table(faces: TrackedFaces) -> pa.Table:
    """A row per track: the columns of `schema.TRACKS` without the ids."""
    first = np.flatnonzero(np.diff(faces.track, prepend=-1))
    last = np.append(first, len(faces.track))[1:] - 1
    n_faces = last - first + 1
    counted_s = np.where(faces.counts, faces.duration_s, 0)
    probabilities = np.where(faces.counts[:, None], faces.probabilities, 0)
    label_s = (faces.label[:, None] == np.arange(len(EMOTIONS))) * faces.duration_s[:, None]
    labelled_s = np.add.reduceat(label_s.sum(1), first)
    share = _divide(np.add.reduceat(label_s, first), labelled_s[:, None])
    weighted = probabilities * counted_s[:, None]
    mean = _divide(np.add.reduceat(weighted, first), np.add.reduceat(counted_s, first)[:, None])
    return pa.table(
        {
            "track_id": pa.array(faces.track[first], pa.int32()),
            "start_s": faces.start_s[first],
            "end_s": faces.end_s[last],
            "n_faces": n_faces,
            "n_faces_ok": np.add.reduceat(faces.is_ok.astype(np.int64), first),
            "n_faces_left_out": np.add.reduceat(faces.is_left_out.astype(np.int64), first),
            "seen_s": np.add.reduceat(faces.duration_s, first),
            "ok_s": _seconds(faces, first, faces.is_ok),
            "left_out_s": _seconds(faces, first, faces.is_left_out),
            "mean_det_score": to_column(np.add.reduceat(faces.det_score, first) / n_faces, pa.float32()),
            "mean_face_px": to_column(np.add.reduceat(faces.face_px, first) / n_faces, pa.float32()),
            **emotion_columns("mean", mean),
            # Rounded, so that the first of equal shares is chosen.
            "emotion": decode_categories(np.where(np.isnan(share[:, 0]), -1, share.round(6).argmax(1)), EMOTIONS),
            "labelled_s": labelled_s,
            "carried_s": _seconds(faces, first, faces.is_carried),
            **emotion_columns("share", share),
            "baseline_start_s": to_column(faces.baselines.start_s, pa.float64()),
            "baseline_end_s": to_column(faces.baselines.end_s, pa.float64()),
            **emotion_columns("baseline", faces.baselines.probabilities),
            "suspected_switch": np.logical_or.reduceat(faces.is_switch, first) if len(first) else np.empty(0, bool),
            "switch_s": to_column(_switch_s(faces, first), pa.float64()),
            "movements_measured_s": np.add.reduceat(faces.movements.measured_s, first),
            "movements": movements_of_tracks(faces.movements, len(first)),
        }
    )


def episodes_table(faces: TrackedFaces, config: EpisodeConfig) -> pa.Table:
    """A row per episode, by track and time: the columns of `schema.EPISODES` without the ids."""
    found = [
        find_episodes(
            faces.stretch,
            faces.start_s,
            faces.end_s,
            np.where(faces.label == k, faces.smoothed[:, k], np.nan),
            (faces.label >= 0) & (faces.label != k),
            config,
        )
        for k in range(len(EMOTIONS))
    ]
    ends = [observed_ends(e, faces.shot, faces.start_s, faces.end_s, faces.label >= 0, config.max_gap_s) for e in found]
    onset, offset = (np.concatenate(observed) for observed in zip(*ends, strict=True))
    emotion = np.repeat(np.arange(len(EMOTIONS)), [len(episodes.start_s) for episodes in found])
    start_s, end_s = (np.concatenate([getattr(e, name) for e in found]) for name in ("start_s", "end_s"))
    table = pa.table(
        {
            "track_id": pa.array(faces.track[np.concatenate([e.first_row for e in found])], pa.int32()),
            "emotion": decode_categories(emotion, EMOTIONS),
            "start_s": start_s,
            "end_s": end_s,
            "duration_s": end_s - start_s,
            "onset_observed": onset,
            "offset_observed": offset,
            "apex_s": np.concatenate([e.apex_s for e in found]),
            "peak": to_column(np.concatenate([e.peak for e in found]), pa.float32()),
            "mean": to_column(np.concatenate([e.mean for e in found]), pa.float32()),
        }
    )
    return table.sort_by([("track_id", "ascending"), ("start_s", "ascending"), ("emotion", "ascending")])


def transitions_table(faces: TrackedFaces) -> pa.Table:
    """A row per track and pair of successive labels: the columns of `schema.TRANSITIONS` without the ids."""
    known = faces.label >= 0
    track, label = faces.track[known], faces.label[known]
    # A change across a shot boundary was not observed. Gaps are those between labels, also where the face is visible,
    # as in `observed_time`, the denominator of rates.
    stretch = stretches(faces.shot[known], faces.start_s[known], faces.end_s[known])
    changes = np.flatnonzero((stretch[1:] == stretch[:-1]) & (label[1:] != label[:-1]))
    kinds, count = np.unique(
        np.column_stack([track[changes], label[changes], label[1:][changes]]), axis=0, return_counts=True
    )
    return pa.table(
        {
            "track_id": pa.array(kinds[:, 0], pa.int32()),
            "from_emotion": decode_categories(kinds[:, 1], EMOTIONS),
            "to_emotion": decode_categories(kinds[:, 2], EMOTIONS),
            "count": count,
        }
    )


def stretches(keys: np.ndarray, start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    """Number the parts of runs of equal keys in which no two successive rows are more than `UNSEEN_S` apart, from 0."""
    return number_runs(begins_run(keys) | after_gap(start_s, end_s, UNSEEN_S))


def _switch_s(faces: TrackedFaces, first: np.ndarray) -> np.ndarray:
    """The time at which each track may have switched to another person; NaN if it did not."""
    switch_s = np.full(len(first), np.nan)
    rows = np.flatnonzero(faces.is_switch)
    switch_s[np.searchsorted(first, rows, side="right") - 1] = faces.start_s[rows]
    return switch_s


def _seconds(faces: TrackedFaces, first: np.ndarray, is_counted: np.ndarray) -> np.ndarray:
    """The total time of the counted faces of each track; `first` holds the first row of each track."""
    seconds: np.ndarray = np.add.reduceat(np.where(is_counted, faces.duration_s, 0), first)
    return seconds


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole`, NaN where `whole` is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
