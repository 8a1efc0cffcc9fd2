"""SQL over the results: DuckDB views that read the Parquet files and cannot reach anything else."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from analytics.errors import TOO_SLOW, QueryError
from analytics.queries.averages import EVENT_BINS_SQL
from analytics.queries.event_files import read_events
from analytics.queries.events import events_of_videos
from analytics.queries.query_errors import no_table, query_error
from analytics.queries.views import VIEW_STATEMENTS
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
from analytics.tables.schema import TIMELINE_TABLES, VIEWS

# DuckDB reads files only through Arrow datasets, so it needs no access to files. Its own Parquet reader scans a large
# library three times as fast, but needs `allowed_paths`, which lets `COPY … TO` overwrite the results, and it cannot
# read files that lack a column.
_LOCKED = (
    "SET python_enable_replacements = false",  # SQL must not read the variables of the Python code that runs it
    "SET enable_external_access = false",  # forbids access to files and network, and loading extensions
    "SET lock_configuration = true",
)
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
    connection.register("noted_people", noted_people(root, analyses if all_analyses else None))
    for statement in VIEW_STATEMENTS:
        connection.execute(statement)
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


def describe(table: str | None = None) -> pa.Table:
    """The columns of the views, or of one: table, column, type, unit, meaning.

    Raises:
        QueryError: if there is no such table.
    """
    if table is not None and table not in VIEWS:
        raise QueryError(no_table(table))
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
