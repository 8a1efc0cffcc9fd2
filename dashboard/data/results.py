"""The results folder that the dashboard shows: one connection, made anew when something was added to the folder."""

import contextlib
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
from analytics.results.shards import FOLDER
from analytics.results.storage_paths import is_remote, list_files, resolve_path
from fer_models.labels import EMOTIONS

ENVIRONMENT = "FERVID_DASHBOARD_RESULTS"
T = TypeVar("T")
CHECK_EVERY_S = 1.0  # how often the folder is looked at
# Small tables of which pages ask all videos again and again: a file for each video is slow to read, so they are kept
# in memory, as far as pages need them. A thousand videos take about 10 MB.
_SHARES = ", ".join(f"share_{name}" for name in EMOTIONS)
KEPT = {
    "tracks": f"video_id, analysis_id, track_id, emotion, n_faces, n_faces_ok, seen_s, labelled_s, switch_s, {_SHARES}",
    "episodes": "*",
}
MOST_KEPT_VIDEOS = 10_000
CHECK_ADDRESS_EVERY_S = 15.0  # that takes a request for each thousand videos


class Results:
    """Answers from a results folder; may be used from any thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._etag: tuple[int, int] | None = None
        self._check_every_s = CHECK_ADDRESS_EVERY_S if is_remote(root) else CHECK_EVERY_S
        self._checked_s = -CHECK_EVERY_S

    def ask(self, sql: str, **parameters: Any) -> pa.Table:
        """The rows of a question of the dashboard's own, over the views of `analytics.connect`.

        Raises:
            StoreError: if the folder holds no results of this version.
            duckdb.Error: if a table is damaged.
        """
        return self.answer(lambda connection: connection.sql(sql, params=parameters or None).to_arrow_table())

    def answer(self, question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """What one of `analytics.queries` gives.

        Raises:
            As `ask`.
        """
        with self._lock:
            return question(self._fresh_connection())

    def etag(self) -> tuple[int, int]:
        """Changes whenever an analysis is added: when the newest row of videos was written, and how many folders."""
        if is_remote(self.root):
            files = {**list_files(self.root / "videos"), **list_files(self.root / FOLDER)}
            return hash(frozenset((name, file.stamp) for name, file in files.items())), len(files)
        try:
            with os.scandir(self.root / "videos") as entries:
                times = [entry.stat().st_mtime_ns for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            times = []
        return max(times, default=0), len(times)

    def _fresh_connection(self) -> duckdb.DuckDBPyConnection:
        now_s = time.monotonic()
        if self._connection is None or now_s - self._checked_s > self._check_every_s:
            etag = self.etag()
            if self._connection is None or etag != self._etag:
                connection = connect(self.root, observations=False)
                if etag[1] <= MOST_KEPT_VIDEOS:
                    keep_in_memory(connection)
                if self._connection is not None:
                    self._connection.close()
                self._connection, self._etag = connection, etag
            self._checked_s = now_s
        return self._connection


def keep_in_memory(connection: duckdb.DuckDBPyConnection) -> None:
    """Put tables in the place of the views of them that are asked most; a damaged one is left to whoever asks it."""
    for name, columns in KEPT.items():
        with contextlib.suppress(duckdb.Error):
            connection.register(name, connection.sql(f"SELECT {columns} FROM {name}").to_arrow_table())


@lru_cache(maxsize=4)
def open_results(root: str) -> Results:
    """The results in `root`, shared by all pages and routes of this process."""
    return Results(resolve_path(root))


def current_results() -> Results:
    """The results that this dashboard was started for."""
    return open_results(os.environ[ENVIRONMENT])
