"""The state of each video: done, running, failed, damaged or pending, with the reason and what to do about it."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from analytics.results.catalog import LATER_RUN_FAILED, latest_rows, read_catalog
from analytics.results.damage import Damage
from analytics.results.ids import file_sha256, video_id
from analytics.results.in_progress import videos_in_progress
from analytics.results.segments import newest_segment
from analytics.results.storage_paths import StoragePath, file_version, is_remote, is_unmodified, path_below
from analytics.results.verification import find_damage
from analytics.results.video_record import VideoRecord, newest_by_path, video_records
from analytics.results.video_rows import read_own_rows
from analytics.results.videos import path_text, stored_path

# Beginning of the reason if the video is intact but has no frame between --start and --end.
OUTSIDE_RANGE = "no frame in the range"
STATES = ("done", "running", "failed", "damaged", "pending")
# Maximum number of files hashed to find those being analyzed. A run processes files in order, so these are
# among the first pending ones; hashing all files could take hours.
HASHED_AT_MOST = 8


@dataclass(frozen=True)
class Running:
    """A video that is being analyzed."""

    video_id: str
    n_segments: int  # number of segments that its analysis has saved


@dataclass(frozen=True)
class Unfinished:
    """The segments of an analysis that is not finished."""

    n_segments: int = 0
    newest_s: float = -math.inf  # time of the newest one, since 1970


@dataclass(frozen=True)
class VideoStatus:
    """The state of one video."""

    path: str  # path of the file; empty if the video is being analyzed and its file is unknown
    state: str  # one of `STATES`; "done" also if a later run failed, because the results of the earlier one are shown
    video_id: str | None = None
    reason: str = ""  # why the video is not done, or why a later run failed
    suggested_action: str = ""
    finished_at: datetime | None = None
    can_retry: bool = False  # whether `fervid retry` repeats the run that failed


def running(root: StoragePath) -> list[Running]:
    """The videos that are being analyzed, and live sessions that are running; none in object stores."""
    videos = videos_in_progress(root)
    segments = unfinished(root, videos)
    return [Running(video, segments.get(video, Unfinished()).n_segments) for video in sorted(videos)]


def unfinished(root: StoragePath, videos: Iterable[str] = ("*",)) -> dict[str, Unfinished]:
    """Videos whose latest analysis is not finished, by id.

    Only segments that are newer than every row of the video count, and none of a finished analysis: in a copied results
    folder, these are new files. Empty for object stores, where this would require listing every segment of every video.

    Args:
        root: the results folder.
        videos: only these ids.
    """
    if is_remote(root):
        return {}
    seen: dict[str, dict[str, Unfinished]] = defaultdict(dict)  # by video_id and observation_id
    for name in videos:
        for folder in (root / "observations").glob(f"video_id={name}/observation_id=*"):
            newest_s, n_segments = newest_segment(folder)
            if n_segments:
                video, observed = folder.parent.name.removeprefix("video_id="), folder.name
                seen[video][observed.removeprefix("observation_id=")] = Unfinished(n_segments, newest_s)
    if not seen:
        return {}
    rows = read_catalog(root, skip_damaged=True).rows
    for row in rows.select(["video_id", "observation_id", "status", "is_running", "finished_at"]).to_pylist():
        observations = seen.get(row["video_id"], {})
        if row["is_running"]:
            continue
        if row["status"] == "done":
            observations.pop(row["observation_id"], None)
        for observed, found in list(observations.items()):
            if row["finished_at"].timestamp() >= found.newest_s:
                del observations[observed]
    newest = {video: list(observations.values()) for video, observations in seen.items() if observations}
    return {video: max(found, key=lambda one: one.newest_s) for video, found in newest.items()}


def status(results: StoragePath, files: Sequence[StoragePath] = ()) -> list[VideoStatus]:
    """The state of the videos in the results, and of `files` that are not in them, by path.

    Args:
        results: the results folder.
        files: the files to analyze, in the order in which a run processes them.

    Raises:
        StoreError: if `results` is not a results folder of this version.
    """
    damages: dict[str, list[Damage]] = defaultdict(list)
    for damage in find_damage(results):
        damages[damage.video_id].append(damage)
    rows = video_records(latest_rows(read_catalog(results, skip_damaged=True).rows)[0])
    rows = [row for row in rows if row.video_id not in damages or row.status == "failed"]
    row_of = newest_by_path(row for row in rows if not row.is_replaced)
    ids_of_size: dict[int | None, set[str]] = defaultdict(set)
    for row in rows:
        ids_of_size[row.size_bytes].add(row.video_id)
    path_of_damaged = {video: _path_of(results, video) for video in damages}
    damaged_paths = set(path_of_damaged.values())
    left = [path for path in files if path_text(path) not in damaged_paths and not _is_known(path, row_of, ids_of_size)]
    in_progress = videos_in_progress(results, [row.video_id for row in rows if row.is_running])
    unfinished_videos = dict.fromkeys(in_progress, Unfinished()) | unfinished(results)
    path_of = dict(_ids_of_first(left, unfinished_videos)) if left and unfinished_videos else {}
    changed = {path_text(path) for path in left}
    n_running = {video: unfinished_videos[video].n_segments for video in in_progress}
    found = [_of_row(row, n_running) for row in rows if row.path not in changed]
    found += [
        _of_unfinished(video, path_of.get(video), unfinished_videos[video], video in in_progress)
        for video in unfinished_videos.keys() - {row.video_id for row in rows} - damages.keys()
    ]
    found += [_of_file(path, row_of) for path in left if path not in path_of.values()]
    path_of_damaged |= {video: path_text(path) for video, path in path_of.items() if video in damages}
    found += [_of_damages(results, video, path_of_damaged[video], of_video) for video, of_video in damages.items()]
    return sorted(found, key=lambda video: (video.path, video.video_id or ""))


def _of_damages(results: StoragePath, video_id: str, path: str, damages: Sequence[Damage]) -> VideoStatus:
    """The state of a video whose tables or observations are damaged, or of all videos of a damaged shard."""
    first = damages[0]
    more = f" and {len(damages) - 1} more" if len(damages) > 1 else ""
    reason = f"{path_below(results, first.path)}{more}: {first.reason}"
    return VideoStatus(path, "damaged", video_id or None, reason, first.repair)


def _path_of(results: StoragePath, video_id: str) -> str:
    """The path of a video from any readable row; empty if there is none."""
    rows = video_records(read_own_rows(results)[0])
    return next((row.path for row in rows if row.video_id == video_id), "")


def may_exist(path: str) -> bool:
    """Whether a file exists, or is in an object store, where only a run checks it."""
    return "://" in path or stored_path(path).exists()


def n_later_runs_failed(statuses: Iterable[VideoStatus]) -> int:
    """The number of videos that are done, but of which a later run failed."""
    return sum(video.state == "done" and bool(video.reason) for video in statuses)


def count(statuses: Iterable[VideoStatus]) -> dict[str, int]:
    """The number of videos in each of `STATES`."""
    counted = Counter(video.state for video in statuses)
    return {state: counted[state] for state in STATES}


def _of_row(row: VideoRecord, n_running: Mapping[str, int]) -> VideoStatus:
    known = VideoStatus(row.path, "done", row.video_id, finished_at=row.finished_at)
    if row.video_id in n_running:
        reason = "a live session" if row.is_running else _saved(n_running[row.video_id])
        return replace(known, state="running", reason=reason)
    if row.is_running:
        reason = "an interrupted live session: its end is not in the tables yet"
        return replace(
            known, state="pending", reason=reason, suggested_action="run `fervid timeline RESULTS` to add it"
        )
    if row.error is None:
        return known
    if row.status == "done":
        return _of_failed_later_run(known, row, row.error)
    if row.error.startswith(OUTSIDE_RANGE):
        suggested_action = "choose another --start or --end"
    elif may_exist(row.path):
        suggested_action = "repair or replace the file, then run `fervid retry RESULTS`"
    elif stored_path(row.path).is_symlink():
        suggested_action = (
            "it is a broken symbolic link: correct it, or remove the video: `fervid purge RESULTS --video FILE`"
        )
    else:
        suggested_action = "the file is missing: restore it, or remove the video: `fervid purge RESULTS --video FILE`"
    return replace(known, state="failed", reason=row.error, suggested_action=suggested_action, can_retry=True)


def _of_failed_later_run(known: VideoStatus, row: VideoRecord, error: str) -> VideoStatus:
    """The state of a video whose results are those of an earlier run.

    After an analysis of a part of a video, the run that failed is not repeated: it would fail on the same file again,
    which is usually truncated. Once the file is replaced, it is another video, which `fervid analyze` finds.
    """
    failed = replace(known, reason=error)
    observe = row.stored_settings.get("observe", {})
    chosen = [f"--{name} {observe[f'{name}_s']:g}" for name in ("start", "end") if observe.get(f"{name}_s") is not None]
    shown = f"the analysis with {' '.join(chosen)} is shown" if chosen else "the earlier analysis is shown"
    if error.removeprefix(LATER_RUN_FAILED).startswith(OUTSIDE_RANGE):
        return replace(failed, suggested_action=f"{shown}: choose another --start or --end")
    if not may_exist(row.path):
        return replace(failed, suggested_action=f"{shown}; the file is missing")
    if chosen:
        action = f"{shown}: move the file to another folder to keep it, or replace the file and run `fervid analyze`"
        return replace(failed, suggested_action=action)
    action = f"{shown}: run `fervid retry RESULTS` to repeat the later run"
    return replace(failed, suggested_action=action, can_retry=True)


def _of_unfinished(video: str, path: StoragePath | None, found: Unfinished, is_running: bool) -> VideoStatus:
    text, saved = "" if path is None else path_text(path), _saved(found.n_segments)
    if is_running:
        return VideoStatus(text, "running", video, saved)
    reason = f"a run was interrupted {(time.time() - found.newest_s) / 60:.0f} min ago: {saved}"
    return VideoStatus(text, "pending", video, reason, "run `fervid analyze` to resume")


def _saved(n_segments: int) -> str:
    return f"segments saved: {n_segments}"


def _of_file(path: StoragePath, row_of: Mapping[str, VideoRecord]) -> VideoStatus:
    reason = "modified since it was analyzed" if path_text(path) in row_of else "not analyzed yet"
    return VideoStatus(path_text(path), "pending", reason=reason, suggested_action="run `fervid analyze`")


def _is_known(path: StoragePath, row_of: Mapping[str, VideoRecord], ids_of_size: Mapping[int | None, set[str]]) -> bool:
    """Whether the current content of a file has a row: that of its path or, without one in `row_of`, of a copy."""
    row = row_of.get(path_text(path))
    try:
        stat = path.stat()
    except OSError:
        return row is not None
    if row is not None:
        known = row.object_version
        if known == file_version(path):
            return True
        if row.started_at is not None and datetime.fromtimestamp(stat.st_mtime, UTC) > row.started_at:
            return False
        # A file that was renamed to this path keeps its older time.
        return known is None or is_unmodified(path, known) or _id_of(path) == row.video_id
    return stat.st_size in ids_of_size and _id_of(path) in ids_of_size[stat.st_size]


def _ids_of_first(left: Sequence[StoragePath], unfinished_videos: Iterable[str]) -> Iterable[tuple[str, StoragePath]]:
    """The ids and paths of the first pending files that a run has started, found by their content."""
    wanted = set(unfinished_videos)
    for path in left[: len(wanted) + HASHED_AT_MOST]:
        if (video := _id_of(path)) in wanted:
            yield video, path


def _id_of(path: StoragePath) -> str | None:
    try:
        return video_id(file_sha256(path))
    except OSError:
        return None
