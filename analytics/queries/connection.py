"""SQL over the results: DuckDB views that read the Parquet files and cannot reach anything else."""

import contextlib
import difflib
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from analytics.errors import TOO_LARGE, TOO_SLOW, QueryError
from analytics.queries.averages import EVENT_BINS_SQL
from analytics.queries.event_files import read_events
from analytics.queries.events import events_of_videos
from analytics.queries.intervals import MAX_GAP_S
from analytics.queries.unfiltered import UNFILTERED_FACES_SQL
from analytics.results.catalog import Catalog, latest_rows, read_catalog
from analytics.results.damage import DamagedFileError
from analytics.results.datasets import Part, dataset
from analytics.results.notes import Notes, all_notes
from analytics.results.results_folder import check_results
from analytics.results.segments import segments_in
from analytics.results.storage_paths import StoragePath, resolve_path
from analytics.results.store import Store
from analytics.results.video_record import VideoName, VideoRecord, video_names, video_records
from analytics.results.video_rows import ids_of
from analytics.results.videos import choose_videos
from analytics.tables.schema import SPEECH_REASONS, TIMELINE_TABLES, VIEWS
from analytics.time_tolerance import TIME_TOLERANCE_S
from analytics.timeline.track_summary import UNSEEN_S
from fer_models.labels import EMOTIONS

