"""Tables of benchmarks as Markdown."""

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]


def markdown_table(rows: Sequence[Row]) -> str:
    """Format rows as a Markdown table with a column for each key.

    >>> print(markdown_table([{"size": "360p", "frames/s": 1234.5}, {"size": "720p"}]))
    | size | frames/s |
    | --- | --- |
    | 360p | 1234 |
    | 720p |  |
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([cell(row.get(name)) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def cell(value: object) -> str:
    """Format a value for a table: numbers with three significant digits.

    >>> [cell(value) for value in (0.012345, 12.345, 1234.5, True, None, "x")]
    ['0.0123', '12.3', '1234', 'yes', '', 'x']
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)
