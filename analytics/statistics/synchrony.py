"""Lagged correlation of two series on a common time grid, and what it would be by chance, from surrogates."""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]
MIN_SAMPLES = 10  # a correlation over fewer common samples is not used


@dataclass(frozen=True)
class LaggedCorrelation:
    """The strongest correlation within the lags searched."""

    r: float
    lag: int  # samples; positive: the second series follows the first


def lagged_correlations(x: Array, y: Array, max_lag: int) -> Array:
    """Pearson's r of `x[t]` and `y[t + lag]` for each lag from -max_lag to max_lag, `(2 max_lag + 1,)`.

    Samples that are NaN in either series are left out; r is NaN with fewer than `MIN_SAMPLES` common ones or without
    variation.
    """
    return np.array([_pearson(*_shifted(x, y, lag)) for lag in range(-max_lag, max_lag + 1)])


def peak(correlations: Array) -> LaggedCorrelation | None:
    """The lag with the highest correlation; of equals the one nearest to 0. None if no correlation is known."""
    if np.isnan(correlations).all():
        return None
    max_lag = len(correlations) // 2
    lags = np.arange(-max_lag, max_lag + 1)
    best = np.flatnonzero(correlations >= np.nanmax(correlations) - 1e-12)
    chosen = int(best[np.abs(lags[best]).argmin()])
    return LaggedCorrelation(float(correlations[chosen]), int(lags[chosen]))


def shifted_peaks(x: Array, y: Array, max_lag: int) -> Array:
    """Peaks of the lagged correlation after shifting `y` in a circle, one for each shift.

    A shift keeps the autocorrelation of each series and breaks only their alignment. Shifts are `2 max_lag + 1` samples
    apart, so that no two of them search the same alignment, and at least as far from the true one.
    """
    step = 2 * max_lag + 1
    found = (peak(lagged_correlations(x, np.roll(y, shift), max_lag)) for shift in range(step, len(y) - step + 1, step))
    return np.array([one.r for one in found if one is not None])


def surrogate_p_value(r: float, surrogates: Array) -> float | None:
    """The share of surrogates at least as high as `r`, counting the observed one; None with fewer than 19."""
    if len(surrogates) < 19:  # the least with which p can reach 0.05
        return None
    return float((1 + (surrogates >= r - 1e-12).sum()) / (1 + len(surrogates)))


def _shifted(x: Array, y: Array, lag: int) -> tuple[Array, Array]:
    n = min(len(x), len(y))
    if abs(lag) >= n:
        return x[:0], y[:0]
    return (x[: n - lag], y[lag:n]) if lag >= 0 else (x[-lag:n], y[: n + lag])


def _pearson(x: Array, y: Array) -> float:
    known = ~(np.isnan(x) | np.isnan(y))
    x, y = x[known], y[known]
    if len(x) < MIN_SAMPLES or np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return np.nan
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / np.sqrt((x @ x) * (y @ y)))
