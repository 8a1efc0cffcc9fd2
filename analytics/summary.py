"""What is said of whole tracks: their means and shares of time, their episodes, their changes of emotion."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from analytics.baseline import Baselines
from analytics.columns import column, named, per_emotion
from analytics.episodes import EpisodeConfig, find_episodes
from fer_models.boxes import paired_iou
from fer_models.labels import EMOTIONS

SWITCH_IOU = 0.3  # boxes of two people that overlap this much give the tracker a chance to exchange them


@dataclass(frozen=True, eq=False)
class TrackedFaces:
    """The m faces that are in tracks; those of a track stand together, in order of time, tracks rise from 0."""

    row: np.ndarray  # (m,) place in the table faces
    track: np.ndarray  # (m,)
    frame: np.ndarray  # (m,) number of the sampled frame
    start_s: np.ndarray  # (m,) time at which the frame is shown
    end_s: np.ndarray  # (m,) time at which it stops being shown
    boxes_xyxy: np.ndarray  # (m, 4)
    det_score: np.ndarray  # (m,)
    face_px: np.ndarray  # (m,)
    is_ok: np.ndarray  # (m,) bool: of good quality and classified
    counts: np.ndarray  # (m,) bool: the same or, with the gate open, all that are classified
    probabilities: np.ndarray  # (m, 7), NaN where not known
    smoothed: np.ndarray  # (m, 7), NaN where not known
    label: np.ndarray  # (m,) smoothed emotion, -1 where not known
    baselines: Baselines  # of each track

    @property
    def duration_s(self) -> np.ndarray:
        """(m,) how long each face is shown."""
        duration_s: np.ndarray = self.end_s - self.start_s
        return duration_s


def tracks_table(faces: TrackedFaces) -> pa.Table:
    """A row per track: the columns of `schema.TRACKS` less the ids."""
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
            "seen_s": np.add.reduceat(faces.duration_s, first),
            "ok_s": np.add.reduceat(np.where(faces.is_ok, faces.duration_s, 0), first),
            "mean_det_score": column(np.add.reduceat(faces.det_score, first) / n_faces, pa.float32()),
            "mean_face_px": column(np.add.reduceat(faces.face_px, first) / n_faces, pa.float32()),
            **per_emotion("mean", mean),
            "emotion": named(np.where(np.isnan(share[:, 0]), -1, share.argmax(1)), EMOTIONS),
            "labelled_s": labelled_s,
            **per_emotion("share", share),
            "baseline_start_s": column(faces.baselines.start_s, pa.float64()),
            "baseline_end_s": column(faces.baselines.end_s, pa.float64()),
            **per_emotion("baseline", faces.baselines.probabilities),
            "suspected_switch": np.isin(faces.track[first], _tracks_that_meet(faces)),
        }
    )


def episodes_table(faces: TrackedFaces, config: EpisodeConfig) -> pa.Table:
    """A row per episode, by track and time: the columns of `schema.EPISODES` less the ids."""
    found = [find_episodes(faces.track, faces.start_s, faces.end_s, p, config) for p in faces.smoothed.T]
    emotion = np.repeat(np.arange(len(EMOTIONS)), [len(episodes.start_s) for episodes in found])
    start_s, end_s = (np.concatenate([getattr(e, name) for e in found]) for name in ("start_s", "end_s"))
    table = pa.table(
        {
            "track_id": pa.array(faces.track[np.concatenate([e.first_row for e in found])], pa.int32()),
            "emotion": named(emotion, EMOTIONS),
            "start_s": start_s,
            "end_s": end_s,
            "duration_s": end_s - start_s,
            "apex_s": np.concatenate([e.apex_s for e in found]),
            "peak": column(np.concatenate([e.peak for e in found]), pa.float32()),
            "mean": column(np.concatenate([e.mean for e in found]), pa.float32()),
        }
    )
    return table.sort_by([("track_id", "ascending"), ("start_s", "ascending"), ("emotion", "ascending")])


def transitions_table(faces: TrackedFaces) -> pa.Table:
    """A row per track and kind of change of the smoothed emotion: the columns of `schema.TRANSITIONS` less the ids."""
    known = faces.label >= 0
    track, label = faces.track[known], faces.label[known]
    changes = np.flatnonzero((track[1:] == track[:-1]) & (label[1:] != label[:-1]))
    kinds, count = np.unique(
        np.column_stack([track[changes], label[changes], label[1:][changes]]), axis=0, return_counts=True
    )
    return pa.table(
        {
            "track_id": pa.array(kinds[:, 0], pa.int32()),
            "from_emotion": named(kinds[:, 1], EMOTIONS),
            "to_emotion": named(kinds[:, 2], EMOTIONS),
            "count": count,
        }
    )


def _tracks_that_meet(faces: TrackedFaces) -> np.ndarray:
    """Tracks whose box overlaps that of another one in the same frame."""
    order = np.argsort(faces.frame, kind="stable")
    frame, track, boxes_xyxy = faces.frame[order], faces.track[order], faces.boxes_xyxy[order]
    met = [np.empty(0, track.dtype)]
    for offset in range(1, int(np.bincount(frame, minlength=1).max())):
        rows = np.flatnonzero(frame[offset:] == frame[:-offset])
        overlap = paired_iou(boxes_xyxy[rows], boxes_xyxy[rows + offset]) >= SWITCH_IOU
        met += [track[rows[overlap]], track[rows[overlap] + offset]]
    return np.unique(np.concatenate(met))


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part / whole`, NaN where `whole` is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)
