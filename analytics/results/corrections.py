"""Apply manual corrections: rebuild the timeline of a video with the merges and splits in its notes.

Track ids stay stable: a merged track takes the id of the track it is merged into, and a split-off one gets the next
free id, so that names and earlier corrections stay valid.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from analytics.errors import StoreError
from analytics.results.ids import analysis_id
from analytics.results.notes import Correction, read_notes, stored_corrections
from analytics.results.store import Store
from analytics.results.stored_timeline import build_stored_timeline
from analytics.results.video_record import VideoRecord
from analytics.tables.arrow_utils import to_float_array
from analytics.tables.schema import IDENTITIES, TIMELINE_TABLES, conform, timeline_schema
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from analytics.tracking.identities import IdentitiesError
from fer_models.errors import FervidError

Config = TypeVar("Config")
logger = logging.getLogger(__name__)


class CorrectionError(FervidError):
    """A correction does not fit the tracks of the video, or its timeline cannot be built again."""


def corrected_settings(config: TimelineConfig, corrections: Sequence[Correction]) -> dict[str, object]:
    """The settings that identify a timeline with these corrections; without any, those of `config`."""
    settings = config.settings()
    return settings | {"corrections": stored_corrections(corrections)} if corrections else settings


def corrected_id(row: VideoRecord, corrections: Sequence[Correction]) -> str | None:
    """The id of an analysis with these corrections in place of its own; None if another version wrote its settings."""
    try:
        return analysis_id(row.observed[1], corrected_settings(config_of(row.stored_settings), corrections))
    except CorrectionError:
        return None


def correct_tracks(track: np.ndarray, pts_s: np.ndarray, corrections: Sequence[Correction]) -> np.ndarray:
    """The track of each face after the corrections, in their order.

    Args:
        track: (m,) track of each face, -1 for none.
        pts_s: (m,) time of each face.
        corrections: a merge gives all faces of a track to another one, a split those from a time on to a new one.

    Raises:
        CorrectionError: if a track does not exist, tracks to merge are visible at the same time, or a split would leave
            one half empty.

    >>> correct_tracks(np.array([0, 1, 1]), np.array([0.0, 1.0, 2.0]), [Correction("split", 1, 1.5)])
    array([0, 1, 2])
    """
    track = track.copy()
    next_id = int(track.max(initial=-1)) + 1
    for correction in corrections:
        is_track = track == correction.track_id
        if not is_track.any():
            raise CorrectionError(f"There is no track P{correction.track_id} anymore.")
        if correction.kind == "merge":
            if not (track == int(correction.value)).any():
                raise CorrectionError(f"There is no track P{correction.value:.0f} anymore.")
            if len(common_s := np.intersect1d(pts_s[is_track], pts_s[track == int(correction.value)])):
                raise CorrectionError(
                    f"P{correction.track_id} and P{correction.value:.0f} are two people: both are visible in "
                    f"{len(common_s)} frames, first at {common_s[0]:.2f} s. Split one of them before you merge."
                )
            track[is_track] = int(correction.value)
            continue
        new_id = next_id if correction.new_track_id is None else correction.new_track_id
        if (track == new_id).any():
            raise CorrectionError(f"P{correction.track_id} cannot be split: there is a track P{new_id} already.")
        is_later = is_track & (pts_s >= correction.value)
        if not is_later.any() or is_later.sum() == is_track.sum():
            raise CorrectionError(
                f"P{correction.track_id} cannot be split at {correction.value:.2f} s: it has no faces before or after."
            )
        track[is_later] = new_id
        next_id += correction.new_track_id is None
    return track


def remaining_switches(is_switch: np.ndarray, track: np.ndarray, corrected: np.ndarray) -> np.ndarray:
    """Where a track may still have switched to another person after corrections.

    Whether a face is of the same person as the face before it in its track is no longer in doubt once a correction has
    put the two into different tracks.

    Args:
        is_switch: (m,) bool, whether it is in doubt for each face, ordered by time.
        track: (m,) track of each face before the corrections, -1 for none.
        corrected: (m,) its track after them.

    >>> remaining_switches(np.array([False, True, True]), np.array([0, 0, 0]), np.array([0, 0, 1]))
    array([False,  True, False])
    """
    row = np.argsort(track, kind="stable")
    before, after = row[:-1], row[1:]
    is_same = np.zeros(len(track), bool)
    is_same[after] = (track[after] == track[before]) & (corrected[after] == corrected[before])
    return is_switch & is_same


def build_corrected_timeline(
    observations: pa.Table,
    config: TimelineConfig,
    identities: pa.Table,
    corrections: Sequence[Correction],
    *,
    end_s: float | None = None,
) -> Timeline:
    """Build the timeline of a video with corrected tracks.

    Args:
        observations: all of the video.
        config: the settings.
        identities: `Timeline.identities` before the corrections.
        corrections: what to change.
        end_s: as for `build_timeline`.

    Raises:
        CorrectionError: if a correction does not fit the tracks.
        IdentitiesError: if the identities belong to other faces.
    """
    frames = observations["frame_index"].to_pylist()
    time_of_frame = dict(zip(frames, to_float_array(observations, "pts_s").tolist(), strict=True))
    pts_s = np.array([time_of_frame[frame] for frame in identities["frame_index"].to_pylist()], float)
    uncorrected = identities["track_id"].fill_null(-1).to_numpy().astype(np.int64)
    track = correct_tracks(uncorrected, pts_s, corrections)
    ids, dense = np.unique(track[track >= 0], return_inverse=True)  # pass 2 numbers tracks without gaps
    numbered = np.full(len(track), -1)
    numbered[track >= 0] = dense
    columns = {
        "track_id": pa.array(numbered, pa.int32(), mask=numbered < 0),
        "is_switch": pa.array(remaining_switches(identities["is_switch"].to_numpy(), uncorrected, track)),
    }
    corrected = conform(
        pa.table(dict(zip(identities.column_names, identities.columns, strict=True)) | columns), IDENTITIES
    )
    timeline = build_timeline(observations, config, corrected, end_s=end_s)
    tables = {name: _with_ids(table, ids) for name, table in timeline.tables().items()}
    renamed = {name: conform(table, timeline_schema(TIMELINE_TABLES[name])) for name, table in tables.items()}
    return Timeline(**renamed, identities=identities)


def _with_ids(table: pa.Table, ids: np.ndarray) -> pa.Table:
    """Replace the number of each track with its id."""
    if "track_id" not in table.column_names:
        return table
    number = table["track_id"].fill_null(-1).to_numpy()
    track = np.append(ids, -1)[number]  # the number -1 selects the last entry, which is -1
    position = table.schema.get_field_index("track_id")
    return table.set_column(position, "track_id", pa.array(track, pa.int32(), mask=track < 0))


def rebuild_with_notes(store: Store, row: VideoRecord) -> None:
    """Build the timeline of a video again, with its settings and the corrections in its notes; views then show it.

    Args:
        store: the results.
        row: of the view `videos`.

    Raises:
        CorrectionError: if a correction does not fit, or the observations or identities are gone.
        StoreError: if the results cannot be written.
    """
    video, path = row.video_id, row.path
    corrections = read_notes(store.root, video).corrections
    stored = row.stored_settings
    config = config_of(stored)
    settings = corrected_settings(config, corrections)
    observation_ids, end_s = row.observed, row.shown_until_s
    analyzed = analysis_id(observation_ids[1], settings)
    if store.is_done(video, analyzed):
        store.show_analysis(row, analyzed)
        return
    try:
        observations = store.read_observations(*observation_ids, store.n_segments(*observation_ids))
        timeline = build_stored_timeline(store, *observation_ids, observations, config, end_s=end_s)
        if corrections:
            timeline = build_corrected_timeline(observations, config, timeline.identities, corrections, end_s=end_s)
    except (StoreError, IdentitiesError) as error:
        raise CorrectionError(f"{path}: the timeline cannot be built again: {error}") from error
    changed = {
        "analysis_id": analyzed,
        "settings": json.dumps(stored | {"timeline": settings}),
        "started_at": datetime.now(UTC),
    }
    store.commit_analysis(row.columns() | changed, timeline)


def config_of(stored: Mapping[str, Any]) -> TimelineConfig:
    """The settings of pass 2 in the column `settings` of the table `videos`, without corrections.

    A stage that did not exist when the results were made has its default settings.

    Raises:
        CorrectionError: if another version wrote them.
    """
    default = TimelineConfig()
    try:
        stages = {
            stage.name: _like(getattr(default, stage.name), stored["timeline"].get(stage.name, {}))
            for stage in fields(TimelineConfig)
        }
        return TimelineConfig(**stages)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorrectionError(
            "These results were made by another version: run `fervid timeline` on them first."
        ) from error


def _like(default: Config, stored: Mapping[str, Any]) -> Config:
    """Restore a configuration, including nested ones, from stored values; `default` provides the types."""
    values = {
        name: _like(getattr(default, name), value)
        if isinstance(value, dict)
        else (tuple(value) if isinstance(value, list) else value)
        for name, value in stored.items()
    }
    return type(default)(**values)
