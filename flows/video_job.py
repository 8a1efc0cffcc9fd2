"""What is done to one video: know it, look at what is not seen yet, build its timeline, commit. No Prefect in here."""

import contextlib
import errno
import importlib.metadata
import json
import logging
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow.compute as pc
import torch

from analytics.catalog import read_catalog
from analytics.identities import IdentitiesError
from analytics.observations import observations_table
from analytics.places import PlaceError
from analytics.store import (
    Store,
    StoreError,
    analysis_id,
    file_sha256,
    is_begun,
    observation_id,
    unread_video_id,
    video_id,
)
from analytics.stored_timeline import build_stored_timeline, knows_identities
from analytics.timeline import TimelineConfig
from analytics.videos import path_text
from fer_models.ahead import Stalled, sign_of_life, unless_stalled
from fer_models.classification.classifier import EmotionClassifier, load_classifier
from fer_models.detection import FaceDetector, load_detector
from fer_models.detection.retinaface_network import package_is_here
from fer_models.device import DeviceError, choose_device
from fer_models.observe import OBSERVE_VERSION, StageTimes, observe_segments
from fer_models.video import VideoInfo, VideoReadError, check_readable, frames_to_sample, probe, split_segments
from fer_models.weights import WeightsError, lasting_name, model_folders
from flows.inputs import object_version, on_disk
from flows.progress import Progress, Stopped, VideoProgress
from flows.settings import AnalyzeSettings

log = logging.getLogger(__name__)

# What a disk or a network share may give once and not again.
PASSING_ERRNO = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ENETDOWN, errno.ESTALE, errno.ETIMEDOUT}
T = TypeVar("T")

VERSIONED = ("fervid", "av", "decord", "numpy", "pyarrow", "retina-face", "torch", "torchvision")


class VideoFailed(Exception):
    """A video could not be analysed; its row in `videos` says why."""


@dataclass(frozen=True, eq=False)
class Models:
    """The models of a run, and how they were chosen."""

    detector: FaceDetector
    detector_reason: str
    classifier: EmotionClassifier

    def weights(self) -> dict[str, str]:
        """The sha256 of each model's weights."""
        return {"detector": self.detector.sha256, "classifier": self.classifier.card.sha256}

    def describe(self) -> str:
        """Which models these are, in a line."""
        precision = str(self.classifier.dtype).removeprefix("torch.")
        return (
            f"detector {self.detector.name} ({self.detector_reason}) "
            f"with frames of at most {self.detector.max_side_px} px, model {self.classifier.card.name}, "
            f"on {self.classifier.device.type} in {precision}"
        )


@dataclass(frozen=True)
class VideoOutcome:
    """What became of one video in this run."""

    path: Path
    status: str  # "done" or "unchanged"; a failure raises `VideoFailed`
    video_id: str
    analysis_id: str
    n_frames: int
    n_faces: int
    n_tracks: int
    seconds: float = 0.0
    frames_per_s: float | None = None
    decoder: str = ""
    decoder_reason: str = ""
    n_undecoded: int = 0
    same_as: str = ""  # another file with the same content, whose row stands for both
    n_observed: int = 0  # frames looked at in this run; the others were there already
    models: str = ""  # those of the process that did it, and how they were chosen
    times: StageTimes = field(default_factory=StageTimes)


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
    what: str  # "left alone", "analysed", "finished" or why it would fail
    n_frames: int | None = None
    n_left: int | None = None  # frames not looked at yet
    duration_s: float | None = None
    decoder: str = ""

    def as_json(self) -> dict[str, Any]:
        """The plan as plain values."""
        return vars(self) | {"path": str(self.path)}


