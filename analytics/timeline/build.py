"""Pass 2: from observations of frames to the tables of a video; pure, and independent of the segmentation."""

from dataclasses import asdict, dataclass, field, fields

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analytics.tables.affect import arousal_proxy, entropy_bits, top_emotion, valence_proxy
from analytics.tables.arrow_utils import decode_categories, emotion_columns, to_column, to_float_array
from analytics.tables.quantization import (
    ENTROPY_STEP,
    PROBABILITY_STEP,
    quantize,
    quantize_faces,
    quantize_probabilities,
)
from analytics.tables.schema import (
    OBSERVATIONS,
    QUALITY_REASONS,
    SEEN_STATUSES,
    SPEECH_REASONS,
    TIMELINE_TABLES,
    add_missing_columns,
    conform,
    timeline_schema,
)
from analytics.time_tolerance import is_later
from analytics.timeline.baseline import BaselineConfig, correct, find_baselines
from analytics.timeline.episodes import EpisodeConfig
from analytics.timeline.movement_tables import TrackOrder, find_movements_of_faces, movement_columns
from analytics.timeline.movements import MovementConfig, Movements, local_frame_s
from analytics.timeline.quality import QualityConfig, QualityMeasures, gate_quality, speech_reasons
from analytics.timeline.runs import begins_run, number_runs
from analytics.timeline.smoothing import SmoothingConfig, smooth, steady_labels
from analytics.timeline.track_summary import TrackedFaces, episodes_table, stretches, tracks_table, transitions_table
from analytics.tracking.identities import IDENTITY_VERSION, Identities, identify, identities_table, known_identities
from analytics.tracking.reid import ReidConfig
from analytics.tracking.shot_detection import ShotDetectionConfig, find_shot_boundaries
from analytics.tracking.tracker import TrackerConfig
from fer_models.labels import EMOTIONS

PROBABILITIES = tuple(f"p_{name}" for name in EMOTIONS)


