"""Event-related averages: how probabilities change around the onset of events, over participants."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from analytics.statistics.intervals import mean_interval
from analytics.tables.result_schemas import AVERAGES
from fer_models.labels import EMOTIONS

# Good seconds and mean probabilities of each event (trial) in bins from its onset, negative before it.
TRIAL_BINS_SQL = f"""
WITH trials AS (
    SELECT unnest($trials) AS trial, unnest($video_ids) AS video_id, unnest($starts_s) AS from_s,
        unnest($ends_s) AS to_s
), good AS (
    SELECT faces.* FROM faces JOIN videos USING (video_id, analysis_id)
    WHERE list_contains($video_ids, video_id) AND track_id IS NOT NULL AND p_angry IS NOT NULL
        AND faces.duration_s > 0 AND (quality_ok OR settings ->> '$.timeline.quality.gate' = 'false')
)
SELECT trial, CAST(floor((round(1000 * pts_s) - round(1000 * from_s)) / $bin_ms) AS BIGINT) AS bin,
    sum(good.duration_s) AS ok_s,
    {", ".join(f"sum(p_{name} * good.duration_s) / sum(good.duration_s) AS {name}" for name in EMOTIONS)}
FROM good JOIN trials USING (video_id)
WHERE pts_s >= from_s - $before_s AND pts_s < to_s
GROUP BY ALL ORDER BY ALL
"""


@dataclass(frozen=True)
class Trial:
    """One event in one video."""

    label: str
    participant: str


@dataclass(frozen=True, eq=False)
class _Curve:
    """What is known of one trial: bins with a good face, relative to the onset."""

    bins: np.ndarray  # (b,)
    means: np.ndarray  # (b, 7)
    baseline: np.ndarray  # (7,) NaN without a good face before the onset
    baseline_s: float  # good seconds before the onset


def average_trials(
    trials: Mapping[int, Trial], rows: Iterable[Mapping[str, Any]], *, bin_ms: int, before_s: float
) -> pa.Table:
    """Average trials per participant, then over participants: the rows of `result_schemas.AVERAGES`.

    Args:
        trials: by number.
        rows: the answer to `TRIAL_BINS_SQL`.
        bin_ms: length of a bin.
        before_s: length of the baseline window before the onset.
    """
    curves = _curves(rows, first_bin=-int(round(1000 * before_s) // bin_ms))
    changes: dict[tuple[str, int], dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    levels: dict[tuple[str, int], dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    baseline_s: dict[str, list[float]] = defaultdict(list)
    for number, curve in curves.items():
        trial = trials[number]
        baseline_s[trial.label].append(curve.baseline_s)
        for place, mean in zip(curve.bins.tolist(), curve.means, strict=True):
            levels[trial.label, place][trial.participant].append(mean)
            if curve.baseline_s > 0:
                changes[trial.label, place][trial.participant].append(mean - curve.baseline)
    found = []
    for label, place in sorted(levels):
        of_label = {"label": label, "start_s": place * bin_ms / 1000, "baseline_s": float(np.mean(baseline_s[label]))}
        change, level = (_participant_means(by.get((label, place), {})) for by in (changes, levels))
        n_trials = sum(map(len, levels[label, place].values()))
        for k, emotion in enumerate(EMOTIONS):
            estimate = mean_interval(change[:, k])
            found.append(
                {
                    **of_label,
                    "emotion": emotion,
                    "n_participants": len(change),
                    "n_trials": n_trials,
                    "mean": float(level[:, k].mean()),
                    "estimate": estimate.estimate,
                    "low": estimate.low,
                    "high": estimate.high,
                    "note": estimate.note or None,
                }
            )
    return pa.Table.from_pylist(found, AVERAGES)


def _curves(rows: Iterable[Mapping[str, Any]], first_bin: int) -> dict[int, _Curve]:
    by_trial: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["bin"] >= first_bin:
            by_trial[row["trial"]].append(row)
    return {trial: _curve(of_trial) for trial, of_trial in by_trial.items()}


def _curve(rows: list[Mapping[str, Any]]) -> _Curve:
    bins = np.array([row["bin"] for row in rows])
    means = np.array([[row[name] for name in EMOTIONS] for row in rows])
    before_s = np.array([row["ok_s"] for row in rows]) * (bins < 0)
    total_s = float(before_s.sum())
    baseline = before_s @ means / total_s if total_s > 0 else np.full(len(EMOTIONS), np.nan)
    return _Curve(bins, means, baseline, total_s)


def _participant_means(by_participant: Mapping[str, list[np.ndarray]]) -> np.ndarray:
    """The mean over the trials of each participant, `(n, 7)`."""
    means = [np.mean(values, axis=0) for _, values in sorted(by_participant.items())]
    return np.array(means).reshape(-1, len(EMOTIONS))
