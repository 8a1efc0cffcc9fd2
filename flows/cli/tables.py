"""Tables for the terminal."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from flows.cli.console import console
from flows.cli.escaping import escape_controls

# Longest word in characters that is kept on one line; longer ones, such as paths and hashes, may be broken.
MAX_WORD = 32


def table_of(columns: Sequence[str], rows: Sequence[Sequence[object]], width: int | None = None) -> Group:
    """A table for the terminal: numbers right-aligned, NULL as an empty cell, paths without their common folder.

    A table whose words do not fit into `width` characters gets a row for each value. Without a `width`, that of the
    terminal counts, and a line says that a wider one shows the table.
    """
    values = list(zip(*rows, strict=True)) if rows else [() for _ in columns]
    folders = [common_folder(column) for column in values]
    rows = list(zip(*(map(below(folder), column) for folder, column in zip(folders, values, strict=True)), strict=True))
    table = _table(columns, rows)
    notes = []
    if _words_width(columns, rows) > (console.width if width is None else width):
        cells = [(i, name, cell_text(row[k])) for i, row in enumerate(rows, 1) for k, name in enumerate(columns)]
        table = _table(["row", "column", "value"], cells)
        if width is None and console.is_terminal:
            notes.append(Text("widen the terminal for a table"))
    names_of: dict[str, list[str]] = {}
    for name, folder in zip(columns, folders, strict=True):
        names_of.setdefault(folder, []).append(name)
    notes += [Text(f"{', '.join(names)}: in {folder}") for folder, names in names_of.items() if folder]
    return Group(table, *notes)


def _words_width(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    """Width of a table in which no word is broken."""
    texts = zip(columns, *([cell_text(cell) for cell in row] for row in rows), strict=True)
    longest = (max((len(word) for text in column for word in text.split()), default=0) for column in texts)
    return 1 + sum(3 + min(length, MAX_WORD) for length in longest)


def common_folder(values: Sequence[Any]) -> str:
    """The deepest folder that contains all paths; empty if they are not absolute or share only the root.

    >>> common_folder(["/films/a/1.mp4", None, "/films/b/2.mp4"]), common_folder(["/films/1.mp4", "2.mp4"])
    ('/films', '')
    """
    known = [value for value in values if value is not None]
    if not known or not all(isinstance(value, str) and Path(value).is_absolute() for value in known):
        return ""
    folder = Path(os.path.commonpath([Path(value).parent for value in known]))
    return "" if folder == folder.parent else str(folder)


def below(folder: str) -> Callable[[Any], Any]:
    """A function that makes paths relative to the folder."""
    return lambda value: str(Path(value).relative_to(folder)) if folder and value is not None else value


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    table = Table()
    for i, name in enumerate(columns):
        numeric = any(isinstance(row[i], int | float) for row in rows)
        table.add_column(Text(escape_controls(name)), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell_text(cell)) for cell in row))
    return table


def cell_text(value: object) -> str:
    """A value as text: numbers with three decimals, very small ones with two digits.

    >>> cell_text(0.6799999), cell_text([0.25, 1.2e-05, None]), cell_text(0.0)
    ('0.680', '[0.250, 1.2e-05, ]', '0.000')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2g}" if 0 < abs(value) < 0.0005 else f"{value:.3f}"
    if isinstance(value, list):
        return f"[{', '.join(map(cell_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {cell_text(item)}' for name, item in value.items())}}}"
    return escape_controls(str(value))
