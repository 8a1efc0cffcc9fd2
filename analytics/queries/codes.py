"""Codes of human coders, read from ELAN, BORIS or CSV files."""

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from analytics.queries.boris_files import (
    OFFSET_HEADER,
    check_media_files,
    offset_sentence,
    several_files,
    source_file,
    time_offset_s,
)
from analytics.queries.csv_files import SEPARATORS, decode_csv, parse_csv, parse_seconds, read_csv_file
from analytics.tables.schema import MOVEMENT_KINDS
from analytics.time_tolerance import is_later
from fer_models.errors import FervidError
from fer_models.labels import EMOTIONS, emotion_named

CODE_COLUMNS = ("code", "label", "emotion", "behavior")
PERSON_COLUMNS = ("person", "subject", "track", "track_id")
# Headers of the columns of times, in lower case, also in files of other programs. The first one in the file is used.
START_HEADERS = ("start_s", "start", "start (s)", "onset", "begin", "from", "time")
END_HEADERS = ("end_s", "end", "stop", "stop (s)", "end (s)", "offset", "to")
# Headers of the columns that name a video, in lower case; those of BORIS hold paths on the coder's computer.
BORIS_VIDEO_HEADERS = ("media file name", "media file path", "media file")
VIDEO_HEADERS = ("video", "path", "file", "filename", *BORIS_VIDEO_HEADERS)

_Rows = Sequence[tuple[str, Mapping[str, str]]]  # file and line of each row, for messages, and its cells


class CodesError(FervidError):
    """The codes cannot be read, name an unknown emotion, video or person, or overlap."""


@dataclass(frozen=True)
class Code:
    """A half-open time interval with the code that a coder assigned."""

    start_s: float
    end_s: float
    code: str
    person: str | None = None
    video: str | None = None
    offset_s: float = 0.0  # what was subtracted from the times in the file


def read_codes(path: Path) -> list[Code]:
    """The codes of a file: ELAN (`.eaf`), BORIS (tabular or aggregated events) or CSV, recognized by its content.

    A CSV file has the columns start_s, end_s, code and optionally person and video, separated by commas, semicolons or
    tabs. Codes without duration, such as point events of BORIS, are left out. The time offsets of BORIS's observations
    are subtracted.

    Raises:
        CodesError: if the file cannot be read, a code ends before it starts, or an observation of BORIS plays several
            media files one after another.
    """
    codes = _read_elan(path) if path.suffix.lower() == ".eaf" else _read_table(path)
    for code in codes:
        if is_later(code.start_s, code.end_s):
            raise CodesError(f"{path}: {code.code} ends at {code.end_s:g} s, before it starts at {code.start_s:g} s")
    return [code for code in codes if is_later(code.end_s, code.start_s)]


def offset_note(codes: Iterable[Code]) -> str | None:
    """A sentence on the time offsets that were subtracted from codes; None without any."""
    return offset_sentence(sum(code.offset_s != 0 for code in codes), "code")


def _read_table(path: Path) -> list[Code]:
    content = read_csv_file(path, CodesError)
    lines = io.StringIO(decode_csv(content, str(path), CodesError), newline="")
    before: list[list[str]] = []
    for number, line in enumerate(lines):  # BORIS 7 writes lines about the observation before the header
        delimiter = max(SEPARATORS, key=line.count)
        cells = [name.strip().strip('"').strip() for name in line.split(delimiter)]
        for is_header, read in _TABLES:
            if is_header(set(cells)):
                table = parse_csv(content, str(path), CodesError, n_lines_before=number)
                sources = [f"{path}, line {line_number}" for line_number in table.line_numbers]
                same = _cells_before(before, path)
                rows = [(source, {**same, **row}) for source, row in zip(sources, table.rows, strict=True)]
                check_media_files(((where, row, named_video(row)) for where, row in rows), CodesError)
                return read(rows, path)
        before.append(cells)
    raise CodesError(
        f"{path}: no known format: give an ELAN file, BORIS's tabular or aggregated events, or a CSV file with the "
        "columns start_s, end_s, code and optionally person, video"
    )


