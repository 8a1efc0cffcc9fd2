"""Export a table for mixed models: a row per participant, condition, trial, person, time bin and emotion."""

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from analytics.queries.averages import TRIALS_SQL, with_shown_sql
from analytics.queries.csv_files import parse_csv, read_csv_file
from analytics.queries.events import match_events
from analytics.queries.groups import (
    GroupError,
    Participants,
    by_video,
    check_spelling,
    find_header,
    persons_of_tracks,
)
from analytics.results.video_record import NamedVideo
from analytics.tables.formulas import without_formulas
from fer_models.labels import EMOTIONS


def _seconds(condition: str) -> str:
    """SQL for the time of the faces of a bin that meet a condition; in whole microseconds, so that parts add up."""
    return f"coalesce(round(sum(shown_s) FILTER ({condition}), 6), 0)"


def _mean(column: str) -> str:
    """SQL for the mean over the time of the faces that count; without the rounding errors that may put it over 1."""
    return f"round(sum({column} * shown_s) FILTER (counts) / nullif(sum(shown_s) FILTER (counts), 0), 6)"


# A trial is an event in a video or, without events, a whole video.
_SQL = f"""
{with_shown_sql(TRIALS_SQL, "$bin_ms")}
SELECT trial, track_id, bin, {_seconds("true")} AS observed_s,
    {_seconds("smooth_emotion IS NOT NULL")} AS labelled_s,
    {_seconds("label_carried")} AS carried_s,
    {_seconds("NOT quality_ok AND NOT left_out_by_speech(quality_reason)")} AS low_quality_s,
    {_seconds("counts")} AS ok_s,
    {", ".join(f"{_mean(f'p_{name}')} AS p_{name}" for name in EMOTIONS)},
    {", ".join(f'''{_seconds(f"smooth_emotion = '{name}'")} AS s_{name}''' for name in EMOTIONS)}
FROM shown GROUP BY ALL HAVING observed_s > 0 ORDER BY ALL
"""
COLUMNS = (  # docs/exports.md explains the columns
    ("participant", pa.string()),
    ("condition", pa.string()),
    ("trial", pa.int64()),
    ("video", pa.string()),
    ("track_id", pa.int32()),
    ("person", pa.string()),  # the name given in the dashboard, else P and the number of the track
    ("bin_start_s", pa.float64()),
    ("emotion", pa.string()),
    ("observed_s", pa.float64()),
    ("labelled_s", pa.float64()),
    ("carried_s", pa.float64()),
    ("low_quality_s", pa.float64()),
    ("ok_s", pa.float64()),
    # Mean probability over ok_s, not smoothed; NULL if that is 0.
    ("probability", pa.float64()),
    ("emotion_s", pa.float64()),  # the part of labelled_s with this emotion as the label
)
BINS_AT_A_TIME = 10_000  # bins made into rows at once: rows take far more memory in Python than in Arrow
# Columns of the table with one value for all emotions of a track in a time bin, as the query names them.
_OF_BIN = ("trial", "track_id", "observed_s", "labelled_s", "carried_s", "low_quality_s", "ok_s")


@dataclass(frozen=True)
class TrialDesign:
    """The trials of a study, their conditions and covariates: CSV files, and the length of time bins."""

    events: Path | None = None  # the trials; None: each video is a trial
    # columns path, optionally participant and group, which is the condition or, with events, a column of its own
    groups: Path | None = None
    covariates: Path | None = None  # a column participant or path, and the columns to join
    bin_ms: int = 1000  # length of a time bin


EACH_VIDEO = TrialDesign()


class _Trial(NamedTuple):
    video_id: str
    label: str | None  # the condition
    start_s: float
    end_s: float


