"""Summarize what each person showed during events, such as stimuli or markers."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analytics.queries.event_files import read_events
from analytics.queries.groups import check_spelling, persons_of_tracks
from analytics.queries.sql_files import map_videos
from analytics.results.video_record import NamedVideo
from analytics.results.videos import choose_videos, known_videos
from analytics.tables.arrow_utils import decode_categories, emotion_columns, encode_categories, to_float_array
from analytics.tables.result_schemas import DURING_EVENTS
from analytics.tables.schema import EVENTS_OF_VIDEOS, SPEECH_REASONS, conform
from analytics.time_tolerance import is_later
from fer_models.labels import EMOTIONS

_WITHOUT_FILTER = "SELECT video_id FROM videos WHERE settings ->> '$.timeline.quality.gate' = 'false'"


def during_events(connection: duckdb.DuckDBPyConnection, events: Path | pa.Table, *, before_s: float = 5.0) -> pa.Table:
    """Summarize the emotions of each person during each event, and the difference from the seconds before.

    A row per video, event and track; see `result_schemas.DURING_EVENTS` for the columns.

    Args:
        connection: the results.
        events: a CSV file with the columns start_s, end_s, label and optionally video, or the result of `read_events`.
        before_s: length of the time before an event to compare with.

    Raises:
        EventsError: if the file cannot be read or a line is wrong.
        UnknownVideoError: if an event names a video that is not in the results.
        GroupError: if two labels differ only in case or blanks.
    """
    rows = during_matched_events(connection, match_events(connection, events), before_s=before_s)
    return rows.drop_columns("video_id")


def match_events(connection: duckdb.DuckDBPyConnection, events: Path | pa.Table) -> pa.Table:
    """The rows of `schema.EVENTS_OF_VIDEOS`: the events of a file or table, for each video that they apply to.

    Raises:
        GroupError: if two labels differ only in case or blanks.
    """
    return events_of_videos(*events_and_videos(connection, events))


def events_and_videos(
    connection: duckdb.DuckDBPyConnection, events: Path | pa.Table
) -> tuple[pa.Table, Sequence[NamedVideo]]:
    """The events of a file or table, and the videos that they can belong to.

    Raises:
        EventsError: if the file cannot be read or a line is wrong.
        GroupError: if two labels differ only in case or blanks.
    """
    events = read_events(events) if isinstance(events, Path) else events
    check_spelling(events["label"].to_pylist(), "the events")
    return events, known_videos(connection)


def rows_by_event(events: pa.Table, videos: Sequence[NamedVideo]) -> list[list[dict[str, Any]]]:
    """The rows of `schema.EVENTS_OF_VIDEOS` of each event, one per video that it applies to.

    Rows that repeat those of another event are left out, and so are events without other rows.
    """
    everywhere = list(dict.fromkeys(video.video_id for video in videos))
    # Each name is looked up once, because a file that was moved is found by its content.
    ids_of = {name: choose_videos(videos, [name]) for name in dict.fromkeys(events["video"].drop_null().to_pylist())}
    found: list[list[dict[str, Any]]] = []
    seen: set[tuple[str, ...]] = set()
    # Events of all videos come first, so that those of single videos repeat them, not the other way around.
    for event in sorted(events.to_pylist(), key=lambda event: event["video"] is not None):
        ids = everywhere if event["video"] is None else ids_of[event["video"]]
        rows = {(video_id, event["label"], event["start_s"], event["end_s"]): video_id for video_id in ids}
        if ids and rows.keys() <= seen:
            continue
        found.append([event | {"video_id": video_id} for key, video_id in rows.items() if key not in seen])
        seen |= rows.keys()
    return found


def during_matched_events(
    connection: duckdb.DuckDBPyConnection, of_videos: pa.Table, *, before_s: float = 5.0
) -> pa.Table:
    """Summarize the emotions of each person during each event of their video, as `during_events`, with the video_id."""
    unfiltered = {row[0] for row in connection.sql(_WITHOUT_FILTER).fetchall()}
    persons = persons_of_tracks(connection)

    def answer(video_id: str, faces: pa.Table) -> pa.Table:
        mine = of_videos.filter(pc.equal(of_videos["video_id"], video_id))
        rows = events_table(mine, faces, before_s=before_s, all_faces_count=video_id in unfiltered)
        names = [persons[video_id, track_id] for track_id in rows["track_id"].to_pylist()]
        rows = rows.add_column(0, "person", pa.array(names, pa.string()))
        return rows.add_column(0, "video_id", pa.repeat(pa.scalar(video_id), len(rows)))

    schema = DURING_EVENTS.insert(0, pa.field("person", pa.string())).insert(0, pa.field("video_id", pa.string()))
    return map_videos(connection, schema, answer)


def events_of_videos(events: pa.Table, videos: Sequence[NamedVideo]) -> pa.Table:
    """The events of each video, by video and time: the rows of `schema.EVENTS_OF_VIDEOS`, each once.

    Args:
        events: as returned by `read_events`; an event without a video applies to every video.
        videos: those in the results; a video may be in it several times.

    Raises:
        UnknownVideoError: if an event names a video that is not there, or a name that several have.
    """
    rows = [row for of_event in rows_by_event(events, videos) for row in of_event]
    table = pa.Table.from_pylist(rows, schema=EVENTS_OF_VIDEOS)
    return table.sort_by([(name, "ascending") for name in ("video_id", "start_s", "end_s", "label")])


def merge_overlaps(events: pa.Table) -> pa.Table:
    """Merge overlapping events of the same video and label; the columns are those of `schema.EVENTS_OF_VIDEOS`."""
    merged: list[dict[str, Any]] = []
    latest: dict[tuple[str, str], dict[str, Any]] = {}  # the last event of each video and label so far
    for event in events.sort_by("start_s").to_pylist():
        key = event["video_id"], event["label"]
        if key in latest and event["start_s"] <= latest[key]["end_s"]:
            latest[key]["end_s"] = max(latest[key]["end_s"], event["end_s"])
        else:
            latest[key] = event
            merged.append(event)
    return pa.Table.from_pylist(merged, EVENTS_OF_VIDEOS)


def events_table(
    events: pa.Table, faces: pa.Table, *, before_s: float = 5.0, all_faces_count: bool = False
) -> pa.Table:
    """Summarize what each track of one video showed during each event, and how that differs from just before.

    A face counts for as long as its frame is shown within the event. Probabilities are those of good faces without
    smoothing, so that nothing outside an event contributes to it.

    Args:
        events: label, start_s and end_s of each event of the video.
        faces: rows of the table `faces` of the video.
        before_s: length of the time before an event to compare with.
        all_faces_count: whether means include faces of low quality, as in analyses made with --no-gate.

    Returns:
        The rows of `result_schemas.DURING_EVENTS`: one per event and track seen in it, in the
        order of `events`, then by track.
    """
    faces = faces.filter(faces["track_id"].is_valid())
    tracks, number = np.unique(faces["track_id"].to_numpy(), return_inverse=True)
    is_classified = faces["p_angry"].is_valid().to_numpy()
    is_ok = faces["quality_ok"].to_numpy()
    tracked = _TrackedFaces(
        number,
        to_float_array(faces, "pts_s"),
        to_float_array(faces, "pts_s") + np.nan_to_num(to_float_array(faces, "duration_s")),
        is_ok,
        pc.is_in(faces["quality_reason"], pa.array(SPEECH_REASONS)).to_numpy(),
        is_classified if all_faces_count else is_classified & is_ok,
        to_float_array(faces, *(f"p_{name}" for name in EMOTIONS)),
        encode_categories(faces["smooth_emotion"], EMOTIONS),
    )
    spans = zip(*(events[name].to_pylist() for name in ("label", "start_s", "end_s")), strict=True)
    rows = []
    # The first interval is empty and gives no rows, only the columns.
    for label, start_s, end_s in [("", 0.0, 0.0), *spans]:
        during = _interval_totals(tracked, start_s, end_s)
        before = _interval_totals(tracked, start_s - before_s, start_s)
        rows.append(_event_rows(label, start_s, end_s, tracks, during, before))
    return conform(pa.concat_tables(rows), DURING_EVENTS)


@dataclass(frozen=True, eq=False)
class _TrackedFaces:
    """The m faces that are in tracks."""

    track: np.ndarray  # (m,) number of the track of each face, from 0
    start_s: np.ndarray  # (m,) time at which the frame of the face is first shown
    end_s: np.ndarray  # (m,) time at which the next frame replaces that frame
    is_ok: np.ndarray  # (m,) bool, True for faces of good quality that --speech does not leave out
    is_left_out: np.ndarray  # (m,) bool, True for good faces that --speech leaves out
    counts: np.ndarray  # (m,) bool, True if the probabilities of the face count in means
    probabilities: np.ndarray  # (m, 7)
    label: np.ndarray  # (m,) index of the smoothed emotion, -1 where not known


@dataclass(frozen=True, eq=False)
class _IntervalTotals:
    """Times and mean probabilities of each of t tracks in a time interval."""

    seen_s: np.ndarray  # (t,)
    ok_s: np.ndarray  # (t,)
    left_out_s: np.ndarray  # (t,)
    label_s: np.ndarray  # (t, 7)
    mean: np.ndarray  # (t, 7) mean probabilities, NaN if no face counts

    def of(self, which: np.ndarray | slice) -> "_IntervalTotals":
        """Select some of the tracks."""
        return _IntervalTotals(*(getattr(self, field.name)[which] for field in fields(self)))


def _interval_totals(tracked: _TrackedFaces, start_s: float, end_s: float) -> _IntervalTotals:
    """Compute the times and mean probabilities of each track from `start_s` to `end_s`."""
    n_tracks = int(tracked.track.max(initial=-1)) + 1
    time_s = np.minimum(tracked.end_s, end_s) - np.maximum(tracked.start_s, start_s)
    time_s = np.where(is_later(time_s, 0), time_s, 0)
    counted_s = np.where(tracked.counts, time_s, 0)
    p = np.where(tracked.counts[:, None], tracked.probabilities, 0)
    labels = tracked.label[:, None] == np.arange(len(EMOTIONS))

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(tracked.track, values, n_tracks)

    track_s = total(counted_s)
    with np.errstate(invalid="ignore"):
        mean = np.column_stack([total(counted_s * p[:, k]) / track_s for k in range(len(EMOTIONS))])
    return _IntervalTotals(
        seen_s=total(time_s),
        ok_s=total(time_s * tracked.is_ok),
        left_out_s=total(time_s * tracked.is_left_out),
        label_s=np.column_stack([total(time_s * is_label) for is_label in labels.T]),
        mean=mean,
    )


def _event_rows(
    label: str, start_s: float, end_s: float, tracks: np.ndarray, during: _IntervalTotals, before: _IntervalTotals
) -> pa.Table:
    """A row for each track seen in the event."""
    there = np.flatnonzero(during.seen_s > 0)
    shown = during.of(there)
    labelled_s = shown.label_s.sum(axis=1)
    with np.errstate(invalid="ignore"):
        share = shown.label_s / labelled_s[:, None]
    longest = shown.label_s.round(6).argmax(axis=1)  # rounded, so that the first of equal times is chosen
    return pa.table(
        {
            "label": pa.repeat(pa.scalar(label), len(there)),
            "start_s": pa.repeat(pa.scalar(start_s, pa.float64()), len(there)),
            "end_s": pa.repeat(pa.scalar(end_s, pa.float64()), len(there)),
            "track_id": pa.array(tracks[there], pa.int32()),
            "seen_s": shown.seen_s,
            "ok_s": shown.ok_s,
            "left_out_s": shown.left_out_s,
            "labelled_s": labelled_s,
            "emotion": decode_categories(np.where(labelled_s > 0, longest, -1), EMOTIONS),
            **emotion_columns("share", share),
            **emotion_columns("mean", shown.mean),
            **emotion_columns("change", shown.mean - before.of(there).mean),
        }
    )
