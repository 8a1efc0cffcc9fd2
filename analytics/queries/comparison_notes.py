"""Sentences on comparisons of groups: what their units are, and which comparisons are paired."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from analytics.queries.groups import resolve_participants
from analytics.text import counted


def videos_have_participants(
    connection: duckdb.DuckDBPyConnection, participants: Mapping[str, str] | Path | None, video_ids: Collection[str]
) -> bool:
    """Whether any of the videos has a participant, so that not all of them count as one participant each.

    Args:
        connection: the results.
        participants: as for `compare`.
        video_ids: the compared videos.

    Raises:
        GroupError: as `resolve_participants`.
    """
    people = resolve_participants(connection, participants)
    named = people.of_video.keys() | {video_id for video_id, _ in people.of_track}
    return not named.isdisjoint(video_ids)


def pairing_notes(rows: Iterable[Mapping[Any, Any]], *, has_participants: bool) -> list[str]:
    """A sentence on each pair of groups that is compared within participants, or within videos without any.

    Args:
        rows: rows of `result_schemas.COMPARISON`.
        has_participants: whether any of the videos has a participant.
    """
    unit = "participant" if has_participants else "video"
    notes: dict[str, None] = {}  # a dictionary as a set that keeps the order of the rows
    for row in rows:
        if row["paired"]:
            units = counted(row["n_participants_a"], unit)
            notes[f"{row['group_a']} and {row['group_b']} are compared within {units} (paired)."] = None
    return list(notes)
