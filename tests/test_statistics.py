"""Intervals, clusters and Holm against SciPy, closed forms and brute force."""

import numpy as np
import pytest
from scipy import optimize, stats

from analytics.statistics.clusters import Sample, pair_samples
from analytics.statistics.intervals import (
    cliffs_delta,
    holm,
    mean_interval,
    paired_difference,
    paired_dominance,
    tango_score,
    welch_difference,
)
from benchmarks.coverage import Coverage, coverage, markdown

RNG = np.random.default_rng(16)
A, B = RNG.normal(1, 2, 9), RNG.normal(0, 1, 7)


def test_the_table_of_coverage_has_the_number_of_studies_with_an_interval():
    outcomes = iter([True, None, False, True, True, True, None, None])
    rare, usual = (coverage(lambda: next(outcomes), 4) for _ in range(2))
    assert (rare, usual) == (Coverage(2 / 3, 3), Coverage(1.0, 2))
    exact = Coverage(0.9, None)
    table = markdown([("mean", "few", [usual, rare]), ("delta", "one", [rare]), ("dominance", "all", [exact] * 5)])
    assert table.splitlines()[2:] == [
        "| mean | few | 100.0 % | 66.7 % |  |  |  | 2 to 3 |",
        "| delta | one | 66.7 % |  |  |  |  | 3 |",
        "| dominance | all | 90.0 % | 90.0 % | 90.0 % | 90.0 % | 90.0 % | exact |",
    ]


