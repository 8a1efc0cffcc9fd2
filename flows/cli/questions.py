"""The questions of `fervid summary`: their answers, and the notes that are printed beside them."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.labels import EMOTIONS
from flows.cli.console import usage_checked

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class Question(StrEnum):
    """Questions of `fervid summary`; each but the first is a function of `analytics.queries`."""

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
    movements = "movements"
    gate = "gate"
    events = "events"
    averages = "averages"
    synchrony = "synchrony"
    failures = "failures"


UNFILTERED = (Question.movements, Question.failures)  # the quality filter does not matter to their answers
# The units of their intervals are participants.
OF_PARTICIPANTS = (Question.compare, Question.rates, Question.dwell, Question.averages)
OF_EVENTS = (Question.compare, Question.events, Question.averages)  # with --events, they are about videos with an event
# The questions that use an option, by the name of its parameter; all questions use the other options.
USED_BY: dict[str, tuple[Question, ...]] = {
    "emotion": (Question.moments,),
    "limit": (Question.moments,),
    "bin_ms": (Question.timeline, Question.averages),
    "groups": (Question.compare,),
    "participants": OF_PARTICIPANTS,
    "events": OF_EVENTS,
    "before_s": (Question.events, Question.averages),
    "after_s": (Question.averages,),
    "all_faces": (Question.shares, Question.timeline, Question.compare),
}


@dataclass(frozen=True)
class Request:
    """A question and its options, which `fervid summary --help` describes."""

    question: Question
    emotion: str | None
    limit: int
    bin_ms: int
    groups: Path | None
    participants: Path | None
    events: "pa.Table | None"  # as `read_events` returns them
    before_s: float
    after_s: float | None
    all_faces: bool  # whether low-quality faces count in the answer


def answer(connection: "duckdb.DuckDBPyConnection", request: Request) -> "pa.Table":
    """The rows that answer a question."""
    from analytics import queries

    question, participants, events = request.question, request.participants, request.events
    if question == Question.shares:
        return queries.shares(connection, all_faces=request.all_faces)
    if question == Question.timeline:
        return queries.timeline(connection, bin_ms=request.bin_ms, all_faces=request.all_faces)
    if question == Question.moments:
        ask = partial(queries.top_moments, connection)
        return usage_checked(ask, emotion=request.emotion, limit=request.limit)
    if question == Question.compare and request.groups is not None:
        return queries.compare(connection, request.groups, participants=participants, all_faces=request.all_faces)
    if question == Question.compare and events is not None:
        return queries.compare_events(connection, events, participants=participants)
    if question == Question.events and events is not None:
        return queries.during_events(connection, events, before_s=request.before_s)
    if question == Question.averages and events is not None:
        ask = partial(queries.averages, connection, events, participants=participants)
        return usage_checked(ask, bin_ms=request.bin_ms, before_s=request.before_s, after_s=request.after_s)
    if question == Question.rates:
        return queries.rates(connection, participants=participants)
    if question == Question.dwell:
        return queries.dwell(connection, participants=participants)
    without_options = {
        Question.synchrony: queries.synchrony,
        Question.library: queries.library,
        Question.transitions: queries.transitions,
        Question.quality: queries.quality,
        Question.validity: queries.validity,
        Question.movements: queries.movements,
        Question.gate: queries.gate_effect,
        Question.failures: queries.failures,
    }
    return without_options[question](connection)


def videos_of(connection: "duckdb.DuckDBPyConnection", request: Request) -> Collection[str] | None:
    """The ids of the videos that an answer is about; None: all."""
    if request.question == Question.compare and request.groups is not None:
        from analytics.queries.groups import find_groups
        from analytics.results.videos import all_videos

        return find_groups(request.groups, all_videos(connection)).keys()
    if request.question in OF_EVENTS and request.events is not None:
        from analytics.queries.events import match_events

        return set(match_events(connection, request.events)["video_id"].to_pylist())
    return None


def is_about_time(request: Request) -> bool:
    """Whether an answer is about people over time, so that it leaves still images out."""
    return request.question not in (Question.quality, Question.failures) and request.groups is None


_NOBODY = "no person was tracked in these videos"
_NO_EPISODE = "nobody shows {emotion} clearly and long enough for an episode"
EMPTY = {
    Question.shares: _NOBODY,
    Question.library: _NOBODY,
    Question.timeline: _NOBODY,
    Question.moments: _NO_EPISODE,
    Question.transitions: "nobody changes from one emotion to another",
    Question.dwell: _NO_EPISODE,
    Question.rates: _NOBODY,
    Question.averages: "nobody is visible around these events",
    Question.quality: "no face was found in these videos",
    Question.validity: _NOBODY,
    Question.movements: _NOBODY,
    Question.gate: "no tracked face has a label",
    Question.events: "nobody is visible during these events",
    Question.synchrony: "no two people are visible together, both with a label, for 2 s",
    Question.failures: "nothing failed",
}
# What the values of an answer are, where the names of its columns do not say it.
MEANINGS = {
    Question.shares: "The columns of emotions are shares of labelled_s, the time with a label.",
    Question.timeline: "The columns of emotions are mean smoothed probabilities in the time bin from start_s.",
    Question.moments: (
        "Episodes with the highest peak come first, and of those with equal peaks in two decimals the longest: peak is "
        "the highest smoothed probability of the emotion, reached at apex_s."
    ),
    Question.transitions: "share is of all changes away from from_emotion.",
    Question.dwell: (
        "Episodes with an unobserved onset or offset, as at the start or end of a video, may last longer than was "
        "seen. km_median_s, the Kaplan-Meier median, leaves out episodes whose onset was not observed, and "
        "treats unobserved offsets as censored; low to high is its 95 % interval over participants. Durations include "
        "gaps without a label of up to 0.3 s."
    ),
    Question.rates: (
        "estimate is n per minute of observed_s, low to high its 95 % interval over participants (or videos)."
    ),
    Question.validity: (
        "good_share, left_out_share and labelled_share are of seen_s, carried_share is of the labeled time, and "
        "speaking_… of the labeled time with measured mouth movement."
    ),
    Question.gate: (
        "share is of labelled_s. share_all_faces is of all_faces_s, in which low-quality faces without a label count "
        "with the emotion of their own frame."
    ),
    Question.synchrony: (
        "kappa is 1 for full agreement and 0 for agreement by chance; valence_r is over all common time, "
        "valence_r_windowed over windows of 10 s; peak_r is of valence minus its mean over 10 s, and p_surrogate the "
        "probability of such a peak_r by chance. Where it is empty, peak_r is not evidence: the common time is too "
        "short, and too few people of other videos are visible in it."
    ),
    Question.events: (
        "emotion is the one shown longest. share_… is of labelled_s, mean_… over ok_s, the time with good faces, and "
        "change_… the mean minus that of the {before_s:g} s before the event (or of the part of them in the video). "
        "There are no confidence intervals."
    ),
    Question.averages: (
        "The columns of emotions (estimate) are changes of the mean probability: minus that in the {before_s:g} s "
        "before the event (or in the part of them in the video). They are empty if no participant has a good face "
        "both then and in the bin."
    ),
}
# The same for the columns that the terminal shows (`compact.COLUMNS`), where these are not all that is explained above.
MEANINGS_COMPACT = {
    Question.validity: (
        "good_share and labelled_share are of seen_s, carried_share is of the labeled time, and speaking_labelled of "
        "the labeled time with measured mouth movement."
    ),
    Question.synchrony: (
        "kappa is 1 for full agreement and 0 for agreement by chance; peak_r is of valence minus its mean over 10 s, "
        "and p_surrogate the probability of such a peak_r by chance. Where it is empty, peak_r is not evidence: the "
        "common time is too short, and too few people of other videos are visible in it."
    ),
    Question.events: (
        "emotion is the one shown longest, share its share of the labeled time, and change its mean probability in the "
        "event minus that in the {before_s:g} s before it (or in the part of them in the video). ok_s is the time with "
        "good faces. There are no confidence intervals."
    ),
}
# Questions whose columns docs/schema.md describes.
DESCRIBED = (
    Question.dwell,
    Question.validity,
    Question.synchrony,
    Question.events,
    Question.averages,
    Question.rates,
)
SCHEMA_HINT = 'docs/schema.md, "Answer: {}", describes each column.'


def why_empty(connection: "duckdb.DuckDBPyConnection", question: Question, emotion: str | None) -> str:
    """The reason why an answer has no rows."""
    ((n_done,),) = connection.sql("SELECT count(*) FROM videos WHERE status = 'done'").fetchall()
    if not n_done and question != Question.failures:
        return "No rows: no video is finished."
    return f"No rows: {EMPTY[question].format(emotion=emotion or 'any emotion')}."


def explanation(
    connection: "duckdb.DuckDBPyConnection", request: Request, rows: "pa.Table", *, is_compact: bool
) -> list[str]:
    """Notes without which the rows may be misread, one line each; `is_compact`: some columns are not shown."""
    question = request.question
    if question == Question.compare:
        from analytics.queries.comparison_notes import videos_have_participants

        people, compared = request.participants or request.groups, videos_of(connection, request)
        return [
            "estimate is mean_a - mean_b over participants (over videos if there are none), low to high its 95 % "
            "interval; p_holm is adjusted over the seven emotions, and the intervals are not. Methods and their "
            "coverage: docs/statistics.md. " + SCHEMA_HINT.format(question),
            *_comparison_notes(rows, has_participants=videos_have_participants(connection, people, compared or ())),
        ]
    if question == Question.movements:
        return _movement_notes(rows)
    if question not in MEANINGS or not len(rows):
        return []
    meaning = (MEANINGS | MEANINGS_COMPACT if is_compact else MEANINGS)[question].format(before_s=request.before_s)
    notes = [f"{meaning} {SCHEMA_HINT.format(question)}" if question in DESCRIBED else meaning]
    if question == Question.validity:
        from analytics.queries import short_time_note

        uncertain = short_time_note(rows["observed_s"].to_pylist(), "changes_per_min", "change")
        notes += [uncertain] if uncertain else []
    return notes


def _movement_notes(rows: "pa.Table") -> list[str]:
    """Notes on movements: their limits, rates over short times, and missing figures."""
    from analytics.queries import short_time_note

    if not len(rows):
        return []
    measured_s = [seconds or 0 for seconds in rows["movements_measured_s"].to_pylist()]
    n_missing = measured_s.count(0)
    notes = [
        "speaking_s is the time with speaking-like mouth movement, which laughing and chewing can be, too. A hand over "
        "the mouth is not recognized: its time counts as measured. Rules: docs/movements.md."
    ]
    uncertain = short_time_note(measured_s, "blinks_per_min", "blink")
    notes += [uncertain] if uncertain else []
    if n_missing:
        notes.append(
            f"The movements of {n_missing} of {len(rows):,} people are not known: they need good faces with trusted "
            "landmarks for 0.5 s or longer, in a video of at least 20 frames per second, of which all or at least 20 "
            "(--fps) are analyzed."
        )
    return notes


def _comparison_notes(rows: "pa.Table", *, has_participants: bool) -> list[str]:
    """Notes on each pair of groups: the number of participants, and the reason if there is no interval."""
    from analytics.queries.comparison_notes import pairing_notes

    table = rows.to_pylist()
    # A dictionary as a set that keeps the order of the rows.
    found = dict.fromkeys(pairing_notes(table, has_participants=has_participants))
    emotions: dict[tuple[str, str], list[str]] = {}  # by pair and note
    for row in table:
        pair = f"{row['group_a']} and {row['group_b']}"
        if not row["paired"] and row["n_a"] and row["n_b"]:
            people = (
                f"{row['n_participants_a']} and {row['n_participants_b']} participants in " if has_participants else ""
            )
            found[f"{pair}: {people}{row['n_a']} and {row['n_b']} videos."] = None
        for side in "ab":
            if not row[f"n_{side}"] and not row["paired"]:
                found[f"Group {row[f'group_{side}']} has no video with a label: there is nothing to compare."] = None
        if row["note"] and row["n_a"] and row["n_b"]:
            emotions.setdefault((pair, row["note"]), []).append(row["emotion"])
    if len(rows) and not has_participants:
        found["No participants are given: each video counts as one."] = None
    for (pair, note), names in emotions.items():
        of = "" if len(names) == len(EMOTIONS) else f" ({', '.join(names)})"
        found[f"{pair}{of}: {note}."] = None
    return list(found)
