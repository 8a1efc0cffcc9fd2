"""Groups of videos compared: the difference in the share of time of each emotion, with intervals and tests."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from analytics.results.videos import UnknownVideoError, choose_videos
from analytics.statistics.clusters import Pairing, Sample, pair_samples
from analytics.statistics.intervals import holm
from analytics.tables.result_schemas import COMPARISON
from fer_models.errors import FervidError
from fer_models.files import NotRegularFileError, check_regular_file
from fer_models.labels import EMOTIONS

# The person of each video whose tracks, unless hidden, were all given one and the same name in the dashboard.
_NAMED_PARTICIPANTS = """
SELECT path, any_value(participant) FROM people JOIN videos USING (video_id, analysis_id) WHERE NOT is_hidden
GROUP BY path HAVING bool_and(is_named) AND count(DISTINCT participant) = 1
"""
METHODS = {True: "paired t", False: "Welch t"}


class GroupError(FervidError):
    """The groups cannot be read, name a video that is not in the results, or are fewer than two."""


def find_groups(groups: Mapping[str, str] | Path, videos: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The group of each video, by the path it has in the results.

    Args:
        groups: group by path, file name or video_id, or a CSV file with the columns path (any of these) and group.
        videos: `video_id` and `path` of those in the results.

    Raises:
        GroupError: if the file cannot be read, a video is not in the results, or there are fewer than two groups.
    """
    source = "the groups"
    if isinstance(groups, Path):
        source, groups = str(groups), _read_column(groups, "group")
    if len(set(groups.values())) < 2:
        raise GroupError(f"{source}: at least two groups are needed to compare, got {len(set(groups.values()))}")
    return _by_path(groups, videos, source, "group")


