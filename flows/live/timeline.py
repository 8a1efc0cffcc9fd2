"""Pass 2 of a live session, in a process of its own: it must not hold up who looks at the pictures, nor keep memory."""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analytics.results.ids import analysis_id
from analytics.results.storage_paths import StorageError
from analytics.results.store import Store, StoreError
from analytics.results.stored_timeline import build_stored_timeline
from analytics.tables.schema import SEEN_STATUSES
from analytics.timeline.build import TimelineConfig, build_timeline
from analytics.tracking.identities import IdentitiesError
from fer_models.errors import FervidError

END_S = 5.0  # to end what it is at


class LiveTimelineError(FervidError):
    """The process that makes timelines has ended."""


@dataclass(frozen=True)
class LiveWork:
    """What is to be made of a session so far."""

    results: Path
    row: Mapping[str, Any]  # columns of `VIDEOS`, with the analysis_id of the finished session
    n_segments: int
    config: TimelineConfig
    is_last: bool  # the session is over
    number: int  # of the work, from 0
    keep_appearance: bool


@dataclass(frozen=True)
class LiveWorkDone:
    """What became of it."""

    is_last: bool
    busy_s: float  # of the processor's time
    n_rows: dict[str, int]  # of each table


def make_timeline(work: LiveWork) -> LiveWorkDone:
    """Build the timeline of what was seen so far and commit it.

    While a session goes on, its tables stand under two ids in turns: readers of the one before still find its files.
    At the end they get the id that settings alone decide, as those of a file, and the other two go.

    Raises:
        StoreError: if segments are missing, or the results cannot be written.
        IdentitiesError: if identities cannot be kept.
    """
    begun_s = time.process_time()
    store, video, observed = Store(work.results), work.row["video_id"], work.row["observation_id"]
    interim = [analysis_id(observed, {"live": number, **work.config.settings()}) for number in range(2)]
    observations = store.read_observations(video, observed, work.n_segments)
    row = dict(work.row) | {"is_running": not work.is_last} | _extent(observations)
    if work.is_last:
        timeline = build_stored_timeline(store, video, observed, observations, work.config, anew=True)
        if not work.keep_appearance:
            store.drop_appearance(video, observed)
    else:
        timeline = build_timeline(observations, work.config)
        row["analysis_id"] = interim[work.number % 2]
    store.commit_analysis(row | {"joined_by_look": timeline.used_appearance}, timeline)
    if work.is_last:
        for old in interim:
            store.remove_analysis(video, old)
    n_rows = {name: len(table) for name, table in timeline.tables().items()}
    return LiveWorkDone(work.is_last, time.process_time() - begun_s, n_rows)


def _extent(observations: pa.Table) -> dict[str, Any]:
    """Columns of `videos` that say how much has come in."""
    first = observations.filter(pc.less_equal(observations["face_index"].fill_null(0), 0))  # a row of each frame
    is_seen = pc.is_in(first["status"], pa.array(SEEN_STATUSES))
    n_losses = pc.sum(pc.equal(first["status"], "no_signal")).as_py()
    n_frames = pc.max(first["frame_index"]).as_py() + 1 - n_losses
    duration_s = pc.max(first["pts_s"]).as_py()
    return {
        "n_frames": n_frames,
        "duration_s": duration_s,
        "avg_fps": n_frames / duration_s if duration_s else None,
        "frames_per_s": pc.sum(is_seen).as_py() / duration_s if duration_s else None,
    }


class TimelineProcess:
    """Does one work after the other in a process that ends with this one, however that ends."""

    def __init__(self) -> None:
        spawned = multiprocessing.get_context("spawn")  # torch's threads would not survive a fork
        self._connection, theirs = spawned.Pipe()
        self._process = spawned.Process(target=_serve, args=(theirs,), name="timeline", daemon=True)
        self._process.start()
        theirs.close()  # so that each side learns of the other's end
        self.n_waiting = 0  # works that were handed over and are not finished

    def __enter__(self) -> "TimelineProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()
        self._process.join(timeout=END_S)
        self._process.kill()  # no work is waited for any more, and it is deaf to what Python would end it with at exit
        self._process.join()

    def start(self, work: LiveWork) -> None:
        """Hand a work over; those before it are done first.

        Raises:
            LiveTimelineError: if the process has ended.
        """
        with self._ended_is_told():
            self._connection.send(work)
            self.n_waiting += 1

    def finished(self, timeout_s: float | None = 0.0) -> LiveWorkDone | None:
        """The next work that is done; None if none is after `timeout_s` (None: wait as long as it takes).

        Raises:
            StoreError: if its results could not be written.
            LiveTimelineError: if the process has ended.
        """
        with self._ended_is_told():
            if not self.n_waiting or not self._connection.poll(timeout_s):
                return None
            done: LiveWorkDone | Exception = self._connection.recv()
        self.n_waiting -= 1
        if isinstance(done, Exception):
            raise done
        return done

    @contextlib.contextmanager
    def _ended_is_told(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise LiveTimelineError(
                f"the process that makes timelines has ended (exit code {self._process.exitcode}; out of memory?): "
                "what was seen is kept, and fervid timeline RESULTS makes its tables"
            ) from error


def _serve(connection: Connection) -> None:
    """Be that process, until the other end of the connection closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they are for the process that looks, which says when to end
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
