"""Event-related averages: change of probabilities around the onset of events, over participants."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
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

_MEANS = ", ".join(f"sum(p_{name} * faces.duration_s) / sum(faces.duration_s) AS p_{name}" for name in EMOTIONS)


def _bins_sql(trials: str, columns: str, bin_ms: str, before_s: str) -> str:
    """SQL for the good seconds and mean probabilities of each track in bins from the onset of each trial.

    Args:
        trials: a SELECT with video_id, from_s, to_s and `columns`.
        columns: the columns that identify a trial.
        bin_ms: length of a bin.
        before_s: length of the window before the onset.
    """
    return f"""
WITH trials AS ({trials})
SELECT {columns}, track_id,
    CAST(floor((round(1000 * pts_s) - round(1000 * from_s)) / {bin_ms}) AS BIGINT) AS bin,
    sum(faces.duration_s) AS ok_s, {_MEANS}
FROM visible('faces') AS faces JOIN videos USING (video_id, analysis_id) JOIN trials USING (video_id)
WHERE track_id IS NOT NULL AND p_angry IS NOT NULL AND faces.duration_s > 0
    AND (quality_ok OR settings ->> '$.timeline.quality.gate' = 'false')
    AND pts_s >= from_s - {before_s} AND pts_s < to_s
GROUP BY ALL
"""


TRIAL_BINS_SQL = _bins_sql(
    "SELECT unnest($trials) AS trial, unnest($video_ids) AS video_id, unnest($starts_s) AS from_s, "
    "unnest($ends_s) AS to_s",
    "trial",
    "$bin_ms",
    "$before_s",
)
_CURVE = "(PARTITION BY video_id, label, start_s, end_s, track_id)"
# The view `event_bins`: measures of each track around each event, by time bin, with the defaults of `queries.averages`.
EVENT_BINS_SQL = f"""
WITH bins AS ({
    _bins_sql(
        "SELECT DISTINCT video_id, label, start_s, end_s, start_s AS from_s, end_s AS to_s FROM events",
        "video_id, label, trials.start_s, trials.end_s",
        "500",
        "5.0",
    )
})
SELECT video_id, label, start_s, end_s, track_id, bin * 0.5 AS bin_start_s, ok_s,
    coalesce(sum(ok_s) FILTER (bin < 0) OVER {_CURVE}, 0) AS before_s, {", ".join(f"p_{name}" for name in EMOTIONS)},
    {
    ", ".join(
        f"p_{name} - sum(p_{name} * ok_s) FILTER (bin < 0) OVER {_CURVE} / sum(ok_s) FILTER (bin < 0) OVER {_CURVE} "
        f"AS change_{name}"
        for name in EMOTIONS
    )
}
FROM bins
"""


_NO_BASELINE = Estimate(None, note="no change: nobody has a good face in the window before the onset")


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
    path_of = dict(connection.sql("SELECT video_id, path FROM known_videos").fetchall())
    rows = list(enumerate(match_events(connection, events).to_pylist()))
    trials = {number: Trial(row["label"], path_of[row["video_id"]]) for number, row in rows}
    parameters = {
        "trials": [number for number, _ in rows],
        "video_ids": [row["video_id"] for _, row in rows],
        "starts_s": [row["start_s"] for _, row in rows],
        "ends_s": [row["end_s"] if after_s is None else row["start_s"] + after_s for _, row in rows],
        "bin_ms": bin_ms,
        "before_s": before_s,
    }
    binned = connection.sql(TRIAL_BINS_SQL, params=parameters).to_arrow_table()
    people = resolve_participants(connection, participants)
    return average_trials(trials, binned, people, bin_ms=bin_ms, before_s=before_s)


@dataclass(frozen=True)
class Trial:
    """One event in one video."""

    label: str
    path: str


@dataclass(frozen=True, eq=False)
class _Curve:
    """Mean probabilities of one participant in one trial: the bins with a good face, relative to the onset."""

    bins: np.ndarray  # (b,)
    means: np.ndarray  # (b, 7)
    baseline: np.ndarray  # (7,) mean probabilities before the onset; NaN without a good face in that time
    baseline_s: float  # seconds with a good face before the onset


@dataclass(eq=False)
class _Bin:
    """The curves of one label in one time bin, by participant."""

    trials: set[int] = field(default_factory=set)
    means: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    changes: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))

    def add(self, trial: int, participant: str, mean: np.ndarray, baseline: np.ndarray) -> None:
        self.trials.add(trial)
        self.means[participant].append(mean)
        if not np.isnan(baseline).any():
            self.changes[participant].append(mean - baseline)


def average_trials(
    trials: Mapping[int, Trial], rows: pa.Table, participants: Participants, *, bin_ms: int, before_s: float
) -> pa.Table:
    """Average trials per participant, then over participants: the rows of `result_schemas.AVERAGES`.

    Args:
        trials: by number.
        rows: the answer to `TRIAL_BINS_SQL`.
        participants: the participant of each track.
        bin_ms: length of a bin.
        before_s: length of the baseline window before the onset.
    """
    bins: dict[tuple[str, int], _Bin] = defaultdict(_Bin)
    baseline_s: dict[str, list[float]] = defaultdict(list)
    curves = _curves(trials, rows, participants, first_bin=-int(round(1000 * before_s) // bin_ms))
    for (number, participant), curve in curves.items():
        label = trials[number].label
        baseline_s[label].append(curve.baseline_s)
        for index, mean in zip(curve.bins.tolist(), curve.means, strict=True):
            bins[label, index].add(number, participant, mean, curve.baseline)
    found = []
    for (label, index), curves_of_bin in sorted(bins.items()):
        of_bin = {"label": label, "start_s": index * bin_ms / 1000, "baseline_s": float(np.mean(baseline_s[label]))}
        found += [of_bin | row for row in _average(curves_of_bin)]
    return pa.Table.from_pylist(found, AVERAGES)


def _average(of_bin: _Bin) -> list[dict[str, object]]:
    """The averages over participants, a row per emotion."""
    mean, change = _participant_means(of_bin.means), _participant_means(of_bin.changes)
    rows = []
    for k, emotion in enumerate(EMOTIONS):
        estimate = mean_interval(change[:, k]).within(-1, 1) if len(change) else _NO_BASELINE
        rows.append(
            {
                "emotion": emotion,
                "n_participants": len(change),
                "n_trials": len(of_bin.trials),
                "mean": float(mean[:, k].mean()),
                "estimate": estimate.estimate,
                "low": estimate.low,
                "high": estimate.high,
                "note": estimate.note or None,
            }
        )
    return rows


def _curves(
    trials: Mapping[int, Trial], rows: pa.Table, participants: Participants, *, first_bin: int
) -> dict[tuple[int, str], _Curve]:
    """The curve of each trial and participant, over all tracks of the participant."""
    total_s: dict[tuple[int, str], dict[int, float]] = defaultdict(lambda: defaultdict(float))
    sums: dict[tuple[int, str], dict[int, np.ndarray]] = defaultdict(lambda: defaultdict(_zeros))
    keys = zip(*(rows[name].to_pylist() for name in ("trial", "track_id", "bin", "ok_s")), strict=True)
    means = to_float_array(rows, *(f"p_{name}" for name in EMOTIONS))
    for (number, track_id, index, ok_s), mean in zip(keys, means, strict=True):
        if index >= first_bin:
            key = number, participants.find(trials[number].path, track_id)
            total_s[key][index] += ok_s
            sums[key][index] += ok_s * mean
    return {key: _curve(total_s[key], sums[key]) for key in sorted(sums)}


def _zeros() -> np.ndarray:
    return np.zeros(len(EMOTIONS))


def _curve(total_s: Mapping[int, float], sums: Mapping[int, np.ndarray]) -> _Curve:
    """A curve from the good seconds and the sums of seconds times probabilities of each bin."""
    bins = sorted(sums)
    before = [index for index in bins if index < 0]
    baseline_s = sum(total_s[index] for index in before)
    baseline = sum((sums[index] for index in before), _zeros())
    return _Curve(
        np.array(bins),
        np.array([sums[index] / total_s[index] for index in bins]),
        baseline / baseline_s if baseline_s > 0 else np.full(len(EMOTIONS), np.nan),
        baseline_s,
    )


def _participant_means(by_participant: Mapping[str, list[np.ndarray]]) -> np.ndarray:
    """The mean over the trials of each participant, `(n, 7)`."""
    means = [np.mean(values, axis=0) for _, values in sorted(by_participant.items())]
    return np.array(means).reshape(-1, len(EMOTIONS))
