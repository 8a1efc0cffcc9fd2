"""What is left to do with a video: what its file holds, and which segments of it the results lack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc

from analytics.results.catalog import read_catalog
from analytics.results.ids import file_sha256, video_id
from analytics.results.store import Store, is_initialized
from analytics.results.stored_timeline import knows_identities
from analytics.results.videos import path_text
from fer_models.prefetch import StallTimeout, heartbeat, run_with_watchdog
from fer_models.video import VideoInfo, VideoReadError, check_readable, frames_to_sample, probe, split_segments
from flows.analysis.fingerprints import timeline_config, work_ids
from flows.analysis.inputs import local_copy, object_version
from flows.analysis.model_bundle import Models, load_models
from flows.settings import AnalyzeSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Content:
    """What a file held when its content was read."""

    sha256: str
    size_bytes: int
    mtime_ns: int

    def check(self, path: Path) -> None:
        """Make sure that the file still holds it: what was seen since would belong to other content.

        Raises:
            VideoReadError: if the file was written to, replaced or deleted.
        """
        try:
            now = path.stat()
        except FileNotFoundError as error:
            raise VideoReadError(path, "was deleted while it was read: put it back and run again") from error
        if (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.mtime_ns):
            sizes = f"{self.size_bytes:,} bytes before, {now.st_size:,} now"
            raise VideoReadError(path, f"changed while it was read ({sizes}): run again once it is all there")


@dataclass(frozen=True)
class VideoPlan:
    """What a run would do with one video."""

    path: Path
    what: str  # "left alone", "analyzed", "finished" or why it would fail
    n_frames: int | None = None
    n_left: int | None = None  # frames not looked at yet
    duration_s: float | None = None
    decoder: str = ""

    def as_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        return vars(self) | {"path": str(self.path)}


def plan_videos(paths: Sequence[Path], out: Path, settings: AnalyzeSettings) -> list[VideoPlan]:
    """What a run would do with each video; nothing is written.

    Raises:
        StoreError: if `out` holds something else than results.
        StorageError: if an address cannot be reached.
        WeightsError, DeviceError: if the models cannot be loaded.
    """
    models = load_models(settings)
    store = Store(out) if is_initialized(out) else None  # a new folder is for the run to make
    return [plan_video(path, store, settings, models) for path in paths]


def plan_video(path: Path, store: Store | None, settings: AnalyzeSettings, models: Models) -> VideoPlan:
    """What a run would do with one video."""
    file = path
    try:
        if store is not None and find_existing_analysis(path, object_version(path), store, settings, models):
            return VideoPlan(path, "left alone")
        with local_copy(path) as file:
            info = with_stall_timeout(file, lambda: probe(file, settings.decoder), settings.decode_timeout_s)
            segments = plan_segments(info, settings)
            sha256 = read_content(file, settings.decode_timeout_s).sha256
        ids = work_ids(video_id(sha256), settings, models, info.decoder)
    except (VideoReadError, OSError) as error:
        return VideoPlan(path, f"would fail: {str(error).replace(str(file), str(path)).removeprefix(f'{path}: ')}")
    missing = missing_segments(segments, store, ids, settings, models)
    n_frames, n_left = sum(map(len, segments)), sum(len(segments[index]) for index in missing)
    is_done = store is not None and not settings.overwrite and store.is_done(ids["video_id"], ids["analysis_id"])
    what = "left alone" if is_done else "finished" if n_left < n_frames else "analyzed"
    decoder = f"{info.decoder}: {info.decoder_reason}"
    return VideoPlan(path, what, n_frames, 0 if is_done else n_left, info.duration_s, decoder)


@lru_cache(maxsize=1)
def index_object_versions(results: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The analyzed objects by address and version: once read, they need not be fetched to know what they hold.

    Remembered until `cache_clear`; one that is missing is fetched for nothing, no more.
    """
    rows = read_catalog(results).rows
    rows = rows.filter(pc.is_valid(pc.field("object_version")) & (pc.field("status") == "done"))
    wanted = ["path", "object_version", "video_id", "decoder", "decoder_reason"]
    return {(row["path"], row["object_version"]): row for row in rows.select(wanted).to_pylist()}


