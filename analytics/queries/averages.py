"""Event-related averages: change of probabilities around the onset of events, over participants."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from analytics.queries.events import match_events
from analytics.queries.groups import Participants, resolve_participants
from analytics.statistics.intervals import Estimate, mean_interval
from analytics.tables.arrow_utils import to_float_array
from analytics.tables.result_schemas import AVERAGES
from fer_models.labels import EMOTIONS

_MEANS = ", ".join(f"sum(p_{name} * shown_s) / sum(shown_s) AS p_{name}" for name in EMOTIONS)


TRIALS_SQL = (
    "SELECT unnest($trials) AS trial, unnest($video_ids) AS video_id, unnest($starts_s) AS from_s, "
    "unnest($ends_s) AS to_s"
)


def with_shown_sql(trials: str, bin_ms: str, before_s: str = "0.0") -> str:
    """SQL for a WITH clause: `shown` has a row for each face of a track in each bin from the onset of each trial.

    The time for which a frame is shown, `shown_s`, is split among the bins. `counts` says whether the probabilities of
    the face count: whether it is good, or all faces count.

    Args:
        trials: a SELECT with video_id, from_s, to_s and columns that identify a trial, such as `TRIALS_SQL`.
        bin_ms: length of a bin.
        before_s: length of the window before the onset.
    """
    return f"""