def can_pass(error: BaseException | None) -> bool:
    """Whether a failure may go away by itself: trouble with reading a file, never a file that is wrong."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in PASSING_ERRNO:
            return True
        error = error.__cause__
    return False


_loading = threading.Lock()


@lru_cache(maxsize=1)
def _load_models(detector: str, detector_size_px: int | None, model: str, device: str) -> Models:
    name, reason = choose_detector(detector, choose_device(device))
    return Models(load_detector(name, device, detector_size_px), reason, load_classifier(model, device))


def choose_detector(asked: str, device: torch.device) -> tuple[str, str]:
    """The detector for "auto" or a name, and why it is that one."""
    if asked != "auto":
        return asked, "asked for"
    if device.type == "cuda" and "retinaface" in model_folders() and package_is_here():
        return "retinaface", "its weights are here, and a GPU"
    return "compact", "the detector in the package"


def load_models(settings: AnalyzeSettings) -> Models:
    """The models that the settings name, loaded once per process.

    Raises:
        WeightsError: if a model is not there or damaged.
        DeviceError: if the device is not there.
    """
    with _loading:
        return _load_models(settings.detector, settings.detector_size_px, settings.model, settings.device)


def analyze_video(path: Path, store: Store, settings: AnalyzeSettings, progress: Progress) -> VideoOutcome:
    """Bring the results up to date for one video: at once if they are, else segment by segment.

    Raises:
        VideoFailed: if the video cannot be analysed. The reason is then in its row of `videos`.
        Stopped: if the user asked to stop; finished segments are kept.
        StoreError: if the results cannot be written.
        PlaceError: if an address cannot be reached.
        WeightsError: if a model is not there or damaged.
    """
    models = load_models(settings)
    started_s = time.perf_counter()
    row: dict[str, Any] = {"path": path_text(path), "started_at": datetime.now(UTC), "versions": json.dumps(versions())}
    row |= describe_work(settings, models, decoder="")
    # A failure has ids of its own, so that it never takes the place of an analysis that went well.
    failure_ids = name_work(unread_video_id(path), settings, models, decoder="")
    times, config, file = StageTimes(), timeline_config(settings, models), path
    try:
        progress.check()
        row["object_version"] = object_version(path)
        if ids := known_work(path, row["object_version"], store, settings, models):
            return unchanged(path, store, ids, settings, models)
        with on_disk(path) as file:
            content = read_content(file, settings.decode_timeout_s)
            row |= {"sha256": content.sha256, "size_bytes": content.size_bytes}
            video = video_id(content.sha256)
            failure_ids = name_work(video, settings, models, decoder="")
            info = in_time(file, lambda: probe(file, settings.decoder), settings.decode_timeout_s)
            content.check(file)
            row |= name_work(video, settings, models, info.decoder)
            row |= describe(info) | describe_work(settings, models, info.decoder)
            if not settings.overwrite and store.is_done(row["video_id"], row["analysis_id"]):
                return unchanged(path, store, row, settings, models)
            segments = plan_segments(info, settings)
            missing = missing_segments(segments, store, row, settings, models)
            n_observed = observe(path, info, content, segments, missing, store, row, settings, models, progress, times)
        observed = row["video_id"], row["observation_id"]
        observations = store.read_observations(*observed, len(segments))
        timeline = build_stored_timeline(store, *observed, observations, config, anew=settings.overwrite)
        if not settings.keep_signatures:
            store.drop_signatures(*observed)
    except (Stopped, StoreError, PlaceError, WeightsError, DeviceError):
        raise
    except Exception as error:
        expected = isinstance(error, VideoReadError | IdentitiesError | OSError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        reason = reason.replace(str(file), str(path)).removeprefix(f"{path}: ")
        log.log(logging.INFO if expected else logging.ERROR, "%s: %s", path, reason, exc_info=error)
        # Else they would stay: nobody may ever try again. A run that can go on needs them to join the tracks.
        if not settings.keep_signatures and not can_pass(error) and "observation_id" in row:
            store.drop_signatures(row["video_id"], row["observation_id"])
        store.commit_failure(row | failure_ids, reason)
        raise VideoFailed(f"{path}: {reason}") from error
    seconds = time.perf_counter() - started_s
    frames_per_s = n_observed / seconds if n_observed else None
    more = {"frames_per_s": frames_per_s, "joined_by_look": timeline.joined_by_look}
    if n_observed:
        more |= {"n_observed": n_observed, **vars(times)}
    store.commit_analysis(row | more, timeline)
    log.info("%s: %d frames in %.1f s: %s", path, n_observed, seconds, times)
    return VideoOutcome(
        path=path,
        status="done",
        video_id=row["video_id"],
        analysis_id=row["analysis_id"],
        n_frames=len(timeline.frames),
        n_faces=len(timeline.faces),
        n_tracks=len(timeline.tracks),
        n_undecoded=pc.sum(pc.equal(timeline.frames["status"], "decode_error")).as_py() or 0,
        seconds=seconds,
        frames_per_s=frames_per_s,
        decoder=info.decoder,
        decoder_reason=info.decoder_reason,
        n_observed=n_observed,
        models=models.describe(),
        times=times,
    )


def observe_part(path: Path, store: Store, settings: AnalyzeSettings, progress: Progress, part: int, of: int) -> int:
    """Look at the segments of one of `of` parts of a long video, less those that are there; gives the number of frames.

    Several may do so at once, and each of them on a machine of its own; `analyze_video` then finds all segments there.

    Raises:
        VideoReadError, OSError: if the video cannot be read; its row is for `analyze_video` to write.
        Stopped, StoreError, WeightsError, DeviceError: as `analyze_video` does.
    """
    models = load_models(settings)
    progress.check()
    stat = path.stat()
    content, info = know_video(path, stat.st_size, stat.st_mtime_ns, settings.decoder, settings.decode_timeout_s)
    ids = name_work(video_id(content.sha256), settings, models, info.decoder)
    segments = plan_segments(info, settings)
    ours = set(np.array_split(np.arange(len(segments)), of)[part].tolist())
    missing = [index for index in missing_segments(segments, store, ids, settings, models) if index in ours]
    return observe(path, info, content, segments, missing, store, ids, settings, models, progress, StageTimes())


@lru_cache(maxsize=2)  # a worker is given several parts of the same video; reading it all each time would take long
def know_video(path: Path, size_bytes: int, mtime_ns: int, decoder: str, timeout_s: float) -> tuple[Content, VideoInfo]:
    """What is in a video of this size and time."""
    content = read_content(path, timeout_s)
    info = in_time(path, lambda: probe(path, decoder), timeout_s)
    content.check(path)
    return content, info


def plan_videos(paths: Sequence[Path], out: Path, settings: AnalyzeSettings) -> list[VideoPlan]:
    """What a run would do with each video; nothing is written.

    Raises:
        StoreError: if `out` holds something else than results.
        PlaceError: if an address cannot be reached.
        WeightsError, DeviceError: if the models cannot be loaded.
    """
    models = load_models(settings)
    store = Store(out) if is_begun(out) else None  # a new folder is for the run to make
    return [plan_video(path, store, settings, models) for path in paths]


def plan_video(path: Path, store: Store | None, settings: AnalyzeSettings, models: Models) -> VideoPlan:
    """What a run would do with one video."""
    file = path
    try:
        if store is not None and known_work(path, object_version(path), store, settings, models):
            return VideoPlan(path, "left alone")
        with on_disk(path) as file:
            info = in_time(file, lambda: probe(file, settings.decoder), settings.decode_timeout_s)
            segments = plan_segments(info, settings)
            sha256 = read_content(file, settings.decode_timeout_s).sha256
        ids = name_work(video_id(sha256), settings, models, info.decoder)
    except (VideoReadError, OSError) as error:
        return VideoPlan(path, f"would fail: {str(error).replace(str(file), str(path)).removeprefix(f'{path}: ')}")
    missing = missing_segments(segments, store, ids, settings, models)
    n_frames, n_left = sum(map(len, segments)), sum(len(segments[index]) for index in missing)
    is_done = store is not None and not settings.overwrite and store.is_done(ids["video_id"], ids["analysis_id"])
    what = "left alone" if is_done else "finished" if n_left < n_frames else "analysed"
    decoder = f"{info.decoder}: {info.decoder_reason}"
    return VideoPlan(path, what, n_frames, 0 if is_done else n_left, info.duration_s, decoder)


@lru_cache(maxsize=1)
def known_objects(results: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The analysed objects by address and version: once read, they need not be fetched to know what they hold.

    Remembered until `cache_clear`; one that is missing is fetched for nothing, no more.
    """
    rows = read_catalog(results).rows
    rows = rows.filter(pc.is_valid(pc.field("object_version")) & (pc.field("status") == "done"))
    wanted = ["path", "object_version", "video_id", "decoder", "decoder_reason"]
    return {(row["path"], row["object_version"]): row for row in rows.select(wanted).to_pylist()}


