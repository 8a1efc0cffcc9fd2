"""Assign faces to tracks: link them from frame to frame, then associate tracklets over the whole video."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from analytics.tables.arrow_utils import to_float_array
from analytics.tables.schema import IDENTITIES, OBSERVATIONS
from analytics.tracking.reid import ReidConfig, associate_tracklets
from analytics.tracking.tracker import TrackerConfig, confirm, link_faces
from fer_models.errors import FervidError

APPEARANCE_BYTES = OBSERVATIONS.field("signature").type.list_size
# Part of the settings of identities; increase it when the same settings give different tracks than before.
IDENTITY_VERSION = 3


class IdentitiesError(FervidError):
    """Stored identities do not belong to these observations."""


@dataclass(frozen=True, eq=False)
class Identities:
    """The tracks of the m faces of a video."""

    track: np.ndarray  # (m,) int64: 0, 1, … in order of first appearance; -1 for faces in no track
    is_switch: np.ndarray  # (m,) bool, True where a track may have switched to another person, see `schema.IDENTITIES`
    used_appearance: bool  # False if no face had an appearance descriptor


def identify(
    faces: pa.Table,
    frame: np.ndarray,
    pts_s: np.ndarray,
    shot: np.ndarray,
    step_s: float,
    tracker: TrackerConfig,
    reid: ReidConfig,
) -> Identities:
    """Assign each face to a track.

    Args:
        faces: rows of `schema.OBSERVATIONS` that are faces, by time and index in the frame.
        frame: (m,) number of each face's frame, non-decreasing.
        pts_s: (m,) its time.
        shot: (m,) number of the shot that it is in.
        step_s: usual time between two sampled frames.
        tracker: settings of the links from frame to frame.
        reid: settings of the links over the whole video.
    """
    boxes_xyxy = to_float_array(faces, "x1_px", "y1_px", "x2_px", "y2_px")
    where = {"frame": frame, "pts_s": pts_s, "boxes_xyxy": boxes_xyxy, "shot": shot}
    tracklet = link_faces(**where, det_score=to_float_array(faces, "det_score"), config=tracker, step_s=step_s)
    appearance = _appearances(faces)
    joined = associate_tracklets(tracklet, **where, appearance=appearance, config=reid)
    track = confirm(joined.track, pts_s, tracker)
    return Identities(track, joined.is_switch & (track >= 0), appearance is not None)


def _appearances(faces: pa.Table) -> np.ndarray | None:
    """The appearance descriptor of each face, `(m, 60)` with NaN where it is not known; None if none is known."""
    known = faces["signature"].is_valid().to_numpy()
    if not known.any():
        return None
    appearances = np.full((len(faces), APPEARANCE_BYTES), np.nan, np.float32)
    appearances[known] = faces["signature"].combine_chunks().flatten().to_numpy().reshape(-1, APPEARANCE_BYTES)
    return appearances


def identities_table(faces: pa.Table, identities: Identities) -> pa.Table:
    """The rows of `schema.IDENTITIES` to store."""
    columns = {
        "frame_index": faces["frame_index"],
        "face_index": faces["face_index"],
        "track_id": pa.array(identities.track, pa.int32(), mask=identities.track < 0),
        "is_switch": pa.array(identities.is_switch),
        "by_look": pa.repeat(pa.scalar(identities.used_appearance), len(faces)),
    }
    return pa.table(columns).cast(IDENTITIES)


def known_identities(faces: pa.Table, table: pa.Table) -> Identities:
    """Restore the identities that `identities_table` stored for the same faces.

    Raises:
        IdentitiesError: if they belong to other faces.
    """
    if not all(faces[name].equals(table[name]) for name in ("frame_index", "face_index")):
        raise IdentitiesError("stored identities are of other faces: analyze the video again with --overwrite")
    return Identities(
        table["track_id"].fill_null(-1).to_numpy().astype(np.int64),
        table["is_switch"].to_numpy(),
        bool(len(table)) and table["by_look"][0].as_py(),
    )
