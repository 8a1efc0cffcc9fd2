"""The most frequent questions about results, one function each; their SQL is in the folder `sql`.

Each function takes a connection made by `analytics.connect`, to a library or one video, and returns an Arrow table
without hidden people. Shares are shares of time, not of frames; `n_low_quality` counts faces of low quality; in
`shares` and `compare`, also those that `--speech` leaves out.

>>> from analytics import connect, queries
>>> queries.shares(connect("results", video="interview.mp4")).to_pandas()  # doctest: +SKIP
"""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analytics.queries.averages import TRIAL_BINS_SQL, Trial, average_trials
from analytics.queries.comparison import LabeledTime, compare_labeled_time, label_seconds
from analytics.queries.events import events_of_videos, events_table, merge_overlaps, read_events
from analytics.queries.groups import GroupError, check_spelling, find_groups, resolve_participants
from analytics.queries.rates import dwell_medians, rates_table
from analytics.queries.synchrony import SynchronyConfig, valence_on_grid
from analytics.queries.synchrony import synchrony as _synchrony
from analytics.results.video_record import video_names
from analytics.tables.result_schemas import DURING_EVENTS, SYNCHRONY
from analytics.tables.schema import SPEECH_REASONS
from fer_models.labels import EMOTIONS

__all__ = [
    "GroupError",
    "averages",
    "compare",
    "compare_events",
    "during_events",
    "dwell",
    "failures",
    "gate_effect",
    "gate_note",
    "group_timeline",
    "library",
    "movements",
    "quality",
    "rates",
    "shares",
    "speech_notes",
    "sql_of",
    "synchrony",
    "timeline",
    "top_moments",
    "totals",
    "transitions",
    "validity",
]


_ABOUT = "($paths::VARCHAR[] IS NULL OR list_contains($paths::VARCHAR[], path))"
_GATED = f"""
SELECT quality_reason, count(*) FROM visible('faces') WHERE video_id IN (SELECT video_id FROM videos WHERE {_ABOUT})
GROUP BY quality_reason ORDER BY quality_reason
"""
_OPEN_GATES = f"""
SELECT count(*) FILTER (settings ->> '$.timeline.quality.gate' = 'false'), count(*)
FROM videos WHERE status = 'done' AND {_ABOUT}
"""


_CHOSEN_BY_SPEECH = """
SELECT video_id FROM videos
WHERE status = 'done' AND settings ->> '$.timeline.quality.speech' IN ('exclude', 'only') ORDER BY video_id
"""
MAX_SURROGATES = 100  # most people of other videos with whom a pair is compared to find the chance level of synchrony
_LONGEST_TRACKS = """
SELECT video_id, arg_max(track_id, (labelled_s, -track_id)) FROM visible('tracks')
GROUP BY video_id HAVING max(labelled_s) > 0 ORDER BY max(labelled_s) DESC, video_id LIMIT $n
"""
_FACES_OF_TRACK = """
SELECT * FROM faces WHERE video_id = $video_id AND track_id = $track_id AND smooth_emotion IS NOT NULL
"""
_PERSONS = "SELECT path, track_id, person FROM people JOIN videos USING (video_id, analysis_id)"
_FACES_OF_VIDEO = "SELECT * FROM visible('faces') WHERE video_id = $id"
_WITHOUT_FILTER = "SELECT video_id FROM videos WHERE settings ->> '$.timeline.quality.gate' = 'false'"