def _cells_before(lines: Sequence[Sequence[str]], path: Path) -> dict[str, str]:
    """The time offset that BORIS 7 writes before the header, as a cell for every row."""
    if sum(name == "Player #1" for name, *_ in lines) > 1:
        raise CodesError(several_files(f"{path}: the observation"))
    found = {}
    for number, (name, *values) in enumerate(lines, 1):
        if name == OFFSET_HEADER and values:
            found = {name: values[0]}
            time_offset_s(found, f"{path}, line {number}", CodesError)
    return found


def read_code_map(path: Path) -> dict[str, str | None]:
    """The emotion of each code, from a CSV file with the columns code and emotion; None where emotion is empty.

    Raises:
        CodesError: if the file cannot be read or an emotion is unknown.
    """
    table = parse_csv(read_csv_file(path, CodesError), str(path), CodesError)
    if not {"code", "emotion"} <= set(table.header):
        raise CodesError(f"{path}: needs the columns code and emotion in its first line")
    found = {row["code"].lower(): row["emotion"].lower() for row in table.rows}
    if wrong := sorted({emotion for emotion in found.values() if emotion and emotion not in EMOTIONS}):
        raise CodesError(f"{path}: {', '.join(wrong)}: no such emotion; the emotions are {', '.join(EMOTIONS)}")
    return {code: emotion or None for code, emotion in found.items()}


def translate_codes(codes: Iterable[Code], code_map: Mapping[str, str | None], source: str) -> list[Code]:
    """Replace the names of codes by emotions, or by nothing where the map leaves them empty; movements are dropped.

    Raises:
        CodesError: if a name is neither in the map nor known.
    """
    named = [(code.code.strip().lower(), code) for code in codes]
    names = {name for name, _ in named}
    known: dict[str, str | None] = dict.fromkeys(MOVEMENT_KINDS)
    known |= {name: emotion for name in names if (emotion := emotion_named(name))}
    known |= code_map
    if unknown := sorted({code.code for name, code in named if name not in known}):
        raise CodesError(
            f"{source}: unknown codes {', '.join(unknown)}: give --map FILE, a CSV with the columns code and emotion"
        )
    return [
        replace(code, code=known[name] or "")
        for name, code in named
        if known[name] is not None or name not in MOVEMENT_KINDS
    ]


def _read_elan(path: Path) -> list[Code]:
    """Read the alignable annotations of an ELAN file with a tier per person."""
    from pympi import Elan

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # suppress pympi's warning about newer versions of the format
            eaf = Elan.Eaf(str(path))
        media = (eaf.get_linked_files() or [{}])[0]
        offset_ms = int(media.get("TIME_ORIGIN") or 0)  # time of the video at which annotations have time 0
    except OSError as error:
        raise CodesError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # pympi raises this class if a file is not XML
        raise CodesError(f"{path}: not an ELAN file: {error}. Open and save it in ELAN") from error
    video = _linked_name(media.get("MEDIA_URL") or "") or None
    return [
        Code((start + offset_ms) / 1000, (end + offset_ms) / 1000, value, tier, video)
        for tier in eaf.get_tier_names()
        for start, end, value, *_ in sorted(eaf.get_annotation_data_for_tier(tier))
        if value and end > start
    ]


def _linked_name(address: str) -> str:
    """The file name at the end of a Windows or POSIX path or of a URL, with URL escapes decoded."""
    from urllib.parse import unquote

    return unquote(PureWindowsPath(address).name)


def _read_aggregated(rows: _Rows, path: Path) -> list[Code]:
    return [
        Code(
            _seconds(row, "Start (s)", where),
            _seconds(row, "Stop (s)", where),
            row["Behavior"],
            _person(row["Subject"]),
            named_video(row),
            time_offset_s(row, where, CodesError),
        )
        for where, row in rows
        if row["Behavior"] and row.get("Behavior type", "STATE").upper() != "POINT"
    ]


