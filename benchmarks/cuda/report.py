"""The results of the CUDA kit: tables that are printed and saved as soon as they are complete.

python -m benchmarks.cuda.report phase_a.json      # the tables as Markdown, for docs/performance.md
"""

import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.tables import Row, markdown_table


class Clock:
    """The time that is left until a given time of the system's clock."""

    def __init__(self, deadline_unix_s: float) -> None:
        self.deadline_unix_s = deadline_unix_s

    def left_s(self) -> float:
        """Seconds left; negative when the time is over."""
        return self.deadline_unix_s - time.time()

    def is_over(self) -> bool:
        """Whether no time is left."""
        return self.left_s() <= 0


class Report:
    """Tables by title, in a JSON file that is complete after each of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tables: dict[str, list[Row]] = {}

    def add(self, title: str, measure: Callable[[], list[Row]]) -> None:
        """Measure a table, then print and save it; an error becomes its only row."""
        started_s = time.monotonic()
        try:
            rows = measure()
        except Exception as error:  # GPU time is scarce: an error in one table must not prevent the others
            traceback.print_exc()
            rows = [{"failed": f"{type(error).__name__}: {error}"}]
        self.tables[title] = rows
        self.path.write_text(json.dumps(self.tables, indent=1) + "\n", encoding="utf-8")
        print(f"\n{as_markdown(title, rows)}\n({time.monotonic() - started_s:.1f} s)", flush=True)

    def failures(self) -> list[str]:
        """The titles of tables that hold an error or a check that did not pass."""
        return [
            title
            for title, rows in self.tables.items()
            if any("failed" in row or row.get("passed") is False for row in rows)
        ]


def as_markdown(title: str, rows: list[Row]) -> str:
    """Format rows as a Markdown table with a heading."""
    return f"### {title}\n{markdown_table(rows)}"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        for title, rows in json.loads(Path(name).read_text(encoding="utf-8")).items():
            print(as_markdown(title, rows), end="\n\n")
