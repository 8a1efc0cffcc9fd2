"""Columns of wide answers that the terminal shows; `--format long` and files have all columns."""

from typing import TYPE_CHECKING

from fer_models.labels import EMOTIONS
from flows.cli.questions import Question

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: dict[Question, tuple[str, ...]] = {
    Question.shares: ("path", "person", "labelled_s", *EMOTIONS),
    Question.timeline: ("path", "track_id", "start_s", *EMOTIONS),
    Question.compare: (
        "group_a",
        "group_b",
        "emotion",
        "mean_a",
        "mean_b",
        "estimate",
        "low",
        "high",
        "p_holm",
        "cliffs_delta",
    ),
    Question.events: ("path", "label", "start_s", "end_s", "person", "ok_s", "emotion", "share", "change"),
    Question.synchrony: ("path", "track_a", "track_b", "together_s", "kappa", "peak_r", "peak_lag_s", "p_surrogate"),
    Question.averages: ("label", "start_s", "n_participants", *EMOTIONS),
    Question.validity: (
        "path",
        "person",
        "seen_s",
        "good_share",
        "labelled_share",
        "carried_share",
        "main_reason",
        "yaw_p90_deg",
        "changes_per_min",
        "speaking_labelled",
    ),
    Question.movements: (
        "path",
        "person",
        "movements_measured_s",
        "n_blinks",
        "blinks_per_min",
        "speaking_s",
        "speaking_share",
        "n_nods",
        "n_head_shakes",
    ),
}


def compact(question: Question, rows: "pa.Table") -> "pa.Table":
    """Reduce an answer to its main columns, and to one row per event or time bin instead of one per emotion."""
    if question not in COLUMNS or not len(rows):
        return rows
    if question == Question.averages:
        rows = _one_row_per_bin(rows)
    elif question == Question.events:
        rows = _of_shown_emotion(rows)
    return rows.select(list(COLUMNS[question]))


def omits_columns(question: Question, rows: "pa.Table") -> bool:
    """Whether the compact answer omits columns."""
    return question in COLUMNS and len(rows) > 0


def _one_row_per_bin(rows: "pa.Table") -> "pa.Table":
    import pyarrow as pa

    bins: dict[tuple[str, float], dict[str, object]] = {}
    for row in rows.to_pylist():
        one = bins.setdefault((row["label"], row["start_s"]), {name: row[name] for name in ("label", "start_s")})
        one["n_participants"] = row["n_participants"]
        one[row["emotion"]] = row["estimate"]
    return pa.Table.from_pylist([*bins.values()])


def _of_shown_emotion(rows: "pa.Table") -> "pa.Table":
    """Add the share and the change of the emotion that is shown for longest."""
    import pyarrow as pa

    listed = rows.to_pylist()
    for name in ("share", "change"):
        values = [row[f"{name}_{row['emotion']}"] if row["emotion"] else None for row in listed]
        rows = rows.append_column(name, pa.array(values, pa.float64()))
    return rows
