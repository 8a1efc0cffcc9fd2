"""The observations of pass 1 as a table: a row per face, and one for each frame without a face."""

from dataclasses import fields

import numpy as np
import pyarrow as pa

from analytics.tables.arrow_utils import emotion_columns, to_column
from analytics.tables.schema import OBSERVATIONS
from fer_models.boxes import face_size_px
from fer_models.frame_batch import FaceBatch, FaceLandmarks
from fer_models.labels import EMOTIONS
from fer_models.observation import Observation

# How far the tip of the nose lies in front of the eyes, in distances between the eyes. In a turned head, the nose is
# therefore off center, which measures the yaw.
NOSE_DEPTH = 0.5


def observations_table(
    observation: Observation, *, lost_from_s: np.ndarray | None = None, missing_status: str = "decode_error"
) -> pa.Table:
    """The rows of `schema.OBSERVATIONS` for some frames of a video.

    Args:
        observation: the frames, and the faces in them.
        lost_from_s: (h,) `VideoInfo.lost_from_s`; None: no data are lost.
        missing_status: the status of frames that were not decoded.

    Raises:
        ValueError: if lengths do not agree, faces are not in order, or a frame that was not decoded has one.
    """
    faces, decoded, n, m = observation.faces, observation.decoded, len(observation.frame_index), len(observation.faces)
    pts_s, probabilities = observation.pts_s, observation.probabilities
    if not n == len(pts_s) == len(decoded) or probabilities.shape != (m, len(EMOTIONS)):
        raise ValueError(
            f"{n} frames and {m} faces, but {pts_s.shape = }, {decoded.shape = }, {probabilities.shape = }"
        )
    if (np.diff(faces.frame) < 0).any() or not decoded[faces.frame].all():
        raise ValueError("faces must be ordered by frame and lie in decoded frames")
    n_faces = np.bincount(faces.frame, minlength=n)
    frame = np.repeat(np.arange(n), np.maximum(n_faces, 1))  # index of the frame of each row
    # Index of the face of each row, -1 for rows without a face.
    face = np.where(n_faces[frame] > 0, np.cumsum(n_faces[frame] > 0) - 1, -1)
    face_of_row = pa.array(face, mask=face < 0)
    of_face = {
        "face_index": pa.array(np.arange(m) - np.repeat(np.cumsum(n_faces) - n_faces, n_faces), pa.int16()),
        **_face_columns(observation),
    }
    status = np.select([~decoded, n_faces == 0], [missing_status, "no_face"], "ok")
    columns = {
        "status": pa.array(status[frame], pa.string()),
        **{name: values.take(pa.array(frame)) for name, values in _frame_columns(observation).items()},
        "lost_from_s": to_column(_next_loss_s(pts_s, lost_from_s)[frame], pa.float64()),
        **{name: values.take(face_of_row) for name, values in of_face.items()},
    }
    return pa.table(columns).select(OBSERVATIONS.names).cast(OBSERVATIONS)


def missing_frames_table(frame_index: np.ndarray, pts_s: np.ndarray, status: str) -> pa.Table:
    """The rows of `schema.OBSERVATIONS` for n frames that were not analyzed; `status` says why."""
    n = len(frame_index)
    nothing = np.empty(0, np.float32)
    observation = Observation(
        frame_index,
        pts_s,
        decoded=np.zeros(n, bool),
        thumbnail_rgb=np.zeros((n, OBSERVATIONS.field("look").type.list_size), np.uint8),
        faces=FaceBatch.empty(),
        probabilities=nothing.reshape(0, len(EMOTIONS)),
        blur=nothing,
        brightness=nothing,
        cut_off=nothing,
    )
    return observations_table(observation, missing_status=status)


def _frame_columns(observation: Observation) -> dict[str, pa.Array]:
    """The columns that describe frames, with a value per frame."""
    thumbnail_rgb = pa.array(observation.thumbnail_rgb.ravel(), pa.uint8())
    return {
        "frame_index": pa.array(observation.frame_index, pa.int64()),
        "pts_s": pa.array(observation.pts_s, pa.float64()),
        "detection": _detection(observation.is_full, observation.decoded),
        "look": pa.FixedSizeListArray.from_arrays(
            thumbnail_rgb, observation.thumbnail_rgb.shape[1], mask=pa.array(~observation.decoded)
        ),
    }


