"""Read CSV files as spreadsheets write them: in UTF-8, with commas, semicolons or tabs between columns."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analytics.tables.formulas import restore_text
from fer_models.errors import FervidError
from fer_models.files import NotRegularFileError, check_regular_file

NOT_UTF8 = "not a text file in UTF-8: save it in this encoding (in Excel as CSV UTF-8)"
SEPARATORS = ",;\t"
MAX_SECONDS = 1e9  # limit on times, 31 years: larger values overflow milliseconds in SQL


@dataclass(frozen=True)
class CsvTable:
    """The lines of a CSV file, without blanks around cells or apostrophes before formulas; missing cells are empty."""

    header: list[str]
    rows: list[Mapping[str, str]]  # each line by header
    line_numbers: list[int]  # where each row ends in the file, whose first line is 1


def read_csv_file(path: Path, error_class: type[FervidError]) -> bytes:
    """The content of a CSV file.

    Raises:
        error_class: if it is not a regular file, or cannot be read.
    """
    try:
        check_regular_file(path)
        return path.read_bytes()
    except NotRegularFileError as error:
        raise error_class(f"{path}: is {error.kind}: give a CSV file") from error
    except OSError as error:
        raise error_class(f"{path}: cannot be read: {error.strerror}") from error


def decode_csv(content: bytes, source: str, error_class: type[FervidError]) -> str:
    """The text of a CSV file, without a byte order mark.

    Raises:
        error_class: if it is not in UTF-8; `source` is for its message.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise error_class(f"{source}: {NOT_UTF8}") from error


def parse_csv(content: bytes, source: str, error_class: type[FervidError], *, n_lines_before: int = 0) -> CsvTable:
    r"""Parse the content of a CSV file; its header is the first line after `n_lines_before` others.

    Args:
        content: the content of the file.
        source: its name, for messages.
        error_class: the class of the error to raise.
        n_lines_before: number of lines to skip.

    Raises:
        error_class: if it is not a CSV file in UTF-8.

    >>> parse_csv("\ufeffVideo; Age\na.mp4 ;20\n".encode(), "ages.csv", FervidError)
    CsvTable(header=['Video', 'Age'], rows=[{'Video': 'a.mp4', 'Age': '20'}], line_numbers=[2])
    """
    file = io.StringIO(decode_csv(content, source, error_class), newline="")
    for _ in range(n_lines_before):
        file.readline()
    start = file.tell()
    separator = max(SEPARATORS, key=file.readline().count)
    file.seek(start)
    reader = csv.DictReader(file, restval="", delimiter=separator)
    try:
        header = [restore_text(name.strip()) for name in reader.fieldnames or ()]
        reader.fieldnames = header
        if repeated := sorted({name for name in header if name and header.count(name) > 1}):
            raise error_class(f"{source}: column {', '.join(repeated)} comes twice in the header")
        table = CsvTable(header, [], [])
        for row in reader:
            line_number = n_lines_before + reader.line_num
            if any(cell.strip() for cell in row.get(None) or ()):
                raise error_class(
                    f"{source}: line {line_number} has more cells than the header; "
                    "separate columns with semicolons if commas are decimal points"
                )
            table.rows.append({name: restore_text(row[name].strip()) for name in header})
            table.line_numbers.append(line_number)
    except csv.Error as error:
        raise error_class(f"{source}: cannot be read: not a CSV file: {error}") from error
    return table


def parse_number(text: str) -> float:
    """A number, or NaN; a comma may be the decimal point, as in spreadsheets of many countries."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan


def parse_seconds(text: str, where: str, error_class: type[FervidError], *, offset_s: float = 0.0) -> float:
    """A time in seconds, from which `offset_s` is subtracted.

    Raises:
        error_class: if it is not a number, or beyond `MAX_SECONDS`; `where` is for its message.

    >>> parse_seconds("1,5", "events.csv, line 2: start_s", FervidError)
    1.5
    """
    seconds = parse_number(text) - offset_s
    if not abs(seconds) <= MAX_SECONDS:  # also refuses NaN
        raise error_class(f"{where} must be a number of seconds, got {text!r}")
    return seconds
