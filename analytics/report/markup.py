"""HTML that every part of the report uses: text that is only text, and tables that can be read on a phone and aloud."""

from collections.abc import Iterable, Sequence
from html import escape


def text(value: object) -> str:
    """What is not ours to trust, such as the name of a file, as text that is only text."""
    return escape(str(value))


def table(
    caption: str,
    names: Sequence[str],
    rows: Iterable[Sequence[str]],
    numbers: frozenset[int] | set[int] = frozenset(),
) -> str:
    """A table of cells that are HTML already; the first cell of a row names it, columns with these places hold numbers.

    On a narrow screen each row becomes a block, with the name of its column before each cell.
    """
    kinds = [' class="n"' if i in numbers else "" for i in range(len(names))]
    head = "".join(f'<th scope="col"{kind}>{name}</th>' for kind, name in zip(kinds, names, strict=True))
    body = "".join(f"<tr>{_cells(names, row, kinds)}</tr>" for row in rows)
    return (
        f'<div class="wrap"><table><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cells(names: Sequence[str], row: Sequence[str], kinds: Sequence[str]) -> str:
    first, *others = zip(names, row, kinds, strict=True)
    named = f'<th scope="row"{first[2]}>{first[1]}</th>'
    return named + "".join(f'<td data-name="{name}"{kind}><div>{cell}</div></td>' for name, cell, kind in others)