def known_work(
    path: Path, version: str | None, store: Store, settings: AnalyzeSettings, models: Models
) -> dict[str, str] | None:
    """The ids of the finished analysis of an object that has not changed since; None if it must be looked at."""
    if version is None or settings.overwrite:
        return None
    row = known_objects(store.root).get((path_text(path), version))
    # Which decoder takes it by itself is known only if nobody asked for one before.
    if row is None or (settings.decoder == "auto") == (row["decoder_reason"] == "asked for"):
        return None
    if settings.decoder not in ("auto", row["decoder"]):
        return None
    ids = name_work(row["video_id"], settings, models, row["decoder"])
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
            info.path, f"{info.truncation}: copy it again, or give --end {readable_s:.1f} to analyse what is there"
        )
    frame_index = frames_to_sample(info.pts_s, fps=settings.fps, start_s=settings.start_s, end_s=settings.end_s)
    if not len(frame_index):
        first_s, last_s = info.pts_s[0], info.pts_s[-1]
        raise VideoReadError(
            info.path, f"no frame between start and end: its frames lie from {first_s:.2f} to {last_s:.2f} s"
        )
    return [frame_index[slice(*span)] for span in split_segments(info.pts_s[frame_index], settings.segment_s)]


def read_content(path: Path, timeout_s: float) -> Content:
    """Read a file from end to end.

    Raises:
        VideoReadError: if it cannot be read, is empty, or gives nothing for so long.
        OSError: if reading it fails on the way.
    """

    def read() -> Content:
        check_readable(path)
        stat = path.stat()  # before its content: what is written from now on shows
        return Content(file_sha256(path, sign_of_life), stat.st_size, stat.st_mtime_ns)

    return in_time(path, read, timeout_s)


