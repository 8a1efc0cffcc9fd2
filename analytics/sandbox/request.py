"""The request to the child process, as JSON, and parsing of memory sizes."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Self

from analytics.errors import QueryError

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b\s*", re.IGNORECASE)


@dataclass(frozen=True)
class QueryRequest:
    """One SELECT and its limits."""

    results: str
    sql: str
    video: str | None
    all_analyses: bool
    events: str | None
    timeout_s: float
    memory_limit: str

    def to_json(self) -> str:
        """The request as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse the output of `to_json`."""
        return cls(**json.loads(text))


def memory_bytes(size: str) -> int:
    """A size such as `500MB` or `2GiB` in bytes.

    Raises:
        QueryError: if it is not a size.

    >>> memory_bytes("2GB"), memory_bytes("0.5 KiB")
    (2000000000, 512)
    """
    if (found := _SIZE.fullmatch(size)) is None or not (number := float(found[1])):
        raise QueryError(f"the memory limit must be a size such as 500MB or 2GB, got {size!r}")
    return int(number * (1024 if found[3] else 1000) ** " kmgt".index(found[2].lower() or " "))