# DuckDB reads files only through Arrow datasets, so it needs no access to files. Its own Parquet reader scans a large
# library three times as fast, but needs `allowed_paths`, which lets `COPY … TO` overwrite the results, and it cannot
# read files that lack a column.
_LOCKED = (
    "SET python_enable_replacements = false",  # SQL must not read the variables of the Python code that runs it
    "SET enable_external_access = false",  # forbids access to files and network, and loading extensions
    "SET lock_configuration = true",
)
# Movements are stored in a column of tracks. Version 0.1 could not leave out speech, so its counts are 0. The views
# read the stored table, because the dashboard may replace the view `tracks`.
_MOVEMENTS = """
CREATE TEMP VIEW tracks AS
SELECT * EXCLUDE (movements)
    REPLACE (coalesce(n_faces_left_out, 0) AS n_faces_left_out, coalesce(left_out_s, 0) AS left_out_s)
FROM stored_tracks;
CREATE TEMP VIEW movements AS
SELECT video_id, analysis_id, track_id, movement.kind, movement.start_s, movement.end_s,
    movement.end_s - movement.start_s AS duration_s, movement.strength
FROM (SELECT video_id, analysis_id, track_id, unnest(movements) AS movement FROM stored_tracks)
"""
# A row per track; names and hidden people come from the users' notes.
_PEOPLE = """
CREATE TEMP VIEW people AS
SELECT video_id, analysis_id, track_id, CASE WHEN is_known THEN coalesce(name, 'P' || track_id) END AS person,
    CASE WHEN is_known THEN coalesce(name, video_id || '/P' || track_id) END AS participant,
    is_known AND name IS NOT NULL AS is_named, coalesce(is_hidden, false) AS is_hidden
FROM (
    SELECT *, coalesce(list_contains(analyses, analysis_id), true) AS is_known
    FROM tracks LEFT JOIN noted_people USING (video_id, track_id)
)
"""
# `FROM visible('faces')` is the table `faces` without hidden people. A hidden track number is hidden in every analysis,
# because the person may have the same number there. It is a macro and not a view, because the dashboard replaces some
# tables by others with fewer columns.
_VISIBLE = """
CREATE TEMP MACRO visible(name) AS TABLE
SELECT * FROM query_table(name) ANTI JOIN (SELECT video_id, track_id FROM noted_people WHERE is_hidden)
    USING (video_id, track_id)
"""
# left_out_by_speech(quality_reason) is true for good faces that --speech leaves out.
_LEFT_OUT_BY_SPEECH = f"""
CREATE TEMP MACRO left_out_by_speech(reason) AS coalesce(reason IN {SPEECH_REASONS}, false)
"""
# is_still_image(duration_s, live_since) is true for the row of a still image in `videos`: the only files without
# duration. A live session of one frame has none, too.
_IS_STILL_IMAGE = """
CREATE TEMP MACRO is_still_image(duration_s, live_since) AS coalesce(duration_s = 0, false) AND live_since IS NULL
"""
# FROM still_images() has the ids of the analyzed still images, whose faces have no tracks.
_STILL_IMAGES = """
CREATE TEMP MACRO still_images() AS TABLE
SELECT video_id, analysis_id FROM videos WHERE status = 'done' AND is_still_image(duration_s, live_since)
"""
# FROM observed_time() has the time in which episodes and transitions of each track can be counted: the time with a
# label, and the gaps across which they are counted, for transitions those within a shot. Dropped frames of a live
# session are such gaps.
_OBSERVED_TIME = f"""
CREATE TEMP MACRO observed_time() AS TABLE
WITH labeled AS (
    SELECT video_id, analysis_id, track_id, pts_s, coalesce(duration_s, 0) AS time_s
    FROM visible('faces') WHERE track_id IS NOT NULL AND smooth_emotion IS NOT NULL
), in_shots AS (
    SELECT *, count(*) FILTER (track_id IS NULL) OVER (PARTITION BY video_id, analysis_id ORDER BY pts_s) AS shot
    FROM (FROM labeled UNION ALL BY NAME SELECT video_id, analysis_id, pts_s FROM frames WHERE is_cut)
), with_gaps AS (
    SELECT *, lead(pts_s) OVER of_track - pts_s - time_s AS gap_s, lead(shot) OVER of_track = shot AS in_shot
    FROM in_shots WHERE track_id IS NOT NULL
    WINDOW of_track AS (PARTITION BY video_id, analysis_id, track_id ORDER BY pts_s)
)
SELECT video_id, analysis_id, track_id,
    sum(time_s) + coalesce(sum(gap_s) FILTER (gap_s <= {MAX_GAP_S + TIME_TOLERANCE_S}), 0) AS episodes_s,
    sum(time_s) + coalesce(sum(gap_s) FILTER (gap_s <= {UNSEEN_S + TIME_TOLERANCE_S} AND in_shot), 0) AS transitions_s
FROM with_gaps GROUP BY ALL
"""
# time_bins(start_s, end_s, bin_ms) has the numbers of the bins in which a frame is shown, seconds_in_bin(…) its time in
# one of them. Both round to microseconds, so that rounding errors of times never reach another bin. A frame of unknown
# duration is in the bin in which it begins, for an unknown time.
_TIME_BINS = """
CREATE TEMP MACRO time_bins(start_s, end_s, bin_ms) AS range(
    CAST(floor(round(1e6 * start_s) / (1000::BIGINT * bin_ms)) AS BIGINT),
    CAST(greatest(
        ceil(round(1e6 * end_s) / (1000::BIGINT * bin_ms)), floor(round(1e6 * start_s) / (1000::BIGINT * bin_ms)) + 1
    ) AS BIGINT)
);
CREATE TEMP MACRO seconds_in_bin(start_s, end_s, bin, bin_ms) AS CASE WHEN end_s IS NOT NULL THEN (
    least(round(1e6 * end_s), 1000::BIGINT * bin_ms * (bin + 1))
    - greatest(round(1e6 * start_s), 1000::BIGINT * bin_ms * bin)
) / 1e6 END
"""
_NOTED_PEOPLE = pa.schema(
    [
        ("video_id", pa.string()),
        ("track_id", pa.int32()),
        ("name", pa.string()),
        ("analyses", pa.list_(pa.string())),  # those in which the track has the name; NULL: the one that is shown
        ("is_hidden", pa.bool_()),
        ("is_unconfirmed", pa.bool_()),  # is tracked differently since, so that it may be another person
    ]
)
_UNKNOWN_TABLE = re.compile(r'Table with name "?(.+?)"? does not exist')
_UNKNOWN_COLUMN = re.compile(
    r'column named "(.+?)"|Column "(.+?)" (?:not found in|does not exist on|in \w+ list not found)', re.IGNORECASE
)
_CANDIDATES = re.compile(r"Candidate bindings: (.+)")  # columns of the tables of the query, similar ones first
_OF_EVENTS = ("events", "event_bins")  # views that exist only with a file of events
_SIMILAR = 0.7  # least similarity (`difflib`) of a name that is suggested for an unknown one
_ALL_COLUMNS = sorted({name for schema in VIEWS.values() for name in schema.names})
_NO_EVENTS = (
    "there are no events: give --events FILE, a CSV with the columns start_s, end_s, label and optionally video"
)


