"""Files of the results that cannot be read as they were written."""

import re
from dataclasses import dataclass
from pathlib import Path

from analytics.errors import StoreError

_PATH = re.compile(r"^Could not open Parquet input source '.*?': ")
REPAIR = "`fervid analyze VIDEO --out RESULTS --overwrite` recreates it"


@dataclass(frozen=True)
class Damage:
    """A file that is missing or damaged."""

    path: Path
    reason: str
    video_id: str = ""  # empty for a shard, which holds several videos

    def message(self) -> str:
        """What is wrong, and how to repair it, in one line."""
        return f"{self.path} is damaged ({self.reason}): {REPAIR}"


class DamagedFileError(StoreError):
    """A file of the results is damaged; the message names it and the repair."""

    @classmethod
    def of(cls, damage: Damage) -> "DamagedFileError":
        """The error for a damaged file."""
        return cls(damage.message())


def one_line(error: BaseException) -> str:
    """The first line of an error of Arrow, without the path that it may begin with."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _PATH.sub("", lines[0]).rstrip(".")