def trials_table(
    connection: duckdb.DuckDBPyConnection,
    *,
    events: pa.Table | None = None,
    conditions: Mapping[str, str] | None = None,
    participants: Participants | None = None,
    covariates: tuple[str, Mapping[str, Mapping[str, str]]] | None = None,
    bin_ms: int = 1000,
) -> pa.Table:
    """Build the rows of all trials, without hidden people: `COLUMNS`, then `group` (see `conditions`), the covariates.

    Args:
        connection: the results; trials of videos that are not shown are left out.
        events: as `event_files.read_events` gives them; each in each video is a trial whose condition is its label.
            None: each video is a trial.
        conditions: condition of each video_id; other videos have none. With events, it is the column `group`.
        participants: the participant of each track; None: each video is one.
        covariates: as `read_covariates` gives them.
        bin_ms: length of a time bin.

    Raises:
        GroupError: if two labels of events differ only in case or blanks, or the covariates have none of the
            participants or spell them differently.
        UnknownVideoError: if an event names a video that is not in the results.
    """
    shown = connection.sql("SELECT video_id FROM videos WHERE status = 'done' ORDER BY path").fetchall()
    trials = _trials(connection, [video_id for (video_id,) in shown], events, conditions or {})
    bins = _time_bins(connection, trials, bin_ms)
    people = participants or Participants()
    names = _names(dict(connection.sql("SELECT video_id, path FROM known_videos").fetchall()))
    found = [people.find(trials[row["trial"]].video_id, row["track_id"]) for row in bins]
    participant_of_bin = [names.get(participant, participant) for participant in found]
    key, values = covariates or ("path", {})
    if key == "participant" and values:
        _check_participants(set(participant_of_bin), values)
    covariate_names = list(next(iter(values.values()), {}))
    groups = conditions if events is not None and conditions else None
    if groups and "group" in covariate_names:
        raise GroupError("the covariates have a column group, and so do the groups: rename one of them")
    persons = persons_of_tracks(connection)

    def rows_of(row: Mapping[str, Any], participant: str) -> list[dict[str, Any]]:
        trial = trials[row["trial"]]
        own = values.get(participant if key == "participant" else trial.video_id, {})
        common = {
            **{name: row[name] for name in _OF_BIN},
            "participant": participant,
            "condition": trial.label,
            **({"group": groups.get(trial.video_id)} if groups else {}),
            "video": names[trial.video_id],
            "person": persons[trial.video_id, row["track_id"]],
            "bin_start_s": row["bin"] * bin_ms / 1000,
            **{name: own.get(name) for name in covariate_names},
        }
        return [
            {**common, "emotion": name, "probability": row[f"p_{name}"], "emotion_s": row[f"s_{name}"]}
            for name in EMOTIONS
        ]

    further = ["group"] * bool(groups) + covariate_names
    schema = pa.schema([*COLUMNS, *((name, pa.string()) for name in further)])
    parts = [schema.empty_table()]
    for start in range(0, len(bins), BINS_AT_A_TIME):
        part = slice(start, start + BINS_AT_A_TIME)
        rows = itertools.chain.from_iterable(map(rows_of, bins[part], participant_of_bin[part]))
        parts.append(pa.Table.from_pylist(list(rows), schema))
    return pa.concat_tables(parts)


def _names(path_of: Mapping[str, str]) -> dict[str, str]:
    """The path of each video, which names it in the table; of a replaced file with the id, as several videos have it.

    >>> _names({"v1": "a.mp4", "v2": "b.mp4", "v3": "b.mp4"})
    {'v1': 'a.mp4', 'v2': 'b.mp4 (v2)', 'v3': 'b.mp4 (v3)'}
    """
    n = Counter(path_of.values())
    return {video_id: path if n[path] == 1 else f"{path} ({video_id})" for video_id, path in path_of.items()}


