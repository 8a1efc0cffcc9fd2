"""What is done to one video: know it, look at what is not seen yet, build its timeline, commit. No Prefect in here."""

import contextlib
import errno
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from analytics.results.ids import unread_video_id, video_id
from analytics.results.storage_paths import StorageError
from analytics.results.store import Store, StoreError
from analytics.results.stored_timeline import build_stored_timeline, knows_identities
from analytics.results.videos import path_text
from analytics.timeline.observations import observations_table
from analytics.tracking.identities import IdentitiesError
from fer_models.device import DeviceError
from fer_models.observe import StageTimes, observe_segments
from fer_models.registry.model_registry import WeightsError
from fer_models.video import VideoInfo, VideoReadError, probe
from flows.analysis.fingerprints import describe, provenance_columns, timeline_config, versions, work_ids
from flows.analysis.inputs import local_copy, object_version
from flows.analysis.model_bundle import Models, load_models
from flows.analysis.progress import Progress, Stopped, VideoProgress
from flows.analysis.work_plan import (
    Content,
    find_existing_analysis,
    missing_segments,
    plan_segments,
    probe_cached,
    read_content,
    with_stall_timeout,
)
from flows.settings import AnalyzeSettings

log = logging.getLogger(__name__)


# What a disk or a network share may give once and not again.
PASSING_ERRNO = {errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.EIO, errno.ENETDOWN, errno.ESTALE, errno.ETIMEDOUT}


class VideoFailed(Exception):
    """A video could not be analyzed; its row in `videos` says why."""


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


def is_transient(error: BaseException | None) -> bool:
    """Whether a failure may go away by itself: trouble with reading a file, never a file that is wrong."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in PASSING_ERRNO:
            return True
        error = error.__cause__
    return False


def analyze_video(path: Path, store: Store, settings: AnalyzeSettings, progress: Progress) -> VideoOutcome:
    """Bring the results up to date for one video: at once if they are, else segment by segment.

    Raises:
        VideoFailed: if the video cannot be analyzed. The reason is then in its row of `videos`.
        Stopped: if the user asked to stop; finished segments are kept.
        StoreError: if the results cannot be written.
        StorageError: if an address cannot be reached.
        WeightsError: if a model is not there or damaged.
    """
    models = load_models(settings)
    started_s = time.perf_counter()
    row: dict[str, Any] = {"path": path_text(path), "started_at": datetime.now(UTC), "versions": json.dumps(versions())}
    row |= provenance_columns(settings, models, decoder="")
    # A failure has ids of its own, so that it never takes the place of an analysis that went well.
    failure_ids = work_ids(unread_video_id(path), settings, models, decoder="")
    times, config, file = StageTimes(), timeline_config(settings, models), path
    try:
        progress.check()
        row["object_version"] = object_version(path)
        if ids := find_existing_analysis(path, row["object_version"], store, settings, models):
            return skip_outcome(path, store, ids, settings, models)
        with local_copy(path) as file:
            content = read_content(file, settings.decode_timeout_s)
            row |= {"sha256": content.sha256, "size_bytes": content.size_bytes}
            video = video_id(content.sha256)
            failure_ids = work_ids(video, settings, models, decoder="")
            info = with_stall_timeout(file, lambda: probe(file, settings.decoder), settings.decode_timeout_s)
            content.check(file)
            row |= work_ids(video, settings, models, info.decoder)
            row |= describe(info) | provenance_columns(settings, models, info.decoder)
            if not settings.overwrite and store.is_done(row["video_id"], row["analysis_id"]):
                return skip_outcome(path, store, row, settings, models)
            segments = plan_segments(info, settings)
            missing = missing_segments(segments, store, row, settings, models)
            n_observed = observe(path, info, content, segments, missing, store, row, settings, models, progress, times)
        observed = row["video_id"], row["observation_id"]
        observations = store.read_observations(*observed, len(segments))
        timeline = build_stored_timeline(store, *observed, observations, config, anew=settings.overwrite)
        if not settings.keep_appearance:
            store.drop_appearance(*observed)
    except (Stopped, StoreError, StorageError, WeightsError, DeviceError):
        raise
    except Exception as error:
        expected = isinstance(error, VideoReadError | IdentitiesError | OSError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        reason = reason.replace(str(file), str(path)).removeprefix(f"{path}: ")
        log.log(logging.INFO if expected else logging.ERROR, "%s: %s", path, reason, exc_info=error)
        # Else they would stay: nobody may ever try again. A run that can go on needs them to join the tracks.
        if not settings.keep_appearance and not is_transient(error) and "observation_id" in row:
            store.drop_appearance(row["video_id"], row["observation_id"])
        store.commit_failure(row | failure_ids, reason)
        raise VideoFailed(f"{path}: {reason}") from error
    seconds = time.perf_counter() - started_s
    frames_per_s = n_observed / seconds if n_observed else None
    more = {"frames_per_s": frames_per_s, "joined_by_look": timeline.used_appearance}
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
    content, info = probe_cached(path, stat.st_size, stat.st_mtime_ns, settings.decoder, settings.decode_timeout_s)
    ids = work_ids(video_id(content.sha256), settings, models, info.decoder)
    segments = plan_segments(info, settings)
    ours = set(np.array_split(np.arange(len(segments)), of)[part].tolist())
    missing = [index for index in missing_segments(segments, store, ids, settings, models) if index in ours]
    return observe(path, info, content, segments, missing, store, ids, settings, models, progress, StageTimes())


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


def skip_outcome(
    path: Path, store: Store, ids: Mapping[str, str], settings: AnalyzeSettings, models: Models
) -> VideoOutcome:
    """The outcome of a video whose analysis is in the results already; it becomes the one that the views show."""
    config = timeline_config(settings, models)
    if not settings.keep_appearance and knows_identities(store, ids["video_id"], ids["observation_id"], config):
        store.drop_appearance(ids["video_id"], ids["observation_id"])  # kept before, or a run was stopped
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