WITH trials AS ({trials}), shown AS (
    SELECT *, greatest(pts_s, from_s - {before_s}) - from_s AS shown_from_s,
        least(pts_s + faces.duration_s, to_s) - from_s AS shown_to_s,
        unnest(time_bins(shown_from_s, shown_to_s, {bin_ms})) AS bin,
        seconds_in_bin(shown_from_s, shown_to_s, bin, {bin_ms}) AS shown_s,
        p_angry IS NOT NULL AND (quality_ok OR settings ->> '$.timeline.quality.gate' = 'false') AS counts
    FROM visible('faces') AS faces JOIN videos USING (video_id, analysis_id) JOIN trials USING (video_id)
    WHERE track_id IS NOT NULL AND pts_s < to_s AND pts_s + faces.duration_s > from_s - {before_s}
)
"""


def _bins_sql(trials: str, columns: str, bin_ms: str, before_s: str) -> str:
    """SQL for the good seconds and mean probabilities of each track in bins; `columns` identify a trial."""
    return f"""
{with_shown_sql(trials, bin_ms, before_s)}
SELECT {columns}, track_id, bin, round(sum(shown_s), 6) AS ok_s, {_MEANS}
FROM shown WHERE counts AND shown_s > 0 GROUP BY ALL
"""


TRIAL_BINS_SQL = _bins_sql(TRIALS_SQL, "trial", "$bin_ms", "$before_s")
_CURVE = "(PARTITION BY video_id, analysis_id, label, start_s, end_s, track_id)"
# The view `event_bins`: measures of each track around each event, by time bin, with the defaults of `queries.averages`.
EVENT_BINS_SQL = f"""
WITH bins AS ({
    _bins_sql(
        "SELECT video_id, label, start_s, end_s, start_s AS from_s, end_s AS to_s FROM events",
        "video_id, analysis_id, label, start_s, end_s",
        "500",
        "5.0",
    )
})
SELECT video_id, analysis_id, label, start_s, end_s, track_id, CAST(bin * 0.5 AS DOUBLE) AS bin_start_s, ok_s,
    coalesce(sum(ok_s) FILTER (bin < 0) OVER {_CURVE}, 0) AS before_s,
    {", ".join(f"CAST(p_{name} AS FLOAT) AS p_{name}" for name in EMOTIONS)},
    {
    ", ".join(
        f"CAST(p_{name} - sum(p_{name} * ok_s) FILTER (bin < 0) OVER {_CURVE} "
        f"/ sum(ok_s) FILTER (bin < 0) OVER {_CURVE} AS FLOAT) AS change_{name}"
        for name in EMOTIONS
    )
}
FROM bins
"""


_NO_BASELINE = Estimate(None, note="no change: nobody has a good face in the window before the onset")
_NO_WINDOW = Estimate(None, note="no change: the window before the onset has a length of 0 s")


def averages(
    connection: duckdb.DuckDBPyConnection,
    events: Path | pa.Table,
    *,
    participants: Mapping[str, str] | Path | None = None,
    bin_ms: int = 500,
    before_s: float = 5.0,
    after_s: float | None = None,
) -> pa.Table:
    """Average change of probabilities around the onset of events; see `result_schemas.AVERAGES`.

    Args:
        connection: the results.
        events: as for `during_events`.
        participants: as for `compare`.
        bin_ms: length of a bin in milliseconds.
        before_s: length of the baseline window before each onset, in whole bins.
        after_s: how long after the onset to average; None: until the end of each event.

    Raises:
        EventsError: if the events cannot be read.
        UnknownVideoError: if an event names a video that is not there.
        GroupError: if two labels of events differ only in case or blanks, or the participants cannot be read.
        ValueError: if `bin_ms` is less than 1, or `before_s` is not a multiple of it.
    """
    if bin_ms < 1:
        raise ValueError(f"bin_ms must be 1 or more, got {bin_ms}")
    if before_s < 0 or round(1000 * before_s) % bin_ms:
        raise ValueError(f"before_s must be a multiple of {bin_ms / 1000:g} s, got {before_s:g}")
    trials, binned = _bin_trials(connection, events, bin_ms, before_s, after_s)
    people = resolve_participants(connection, participants)
    return average_trials(trials, binned, people, bin_ms=bin_ms, before_s=before_s)


def missing_baseline_note(
    connection: duckdb.DuckDBPyConnection,
    events: Path | pa.Table,
    *,
    participants: Mapping[str, str] | Path | None = None,
    before_s: float = 5.0,
    after_s: float | None = None,
) -> str | None:
    """A sentence on trials that `averages` leaves out for lack of a baseline, by event; None without any.

    A trial is counted for each participant who is seen in it.

    Args:
        connection: the results.
        events: as for `averages`, like all others.
        participants: as for `compare`.
        before_s: length of the baseline window before each onset.
        after_s: how long after the onset to average; None: until the end of each event.

    Raises:
        As `averages`.
    """
    if before_s <= 0:
        return None
    # Only whether a bin is before or after the onset matters, so that bins may be long.
    trials, rows = _bin_trials(connection, events, max(1, round(1000 * before_s)), before_s, after_s)
    participant, person = _people(trials, rows, resolve_participants(connection, participants))
    people = list(zip(rows["trial"].to_pylist(), participant.tolist(), person.tolist(), strict=True))
    is_before = [number < 0 for number in rows["bin"].to_pylist()]
    seen_before = set(compress(people, is_before))
    has_baseline: dict[str, dict[tuple[int, int], bool]] = defaultdict(dict)  # by label, then trial and participant
    for one in compress(people, map(not_, is_before)):
        of_label, unit = has_baseline[trials[one[0]].label], one[:2]
        of_label[unit] = of_label.get(unit, False) or one in seen_before
    counts = [
        f"{_missing(of_label)} for {label!r}"
        for label, of_label in sorted(has_baseline.items())
        if not all(of_label.values())
    ]
    if not counts:
        return None
    return (
        f"Trials without a good face in the {before_s:g} s before the onset are left out, each counted for each of its "
        f"participants (or videos): {'; '.join(counts)}."
    )


def _missing(has_baseline: Mapping[tuple[int, int], bool]) -> str:
    """How many trials have no baseline, and how many participants (or videos) no trial with one.

    >>> _missing({(0, 7): True, (1, 7): False, (2, 8): False})
    '2 of 3 (all trials of 1 of 2 participants)'
    """
    n_trials = f"{sum(not known for known in has_baseline.values())} of {len(has_baseline)}"
    participants = {participant for _, participant in has_baseline}
    n_missing = len(participants - {participant for (_, participant), known in has_baseline.items() if known})
    return f"{n_trials} (all trials of {n_missing} of {len(participants)} participants)" if n_missing else n_trials


def _bin_trials(
    connection: duckdb.DuckDBPyConnection, events: Path | pa.Table, bin_ms: int, before_s: float, after_s: float | None
) -> tuple[dict[int, "Trial"], pa.Table]:
    """The events in their videos, by number, and the answer to `TRIAL_BINS_SQL` for them."""
    rows = list(enumerate(match_events(connection, events).to_pylist()))
    trials = {number: Trial(row["label"], row["video_id"]) for number, row in rows}
    parameters = {
        "trials": [number for number, _ in rows],
        "video_ids": [row["video_id"] for _, row in rows],
        "starts_s": [row["start_s"] for _, row in rows],
        "ends_s": [row["end_s"] if after_s is None else row["start_s"] + after_s for _, row in rows],
        "bin_ms": bin_ms,
        "before_s": before_s,
    }
    return trials, connection.sql(TRIAL_BINS_SQL, params=parameters).to_arrow_table()


@dataclass(frozen=True)
class Trial:
    """One event in one video."""

    label: str
    video_id: str


def average_trials(
    trials: Mapping[int, Trial], rows: pa.Table, participants: Participants, *, bin_ms: int, before_s: float
) -> pa.Table:
    """Average trials per participant, then over participants: the rows of `result_schemas.AVERAGES`.

    The change of each person is relative to their own mean before the onset: relative to a common mean, it would be a
    change if a person appears or leaves. People of a trial without such a mean are left out of all columns, unless
    there is no window. The people of a participant in a trial are averaged, weighted with time.

    Args:
        trials: by number.
        rows: the answer to `TRIAL_BINS_SQL`.
        participants: the participant of each track.
        bin_ms: length of a bin.
        before_s: length of the baseline window before the onset.
    """
    if not len(rows):
        return AVERAGES.empty_table()
    trial, bins, ok_s = (rows[name].to_numpy() for name in ("trial", "bin", "ok_s"))
    p = to_float_array(rows, *(f"p_{name}" for name in EMOTIONS))
    labels, label_of_trial = np.unique([trials[number].label for number in sorted(trials)], return_inverse=True)
    label = label_of_trial[trial]
    participant, person = _people(trials, rows, participants)
    of_people, curve = _groups(label, trial, participant, person)
    before_onset_s = np.where(bins < 0, ok_s, 0)
    baseline_s = np.bincount(curve, before_onset_s, len(of_people))
    change = p - _means(p, before_onset_s, curve, len(of_people))[curve]
    if before_s:
        p = np.where(np.isnan(change), np.nan, p)
    of_trials, cell = _groups(label, bins, participant, trial)
    mean, change = (_means(values, ok_s, cell, len(of_trials)) for values in (p, change))
    is_known = ~np.isnan(mean[:, 0])
    of_participants, unit = _groups(*of_trials[:, :3].T)
    once = np.ones(len(of_trials))
    mean, change = (_means(values, once, unit, len(of_participants)) for values in (mean, change))
    n_people = np.bincount(of_people[:, 0], baseline_s > 0)  # those with a baseline
    mean_baseline_s = np.bincount(of_people[:, 0], baseline_s) / np.maximum(n_people, 1)
    of_bins, first = np.unique(of_participants[:, :2], axis=0, return_index=True)
    n_trials = Counter(
        (number, index) for number, index, _ in np.unique(of_trials[is_known][:, [0, 1, 3]], axis=0).tolist()
    )
    found = []
    for (number, index), rows_of_bin in zip(of_bins.tolist(), np.split(np.arange(len(mean)), first[1:]), strict=True):
        of_bin = {
            "label": labels[number],
            "start_s": index * bin_ms / 1000,
            "baseline_s": mean_baseline_s[number],
            "n_trials": n_trials[number, index],
        }
        averaged = _average(mean[rows_of_bin], change[rows_of_bin], _NO_BASELINE if before_s else _NO_WINDOW)
        found += [of_bin | row for row in averaged]
    return pa.Table.from_pylist(found, AVERAGES)


def _people(trials: Mapping[int, Trial], rows: pa.Table, participants: Participants) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the participant and of the person of each row: a person is a name or, without names, a track."""
    tracks, track = _groups(rows["trial"].to_numpy(), rows["track_id"].to_numpy())
    keys = [(trials[number].video_id, track_id) for number, track_id in tracks.tolist()]
    of_participant = _numbers([participants.find(*key) for key in keys])
    # A name such as "1" is not that track.
    of_person = _numbers([(key in participants.of_track, participants.of_track.get(key, key[1])) for key in keys])
    return of_participant[track], of_person[track]


