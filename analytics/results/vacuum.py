"""Find and delete files left by interrupted runs or superseded analyses.

Recently written files are kept, because a run may still be writing them, or an interrupted run may resume from them.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path

from analytics.errors import StoreError
from analytics.results.catalog import read_catalog
from analytics.results.compaction import broken_shards, drop_from_shards, find_replaced, lost_manifests
from analytics.results.damage import DamagedFileError
from analytics.results.purge import is_unfinished, purge
from analytics.results.results_folder import check_results
from analytics.results.shards import FOLDER, read_shards, shard_path
from analytics.results.storage_paths import StoragePath, is_remote
from analytics.results.store import Store
from analytics.results.table_files import table_path
from analytics.results.video_lock import hold_video
from analytics.results.video_record import VideoRecord, video_records
from analytics.results.video_rows import ROWS_CACHE, Ids
from analytics.tables.schema import TIMELINE_TABLES

# Age up to which files are kept, so that a run stopped in the evening can be resumed in the morning.
KEPT_S = 24 * 3600.0
BATCH = 100  # number of videos that are held at a time while shards are rewritten


@dataclass(frozen=True)
class Garbage:
    """Files that can be deleted, and why."""

    what: str
    files: tuple[StoragePath, ...] = ()
    in_shards: tuple[Ids, ...] = ()  # analyses to remove from shards, which are then rewritten without them
    video_id: str = ""  # the video of the files; empty if no other process changes them
    # Whether the files are still unused; asked while the video is held.
    is_unused: Callable[[], bool] = field(default=lambda: True, compare=False)

    @cached_property
    def size_bytes(self) -> int:
        """The total size of the files, determined when first asked."""
        return sum(file.stat().st_size for file in self.files if file.exists())


def find_garbage(results: StoragePath, *, superseded: bool = False, older_than_s: float = KEPT_S) -> list[Garbage]:
    """Find files that can be deleted; change nothing.

    Args:
        results: the results folder.
        superseded: also include analyses that are not the newest of their video, and failures followed by a success.
        older_than_s: skip files modified more recently than this.

    Raises:
        StoreError: if `results` is not a results folder of this version on disk, or a shard or the row of a video is
            damaged.
    """
    if is_remote(results):
        raise StoreError(f"{results}: only local results can be cleaned; `fervid purge` also works in object stores")
    check_results(results)
    if lost := lost_manifests(results):
        raise DamagedFileError.of(lost[0])
    before_s = time.time() - older_than_s
    rows = video_records(read_catalog(results).rows)
    old = _superseded(rows, datetime.fromtimestamp(before_s, UTC)) if superseded else []
    superseded_ids = [(row.video_id, row.analysis_id) for row in old]
    kept = [row for row in rows if (row.video_id, row.analysis_id) not in superseded_ids]
    in_shards = read_shards(results).where
    store = Store(results)
    found = [
        Garbage(
            "superseded analysis or failure",
            _files_of(results, pair),
            (pair,) if pair in in_shards else (),
            row.video_id,
            partial(_is_unchanged, store, row),
        )
        for pair, row in zip(superseded_ids, old, strict=True)
    ]
    their_files = {file for one in found for file in one.files}
    left = [file for file in _left_by_compaction(results, before_s) if file not in their_files]
    found += [Garbage("left by a compaction", (file,)) for file in left]
    found += [Garbage("temporary file", (part,)) for part in _old(results.rglob(".*.part"), before_s)]
    found += [
        Garbage(
            "table of an unfinished analysis",
            (table,),
            video_id=table.parent.name.removeprefix("video_id="),
            is_unused=partial(_has_no_row, results, table),
        )
        for table in _old(_tables_without_row(results), before_s)
    ]
    found += [
        Garbage(
            "observations that no analysis uses",
            files,
            video_id=video_id,
            is_unused=partial(_has_no_analysis, store, video_id, observation_id),
        )
        for (video_id, observation_id), files in _observations_without_row(results, kept).items()
        if len(_old(files, before_s)) == len(files)
    ]
    return found


@dataclass(frozen=True)
class Kept:
    """Unused files that `find_garbage` does not return because of its arguments."""

    too_young: list[Garbage]
    superseded: list[Garbage]


def find_kept(results: StoragePath, found: Sequence[Garbage], *, superseded: bool) -> Kept:
    """Find unused files that are too young, or superseded and not requested; change nothing.

    Args:
        results: the results folder.
        found: the garbage found with the same `superseded`.
        superseded: whether `found` includes superseded analyses.

    Raises:
        StoreError: as `find_garbage`.
    """
    too_young = _without(find_garbage(results, superseded=superseded, older_than_s=0.0), found)
    if superseded:
        return Kept(too_young, [])
    everything = find_garbage(results, superseded=True, older_than_s=0.0)
    return Kept(too_young, _without(everything, [*found, *too_young]))


def _without(garbage: Sequence[Garbage], known: Sequence[Garbage]) -> list[Garbage]:
    """The garbage without files and analyses that are already in `known`."""
    files = {file for one in known for file in one.files}
    pairs = {pair for one in known for pair in one.in_shards}
    further = [
        Garbage(
            one.what,
            tuple(file for file in one.files if file not in files),
            tuple(pair for pair in one.in_shards if pair not in pairs),
        )
        for one in garbage
    ]
    return [one for one in further if one.files or one.in_shards]


def remove_garbage(results: StoragePath, garbage: Sequence[Garbage]) -> list[Garbage]:
    """Delete the files that are still unused, and finish an interrupted purge; return what was deleted.

    Raises:
        StoreError: if a file cannot be deleted, or another process keeps changing a video.
    """
    in_shards = sorted((one for one in garbage if one.in_shards), key=lambda one: one.in_shards)
    # Each batch rewrites shards. Observations come last: whether they are used depends on the analyses before.
    batches = [in_shards[start : start + BATCH] for start in range(0, len(in_shards), BATCH)]
    batches += [[one] for one in garbage if not one.in_shards]
    try:
        removed = [one for batch in batches for one in _remove(results, batch)]
        if any(_is_row(results, file) for one in removed for file in one.files):
            (results / ROWS_CACHE).unlink(missing_ok=True)
    except OSError as error:
        reason = f"{error.filename}: cannot be deleted ({error.strerror}): stop programs that use it, then run again"
        raise StoreError(reason) from error
    if is_unfinished(results):
        purge(results, [])
    return removed


def _remove(results: StoragePath, garbage: Sequence[Garbage]) -> list[Garbage]:
    """Delete the files that are still unused, while no other process changes their videos; return what was deleted."""
    with contextlib.ExitStack() as held:
        for video_id in sorted({one.video_id for one in garbage if one.video_id}):
            held.enter_context(hold_video(results, video_id))
        unused = [one for one in garbage if one.is_unused()]
        # The row of an analysis comes first, so that readers ignore its tables. Who has a table open can continue.
        for one in unused:
            for file in one.files:
                file.unlink(missing_ok=True)
                _drop_if_empty(file.parent, results)
        if in_shards := [pair for one in unused for pair in one.in_shards]:
            drop_from_shards(results, in_shards)
    return unused


def _is_unchanged(store: Store, row: VideoRecord) -> bool:
    """Whether the row of an analysis has not been written again, for example to show the analysis."""
    now = store.video_row(row.video_id, row.analysis_id)
    return now is not None and now.finished_at == row.finished_at


def _has_no_row(results: StoragePath, table: StoragePath) -> bool:
    return not (results / "videos" / table.parent.name / table.name).exists()


def _has_no_analysis(store: Store, video_id: str, observation_id: str) -> bool:
    """Whether no finished analysis uses these observations."""
    return all(row.status != "done" or row.observation_id != observation_id for row in store.rows_of(video_id))


def _superseded(rows: Sequence[VideoRecord], before: datetime) -> list[VideoRecord]:
    """Rows that the views no longer show, written before a given time."""
    newest: dict[str, VideoRecord] = {}
    done_at: dict[str, datetime] = {}  # path of a video -> when its newest finished analysis was finished
    for row in sorted(rows, key=lambda row: (row.finished_at, row.analysis_id)):
        if row.status == "done":
            newest[row.video_id] = row
            done_at[row.path] = row.finished_at

    def is_old(row: VideoRecord) -> bool:
        if row.status == "done":
            return row is not newest[row.video_id]
        shown = newest.get(row.video_id)
        # The failure is still reported, and `fervid retry` uses it.
        if shown is not None and shown.error is not None:
            return False
        return done_at.get(row.path, row.finished_at) > row.finished_at or (
            shown is not None and shown.finished_at > row.finished_at
        )

    return [row for row in rows if row.finished_at < before and is_old(row)]


def _files_of(results: Path, pair: Ids) -> tuple[StoragePath, ...]:
    """The own files of an analysis: its row first, then its tables."""
    paths = (table_path(results, name, *pair) for name in ("videos", *TIMELINE_TABLES))
    return tuple(path for path in paths if path.exists())


def _left_by_compaction(results: Path, before_s: float) -> list[StoragePath]:
    """Files that an interrupted compaction was writing or deleting: incomplete and replaced shards.

    Empty if any shard was written recently: a compaction may be running, and earlier queries may still read old shards.
    """
    files = [path for path in sorted((results / FOLDER).rglob("[!.]*")) if path.is_file()]
    if len(_old(files, before_s)) < len(files):
        return []
    _, unread = find_replaced(results)  # original files are kept, because other programs read them
    shards = [shard_path(results, shard, name) for shard in unread for name in ("videos", *TIMELINE_TABLES)]
    broken = broken_shards(results)
    parts = [path for path in files if path.parent.name in broken]
    return [*shards, *parts]


def _tables_without_row(results: Path) -> list[Path]:
    """Tables whose row has no file of its own; a row in a shard belongs to the tables of the shard."""
    tables = (path for name in TIMELINE_TABLES for path in sorted(results.glob(f"{name}/video_id=*/[!.]*.parquet")))
    return [path for path in tables if _has_no_row(results, path)]


def _observations_without_row(results: Path, rows: Iterable[VideoRecord]) -> dict[tuple[str, str], tuple[Path, ...]]:
    """The files of observations that no finished analysis uses, by video_id and observation_id."""
    known = {(row.video_id, row.observation_id) for row in rows if row.status == "done"}
    files: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(results.glob("observations/video_id=*/observation_id=*/[!.]*")):
        ids = path.parent.parent.name.removeprefix("video_id="), path.parent.name.removeprefix("observation_id=")
        files[ids].append(path)
    return {ids: tuple(paths) for ids, paths in files.items() if ids not in known}


def _old(files: Iterable[StoragePath], before_s: float) -> list[StoragePath]:
    """Files last modified before a time; files deleted meanwhile are skipped."""
    old: list[StoragePath] = []
    for file in files:
        try:
            if file.stat().st_mtime < before_s:
                old.append(file)
        except FileNotFoundError:
            continue
    return old


def _is_row(results: StoragePath, file: StoragePath) -> bool:
    return file.parent.parent == results / "videos"


def _drop_if_empty(folder: StoragePath, results: StoragePath) -> None:
    """Delete the folder and its parents below a table, as far as they are empty."""
    while folder.parent != results and folder != results and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