def _read_tabular(rows: _Rows, path: Path) -> list[Code]:
    """Read BORIS's tabular events, in which a state starts in one row and stops in another."""
    codes: list[Code] = []
    started: dict[tuple[str, str, str | None], float] = {}
    for where, row in rows:
        kind = (row.get("Behavior type") or row.get("Status") or "").upper()
        video = named_video(row)
        key = row["Subject"], row["Behavior"], video
        if kind == "START":
            if key in started:
                raise CodesError(
                    f"{where}: {row['Behavior']} of {row['Subject']} starts twice, at {row['Time']} s again"
                )
            started[key] = _seconds(row, "Time", where)
        elif kind == "STOP":
            if key not in started:
                raise CodesError(
                    f"{where}: {row['Behavior']} of {row['Subject']} stops at {row['Time']} s without a start"
                )
            stop_s, offset_s = _seconds(row, "Time", where), time_offset_s(row, where, CodesError)
            codes.append(Code(started.pop(key), stop_s, row["Behavior"], _person(row["Subject"]), video, offset_s))
    if started:
        subject, behavior, _ = next(iter(started))
        raise CodesError(f"{path}: {behavior} of {subject} starts but does not stop")
    return codes


def _read_csv(rows: _Rows, path: Path) -> list[Code]:
    codes = []
    for where, row in rows:
        cells = {name.lower(): cell for name, cell in row.items()}
        code, person = (_first(cells, names) for names in (CODE_COLUMNS, PERSON_COLUMNS))
        if code is None:
            raise CodesError(f"{where} has no code: one of the columns {', '.join(CODE_COLUMNS)} is needed")
        start, end = (next(name for name in names if name in cells) for names in (START_HEADERS, END_HEADERS))
        start_s, end_s = _seconds(cells, start, where), _seconds(cells, end, where)
        codes.append(Code(start_s, end_s, code, person, named_video(row), time_offset_s(row, where, CodesError)))
    return codes


def _is_tabular(header: set[str]) -> bool:
    return header >= {"Time", "Subject", "Behavior"} and not header.isdisjoint({"Behavior type", "Status"})


def _has_times(header: set[str]) -> bool:
    found = {name.lower() for name in header}
    return not found.isdisjoint(START_HEADERS) and not found.isdisjoint(END_HEADERS)


def _seconds(row: Mapping[str, str], column: str, where: str) -> float:
    offset_s = time_offset_s(row, where, CodesError)
    return parse_seconds(row[column], f"{where}: {column}", CodesError, offset_s=offset_s)


_TABLES = (
    ({"Start (s)", "Stop (s)", "Subject", "Behavior"}.issubset, _read_aggregated),
    (_is_tabular, _read_tabular),
    (_has_times, _read_csv),
)


def named_video(row: Mapping[str, str]) -> str | None:
    r"""The video that a line names, in the first of the columns `VIDEO_HEADERS` that is not empty.

    BORIS names none for live observations. It does not find the one of some times that include an offset.

    >>> named_video({"Observation id": "1", "Media file": "C:\\clips\\a.mp4"})
    'a.mp4'
    >>> named_video({"Observation id": "1", "Media file name": "NA"})
    >>> named_video({"Source": "player #1:/clips/a.mp4", "Media file name": "Not found"})
    'a.mp4'
    """
    cells = {header.lower(): cell.strip() for header, cell in row.items() if header and cell}
    header = next((header for header in VIDEO_HEADERS if cells.get(header)), None)
    if header not in BORIS_VIDEO_HEADERS:
        return None if header is None else cells[header]
    name = cells[header]
    if name == "Not found":
        name = source_file(cells.get("source", "")) or name
    return None if name == "NA" else _linked_name(name)


def _first(row: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((value for name in names if (value := row.get(name))), None)


def _person(subject: str) -> str | None:
    return None if subject in ("", "No focal subject", "NA") else subject