def sql_of(name: str) -> str:
    """The SQL of a query, such as `timeline`; its parameters begin with `$`."""
    return (Path(__file__).parent / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def shares(connection: duckdb.DuckDBPyConnection, *, all_faces: bool = False) -> pa.Table:
    """The share of time that each person (track) of each video shows each emotion; a row per track.

    Args:
        connection: the results.
        all_faces: whether low-quality faces without a label count with the emotion of their own frame.
    """
    return _answer(connection, "shares_all_faces" if all_faces else "shares")


def library(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The time with each label over the whole library; a row per emotion."""
    return _answer(connection, "library")


def timeline(connection: duckdb.DuckDBPyConnection, *, bin_ms: int = 1000, all_faces: bool = False) -> pa.Table:
    """Time-weighted mean probabilities in time bins; a row per video, track and bin that has a face.

    Args:
        connection: the results.
        bin_ms: length of a bin in milliseconds, 1 or more.
        all_faces: as for `shares`.

    Raises:
        ValueError: if `bin_ms` is less than 1.
    """
    if bin_ms < 1:
        raise ValueError(f"bin_ms must be 1 or more, got {bin_ms}")
    return _answer(connection, "timeline", bin_ms=bin_ms, all_faces=all_faces)


def top_moments(connection: duckdb.DuckDBPyConnection, emotion: str, *, limit: int = 10) -> pa.Table:
    """The `limit` episodes of an emotion with the highest peaks, with a link to the moment.

    Raises:
        ValueError: if there is no such emotion.
    """
    if emotion not in EMOTIONS:
        raise ValueError(f"emotion must be one of {', '.join(EMOTIONS)}, got {emotion!r}")
    asked = {"emotion": emotion, "limit": limit}
    videos = _answer(connection, "top_videos", **asked)["video_id"].to_pylist()
    return _of_videos(connection, "top_moments", videos, **asked)


def transitions(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """How often people change from one emotion to another; a row per kind of change."""
    return _answer(connection, "transitions")


def rates(connection: duckdb.DuckDBPyConnection, *, participants: Mapping[str, str] | Path | None = None) -> pa.Table:
    """Episodes of each emotion and transitions per minute; see `result_schemas.RATES`.

    Raises:
        GroupError: if the participants cannot be read.
    """
    return rates_table(connection, resolve_participants(connection, participants))


def averages(
    connection: duckdb.DuckDBPyConnection,
    events: Path | pa.Table,
    *,
    participants: Mapping[str, str] | Path | None = None,
    bin_ms: int = 500,
    before_s: float = 5.0,
    after_s: float | None = None,
) -> pa.Table:
    """How probabilities change around the onset of events; see `result_schemas.AVERAGES`.

    Args:
        connection: the results.
        events: as for `during_events`.
        participants: as for `compare`.
        bin_ms: length of a bin in milliseconds.
        before_s: length of the baseline window before each onset, in whole bins.
        after_s: how long after the onset to average; None: until the end of each event.

    Raises:
        EventsError: if the events cannot be read.
        UnknownVideoError: if an event names a video that is not there.
        GroupError: if two labels of events differ only in case or blanks, or the participants cannot be read.
        ValueError: if `bin_ms` is less than 1, or `before_s` is not a multiple of it.
    """
    if bin_ms < 1:
        raise ValueError(f"bin_ms must be 1 or more, got {bin_ms}")
    if before_s < 0 or round(1000 * before_s) % bin_ms:
        raise ValueError(f"before_s must be a multiple of {bin_ms / 1000:g} s, got {before_s:g}")
    path_of = dict(connection.sql("SELECT video_id, path FROM known_videos").fetchall())
    rows = list(enumerate(_events_of_videos(connection, events).to_pylist()))
    trials = {number: Trial(row["label"], path_of[row["video_id"]]) for number, row in rows}
    parameters = {
        "trials": [number for number, _ in rows],
        "video_ids": [row["video_id"] for _, row in rows],
        "starts_s": [row["start_s"] for _, row in rows],
        "ends_s": [row["end_s"] if after_s is None else row["start_s"] + after_s for _, row in rows],
        "bin_ms": bin_ms,
        "before_s": before_s,
    }
    binned = connection.sql(TRIAL_BINS_SQL, params=parameters).to_arrow_table()
    people = resolve_participants(connection, participants)
    return average_trials(trials, binned, people, bin_ms=bin_ms, before_s=before_s)


def dwell(connection: duckdb.DuckDBPyConnection, *, participants: Mapping[str, str] | Path | None = None) -> pa.Table:
    """How long episodes of each emotion last; a row per emotion.

    `km_median_s` is the Kaplan-Meier median, which accounts for episodes whose end was not observed; `low` and `high`
    are its 95 % interval over participants.

    Args:
        connection: the results.
        participants: as for `compare`.

    Raises:
        GroupError: if the participants cannot be read.
    """
    rows = _answer(connection, "dwell")
    people = resolve_participants(connection, participants)
    medians = dwell_medians(connection, people, rows["emotion"].to_pylist())
    for name in medians.column_names:
        rows = rows.append_column(name, medians[name])
    return rows


def quality(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """How many faces are of good and of low quality; a row per reason, first `good`."""
    return _answer(connection, "quality")


def validity(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """How far results can be trusted: time visible, good, labeled and speaking, head turn, label changes.

    A row per track. `speaking_…` are shares of the labeled time in which movements of the mouth were measured.
    """
    return _answer(connection, "validity")


def movements(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """How often each person blinks, nods and shakes the head, and how long they seem to speak; a row per track.

    Figures are NULL where movements could not be measured. Rates and shares are of `movements_measured_s`.
    """
    return _answer(connection, "movements")


def gate_effect(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """What the quality filter changes: the share of time of each emotion over good faces, and over all."""
    return _answer(connection, "gate_effect")


def failures(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Videos that failed, in their last run or a later one, and videos with frames that could not be decoded."""
    return _answer(connection, "failures")


def totals(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """How many videos, frames, tracks and episodes there are; one row."""
    return _answer(connection, "totals")


def compare(
    connection: duckdb.DuckDBPyConnection,
    groups: Mapping[str, str] | Path,
    *,
    participants: Mapping[str, str] | Path | None = None,
    all_faces: bool = False,
) -> pa.Table:
    """How groups of videos differ in the share of time of each emotion; a row per emotion and pair of groups.

    Participants are the units of all intervals and tests; without any, videos are. If a participant is in both groups,
    the comparison is paired. Still images count with the share of their good faces. Videos without any label are left
    out. See `result_schemas.COMPARISON` for the columns and docs/statistics.md for the methods.

    Args:
        connection: the results.
        groups: the group of each video by its path, file name or video_id, or a CSV with the columns path, group and
            optionally participant.
        participants: the participant of each video, likewise, or a CSV with the columns path and participant; None:
            the column participant of `groups`, if it has one. Videos that neither names belong to the person of that
            name if all of their tracks were given one and the same name in the dashboard.
        all_faces: as for `shares`.

    Raises:
        GroupError: if a file cannot be read, a video is not in the results, or there are fewer than two groups.
    """
    videos = video_names(connection.sql("SELECT video_id, path FROM videos").to_arrow_table())
    group_of = find_groups(groups, videos)
    if participants is None and isinstance(groups, Path):
        participants = groups
    people = resolve_participants(connection, participants)
    of_videos = shares(connection, all_faces=all_faces)
    without = set(group_of) - set(of_videos["path"].to_pylist())
    stills = _of_videos(
        connection,
        "still_shares",
        [video.video_id for video in videos if video.path in without],
        all_faces=all_faces,
    )
    both = pa.concat_tables([of_videos, stills], promote_options="permissive")
    tracks = zip(*(both[name].to_pylist() for name in ("path", "track_id", "n_faces", "n_low_quality")), strict=True)
    rows = [
        LabeledTime(group_of[path], path, people.find(path, track_id), track_id, label_s, n_faces, n_low_quality)
        for (path, track_id, n_faces, n_low_quality), label_s in zip(tracks, label_seconds(both, EMOTIONS), strict=True)
        if path in group_of
    ]
    of_groups: dict[str, list[str]] = {}
    for path, group in group_of.items():
        of_groups.setdefault(group, []).append(path)
    return compare_labeled_time(rows, of_groups)


def compare_events(
    connection: duckdb.DuckDBPyConnection,
    events: Path | pa.Table,
    *,
    participants: Mapping[str, str] | Path | None = None,
) -> pa.Table:
    """Compare the share of time of each emotion between events with different labels; a row per emotion and pair.

    The columns are those of `compare`. A video counts once for each label, over all its events of that label; time in
    several of them counts once. Videos (or participants) with events of both labels make the comparison paired.
    `low_quality_share` is a share of time.
    Labels whose events show nobody also get rows, without videos.

    Args:
        connection: the results.
        events: as for `during_events`.
        participants: as for `compare`.

    Raises:
        EventsError: if the file cannot be read or a line is wrong.
        UnknownVideoError: if an event names a video that is not there.
        GroupError: if there are fewer than two labels, two labels differ only in case or blanks, or the participants
            cannot be read.
    """
    events = read_events(events) if isinstance(events, Path) else events
    labels = set(events["label"].to_pylist())
    if len(labels) < 2:
        raise GroupError(f"the events: at least two labels are needed to compare, got {len(labels)}")
    people = resolve_participants(connection, participants)
    of_videos = merge_overlaps(_events_of_videos(connection, events))
    shown = _during_events(connection, of_videos)
    tracks = zip(*(shown[name].to_pylist() for name in ("label", "path", "track_id", "seen_s", "ok_s")), strict=True)
    label_s = label_seconds(shown, [f"share_{name}" for name in EMOTIONS])
    rows = [
        LabeledTime(label, path, people.find(path, track_id), track_id, seconds, seen_s, seen_s - ok_s)
        for (label, path, track_id, seen_s, ok_s), seconds in zip(tracks, label_s, strict=True)
    ]
    path_of = dict(connection.sql("SELECT video_id, path FROM videos").fetchall())
    videos: dict[str, set[str]] = {label: set() for label in labels}
    for event in of_videos.to_pylist():
        if event["video_id"] in path_of:
            videos[event["label"]].add(path_of[event["video_id"]])
    return compare_labeled_time(rows, videos)


def group_timeline(connection: duckdb.DuckDBPyConnection, spans: pa.Table, *, bin_ms: int = 1000) -> pa.Table:
    """Mean probabilities of groups over time, from the start of each interval; a row per group and bin that has a face.

    Args:
        connection: the results.
        spans: group, video_id, start_s and end_s of each interval to average.
        bin_ms: length of a bin in milliseconds.

    Returns:
        group, start_s (from the start of the intervals), n_videos, n_participants (people with a name, else videos),
        n_people (tracks), `mean_angry` … and `error_angry` …, the standard error of the mean over participants.
    """
    names = {"groups": "group", "video_ids": "video_id", "starts_s": "start_s", "ends_s": "end_s"}
    columns = {parameter: spans[name].to_pylist() for parameter, name in names.items()}
    return _answer(connection, "group_timeline", bin_ms=bin_ms, **columns)


def synchrony(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """How far people who are visible together agree; a row per video and pair, see `result_schemas.SYNCHRONY`."""
    series = _valence_series(connection)

    def answer(video_id: str, faces: pa.Table) -> pa.Table:
        strangers = [valence for other, valence in series if other != video_id]
        return _synchrony(faces, strangers=strangers[:MAX_SURROGATES])

    return _video_by_video(connection, SYNCHRONY, answer)


def _valence_series(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, np.ndarray]]:
    """The longest valence series of the results, one per video, as surrogates for people of other videos."""
    longest = connection.sql(_LONGEST_TRACKS, params={"n": MAX_SURROGATES + 1}).fetchall()
    found = []
    for video_id, track_id in longest:
        faces = connection.sql(_FACES_OF_TRACK, params={"video_id": video_id, "track_id": track_id}).to_arrow_table()
        found += [(video_id, valence) for valence in valence_on_grid(faces, SynchronyConfig().grid_s).values()]
    return found


def during_events(connection: duckdb.DuckDBPyConnection, events: Path | pa.Table, *, before_s: float = 5.0) -> pa.Table:
    """What each person showed during each event, and how that differs from the seconds before.

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
    return _during_events(connection, _events_of_videos(connection, events), before_s=before_s)


def _events_of_videos(connection: duckdb.DuckDBPyConnection, events: Path | pa.Table) -> pa.Table:
    """The rows of `schema.EVENTS_OF_VIDEOS`: the events of a file or table, for each video that they apply to.

    Raises:
        GroupError: if two labels differ only in case or blanks.
    """
    events = read_events(events) if isinstance(events, Path) else events
    check_spelling(events["label"].to_pylist(), "the events")
    return events_of_videos(events, video_names(connection.sql("SELECT * FROM known_videos").to_arrow_table()))


def _during_events(connection: duckdb.DuckDBPyConnection, of_videos: pa.Table, *, before_s: float = 5.0) -> pa.Table:
    """What each person showed during each event of their video: see `during_events`."""
    unfiltered = {row[0] for row in connection.sql(_WITHOUT_FILTER).fetchall()}

    def answer(video_id: str, faces: pa.Table) -> pa.Table:
        mine = of_videos.filter(pc.equal(of_videos["video_id"], video_id))
        return events_table(mine, faces, before_s=before_s, all_faces_count=video_id in unfiltered)

    rows = _video_by_video(connection, DURING_EVENTS, answer)
    persons = {(path, track_id): person for path, track_id, person in connection.sql(_PERSONS).fetchall()}
    keys = zip(rows["path"].to_pylist(), rows["track_id"].to_pylist(), strict=True)
    return rows.add_column(1, "person", pa.array([persons[key] for key in keys], pa.string()))


def _video_by_video(
    connection: duckdb.DuckDBPyConnection, schema: pa.Schema, answer: Callable[[str, pa.Table], pa.Table]
) -> pa.Table:
    """Apply `answer` to the faces of each video in turn; rows of `schema`, with the path in front."""
    parts = [schema.insert(0, pa.field("path", pa.string())).empty_table()]
    done = connection.sql("SELECT video_id, path FROM videos WHERE status = 'done' ORDER BY path").fetchall()
    for video_id, path in done:
        faces = connection.sql(_FACES_OF_VIDEO, params={"id": video_id}).to_arrow_table()
        rows = answer(video_id, faces)
        parts.append(rows.add_column(0, "path", pa.repeat(pa.scalar(path), len(rows))))
    return pa.concat_tables(parts)


def gate_note(
    connection: duckdb.DuckDBPyConnection, *, paths: Collection[str] | None = None, all_faces: bool = False
) -> str:
    """A sentence on the low-quality faces of a query result, and the reasons; another on faces left out by `--speech`.

    Args:
        connection: the results.
        paths: paths of the videos that the result covers; None: all.
        all_faces: whether the result includes low-quality faces, as `shares` can.
    """
    about = {"paths": None if paths is None else sorted(paths)}
    reasons = dict(connection.sql(_GATED, params=about).fetchall())
    n_faces, n_by_speech = sum(reasons.values()), sum(reasons.get(reason, 0) for reason in SPEECH_REASONS)
    n_open, n_videos = connection.sql(_OPEN_GATES, params=about).fetchall()[0]
    low_quality = {reason: n for reason, n in reasons.items() if reason and reason not in SPEECH_REASONS}
    n_low_quality = sum(low_quality.values())
    by_speech = f" {n_by_speech} others are left out by --speech." if n_by_speech else ""
    if not n_low_quality:
        return f"0 of {n_faces} faces are low-quality faces.{by_speech}"
    why = ", ".join(f"{reason} {n}" for reason, n in low_quality.items())
    note = f"{n_low_quality} of {n_faces} faces ({n_low_quality / n_faces:.1%}) are low-quality faces: {why}."
    if all_faces:
        return f"{note} They are included.{by_speech}"
    if not n_open:
        return f"{note} They are excluded.{by_speech}"
    where = "They" if n_open == n_videos else f"Those of {n_open} of {n_videos} videos"
    return f"{note} {where} are included, because of --no-gate.{by_speech}"


def speech_notes(connection: duckdb.DuckDBPyConnection, video_ids: Collection[str] | None = None) -> list[str]:
    """How much time was not measured in videos from which `--speech exclude` or `only` leaves faces out.

    Args:
        connection: the results.
        video_ids: the videos; None: all.

    Returns:
        A sentence per setting; none if all videos include speech.
    """
    chosen = [video for (video,) in connection.sql(_CHOSEN_BY_SPEECH).fetchall()]
    if video_ids is not None:
        chosen = [video for video in chosen if video in video_ids]
    return [
        f"--speech {row['speech']}: in {row['not_measured_s']:.1f} s of {row['good_s']:.1f} s with good faces, "
        "movements were not measured (they need trusted landmarks in at least 20 analyzed frames per second), so that "
        f"it is not known who speaks; this time {'counts' if row['speech'] == 'exclude' else 'does not count'}."
        for row in (_of_videos(connection, "speech_measured", chosen).to_pylist() if chosen else [])
    ]


def _of_videos(
    connection: duckdb.DuckDBPyConnection, name: str, video_ids: Collection[str], **parameters: object
) -> pa.Table:
    """Run a query whose SQL contains `($videos)`, the ids of the videos.

    Each id is a parameter of its own: with a list in one parameter, DuckDB would read the files of all videos.
    """
    named = {f"video_{i}": video for i, video in enumerate(video_ids)}
    sql = sql_of(name).replace("($videos)", f"({', '.join(f'${name}' for name in named) or 'NULL'})")
    return connection.sql(sql, params=parameters | named).to_arrow_table()


def _answer(connection: duckdb.DuckDBPyConnection, name: str, **parameters: object) -> pa.Table:
    return connection.sql(sql_of(name), params=parameters or None).to_arrow_table()
