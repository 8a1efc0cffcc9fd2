"""Whether people who are seen at the same time show the same: labels compared beyond chance, valence correlated.

Labels are compared by Cohen's kappa (Educational and Psychological Measurement 20(1), 1960), time taking the place of
counted cases. Valence is correlated over all common time and, since two people who both grow tired over an hour
correlate without any bond, window by window, as in Boker et al., "Windowed cross-correlation and peak picking",
Psychological Methods 7(3), 2002, without lags.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analytics.affect import valence_proxy
from analytics.tables.arrow_utils import encode_categories, to_column, to_float_array
from analytics.tables.result_schemas import SYNCHRONY
from analytics.tables.schema import conform
from fer_models.labels import EMOTIONS

LEAST_SPREAD = 0.01  # of valence: whoever shows less than this change has nothing to correlate


@dataclass(frozen=True)
class SynchronyConfig:
    """Which pairs are compared, and in which windows.

    Raises:
        ValueError: if a value is out of its range.
    """

    window_s: float = 10.0  # a smile and its answer fit into it, moods do not change in it
    min_together_s: float = 2.0  # pairs with less common time are left out

    def __post_init__(self) -> None:
        for name in ("window_s", "min_together_s"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")


def synchrony(faces: pa.Table, config: SynchronyConfig | None = None) -> pa.Table:
    """How far two tracks of one video agree, for every two that are long enough in the same frames.

    Args:
        faces: rows of table faces of the video; those without track or smooth_emotion are passed over.
        config: the settings.

    Returns:
        The rows of `answers.SYNCHRONY`, by track. The mean over the windows is that of Fisher's z.
    """
    config = config or SynchronyConfig()
    known = faces.filter(pc.and_(faces["track_id"].is_valid(), faces["smooth_emotion"].is_valid()))
    known = known.sort_by([("frame_index", "ascending"), ("track_id", "ascending")])
    a, b = _in_same_frame(known["frame_index"].to_numpy())
    track, pts_s = known["track_id"].to_numpy(), known["pts_s"].to_numpy()
    pair = np.column_stack([track[a], track[b]])
    window = np.floor(pts_s[a] / config.window_s + 1e-9)
    order = np.lexsort((pts_s[a], pair[:, 1], pair[:, 0]))
    a, b, pair, window = a[order], b[order], pair[order], window[order]
    first = _group_starts(pair)
    weight_s = np.nan_to_num(to_float_array(known, "duration_s"))[a]
    together_s = _sums(weight_s, first)
    label = encode_categories(known["smooth_emotion"], EMOTIONS)
    same, chance = _agreement(label[a], label[b], weight_s, first)
    valence = valence_proxy(to_float_array(known, *(f"smooth_{name}" for name in EMOTIONS)))
    r = _correlations(valence[a], valence[b], weight_s, first)
    windowed, n_windows = _windowed(valence[a], valence[b], weight_s, pair, window, first, config.window_s)
    with np.errstate(invalid="ignore"):
        kappa = np.where(chance < 1 - 1e-9, (same - chance) / (1 - chance), np.nan)
    table = pa.table(
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
    )
    return conform(table.filter(pa.array(together_s >= config.min_together_s)), SYNCHRONY)


def _in_same_frame(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every two rows of one frame, the earlier row first; `frame` does not fall."""
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
    """Share of time with the same label, and the one by chance, of each group of rows."""
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
    r = np.where(_sums(weight_s, starts) >= window_s / 2, r, np.nan)
    z = np.arctanh(np.clip(r, -0.999999, 0.999999))
    of_pair = np.searchsorted(first, starts, side="right") - 1
    n_windows = np.bincount(of_pair[~np.isnan(z)], minlength=len(first))
    total = np.bincount(of_pair, np.nan_to_num(z), minlength=len(first))
    return np.where(n_windows > 0, np.tanh(total / np.maximum(n_windows, 1)), np.nan), n_windows
