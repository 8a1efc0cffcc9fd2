"""Sentences on events that an answer leaves out, repeats, or of which only a part counts.

The functions take the results and, unless they say otherwise, `events` as `events.during_events`, and raise its errors.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from analytics.queries.event_files import video_hint
from analytics.queries.events import events_and_videos, events_of_videos, match_events, rows_by_event
from analytics.results.video_record import analyzed_part
from analytics.time_tolerance import TIME_TOLERANCE_S, is_later

_DURATIONS = "SELECT video_id, duration_s, settings FROM videos WHERE status = 'done' AND duration_s IS NOT NULL"
_N_VIDEOS = "SELECT count(DISTINCT video_id) FROM videos"
_PATHS = "SELECT video_id, path FROM videos WHERE status = 'done'"
_KEY = ("video_id", "label", "start_s", "end_s")  # what identifies a row of `schema.EVENTS_OF_VIDEOS`
# The events during which a tracked face is seen.
_SEEN = f"""
SELECT DISTINCT {", ".join(_KEY)}
FROM visible('faces') AS faces JOIN videos USING (video_id, analysis_id)
    JOIN (SELECT {", ".join(f"unnest(${name}) AS {name}" for name in _KEY)}) USING (video_id)
WHERE track_id IS NOT NULL
    AND least(pts_s + faces.duration_s, end_s) - greatest(pts_s, start_s) > {TIME_TOLERANCE_S}
