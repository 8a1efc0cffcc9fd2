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
    compare = "compare"
    quality = "quality"
    gate = "gate"
    events = "events"
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
    Question.quality: "no face was found in these videos",
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
        few = {
            group: n
            for row in rows.to_pylist()
            for group, n in ((row["group_a"], row["n_videos_a"]), (row["group_b"], row["n_videos_b"]))
            if n < 2
        }
        said = {
            0: "has no video with a label: there is nothing to compare",
            1: "has one video: no interval can be told",
        }
        return [
            "difference is mean_a - mean_b, each video counting once; low to high and delta_low to delta_high are 95 % "
            f"intervals from 2,000 resamples of the videos. {COLUMNS_ARE_TOLD.format(question)}",
            *(f"Group {group} {said[n]}." for group, n in few.items()),
        ]
    if question == Question.synchrony and len(rows):
        return [
            "kappa is 1 for always the same and 0 for as by chance; valence_r is over all common time, "
            f"valence_r_windowed over windows of 10 s; no intervals. {COLUMNS_ARE_TOLD.format(question)}"
        ]
    if question == Question.events and len(rows):
        return [
            "share_… of labelled_s, mean_… over ok_s, change_… is the mean less that of the 5 s before the event; no "
            f"intervals. {COLUMNS_ARE_TOLD.format(question)}"
        ]
    return []