def _time_bins(connection: duckdb.DuckDBPyConnection, trials: Sequence[_Trial], bin_ms: int) -> list[dict[str, Any]]:
    """Query the measures of each track in each time bin of each trial, with the number of the trial in `trials`."""
    if not trials:
        return []
    parameters = {
        "trials": list(range(len(trials))),
        "video_ids": [trial.video_id for trial in trials],
        "starts_s": [trial.start_s for trial in trials],
        "ends_s": [trial.end_s for trial in trials],
        "bin_ms": bin_ms,
    }
    bins: list[dict[str, Any]] = connection.sql(_SQL, params=parameters).to_arrow_table().to_pylist()
    return bins


def _check_participants(participants: set[str], values: Collection[str]) -> None:
    """Refuse covariates of other participants, and of participants who are spelled differently."""
    check_spelling({*participants, *values}, "the participants of the results and of the covariates")
    if participants and participants.isdisjoint(values):
        raise GroupError(
            f"the covariates have none of the participants: the results have {', '.join(sorted(participants)[:3])} …, "
            f"the covariates {', '.join(sorted(values)[:3])} …"
        )


def read_covariates(path: Path, videos: Sequence[NamedVideo]) -> tuple[str, dict[str, Mapping[str, str]]]:
    """Values per participant or video from a CSV file: the key column's name, and the other columns of each key.

    Args:
        path: the file, as for `groups.parse_column`; its column `path` has paths, file names or ids. With a column
            participant, the values are those of participants, unless they differ between the videos of one.
        videos: those in the results.

    Raises:
        GroupError: if the file cannot be read, has no key column, the same key twice, a video that is not in the
            results, or a column of the table's own name.
    """
    table = parse_csv(read_csv_file(path, GroupError), str(path), GroupError)
    if not table.rows:
        raise GroupError(f"{path}: has no line below its header")
    participant, video = (find_header(table.header, name) for name in ("participant", "path"))
    if participant is not None and video is not None and video.lower() == "name":
        video = None  # the name of the participant
    others = [name for name in table.header if name not in ("", participant, video)]
    key, own_key = ("participant", participant) if participant is not None else ("path", video)
    if own_key is None:
        raise GroupError(f"{path}: needs a column participant or path in its first line")
    if participant is not None and video is not None and _repeated(table.rows, participant, others):
        key, own_key = "path", video  # the values differ between the videos of a participant
    if taken := {name for name, _ in COLUMNS} & set(others):
        raise GroupError(f"{path}: {', '.join(sorted(taken))}: the table has a column of this name; rename it")
    if repeated := _repeated(table.rows, own_key, others):
        remedy = ": add a column path to give values for each video" if key == "participant" else ""
        raise GroupError(f"{path}: {repeated} comes twice, with different values{remedy}")
    values: dict[str, Mapping[str, str]] = {row[own_key]: {name: row[name] for name in others} for row in table.rows}
    if key == "path":
        values = {
            found: values[name] for found, name in by_video({n: n for n in values}, videos, str(path), key).items()
        }
    return key, values


def _repeated(rows: Sequence[Mapping[str, str]], key: str, others: Sequence[str]) -> str | None:
    """The first value of the column `key` with different values in the columns `others`."""
    first: dict[str, Mapping[str, str]] = {}
    for row in rows:
        if any(first.setdefault(row[key], row)[name] != row[name] for name in others):
            return row[key]
    return None


def write_trials(table: pa.Table, path: Path, *, escape_formulas: bool) -> None:
    """Write the table as CSV; NULL is an empty cell."""
    pyarrow.csv.write_csv(without_formulas(table) if escape_formulas else table, path)


def _trials(
    connection: duckdb.DuckDBPyConnection,
    video_ids: Collection[str],
    events: pa.Table | None,
    conditions: Mapping[str, str],
) -> list[_Trial]:
    """The trials of these videos; events may also name other videos of the results."""
    if events is None:
        return [_Trial(video_id, conditions.get(video_id), 0.0, float("inf")) for video_id in video_ids]
    of_videos = match_events(connection, events)
    mine = of_videos.filter(pc.is_in(of_videos["video_id"], pa.array(video_ids, pa.string())))
    return [_Trial(**event) for event in mine.to_pylist()]