def test_welch_agrees_with_scipy():
    found, reference = welch_difference(A, B), stats.ttest_ind(A, B, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert found.estimate == pytest.approx(A.mean() - B.mean())
    assert (found.low, found.high, found.p_value) == pytest.approx((interval.low, interval.high, reference.pvalue))


def test_paired_difference_agrees_with_scipy():
    found, reference = paired_difference(A[:7], B), stats.ttest_rel(A[:7], B)
    interval = reference.confidence_interval(0.95)
    assert (found.low, found.high, found.p_value) == pytest.approx((interval.low, interval.high, reference.pvalue))


def test_mean_interval_agrees_with_scipy():
    interval = stats.ttest_1samp(A, 0).confidence_interval(0.95)
    found = mean_interval(A)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_few_units_or_no_variation_give_no_interval_and_say_why():
    separated = welch_difference(np.ones(3), np.zeros(3))
    assert (separated.estimate, separated.low, separated.high, separated.p_value) == (1, None, None, None)
    assert separated.note == "no interval: 5 participants per group are needed, got 3"
    assert welch_difference(np.ones(6), np.zeros(6)).note == "no interval: the values do not vary"
    assert cliffs_delta(np.ones(4), np.zeros(9)).low is None
    assert paired_dominance(np.ones(4), np.zeros(4)).low is None
    for single in (cliffs_delta(np.ones(1), np.zeros(9)), paired_dominance(np.ones(1), np.zeros(1))):
        assert single.estimate is None
        assert single.note == "no Cliff's delta: 2 participants per group are needed, got 1"
    assert (cliffs_delta(np.ones(2), np.zeros(2)).estimate, paired_dominance(np.ones(2), np.zeros(2)).estimate) == (
        1,
        1,
    )
    assert welch_difference(np.empty(0), B).estimate is None


def test_cliffs_delta_counts_pairs():
    assert cliffs_delta(np.array([0.5, 0.7, 0.9]), np.array([0.1, 0.6])).estimate == pytest.approx((5 - 1) / 6)
    u = stats.mannwhitneyu(A, B).statistic  # delta is 2 U / (n_a n_b) - 1
    assert cliffs_delta(A, B).estimate == pytest.approx(2 * u / (len(A) * len(B)) - 1)


def newcombe_bounds(theta: float, n_a: int, n_b: int, inflation: float = 1.0) -> list[float]:
    """Newcombe 2006, method 5: the roots of (x - theta)² = z² V(x), found by SciPy."""
    z2 = stats.norm.ppf(0.975) ** 2

    def excess(x: float) -> float:
        n = (n_a + n_b) / 2 - 1
        variance = x * (1 - x) / (n_a * n_b) * (1 + n * ((1 - x) / (2 - x) + x / (1 + x)))
        return (x - theta) ** 2 - z2 * inflation * variance

    return [optimize.brentq(excess, 1e-12, theta - 1e-12), optimize.brentq(excess, theta + 1e-12, 1 - 1e-12)]


def test_cliffs_delta_has_newcombes_interval():
    a, b = np.array([7.0, 3, 13, 9, 8, 13]), np.array([7.0, 1, 0, 8, 4])
    found = cliffs_delta(a, b)
    wins = sum((x > y) + 0.5 * (x == y) for x in a for y in b)
    assert wins == 25  # 25 of 30 pairs, besides two ties
    assert found.estimate == pytest.approx(2 * wins / 30 - 1)
    low, high = newcombe_bounds(wins / 30, 6, 5)
    assert (found.low, found.high) == pytest.approx((2 * low - 1, 2 * high - 1), abs=1e-6)


def test_the_interval_of_cliffs_delta_is_longer_if_one_group_spreads_far_wider():
    """Half of b lies below all of a, half above: delta is 0, and only the six values of b add to its variance."""
    a, b = np.linspace(-0.1, 0.1, 20), np.array([-3.0, -2, -1, 1, 2, 3])
    observed = np.var([1, 1, 1, -1, -1, -1], ddof=1) / 6 / 4
    n = (20 + 6) / 2 - 1
    expected = 0.25 / 120 * (1 + n * 2 / 3)
    low, high = newcombe_bounds(0.5, 20, 6, np.sqrt(observed / expected))
    found = cliffs_delta(a, b)
    assert (found.estimate, found.low, found.high) == pytest.approx((0, 2 * low - 1, 2 * high - 1), abs=1e-6)
    assert observed > 2 * expected


def test_cliffs_delta_has_an_interval_at_complete_separation():
    found = cliffs_delta(np.arange(5) + 10.0, np.arange(5.0))
    assert (found.estimate, found.high) == (1, 1)
    x, z2 = (found.low + 1) / 2, stats.norm.ppf(0.975) ** 2
    assert (1 - x) ** 2 == pytest.approx(z2 * x * (1 - x) / 25 * (1 + 4 * (1 - x) / (2 - x) + 4 * x / (1 + x)))
    opposite = cliffs_delta(np.arange(5.0), np.arange(5) + 10.0)
    assert (opposite.low, opposite.high) == pytest.approx((-1, -found.low))


@pytest.mark.parametrize(("above", "below", "n"), [(7, 2, 12), (3, 3, 9), (6, 0, 8)])
@pytest.mark.parametrize("difference", [-0.2, 0.0, 0.15, 0.5])
def test_tangos_score_is_that_of_the_constrained_likelihood(above, below, n, difference):
    """The variance under the hypothesis comes from the maximum of the trinomial likelihood, found numerically here."""

    def minus_log_likelihood(p_below):
        p = np.clip([p_below + difference, p_below, 1 - 2 * p_below - difference], 1e-12, 1)
        return -(np.array([above, below, n - above - below]) * np.log(p)).sum()

    bounds = (max(0, -difference), (1 - difference) / 2)
    p_below = optimize.minimize_scalar(minus_log_likelihood, bounds=bounds, options={"xatol": 1e-12}).x
    variance = n * (2 * p_below + difference - difference**2)
    expected = (above - below - n * difference) / np.sqrt(variance)
    assert tango_score(difference, above, below, n) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_interval_of_paired_dominance_holds_the_scores_within_the_normal_quantile():
    a, b = np.array([3, 4, 5, 6, 7, 1, 1, 2.0]), np.array([1, 1, 1, 1, 1, 2, 1, 1.0])
    found = paired_dominance(a, b)
    assert found.estimate == pytest.approx((6 - 1) / 8)
    assert tango_score(found.low, 6, 1, 8) == pytest.approx(stats.norm.ppf(0.975), abs=1e-6)
    assert tango_score(found.high, 6, 1, 8) == pytest.approx(-stats.norm.ppf(0.975), abs=1e-6)


def test_holm_by_hand():
    """The sorted p-values 0.01, 0.03 and 0.04 are multiplied by 3, 2 and 1, and never decrease."""
    assert holm([0.02, 0.01, 0.03]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, None, 0.8]) == [1, None, 1]
    assert holm([0.01, None, None, 0.02, None, None, None]) == pytest.approx([0.07, None, None, 0.12, None, None, None])
    assert holm([]) == []


