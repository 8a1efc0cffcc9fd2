"""Damaged and missing files of the results."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace

from analytics.errors import StoreError
from analytics.results.storage_paths import StoragePath
from analytics.results.video_record import VideoRecord

_PATH = re.compile(r"^(Could not open Parquet input source '.*?'|.*?: corrupt): ")
_REPAIR = "`fervid analyze {video} --out {results} --overwrite` recreates it; give the options of its analysis, too"
_REPAIR_LIVE = "restore it from a backup: the frames of a live session were not stored, so that it cannot be recreated"
_REPAIR_SHARD = (
    "restore it from a backup, or delete the folder {folder} and run `fervid analyze VIDEOS --out {results}`, which "
    "recreates what is missing"
)
_REPAIR_NOTES = "restore it from a backup, or delete it to continue without the names, markers and corrections in it"
_REPAIR_ROW = (
    "its tables exist. If a run was killed, `fervid analyze {video} --out {results}` with the same options completes "
    "them; else restore it from a backup. `fervid gc` deletes the tables once they are older than 24 hours"
)

MISSING = "missing"  # reason of a file that is gone


@dataclass(frozen=True)
class Damage:
    """A file that is missing or damaged."""

    path: StoragePath
    reason: str
    video_id: str = ""  # video_id, or empty for the rows of a shard, which contains several videos
    is_in_shard: bool = False
    is_notes: bool = False
    is_row_of_tables: bool = False  # whether it is the missing row of an analysis that has all of its tables
    video: str = ""  # path of the video, if it is known
    results: str = ""  # the results folder, if it is known
    is_live: bool = False  # whether the video is a live session

    @property
    def repair(self) -> str:
        """The suggested action."""
        if self.is_notes:
            return _REPAIR_NOTES
        if self.is_live and not self.is_in_shard:
            return _REPAIR_LIVE
        results = shlex.quote(self.results) if self.results else "RESULTS"
        if self.is_in_shard:
            return _REPAIR_SHARD.format(folder=self.path.parent, results=results)
        repair = _REPAIR_ROW if self.is_row_of_tables else _REPAIR
        return repair.format(video=shlex.quote(self.video) if self.video else "VIDEO", results=results)

    def message(self) -> str:
        """The damage and the suggested action in one line."""
        return f"{self.path} is damaged ({self.reason}): {self.repair}"


class DamagedFileError(StoreError):
    """A file of the results is damaged; the message names it and the repair."""

    @classmethod
    def of(cls, damage: Damage) -> "DamagedFileError":
        """The error for a damaged file."""
        return cls(damage.message())


def name_videos(damages: Iterable[Damage], videos: Iterable[VideoRecord], results: StoragePath) -> list[Damage]:
    """The damages with what is known about their videos, and with the results folder."""
    row_of = {row.video_id: row for row in videos}
    named = []
    for damage in damages:
        row = row_of.get(damage.video_id)
        path, is_live = ("", False) if row is None else (row.path, row.live_since is not None)
        named.append(replace(damage, video=path, is_live=is_live, results=str(results)))
    return named


def one_line(error: BaseException) -> str:
    """The first line of an error of Arrow, without the path that it may begin with."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _PATH.sub("", lines[0]).rstrip(".")