def find_participants(
    participants: Mapping[str, str] | Path | None, videos: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """The participant of each video, by the path it has in the results; videos that are not named are left out.

    Args:
        participants: participant by path, file name or video_id, or a CSV file with the columns path and participant;
            a file without the column participant names nobody, and neither does an empty cell.
        videos: `video_id` and `path` of those in the results.

    Raises:
        GroupError: if the file cannot be read or a video is not in the results.
    """
    if participants is None:
        return {}
    source = "the participants"
    if isinstance(participants, Path):
        source, participants = str(participants), _read_column(participants, "participant", optional=True)
    return _by_path(participants, videos, source, "participant")


def resolve_participants(
    connection: duckdb.DuckDBPyConnection,
    participants: Mapping[str, str] | Path | None,
    videos: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """The participant of each path: as given (see `find_participants`), else the one person named in the video.

    Raises:
        GroupError: if the participants cannot be read or a video is not in the results.
    """
    return dict(connection.sql(_NAMED_PARTICIPANTS).fetchall()) | find_participants(participants, videos)


def find_conditions(groups: Path, videos: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The group of each video that a groups file names, by its path in the results; one group is enough.

    Raises:
        GroupError: if the file cannot be read or a video is not in the results.
    """
    return _by_path(_read_column(groups, "group", optional=True), videos, str(groups), "group")


def _by_path(
    values: Mapping[str, str], videos: Sequence[Mapping[str, Any]], source: str, column: str
) -> dict[str, str]:
    path_of = {video["video_id"]: video["path"] for video in videos}
    found: dict[str, str] = {}
    for name, value in values.items():
        try:
            paths = [path_of[video] for video in choose_videos(videos, [name])]
        except UnknownVideoError as error:
            raise GroupError(f"{source}: {error}") from error
        for path in paths:
            if found.setdefault(path, value) != value:
                raise GroupError(f"{source}: {path}: is named twice, in the {column}s {found[path]} and {value}")
    return found


def _read_column(path: Path, column: str, *, optional: bool = False) -> dict[str, str]:
    """One column of a CSV file by its column path.

    Args:
        path: the file.
        column: the name of the column.
        optional: whether the column or a cell of it may be missing; such lines are left out.
    """
    needed = {"path"} if optional else {"path", column}
    try:
        check_regular_file(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            if reader.fieldnames is None or not needed <= set(reader.fieldnames):
                raise GroupError(f"{path}: needs the columns path and {column} in its first line, comma separated")
            rows = [(row["path"], row.get(column, "")) for row in reader]
    except NotRegularFileError as error:
        raise GroupError(f"{path}: is {error.kind}: give a CSV file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GroupError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if any(not name or not (value or optional) for name, value in rows):
        raise GroupError(f"{path}: a line has no path or no {column}")
    if len(dict(rows)) < len(rows):
        raise GroupError(f"{path}: a path comes twice")
    return {name: value for name, value in rows if value}


def compare_groups(
    shares: pa.Table, group_of: Mapping[str, str], participant_of: Mapping[str, str] | None = None
) -> pa.Table:
    """How each two groups differ in the share of time of each emotion: the rows of `result_schemas.COMPARISON`.

    A video's share is over the labeled time of all its tracks; videos without any are left out. A participant's share
    is the mean over their videos in the group, and participants are the units of every interval and test.

    Args:
        shares: path, track_id, labelled_s, n_faces, n_gated and a share for each emotion; see `queries.shares`.
        group_of: group of each path; other paths are left out.
        participant_of: participant of each path; a path without one is a participant by itself.
    """
    units = {key: (group, (participant_of or {}).get(key, key)) for key, group in group_of.items()}
    return compare_units(shares, units)


def compare_units(shares: pa.Table, units: Mapping[str, tuple[str, str]]) -> pa.Table:
    """As `compare_groups`, of units whose `path` in `shares` gives the group and the participant."""
    groups: dict[str, dict[str, _Unit]] = {group: {} for group in sorted({group for group, _ in units.values()})}
    for row in shares.to_pylist():
        if row["path"] in units and row["labelled_s"]:
            group, participant = units[row["path"]]
            groups[group].setdefault(row["path"], _Unit(participant)).add(row)
    pairs = combinations(groups.items(), 2)
    rows = [row for (name_a, a), (name_b, b) in pairs for row in _compare(name_a, [*a.values()], name_b, [*b.values()])]
    return pa.Table.from_pylist(rows, schema=COMPARISON)


@dataclass(eq=False)
class _Unit:
    """What the tracks of a video add up to."""

    participant: str
    label_s: np.ndarray = field(default_factory=lambda: np.zeros(len(EMOTIONS)))
    tracks: set[Any] = field(default_factory=set)
    n_faces: float = 0.0
    n_gated: float = 0.0

    def add(self, track: Mapping[str, Any]) -> None:
        self.label_s += track["labelled_s"] * np.array([track[name] for name in EMOTIONS])
        if track["track_id"] is not None:  # faces of still pictures are in no track
            self.tracks.add(track.get("track", (track["path"], track["track_id"])))
        self.n_faces += track["n_faces"]
        self.n_gated += track["n_gated"]


def _compare(name_a: str, a: list[_Unit], name_b: str, b: list[_Unit]) -> list[dict[str, Any]]:
    pairing = pair_samples(_sample(a), _sample(b))
    used_a, used_b = _used(a, pairing.clusters_a), _used(b, pairing.clusters_b)
    both = [*used_a, *used_b]
    common = {
        "group_a": name_a,
        "group_b": name_b,
        "n_a": len(used_a),
        "n_b": len(used_b),
        "n_participants_a": len(pairing.a),
        "n_participants_b": len(pairing.b),
        "n_tracks_a": len(set().union(*(unit.tracks for unit in used_a))),
        "n_tracks_b": len(set().union(*(unit.tracks for unit in used_b))),
        "method": METHODS[pairing.is_paired],
        "paired": pairing.is_paired,
        "gated_share": sum(unit.n_gated for unit in both) / max(sum(unit.n_faces for unit in both), 1e-12),
    }
    rows = [{**common, "emotion": emotion, **_measures(pairing, k)} for k, emotion in enumerate(EMOTIONS)]
    for row, p_holm in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_holm"] = p_holm
    return rows


def _sample(units: list[_Unit]) -> Sample:
    shares = [unit.label_s / unit.label_s.sum() for unit in units]
    return Sample(np.array(shares).reshape(-1, len(EMOTIONS)), [unit.participant for unit in units])


def _used(units: list[_Unit], participants: list[str]) -> list[_Unit]:
    return [unit for unit in units if unit.participant in set(participants)]


def _measures(pairing: Pairing, measure: int) -> dict[str, Any]:
    found = pairing.compare(measure)
    notes = [found.difference.note]
    if pairing.n_left_out:
        notes.append(f"{pairing.n_left_out} participants on one side only are left out")
    return {
        "mean_a": found.mean_a,
        "mean_b": found.mean_b,
        "estimate": found.difference.estimate,
        "low": found.difference.low,
        "high": found.difference.high,
        "p_value": found.difference.p_value,
        "cliffs_delta": found.dominance.estimate,
        "delta_low": found.dominance.low,
        "delta_high": found.dominance.high,
        "note": "; ".join(note for note in notes if note) or None,
    }
