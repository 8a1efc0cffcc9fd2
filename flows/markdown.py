"""Reports as parts of Markdown files."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table, line by line."""
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)]


def write_part(path: Path, part: str) -> None:
    """Write a report, which begins with its title, into a file: in place of the part of that title, else at the end.

    A part goes from its title, a line that begins with `# `, to the next title. The other parts stay as they are.
    """
    title = part.splitlines()[0]
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = [old for old in re.split(r"^(?=# )", there, flags=re.MULTILINE) if old.strip()]
    titles = [old.splitlines()[0] for old in parts]
    place = titles.index(title) if title in titles else len(parts)
    parts[place : place + 1] = [part]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(old.strip("\n") for old in parts) + "\n", encoding="utf-8")
