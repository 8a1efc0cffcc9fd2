"""Reports as sections of Markdown files."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fer_models.errors import FervidError


class MarkdownError(FervidError):
    """The target file of a report is not Markdown."""


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Format a table as Markdown lines."""
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)]


def parts_of(path: Path) -> list[str]:
    """Split a file at its titles (lines that begin with `# `); empty if the file does not exist.

    Raises:
        MarkdownError: if it is no text.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise MarkdownError(f"{path}: is no Markdown file, and stays as it is: choose another --out") from error
    parts, in_code = [""], False
    for line in text.splitlines(keepends=True):
        in_code ^= line.startswith("```")
        if line.startswith("# ") and not in_code:
            parts.append("")
        parts[-1] += line
    return [part for part in parts if part.strip()]


def write_part(path: Path, part: str) -> None:
    """Write a report into a file: replace the section with its title, or append it."""
    parts = parts_of(path)
    titles = [old.splitlines()[0].strip() for old in parts]
    title = part.splitlines()[0]
    place = titles.index(title) if title in titles else len(parts)
    parts[place : place + 1] = [part]
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        whole.write_text("\n\n".join(old.strip("\n") for old in parts) + "\n", encoding="utf-8")
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)
