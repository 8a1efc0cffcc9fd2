"""Compare two samples whose values come in clusters: a value per participant, paired if participants are on both sides.

The mean over a participant's values is that participant's value (the summary-measures approach), so that many videos of
one person never count as many people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.statistics.intervals import (
    Estimate,
    cliffs_delta,
    paired_difference,
    paired_dominance,
    welch_difference,
)

Array = NDArray[np.float64]
# Means are rounded to this many decimals: shares are stored in single precision, and otherwise rounding errors would
# decide which of two equal means is greater.
MEAN_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of one side of a comparison; `clusters[i]` names the participant of `values[i]`."""

    values: Array  # (n, k) measures of each unit
    clusters: Sequence[str]  # (n,)

    def cluster_means(self) -> dict[str, Array]:
        """The mean `(k,)` of each participant, rounded to `MEAN_DECIMALS`."""
        rows: dict[str, list[int]] = {}
        for row, cluster in enumerate(self.clusters):
            rows.setdefault(cluster, []).append(row)
        means = {cluster: self.values[indices].mean(axis=0) for cluster, indices in sorted(rows.items())}
        return {cluster: mean.round(MEAN_DECIMALS) for cluster, mean in means.items()}


@dataclass(frozen=True)
class Comparison:
    """The comparison of one measure between two samples."""

    mean_a: float | None
    mean_b: float | None
    difference: Estimate
    dominance: Estimate


@dataclass(frozen=True, eq=False)
class Pairing:
    """The participants of both sides as they are compared: rows of `a` and `b` correspond if `is_paired`."""

    a: Array  # (n_a, k) one value per participant and measure
    b: Array  # (n_b, k) one value per participant and measure
    clusters_a: list[str]
    clusters_b: list[str]
    is_paired: bool
    n_left_out: int  # in a paired comparison, the number of participants on one side only

    def compare(self, measure: int) -> Comparison:
        """Compare the two sides in the measure with this index (a column of `a` and `b`)."""
        a, b = self.a[:, measure], self.b[:, measure]
        difference, dominance = (
            (paired_difference, paired_dominance) if self.is_paired else (welch_difference, cliffs_delta)
        )
        return Comparison(_mean(a), _mean(b), difference(a, b), dominance(a, b))


def pair_samples(a: Sample, b: Sample) -> Pairing:
    """Reduce both samples to participants, and pair them if any participant is on both sides.

    In a paired comparison participants on one side only are left out and counted.
    """
    means_a, means_b = a.cluster_means(), b.cluster_means()
    if shared := sorted(means_a.keys() & means_b.keys()):
        n_left_out = len(means_a.keys() ^ means_b.keys())
        paired_a, paired_b = (np.stack([means[cluster] for cluster in shared]) for means in (means_a, means_b))
        return Pairing(paired_a, paired_b, shared, shared, True, n_left_out)
    return Pairing(
        _stack(means_a, a.values.shape[1]), _stack(means_b, b.values.shape[1]), [*means_a], [*means_b], False, 0
    )


def _stack(means: Mapping[str, Array], n_measures: int) -> Array:
    return np.stack([*means.values()]) if means else np.empty((0, n_measures))


def _mean(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None
