"""What lies in a results folder and serves nobody any more: left by runs that were killed, or by analyses done anew.

Nothing is touched that was written to of late, so nothing that a running run is at, nor what one that was cut short
a moment ago would go on from.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analytics.results.catalog import REMEMBERED, Ids, read_catalog
from analytics.results.compaction import broken_shards, drop_from_shards, find_replaced
from analytics.results.purge import is_unfinished, purge
from analytics.results.shards import FOLDER, read_shards, shard_path
from analytics.results.storage_paths import is_remote
from analytics.results.store import StoreError, check_results, table_path
from analytics.tables.schema import TIMELINE_TABLES

KEPT_S = 24 * 3600.0  # whoever stops a run in the evening goes on in the morning


@dataclass(frozen=True)
class Garbage:
    """Some files that can go, and why."""

    what: str
    files: tuple[Path, ...] = ()
    in_shards: tuple[Ids, ...] = ()  # analyses whose rows go from shards, which are written anew without them

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(file.stat().st_size for file in self.files if file.exists())


def find_garbage(results: Path, *, superseded: bool = False, older_than_s: float = KEPT_S) -> list[Garbage]:
    """What can go; nothing is changed.

    Args:
        results: the results folder.
        superseded: also analyses that are not the newest of their video, and failures that a later analysis made good.
        older_than_s: leave alone what is younger.

    Raises:
        StoreError: if `results` is not a results folder of this version on disk, or the row of a video is damaged.
    """
    if is_remote(results):
        raise StoreError(f"{results}: only folders on disk are cleaned; `fervid purge` works at addresses, too")
    check_results(results)
    before_s = time.time() - older_than_s
    rows = read_catalog(results).rows.to_pylist()
    old = _superseded(rows, datetime.fromtimestamp(before_s, UTC)) if superseded else []
    gone = [(row["video_id"], row["analysis_id"]) for row in old]
    kept = [row for row in rows if (row["video_id"], row["analysis_id"]) not in gone]
    in_shards = read_shards(results).where
    found = [
        Garbage("superseded analysis or failure", _files_of(results, pair), (pair,) if pair in in_shards else ())
        for pair in gone
    ]
    of_gone = {file for one in found for file in one.files}
    left = [file for file in _left_by_compaction(results, before_s) if file not in of_gone]
    found += [Garbage("left by a compaction", (file,)) for file in left]
    found += [Garbage("part of a file", (part,)) for part in _old(results.rglob(".*.part"), before_s)]
    orphans = _old(_tables_without_row(results), before_s)
    found += [Garbage("table of an analysis that was never finished", (table,)) for table in orphans]
    found += [
        Garbage("observations that no analysis is made from", files)
        for files in _observations_without_row(results, kept)
        if len(_old(files, before_s)) == len(files)
    ]
    return found


def remove_garbage(results: Path, garbage: Sequence[Garbage]) -> None:
    """Remove it, and finish a purge that was cut short.

    Raises:
        StoreError: if something cannot be removed.
    """
    try:
        # Rows first: from then on no reader looks for their tables. One that has a table open already reads on.
        files = [file for one in garbage for file in one.files]
        for file in sorted(files, key=lambda file: not _is_row(results, file)):
            file.unlink(missing_ok=True)
            _drop_if_empty(file.parent, results)
        if any(_is_row(results, file) for file in files):
            (results / REMEMBERED).unlink(missing_ok=True)
        drop_from_shards(results, [pair for one in garbage for pair in one.in_shards])
    except OSError as error:
        reason = f"{error.filename}: cannot be removed ({error.strerror}): end what still uses it, then run again"
        raise StoreError(reason) from error
    if is_unfinished(results):
        purge(results, [])


def _superseded(rows: Sequence[Mapping[str, Any]], before: datetime) -> list[Mapping[str, Any]]:
    """Rows that the views do not show any more, and that were written before then."""
    newest: dict[str, Mapping[str, Any]] = {}
    done_at: dict[str, datetime] = {}  # of each path
    for row in sorted(rows, key=lambda row: (row["finished_at"], row["analysis_id"])):
        if row["status"] == "done":
            newest[row["video_id"]] = row
            done_at[row["path"]] = row["finished_at"]

    def is_old(row: Mapping[str, Any]) -> bool:
        if row["status"] == "done":
            return row is not newest[row["video_id"]]
        shown = newest.get(row["video_id"])
        if shown is not None and shown["error"] is not None:  # it is told still, and `fervid retry` goes by it
            return False
        return done_at.get(row["path"], row["finished_at"]) > row["finished_at"] or (
            shown is not None and shown["finished_at"] > row["finished_at"]
        )

    return [row for row in rows if row["finished_at"] < before and is_old(row)]


def _files_of(results: Path, pair: Ids) -> tuple[Path, ...]:
    """The files that an analysis has of its own: that of its row first, then its tables."""
    paths = (table_path(results, name, *pair) for name in ("videos", *TIMELINE_TABLES))
    return tuple(path for path in paths if path.exists())


def _left_by_compaction(results: Path, before_s: float) -> list[Path]:
    """What it was cut short in writing or deleting: parts of shards, and what whole shards stand for.

    Nothing if any shard was written of late: somebody may be at it, and questions begun before may still be answered.
    """
    there = [path for path in sorted((results / FOLDER).rglob("[!.]*")) if path.is_file()]
    if len(_old(there, before_s)) < len(there):
        return []
    _, unread = find_replaced(results)  # original files beside a shard stay: other programs read them
    shards = [shard_path(results, shard, name) for shard in unread for name in ("videos", *TIMELINE_TABLES)]
    parts = [path for path in there if path.parent.name in broken_shards(results)]
    return [*shards, *parts]


def _tables_without_row(results: Path) -> list[Path]:
    """Those whose row has no file of its own; that of the same analysis in a shard speaks of the tables there."""
    tables = (path for name in TIMELINE_TABLES for path in sorted(results.glob(f"{name}/video_id=*/[!.]*.parquet")))
    return [path for path in tables if not (results / "videos" / path.parent.name / path.name).exists()]


def _observations_without_row(results: Path, rows: Iterable[Mapping[str, Any]]) -> list[tuple[Path, ...]]:
    """The files of each observation that no finished analysis was made from."""
    known = {(row["video_id"], row["observation_id"]) for row in rows if row["status"] == "done"}
    files: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(results.glob("observations/video_id=*/observation_id=*/[!.]*")):
        of = path.parent.parent.name.removeprefix("video_id="), path.parent.name.removeprefix("observation_id=")
        files[of].append(path)
    return [tuple(paths) for of, paths in files.items() if of not in known]


def _old(files: Iterable[Path], before_s: float) -> list[Path]:
    """Those written last before then; one that is gone meanwhile is nobody's concern."""
    old = []
    for file in files:
        try:
            if file.stat().st_mtime < before_s:
                old.append(file)
        except FileNotFoundError:
            continue
    return old


def _is_row(results: Path, file: Path) -> bool:
    return file.parent.parent == results / "videos"


def _drop_if_empty(folder: Path, results: Path) -> None:
    """Remove a folder of a video that holds nothing any more, and that of its observation."""
    while folder.parent != results and folder != results and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
