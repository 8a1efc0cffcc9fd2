"""Find finished analyses without loading models or reading videos, so that a run with nothing to do ends at once.

The row of a video has the version of its file (size, times and inode) and the fingerprint of the request. A file of the
same version, or of the same content, that has an analysis for the same request is finished.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow.compute as pc

from analytics.results.catalog import read_catalog
from analytics.results.ids import file_sha256
from analytics.results.storage_paths import StoragePath, file_version, is_remote
from analytics.results.store import Store
from analytics.results.videos import path_text
from fer_models.prefetch import StallTimeout, heartbeat, run_with_watchdog
from flows.analysis.fingerprints import WorkIds, request_fingerprint
from flows.settings import AnalyzeSettings

_ID_COLUMNS = ("video_id", "observation_id", "analysis_id")
_COLUMNS = (*_ID_COLUMNS, "path", "object_version", "sha256", "size_bytes", "settings", "finished_at")


@dataclass(frozen=True)
class FinishedWork:
    """A finished analysis for the request of a run."""

    ids: WorkIds
    observe: Mapping[str, Any]  # settings of pass 1 that were used
    finished_at: datetime | None = None  # None if unknown
    keeps_appearance: bool = True  # whether an analysis of these observations may have kept appearance data
    object_version: str | None = None  # version of the file that was found


@dataclass(frozen=True)
class KnownPath:
    """The rows of the table `videos` with one path, including failures."""

    newest_at: datetime  # finished_at of the newest one
    video_ids: frozenset[str]


class FinishedIndex:
    """The finished analyses of a results folder for the settings of a run."""

    def __init__(
        self,
        rows: Sequence[Mapping[str, Any]],
        settings: AnalyzeSettings,
        store: Store | None,
        paths: Mapping[str, KnownPath],
    ) -> None:
        self.settings, self.store, self.paths = settings, store, paths
        self._content_of: dict[tuple[str, str], str] = {}  # path and version of a file -> its SHA-256
        self._by_content: dict[str, FinishedWork] = {}
        self._sizes: set[int] = set()
        self._readable: set[tuple[str, str]] = set()  # ids of the analyses whose tables were read without an error
        request = request_fingerprint(settings)
        stored = [(row, json.loads(row["settings"] or "{}")) for row in rows]
        kept = {row["observation_id"] for row, used in stored if used.get("run", {}).get("keep_appearance", True)}
        # Later rows replace earlier ones. Those without corrections come last, as corrections may have been undone
        # since; the ones in the notes are applied again.
        stored.sort(key=lambda item: ("corrections" not in item[1].get("timeline", {}), item[0]["finished_at"]))
        for row, used in stored:
            if used.get("run", {}).get("request") != request:
                continue
            ids = WorkIds(*(row[name] for name in _ID_COLUMNS))
            self._content_of[row["path"], row["object_version"]] = row["sha256"]
            keeps_appearance = row["observation_id"] in kept
            self._by_content[row["sha256"]] = FinishedWork(ids, used["observe"], row["finished_at"], keeps_appearance)
            self._sizes.add(row["size_bytes"])

    @classmethod
    def read(cls, results: StoragePath, settings: AnalyzeSettings) -> "FinishedIndex":
        """The finished analyses in a results folder, as it is now.

        Raises:
            StoreError: if the row of an analysis is damaged.
            WeightsError: if there is no such model.
        """
        rows = read_catalog(results, skip_damaged=True).rows
        of_path = rows.group_by("path").aggregate([("finished_at", "max"), ("video_id", "distinct")]).to_pylist()
        paths = {row["path"]: KnownPath(row["finished_at_max"], frozenset(row["video_id_distinct"])) for row in of_path}
        done = rows.filter((pc.field("status") == "done") & pc.is_valid(pc.field("sha256")))
        return cls(done.select(_COLUMNS).to_pylist(), settings, Store(results), paths)

    def newest_at(self, path: StoragePath) -> datetime | None:
        """`finished_at` of the newest row with the path; None if there is none."""
        known = self.paths.get(path_text(path))
        return known.newest_at if known else None

    def find(self, path: StoragePath) -> FinishedWork | None:
        """The finished analysis of a video; None if it has to be read or analyzed, or if its tables are damaged.

        Raises:
            StorageError: if the address cannot be reached.
        """
        found = self._find(path)
        return found if found and self._is_readable(found.ids) else None

    def _is_readable(self, ids: WorkIds) -> bool:
        """Whether an analysis still exists, and its tables can be read; the latter is remembered, as it takes long."""
        if self.store is None or self.store.video_row(*ids.analyzed) is None:
            return False
        if ids.analyzed not in self._readable and self.store.is_done(*ids.analyzed):
            self._readable.add(ids.analyzed)
        return ids.analyzed in self._readable

    def _find(self, path: StoragePath) -> FinishedWork | None:
        if self.settings.overwrite or not self._by_content:
            return None
        with contextlib.suppress(OSError, StallTimeout):  # such errors are reported by the analysis of the video
            object_version = file_version(path)
            content = self._content_of.get((path_text(path), object_version))
            if content is not None and not self.settings.verify_content:
                return replace(self._by_content[content], object_version=object_version)
            # A file that was touched, copied or moved still has the same content, which is compared by its hash.
            if not is_remote(path) and path.is_file() and path.stat().st_size in self._sizes:
                content = run_with_watchdog(lambda: file_sha256(path, heartbeat), self.settings.decode_timeout_s)
                if content in self._by_content:
                    return replace(self._by_content[content], object_version=object_version)
        return None
