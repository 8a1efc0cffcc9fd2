"""Read events, such as stimuli or markers, from a CSV or ELAN file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from analytics.queries.boris_files import check_media_files, offset_sentence, time_offset_s
from analytics.queries.codes import END_HEADERS, START_HEADERS, VIDEO_HEADERS, CodesError, named_video, read_codes
from analytics.queries.csv_files import parse_csv, parse_seconds, read_csv_file
from analytics.time_tolerance import is_later
from fer_models.errors import FervidError

NEEDED = ("start_s", "end_s", "label")
# Names of columns in files of other programs, in lower case. The first name that the file contains is used.
ALIASES = {
    "start_s": START_HEADERS,
    "end_s": END_HEADERS,
    "label": ("label", "name", "behavior", "event", "marker", "annotation", "text", "condition"),
}
EVENTS = pa.schema([("label", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("video", pa.string())])

# Metadata of the table of events.
_VIDEO_HINT = b"video_hint"
_OFFSET_NOTE = b"offset_note"


class EventsError(FervidError):
    """The file of events cannot be read or has an invalid line."""


def read_events(path: Path) -> pa.Table:
    """The events of a CSV or ELAN file: columns label, start_s, end_s (half-open) and video, in the order of the file.

    The file has a header with start_s, end_s, label and optionally video, which names the video by path, file name or
    id; an empty cell means every video. The headers in `ALIASES` and `codes.VIDEO_HEADERS` mean the same, other columns
    are ignored. Commas, semicolons and tabs separate columns, with decimal points or commas. In an ELAN file (`.eaf`),
    each annotation of any tier is an event of the linked video, and its text the label. The time offsets of BORIS's
    observations are subtracted.

    Raises:
        EventsError: if it cannot be read, lacks a column, a line is wrong, or an observation of BORIS plays several
            media files one after another.
    """
    if path.suffix.lower() != ".eaf":
        return _parse_events(read_csv_file(path, EventsError), str(path))
    try:
        codes = read_codes(path)
    except CodesError as error:
        raise EventsError(str(error)) from error
    events = [
        {"label": label, "start_s": code.start_s, "end_s": code.end_s, "video": code.video}
        for code in codes
        if (label := code.code.strip())
    ]
    return _table(events, "no media file is linked. Link the video in ELAN.")


def _parse_events(content: bytes, name: str) -> pa.Table:
    """Parse the content of an events file; `name` is for messages."""
    table = parse_csv(content, name, EventsError)
    our_name = _our_names(table.header)
    if missing := [column for column in NEEDED if column not in our_name.values()]:
        found = ", ".join(table.header) or "nothing"
        raise EventsError(
            f"{name}: no column {', '.join(missing)}: the first line must be {','.join(NEEDED)}; found {found}"
        )
    rows = [
        (f"{name}, line {number}", row, named_video(row))
        for number, row in zip(table.line_numbers, table.rows, strict=True)
    ]
    check_media_files(rows, EventsError)
    offsets_s = [time_offset_s(row, where, EventsError) for where, row, _ in rows]
    events = [
        _event({our_name[column]: cell for column, cell in row.items()}, video, where, offset_s)
        for (where, row, video), offset_s in zip(rows, offsets_s, strict=True)
    ]
    names_videos = any(column.lower() in VIDEO_HEADERS for column in table.header)
    unread = [column for column in table.header if column and our_name[column] not in NEEDED]
    hint = f"columns not read: {', '.join(unread)}. If one of them names the videos, call it video."
    n_shifted = sum(offset_s != 0 for offset_s in offsets_s)
    return _table(events, hint if unread and not names_videos else "", offset_sentence(n_shifted, "event") or "")


def _table(events: Sequence[Mapping[str, str | float | None]], hint: str, offset_note: str = "") -> pa.Table:
    metadata = {_VIDEO_HINT: hint, _OFFSET_NOTE: offset_note}
    return pa.Table.from_pylist(list(events), schema=EVENTS.with_metadata(metadata))


def video_hint(events: pa.Table) -> str:
    """Why events of a file may name no video by mistake, and what to do; empty if nothing suggests a mistake."""
    return _metadata(events, _VIDEO_HINT)


def offset_note(events: pa.Table) -> str | None:
    """A sentence on the time offsets that were subtracted from events of a file; None without any."""
    return _metadata(events, _OFFSET_NOTE) or None


def _metadata(events: pa.Table, key: bytes) -> str:
    text: bytes = (events.schema.metadata or {}).get(key, b"")
    return text.decode()


def _our_names(header: Sequence[str]) -> dict[str, str]:
    """Fervid's name for each column, according to `ALIASES`; other columns keep theirs.

    >>> _our_names(["Start", "Stop", "Behavior", "Comment"])
    {'Start': 'start_s', 'Stop': 'end_s', 'Behavior': 'label', 'Comment': 'Comment'}
    """
    spelled = {column.lower(): column for column in reversed(header)}
    names = {column: column for column in header}
    for ours, aliases in ALIASES.items():
        if found := next((spelled[alias] for alias in aliases if alias in spelled), None):
            names[found] = ours
    return names


def _event(line: Mapping[str, str], video: str | None, where: str, offset_s: float) -> dict[str, str | float | None]:
    start_s, end_s = (
        parse_seconds(line[name], f"{where}: {name}", EventsError, offset_s=offset_s) for name in ("start_s", "end_s")
    )
    if not is_later(end_s, start_s):
        raise EventsError(f"{where}: end_s ({end_s:g}) must come after start_s ({start_s:g})")
    if not (label := line["label"]):
        raise EventsError(f"{where}: label is empty")
    return {"label": label, "start_s": start_s, "end_s": end_s, "video": video}
