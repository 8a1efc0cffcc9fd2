"""The results folder that the dashboard shows: one connection, replaced when the folder changes."""

import math
import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa

from analytics import connect
from analytics.queries.connection import noted_people
from analytics.results.notes import FOLDER as NOTES
from analytics.results.shards import FOLDER
from analytics.results.status import Running, running
from analytics.results.storage_paths import StoragePath, absolute, is_remote, list_files, resolve_path
from analytics.results.verification import name_damaged_file
from analytics.results.video_record import VideoName, video_names
from fer_models.labels import EMOTIONS

ENVIRONMENT = "FERVID_DASHBOARD_RESULTS"
T = TypeVar("T")
CHECK_EVERY_S = 1.0  # seconds between checks of the folder for changes
REMOTE_CHECK_EVERY_S = 15.0  # seconds between checks of an object store, which take a request for each thousand videos
# Small tables that pages read for all videos, without columns that no page reads. Reading them is slow, because each
# video has a file of its own, so they are kept in memory: about 30 MB per thousand videos.
_UNREAD = ", ".join(["mean_det_score", "mean_face_px", "baseline_end_s", *(f"mean_{name}" for name in EMOTIONS)])
CACHED_COLUMNS = {"tracks": f"* EXCLUDE ({_UNREAD})", "episodes": "*"}
MAX_CACHED_VIDEOS = 10_000


class Results:
    """Queries over a results folder; may be used from any thread."""

    def __init__(self, root: StoragePath) -> None:
        self.root = root
        # All sessions wait for it, so it is released before `name_damaged_file` reads the whole folder after an error.
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._etag: tuple[int, int] | None = None
        self._notes_etag: tuple[int, int] | None = None
        self._n_reloads = 0  # of the notes
        self._remembered: dict[str, Any] = {}  # answers that are valid as long as the folder does not change
        self._running: tuple[float, list[Running]] = (-math.inf, [])
        self._running_lock = threading.Lock()  # held while the folder is searched, so that polls do so only once
        self._check_every_s = REMOTE_CHECK_EVERY_S if is_remote(root) else CHECK_EVERY_S
        self._checked_s = -math.inf

    def ask(self, sql: str, **parameters: Any) -> pa.Table:
        """Run one of the dashboard's own queries over the views of `analytics.connect`.

        Raises:
            StoreError: if the folder holds no results of this version, or a file is damaged, which is named.
        """
        return self.answer(lambda connection: connection.sql(sql, params=parameters or None).to_arrow_table())

    def answer(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Call one of `analytics.queries` with the connection.

        Raises:
            As `ask`.
        """
        with name_damaged_file(self.root), self._lock:
            return question(self._current_connection())

    def remember(self, name: str, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Like `answer`, but computed once for each state of the folder; all sessions share the result.

        Raises:
            As `ask`.
        """
        with name_damaged_file(self.root), self._lock:
            connection = self._current_connection()
            if name not in self._remembered:
                self._remembered[name] = question(connection)
            remembered: T = self._remembered[name]
            return remembered

    def videos(self) -> list[VideoName]:
        """All videos, also failed ones."""
        return video_names(self.ask("SELECT video_id, path FROM videos"))

    def done_videos(self) -> list[VideoName]:
        """The finished videos, by path."""
        return video_names(self.ask("SELECT video_id, path FROM videos WHERE status = 'done' ORDER BY path, video_id"))

    def running(self) -> list[Running]:
        """The videos that are being analyzed, as of at most `CHECK_EVERY_S` ago."""
        with self._running_lock:
            if time.monotonic() - self._running[0] > CHECK_EVERY_S:
                found = running(self.root)
                self._running = time.monotonic(), found
            return self._running[1]

    def refresh(self) -> None:
        """Check the folder for changes at the next query, however recent the last check was."""
        with self._lock:
            self._checked_s = -math.inf

    def reload_notes(self) -> None:
        """Read names and hidden people again at the next query; object stores do not show that they have changed."""
        with self._lock:
            self._n_reloads += 1
            self._checked_s = -math.inf

    def etag(self) -> tuple[int, int]:
        """A value that changes when analyses are added, removed or compacted, and the number of folders of videos."""
        if is_remote(self.root):
            files = {**list_files(self.root / "videos"), **list_files(self.root / FOLDER)}
            return hash(frozenset((name, file.stamp) for name, file in files.items())), len(files)
        videos, shards = (_modification_times(self.root / folder) for folder in ("videos", FOLDER))
        return hash((frozenset(videos), frozenset(shards))), len(videos)

    def notes_etag(self) -> tuple[int, int]:
        """A value that changes when a person of any video is renamed or hidden; in an object store, only from here."""
        stored = () if is_remote(self.root) else _modification_times(self.root / NOTES)
        return self._n_reloads, hash(frozenset(stored))

    def shown_state(self) -> tuple[object, ...]:
        """A value that identifies the state of the folder that queries show now; later queries may show a newer one.

        Raises:
            As `ask`.
        """
        with name_damaged_file(self.root), self._lock:
            self._current_connection()
            return str(self.root), self._etag, self._notes_etag

    def _current_connection(self) -> duckdb.DuckDBPyConnection:
        now_s = time.monotonic()
        if self._connection is None or now_s - self._checked_s > self._check_every_s:
            etag, notes_etag = self.etag(), self.notes_etag()
            if self._connection is None or etag != self._etag:
                connection = connect(self.root, observations=False)
                if etag[1] <= MAX_CACHED_VIDEOS:
                    cache_small_tables(connection)
                if self._connection is not None:
                    self._connection.close()
                self._connection, self._etag, self._notes_etag = connection, etag, notes_etag
                self._remembered = {}
            elif notes_etag != self._notes_etag:
                self._connection.register("noted_people", noted_people(self.root))
                self._notes_etag, self._remembered = notes_etag, {}
            self._checked_s = now_s
        return self._connection


def _modification_times(folder: Path) -> list[tuple[str, int]]:
    """Each subfolder of `folder` and when a file in it was last written or replaced."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.is_dir()]
    except FileNotFoundError:
        return []


def cache_small_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Replace the most used views by tables in memory; a damaged table is reported by the page that reads it."""
    for name, columns in CACHED_COLUMNS.items():
        try:
            rows = connection.sql(f"SELECT {columns} FROM {name}").to_arrow_table()
        except duckdb.Error:
            continue
        connection.execute(f"DROP VIEW {name}")  # `register` does not replace views that SQL has created
        connection.register(name, rows)


@lru_cache(maxsize=4)
def open_results(root: str) -> Results:
    """The results in `root`, shared by all pages and routes of this process."""
    return Results(absolute(resolve_path(root)))  # the path that flows give to the Prefect server


def current_results() -> Results:
    """The results that this dashboard was started for."""
    return open_results(os.environ[ENVIRONMENT])
