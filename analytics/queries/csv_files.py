"""Read CSV files as spreadsheets write them: in UTF-8, with commas, semicolons or tabs between columns."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fer_models.errors import FervidError
from fer_models.files import NotRegularFileError, check_regular_file

NOT_UTF8 = "not a text file in UTF-8: save it in this encoding (in Excel as CSV UTF-8)"
SEPARATORS = ",;\t"


@dataclass(frozen=True)
class CsvTable:
    """The lines of a CSV file, without blanks around cells; missing cells are empty."""

    header: list[str]
    rows: list[Mapping[str, str]]  # each line by header
    line_numbers: list[int]  # where each row ends in the file, the header being line 1


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


def parse_csv(content: bytes, source: str, error_class: type[FervidError]) -> CsvTable:
    r"""Parse the content of a CSV file; its first line is the header.

    Args:
        content: the content of the file.
        source: its name, for messages.
        error_class: the class of the error to raise.

    Raises:
        error_class: if it is not a CSV file in UTF-8.

    >>> parse_csv("\ufeffVideo; Age\na.mp4 ;20\n".encode(), "ages.csv", FervidError)
    CsvTable(header=['Video', 'Age'], rows=[{'Video': 'a.mp4', 'Age': '20'}], line_numbers=[2])
    """
    try:
        text = content.decode("utf-8-sig")
        separator = max(SEPARATORS, key=text.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="", delimiter=separator)
        header = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = header
        if repeated := sorted({name for name in header if name and header.count(name) > 1}):
            raise error_class(f"{source}: column {', '.join(repeated)} comes twice in the first line")
        table = CsvTable(header, [], [])
        for row in reader:
            if any(cell.strip() for cell in row.get(None) or ()):
                raise error_class(
                    f"{source}: line {reader.line_num} has more cells than the first line; "
                    "separate columns with semicolons if commas are decimal points"
                )
            table.rows.append({name: row[name].strip() for name in header})
            table.line_numbers.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise error_class(f"{source}: {NOT_UTF8}") from error
    except csv.Error as error:
        raise error_class(f"{source}: cannot be read: not a CSV file: {error}") from error
    return table
