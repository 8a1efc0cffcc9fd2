"""Analyze a live source into a results folder: process frames, commit them, update the tables, shut down cleanly."""

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from analytics.results.store import Store
from fer_models.crops import CROP_PX
from fer_models.video.live import LiveReader
from fer_models.video.live_frames import LiveFrame
from fer_models.video.live_source import LiveSource
from flows.analysis.fingerprints import timeline_config
from flows.analysis.model_bundle import Models, load_models
from flows.analysis.progress import Progress
from flows.live.frame_rate import AdaptiveFrameRate
from flows.live.session import LiveCounts, LiveOutcome, LiveSession
from flows.live.timeline import LiveWork, TimelineProcess
from flows.settings import AnalyzeSettings, LiveSettings

log = logging.getLogger(__name__)

WAIT_S = 0.1  # longest wait for frames, in seconds, before commits and tables are checked
# Shortest time between two commits.
COMMIT_S = 0.5
# Largest shares of the time that are spent on commits and, in another process, on updating the tables.
COMMIT_SHARE, TIMELINE_SHARE = 0.1, 0.2
# The number of frames that may wait is chosen so that processing all of them takes at most this many seconds.
BUSY_S = 0.25
# Maximum number of frames that may wait.
MOST_FRAMES = 16
# Settings that choose a part of a file, or how it is decoded.
FOR_FILES = ("start_s", "end_s", "video_stream", "rotate", "decoder")


@dataclass(frozen=True)
class LiveStatus:
    """Progress of a live session, for display."""

    seconds: float  # seconds since the first frame of the session
    counts: LiveCounts
    delay_s: float  # mean delay of the latest commit, from the arrival of a frame to its row


class Pace:
    """Schedule a recurring job: at most every `every_s` seconds, and using at most `share` of the time."""

    def __init__(self, every_s: float, share: float) -> None:
        self.every_s, self.share = every_s, share
        self.next_s = time.monotonic() + every_s

    def is_due(self) -> bool:
        """Whether the job is due."""
        return time.monotonic() >= self.next_s

    def took(self, seconds: float) -> None:
        """Record that the job has just run, and how long it took."""
        self.next_s = time.monotonic() + max(self.every_s, seconds / self.share) - seconds


def run_live(
    source: LiveSource,
    out: Path,
    settings: AnalyzeSettings,
    live: LiveSettings,
    progress: Progress,
    *,
    on_status: Callable[[LiveStatus], None] = lambda status: None,
    on_message: Callable[[str], None] = log.info,
) -> list[LiveOutcome]:
    """Analyze a source until it ends, `live.for_s` is over or a stop is requested; return the sessions.

    Args:
        source: the live source.
        out: the results folder.
        settings: as for files; those in `FOR_FILES` and those of key frames have no effect.
        live: duration of the run and of its sessions, the update interval, and whether to adapt the frame rate.
        progress: its stop request ends the run.
        on_status: called a few times per second.
        on_message: called with a message if settings are ignored, when the source is lost and when it is back, and when
            the frame rate changes.

    Raises:
        LiveSourceError: if no frame was received.
        StoreError: if the results cannot be written.
        LiveTimelineError: if the process that builds the tables has ended; all observations are kept.
        WeightsError, DeviceError: if the models cannot be loaded.
    """
    settings = without_file_settings(settings, on_message)
    models = load_models(settings)  # an error about a model leaves no results folder
    store = Store(out)
    _warm_up(models)
    with (
        TimelineProcess() as timelines,
        LiveReader(source, settings.fps, on_message) as reader,
        contextlib.closing(_Run(store, reader, timelines, settings, live, models, on_message)) as run,
    ):
        while not progress.stop_requested.is_set() and not run.is_over():
            run.step()
            if run.session is not None:
                seconds = time.monotonic() - run.session.first.arrived_s
                on_status(LiveStatus(seconds, run.session.counts, run.session.delay.last_s))
        reader.stop()
        if reader.error is not None:
            raise reader.error
        return run.end()


def without_file_settings(settings: AnalyzeSettings, on_message: Callable[[str], None]) -> AnalyzeSettings:
    """The settings of a live session; reports those that are ignored."""
    defaults = {name: AnalyzeSettings.model_fields[name].default for name in FOR_FILES}
    if ignored := [name for name, default in defaults.items() if getattr(settings, name) != default]:
        on_message(f"live streams ignore the settings {', '.join(ignored)}: they apply to files")
    # The next key frame is not known yet, so that faces are searched in every frame.
    return settings.model_copy(update={**defaults, "detect_every_s": 0.0})


def rate_message(fps: float | None, stream_fps: float) -> str:
    """Say how many frames are analyzed from now on.

    >>> rate_message(9.04, 25.0), rate_message(None, 25.0)
    ('analyzing 9 of 25 frames/s, as many as this machine can', 'analyzing all 25 frames/s')
    """
    if fps is None:
        return f"analyzing all {stream_fps:.3g} frames/s"
    return f"analyzing {fps:.2g} of {stream_fps:.3g} frames/s, as many as this machine can"


