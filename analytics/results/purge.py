"""Delete videos from a results folder permanently: rows, observations, failures and notes.

The data of a video are in folders named `video_id=…`, one in each table, and in shards. First, shards are rewritten
without the video. Then its folder in `videos` is moved away, which hides the video from readers at once, followed by
its other folders. Finally the moved folders are deleted. Object stores cannot move files: the objects are deleted in
the same order. A marker file for each video lets the next purge finish an interrupted one.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa

from analytics.errors import StoreError
from analytics.results.arrow_files import n_rows, read_table
from analytics.results.atomic_write import write_atomic
from analytics.results.compaction import drop_from_shards, remove_broken_shards
from analytics.results.in_progress import RECENT_S, videos_in_progress
from analytics.results.results_folder import check_results
from analytics.results.shards import read_shards
from analytics.results.storage_paths import (
    FileInfo,
    StoragePath,
    is_remote,
    list_files,
    path_below,
    read_bytes,
    remove,
)
from analytics.results.video_lock import hold_video
from analytics.results.video_record import NamedVideo, VideoName
from analytics.results.video_rows import ROWS_CACHE, ids_of
from analytics.results.videos import choose_videos
from analytics.tables.schema import TIMELINE_TABLES
from fer_models.errors import FervidError

_TRASH = ".purging"  # folder to which the folders of a video are moved before they are deleted, as `table.video_id=…`
_PREFIX = "video_id="
# Prefix of the file that marks a purge; it contains the start time, because later analyses do not belong to the purge.
_MARK = f"begun.{_PREFIX}"


class _Written(NamedTuple):
    """Some columns of a row of the table `videos`."""

    video_id: str
    path: str
    finished_at: datetime
    is_running: bool | None
    status: str
    sha256: str | None

    @property
    def is_unread(self) -> bool:
        """Whether it is the failure of a file that could not be read, which has a video_id of its own."""
        return self.status == "failed" and self.sha256 is None


class PurgeError(FervidError):
    """A video to purge may still be written to."""


@dataclass(frozen=True)
class Purge:
    """The data that a purge of some videos deletes."""

    video_ids: list[str]
    paths: dict[str, int]  # paths of the analyzed files, if known, with the number of their contents, at least 1
    n_videos: int  # number of videos, which may be less than the number of ids: an unreadable file has an id of its own
    n_files: int = 0
    size_bytes: int = 0
    n_rows: dict[str, int] = field(default_factory=dict)  # number of rows of each table


def plan_purge(results: StoragePath, *, wanted: Sequence[str] = (), finished_before: datetime | None = None) -> Purge:
    """Determine what a purge of these videos would delete; change nothing.

    Args:
        results: the results folder.
        wanted: videos by path, name, id, or a file with the same content, with all their analyses and failures.
        finished_before: instead, all videos without newer data than this, except running live sessions and videos that
            are being analyzed.

    Raises:
        UnknownVideoError: if no video matches, or several do.
        PurgeError: if one of `wanted` is a running live session or is being analyzed, which would write more data.
        StoreError: if `results` is not a results folder.
    """
    check_results(results)
    rows, folders = _video_rows(results), _folders(results)
    in_progress = _in_progress(results, rows)
    if finished_before is None:
        chosen = _chosen(rows, folders, wanted)
        if still := in_progress.intersection(chosen):
            raise _running_error(still, rows)
    else:
        # Only on disk do files without a row have a time.
        finished_at = _finished_at(rows, {} if is_remote(results) else folders)
        old = {video_id for video_id, when in finished_at.items() if when < finished_before}
        chosen = sorted(old - in_progress)
    ids = set(chosen)
    videos_at = _videos_at(row for row in rows if row.video_id in ids)
    files = {
        path: entry
        for video_id in chosen
        for folder in folders.get(video_id, [])
        for path, entry in _files(folder).items()
    }
    paths = {path: max(len(videos), 1) for path, videos in videos_at.items()}
    n_unread = sum(not videos for videos in videos_at.values())
    n_without_row = len(ids - {row.video_id for row in rows})
    n_videos = len(set().union(*videos_at.values())) + n_unread + n_without_row
    counts = _count_rows(results, list(files))
    counts.update(_count_in_shards(results, chosen, list(files)))
    n_bytes = sum(entry.size_bytes for entry in files.values())
    return Purge(chosen, paths, n_videos, len(files), n_bytes, dict(counts))


def purge(results: StoragePath, video_ids: Sequence[str]) -> list[str]:
    """Delete all data of these videos, and finish an interrupted purge.

    Returns:
        The videos of an interrupted purge that were analyzed after it, and are kept with all that it had not removed.

    Raises:
        PurgeError: if one of these videos is being analyzed, or is a running live session.
        DamagedFileError: if a shard of these videos cannot be rewritten, as another analysis in it is damaged.
        StoreError: if `results` is not a results folder, a file cannot be deleted, or another process keeps changing
            one of these videos; at the end, if a damaged shard may contain them.
    """
    check_results(results)
    trash = results / _TRASH
    try:
        interrupted = _interrupted(trash)
        in_progress = videos_in_progress(results)
        if still := in_progress.intersection(video_ids):  # an analysis has started since the plan was made
            raise _running_error(still, _video_rows(results))
        finished_at = _last_finished(_video_rows(results)) if interrupted else {}
        later = {video_id for video_id, when in interrupted.items() if finished_at.get(video_id, when) > when}
        analyzed_again = (later | (interrupted.keys() & in_progress)).difference(video_ids)
        ids = [*video_ids, *sorted(interrupted.keys() - {*analyzed_again, *video_ids})]
        for video_id in ids:
            write_atomic(trash / f"{_MARK}{video_id}", lambda part: part.write_text(datetime.now(UTC).isoformat()))
        lost = remove_broken_shards(results, purged=ids)
        in_shards = {pair for rows in read_shards(results).rows.values() for pair in ids_of(rows)}
        drop_from_shards(results, {pair for pair in in_shards if pair[0] in ids})
        for video_id in ids:
            with hold_video(results, video_id):  # else an edit in the dashboard might still write notes or tables
                for table in sorted(_tables(results), key=lambda table: table.name != "videos"):
                    _move(table / f"{_PREFIX}{video_id}", trash)
        # The cache is deleted last: readers may have rewritten it meanwhile, and killed ones may leave temporary files.
        of_killed = [] if is_remote(results) else (results / "videos").glob(f".*{ROWS_CACHE.name.lstrip('.')}*")
        remove([results / ROWS_CACHE, *of_killed])
        _empty(trash)
        if damaged := [*read_shards(results).damaged, *lost]:
            raise StoreError(f"{damaged[0].message()}. It may contain rows of the removed videos")
        return sorted(analyzed_again)
    except OSError as error:
        what, why = error.filename or results, error.strerror or error
        raise StoreError(f"{what}: cannot be deleted ({why}): stop programs that use it, then purge again") from error


def is_unfinished(results: StoragePath) -> bool:
    """Whether an earlier purge was interrupted."""
    return bool(_names(results / _TRASH))


def _interrupted(trash: StoragePath) -> dict[str, datetime]:
    """The videos whose purge was interrupted, and when it started."""
    return {name.removeprefix(_MARK): _begun(trash / name) for name in _names(trash) if name.startswith(_MARK)}


def _begun(mark: StoragePath) -> datetime:
    """When a purge started: the time in its marker, or that of the file if its content was lost."""
    try:
        return datetime.fromisoformat(read_bytes(mark).decode())
    except ValueError:
        return datetime.fromtimestamp(mark.stat().st_mtime, UTC)


def _names(folder: StoragePath) -> list[str]:
    """The names of entries in a folder: on disk including empty folders, in an object store all objects below."""
    if is_remote(folder):
        return list(list_files(folder))
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _move(folder: StoragePath, trash: StoragePath) -> None:
    """Hide a folder from readers in one step, if it exists, replacing any leftover of an earlier purge."""
    if is_remote(folder) or is_remote(trash):
        remove(folder / name for name in list_files(folder))
    elif folder.exists():
        target = trash / f"{folder.parent.name}.{folder.name}"
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)


def _empty(trash: StoragePath) -> None:
    """Delete the moved folders, then the markers: while they exist, the next purge knows what to finish."""
    if is_remote(trash):
        remove(trash / name for name in list_files(trash))
    elif trash.exists():
        for entry in sorted(trash.iterdir(), key=lambda entry: entry.is_file()):
            entry.unlink() if entry.is_file() else shutil.rmtree(entry)
        trash.rmdir()


def _tables(results: StoragePath) -> list[StoragePath]:
    """The folders that may have a folder for each video."""
    return [entry for entry in results.iterdir() if not entry.name.startswith(".") and entry.is_dir()]


def _folders(results: StoragePath) -> dict[str, list[StoragePath]]:
    """The folders of each video, at most one in each table."""
    folders: dict[str, list[StoragePath]] = {}
    for folder in sorted((folder for table in _tables(results) for folder in table.iterdir()), key=str):
        if folder.name.startswith(_PREFIX):
            folders.setdefault(folder.name.removeprefix(_PREFIX), []).append(folder)
    return folders


def _files(folder: StoragePath) -> dict[StoragePath, FileInfo]:
    """All files of a folder, on disk including hidden ones."""
    if is_remote(folder):
        return {folder / name: entry for name, entry in list_files(folder).items()}
    return {file: FileInfo(file.stat().st_size, "") for file in folder.rglob("*") if file.is_file()}


def _video_rows(results: StoragePath) -> list[_Written]:
    """Some columns of all rows of the table `videos`, including old analyses and failures but not damaged rows."""
    names = _Written._fields
    in_shards = (of_shard.select(names).to_pylist() for of_shard in read_shards(results).rows.values())
    rows = [_Written(**row) for of_shard in in_shards for row in of_shard]
    for name in sorted(list_files(results / "videos")):
        folder, _, file = name.partition("/")
        if folder.startswith(_PREFIX) and file.endswith(".parquet"):
            try:
                table = read_table(results / "videos" / name, columns=list(names[1:]))
            except (OSError, pa.ArrowException):
                continue
            rows += [_Written(folder.removeprefix(_PREFIX), **row) for row in table.to_pylist()]
    return rows


def _videos_at(rows: Iterable[_Written]) -> dict[str, set[str]]:
    """The ids of the videos with each path, by path; none if the file could never be read."""
    videos: dict[str, set[str]] = {}
    for row in sorted(rows, key=lambda row: row.path):
        of_path = videos.setdefault(row.path, set())
        if not row.is_unread:
            of_path.add(row.video_id)
    return videos


def _running_error(video_ids: Iterable[str], rows: Sequence[_Written]) -> PurgeError:
    """An error that names these videos, whose analyses or live sessions are running."""
    path_of = {row.video_id: row.path for row in rows}
    paths = sorted(path_of.get(video_id, video_id) for video_id in video_ids)
    return PurgeError(
        f"{', '.join(paths)}: an analysis or live session is running: wait for its end, or stop it with Ctrl-C. In "
        f"object stores and on disks without locks, one that was killed counts as running for {RECENT_S:.0f} s"
    )


def _in_progress(results: StoragePath, rows: Sequence[_Written]) -> set[str]:
    """The videos that are being analyzed, and live sessions that are running."""
    newest = {row.video_id: row for row in sorted(rows, key=lambda row: row.finished_at)}
    return videos_in_progress(results, [video_id for video_id, row in newest.items() if row.is_running])


def _chosen(rows: Sequence[_Written], folders: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """The ids of the chosen videos, including videos without a row, as a killed run leaves them."""
    return choose_videos([*rows, *_without_row(folders, rows)], wanted)


def videos_without_row(results: StoragePath, rows: Iterable[NamedVideo]) -> list[VideoName]:
    """The videos that are not among the rows of the table `videos`, as a killed run leaves them; they have no path."""
    return _without_row(_folders(results), rows)


def _without_row(folders: Iterable[str], rows: Iterable[NamedVideo]) -> list[VideoName]:
    known = {row.video_id for row in rows}
    return [VideoName(video_id, "") for video_id in folders if video_id not in known]


def _finished_at(rows: Sequence[_Written], folders: Mapping[str, Sequence[StoragePath]]) -> dict[str, datetime]:
    """When the newest data of each video were written."""
    # The time in the row takes precedence, because copying a folder changes the times of its files.
    return {video_id: _last_written(of_video) for video_id, of_video in folders.items()} | _last_finished(rows)


def _last_finished(rows: Sequence[_Written]) -> dict[str, datetime]:
    """The time at which the analysis of each video last finished or failed."""
    last: dict[str, datetime] = {}
    for row in rows:
        last[row.video_id] = max(row.finished_at, last.get(row.video_id, row.finished_at))
    return last


def _last_written(folders: Sequence[StoragePath]) -> datetime:
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return datetime.fromtimestamp(max((file.stat().st_mtime for file in files), default=0.0), UTC)


def _count_in_shards(results: StoragePath, video_ids: Sequence[str], files: Sequence[StoragePath]) -> Counter[str]:
    """The number of rows of each table that are only in shards, and not in `files` as well."""
    own = {(file.parent.name.removeprefix(_PREFIX), file.stem) for file in files if file.parent.parent.name == "videos"}
    shards, counts = read_shards(results), Counter[str]()
    for ids in shards.where.keys() - own:
        if ids[0] in video_ids and (compacted := shards.find(*ids)):
            counts.update({"videos": 1, **dict(zip(TIMELINE_TABLES, compacted.n_rows, strict=True))})
    return counts


def _count_rows(results: StoragePath, files: Sequence[StoragePath]) -> Counter[str]:
    """The number of rows of each table, without damaged files."""
    counts: Counter[str] = Counter()
    for file in files:
        if file.suffix == ".parquet" and not file.name.startswith("."):
            try:
                of_identities = file.name.startswith("identities-")  # identities are stored next to the observations
                table = "identities" if of_identities else path_below(results, file).split("/")[0]
                counts[table] += n_rows(file)
            except (OSError, pa.ArrowException):
                continue
    return counts
