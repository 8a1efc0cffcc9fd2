"""Reports as sections of Markdown files."""

from pathlib import Path

from fer_models.atomic_files import replaced_atomically
from fer_models.errors import FervidError
from fer_models.evaluation.tables import Table


class MarkdownError(FervidError):
    """The output file of a report exists and is not text."""


def table_lines(table: Table) -> list[str]:
    """Format a table and its title as Markdown lines."""
    rows = (table.columns, ["---"] * len(table.columns), *table.rows)
    note = [table.note, ""] if table.note else []
    return [f"## {table.title}", "", *note, *(f"| {' | '.join(cells)} |" for cells in rows), ""]


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


def title_of(part: str) -> str:
    """The heading of a part of a file, with its `# `."""
    return part.splitlines()[0].strip()


def write_part(path: Path, part: str) -> None:
    """Write a report into a file: replace the section with the same heading, or append it."""
    parts = parts_of(path)
    titles = list(map(title_of, parts))
    index = titles.index(title_of(part)) if title_of(part) in titles else len(parts)
    parts[index : index + 1] = [part]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(path) as part_file:
        part_file.write_text("\n\n".join(old.strip("\n") for old in parts) + "\n", encoding="utf-8")
