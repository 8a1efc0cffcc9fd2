"""Synchrony of people who are visible together: agreement of labels beyond chance, and correlation of valence.

The highest lagged correlation is that of valence minus its moving average, because a drift that two people have in
common, as when both grow tired, correlates at every lag. Its chance level comes from surrogates: the same two people
shifted in time, and people of other videos. See docs/statistics.md.

Labels are compared by Cohen's kappa (Educational and Psychological Measurement 20(1), 1960), with seconds in place of
counted cases. Valence is correlated over all common time and, to exclude drift, window by window, as in Boker et al.,
"Windowed cross-correlation and peak picking", Psychological Methods 7(3), 2002.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analytics.queries.sql_files import map_videos
from analytics.statistics.synchrony import (
    LEAST_SPREAD,
    chance_level,
    lagged_correlations,
    peak,
    surrogate_p_value,
    surrogate_peaks,
    without_drift,
)
from analytics.tables.affect import valence_proxy
from analytics.tables.arrow_utils import encode_categories, to_column, to_float_array
from analytics.tables.result_schemas import SYNCHRONY
from analytics.tables.schema import conform
from analytics.time_tolerance import TIME_TOLERANCE_S, is_shorter
from analytics.tracking.ranges import expand_ranges
from fer_models.labels import EMOTIONS

MAX_SURROGATES = 100  # maximum number of people of other videos with whom a pair is compared to find the chance level
_LONGEST_TRACKS = """
SELECT video_id, arg_max(track_id, (labelled_s, -track_id)) FROM visible('known_tracks')
GROUP BY video_id HAVING max(labelled_s) > 0 ORDER BY max(labelled_s) DESC, video_id LIMIT $n
"""
_FACES_OF_TRACK = """
SELECT * FROM known_faces WHERE video_id = $video_id AND track_id = $track_id AND smooth_emotion IS NOT NULL
"""


@dataclass(frozen=True)
class SynchronyConfig:
    """Settings of the pairs to compare, and of the time windows.

    Raises:
        ValueError: if a value is out of its range.
    """

    # length of a window, and of the moving average: long enough for a smile and the response to it, too short for a
    # change of mood
    window_s: float = 10.0
    min_together_s: float = 2.0  # pairs of people with less common time are left out
    grid_s: float = 0.2  # time step of the series whose lagged correlation is computed
    max_lag_s: float = 3.0  # largest lag that is searched: the longest delay between a smile and the response to it

    def __post_init__(self) -> None:
        for name in ("window_s", "min_together_s", "grid_s", "max_lag_s"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")


def synchrony(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Agreement of people visible at the same time; a row per video and pair, see `result_schemas.SYNCHRONY`."""
    series = _valence_series(connection)

    def answer(video_id: str, faces: pa.Table) -> pa.Table:
        strangers = [valence for other, valence in series if other != video_id]
        return pair_synchrony(faces, strangers=strangers[:MAX_SURROGATES])

    return map_videos(connection, SYNCHRONY, answer)


def _valence_series(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, np.ndarray]]:
    """The longest valence series of all videos of the results, one per video, as surrogates."""
    longest = connection.sql(_LONGEST_TRACKS, params={"n": MAX_SURROGATES + 1}).fetchall()
    found = []
    for video_id, track_id in longest:
        faces = connection.sql(_FACES_OF_TRACK, params={"video_id": video_id, "track_id": track_id}).to_arrow_table()
        found += [(video_id, valence) for valence in valence_on_grid(faces, SynchronyConfig().grid_s).values()]
    return found


def pair_synchrony(
    faces: pa.Table, config: SynchronyConfig | None = None, strangers: Sequence[np.ndarray] = ()
) -> pa.Table:
    """Measure the agreement of each pair of tracks of one video that are visible together for long enough.

    Args:
        faces: rows of the table `faces` of the video; those without track or smooth_emotion are ignored.
        config: the settings.
        strangers: valence of people of other videos, as `valence_on_grid` gives it, for surrogates.

    Returns:
        The rows of `result_schemas.SYNCHRONY`, by track. The mean over the windows is that of Fisher's z.
    """
    config = config or SynchronyConfig()
    known = faces.filter(pc.and_(faces["track_id"].is_valid(), faces["smooth_emotion"].is_valid()))
    known = known.sort_by([("frame_index", "ascending"), ("track_id", "ascending")])
    table = _agreement_of_pairs(known, config)
    series = valence_on_grid(known, config.grid_s)
    pairs = zip(table["track_a"].to_pylist(), table["track_b"].to_pylist(), strict=True)
    lagged = pa.Table.from_pylist([_lagged(series[a], series[b], strangers, config) for a, b in pairs], _LAGGED)
    for name in _LAGGED.names:
        table = table.append_column(name, lagged[name])
    return conform(table, SYNCHRONY)


