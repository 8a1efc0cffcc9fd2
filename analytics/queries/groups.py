"""Assign videos to groups and participants: from CSV files and the names of people."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from analytics.queries.csv_files import parse_csv, read_csv_file
from analytics.results.catalog import latest_rows, read_catalog
from analytics.results.ids import content_id
from analytics.results.notes import all_notes
from analytics.results.purge import videos_without_row
from analytics.results.results_folder import check_results
from analytics.results.storage_paths import StoragePath
from analytics.results.video_record import NamedVideo, video_names
from analytics.results.videos import AmbiguousVideoError, UnknownVideoError, choose_videos, known_videos, stored_path
from fer_models.errors import FervidError

# The participant of each video in which all visible tracks have the same name.
_SOLE_NAMES = """
SELECT video_id, any_value(participant) FROM people JOIN videos USING (video_id, analysis_id) WHERE NOT is_hidden
GROUP BY video_id HAVING bool_and(is_named) AND count(DISTINCT participant) = 1
"""
_NAMES = """
SELECT video_id, track_id, participant FROM people JOIN videos USING (video_id, analysis_id)
WHERE is_named AND NOT is_hidden
"""

_SEVERAL_PEOPLE = """
SELECT video_id, list(DISTINCT participant) FILTER (is_named) FROM people JOIN videos USING (video_id, analysis_id)
WHERE NOT is_hidden GROUP BY video_id HAVING count(DISTINCT person) > 1 ORDER BY video_id
"""
# The faces of still images have no tracks.
_SEVERAL_FACES = """
SELECT video_id FROM faces JOIN still_images() USING (video_id, analysis_id) GROUP BY video_id HAVING count(*) > 1
"""
# The videos in which people have names and others do not, and the number of the latter who have a label.
_UNNAMED_BESIDE_NAMED = """
SELECT video_id, count(*) FILTER (NOT is_named AND labelled_s > 0) AS n_unnamed
FROM people JOIN videos USING (video_id, analysis_id) JOIN tracks USING (video_id, analysis_id, track_id)
WHERE NOT is_hidden GROUP BY video_id HAVING bool_or(is_named) AND n_unnamed > 0
"""

# The accepted headers of each column, in lower case. The first one that the file contains is used.
HEADERS = {
    "path": ("path", "video", "file", "filename", "name"),
    "group": ("group", "condition", "label"),
    "participant": ("participant", "subject"),
}


class GroupError(FervidError):
    """The groups cannot be read, name a video that is not in the results, or are fewer than two."""


def find_groups(
    groups: Mapping[str, str] | Path,
    videos: Sequence[NamedVideo],
    *,
    by_content: bool = True,
    source: str = "the groups",
) -> dict[str, str]:
    """The group of each video, by video_id.

    Args:
        groups: group by path, file name or video_id, or a CSV file with the columns path (any of these) and group.
        videos: those in the results.
        by_content: as for `choose_videos`.
        source: what errors call `groups` if it is no file.

    Raises:
        GroupError: if the file cannot be read, a video is not in the results, two groups differ only in case or blanks,
            or there are fewer than two groups.
    """
    if isinstance(groups, Path):
        source, groups = str(groups), _read_column(groups, "group")
    check_spelling(groups.values(), source)
    if len(set(groups.values())) < 2:
        raise GroupError(f"{source}: at least two groups are needed to compare, got {len(set(groups.values()))}")
    return by_video(groups, videos, source, "group", by_content=by_content)


def find_participants(
    participants: Mapping[str, str] | Path | None,
    videos: Sequence[NamedVideo],
    *,
    by_content: bool = True,
    source: str = "the participants",
) -> dict[str, str]:
    """The participant of each video, by video_id; videos that are not named are left out.

    Args:
        participants: participant by path, file name or video_id, or a CSV file with the columns path and participant;
            a file without the column participant names nobody, and neither does an empty cell.
        videos: those in the results.
        by_content: as for `choose_videos`.
        source: what errors call `participants` if it is no file.

    Raises:
        GroupError: if the file cannot be read or a video is not in the results.
    """
    if participants is None:
        return {}
    if isinstance(participants, Path):
        source, participants = str(participants), _read_column(participants, "participant", optional=True)
    return by_video(participants, videos, source, "participant", by_content=by_content)


@dataclass(frozen=True)
class Participants:
    """The participant of each track: the one given for its video, else the person's name, else the video itself."""

    of_video: Mapping[str, str] = field(default_factory=dict)  # video_id -> participant
    of_track: Mapping[tuple[str, int], str] = field(default_factory=dict)  # video_id and track -> name

    def find(self, video_id: str, track_id: int | None = None) -> str:
        """The participant of a track, or of a whole video.

        >>> Participants({"v1": "p1"}, {("v2", 0): "Anna"}).find("v2", 0)
        'Anna'
        """
        if video_id in self.of_video or track_id is None:
            return self.of_video.get(video_id, video_id)
        return self.of_track.get((video_id, track_id), video_id)


