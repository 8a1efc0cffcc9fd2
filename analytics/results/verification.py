"""Read every file of a results folder and compare it with what was written."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from analytics.errors import StoreError
from analytics.results.arrow_files import CONTENT_CHANGED
from analytics.results.compaction import lost_manifests
from analytics.results.damage import MISSING, Damage, DamagedFileError, name_videos, one_line
from analytics.results.notes import FILE, FOLDER, read_notes
from analytics.results.results_folder import check_results
from analytics.results.segments import is_segment
from analytics.results.shards import read_shards, shard_path
from analytics.results.storage_paths import StoragePath, list_files
from analytics.results.table_checks import changed_shard_file, damaged_in_shard, damaged_tables
from analytics.results.table_files import read_whole, table_path
from analytics.results.video_record import VideoRecord, video_records
from analytics.results.video_rows import Ids, ids_in_name, own_rows, read_own_rows
from analytics.tables.schema import IDENTITIES, OBSERVATIONS, TIMELINE_TABLES

COMMIT_S = 1.0  # seconds after which the row of an analysis is written, once its tables are
READERS = 8  # number of threads; reading and checksums run outside Python's global lock
# Parts of messages of Arrow and DuckDB that mean that a file could not be read.
_READ_ERRORS = ("reading the stream registered as", "Parquet", "parquet", "CRC checksum", "corrupt")


def find_damage(results: StoragePath) -> list[Damage]:
    """The files of finished analyses that are missing or damaged, and damaged observations, identities and notes.

    Raises:
        StoreError: if `results` is not a results folder of this version.
    """
    check_results(results)
    rows, damaged = read_own_rows(results)
    shards = read_shards(results)
    own = [row for row in video_records(rows) if row.status == "done" and not row.is_running]
    shard_files = [(shard, name) for shard, checksums in shards.checksums.items() for name in checksums]
    observed = list_files(results / "observations")
    notes = [name for name in list_files(results / FOLDER) if name.endswith(f"/{FILE}")]

    def of_own(row: VideoRecord) -> list[Damage]:
        in_shard = (row.video_id, row.analysis_id) in shards.where
        return [damage for damage in damaged_tables(results, row) if not (in_shard and damage.reason == MISSING)]

    def of_shard(ids: Ids) -> list[Damage]:
        return list(damaged_in_shard(results, *ids))

    def of_shard_file(file: tuple[str, str]) -> list[Damage]:
        shard, name = file
        return list(changed_shard_file(shard_path(results, shard, name), shards.checksums[shard][name]))

    with ThreadPoolExecutor(READERS) as threads:
        found = [
            *threads.map(of_own, own),
            *threads.map(of_shard, shards.where),
            *threads.map(of_shard_file, shard_files),
            *threads.map(lambda name: _damaged_observations(results, name), observed),
            *threads.map(lambda name: _damaged_notes(results, name), notes),
        ]
    of_shards = [*shards.damaged, *lost_manifests(results)]
    all_found = [*damaged, *of_shards, *(damage for of_one in found for damage in of_one)]
    with_video = {damage.path for damage in all_found if damage.video_id}
    once = [damage for damage in all_found if damage.video_id or damage.path not in with_video]
    return name_videos(once, own, results)


def find_missing_rows(results: StoragePath) -> list[Damage]:
    """The missing rows of analyses that have all of their tables: they were lost, or not written by a run that was
    killed.
    """
    found = _tables_without_row(results)
    if found:  # a run may be about to write them
        time.sleep(COMMIT_S)
        found &= _tables_without_row(results)
    rows = [table_path(results, "videos", *ids) for ids in sorted(found)]
    damages = [Damage(row, MISSING, _video_of(row.parent.name), is_row_of_tables=True) for row in rows]
    return name_videos(damages, video_records(own_rows(results)) if damages else [], results)


def _tables_without_row(results: StoragePath) -> set[Ids]:
    """The analyses with all tables outside of shards, but without a row."""
    *tables, rows = (
        {ids for name in list_files(results / table) if (ids := ids_in_name(name)) is not None}
        for table in (*TIMELINE_TABLES, "videos")  # rows are listed last, because they are written last
    )
    return set.intersection(*tables) - rows - read_shards(results).where.keys()


def _damaged_observations(results: StoragePath, name: str) -> list[Damage]:
    """A segment of observations, or identities, that cannot be used."""
    path = results / "observations" / name
    is_identities = path.name.startswith("identities-")
    schema = IDENTITIES if is_identities else OBSERVATIONS
    if not (is_identities or is_segment(path.name)) or read_whole(path, schema) is not None:
        return []
    kind = "identities" if is_identities else "observations"
    return [Damage(path, f"it cannot be read, or has other columns than {kind}", _video_of(name))]


def _damaged_notes(results: StoragePath, name: str) -> list[Damage]:
    try:
        read_notes(results, _video_of(name))
    except StoreError as error:
        return [Damage(results / FOLDER / name, one_line(error.__cause__ or error), _video_of(name), is_notes=True)]
    return []


def _video_of(name: str) -> str:
    """The id of the video to which a file below the folder of a table belongs."""
    return name.partition("/")[0].removeprefix("video_id=")


@contextlib.contextmanager
def name_damaged_file(results: StoragePath) -> Iterator[None]:
    """Turn an error of reading some Parquet file into one that names the file and its repair.

    Raises:
        DamagedFileError: instead of an error of DuckDB or Arrow, if a file is damaged.
    """
    try:
        yield
    except DamagedFileError:
        raise
    except Exception as error:
        texts = f"{error} {error.__cause__}"
        is_read_error = isinstance(error, pa.ArrowException) or any(text in texts for text in _READ_ERRORS)
        if is_read_error and (found := find_damage(results)):
            raise DamagedFileError.of(found[0]) from error
        if CONTENT_CHANGED in texts:
            raise StoreError(f"{results}: changed while it was read: run the same command again") from error
        raise
