"""Tables of a report."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of a report; cells are formatted text."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
