"""The cookbook: frequent questions about results, each with the SQL that answers it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Question:
    """A question, a note that may be empty, and the SQL that answers the question."""

    title: str
    note: str
    sql: str


def cookbook() -> list[Question]:
    """Every question of `cookbook.sql`, in its order."""
    text = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
    return [_question(part.strip()) for part in text.split("\n\n")[1:]]


def _question(text: str) -> Question:
    lines = text.splitlines()
    n_comment_lines = next(i for i, line in enumerate(lines) if not line.startswith("--"))
    title, *note = (line.removeprefix("--").strip() for line in lines[:n_comment_lines])
    return Question(title, " ".join(note), "\n".join(lines[n_comment_lines:]) + "\n")
