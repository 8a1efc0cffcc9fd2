"""Reports as sections of Markdown files."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fer_models.atomic_files import replaced_atomically
from fer_models.errors import FervidError


class MarkdownError(FervidError):
    """The output file of a report exists and is not text."""


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Format a table as Markdown lines."""
    return ["| " + " | ".join(cells) + " |" for cells in (columns, ["---"] * len(columns), *rows)]


def parts_of(path: Path) -> list[str]:
    """Split a file at its top-level headings (`# `); empty if the file does not exist.

    Raises:
        MarkdownError: if it is not text.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise MarkdownError(f"{path}: not a Markdown file; it was not changed. Choose another --out") from error
    parts, in_code = [""], False
    for line in text.splitlines(keepends=True):
        in_code ^= line.startswith("```")
        if line.startswith("# ") and not in_code:
            parts.append("")
        parts[-1] += line
    return [part for part in parts if part.strip()]


def write_part(path: Path, part: str) -> None:
    """Write a report into a file: replace the section with the same heading, or append it."""
    parts = parts_of(path)
    titles = [old.splitlines()[0].strip() for old in parts]
    title = part.splitlines()[0]
    index = titles.index(title) if title in titles else len(parts)
    parts[index : index + 1] = [part]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(path) as part_file:
        part_file.write_text("\n\n".join(old.strip("\n") for old in parts) + "\n", encoding="utf-8")
