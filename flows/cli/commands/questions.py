"""What `fervid summary` can be asked, and what must be said beside the rows of an answer."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class Question(StrEnum):
    """What `fervid summary` knows to answer; each but the first is a function of `analytics.queries`."""

    overview = "overview"
    shares = "shares"
    library = "library"
    timeline = "timeline"
    moments = "moments"
    transitions = "transitions"
    dwell = "dwell"
    rates = "rates"
    compare = "compare"
    quality = "quality"
    validity = "validity"
    gate = "gate"
    events = "events"
    averages = "averages"
    synchrony = "synchrony"
    failures = "failures"


_NOBODY = "nobody was followed in these videos"
_NO_EPISODE = "nobody shows {emotion} clearly and for long enough to be an episode"
EMPTY = {
    Question.shares: _NOBODY,
    Question.library: _NOBODY,
    Question.timeline: _NOBODY,
    Question.moments: _NO_EPISODE,
    Question.transitions: "nobody changes from one emotion to another",
    Question.dwell: _NO_EPISODE,
    Question.rates: _NOBODY,
    Question.averages: "nobody is seen around these events",
    Question.quality: "no face was found in these videos",
    Question.validity: _NOBODY,
    Question.gate: "no face that was followed could be read",
    Question.events: "nobody is seen during these events",
    Question.synchrony: "no two people are seen together, both with a label, for 2 s",
    Question.failures: "everything went well",
}
COLUMNS_ARE_TOLD = 'docs/schema.md, "Answer: {}", explains each column.'


def why_empty(connection: "duckdb.DuckDBPyConnection", question: Question, emotion: str | None) -> str:
    """Why there is nothing to answer, in a line."""
    ((n_done,),) = connection.sql("SELECT count(*) FROM videos WHERE status = 'done'").fetchall()
    if not n_done and question != Question.failures:
        return "Nothing to tell: no video has been analyzed to the end."
    return f"Nothing to tell: {EMPTY[question].format(emotion=emotion or 'any emotion')}."


def explanation(question: Question, rows: "pa.Table") -> list[str]:
    """What somebody must know to read these rows; a line each."""
    if question == Question.compare:
        return [
            "estimate is mean_a - mean_b over participants (without any, over videos), low to high its 95 % interval; "
            "p_holm is adjusted over the seven emotions. Methods and their coverage: docs/statistics.md. "
            + COLUMNS_ARE_TOLD.format(question),
            *_comparison_notes(rows),
        ]
    if question == Question.synchrony and len(rows):
        return [
            "kappa is 1 for always the same and 0 for as by chance; valence_r is over all common time, "
            "valence_r_windowed over windows of 10 s; p_surrogate is the chance of a peak_r as high. "
            + COLUMNS_ARE_TOLD.format(question)
        ]
    if question == Question.events and len(rows):
        return [
            "share_… of labelled_s, mean_… over ok_s, change_… is the mean less that of the 5 s before the event; no "
            f"intervals. {COLUMNS_ARE_TOLD.format(question)}"
        ]
    return []


def _comparison_notes(rows: "pa.Table") -> list[str]:
    """What is particular to each pair of groups: whether it is paired, and why there is no interval."""
    found: dict[str, None] = {}  # a set in the order of the rows
    for row in rows.to_pylist():
        pair = f"{row['group_a']} and {row['group_b']}"
        if row["paired"]:
            found[f"{pair} are compared within {row['n_participants_a']} participants (paired)."] = None
        for side in "ab":
            if not row[f"n_{side}"] and not row["paired"]:
                found[f"Group {row[f'group_{side}']} has no video with a label: there is nothing to compare."] = None
        if row["note"] and row["n_a"] and row["n_b"]:
            found[f"{pair}: {row['note']}."] = None
    return list(found)
