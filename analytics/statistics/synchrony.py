"""Lagged correlation of two series on a common time grid, and its chance level from surrogates."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MIN_SAMPLES = 10  # a correlation needs at least this many common samples
LEAST_SPREAD = 0.01  # smallest standard deviation of valence that counts as variation: below it, a face hardly changes
MIN_SURROGATES = 19  # with fewer surrogates, p cannot reach 0.05
MAX_SHIFTS = 999  # so many let p reach 0.001; more would cost minutes for pairs of people in videos of hours


@dataclass(frozen=True)
class LaggedCorrelation:
    """The strongest correlation within the lags searched."""

    r: float
    lag: int  # lag in samples; if it is positive, the second series follows the first


def without_drift(series: Array, window: int) -> Array:
    """The series minus its moving average over `window` samples, an odd number; NaN where it is unknown.

    At the ends and beside gaps, the average is over the known samples of the window.
    """
    known = ~np.isnan(series)

    def moving_sum(values: Array) -> Array:
        total: Array = np.convolve(values, np.ones(window))[window // 2 :][: len(values)]
        return total

    return series - moving_sum(np.where(known, series, 0)) / np.maximum(moving_sum(known.astype(float)), 1)


def lagged_correlations(x: Array, y: Array, max_lag: int) -> Array:
    """Pearson's r of `x[t]` and `y[t + lag]` for each lag from -max_lag to max_lag, `(2 max_lag + 1,)`.

    Samples that are NaN in either series are left out; r is NaN with fewer than `MIN_SAMPLES` common ones or if the
    standard deviation of one series is below `LEAST_SPREAD`.
    """
    n = min(len(x), len(y))
    if not n:
        return np.full(2 * max_lag + 1, np.nan)
    (x, known_x), (y, known_y) = (_center(series[:n]) for series in (x, y))

    def sums(of_x: Array, of_y: Array) -> Array:
        """The sum over t of `of_x[t] * of_y[t + lag]` for each lag."""
        total: Array = np.correlate(np.pad(of_y, max_lag), of_x, "valid")
        return total

    count = np.rint(sums(known_x, known_y))
    enough = count >= MIN_SAMPLES
    size = np.where(enough, count, 1)
    sum_x, sum_y = sums(x, known_y), sums(known_x, y)
    var_x = sums(x**2, known_y) - sum_x**2 / size
    var_y = sums(known_x, y**2) - sum_y**2 / size
    varies = enough & (np.minimum(var_x, var_y) >= LEAST_SPREAD**2 * size)
    return np.where(varies, (sums(x, y) - sum_x * sum_y / size) / np.sqrt(np.where(varies, var_x * var_y, 1)), np.nan)


def peak(correlations: Array) -> LaggedCorrelation | None:
    """The lag with the highest correlation, or the nearest to 0 of several; None if no correlation is known."""
    if np.isnan(correlations).all():
        return None
    max_lag = len(correlations) // 2
    lags = np.arange(-max_lag, max_lag + 1)
    best = np.flatnonzero(correlations >= np.nanmax(correlations) - 1e-12)
    chosen = int(best[np.abs(lags[best]).argmin()])
    return LaggedCorrelation(float(correlations[chosen]), int(lags[chosen]))


def shifted_peaks(x: Array, y: Array, max_lag: int) -> Array:
    """Peaks of the lagged correlation after shifting `y` in a circle, one for each of at most `MAX_SHIFTS` shifts.

    A shift keeps the autocorrelation of each series and breaks only their alignment. Shifts are evenly spaced over the
    series, at least `2 max_lag + 1` samples apart, so that no two of them search the same alignment, and at least as
    far from the true one.
    """
    step = max(2 * max_lag + 1, math.ceil(len(y) / (MAX_SHIFTS + 1)))
    found = (peak(lagged_correlations(x, np.roll(y, shift), max_lag)) for shift in range(step, len(y) - step + 1, step))
    return np.array([one.r for one in found if one is not None])


def chance_level(surrogates: Array) -> float | None:
    """The 95th percentile of surrogates; None with fewer than `MIN_SURROGATES`."""
    return float(np.quantile(surrogates, 0.95)) if len(surrogates) >= MIN_SURROGATES else None


def surrogate_p_value(r: float, surrogates: Array) -> float | None:
    """The share of surrogates of at least `r`, counting the observed one; None with fewer than `MIN_SURROGATES`."""
    if len(surrogates) < MIN_SURROGATES:
        return None
    return float((1 + (surrogates >= r - 1e-12).sum()) / (1 + len(surrogates)))


def _center(series: Array) -> tuple[Array, Array]:
    """The series minus its mean with 0 for NaN, and 1 where it is known."""
    known = ~np.isnan(series)
    centered = np.where(known, series - (series[known].mean() if known.any() else 0), 0)
    return centered, known.astype(float)