def in_time(path: Path, work: Callable[[], T], timeout_s: float) -> T:
    """What `work` finds in a file.

    Raises:
        VideoReadError: if there is no sign of life for so long; else as `work` does.
    """
    try:
        return unless_stalled(work, timeout_s)
    except Stalled as error:
        reason = f"nothing could be read for {timeout_s:g} s: check the disk or the network share it is on"
        raise VideoReadError(path, f"{reason}, or allow more with FERVID_DECODE_TIMEOUT_S") from error


def observe(
    path: Path,
    info: VideoInfo,
    content: Content,
    segments: list[np.ndarray],
    missing: list[int],
    store: Store,
    ids: Mapping[str, str],
    settings: AnalyzeSettings,
    models: Models,
    progress: Progress,
    times: StageTimes,
) -> int:
    """Write the observations of the `missing` ones of the segments; gives the number of frames looked at."""
    n_total = sum(map(len, segments))
    n_missing = sum(len(segments[index]) for index in missing)
    n_seen = 0

    def on_frames(n_frames: int) -> None:
        nonlocal n_seen
        n_seen += n_frames
        progress.report(VideoProgress(path, n_total - n_missing + n_seen, n_total))
        progress.check()

    on_frames(0)
    observations = observe_segments(
        info,
        [segments[index] for index in missing],
        detector=models.detector,
        classifier=models.classifier,
        min_face_px=settings.min_face_px,
        batch_size=settings.batch_size,
        timeout_s=settings.decode_timeout_s,
        on_frames=on_frames,
        times=times,
    )
    with contextlib.closing(observations):
        for index, seen in zip(missing, observations, strict=True):
            content.check(info.path)
            store.write_segment(ids["video_id"], ids["observation_id"], index, observations_table(**vars(seen)))
    return n_missing


