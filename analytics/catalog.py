"""The rows of table videos, remembered: a file for each is right for writers, a thousand of them slow for readers."""

import contextlib
import operator
import os
import secrets
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from analytics.schema import VIDEOS
from analytics.store import StoreError, table_path

# Holds what the files it was made from hold, and nothing that they do not: it may be deleted at any time, and must be
# when the rows of a video are. Hidden, so that nobody's glob takes it for a table.
REMEMBERED = Path("videos") / ".rows.arrow"
WORTH_REMEMBERING = 64  # rows read anew; fewer are read in no time
_STAMP = ("stamp_mtime_ns", "stamp_bytes", "stamp_inode")
_SCHEMA = pa.schema([*VIDEOS, *(pa.field(name, pa.int64()) for name in _STAMP)])
_Ids = tuple[str, str]  # video_id and analysis_id
_Stamp = tuple[int, int, int]  # when the file was written, its size, and its number on the disk: new with each write


def read_videos(root: Path) -> pa.Table:
    """Every row of table videos, in no order; the columns of `VIDEOS`.

    Raises:
        StoreError: if the file of a row is damaged.
    """
    stamps = _stamps(root)
    remembered = _remembered(root)
    still_true = [i for i, (ids, stamp) in enumerate(_stamped(remembered)) if stamps.get(ids) == stamp]
    known = remembered.take(pa.array(still_true, pa.int64())).select(VIDEOS.names)
    unread = stamps.keys() - set(_ids(known))
    rows = pa.concat_tables([known, _read(root, unread)]) if unread else known
    if len(unread) >= WORTH_REMEMBERING or len(known) < len(remembered):
        _remember(root, rows, stamps)
    return rows


def video_files(root: Path, name: str, ids: Iterable[_Ids], schema: pa.Schema) -> ds.Dataset:
    """Files of table `name` as one Arrow dataset, `video_id` from their folders' names; nothing is read or listed."""
    return dataset([(str(table_path(root, name, *pair)), {"video_id": pair[0]}) for pair in ids], schema)


def dataset(files: Iterable[tuple[str, Mapping[str, str]]], schema: pa.Schema) -> ds.Dataset:
    """Parquet files as one Arrow dataset, each with the columns that its folders' names hold; others it lacks are NULL.

    Text is handed on as dictionaries, as it is stored: a few names are not copied for each of millions of rows.
    Reading ahead pays for stores over the network; for local files it doubled the time of each.
    """
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    as_read = pa.schema([f.with_type(pa.dictionary(pa.int32(), pa.string())) if f.name in text else f for f in schema])
    read = ds.ParquetFileFormat(
        dictionary_columns=text, default_fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False)
    )
    local = pyarrow.fs.LocalFileSystem()
    fragments = [read.make_fragment(path, local, partition_expression=_rows_have(known)) for path, known in files]
    return ds.FileSystemDataset(fragments, as_read, read, local)


def _rows_have(known: Mapping[str, str]) -> ds.Expression:
    conditions = [ds.field(name) == pa.array([value]).dictionary_encode()[0] for name, value in known.items()]
    return reduce(operator.and_, conditions)


def _ids(rows: pa.Table) -> list[_Ids]:
    return list(zip(rows["video_id"].to_pylist(), rows["analysis_id"].to_pylist(), strict=True))


def _stamped(remembered: pa.Table) -> list[tuple[_Ids, _Stamp]]:
    stamps = zip(*(remembered[name].to_pylist() for name in _STAMP), strict=True)
    return list(zip(_ids(remembered), stamps, strict=True))


def _stamps(root: Path) -> dict[_Ids, _Stamp]:
    """The stamp of the file of each row."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(root / "videos") as folders:
        for folder in folders:
            if folder.name.startswith("video_id="):
                for file in os.scandir(folder.path):
                    if file.name.endswith(".parquet") and not file.name.startswith("."):
                        stat = file.stat()
                        ids = folder.name.removeprefix("video_id="), file.name.removesuffix(".parquet")
                        found[ids] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return found


def _read(root: Path, ids: Iterable[_Ids]) -> pa.Table:
    try:
        return video_files(root, "videos", sorted(ids), VIDEOS).to_table().cast(VIDEOS)
    except (OSError, pa.ArrowException) as error:
        raise StoreError(f"{root}: a row of videos is damaged; delete that file and run again: {error}") from error


def _remembered(root: Path) -> pa.Table:
    """What was remembered last, with stamps; no rows if there is nothing or it is of another version."""
    with contextlib.suppress(OSError, pa.ArrowException):
        table = pa.ipc.open_file((root / REMEMBERED).read_bytes()).read_all()
        if table.schema.equals(_SCHEMA):
            return table
    return _SCHEMA.empty_table()


def _remember(root: Path, rows: pa.Table, stamps: Mapping[_Ids, _Stamp]) -> None:
    """Write the rows for the next reader, if the folder can be written to."""
    columns = zip(*(stamps[ids] for ids in _ids(rows)), strict=True)
    stamped = [pa.array(column, pa.int64()) for column in columns] or [pa.array([], pa.int64()) for _ in _STAMP]
    table = pa.table([*rows.columns, *stamped], schema=_SCHEMA)
    part = root / REMEMBERED.with_name(f"{REMEMBERED.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    with contextlib.suppress(OSError):
        try:
            with pa.ipc.new_file(part, table.schema) as writer:
                writer.write_table(table)
            part.replace(root / REMEMBERED)
        finally:
            part.unlink(missing_ok=True)