def _warm_up(models: Models) -> None:
    """Run the models once: the first call is many times slower, and a live source does not wait."""
    models.detector.detect(np.zeros((1, 360, 640, 3), np.uint8))
    crops = torch.zeros((1, CROP_PX, CROP_PX, 3), dtype=torch.uint8)
    models.classifier.predict(crops)
    models.landmarker.predict(crops)


class _Run:
    """The consecutive sessions of one source."""

    def __init__(
        self,
        store: Store,
        reader: LiveReader,
        timelines: TimelineProcess,
        settings: AnalyzeSettings,
        live: LiveSettings,
        models: Models,
        on_message: Callable[[str], None],
    ) -> None:
        self.store, self.reader, self.timelines, self.on_message = store, reader, timelines, on_message
        self.settings, self.live, self.models = settings, live, models
        self.session: LiveSession | None = None
        self.outcomes: list[LiveOutcome] = []
        self.ending: list[LiveSession] = []  # sessions whose final tables are being built
        self.until_s = math.inf  # when the run ends, by time.monotonic()
        self.commits = Pace(COMMIT_S, COMMIT_SHARE)
        self.updates = Pace(live.every_s, TIMELINE_SHARE)
        self.n_works = 0
        self.frames_per_s = 1.0  # processing speed, as a moving average
        self.rate = AdaptiveFrameRate(reader.sampler.fps) if live.adapt_fps else None

    def is_over(self) -> bool:
        """Whether the source has ended or the time is up."""
        has_ended = self.reader.is_over and self.reader.frames.is_empty()
        return has_ended or time.monotonic() >= self.until_s

    def step(self) -> None:
        """Process the frames that have arrived, commit them when due, and update the tables."""
        self._process(self.reader.frames.take(WAIT_S))
        if self.session is None:
            return
        if self.commits.is_due():
            begun_s = time.monotonic()
            self.session.commit()
            self.commits.took(time.monotonic() - begun_s)
        self._collect(timeout_s=0)
        if not self.timelines.n_waiting and self.updates.is_due():
            self.session.commit()
            self._start_timeline(self.session, is_last=False)

    def end(self) -> list[LiveOutcome]:
        """Process the remaining frames and build the final tables."""
        self._process(self.reader.frames.take(0))
        if self.session is not None:
            self._end_session(self.session)
        while self.timelines.n_waiting:
            self._collect(timeout_s=None)
        return self.outcomes

    def close(self) -> None:
        """Close the sessions that an error has interrupted."""
        for session in [*self.ending, *filter(None, [self.session])]:
            session.close()

    def _process(self, frames: list[LiveFrame]) -> None:
        while frames:
            if self.session is None:
                self.session = LiveSession(self.store, self.reader, frames[0], self.settings, self.models)
                self.until_s = min(self.until_s, frames[0].arrived_s + (self.live.for_s or math.inf))
            end_s = self.session.first.pts_s + self.live.session_s
            part, frames = [f for f in frames if f.pts_s < end_s], [f for f in frames if f.pts_s >= end_s]
            self._observe(self.session, part)
            if frames:
                self._end_session(self.session)
                self.session = None

    def _observe(self, session: LiveSession, frames: list[LiveFrame]) -> None:
        """Process frames, and adapt the number of frames that may wait, and the frame rate, to the speed."""
        begun_s, before = time.monotonic(), replace(session.counts)
        session.process(frames)
        now_s, counts = time.monotonic(), session.counts
        if n := counts.n_analyzed - before.n_analyzed:
            self.frames_per_s += 0.3 * (n / (now_s - begun_s) - self.frames_per_s)
            self.reader.frames.limit = min(max(1, int(self.frames_per_s * BUSY_S)), MOST_FRAMES)
        if self.rate is not None:
            n_dropped = counts.n_dropped - before.n_dropped
            self.rate.add(now_s, n_analyzed=n, n_dropped=n_dropped, busy_s=now_s - begun_s if n else 0.0)
            if self.rate.decide(now_s, self.reader.stream_fps):
                self.reader.sampler.fps = self.rate.fps
                self.on_message(rate_message(self.rate.fps, self.reader.stream_fps))

    def _end_session(self, session: LiveSession) -> None:
        session.commit()
        self.ending.append(session)
        self._start_timeline(session, is_last=True)

    def _start_timeline(self, session: LiveSession, *, is_last: bool) -> None:
        work = LiveWork(
            results=self.store.root,
            row=dict(session.row),
            n_segments=session.n_segments,
            config=timeline_config(self.settings, self.models),
            is_last=is_last,
            number=self.n_works,
            keep_appearance=self.settings.keep_appearance,
        )
        self.n_works += 1
        self.timelines.start(work)

    def _collect(self, timeout_s: float | None) -> None:
        done = self.timelines.finished(timeout_s)
        if done is None:
            return
        self.updates.took(done.busy_s)
        if done.is_last:
            session = self.ending.pop(0)
            session.close()
            self.outcomes.append(
                LiveOutcome(
                    path=session.path,
                    video_id=session.ids.video_id,
                    analysis_id=session.ids.analysis_id,
                    live_since=session.since,
                    duration_s=session.duration_s,
                    counts=session.counts,
                    delay=session.delay,
                    n_rows=done.n_rows,
                )
            )