def resolve_participants(
    connection: duckdb.DuckDBPyConnection, participants: Mapping[str, str] | Path | None
) -> Participants:
    """The participants: those given (see `find_participants`), else the people who were named in the dashboard.

    Raises:
        GroupError: if the participants cannot be read, a video is not in the results, or two participants differ only
            in case or blanks.
    """
    given = find_participants(participants, known_videos(connection))
    names = connection.sql(_NAMES).fetchall()
    of_video = dict(connection.sql(_SOLE_NAMES).fetchall()) | given
    of_track = {(video_id, track_id): name for video_id, track_id, name in names}
    check_spelling({*of_video.values(), *(name for video, _, name in names if video not in given)}, "the participants")
    return Participants(of_video, of_track)


def persons_of_tracks(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, int], str]:
    """The person of each track, by video_id and track_id: the name given in the dashboard, else P and the track."""
    rows = connection.sql("SELECT video_id, track_id, person FROM people").fetchall()
    return {(video_id, track_id): person for video_id, track_id, person in rows}


def several_people_note(
    connection: duckdb.DuckDBPyConnection,
    participants: Mapping[str, str] | Path | None,
    video_ids: Collection[str] | None = None,
) -> str | None:
    """Sentences on videos with several visible people who count as one participant or, without names, as further ones.

    Args:
        connection: the results.
        participants: see `find_participants`.
        video_ids: the videos and still images; None: all videos that are shown, for a result about time.

    Raises:
        GroupError: if the participants cannot be read or a video is not in the results.
    """
    of_video = find_participants(participants, known_videos(connection))
    shown = {video for (video,) in connection.sql("SELECT DISTINCT video_id FROM videos").fetchall()}
    stills = {video for (video,) in connection.sql("SELECT video_id FROM still_images()").fetchall()}
    shown = shown - stills if video_ids is None else shown & set(video_ids)
    given = {video: name for video, name in of_video.items() if video in shown}
    notes = _one_participant_note(connection, given), _unnamed_note(connection, shown - given.keys())
    return " ".join(note for note in notes if note) or None


def _one_participant_note(connection: duckdb.DuckDBPyConnection, given: Mapping[str, str]) -> str | None:
    """A sentence on videos with several people, who all count as the participant given for the video."""
    found = [(video, names or []) for video, names in connection.sql(_SEVERAL_PEOPLE).fetchall() if video in given]
    images = [video for (video,) in connection.sql(_SEVERAL_FACES).fetchall() if video in given]
    if not found and not images:
        return None
    others = sorted({name for video, names in found for name in names if name != given[video]})
    among = f", {', '.join(others)} among them" if others else ""
    advice = ["hide the others in the dashboard"] if found else []
    advice += ["crop still images, whose faces cannot be hidden"] if images else []
    return (
        f"In {len(found) + len(images)} of {len(given)} videos{' and still images' if images else ''} with a "
        f"participant, several people are visible{among}: all of them count as that participant. "
        f"{' and '.join(advice).capitalize()}."
    )


def _unnamed_note(connection: duckdb.DuckDBPyConnection, video_ids: Collection[str]) -> str | None:
    """A sentence on videos without a given participant in which some people have no name, unlike others."""
    n_unnamed = [n for video, n in connection.sql(_UNNAMED_BESIDE_NAMED).fetchall() if video in video_ids]
    if not n_unnamed:
        return None
    return (
        f"In {len(n_unnamed)} of {len(video_ids)} videos, people without a name ({sum(n_unnamed)} in all) are visible "
        "beside named ones: in each of these videos, they count as one more participant. Name or hide them in the "
        "dashboard, or give these videos a participant in a file."
    )


def find_conditions(groups: Path, videos: Sequence[NamedVideo]) -> dict[str, str]:
    """The group of each video in a groups file, by video_id; unlike `find_groups`, for one or more groups.

    Raises:
        GroupError: if the file cannot be read, a video is not in the results, or two groups differ only in case or
            blanks.
    """
    conditions = _read_column(groups, "group", optional=True)
    check_spelling(conditions.values(), str(groups))
    return by_video(conditions, videos, str(groups), "group")


def check_spelling(names: Iterable[str], source: str) -> None:
    """Refuse names that differ only in case or blanks: most likely they mean the same group or participant.

    Raises:
        GroupError: if there are such names.
    """
    spelling: dict[str, str] = {}
    for name in sorted(set(names)):
        other = spelling.setdefault(_spelled(name), name)
        if other != name:
            raise GroupError(f"{source}: {other!r} and {name!r} differ only in case or blanks: use one spelling")


def _spelled(name: str) -> str:
    """The name without differences in case and blanks."""
    return " ".join(name.split()).casefold()


