"""Episodes and transitions per minute, and the duration of episodes whose ends were not all observed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from analytics.queries.groups import Participants, resolve_participants
from analytics.queries.sql_files import run_sql, run_sql_in_batches
from analytics.statistics.intervals import Estimate
from analytics.statistics.rates import rate_per_minute
from analytics.statistics.survival import median_interval
from analytics.tables.result_schemas import RATES
from fer_models.labels import EMOTIONS

_COUNTS = """
SELECT video_id, track_id, 'episodes' AS measure, emotion, count(*) AS n
FROM visible('episodes') JOIN videos USING (video_id, analysis_id) GROUP BY ALL
UNION ALL
SELECT video_id, track_id, 'transitions', NULL, CAST(sum(count) AS BIGINT)
FROM visible('transitions') JOIN videos USING (video_id, analysis_id) GROUP BY ALL
"""
_DURATIONS = """
SELECT video_id, track_id, emotion, episodes.duration_s, onset_observed, offset_observed
FROM visible('episodes') AS episodes JOIN videos USING (video_id, analysis_id)
"""
MEASURES: tuple[tuple[str, str | None], ...] = (*(("episodes", name) for name in EMOTIONS), ("transitions", None))


def rates(connection: duckdb.DuckDBPyConnection, *, participants: Mapping[str, str] | Path | None = None) -> pa.Table:
    """Episodes of each emotion and transitions per minute; see `result_schemas.RATES`.

    Raises:
        GroupError: if the participants cannot be read.
    """
    return rates_table(connection, resolve_participants(connection, participants))


def dwell(connection: duckdb.DuckDBPyConnection, *, participants: Mapping[str, str] | Path | None = None) -> pa.Table:
    """Duration of the episodes of each emotion; a row per emotion.

    `km_median_s` is the Kaplan-Meier median, which accounts for episodes whose end was not observed; `low` and `high`
    are its 95 % interval over participants.

    Args:
        connection: the results.
        participants: as for `compare`.

    Raises:
        GroupError: if the participants cannot be read.
    """
    rows = run_sql(connection, "dwell")
    people = resolve_participants(connection, participants)
    medians = dwell_medians(connection, people, rows["emotion"].to_pylist())
    for name in medians.column_names:
        rows = rows.append_column(name, medians[name])
    return rows


def rates_table(connection: duckdb.DuckDBPyConnection, participants: Participants) -> pa.Table:
    """Episodes of each emotion and transitions per minute of observed time: the rows of `result_schemas.RATES`.

    Args:
        connection: the results.
        participants: the participant of each track, the units of the intervals.
    """
    observed_s: dict[str, dict[str, float]] = {"episodes": defaultdict(float), "transitions": defaultdict(float)}
    for row in run_sql_in_batches(connection, "observed_time").to_pylist():
        for measure, of_participant in observed_s.items():
            of_participant[participants.find(row["video_id"], row["track_id"])] += row[f"{measure}_s"]
    counts: dict[tuple[str, str | None], dict[str, int]] = defaultdict(lambda: dict.fromkeys(observed_s["episodes"], 0))
    for video_id, track_id, measure, emotion, n in connection.sql(_COUNTS).fetchall():
        counts[measure, emotion][participants.find(video_id, track_id)] += n
    found = []
    for measure, emotion in MEASURES:
        time_s = np.array([*observed_s[measure].values()])
        of_participants = np.array([*counts[measure, emotion].values()], float)
        rate = rate_per_minute(of_participants, time_s)
        found.append(_rate_row(measure, emotion, of_participants, time_s, rate))
    return pa.Table.from_pylist(found, RATES)


_ENDS_NOT_KNOWN = "no median: some episodes were found by version 0.1; `fervid analyze` finds them again"
DWELL_COLUMNS = pa.schema(
    [
        ("n_onset_unobserved", pa.int64()),
        ("n_offset_unobserved", pa.int64()),
        ("km_median_s", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("note", pa.string()),
    ]
)


def dwell_medians(
    connection: duckdb.DuckDBPyConnection, participants: Participants, emotions: Sequence[str]
) -> pa.Table:
    """Kaplan-Meier medians of the duration of episodes: the columns `DWELL_COLUMNS`, a row for each of `emotions`.

    Episodes whose onset was not observed are left out. Values are NULL in results made before ends were recorded.
    """
    rows = connection.sql(_DURATIONS).to_arrow_table()
    if rows["onset_observed"].null_count:
        return pa.Table.from_pylist([{"note": _ENDS_NOT_KNOWN} for _ in emotions], DWELL_COLUMNS)
    emotion = np.array(rows["emotion"].to_pylist(), dtype=object)
    tracks = zip(rows["video_id"].to_pylist(), rows["track_id"].to_pylist(), strict=True)
    units = [participants.find(*track) for track in tracks]
    onset, offset = (np.array(rows[name].to_pylist(), bool) for name in ("onset_observed", "offset_observed"))
    duration_s = rows["duration_s"].to_numpy().round(6)  # equal durations must not differ by rounding errors
    found = []
    for name in emotions:
        known = np.flatnonzero((emotion == name) & onset)
        median = median_interval(duration_s[known], offset[known], [units[i] for i in known.tolist()])
        counts = {
            "n_onset_unobserved": int(((emotion == name) & ~onset).sum()),
            "n_offset_unobserved": int(((emotion == name) & ~offset).sum()),
        }
        interval = {"low": median.low, "high": median.high, "note": median.note or None}
        found.append(counts | interval | {"km_median_s": median.estimate})
    return pa.Table.from_pylist(found, DWELL_COLUMNS)


def _rate_row(
    measure: str, emotion: str | None, counts: np.ndarray, time_s: np.ndarray, rate: Estimate
) -> dict[str, object]:
    return {
        "measure": measure,
        "emotion": emotion,
        "n": int(counts.sum()),
        "observed_s": float(time_s.sum()),
        "n_participants": int((time_s > 0).sum()),
        "estimate": rate.estimate,
        "low": rate.low,
        "high": rate.high,
        "note": rate.note or None,
    }