def connect(
    results: str | StoragePath,
    *,
    video: str | Sequence[str] | None = None,
    all_analyses: bool = False,
    events: Path | None = None,
    observations: bool = True,
    memory_limit: str = "2GB",
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB connection to the results as they are now; it can neither change them nor read other files.

    The views are those of `schema.VIEWS`: `videos` has the latest row of each file; `frames`, `faces`, `tracks`,
    `movements`, `episodes` and `transitions` have the rows of its newest finished analysis, `observations` those that
    it was made from. `people` has the names of tracks and says who is hidden; `FROM visible('faces')` leaves hidden
    people out, and likewise for other tables with a track_id. With a file of events, `events` has a row per event and
    video (an event of every video has a row for each: always join `USING (video_id)`), and `event_bins` the curves
    around the onsets.

    Args:
        results: the results folder.
        video: show only this video, or these: path, name or id, or a file with the same content.
        all_analyses: show every finished analysis and every failure, not only the newest; join by analysis_id. A person
            has a name only where it is known to be theirs, else NULL; a hidden track is hidden in every analysis.
        events: a CSV file of stimuli or markers (see `event_files.read_events`).
        observations: False leaves this view out, to avoid listing the segments of all videos.
        memory_limit: the memory that DuckDB may use, such as `500MB`.

    Raises:
        StoreError: if `results` is not a results folder of this version.
        DamagedFileError: if the row of a video cannot be read, or a table has another size than it was written with.
        UnknownVideoError: if there is no such video, or more than one of that name; also if the events name one that
            the results do not have.
        EventsError: if the events cannot be read.
        QueryError: if `memory_limit` is not a size.
    """
    # Absolute, because files are opened later, possibly from another working directory.
    root = resolve_path(results).absolute()
    check_results(root)
    catalog = read_catalog(root, skip_damaged=True)
    videos, analyses = _all(catalog.rows) if all_analyses else latest_rows(catalog.rows)
    known, known_ids = videos.select(["video_id", "path"]), sorted(ids_of(analyses))
    if video is not None:
        damaged = [VideoName(damage.video_id, "") for damage in catalog.damaged]
        wanted = [video] if isinstance(video, str) else video
        chosen = choose_videos([*video_names(known), *damaged], wanted)
        videos = videos.filter(pc.is_in(videos["video_id"], pa.array(chosen)))
        analyses = analyses.filter(pc.is_in(analyses["video_id"], videos["video_id"].combine_chunks()))
    for damage in catalog.damaged:
        if video is None or damage.video_id in ("", *chosen):
            raise DamagedFileError.of(damage)
    connection = _open(memory_limit)
    connection.register("videos", videos)
    connection.register("known_videos", known)  # all videos, because events may belong to videos that are not shown
    ids = sorted(ids_of(analyses))
    for name, schema in TIMELINE_TABLES.items():
        stored = "stored_tracks" if name == "tracks" else name
        shown = catalog.table(name, ids, schema)
        connection.register(stored, shown)
        if name in ("tracks", "faces"):  # of all videos, because synchrony compares people with those of other videos
            every = shown if ids == known_ids else catalog.table(name, known_ids, schema)
            connection.register(f"known_{name}", every)
    connection.execute(_MOVEMENTS)
    connection.register("noted_people", noted_people(root, analyses if all_analyses else None))
    connection.execute(_PEOPLE)
    connection.execute(_VISIBLE)
    connection.execute(_LEFT_OUT_BY_SPEECH)
    connection.execute(_IS_STILL_IMAGE)
    connection.execute(_STILL_IMAGES)
    connection.execute(UNFILTERED_FACES_SQL)
    connection.execute(_OBSERVED_TIME)
    connection.execute(_TIME_BINS)
    if observations:
        connection.register("observations", _observations(catalog, analyses))
    if events is not None:
        found = events_of_videos(read_events(events), video_names(known))
        connection.register("events", found.filter(pc.is_in(found["video_id"], videos["video_id"].combine_chunks())))
        connection.execute(f"CREATE TEMP VIEW event_bins AS {EVENT_BINS_SQL}")
    for statement in _LOCKED:
        connection.execute(statement)
    return connection


@contextlib.contextmanager
def limited(connection: duckdb.DuckDBPyConnection, timeout_s: float) -> Iterator[None]:
    """Interrupt Fervid's own SQL on the connection after `timeout_s`, and turn DuckDB's errors into one line.

    DuckDB cannot interrupt a single scalar function, so the SQL of users runs in `analytics.sandbox` instead.

    Raises:
        QueryError: if SQL is wrong, takes too long or needs more memory than the connection may have.
    """
    done = threading.Event()

    def interrupt() -> None:
        # Interrupt repeatedly, because DuckDB forgets an interrupt that comes before the query has started.
        if not done.wait(timeout_s):
            while not done.wait(0.05):
                connection.interrupt()

    watch = threading.Thread(target=interrupt, daemon=True)
    watch.start()
    try:
        yield
    except duckdb.InterruptException as error:
        raise QueryError(TOO_SLOW.format(timeout_s)) from error
    except (duckdb.Error, pa.ArrowException, MemoryError) as error:
        raise query_error(error) from error
    finally:
        done.set()
        watch.join()


def query_error(error: Exception) -> QueryError:
    """Convert an error of DuckDB or Arrow to a one-line error with a suggested action."""
    # Arrow wraps errors that DuckDB raises while it reads, and keeps their text.
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError) or "Out of Memory Error" in str(error):
        return QueryError(TOO_LARGE)
    if "maximum total string size" in str(error):
        return QueryError("a column of the result has more than 2 GiB of text: select fewer rows or less text")
    if unknown := _UNKNOWN_TABLE.search(str(error)):
        # DuckDB's own suggestion would be the least different of all names, including those of internal tables.
        return QueryError(_NO_EVENTS if unknown[1].lower() in _OF_EVENTS else _no_table(unknown[1]))
    if unknown := _UNKNOWN_COLUMN.search(str(error)):
        candidates = re.findall('"(.+?)"', "".join(_CANDIDATES.findall(str(error))))
        return QueryError(_no_column(unknown[1] or unknown[2], candidates or _ALL_COLUMNS))
    return QueryError(str(error))


def _no_column(name: str, candidates: Sequence[str]) -> str:
    """Say that there is no such column, and suggest one of a similar name among `candidates`.

    >>> _no_column("emotio", ["emotion", "smooth_emotion"])
    "no column 'emotio': did you mean emotion?"
    >>> _no_column("sad", ["emotion", "p_sad"])  # as in WHERE emotion = "sad"
    "no column 'sad': did you mean p_sad, or the text 'sad' in single quotes?"
    """
    if name in EMOTIONS:
        column = next((f"{one}, or " for one in candidates if one.endswith(f"_{name}")), "")
        return f"no column {name!r}: did you mean {column}the text '{name}' in single quotes?"
    close = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=_SIMILAR)
    return f"no column {name!r}: " + (f"did you mean {close[0]}?" if close else "docs/schema.md lists all columns")


def _no_table(name: str) -> str:
    """Say that there is no such table, suggest one of a similar name, and list all.

    >>> _no_table("episode")[:52], _no_table("notes")[:35]
    ("no table 'episode': did you mean episodes? There are", "no table 'notes': there are videos,")
    """
    close = difflib.get_close_matches(name.lower(), VIEWS, n=1, cutoff=_SIMILAR)
    hint = f"did you mean {close[0]}? There" if close else "there"
    always = [view for view in VIEWS if view not in _OF_EVENTS]
    return f"no table {name!r}: {hint} are {', '.join(always)}, and with a file of events {' and '.join(_OF_EVENTS)}"


def describe(table: str | None = None) -> pa.Table:
    """The columns of the views, or of one: table, column, type, unit, meaning.

    Raises:
        QueryError: if there is no such table.
    """
    if table is not None and table not in VIEWS:
        raise QueryError(_no_table(table))
    columns = [
        {
            "table": name,
            "column": field.name,
            "type": str(field.type).replace("<element: ", "<"),
            "unit": field.metadata[b"unit"].decode(),
            "meaning": field.metadata[b"description"].decode(),
        }
        for name, schema in VIEWS.items()
        for field in schema
        if table in (None, name)
    ]
    return pa.Table.from_pylist(columns)


def _open(memory_limit: str) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": ""})
    except duckdb.Error as error:
        raise QueryError(f"the memory limit must be a size such as 500MB or 2GB, got {memory_limit!r}") from error


def noted_people(root: StoragePath, analyses: pa.Table | None = None) -> pa.Table:
    """The tracks that have a name or are hidden, for the view `people`.

    Args:
        root: the results folder.
        analyses: rows of the table `videos`, if several analyses of a video are shown.
    """
    of_video: dict[str, list[VideoRecord]] = {}
    for record in [] if analyses is None else video_records(analyses):
        of_video.setdefault(record.video_id, []).append(record)
    rows = []
    for video_id, notes in all_notes(root).items():
        named_in = _analyses_of_names(root, of_video[video_id], notes) if notes.names and video_id in of_video else {}
        rows += [
            {
                "video_id": video_id,
                "track_id": track_id,
                "name": notes.names.get(track_id),
                "analyses": named_in.get(track_id),
                "is_hidden": track_id in notes.hidden,
                "is_unconfirmed": track_id in notes.unconfirmed,
            }
            for track_id in sorted({*notes.names, *notes.hidden})
        ]
    return pa.Table.from_pylist(rows, schema=_NOTED_PEOPLE)


def _analyses_of_names(root: StoragePath, analyses: Sequence[VideoRecord], notes: Notes) -> dict[int, list[str]]:
    # Imported here because it loads SciPy, which few queries need.
    from analytics.results.same_tracks import analyses_of_names

    return analyses_of_names(Store(root), analyses, notes)


def _all(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return all rows of the view `videos`, and those of finished analyses."""
    return rows, rows.filter(pc.equal(rows["status"], "done"))


def _observations(catalog: Catalog, analyses: pa.Table) -> ds.Dataset:
    """The observations from which these analyses were made, as one dataset of all segments."""
    ids = zip(*(analyses[name].to_pylist() for name in ("video_id", "observation_id")), strict=True)
    parts = []
    for video_id, observation_id in sorted({pair for pair in ids if pair[1]}):
        folder = catalog.root / "observations" / f"video_id={video_id}" / f"observation_id={observation_id}"
        known = {"video_id": video_id, "observation_id": observation_id}
        parts += [Part(folder / name, known) for name in segments_in(folder)]
    return dataset(catalog.root, parts, VIEWS["observations"])