def find_existing_analysis(
    path: Path, version: str | None, store: Store, settings: AnalyzeSettings, models: Models
) -> dict[str, str] | None:
    """The ids of the finished analysis of an object that has not changed since; None if it must be looked at."""
    if version is None or settings.overwrite:
        return None
    row = index_object_versions(store.root).get((path_text(path), version))
    # Which decoder takes it by itself is known only if nobody asked for one before.
    if row is None or (settings.decoder == "auto") == (row["decoder_reason"] == "asked for"):
        return None
    if settings.decoder not in ("auto", row["decoder"]):
        return None
    ids = work_ids(row["video_id"], settings, models, row["decoder"])
    return ids if store.is_done(ids["video_id"], ids["analysis_id"]) else None


def missing_segments(
    segments: list[np.ndarray],
    store: Store | None,
    ids: Mapping[str, str],
    settings: AnalyzeSettings,
    models: Models,
) -> list[int]:
    """The segments to look at: those that are not there yet, or all if they are to be done again.

    Those without signatures are not there if it is still to be found out whose face is whose.
    """
    if settings.overwrite or store is None:
        return list(range(len(segments)))
    observed = ids["video_id"], ids["observation_id"]
    with_signatures = not knows_identities(store, *observed, timeline_config(settings, models))
    return store.missing_segments(*observed, len(segments), with_signatures=with_signatures)


def plan_segments(info: VideoInfo, settings: AnalyzeSettings) -> list[np.ndarray]:
    """The indices of the frames to look at in each segment.

    Raises:
        VideoReadError: if the file ends too early, or no frame lies between start and end.
    """
    readable_s = float(info.pts_s[-1])
    if info.truncation and (settings.end_s is None or settings.end_s > readable_s):
        raise VideoReadError(
            info.path, f"{info.truncation}: copy it again, or give --end {readable_s:.1f} to analyze what is there"
        )
    frame_index = frames_to_sample(info.pts_s, fps=settings.fps, start_s=settings.start_s, end_s=settings.end_s)
    if not len(frame_index):
        first_s, last_s = info.pts_s[0], info.pts_s[-1]
        raise VideoReadError(
            info.path, f"no frame between start and end: its frames lie from {first_s:.2f} to {last_s:.2f} s"
        )
    return [frame_index[slice(*span)] for span in split_segments(info.pts_s[frame_index], settings.segment_s)]


@lru_cache(maxsize=2)  # a worker is given several parts of the same video; reading it all each time would take long
def probe_cached(
    path: Path, size_bytes: int, mtime_ns: int, decoder: str, timeout_s: float
) -> tuple[Content, VideoInfo]:
    """What is in a video of this size and time."""
    content = read_content(path, timeout_s)
    info = with_stall_timeout(path, lambda: probe(path, decoder), timeout_s)
    content.check(path)
    return content, info


def read_content(path: Path, timeout_s: float) -> Content:
    """Read a file from end to end.

    Raises:
        VideoReadError: if it cannot be read, is empty, or gives nothing for so long.
        OSError: if reading it fails on the way.
    """

    def read() -> Content:
        check_readable(path)
        stat = path.stat()  # before its content: what is written from now on shows
        return Content(file_sha256(path, heartbeat), stat.st_size, stat.st_mtime_ns)

    return with_stall_timeout(path, read, timeout_s)


def with_stall_timeout(path: Path, work: Callable[[], T], timeout_s: float) -> T:
    """What `work` finds in a file.

    Raises:
        VideoReadError: if there is no sign of life for so long; else as `work` does.
    """
    try:
        return run_with_watchdog(work, timeout_s)
    except StallTimeout as error:
        reason = f"nothing could be read for {timeout_s:g} s: check the disk or the network share it is on"
        raise VideoReadError(path, f"{reason}, or allow more with FERVID_DECODE_TIMEOUT_S") from error