def videos_of_participant(
    results: StoragePath, participant: str, given: Path | None = None
) -> tuple[list[str], list[str]]:
    """The ids of all videos of a participant: a person in them has this name, or `given` assigns them to it.

    Contents of the same files of which no analysis is shown, as they failed or were interrupted, are included. Case and
    blanks do not matter.

    Args:
        results: the results folder.
        participant: a name given in the dashboard, or a participant in `given`.
        given: a CSV file with the columns path and participant.

    Returns:
        The ids, and the videos of the participant in `given` that are not in the results, such as removed ones.

    Raises:
        GroupError: if the file cannot be read, or a name in it is that of several videos.
        StoreError: if `results` is not a results folder.
    """
    check_results(results)
    name, notes = _spelled(participant), all_notes(results)
    found = {video_id for video_id, of in notes.items() if name in map(_spelled, of.names.values())}
    missing = []
    rows = read_catalog(results, skip_damaged=True).rows
    videos, unfinished = video_names(latest_rows(rows)[0]), videos_without_row(results, video_names(rows))
    if given is not None:
        for video, other in _read_column(given, "participant").items():
            if _spelled(other) == name:
                try:
                    found.update(choose_videos([*videos, *unfinished], [video]))
                except AmbiguousVideoError as error:
                    raise GroupError(f"{given}: {error}") from error
                except UnknownVideoError:
                    missing.append(video)
    # Contents of these files that could not be analyzed, or whose analysis was interrupted.
    paths, shown = {video.path for video in videos if video.video_id in found}, {video.video_id for video in videos}
    found.update(row.video_id for row in video_names(rows) if row.path in paths and row.video_id not in shown)
    if unfinished:
        files = [file for path in paths if isinstance(file := stored_path(path), Path)]
        found.update({video.video_id for video in unfinished}.intersection(map(content_id, files)))
    return sorted(found), missing


def by_video(
    values: Mapping[str, str], videos: Sequence[NamedVideo], source: str, column: str, *, by_content: bool = True
) -> dict[str, str]:
    """The value of each video by video_id, from values by path, file name or video_id.

    A path of which several contents were analyzed names all of them. `by_content` is that of `choose_videos`.

    Raises:
        GroupError: if a video is not in the results, or has two values; `source` and `column` are for its message.
    """
    path_of = {video.video_id: video.path for video in videos}
    found: dict[str, str] = {}
    for name, value in values.items():
        try:
            chosen = choose_videos(videos, [name], by_content=by_content)
        except UnknownVideoError as error:
            raise GroupError(f"{source}: {error}") from error
        for video in chosen:
            if found.setdefault(video, value) != value:
                raise GroupError(
                    f"{source}: {path_of[video]}: is named twice, in the {column}s {found[video]} and {value}"
                )
    return found


def _read_column(path: Path, column: str, *, optional: bool = False) -> dict[str, str]:
    """Read the column `column` of a CSV file by path, as `parse_column` does."""
    return parse_column(read_csv_file(path, GroupError), str(path), column, optional=optional)


def find_header(header: Sequence[str], column: str) -> str | None:
    """The header in the file for a column of `HEADERS`, ignoring case; None if the file does not have the column.

    >>> find_header(["Age", "Subject"], "participant")
    'Subject'
    """
    spelled = {name.lower(): name for name in reversed(header)}
    return next((spelled[name] for name in HEADERS[column] if name in spelled), None)


def parse_column(content: bytes, source: str, column: str, *, optional: bool = False) -> dict[str, str]:
    r"""Map the value in the column `path` of each line of a CSV file to the value in another column.

    Separators are commas, semicolons or tabs; the encoding is UTF-8.

    Args:
        content: the file.
        source: its name, for messages.
        column: the name of the column; the headers in `HEADERS` are the same.
        optional: whether the column or a cell of it may be missing; such lines are left out.

    Raises:
        GroupError: if a column or a cell is missing, or a path comes twice.

    >>> parse_column("\ufeffVideo;Condition\na.mp4;odd\n".encode(), "groups.csv", "group")
    {'a.mp4': 'odd'}
    """
    table = parse_csv(content, source, GroupError)
    key, own = (find_header(table.header, name) for name in ("path", column))
    if key is None or not (own or optional):
        needed = "the column path" if optional else f"the columns path and {column}"
        raise GroupError(f"{source}: needs {needed} in its first line; found {', '.join(table.header) or 'nothing'}")
    rows = [(line[key], line[own] if own else "") for line in table.rows]
    for (name, value), line in zip(rows, table.line_numbers, strict=True):
        if not name or not (value or optional):
            raise GroupError(f"{source}: line {line} has no {column if name else 'path'}")
    if repeated := sorted(name for name, n in Counter(name for name, _ in rows).items() if n > 1):
        raise GroupError(f"{source}: {', '.join(repeated)} comes twice: give each video one line")
    return {name: value for name, value in rows if value}