def _agreement_of_pairs(known: pa.Table, config: SynchronyConfig) -> pa.Table:
    """The columns of `result_schemas.SYNCHRONY` that need no lag, for each pair that is together for long enough.

    Args:
        known: faces with a track and a smooth_emotion, ordered by frame and track.
        config: the settings.
    """
    a, b = _in_same_frame(known["frame_index"].to_numpy())
    track, pts_s = known["track_id"].to_numpy(), known["pts_s"].to_numpy()
    pair = np.column_stack([track[a], track[b]])
    duration_s = np.nan_to_num(to_float_array(known, "duration_s"))
    row, window, weight_s = _split_time(pts_s[a], duration_s[a], config.window_s)
    a, b, pair = a[row], b[row], pair[row]
    order = np.lexsort((window, pts_s[a], pair[:, 1], pair[:, 0]))
    a, b, pair, window, weight_s = a[order], b[order], pair[order], window[order], weight_s[order]
    first = _group_starts(pair)
    together_s = _sums(weight_s, first)
    label = encode_categories(known["smooth_emotion"], EMOTIONS)
    same, chance = _agreement(label[a], label[b], weight_s, first)
    valence = valence_proxy(to_float_array(known, *(f"smooth_{name}" for name in EMOTIONS)))
    r = _correlations(valence[a], valence[b], weight_s, first)
    windowed, n_windows = _windowed(valence[a], valence[b], weight_s, pair, window, first, config.window_s)
    with np.errstate(invalid="ignore"):
        kappa = np.where(chance < 1 - 1e-9, (same - chance) / (1 - chance), np.nan)
    return pa.table(
        {
            "track_a": pa.array(pair[first, 0], pa.int32()),
            "track_b": pa.array(pair[first, 1], pa.int32()),
            "together_s": together_s,
            **{
                name: to_column(values, pa.float64())
                for name, values in {
                    "share_same": same,
                    "share_same_by_chance": chance,
                    "kappa": kappa,
                    "valence_r": r,
                    "valence_r_windowed": windowed,
                }.items()
            },
            "n_windows": pa.array(n_windows, pa.int64()),
        }
    ).filter(pa.array(~is_shorter(together_s, config.min_together_s)))


_LAGGED = pa.schema(
    [
        ("peak_r", pa.float64()),
        ("peak_lag_s", pa.float64()),
        ("chance_r", pa.float64()),
        ("p_surrogate", pa.float64()),
        ("n_surrogates", pa.int64()),
    ]
)


def valence_on_grid(faces: pa.Table, grid_s: float) -> dict[int, np.ndarray]:
    """Smoothed valence of each track on a grid from 0 s, NaN where there is none; the mean over the time of a step.

    Args:
        faces: rows of the table `faces` of one video that have a track and a smooth_emotion.
        grid_s: step of the grid.
    """
    valence = valence_proxy(to_float_array(faces, *(f"smooth_{name}" for name in EMOTIONS)))
    row, step, weight_s = _split_time(
        to_float_array(faces, "pts_s"), np.nan_to_num(to_float_array(faces, "duration_s")), grid_s
    )
    track, valence = faces["track_id"].to_numpy()[row], valence[row]
    keep = (step >= 0) & (weight_s > 0)
    series = {}
    for number in np.unique(track[keep]).tolist():
        mine = keep & (track == number)
        total_s = np.bincount(step[mine], weight_s[mine])
        total = np.bincount(step[mine], weight_s[mine] * valence[mine])
        series[number] = np.where(total_s > 0, total / np.where(total_s > 0, total_s, 1), np.nan)
    return series


