"""Tables of a report."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table of a report; cells are formatted text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def cell_in_unit(value: float | None, one: float, unit: str, decimals: int) -> str:
    """Format a value in a unit, of which `one` is the size; "unknown" for None.

    >>> cell_in_unit(3_900_071, 1e6, "M", 2), cell_in_unit(None, 60, "min", 0)
    ('3.90 M', 'unknown')
    """
    return "unknown" if value is None else f"{value / one:.{decimals}f} {unit}"