def unchanged(
    path: Path, store: Store, ids: Mapping[str, str], settings: AnalyzeSettings, models: Models
) -> VideoOutcome:
    """The outcome of a video whose analysis is in the results already; it becomes the one that the views show."""
    config = timeline_config(settings, models)
    if not settings.keep_signatures and knows_identities(store, ids["video_id"], ids["observation_id"], config):
        store.drop_signatures(ids["video_id"], ids["observation_id"])  # kept before, or a run was stopped
    known_path = store.show(ids["video_id"], ids["analysis_id"], path_text(path))
    sizes = store.table_rows(ids["video_id"], ids["analysis_id"])
    return VideoOutcome(
        path=path,
        status="unchanged",
        video_id=ids["video_id"],
        analysis_id=ids["analysis_id"],
        n_frames=sizes["frames"],
        n_faces=sizes["faces"],
        n_tracks=sizes["tracks"],
        same_as=known_path if known_path != path_text(path) else "",
        models=models.describe(),
    )


def timeline_config(settings: AnalyzeSettings, models: Models) -> TimelineConfig:
    """The settings of pass 2."""
    return settings.timeline.config(models.detector.score_threshold)


def observation_settings(settings: AnalyzeSettings, models: Models, decoder: str) -> dict[str, Any]:
    """Every setting of pass 1 that can change a number, and the length of a segment."""
    return {
        "observe_version": OBSERVE_VERSION,
        **settings.model_dump(include={"fps", "start_s", "end_s", "min_face_px", "segment_s"}),
        "decoder": decoder,
        "detector": models.detector.name,
        "detector_score_threshold": models.detector.score_threshold,
        "detector_size_px": models.detector.max_side_px,
        "detector_precision": str(models.detector.dtype).removeprefix("torch."),
        "model": models.classifier.card.name,
        "device": models.classifier.device.type,
        "precision": str(models.classifier.dtype).removeprefix("torch."),
    }


def name_work(video: str, settings: AnalyzeSettings, models: Models, decoder: str) -> dict[str, str]:
    """The ids of a video, of what is seen in it, and of what is made of that."""
    observed = observation_id(video, observation_settings(settings, models, decoder), models.weights())
    analysed = analysis_id(observed, timeline_config(settings, models).settings())
    return {"video_id": video, "observation_id": observed, "analysis_id": analysed}


def describe(info: VideoInfo) -> dict[str, Any]:
    """Columns of `videos` that say what the video is."""
    names = ("container", "codec", "width_px", "height_px", "rotation_deg", "duration_s", "n_frames", "avg_fps")
    return {name: getattr(info, name) for name in (*names, "is_vfr", "decoder", "decoder_reason")}


def describe_work(settings: AnalyzeSettings, models: Models, decoder: str) -> dict[str, str]:
    """Columns of `videos` that say how it was analysed."""
    all_settings = {
        "observe": observation_settings(settings, models, decoder) | {"detector_reason": models.detector_reason},
        "timeline": timeline_config(settings, models).settings(),
        # How the run was asked for: changes no number, so it is in no id, but `fervid retry` goes by it.
        "run": {
            "model": lasting_name(settings.model),
            **settings.model_dump(include={"keep_signatures", "overwrite"}),
        },
    }
    return {"settings": json.dumps(all_settings), "weights": json.dumps(models.weights())}


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