def _split_time(
    start_s: np.ndarray, duration_s: np.ndarray, step_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split the time for which frames are shown among steps of `step_s` from 0 s.

    Returns:
        The index of the frame, the number of the step and the time in it, each `(k,)`; a frame that is shown for less
        than a microsecond has one row.
    """
    end_s = start_s + duration_s
    first = np.floor((start_s + TIME_TOLERANCE_S) / step_s).astype(np.int64)
    stop = np.maximum(np.ceil((end_s - TIME_TOLERANCE_S) / step_s).astype(np.int64), first + 1)
    row, step = expand_ranges(first, stop)
    time_s = np.minimum(end_s[row], (step + 1) * step_s) - np.maximum(start_s[row], step * step_s)
    return row, step, np.maximum(time_s, 0)


def _lagged(
    x: np.ndarray, y: np.ndarray, strangers: Sequence[np.ndarray], config: SynchronyConfig
) -> dict[str, float | int | None]:
    """Peak of the lagged correlation of two series of `valence_on_grid` minus their drift, and its chance level."""
    max_lag = round(config.max_lag_s / config.grid_s)
    window = 2 * round(config.window_s / config.grid_s / 2) + 1
    part = _common_part(x, y)
    x, y = (without_drift(series[part], window) for series in (x, y))
    found = peak(lagged_correlations(x, y, max_lag))
    if found is None:
        return {"n_surrogates": 0}
    surrogates = surrogate_peaks(x, y, [stranger[part] for stranger in strangers], max_lag, window)
    return {
        "peak_r": found.r,
        "peak_lag_s": found.lag * config.grid_s,
        "chance_r": chance_level(surrogates),
        "p_surrogate": surrogate_p_value(found.r, surrogates),
        "n_surrogates": len(surrogates),
    }


def _common_part(x: np.ndarray, y: np.ndarray) -> slice:
    """The steps from the first to the last at which both series are known, if there are any."""
    n = min(len(x), len(y))
    both = np.flatnonzero(~np.isnan(x[:n]) & ~np.isnan(y[:n]))
    return slice(both[0], both[-1] + 1) if len(both) else slice(0, n)


def _in_same_frame(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of rows in the same frame, the earlier row first; `frame` is non-decreasing."""
    firsts, seconds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    largest = int(np.unique(frame, return_counts=True)[1].max(initial=1))
    for offset in range(1, largest):
        rows = np.flatnonzero(frame[offset:] == frame[:-offset])
        firsts.append(rows)
        seconds.append(rows + offset)
    return np.concatenate(firsts), np.concatenate(seconds)


def _group_starts(*keys: np.ndarray) -> np.ndarray:
    """The first row of each run of equal keys, each `(k,)` or `(k, …)`."""
    key = np.column_stack(keys)
    is_new = np.concatenate([np.ones(min(1, len(key)), bool), (key[1:] != key[:-1]).any(axis=1)])
    return np.flatnonzero(is_new)


def _sums(values: np.ndarray, first: np.ndarray) -> np.ndarray:
    sums: np.ndarray = np.add.reduceat(values, first, axis=0) if len(first) else values[:0]
    return sums


def _agreement(
    label_a: np.ndarray, label_b: np.ndarray, weight_s: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of time with the same label, and the share expected by chance, of each group of rows."""
    each = np.arange(len(EMOTIONS))
    total_s = np.maximum(_sums(weight_s, first), 1e-12)
    same = _sums(weight_s * (label_a == label_b), first) / total_s
    shares = [_sums(weight_s[:, None] * (x[:, None] == each), first) / total_s[:, None] for x in (label_a, label_b)]
    return same, (shares[0] * shares[1]).sum(axis=1)


def _correlations(x: np.ndarray, y: np.ndarray, weight_s: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Pearson's r of each group of rows, weighted with time; NaN where x or y hardly changes."""
    group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(x))))
    total_s = np.maximum(_sums(weight_s, first), 1e-12)
    dx, dy = (v - (_sums(weight_s * v, first) / total_s)[group] for v in (x, y))
    var_x, var_y, cov = (_sums(weight_s * product, first) / total_s for product in (dx * dx, dy * dy, dx * dy))
    varies = (var_x >= LEAST_SPREAD**2) & (var_y >= LEAST_SPREAD**2)
    return np.where(varies, cov / np.sqrt(np.where(varies, var_x * var_y, 1)), np.nan)


def _windowed(
    x: np.ndarray,
    y: np.ndarray,
    weight_s: np.ndarray,
    pair: np.ndarray,
    window: np.ndarray,
    first: np.ndarray,
    window_s: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean correlation over the windows of each pair, NaN without any, and how many there are."""
    starts = _group_starts(pair, window)
    r = _correlations(x, y, weight_s, starts)
    r = np.where(is_shorter(_sums(weight_s, starts), window_s / 2), np.nan, r)
    z = np.arctanh(np.clip(r, -0.999999, 0.999999))
    of_pair = np.searchsorted(first, starts, side="right") - 1
    n_windows = np.bincount(of_pair[~np.isnan(z)], minlength=len(first))
    total = np.bincount(of_pair, np.nan_to_num(z), minlength=len(first))
    return np.where(n_windows > 0, np.tanh(total / np.maximum(n_windows, 1)), np.nan), n_windows
