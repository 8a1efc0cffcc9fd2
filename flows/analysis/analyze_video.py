"""Bring the results up to date for one video: identify, plan, observe, build, commit. Independent of Prefect."""

import contextlib
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from analytics.errors import SegmentError
from analytics.results.carry_notes import carry_notes
from analytics.results.ids import unread_video_id, video_id
from analytics.results.in_progress import mark_in_progress
from analytics.results.storage_paths import StoragePath, file_version
from analytics.results.stored_timeline import build_stored_timeline
from analytics.results.videos import path_text
from analytics.timeline.build import Timeline
from analytics.timeline.observations import observations_table
from analytics.tracking.identities import IdentitiesError
from fer_models.errors import PredictionError
from fer_models.files import valid_text
from fer_models.observe import ObserveOptions, StageTimes, observe_segments
from fer_models.video import VideoInfo, VideoReadError
from flows.analysis.context import AnalysisContext
from flows.analysis.failures import FATAL, VideoFailed, is_transient
from flows.analysis.fingerprints import (
    WorkIds,
    describe,
    observation_settings,
    provenance_columns,
    shown_until_s,
    timeline_config,
    work_ids,
)
from flows.analysis.finished_work import FinishedWork
from flows.analysis.inputs import local_copy
from flows.analysis.outcomes import VideoOutcome
from flows.analysis.progress import Stopped, VideoProgress
from flows.analysis.skipping import range_notes, skip_outcome
from flows.analysis.work_plan import (
    Content,
    missing_segments,
    plan_segments,
    probe_cached,
    probe_with_timeout,
    read_content,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentPlan:
    """The frames of each segment of a video, and which segments remain to be observed."""

    info: VideoInfo
    content: Content
    ids: WorkIds
    segments: list[np.ndarray]  # indices of the sampled frames of each segment
    missing: list[int]

    @property
    def n_frames(self) -> int:
        """Sampled frames of the video."""
        return sum(map(len, self.segments))

    @property
    def n_missing(self) -> int:
        """Sampled frames that remain to be observed."""
        return sum(len(self.segments[index]) for index in self.missing)


def analyze_video(path: StoragePath, context: AnalysisContext) -> VideoOutcome:
    """Bring the results up to date for one video; finished work is skipped.

    Raises:
        VideoFailed: if the video cannot be analyzed. Its row in the table `videos` has the reason.
        Stopped: if the user asked to stop; finished segments are kept.
        StoreError: if the results cannot be written.
        StorageError: if an address cannot be reached.
        WeightsError: if a model is missing or damaged.
    """
    job = _VideoJob(path, context)
    try:
        return job.run()
    except Exception as error:
        if isinstance(error, (Stopped, *FATAL)) and not isinstance(error, SegmentError):
            raise
        raise VideoFailed(f"{valid_text(path)}: {job.commit_failure(error)}") from error


class _VideoJob:
    """Analyze one video, and keep what is known about it so far, which the row of a failure also contains."""

    def __init__(self, path: StoragePath, context: AnalysisContext) -> None:
        self.path, self.context = path, context
        self.store, self.settings, self.models = context.store, context.settings, context.models
        self.file: StoragePath = path  # the file to read: for an object, a local copy
        self.started_at, self.started_s = datetime.now(UTC), time.perf_counter()
        self.object_version: str | None = None
        self.content: Content | None = None
        self.info: VideoInfo | None = None
        self.times = StageTimes()

    def run(self) -> VideoOutcome:
        """Do the work that is not finished yet."""
        self.context.progress.check()
        self.object_version = file_version(self.path)
        if work := self.context.finished.find(self.path):
            return skip_outcome(self.path, work, self.context)
        with contextlib.ExitStack() as running:
            with local_copy(self.path) as file:
                self.file = file
                content, info = self.identify(file)
                if not self.settings.overwrite and self.store.is_done(*self.ids().analyzed):
                    observe_settings = observation_settings(self.settings, self.models, info.decoder)
                    reason = {"detector_reason": self.models.detector_reason}
                    work = FinishedWork(self.ids(), observe_settings | reason, object_version=self.object_version)
                    return skip_outcome(self.path, work, self.context)
                running.enter_context(mark_in_progress(self.store.root, self.ids().video_id))
                plan = self.plan(content, info)
                observe(self.path, plan, self.context, self.times)
            return self.commit(plan, self.build(plan))

    def identify(self, file: Path) -> tuple[Content, VideoInfo]:
        """Hash and describe the file."""
        self.content = read_content(file, self.settings.decode_timeout_s)
        self.info = probe_with_timeout(file, self.settings)
        self.content.check(file)
        return self.content, self.info

    def ids(self) -> WorkIds:
        """The ids of the work, as far as the file is known."""
        video = video_id(self.content.sha256) if self.content else unread_video_id(self.path)
        return work_ids(video, self.settings, self.models, self.info.decoder if self.info else "")

    def plan(self, content: Content, info: VideoInfo) -> SegmentPlan:
        """Split the video into segments, and find those that are not observed yet."""
        segments = plan_segments(info, self.settings)
        missing = missing_segments(segments, self.ids(), self.context)
        return SegmentPlan(info, content, self.ids(), segments, missing)

    def build(self, plan: SegmentPlan) -> Timeline:
        """The timeline from the observations of all segments."""
        observations = self.store.read_observations(*plan.ids.observed, len(plan.segments))
        config, overwrite = timeline_config(self.settings, self.models), self.settings.overwrite
        timeline = build_stored_timeline(
            *(self.store, *plan.ids.observed, observations, config),
            recompute_identities=overwrite,
            end_s=shown_until_s(plan.info, self.settings),
        )
        if not pc.any(pc.not_equal(timeline.frames["status"], "decode_error")).as_py():
            reason = f"none of its {plan.n_frames:,} selected frames can be decoded: copy or convert it again"
            raise VideoReadError(plan.info.path, reason)
        if not self.settings.keep_appearance:
            self.store.drop_appearance(*plan.ids.observed)
        return timeline

    def commit(self, plan: SegmentPlan, timeline: Timeline) -> VideoOutcome:
        """Write the tables and, last of all, the row in the table `videos`."""
        seconds = time.perf_counter() - self.started_s
        row = self.row() | {"joined_by_look": timeline.used_appearance}
        frames_per_s = plan.n_missing / seconds if plan.missing else None
        if plan.missing:
            row |= {"frames_per_s": frames_per_s, "n_observed": plan.n_missing, **vars(self.times)}
        before = self.store.shown_analysis(plan.ids.video_id)
        with carry_notes(self.store, plan.ids.video_id):
            self.store.commit_analysis(row, timeline, after=self.context.finished.newest_at(self.path))
        log.info("%s: %d frames in %.1f s: %s", self.path, plan.n_missing, seconds, self.times)
        shown = self.store.shown_analysis(plan.ids.video_id)  # with corrections, if the notes of the video have any
        assert shown is not None
        return VideoOutcome(
            path=self.path,
            status="done",
            video_id=plan.ids.video_id,
            analysis_id=shown.analysis_id,
            n_frames=len(timeline.frames),
            n_faces=len(timeline.faces),
            n_tracks=self.store.table_rows(plan.ids.video_id, shown.analysis_id)["tracks"],
            n_undecoded=pc.sum(pc.equal(timeline.frames["status"], "decode_error")).as_py() or 0,
            seconds=seconds,
            frames_per_s=frames_per_s,
            decoder=plan.info.decoder,
            decoder_reason=plan.info.decoder_reason,
            notes=(*plan.info.notes, *range_notes(before, shown)),
            n_observed=plan.n_missing,
            models=self.models.describe(),
            times=dict(vars(self.times)),
        )

    def commit_failure(self, error: Exception) -> str:
        """Write the row of a failed video; returns the reason."""
        expected = isinstance(error, VideoReadError | PredictionError | IdentitiesError | SegmentError | OSError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        shown = valid_text(self.path)
        reason = reason.encode(errors="backslashreplace").decode()
        reason = reason.replace(valid_text(self.file), shown).removeprefix(f"{shown}: ")
        log.log(logging.INFO if expected else logging.ERROR, "%s: %s", self.path, reason, exc_info=error)
        # Drop appearance data now, as the video may never be retried. A run that can resume still needs the data.
        if not self.settings.keep_appearance and not is_transient(error) and self.info:
            self.store.drop_appearance(*self.ids().observed)
        # A failure has ids of its own, so that it never replaces an earlier successful analysis.
        video = video_id(self.content.sha256) if self.content else unread_video_id(self.path)
        ids = work_ids(video, self.settings, self.models, decoder="")
        after = self.context.finished.newest_at(self.path)
        self.store.commit_failure(self.row() | dict(ids.columns()), reason, after=after)
        return reason

    def row(self) -> dict[str, object]:
        """The columns of the table `videos` that are known so far."""
        decoder = self.info.decoder if self.info else ""
        row: dict[str, object] = {
            "path": path_text(self.path),
            "started_at": self.started_at,
            "object_version": self.object_version,
        }
        row |= provenance_columns(self.settings, self.models, decoder, self.context.request)
        if self.content:
            row |= {"sha256": self.content.sha256, "size_bytes": self.content.size_bytes}
        if self.info:
            row |= {**self.ids().columns(), **describe(self.info)}
            row["shown_until_s"] = shown_until_s(self.info, self.settings)
        return row


def observe_part(path: StoragePath, context: AnalysisContext, part: int, n_parts: int) -> int:
    """Observe the missing segments of one of `n_parts` parts of a long video; returns the number of frames observed.

    Several parts can be observed at once, on different machines; `analyze_video` then finds all segments stored.

    Raises:
        VideoReadError, PredictionError, OSError: if the video cannot be read, or the emotion model returns no valid
            values for a face; `analyze_video` writes its row.
        Stopped, StoreError, WeightsError, DeviceError: as `analyze_video` does.
    """
    settings = context.settings
    context.progress.check()
    stat = path.stat()
    content, info = probe_cached(path, (stat.st_size, stat.st_mtime_ns), settings)
    ids = work_ids(video_id(content.sha256), settings, context.models, info.decoder)
    segments = plan_segments(info, settings)
    ours = set(np.array_split(np.arange(len(segments)), n_parts)[part].tolist())
    with mark_in_progress(context.store.root, ids.video_id):
        missing = [index for index in missing_segments(segments, ids, context) if index in ours]
        plan = SegmentPlan(info, content, ids, segments, missing)
        observe(path, plan, context, StageTimes())
    return plan.n_missing


def observe(path: StoragePath, plan: SegmentPlan, context: AnalysisContext, times: StageTimes) -> None:
    """Write the observations of the missing segments, each as soon as it is complete."""
    models, settings, progress = context.models, context.settings, context.progress
    n_done = plan.n_frames - plan.n_missing

    def on_frames(n_frames: int) -> None:
        nonlocal n_done
        n_done += n_frames
        progress.report(VideoProgress(path, n_done, plan.n_frames))
        progress.check()

    on_frames(0)
    observations = observe_segments(
        plan.info,
        [plan.segments[index] for index in plan.missing],
        detector=models.detector,
        classifier=models.classifier,
        landmarker=models.landmarker,
        options=ObserveOptions(
            min_face_px=settings.min_face_px,
            detect_every_s=settings.detect_every_s,
            keep_landmarks=settings.keep_landmarks,
            batch_size=settings.batch_size,
            timeout_s=settings.decode_timeout_s,
        ),
        on_frames=on_frames,
        times=times,
    )
    with contextlib.closing(observations):
        for index, observation in zip(plan.missing, observations, strict=True):
            plan.content.check(plan.info.path)
            observed = observations_table(observation, lost_from_s=plan.info.lost_from_s)
            context.store.write_segment(*plan.ids.observed, index, observed)
