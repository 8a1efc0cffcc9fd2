"""Lagged correlation of two series on a common time grid, and its chance level from surrogates."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MIN_SAMPLES = 10  # a correlation needs at least this many common samples
LEAST_SPREAD = 0.01  # smallest standard deviation of valence that counts as variation: below it, a face hardly changes
MIN_SURROGATES = 19  # with fewer surrogates, p cannot reach 0.05
# A surrogate with fewer common samples than the pair has a higher peak by chance.
MIN_COMMON_SHARE = 0.9
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

    sums = partial(_lagged_sums, max_lag=max_lag)
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

    A shift keeps the autocorrelation of each series and breaks only their alignment. Only known samples are shifted,
    to positions of other known samples: shifted gaps would change the number of common samples. Shifts are evenly
    spaced, at least `2 max_lag + 1` samples apart, so that no two of them search the same alignment, and at least as
    far from the true one.
    """
    known = ~np.isnan(y)
    n = int(known.sum())
    step = max(2 * max_lag + 1, math.ceil(n / (MAX_SHIFTS + 1)))
    shifted = y.copy()
    found = []
    for shift in range(step, n - step + 1, step):
        shifted[known] = np.roll(y[known], shift)
        found.append(peak(lagged_correlations(x, shifted, max_lag)))
    return np.array([one.r for one in found if one is not None])


def stranger_peaks(x: Array, y: Array, strangers: Iterable[Array], max_lag: int, window: int) -> Array:
    """Peaks of the lagged correlation of `x` with other people, who are seen only where `y` is.

    Args:
        x: (n,) the first series, without drift.
        y: (n,) the second series.
        strangers: series of people of other videos, as they are, of any length. Those who have fewer than
            `MIN_COMMON_SHARE` of the common samples of `x` and `y` at a lag are left out.
        max_lag: as for `lagged_correlations`.
        window: as for `without_drift`.
    """
    least = MIN_COMMON_SHARE * _common_samples(x, y, max_lag)
    found = []
    for series in strangers:
        stranger = np.full(len(y), np.nan)
        stranger[: len(series)] = series[: len(y)]
        stranger[np.isnan(y)] = np.nan
        if (_common_samples(x, stranger, max_lag) >= least).all():
            found.append(peak(lagged_correlations(x, without_drift(stranger, window), max_lag)))
    return np.array([one.r for one in found if one is not None])


def chance_level(surrogates: Array) -> float | None:
    """The 95th percentile of surrogates; None with fewer than `MIN_SURROGATES`."""
    return float(np.quantile(surrogates, 0.95)) if len(surrogates) >= MIN_SURROGATES else None


def surrogate_peaks(x: Array, y: Array, strangers: Iterable[Array], max_lag: int, window: int) -> Array:
    """Peaks of all surrogates of two series: those of `shifted_peaks`, then those of `stranger_peaks`."""
    return np.append(shifted_peaks(x, y, max_lag), stranger_peaks(x, y, strangers, max_lag, window))


def surrogate_p_value(r: float, surrogates: Array) -> float | None:
    """The share of surrogates of at least `r`, counting the observed one; None with fewer than `MIN_SURROGATES`."""
    if len(surrogates) < MIN_SURROGATES:
        return None
    return float((1 + (surrogates >= r - 1e-12).sum()) / (1 + len(surrogates)))


def _common_samples(x: Array, y: Array, max_lag: int) -> Array:
    """The number of samples that are known both in `x[t]` and `y[t + lag]`, for each lag."""
    return np.rint(_lagged_sums((~np.isnan(x)).astype(float), (~np.isnan(y)).astype(float), max_lag))


def _lagged_sums(of_x: Array, of_y: Array, max_lag: int) -> Array:
    """The sum over t of `of_x[t] * of_y[t + lag]` for each lag."""
    total: Array = np.correlate(np.pad(of_y, max_lag), of_x, "valid")
    return total


def _center(series: Array) -> tuple[Array, Array]:
    """The series minus its mean with 0 for NaN, and 1 where it is known."""
    known = ~np.isnan(series)
    centered = np.where(known, series - (series[known].mean() if known.any() else 0), 0)
    return centered, known.astype(float)
