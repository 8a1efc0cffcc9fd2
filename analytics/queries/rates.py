"""Episodes and transitions per minute, and how long episodes last where their ends were not all observed."""

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from analytics.statistics.intervals import Estimate
from analytics.statistics.rates import rate_per_minute
from analytics.statistics.survival import median_duration
from analytics.tables.result_schemas import RATES
from fer_models.labels import EMOTIONS

_COUNTS = """
WITH observed AS (
    SELECT path, sum(labelled_s) AS observed_s FROM tracks JOIN videos USING (video_id, analysis_id) GROUP BY path
), counted AS (
    SELECT path, 'episodes' AS measure, emotion, count(*) AS n FROM episodes JOIN videos USING (video_id, analysis_id)
    GROUP BY ALL
    UNION ALL
    SELECT path, 'transitions', NULL, CAST(sum(count) AS BIGINT)
    FROM transitions JOIN videos USING (video_id, analysis_id) GROUP BY ALL
)
SELECT path, observed_s, measure, emotion, n FROM observed LEFT JOIN counted USING (path) ORDER BY path
"""
_DURATIONS = "SELECT emotion, duration_s, onset_observed, offset_observed FROM episodes"
MEASURES: tuple[tuple[str, str | None], ...] = (*(("episodes", name) for name in EMOTIONS), ("transitions", None))


def rates_table(connection: duckdb.DuckDBPyConnection, participants: Mapping[str, str]) -> pa.Table:
    """Episodes of each emotion and transitions per minute of labeled time: the rows of `result_schemas.RATES`.

    Args:
        connection: the results.
        participants: participant of each path, the units of the intervals; a path without one is a unit by itself.
    """
    rows = connection.sql(_COUNTS).to_arrow_table().to_pylist()
    observed_s: dict[str, dict[str, float]] = {}
    for row in rows:
        observed_s.setdefault(participants.get(row["path"], row["path"]), {})[row["path"]] = row["observed_s"] or 0.0
    units = sorted(observed_s)
    time_s = np.array([sum(observed_s[unit].values()) for unit in units])
    found = []
    for measure, emotion in MEASURES:
        mine = [row for row in rows if (row["measure"], row["emotion"]) == (measure, emotion)]
        counts = _per_unit(mine, participants, units)
        found.append(_rate_row(measure, emotion, counts, time_s, rate_per_minute(counts, time_s)))
    return pa.Table.from_pylist(found, RATES)


def dwell_medians(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """Of each emotion: episodes with an unobserved onset or offset, and the Kaplan-Meier median of the others.

    All are None for results made before ends were recorded.
    """
    rows = connection.sql(_DURATIONS).to_arrow_table()
    emotion = np.array(rows["emotion"].to_pylist(), dtype=object)
    if not len(rows) or rows["onset_observed"].null_count:
        unknown = dict.fromkeys(("n_onset_unobserved", "n_offset_unobserved", "km_median_s"))
        return {name: unknown for name in set(emotion)}
    duration_s = rows["duration_s"].to_numpy()
    onset, offset = (np.array(rows[name].to_pylist(), bool) for name in ("onset_observed", "offset_observed"))
    found = {}
    for name in sorted(set(emotion)):
        of_emotion = emotion == name
        known = of_emotion & onset
        found[name] = {
            "n_onset_unobserved": int((of_emotion & ~onset).sum()),
            "n_offset_unobserved": int((of_emotion & ~offset).sum()),
            "km_median_s": median_duration(duration_s[known], offset[known]) if known.any() else None,
        }
    return found


def _per_unit(rows: Sequence[Mapping[str, Any]], participants: Mapping[str, str], units: Sequence[str]) -> np.ndarray:
    counts = dict.fromkeys(units, 0.0)
    for row in rows:
        counts[participants.get(row["path"], row["path"])] += row["n"]
    return np.array([counts[unit] for unit in units])


def _rate_row(
    measure: str, emotion: str | None, counts: np.ndarray, time_s: np.ndarray, rate: Estimate
) -> dict[str, Any]:
    return {
        "measure": measure,
        "emotion": emotion,
        "n": int(counts.sum()),
        "labelled_s": float(time_s.sum()),
        "n_participants": int((time_s > 0).sum()),
        "estimate": rate.estimate,
        "low": rate.low,
        "high": rate.high,
        "note": rate.note or None,
    }
