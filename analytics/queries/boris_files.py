"""Times and media files in the exports of BORIS.

The time of an event is the position in the media file plus the time offset of the observation. If an observation plays
several media files one after another, positions count from the start of the first one; see boris/write_event.py and
boris/observation_operations.py in https://github.com/olivierfriard/BORIS.
"""

import math
import re
from collections.abc import Iterable, Mapping

from analytics.queries.csv_files import parse_number
from analytics.text import counted
from fer_models.errors import FervidError

OFFSET_HEADER = "Time offset (s)"
_QUEUE_HEADERS = ("media duration (s)", "fps (frame/s)", "fps")  # a value for each media file, with semicolons between


def time_offset_s(row: Mapping[str, str], where: str, error_class: type[FervidError]) -> float:
    """The time offset of the observation, which its times include; 0 in files that have none.

    Raises:
        error_class: if it is not a number; `where` is for its message.

    >>> time_offset_s({"Start (s)": "25", "Time offset (s)": "5.0"}, "codes.tsv, line 2", FervidError)
    5.0
    """
    text = next((cell for header, cell in row.items() if header.lower() == OFFSET_HEADER.lower()), "")
    offset_s = parse_number(text) if text else 0.0
    if not math.isfinite(offset_s):
        raise error_class(f"{where}: {OFFSET_HEADER} must be a number of seconds, got {text!r}")
    return offset_s


def offset_sentence(n: int, noun: str) -> str | None:
    """A sentence on the number of codes or events from which a time offset was subtracted; None without any."""
    if not n:
        return None
    return f"The time offset of BORIS was subtracted from {counted(n, noun)}: times count from the start of the video."


def source_file(source: str) -> str | None:
    r"""The path of the first player's media file, from the column Source; None if it names none.

    >>> source_file(r"player #1:C:\clips\a.mp4|player #2:C:\clips\b.mp4")
    'C:\\clips\\a.mp4'
    >>> source_file("NA")
    """
    found = re.match(r"player #1:([^|]+)", source)
    return found[1] if found else None


def check_media_files(
    rows: Iterable[tuple[str, Mapping[str, str], str | None]], error_class: type[FervidError]
) -> None:
    """Refuse observations that play several media files one after another.

    Args:
        rows: file and line of each row, for messages, its cells, and the video that it names.
        error_class: the class of the error to raise.

    Raises:
        error_class: if there is such an observation.
    """
    video_of: dict[tuple[str, str], str | None] = {}
    for where, row, video in rows:
        cells = {header.lower(): cell for header, cell in row.items()}
        if (observation := cells.get("observation id")) is None:
            continue
        is_queue = any(";" in cells.get(header, "") for header in _QUEUE_HEADERS)
        if "total length" in cells:  # BORIS 7 writes only the sum of the durations
            # Observations of different projects may have the same name.
            is_queue |= video != video_of.setdefault((observation, cells.get("observation date", "")), video)
        if is_queue:
            raise error_class(several_files(f"{where}: observation {observation}"))


def several_files(observation: str) -> str:
    """The message on an observation that plays several media files one after another."""
    return (
        f"{observation} plays several media files one after another, and its times do not count from the start of "
        "each: code each file in an observation of its own, or give a CSV file with times in each video"
    )
