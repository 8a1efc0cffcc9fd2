"""Find out whether two analyses of a video number people alike.

Names, hidden people and corrections refer to people by the number of their track. Another detector or other settings
may number the tracks otherwise, so tracks are compared face by face.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analytics.errors import StoreError
from analytics.results.arrow_files import read_table
from analytics.results.corrections import CorrectionError, config_of
from analytics.results.ids import identities_id
from analytics.results.notes import Notes, noted_tracks
from analytics.results.store import Store
from analytics.results.table_files import table_path
from analytics.results.video_record import VideoRecord
from fer_models.boxes import paired_iou

FACE = ("frame_index", "face_index")
BOX = ("x1_px", "y1_px", "x2_px", "y2_px")
MIN_IOU = 0.5  # a face of one analysis is a face of the other if their boxes overlap by this much
MIN_SHARE = 0.9  # tracks of the same number are of the same person if this share of the faces of each is in both


@dataclass(frozen=True)
class FollowedTrack:
    """The track that most faces of an earlier track are in, and whether nearly all of them are."""

    track_id: int
    is_whole: bool


def followed_tracks(store: Store, before: VideoRecord, after: VideoRecord) -> dict[int, FollowedTrack]:
    """The track in `after` of each track in `before`, for two analyses of the same observations.

    Tracks are missing whose faces are in no track anymore.
    """
    old, new = (_tracked_faces(store, row) for row in (before, after))
    pairs = old.join(new, list(FACE), join_type="inner", right_suffix="_after")
    counts = pairs.group_by(["track_id", "track_id_after"]).aggregate([([], "count_all")]).to_pylist()
    followed = {}
    for track in {count["track_id"] for count in counts}:
        n_faces = {count["track_id_after"]: count["count_all"] for count in counts if count["track_id"] == track}
        most = max(n_faces, key=lambda number: n_faces[number])
        followed[track] = FollowedTrack(most, n_faces[most] >= MIN_SHARE * sum(n_faces.values()))
    return followed


def _tracked_faces(store: Store, row: VideoRecord) -> pa.Table:
    """Frame, index and track of each face that is in a track."""
    faces = read_table(table_path(store.root, "faces", row.video_id, row.analysis_id), columns=[*FACE, "track_id"])
    return faces.filter(pc.is_valid(faces["track_id"]))


def analyses_of_names(store: Store, analyses: Sequence[VideoRecord], notes: Notes) -> dict[int, list[str]]:
    """The ids of the analyses of a video in which a named track is the person who was named, for each named track.

    If the analysis in which it was named is gone or not known, these are the analyses with the tracks of all others.
    """
    known = {row.analysis_id: row for row in analyses}
    of_analysis = {
        named_in: [
            row.analysis_id
            for row in analyses
            if all(
                _keeps_names(store, named, row, notes)
                for named in ([known[named_in]] if named_in in known else analyses)
            )
        ]
        for named_in in set(notes.named_in.values())
    }
    return {track: of_analysis[named_in] for track, named_in in notes.named_in.items()}


def _keeps_names(store: Store, named: VideoRecord, other: VideoRecord, notes: Notes) -> bool:
    """Whether names given in one analysis hold in another one: it has the same tracks, and at least its corrections."""
    if named.analysis_id == other.analysis_id:
        return True
    before, after = (row.stored_settings.get("timeline", {}).get("corrections", []) for row in (named, other))
    return after[: len(before)] == before and has_same_tracks(store, named, other, notes)


def has_same_tracks(store: Store, before: VideoRecord, after: VideoRecord, notes: Notes) -> bool:
    """Whether the tracks to which notes refer are of the same people in two analyses, before any correction."""
    try:
        if _identities_of(before) == _identities_of(after):
            return True
        old, new = _faces_and_tracks(store, before), _faces_and_tracks(store, after)
    except (StoreError, CorrectionError):  # files are gone, or another version wrote the settings
        return False
    n_old, n_new = (pc.count_distinct(faces["track_id"]).as_py() for faces in (old, new))
    splits = [correction for correction in notes.corrections if correction.kind == "split"]
    if splits and n_old != n_new:  # the parts that were split off would get other numbers
        return False
    # Numbers from `n_old` on are of parts that were split off, or had been before that was undone.
    tracks = noted_tracks(notes)
    return not any(n_old <= track < n_new for track in tracks) and all(
        _is_same(old, new, track) for track in tracks if track < n_old
    )


def numbering_id(row: VideoRecord) -> str:
    """Identify how an analysis numbers people, whatever its corrections; with another id, numbers may be of others."""
    try:
        return _identities_of(row)
    except (ValueError, CorrectionError):  # no observations are stored, or another version wrote the settings
        return row.analysis_id


def _identities_of(row: VideoRecord) -> str:
    """The id of the tracks of an analysis, before corrections."""
    return identities_id(row.observed[1], config_of(row.stored_settings).identity_settings())


def _faces_and_tracks(store: Store, row: VideoRecord) -> pa.Table:
    """Frame, box and track of each face, before corrections; a row without a box for each frame without a face.

    Raises:
        StoreError: if observations or identities are gone.
    """
    observations = store.read_observations(*row.observed, store.n_segments(*row.observed))
    identities = store.read_identities(*row.observed, _identities_of(row))
    if identities is None:
        raise StoreError(f"{row.path}: the tracks of this analysis are missing: analyze the video again")
    tracks = identities.select([*FACE, "track_id"])
    return observations.select([*FACE, *BOX]).join(tracks, list(FACE))


def _is_same(old: pa.Table, new: pa.Table, track: int) -> bool:
    """Whether a track is of the same person in two analyses, as nearly all of its faces are in the other one."""
    return all(_share_found(faces, others, track) >= MIN_SHARE for faces, others in ((old, new), (new, old)))


def _share_found(faces: pa.Table, others: pa.Table, track: int) -> float:
    """The share of the faces of a track, in frames of both analyses, that are in this track in the other one, too."""
    (mine, theirs) = (table.filter(pc.equal(table["track_id"], track)) for table in (faces, others))
    n_common = pc.sum(pc.is_in(mine["frame_index"], others["frame_index"].combine_chunks())).as_py()
    pairs = mine.join(theirs, "frame_index", join_type="inner", right_suffix="_other")
    boxes = (np.stack([pairs[name + suffix].to_numpy() for name in BOX], axis=1) for suffix in ("", "_other"))
    return float((paired_iou(*boxes) >= MIN_IOU).sum()) / n_common if n_common else 0.0
