"""Errors of DuckDB and Arrow in one line, with a suggested action."""

import difflib
import re
from collections.abc import Sequence

import duckdb

from analytics.errors import TOO_LARGE, QueryError
from analytics.tables.schema import VIEWS
from fer_models.labels import EMOTIONS

_UNKNOWN_TABLE = re.compile(r'Table with name "?(.+?)"? does not exist')
_UNKNOWN_COLUMN = re.compile(
    r'column named "(.+?)"|Column "(.+?)" (?:not found in|does not exist on|in \w+ list not found)', re.IGNORECASE
)
_CANDIDATES = re.compile(r"Candidate bindings: (.+)")  # columns of the tables of the query, similar ones first
_OF_EVENTS = ("events", "event_bins")  # views that exist only with a file of events
_SIMILAR = 0.7  # least similarity (`difflib`) of a name that is suggested for an unknown one
_ALL_COLUMNS = sorted({name for schema in VIEWS.values() for name in schema.names})
_NO_EVENTS = (
    "there are no events: give --events FILE, a CSV with the columns start_s, end_s, label and optionally video"
)


def query_error(error: Exception) -> QueryError:
    """Convert an error of DuckDB or Arrow to a one-line error with a suggested action."""
    # Arrow wraps errors that DuckDB raises while it reads, and keeps their text.
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError) or "Out of Memory Error" in str(error):
        return QueryError(TOO_LARGE)
    if "maximum total string size" in str(error):
        return QueryError("a column of the result has more than 2 GiB of text: select fewer rows or less text")
    if unknown := _UNKNOWN_TABLE.search(str(error)):
        # DuckDB's own suggestion would be the least different of all names, including those of internal tables.
        return QueryError(_NO_EVENTS if unknown[1].lower() in _OF_EVENTS else no_table(unknown[1]))
    if unknown := _UNKNOWN_COLUMN.search(str(error)):
        candidates = re.findall('"(.+?)"', "".join(_CANDIDATES.findall(str(error))))
        return QueryError(_no_column(unknown[1] or unknown[2], candidates or _ALL_COLUMNS))
    return QueryError(str(error))


def _no_column(name: str, candidates: Sequence[str]) -> str:
    """Say that there is no such column, and suggest one of a similar name among `candidates`.

    >>> _no_column("emotio", ["emotion", "smooth_emotion"])
    "no column 'emotio': did you mean emotion?"
    >>> _no_column("sad", ["emotion", "p_sad"])  # as in WHERE emotion = "sad"
    "no column 'sad': did you mean p_sad, or the text 'sad' in single quotes?"
    """
    if name in EMOTIONS:
        column = next((f"{one}, or " for one in candidates if one.endswith(f"_{name}")), "")
        return f"no column {name!r}: did you mean {column}the text '{name}' in single quotes?"
    close = difflib.get_close_matches(name.lower(), candidates, n=1, cutoff=_SIMILAR)
    return f"no column {name!r}: " + (f"did you mean {close[0]}?" if close else "docs/schema.md lists all columns")


def no_table(name: str) -> str:
    """Say that there is no such table, suggest one of a similar name, and list all.

    >>> no_table("episode")[:52], no_table("notes")[:35]
    ("no table 'episode': did you mean episodes? There are", "no table 'notes': there are videos,")
    """
    close = difflib.get_close_matches(name.lower(), VIEWS, n=1, cutoff=_SIMILAR)
    hint = f"did you mean {close[0]}? There" if close else "there"
    always = [view for view in VIEWS if view not in _OF_EVENTS]
    return f"no table {name!r}: {hint} are {', '.join(always)}, and with a file of events {' and '.join(_OF_EVENTS)}"
