"""Pass 2 of a live session in a separate process, so that it neither delays frame processing nor holds memory."""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analytics.results.carry_notes import carry_notes
from analytics.results.ids import analysis_id
from analytics.results.storage_paths import StorageError, StoragePath
from analytics.results.store import Store, StoreError
from analytics.results.stored_timeline import build_stored_timeline
from analytics.tables.schema import SEEN_STATUSES
from analytics.timeline.build import TimelineConfig, build_timeline
from analytics.tracking.identities import IdentitiesError
from fer_models.errors import FervidError

END_S = 5.0  # seconds within which the process must finish its current job at the end


class LiveTimelineError(FervidError):
    """The process that builds timelines has ended."""


@dataclass(frozen=True)
class LiveWork:
    """A job: build the timeline of a session so far."""

    results: StoragePath
    row: Mapping[str, Any]  # the session's row of the table `videos`, with the analysis_id of the finished session
    n_segments: int
    config: TimelineConfig
    is_last: bool  # True if the session has ended
    number: int  # number of the job, from 0
    keep_appearance: bool


@dataclass(frozen=True)
class LiveWorkDone:
    """The result of a job."""

    is_last: bool
    busy_s: float  # seconds of CPU time that the job took
    n_rows: dict[str, int]  # table -> number of rows


def make_timeline(work: LiveWork) -> LiveWorkDone:
    """Build the timeline of the observations so far and commit it.

    While a session is running, its tables alternate between two ids, so that readers of the previous version still
    find its files. The final tables get the id that follows from the settings, as for a file, and the other two are
    removed.

    Raises:
        StoreError: if segments are missing, or the results cannot be written.
        IdentitiesError: if identities cannot be stored.
    """
    begun_s = time.process_time()
    store, video, observed = Store(work.results), work.row["video_id"], work.row["observation_id"]
    interim = [analysis_id(observed, {"live": number, **work.config.settings()}) for number in range(2)]
    observations = store.read_observations(video, observed, work.n_segments)
    row = dict(work.row) | {"is_running": not work.is_last}
    if work.is_last:
        timeline = build_stored_timeline(store, video, observed, observations, work.config, recompute_identities=True)
        if not work.keep_appearance:
            store.drop_appearance(video, observed)
    else:
        timeline = build_timeline(observations, work.config)
        row["analysis_id"] = interim[work.number % 2]
    row |= {"joined_by_look": timeline.used_appearance, **stream_extent(timeline.frames)}
    with carry_notes(store, video):
        store.commit_analysis(row, timeline)
    if work.is_last:
        for old in interim:
            store.remove_analysis(video, old)
    n_rows = {name: len(table) for name, table in timeline.tables().items()}
    return LiveWorkDone(work.is_last, time.process_time() - begun_s, n_rows)


def stream_extent(frames: pa.Table) -> dict[str, float | None]:
    """Columns of `videos` that describe the extent of the session, from a table with a row per frame."""
    is_seen = pc.is_in(frames["status"], pa.array(SEEN_STATUSES))
    n_losses = pc.sum(pc.equal(frames["status"], "no_signal")).as_py()
    n_frames = pc.max(frames["frame_index"]).as_py() + 1 - n_losses
    duration_s = pc.max(frames["pts_s"]).as_py()  # from the first frame to the last: n frames span n - 1 intervals
    n_seen = pc.sum(is_seen).as_py()
    return {
        "n_frames": n_frames,
        "duration_s": duration_s,
        "avg_fps": (n_frames - 1) / duration_s if duration_s else None,
        "frames_per_s": max(n_seen - 1, 0) / duration_s if duration_s else None,
    }


class TimelineProcess:
    """Run jobs one after the other in a child process, which ends whenever this process does."""

    def __init__(self) -> None:
        # The child is spawned because torch's threads would not survive a fork.
        spawned = multiprocessing.get_context("spawn")
        self._connection, theirs = spawned.Pipe()
        self._process = spawned.Process(target=_serve, args=(theirs,), name="timeline", daemon=True)
        self._process.start()
        theirs.close()  # closed here, so that each side notices when the other one ends
        self.n_waiting = 0  # number of jobs that were submitted and are not finished

    def __enter__(self) -> "TimelineProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._process.join(timeout=END_S)
        # Killed because no result is needed anymore, and the process ignores the SIGTERM that Python sends at exit.
        self._process.kill()
        self._process.join()

    def start(self, work: LiveWork) -> None:
        """Submit a job; earlier ones run first.

        Raises:
            LiveTimelineError: if the process has ended.
        """
        with self._translate_disconnect():
            self._connection.send(work)
            self.n_waiting += 1

    def finished(self, timeout_s: float | None = 0.0) -> LiveWorkDone | None:
        """The next finished job; None if none finishes within `timeout_s` (None: wait without limit).

        Raises:
            StoreError: if its results could not be written.
            LiveTimelineError: if the process has ended.
        """
        with self._translate_disconnect():
            if not self.n_waiting or not self._connection.poll(timeout_s):
                return None
            done: LiveWorkDone | Exception = self._connection.recv()
        self.n_waiting -= 1
        if isinstance(done, Exception):
            raise done
        return done

    @contextlib.contextmanager
    def _translate_disconnect(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise LiveTimelineError(
                f"the process that builds timelines has ended (exit code {self._process.exitcode}; out of memory?): "
                "all observations are kept; build their tables with fervid timeline RESULTS"
            ) from error


def _serve(connection: Connection) -> None:
    """Main loop of the child process, until the other end of the connection closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent handles these signals and decides when to end
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            work: LiveWork = connection.recv()
            try:
                done: LiveWorkDone | Exception = make_timeline(work)
            except (StoreError, StorageError, IdentitiesError, OSError) as error:
                done = error
            connection.send(done)
            del work, done