def _numbers(keys: Sequence[Hashable]) -> np.ndarray:
    """A number for each key, from 0; equal keys have the same one."""
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([number[key] for key in keys], np.int64)


def _groups(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of the keys `(n,)` in order, `(g, k)`, and the index of each row among them, `(n,)`."""
    found, index = np.unique(np.column_stack(keys), axis=0, return_inverse=True)
    return found, index.ravel()


def _means(values: np.ndarray, weight: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    """Weighted means of the rows of `values` `(n, 7)` that are known, by group: `(n_groups, 7)`, NaN without any."""
    weight = np.where(np.isnan(values[:, 0]), 0, weight)
    columns = np.where(weight[:, None] > 0, values, 0).T
    with np.errstate(invalid="ignore"):
        sums = [np.bincount(group, weight * column, n_groups) for column in columns]
        return np.column_stack(sums) / np.bincount(group, weight, n_groups)[:, None]


def _average(mean: np.ndarray, change: np.ndarray, no_change: Estimate) -> list[dict[str, object]]:
    """The averages over participants, a row per emotion; both arrays `(n, 7)`, NaN where not known."""
    mean, change = (values[~np.isnan(values[:, 0])] for values in (mean, change))
    rows = []
    for k, emotion in enumerate(EMOTIONS):
        estimate = mean_interval(change[:, k]).within(-1, 1) if len(change) else no_change
        rows.append(
            {
                "emotion": emotion,
                "n_participants": len(mean),
                "mean": float(mean[:, k].mean()) if len(mean) else None,
                "estimate": estimate.estimate,
                "low": estimate.low,
                "high": estimate.high,
                "note": estimate.note or None,
            }
        )
    return rows