def test_clusters_become_one_value_each():
    a = Sample(np.array([[1.0], [3.0], [10.0]]), ["ann", "ann", "bob"])
    b = Sample(np.array([[0.0]]), ["cid"])
    pairing = pair_samples(a, b)
    assert (pairing.is_paired, pairing.a[:, 0].tolist(), pairing.clusters_a) == (False, [2, 10], ["ann", "bob"])


def test_participants_on_both_sides_are_paired_and_the_others_left_out():
    a = Sample(np.array([[1.0], [2.0], [9.0]]), ["bob", "ann", "eve"])
    b = Sample(np.array([[5.0], [7.0]]), ["ann", "bob"])
    pairing = pair_samples(a, b)
    assert (pairing.is_paired, pairing.n_left_out) == (True, 1)
    assert (pairing.a[:, 0].tolist(), pairing.b[:, 0].tolist()) == ([2, 1], [5, 7])
    assert pairing.compare(0).mean_b == 6


@pytest.mark.parametrize("names", ["abcde", "fghij"], ids=["paired", "unpaired"])
def test_rounding_errors_of_single_precision_decide_no_dominance(names):
    """Five participants show an emotion for half of their time in a: computed in single precision, it is not 0.5."""
    half = np.float32(0.7) / (np.float32(0.7) + np.float32(0.7000001))
    a, b = Sample(np.full((5, 1), float(half)), "abcde"), Sample(np.full((5, 1), 0.5), names)
    assert half != 0.5
    found = pair_samples(a, b).compare(0)
    assert (found.dominance.estimate, found.difference.note) == (0, "no interval: the values do not vary")


def test_values_that_are_equal_but_for_rounding_give_no_interval():
    """0.7 as the mean of a hundred values is a little less or more, depending on their weights."""
    values = np.array([np.average(np.full(100, 0.7), weights=np.arange(1, 101) / n) for n in (10, 12, 15, 24, 25, 7)])
    assert np.ptp(values) > 0
    assert (
        mean_interval(values - 0.7).note
        == welch_difference(values, values).note
        == "no interval: the values do not vary"
    )
    assert mean_interval(values + np.arange(6) * 1e-6).p_value is not None


def test_differences_that_are_equal_but_for_rounding_give_no_interval():
    """Each participant shows an emotion for a fifth of the time longer in a: 0.3 - 0.1 and 0.5 - 0.3 are not equal."""
    a, b = np.array([0.3, 0.5, 0.7, 0.9, 0.6]), np.array([0.1, 0.3, 0.5, 0.7, 0.4])
    assert len(set(a - b)) > 1
    found = paired_difference(a, b)
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.p_value, found.note) == (None, None, "no interval: the values do not vary")
    assert paired_difference(a, b + 1e-6 * (a == 0.3)).p_value is not None


def test_many_values_of_few_participants_are_no_evidence():
    """Five participants a side, each with 30 nearly equal values, without any difference between the sides."""
    found = 0
    for _ in range(300):
        sides = []
        for side in "ab":
            means = RNG.normal(0, 1, 5)
            values = (means[:, None] + RNG.normal(0, 0.1, (5, 30))).reshape(-1, 1)
            sides.append(Sample(values, [f"{side}{i}" for i in range(5) for _ in range(30)]))
        found += pair_samples(*sides).compare(0).difference.p_value < 0.05
    assert found / 300 < 0.09  # the limit is 0.05 plus three standard errors of 300 trials