@dataclass(frozen=True)
class TimelineConfig:
    """The settings of each stage of pass 2."""

    cuts: ShotDetectionConfig = field(default_factory=ShotDetectionConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    joining: ReidConfig = field(default_factory=ReidConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    baseline: BaselineConfig = field(default_factory=BaselineConfig)
    smoothing: SmoothingConfig = field(default_factory=SmoothingConfig)
    episodes: EpisodeConfig = field(default_factory=EpisodeConfig)
    movements: MovementConfig = field(default_factory=MovementConfig)

    def settings(self) -> dict[str, object]:
        """All settings as plain values, for `analysis_id` and the column `settings`."""
        return asdict(self)

    def identity_settings(self) -> dict[str, object]:
        """The settings that determine which face belongs to which track, for `identities_id`."""
        stages = {name: asdict(getattr(self, name)) for name in ("cuts", "tracker", "joining")}
        return {"identity_version": IDENTITY_VERSION, **stages}


@dataclass(frozen=True, eq=False)
class Timeline:
    """The tables of one video: the columns of `analytics.tables.schema` without video_id and analysis_id."""

    frames: pa.Table
    faces: pa.Table
    tracks: pa.Table
    episodes: pa.Table
    transitions: pa.Table
    identities: pa.Table  # rows of `schema.IDENTITIES`, from which the timeline can be built again

    @property
    def used_appearance(self) -> bool | None:
        """Whether tracklets were associated by appearance; None without faces."""
        return self.identities["by_look"][0].as_py() if len(self.identities) else None

    def tables(self) -> dict[str, pa.Table]:
        """The tables by name."""
        return {name: getattr(self, name) for name in TIMELINE_TABLES}


def build_timeline(
    observations: pa.Table,
    config: TimelineConfig,
    identities: pa.Table | None = None,
    *,
    end_s: float | None = None,
) -> Timeline:
    """Track, filter by quality, smooth, find episodes and summarize.

    Args:
        observations: rows of `schema.OBSERVATIONS` of one whole video, in any order.
        config: the settings.
        identities: `Timeline.identities` of the same faces and the same `identity_settings`; None: find them, without
            appearance if the observations contain none (anymore).
        end_s: end of the last frame, as the container states it; None: after the median time between frames.

    Raises:
        ValueError: if a face of a frame occurs twice, as in overlapping segments.
        IdentitiesError: if the identities belong to other faces.
    """
    observations = add_missing_columns(observations, OBSERVATIONS).sort_by(
        [("pts_s", "ascending"), ("frame_index", "ascending"), ("face_index", "ascending")]
    )
    first_row, frame = _frames_of_rows(observations)
    frames = observations.take(first_row)
    shown = _Shown.of(to_float_array(frames, "pts_s"), to_float_array(frames, "lost_from_s"), end_s)
    is_shot_boundary = find_shot_boundaries(_thumbnails(frames), config.cuts)
    is_face = observations["face_index"].is_valid().to_numpy()
    observed, frame_of_face = observations.filter(pa.array(is_face)), frame[is_face]
    if identities is None:
        start_s, shot = shown.start_s[frame_of_face], np.cumsum(is_shot_boundary)[frame_of_face]
        known = identify(observed, frame_of_face, start_s, shot, shown.step_s, config.tracker, config.joining)
    else:
        known = known_identities(observed, identities)
    faces = quantize_faces(observed)
    order = _order_by_track(known, frame_of_face, np.cumsum(is_shot_boundary)[frame_of_face], shown)
    reason = _reasons(faces, config.quality)
    is_good = reason[order.row] < 0
    movements = find_movements_of_faces(faces, order, is_good, config.movements)
    tracked = _follow(faces, frame_of_face[order.row], order, is_good, known, movements, config)
    by_speech = speech_reasons(movements.is_speaking, movements.is_measured, config.quality.speech)
    reason[order.row] = np.where(is_good, by_speech, reason[order.row])
    moving = movement_columns(faces, order, is_good, movements, config.movements)
    made = {
        "frames": _frames_table(frames, np.bincount(frame_of_face, minlength=len(shown)), shown, is_shot_boundary),
        "faces": _add_columns(faces, (shown.end_s - shown.start_s)[frame_of_face], reason, tracked, moving),
        "tracks": tracks_table(tracked),
        "episodes": episodes_table(tracked, config.episodes),
        "transitions": transitions_table(tracked),
    }
    tables = {name: conform(made[name], timeline_schema(schema)) for name, schema in TIMELINE_TABLES.items()}
    return Timeline(**tables, identities=identities_table(observed, known))


@dataclass(frozen=True, eq=False)
class _Shown:
    """The time range in which each of n sampled frames is shown."""

    start_s: np.ndarray  # (n,)
    end_s: np.ndarray  # (n,) see `of`; NaN if unknown
    step_s: float  # median time between sampled frames; 0 if there is only one

    def __len__(self) -> int:
        return len(self.start_s)

    @classmethod
    def of(cls, pts_s: np.ndarray, lost_from_s: np.ndarray, end_s: float | None) -> "_Shown":
        """From the times of the frames; `end_s` is the end of the last one.

        A frame ends at the next sampled one. If data are lost in between, it ends where they begin, but not before the
        usual time between sampled frames has passed: losses between two sampled frames leave no gap.
        """
        step_s = float(np.median(np.diff(pts_s))) if len(pts_s) > 1 else 0.0
        if len(pts_s) == 0:
            return cls(pts_s, pts_s, step_s)
        if end_s is None or not is_later(end_s, pts_s[-1]):
            end_s = pts_s[-1] + step_s if step_s else np.nan
        ends_by_loss_s = np.maximum(lost_from_s, pts_s + step_s)
        return cls(pts_s, np.fmin(np.append(pts_s[1:], end_s), ends_by_loss_s), step_s)


def _frames_of_rows(observations: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """First row of each frame, and the frame of each row, counted from 0 in order of time."""
    frame_index = observations["frame_index"].to_numpy()
    face_index = to_float_array(observations, "face_index")
    is_new = begins_run(frame_index)
    twice = ~is_new[1:] & ~(face_index[1:] > face_index[:-1])  # also True for a second row without a face
    if twice.any():
        raise ValueError(f"frame {frame_index[1:][twice][0]} is observed twice: do segments overlap?")
    return np.flatnonzero(is_new), number_runs(is_new)


def _reasons(faces: pa.Table, config: QualityConfig) -> np.ndarray:
    """The quality reason of each face, as `gate_quality` codes it."""
    measures = {column.name: to_float_array(faces, column.name) for column in fields(QualityMeasures)}
    return gate_quality(QualityMeasures(**measures), config)


def _thumbnails(frames: pa.Table) -> np.ndarray:
    """The thumbnail of each frame, `(n, 48)`; NaN where it could not be decoded."""
    known = frames["look"].is_valid().to_numpy()
    thumbnails = np.full((len(frames), OBSERVATIONS.field("look").type.list_size), np.nan)
    thumbnails[known] = frames["look"].combine_chunks().flatten().to_numpy().reshape(-1, thumbnails.shape[1])
    return thumbnails


def _order_by_track(known: Identities, frame: np.ndarray, shot: np.ndarray, shown: _Shown) -> TrackOrder:
    """Order the faces by track, given the frame and the shot of each face."""
    row = np.argsort(known.track, kind="stable")
    row = row[known.track[row] >= 0]
    track = known.track[row]
    shot_of_track = number_runs(begins_run(track) | begins_run(shot[row]))
    frames = (shown.start_s, shown.end_s, local_frame_s(shown.start_s, shown.end_s))
    return TrackOrder(row, track, shot_of_track, *(values[frame[row]] for values in frames))


def _follow(
    faces: pa.Table,
    frame: np.ndarray,
    order: TrackOrder,
    is_good: np.ndarray,
    known: Identities,
    movements: Movements,
    config: TimelineConfig,
) -> TrackedFaces:
    """Smooth and label the probabilities of each track within its shots."""
    row, track, start_s, end_s = order.row, order.track, order.start_s, order.end_s
    det_score, face_px = to_float_array(faces, "det_score"), to_float_array(faces, "face_px")
    probabilities = to_float_array(faces, *PROBABILITIES)[row]
    is_classified = ~np.isnan(probabilities).any(1)
    is_left_out = speech_reasons(movements.is_speaking, movements.is_measured, config.quality.speech) >= 0
    is_ok = is_good & ~is_left_out
    counts = is_classified & is_ok if config.quality.gate else is_classified
    baselines = find_baselines(track, start_s, end_s, probabilities, counts, config.baseline)
    weights = np.where(counts, end_s - start_s, 0)
    corrected = correct(track, probabilities, baselines)
    smoothed = quantize_probabilities(smooth(order.shot, start_s, end_s, corrected, weights, config.smoothing))
    smoothed[is_left_out] = np.nan  # no label is carried into them
    has_label = ~np.isnan(smoothed[:, 0])
    # A label outlasts rows without one, unless a shot ends or too much time passes.
    stretch = stretches(order.shot[has_label], start_s[has_label], end_s[has_label])
    label = np.full(len(row), -1, np.int8)
    label[has_label] = steady_labels(stretch, smoothed[has_label], config.smoothing.min_lead)
    return TrackedFaces(
        row=row,
        track=track,
        shot=order.shot,
        frame=frame,
        start_s=start_s,
        end_s=end_s,
        det_score=det_score[row],
        face_px=face_px[row],
        is_switch=known.is_switch[row],
        is_ok=is_ok,
        is_left_out=is_good & is_left_out,
        counts=counts,
        probabilities=probabilities,
        smoothed=smoothed,
        label=label,
        baselines=baselines,
        movements=movements,
    )


def _add_columns(
    faces: pa.Table, duration_s: np.ndarray, reason: np.ndarray, tracked: TrackedFaces, moving: dict[str, pa.Array]
) -> pa.Table:
    """Create the table `faces`: the observed faces with the columns of pass 2; `moving` has those of movements."""
    probabilities, p_other = to_float_array(faces, *PROBABILITIES), to_float_array(faces, "p_other")
    track, label = np.full(len(faces), -1), np.full(len(faces), -1)
    smoothed = np.full(probabilities.shape, np.nan)
    track[tracked.row], label[tracked.row], smoothed[tracked.row] = tracked.track, tracked.label, tracked.smoothed
    carried = np.zeros(len(faces), bool)
    carried[tracked.row] = tracked.is_carried
    columns = {
        "duration_s": to_column(duration_s, pa.float64()),
        "track_id": pa.array(track, pa.int32(), mask=track < 0),
        "emotion": decode_categories(top_emotion(probabilities), EMOTIONS),
        "p_max": to_column(probabilities.max(1), pa.float32()),
        "entropy": to_column(quantize(entropy_bits(probabilities, p_other), ENTROPY_STEP), pa.float32()),
        **emotion_columns("smooth", smoothed),
        "smooth_emotion": decode_categories(label, EMOTIONS),
        "label_carried": pa.array(carried, mask=label < 0),
        "valence_proxy": to_column(quantize(valence_proxy(probabilities), PROBABILITY_STEP), pa.float32()),
        "arousal_proxy": to_column(quantize(arousal_proxy(probabilities), PROBABILITY_STEP), pa.float32()),
        "quality_ok": pa.array(reason < 0),
        "quality_reason": decode_categories(reason, (*QUALITY_REASONS, *SPEECH_REASONS)),
        **moving,
    }
    faces = faces.drop_columns(["status", "detection", "look", "lost_from_s", "signature"])
    return pa.table({**dict(zip(faces.column_names, faces.columns, strict=True)), **columns})


def _frames_table(observations: pa.Table, n_faces: np.ndarray, shown: _Shown, is_shot_boundary: np.ndarray) -> pa.Table:
    """Create the table `frames` from the first observation of each frame."""
    unseen = pc.invert(pc.is_in(observations["status"], pa.array(SEEN_STATUSES))).to_numpy()
    columns = {
        "frame_index": observations["frame_index"],
        "pts_s": observations["pts_s"],
        "duration_s": to_column(shown.end_s - shown.start_s, pa.float64()),
        "status": observations["status"],
        "detection": observations["detection"],
        "n_faces": pa.array(n_faces, pa.int32(), mask=unseen),
        "is_cut": pa.array(is_shot_boundary),
    }
    return pa.table(columns)