def _next_loss_s(pts_s: np.ndarray, lost_from_s: np.ndarray | None) -> np.ndarray:
    """The first of `lost_from_s` after each frame, NaN if there is none."""
    times_s = np.append([] if lost_from_s is None else lost_from_s, np.nan)
    return times_s[np.searchsorted(times_s[:-1], pts_s, side="right")]


def _face_columns(observation: Observation) -> dict[str, pa.Array]:
    """The columns that describe faces, with a value per face."""
    faces, m = observation.faces, len(observation.faces)
    measures = {
        **dict(zip(("x1_px", "y1_px", "x2_px", "y2_px"), faces.boxes_xyxy.T, strict=True)),
        "det_score": faces.det_score,
        **face_geometry(faces.boxes_xyxy, faces.landmarks_xy),
        "blur": observation.blur,
        "brightness": observation.brightness,
        "cut_off": observation.cut_off,
    }
    return {
        "landmarks_px": pa.FixedSizeListArray.from_arrays(pa.array(faces.landmarks_xy.ravel(), pa.float32()), 10),
        **{name: to_column(values, pa.float32()) for name, values in measures.items()},
        **emotion_columns("p", observation.probabilities),
        **_further_outputs(observation.further, m),
        **_landmark_columns(observation.landmarks, m),
        "signature": _appearance_column(observation.appearance, m),
    }


def _detection(is_full: np.ndarray | None, decoded: np.ndarray) -> pa.Array:
    if is_full is None:
        return pa.nulls(len(decoded), pa.string())
    return pa.array(np.where(is_full, "full", "close_up"), pa.string(), mask=~decoded)


def _further_outputs(further: np.ndarray | None, m: int) -> dict[str, pa.Array]:
    values = np.full((m, 3), np.nan, np.float32) if further is None else further
    return {
        name: to_column(column, pa.float32())
        for name, column in zip(("p_other", "valence", "arousal"), values.T, strict=True)
    }


def _landmark_columns(landmarks: FaceLandmarks | None, m: int) -> dict[str, pa.Array]:
    names = [field.name for field in fields(FaceLandmarks)]
    if landmarks is None:
        return {name: pa.nulls(m, OBSERVATIONS.field(name).type) for name in names}
    columns = {name: to_column(getattr(landmarks, name), pa.float32()) for name in names if name != "points_px"}
    kind = OBSERVATIONS.field("points_px").type
    points = landmarks.points_px
    columns["points_px"] = (
        pa.nulls(m, kind)
        if points is None
        else pa.FixedSizeListArray.from_arrays(pa.array(points.ravel(), pa.float32()), type=kind)
    )
    return columns


def _appearance_column(appearance: np.ndarray | None, m: int) -> pa.Array:
    kind = OBSERVATIONS.field("signature").type
    return pa.nulls(m, kind) if appearance is None else pa.FixedSizeListArray.from_arrays(appearance.ravel(), type=kind)


def face_geometry(boxes_xyxy: np.ndarray, landmarks_xy: np.ndarray) -> dict[str, np.ndarray]:
    """Size and pose of faces from boxes `(m, 4)` and landmarks `(m, 5, 2)`: the columns of the schema, each `(m,)`.

    The yaw assumes a rigid, symmetric head seen from afar: enough to detect a turned head, not to measure it.
    """
    right_eye, left_eye, nose = landmarks_xy[:, 0], landmarks_xy[:, 1], landmarks_xy[:, 2]
    across = left_eye - right_eye
    interocular_px = np.hypot(across[:, 0], across[:, 1])
    along = across / np.maximum(interocular_px, 1e-6)[:, None]
    nose_offset = ((nose - (right_eye + left_eye) / 2) * along).sum(1) / np.maximum(interocular_px, 1e-6)
    return {
        "face_px": face_size_px(boxes_xyxy),
        "interocular_px": interocular_px,
        "yaw_deg": np.rad2deg(np.arctan(nose_offset / NOSE_DEPTH)),
        "roll_deg": np.rad2deg(np.arctan2(across[:, 1], across[:, 0])),
    }
