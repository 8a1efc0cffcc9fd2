"""Plan the work on a video: identify its content, and find the segments that the results lack."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from analytics.results.ids import file_sha256, video_id
from analytics.results.results_folder import is_initialized
from analytics.results.status import OUTSIDE_RANGE
from analytics.results.storage_paths import StoragePath
from analytics.results.stored_timeline import knows_identities
from fer_models.files import valid_text
from fer_models.prefetch import StallTimeout, heartbeat, run_with_watchdog
from fer_models.video import VideoInfo, VideoReadError, check_readable, frames_to_sample, probe, split_segments
from flows.analysis.context import AnalysisContext
from flows.analysis.fingerprints import WorkIds, timeline_config, work_ids
from flows.analysis.finished_work import FinishedIndex
from flows.analysis.inputs import local_copy
from flows.settings import AnalyzeSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Content:
    """The hash and the version of a file when it was read."""

    sha256: str
    size_bytes: int
    mtime_ns: int

    def check(self, path: Path) -> None:
        """Make sure that the file still has this content: later observations would belong to other content.

        Raises:
            VideoReadError: if the file was written to, replaced or deleted.
        """
        try:
            now = path.stat()
        except FileNotFoundError as error:
            raise VideoReadError(path, "was deleted during the analysis: restore it and run again") from error
        if (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.mtime_ns):
            sizes = f"{self.size_bytes:,} bytes before, {now.st_size:,} now"
            raise VideoReadError(path, f"changed during the analysis ({sizes}): run again once it is complete")


@dataclass(frozen=True)
class VideoPlan:
    """The work of a run on one video."""

    path: StoragePath
    action: str  # "skip", "analyze" or "resume"; "fail: " or "skip: " followed by the reason
    n_frames: int | None = None
    n_remaining: int | None = None  # number of frames that have not been observed yet
    duration_s: float | None = None
    decoder: str = ""

    def as_json(self) -> dict[str, object]:
        """The plan as plain values."""
        return vars(self) | {"path": str(self.path)}


def plan_videos(paths: Sequence[StoragePath], out: StoragePath, settings: AnalyzeSettings) -> list[VideoPlan]:
    """Plan the work of a run on each video; nothing is written.

    Raises:
        StoreError: if `out` holds something other than results.
        StorageError: if an address cannot be reached.
        WeightsError, DeviceError: if the models cannot be loaded.
    """
    has_results = is_initialized(out)
    # The store of the context is not used here, because a plan must not create the results folder.
    context = AnalysisContext(out, settings)
    finished = context.finished if has_results else FinishedIndex([], settings, store=None, paths={})
    return [plan_video(path, context, finished, has_results) for path in paths]


def plan_video(path: StoragePath, context: AnalysisContext, finished: FinishedIndex, has_results: bool) -> VideoPlan:
    """Plan the work of a run on one video."""
    file: StoragePath = path
    settings = context.settings
    if work := finished.find(path):
        return VideoPlan(path, "skip", context.store.table_rows(*work.ids.analyzed)["frames"], 0)
    try:
        with local_copy(path) as local:
            file = local
            info = probe_with_timeout(local, settings)
            segments = plan_segments(info, settings)
            sha256 = read_content(local, settings.decode_timeout_s).sha256
        ids = work_ids(video_id(sha256), settings, context.models, info.decoder)
    except (VideoReadError, OSError) as error:
        shown = valid_text(path)
        return VideoPlan(path, f"fail: {str(error).replace(valid_text(file), shown).removeprefix(f'{shown}: ')}")
    missing = missing_segments(segments, ids, context) if has_results else list(range(len(segments)))
    n_frames, n_remaining = sum(map(len, segments)), sum(len(segments[index]) for index in missing)
    is_done = has_results and not settings.overwrite and context.store.is_done(*ids.analyzed)
    action = "skip" if is_done else "resume" if n_remaining < n_frames else "analyze"
    decoder = f"{info.decoder}: {info.decoder_reason}"
    return VideoPlan(path, action, n_frames, 0 if is_done else n_remaining, info.duration_s, decoder)


def missing_segments(segments: list[np.ndarray], ids: WorkIds, context: AnalysisContext) -> list[int]:
    """The segments to observe: those not stored yet, or all of them with `overwrite`.

    A segment without appearance data counts as missing as long as tracks have not been associated with these settings.
    """
    if context.settings.overwrite:
        return list(range(len(segments)))
    config = timeline_config(context.settings, context.models)
    with_appearance = not knows_identities(context.store, *ids.observed, config)
    return context.store.missing_segments(*ids.observed, len(segments), with_appearance=with_appearance)


def plan_segments(info: VideoInfo, settings: AnalyzeSettings) -> list[np.ndarray]:
    """The indices of the frames to sample in each segment.

    Raises:
        VideoReadError: if the file is truncated, or no frame lies between start and end.
    """
    readable_s = float(info.pts_s[-1])
    if info.truncation and (settings.end_s is None or settings.end_s > readable_s):
        end_s = math.floor(readable_s * 10) / 10  # rounded up, it would be refused as well
        part = f", or use --end {end_s:.1f} to analyze the readable part" if end_s > 0 else ""
        raise VideoReadError(info.path, f"{info.truncation}: copy it again{part}")
    if info.is_still:
        return [np.zeros(1, np.int64)]  # the range from start to end does not apply to images
    frame_index = frames_to_sample(
        info.pts_s, info.end_s, fps=settings.fps, start_s=settings.start_s, end_s=settings.end_s
    )
    if not len(frame_index):
        bounds = (("--start", settings.start_s), ("--end", settings.end_s))
        bounds_text = " ".join(f"{option} {value:g}" for option, value in bounds if value is not None)
        in_range = frames_to_sample(info.pts_s, info.end_s, start_s=settings.start_s, end_s=settings.end_s)
        if settings.fps is not None and len(in_range):
            frames = f"none of its {len(in_range)} frames is sampled with --fps {settings.fps:g}"
        else:
            frames = _frames_around(info.pts_s, settings.start_s)
        raise VideoReadError(info.path, f"{OUTSIDE_RANGE} {bounds_text}: {frames}: choose another range to analyze it")
    return [frame_index[slice(*span)] for span in split_segments(info.pts_s[frame_index], settings.segment_s)]


def _frames_around(pts_s: np.ndarray, start_s: float | None) -> str:
    """When the frames around a time begin, or the first and last frame if it is outside of the video."""
    after = 0 if start_s is None else int(np.searchsorted(pts_s, start_s))
    if 0 < after < len(pts_s):
        return f"the frames around it begin at {pts_s[after - 1]:.2f} and {pts_s[after]:.2f} s"
    return f"its frames are from {pts_s[0]:.2f} to {pts_s[-1]:.2f} s"


@lru_cache(maxsize=2)  # a worker may receive several parts of one video, and would otherwise read all of it for each
def probe_cached(path: Path, stamp: tuple[int, int], settings: AnalyzeSettings) -> tuple[Content, VideoInfo]:
    """The content of a file and its description; `stamp` is its size and modification time."""
    content = read_content(path, settings.decode_timeout_s)
    info = probe_with_timeout(path, settings)
    content.check(path)
    return content, info


def probe_with_timeout(path: Path, settings: AnalyzeSettings) -> VideoInfo:
    """Describe a video.

    Raises:
        VideoReadError: if it cannot be read, or gives no data for too long.
    """

    def read() -> VideoInfo:
        return probe(path, settings.decoder, video_stream=settings.video_stream, rotate=settings.rotate)

    return with_stall_timeout(path, read, settings.decode_timeout_s)


def read_content(path: Path, timeout_s: float) -> Content:
    """Hash a file.

    Raises:
        VideoReadError: if it cannot be read, is empty, or gives no data for too long.
        OSError: if reading fails.
    """

    def read() -> Content:
        check_readable(path)
        stat = path.stat()  # size and time are read before the content, so that later writes are noticed
        return Content(file_sha256(path, heartbeat), stat.st_size, stat.st_mtime_ns)

    return with_stall_timeout(path, read, timeout_s)


def with_stall_timeout(path: Path, work: Callable[[], T], timeout_s: float) -> T:
    """The result of `work` on a file.

    Raises:
        VideoReadError: if no data arrive for `timeout_s`; else as `work` does.
    """
    try:
        return run_with_watchdog(work, timeout_s)
    except StallTimeout as error:
        reason = f"nothing could be read for {timeout_s:g} s: check the disk or network share it is on"
        raise VideoReadError(path, f"{reason}, or allow more time with --decode-timeout") from error