"""


def unassigned_events_note(connection: duckdb.DuckDBPyConnection, events: pa.Table) -> str | None:
    """A sentence on events that name no video, perhaps by mistake; None without any.

    Args:
        connection: the results; with a single video, all events belong to it.
        events: the result of `read_events`.
    """
    n_unassigned, hint = events["video"].null_count, video_hint(events)
    ((n_videos,),) = connection.sql(_N_VIDEOS).fetchall()
    if not n_unassigned or not hint or n_videos < 2:
        return None
    name, apply = ("event names", "applies") if n_unassigned == 1 else ("events name", "apply")
    return f"{n_unassigned} {name} no video and {apply} to all {n_videos} videos; {hint}"


def repeated_events_note(connection: duckdb.DuckDBPyConnection, events: Path | pa.Table) -> str | None:
    """A sentence on events that repeat others of the same video, which are left out; None without any."""
    events, videos = events_and_videos(connection, events)
    n = len(events) - len(rows_by_event(events, videos))
    if not n:
        return None
    repeat, are = ("1 event repeats another", "is") if n == 1 else (f"{n} events repeat others", "are")
    return f"{repeat} of the same video, label, start and end, and {are} left out."


def late_events_note(connection: duckdb.DuckDBPyConnection, events: Path | pa.Table) -> str | None:
    """Sentences on events that lie outside all their videos, or reach beyond one of them; None without any.

    Of a video analyzed with `--start` or `--end`, only the analyzed part counts. Videos of unknown duration are left
    out.
    """
    durations = connection.sql(_DURATIONS).fetchall()
    parts = {video: analyzed_part(duration_s, settings) for video, duration_s, settings in durations}
    # Events may begin before 0 s, such as in a film that was already running.
    known_s = {video: parts[video] or (-np.inf, duration_s) for video, duration_s, _ in durations}
    by_event = [
        [row for row in rows if row["video_id"] in known_s]
        for rows in rows_by_event(*events_and_videos(connection, events))
    ]
    beyond_s = [[_seconds_beyond(row, *known_s[row["video_id"]]) for row in rows] for rows in by_event if rows]
    n_outside = sum(all(seconds is None for seconds in of_event) for of_event in beyond_s)
    longest_s = [max(round(seconds or 0, 2) for seconds in of_event) for of_event in beyond_s]
    is_partial = any(parts[row["video_id"]] for rows in by_event for row in rows)
    part = "analyzed part of the " if is_partial else ""
    notes = []
    if n_outside:
        notes.append(
            f"Outside the {part}video: {n_outside} of {len(beyond_s)} events, about which nothing is known. "
            "Times must be in seconds from the start of the video."
        )
    if n_beyond := sum(seconds > 0 for seconds in longest_s):
        reach = "reaches" if n_beyond == 1 else "reach"
        notes.append(
            f"{n_beyond} of {len(beyond_s)} events {reach} beyond the {part}video, by up to {max(longest_s):g} s: only "
            "the time in it counts."
        )
    return " ".join(notes) or None


def _seconds_beyond(event: Mapping[str, Any], from_s: float, to_s: float) -> float | None:
    """For how long an event reaches beyond the time from `from_s` to `to_s`, at its longer side; None outside of it."""
    if not (is_later(to_s, event["start_s"]) and is_later(event["end_s"], from_s)):
        return None
    return float(max(event["end_s"] - to_s, from_s - event["start_s"], 0))


def unseen_events_note(connection: duckdb.DuckDBPyConnection, events: Path | pa.Table) -> str | None:
    """A sentence on events of finished videos during which nobody is seen; None without any."""
    path_of = dict(connection.sql(_PATHS).fetchall())
    matched = [row for row in match_events(connection, events).to_pylist() if row["video_id"] in path_of]
    seen = _seen_events(connection, matched)
    unseen = [(path_of[row["video_id"]], row["start_s"], row["label"]) for row in matched if _key(row) not in seen]
    if not unseen:
        return None
    path, start_s, label = min(unseen)
    return (
        f"Nobody is seen during {len(unseen)} of {len(matched)} events (each counted in each of its videos), such as "
        f"{label!r} at {start_s:g} s of {path}: nothing is known about them."
    )


def _key(event: Mapping[str, Any]) -> tuple[str, str, float, float]:
    """The columns `_KEY` of a row."""
    video_id, label, start_s, end_s = (event[name] for name in _KEY)
    return video_id, label, start_s, end_s


def _seen_events(
    connection: duckdb.DuckDBPyConnection, events: Sequence[Mapping[str, Any]]
) -> set[tuple[str, str, float, float]]:
    """The keys of the events, rows of `schema.EVENTS_OF_VIDEOS`, during which a person is seen."""
    columns = {name: [event[name] for event in events] for name in _KEY}
    return set(connection.execute(_SEEN, columns).fetchall())


def baseline_overlap_note(
    connection: duckdb.DuckDBPyConnection, events: Path | pa.Table, *, before_s: float = 5.0
) -> str | None:
    """A sentence on events before whose onset another event is shown in the same video; None without any.

    The `before_s` seconds before an onset are compared with the event. Events during which nobody is seen are left out,
    as in the answers.
    """
    overlapped: set[tuple[str, float]] = set()  # videos and onsets
    known = events_and_videos(connection, events)
    matched = events_of_videos(*known).to_pylist()
    for video_id, of_video in groupby(matched, key=lambda event: event["video_id"]):
        latest_end_s = -np.inf  # of the events that begin earlier
        for start_s, simultaneous in groupby(of_video, key=lambda event: round(event["start_s"], 6)):
            if is_later(latest_end_s, start_s - before_s):
                overlapped.add((video_id, start_s))
            latest_end_s = max(latest_end_s, *(event["end_s"] for event in simultaneous))
    seen = _seen_events(connection, matched)
    in_answer = [[event for event in rows if _key(event) in seen] for rows in rows_by_event(*known)]
    overlaps = [
        any((event["video_id"], round(event["start_s"], 6)) in overlapped for event in rows)
        for rows in in_answer
        if rows
    ]
    if before_s <= 0 or not any(overlaps):
        return None
    return (
        f"The {before_s:g} s before the onset of {sum(overlaps)} of {len(overlaps)} events overlap another "
        "event: their changes are relative to what that event evoked."
    )
