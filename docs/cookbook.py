"""Write docs/cookbook.md: every question of `analytics/queries/cookbook.sql` with its answer for the demo clips.

fervid demo demo/videos && fervid analyze demo/videos --out demo/results
python docs/cookbook.py demo/results
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from analytics import connect
from analytics.queries.cookbook import cookbook

PAGE = Path(__file__).with_suffix(".md")
_RECIPE = re.compile(r"```sql\n(?P<sql>[^`]*)```\n\n(?P<answer>(\|[^\n]*\n)*)\n*")


def recipes(page: str) -> list[tuple[str, str]]:
    """The SQL of each question on the page, and the Markdown table below it."""
    return [(found["sql"], found["answer"]) for found in _RECIPE.finditer(page)]


def refreshed(page: str, ask: Callable[[str], pa.Table]) -> str:
    """The page with the same introduction and new answers."""
    introduction, _, _ = page.partition("\n## ")
    sections = [introduction.rstrip() + "\n"]
    for question in cookbook():
        note = f"{question.note}\n\n" if question.note else ""
        answer = markdown(ask(question.sql))
        sections.append(f"## {question.title}\n\n{note}```sql\n{question.sql}```\n\n{answer}")
    return "\n".join(sections)


def markdown(rows: pa.Table) -> str:
    """Rows as a Markdown table: numbers are right-aligned, NULL is an empty cell."""
    numeric = [pa.types.is_floating(f.type) or pa.types.is_integer(f.type) for f in rows.schema]
    lines = [rows.column_names, ["---:" if right else "---" for right in numeric]]
    lines += [[_cell(value) for value in row.values()] for row in rows.to_pylist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    results = connect(sys.argv[1])
    text = refreshed(PAGE.read_text(encoding="utf-8"), lambda sql: results.sql(sql).to_arrow_table())
    PAGE.write_text(text, encoding="utf-8")
