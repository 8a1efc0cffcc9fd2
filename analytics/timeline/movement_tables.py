"""From the columns of faces to movements, and from movements to the columns of faces and tracks."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from analytics.tables.arrow_utils import decode_categories, to_column, to_float_array
from analytics.tables.quantization import MEASURE_STEP, quantize
from analytics.tables.schema import MOVEMENT_KINDS, TRACKS
from analytics.timeline.movements import (
    MovementConfig,
    Movements,
    TrackedMeasures,
    find_movements,
    mean_of_known,
    relative_to_rest,
)


@dataclass(frozen=True, eq=False)
class TrackOrder:
    """The m faces that are in tracks, ordered by track and time."""

    row: np.ndarray  # (m,) index of the face in the table `faces`
    track: np.ndarray  # (m,) number of the track, from 0
    shot: np.ndarray  # (m,) whole numbers that change with the track and at shot boundaries
    start_s: np.ndarray  # (m,) time at which the frame is first shown
    end_s: np.ndarray  # (m,) time at which the next frame replaces it
    local_frame_s: np.ndarray  # (m,) mean duration of the frames around it, see `movements.local_frame_s`


def find_movements_of_faces(
    faces: pa.Table, order: TrackOrder, is_good: np.ndarray, config: MovementConfig
) -> Movements:
    """The movements of all tracks.

    Args:
        faces: the quantized faces.
        order: those in tracks.
        is_good: (m,) bool, whether each face in a track is of good quality; others count as not seen.
        config: the settings.
    """
    is_trusted = is_good & _has_trusted_landmarks(faces, order, config)

    def trusted(name: str) -> np.ndarray:
        return np.where(is_trusted, to_float_array(faces, name)[order.row], np.nan)

    measures = TrackedMeasures(
        track=order.track,
        part=order.shot,
        start_s=order.start_s,
        end_s=order.end_s,
        local_frame_s=order.local_frame_s,
        eye_openness=mean_of_known(trusted("eye_openness_left"), trusted("eye_openness_right")),
        mouth_opening=trusted("mouth_opening"),
        yaw_deg=trusted("head_yaw_deg"),
        pitch_deg=trusted("head_pitch_deg"),
    )
    return find_movements(measures, config)


def _has_trusted_landmarks(faces: pa.Table, order: TrackOrder, config: MovementConfig) -> np.ndarray:
    """Whether the landmarks of each face in a track can be trusted, (m,) bool; False if it has none."""
    is_trusted: np.ndarray = to_float_array(faces, "landmark_score")[order.row] >= config.min_landmark_score
    return is_trusted


def movement_columns(
    faces: pa.Table, order: TrackOrder, is_good: np.ndarray, movements: Movements, config: MovementConfig
) -> dict[str, pa.Array]:
    """The columns smile, brow_raise and is_speaking of the table faces; arguments as for `find_movements_of_faces`."""
    columns: dict[str, pa.Array] = {}
    is_trusted = _has_trusted_landmarks(faces, order, config)
    for name, measured in (("smile", "mouth_corner_height"), ("brow_raise", "brow_height")):
        trusted = np.where(is_trusted, to_float_array(faces, measured)[order.row], np.nan)
        values = np.full(len(faces), np.nan)
        values[order.row] = relative_to_rest(order.track, trusted, is_good)
        columns[name] = to_column(quantize(values, MEASURE_STEP), pa.float32())
    is_speaking, is_unknown = np.zeros(len(faces), bool), np.ones(len(faces), bool)
    is_speaking[order.row], is_unknown[order.row] = movements.is_speaking, ~movements.is_measured
    return columns | {"is_speaking": pa.array(is_speaking, mask=is_unknown)}


def movements_of_tracks(movements: Movements, n_tracks: int) -> pa.Array:
    """The column movements of the table `tracks`: a list for each of the tracks 0 to `n_tracks` - 1."""
    kind = TRACKS.field("movements").type
    columns = {
        "kind": decode_categories(movements.kind, MOVEMENT_KINDS),
        "start_s": pa.array(movements.start_s, pa.float64()),
        "end_s": pa.array(movements.end_s, pa.float64()),
        "strength": to_column(movements.strength, pa.float32()),
    }
    rows = pa.StructArray.from_arrays(list(columns.values()), fields=list(kind.value_type))
    bounds = np.searchsorted(movements.track, np.arange(n_tracks + 1))
    return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), rows, type=kind)
