"""Simulate the coverage of every interval that Fervid reports, and the level of its tests.

python -m benchmarks.coverage                      # prints the table of docs/statistics.md in about two minutes
python -m benchmarks.coverage --trials 400         # faster, less exact
python -m benchmarks.coverage --write docs/statistics.md

Each row simulates studies with a known true value, applies an estimator of `analytics.statistics`, and counts how often
the 95 % interval contains the true value. With 2,000 studies, the standard error is 0.5 percentage points; the column
`studies` says how many of them have an interval.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from analytics.statistics.agreement import cohens_kappa, pooled_kappa
from analytics.statistics.clusters import Sample, pair_samples
from analytics.statistics.intervals import (
    Estimate,
    cliffs_delta,
    holm,
    mean_interval,
    paired_difference,
    paired_dominance,
    welch_difference,
)
from analytics.statistics.rates import rate_per_minute
from analytics.statistics.survival import median_interval
from analytics.statistics.synchrony import (
    lagged_correlations,
    peak,
    surrogate_p_value,
    surrogate_peaks,
    without_drift,
)

SIZES = (5, 6, 8, 10, 20)
LARGE = 100_000  # number of draws that represent a whole population
Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Coverage:
    """How often an interval contains the true value, or a test finds nothing where there is nothing."""

    share: float  # NaN without any study
    n_studies: int | None  # number of simulated studies with an interval or test; None: computed exactly


Row = tuple[str, str, list[Coverage]]  # estimate, population, and the coverage of each of `SIZES`


def beta(a: float, b: float) -> Draw:
    """Draw shares of time of an emotion from a beta distribution."""
    return lambda rng, n: rng.beta(a, b, n)


def with_zeros(share: float, a: float, b: float) -> Draw:
    """Draw shares of time of an emotion that some people never show, and others with a beta distribution."""
    return lambda rng, n: np.where(rng.random(n) < share, 0.0, rng.beta(a, b, n))


SHARES: dict[str, tuple[Draw, Draw]] = {
    "no difference, Beta(2, 5)": (beta(2, 5), beta(2, 5)),
    "no difference, 30 % zeros": (with_zeros(0.3, 1, 3), with_zeros(0.3, 1, 3)),
    "difference, Beta(4, 4) and Beta(2, 5)": (beta(4, 4), beta(2, 5)),
    "difference and unequal spread": (beta(10, 10), beta(1, 4)),
    "no difference, very unequal spread": (beta(30, 30), beta(0.5, 0.5)),
}


def holds(found: Estimate, truth: float) -> bool | None:
    """Whether the interval contains the true value; None without an interval."""
    return None if found.low is None or found.high is None else found.low <= truth <= found.high


def coverage(trial: Callable[[], bool | None], trials: int) -> Coverage:
    """The coverage in simulated studies, each of which says if its interval contains the true value."""
    return coverage_of([trial() for _ in range(trials)])


def coverage_of(outcomes: Sequence[bool | None]) -> Coverage:
    """The coverage in these studies; None is one without an interval."""
    known = [outcome for outcome in outcomes if outcome is not None]
    return Coverage(float(np.mean(known)) if known else float("nan"), len(known))


def delta_of(a: np.ndarray, b: np.ndarray) -> float:
    """Cliff's delta of two populations."""
    a, b = np.sort(a), np.sort(b)
    below, above = np.searchsorted(b, a, "left"), len(b) - np.searchsorted(b, a, "right")
    return float((below - above).mean() / len(b))


def differences(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """Coverage of independent and paired differences, and of dominance."""
    for name, (draw_a, draw_b) in SHARES.items():
        big_a, big_b = draw_a(rng, LARGE), draw_b(rng, LARGE)
        truth, delta = float(big_a.mean() - big_b.mean()), delta_of(big_a, big_b)
        found = {n: ([], []) for n in SIZES}
        for n in SIZES:
            for _ in range(trials):
                a, b = draw_a(rng, n), draw_b(rng, n)
                found[n][0].append(holds(welch_difference(a, b), truth))
                found[n][1].append(holds(cliffs_delta(a, b), delta))
        for k, estimate in enumerate(("difference of means (Welch t)", "Cliff's delta")):
            yield estimate, name, [coverage_of(found[n][k]) for n in SIZES]
    for name, effect in (("no difference", 0.0), ("difference", 0.1)):
        yield from paired(rng, trials, name, effect)


def paired(rng: np.random.Generator, trials: int, name: str, effect: float) -> Iterator[Row]:
    """Simulate paired values: people differ more from each other than between the two conditions."""

    def people(n: int) -> tuple[np.ndarray, np.ndarray]:
        own = rng.beta(2, 5, n)
        return own + effect + rng.gamma(2, 0.05, n) - 0.1, own + rng.gamma(2, 0.05, n) - 0.1

    yield (
        "paired difference (t)",
        name,
        [coverage(lambda n=n: holds(paired_difference(*people(n)), effect), trials) for n in SIZES],
    )


def dominances(_: np.random.Generator, __: int) -> Iterator[Row]:
    """Coverage of paired dominance without ties, computed exactly: the number of higher participants is binomial.

    The interval takes n + 1 different values, so that its coverage depends on the true value.
    """
    truth = np.linspace(-0.95, 0.95, 191)
    shares = [dominance_coverage(n, truth) for n in SIZES]
    yield "paired dominance (Tango)", "mean over true values", [Coverage(float(share.mean()), None) for share in shares]
    yield (
        "paired dominance (Tango)",
        "lowest of all true values",
        [Coverage(float(share.min()), None) for share in shares],
    )


def dominance_coverage(n: int, truth: np.ndarray) -> np.ndarray:
    """The exact coverage `(k,)` for true dominances `(k,)`."""
    above = np.arange(n + 1)
    intervals = [paired_dominance(np.repeat([1.0, -1.0], [k, n - k]), np.zeros(n)) for k in above]
    low, high = (np.array([getattr(one, name) for one in intervals]) for name in ("low", "high"))
    chance = stats.binom.pmf(above[:, None], n, (truth + 1) / 2)
    covered: np.ndarray = (chance * ((low[:, None] <= truth) & (truth <= high[:, None]))).sum(axis=0)
    return covered


def dwell_times(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """Coverage of median durations; many or few episodes, some are censored."""
    truth = median_duration(rng)
    for name, mean_episodes, mean_observed_s in (
        ("about 10 episodes each", 10, 12),
        ("about 2 episodes each, of half of which the end is observed", 2, 2.2),
        ("1 episode each, of half of which the end is observed", 1, 2.2),
    ):

        def trial(n: int, mean: float = mean_episodes, observed_s: float = mean_observed_s) -> bool | None:
            return dwell_time(rng, truth, rng.poisson(mean - 1, n) + 1, observed_s)

        yield "median dwell time", name, [coverage(partial(trial, n), trials) for n in SIZES]


def median_duration(rng: np.random.Generator) -> float:
    """The true median of `durations`."""
    return float(np.median(durations(rng, np.ones(LARGE, int))[1]))


def durations(rng: np.random.Generator, each: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The person and the duration of each episode; people differ by 30 %, and `each` is their number of episodes."""
    who = np.repeat(np.arange(len(each)), each)
    return who, np.exp(rng.normal(0, 0.3, len(each)))[who] * rng.gamma(2, 0.8, len(who))


def dwell_time(rng: np.random.Generator, truth: float, each: np.ndarray, mean_observed_s: float) -> bool | None:
    """Whether the interval of the median contains the true one, if observations stop after an exponential time."""
    who, duration_s = durations(rng, each)
    observed_s = rng.exponential(mean_observed_s, len(who))
    found = median_interval(np.minimum(duration_s, observed_s), duration_s <= observed_s, who.astype(str).tolist())
    return None if found.low is None else found.low <= truth <= (found.high or np.inf)


def clusters(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """Coverage of differences between participants with several videos each, if there is no difference."""

    def side(name: str, n: int) -> Sample:
        per_person = rng.integers(2, 9, n)
        people = np.repeat(np.arange(n), per_person)
        values = rng.normal(0.4, 0.15, n)[people] + rng.normal(0, 0.05, len(people))
        return Sample(values[:, None], [f"{name}{person}" for person in people])

    def trial(n: int) -> bool | None:
        return holds(pair_samples(side("a", n), side("b", n)).compare(0).difference, 0.0)

    yield "difference of participants", "2 to 8 videos each", [coverage(lambda n=n: trial(n), trials) for n in SIZES]


def families(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """The share of studies without a difference in which no adjusted p-value of seven emotions is below 0.05."""

    def trial(n: int) -> bool:
        a, b = rng.dirichlet(np.full(7, 0.8), n), rng.dirichlet(np.full(7, 0.8), n)
        adjusted = holm([welch_difference(a[:, k], b[:, k]).p_value for k in range(7)])
        return not any(p is not None and p < 0.05 for p in adjusted)

    yield "no false finding in seven (Holm)", "no difference", [coverage(lambda n=n: trial(n), trials) for n in SIZES]


def means_and_rates(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """Coverage of event-related averages, and of counts per minute."""

    def changes(n: int) -> np.ndarray:
        return rng.beta(2, 5, n) - rng.beta(2, 6, n)

    yield (
        "mean (event-related average)",
        "changes of probability",
        [coverage(lambda n=n: holds(mean_interval(changes(n)), 2 / 7 - 2 / 8), trials) for n in SIZES],
    )

    def study(n: int) -> tuple[np.ndarray, np.ndarray]:
        observed_s = rng.uniform(60, 600, n)
        # Two per minute on average, with a rate that differs between people.
        return rng.poisson(rng.gamma(4, 0.5, n) * observed_s / 60), observed_s

    yield (
        "events per minute",
        "people differ by 50 %",
        [coverage(lambda n=n: holds(rate_per_minute(*study(n)), 2.0), trials) for n in SIZES],
    )


def kappas(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """Coverage of pooled kappa over simulated videos of 2 minutes, in which two coders agree to a varying degree."""
    truth = true_kappa(rng)
    yield (
        "Cohen's kappa (jackknife)",
        "30 spans a video",
        [coverage(lambda n=n: holds(pooled_kappa(tables(rng, [30] * n)), truth), trials) for n in SIZES],
    )


def true_kappa(rng: np.random.Generator) -> float:
    """The true kappa of `tables`."""
    truth = cohens_kappa(np.sum(tables(rng, [30] * 20_000), axis=0))
    assert truth is not None
    return truth


def tables(rng: np.random.Generator, n_spans: Sequence[int]) -> list[np.ndarray]:
    """Seconds of each pair of code and label in videos of `n_spans` spans of 4 s."""
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    found = []
    for agree, n in zip(rng.beta(16, 4, len(n_spans)), n_spans, strict=True):
        code = rng.choice(4, n, p=shares)
        label = np.where(rng.random(n) < agree, code, rng.choice(4, n, p=shares))
        table = np.zeros((4, 4))
        np.add.at(table, (code, label), rng.gamma(2, 2, n))
        found.append(table)
    return found


def unequal_contributions(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """Coverage where people differ in their number of episodes, or in how long they were compared."""
    median, kappa = median_duration(rng), true_kappa(rng)

    def numbers(n: int, mean: float, log_sd: float) -> np.ndarray:
        return rng.poisson(mean * np.exp(rng.normal(0, log_sd, n))) + 1

    def dwell(n: int, log_sd: float) -> bool | None:
        return dwell_time(rng, median, numbers(n, 10, log_sd), 12)

    def agreement(n: int, log_sd: float) -> bool | None:
        return holds(pooled_kappa(tables(rng, numbers(n, 30, log_sd).tolist())), kappa)

    for estimate, unit, trial in (
        ("median dwell time", "episodes", dwell),
        ("Cohen's kappa (jackknife)", "spans", agreement),
    ):
        for log_sd in (1.0, 1.5):
            shares = [coverage(partial(trial, n, log_sd), trials) for n in SIZES]
            yield estimate, f"log-normal numbers of {unit}, sigma = {log_sd:g}", shares


def always(second: np.ndarray) -> np.ndarray:
    """A person who is always seen."""
    return np.ones(len(second), bool)


@dataclass(frozen=True)
class Pair:
    """Two independent people, seen by five samples per second, and people of other videos.

    Attributes:
        name: the row of the table.
        duration_s: length of the video.
        seen: whether each of the two is seen at each second, given their numbers.
        n_strangers: number of other videos of the same length, with one person who is always seen.
        drift: change of all people from the first to the last second, in standard deviations.
    """

    name: str
    duration_s: int = 180
    seen: tuple[Callable[[np.ndarray], np.ndarray], ...] = (always, always)
    n_strangers: int = 0
    drift: float = 0.0


def synchrony_level(rng: np.random.Generator, trials: int, pair: Pair) -> Iterator[Row]:
    """The share of independent pairs of people without significant synchrony at 0.05, of `trials / 2` pairs."""
    kernel = np.exp(-np.abs(np.arange(-20, 21)) / 6)
    n = 5 * pair.duration_s

    def person() -> np.ndarray:
        mood = np.convolve(rng.normal(0, 1, n + 40), kernel, "valid") / np.sqrt((kernel**2).sum())
        return mood + pair.drift * np.linspace(0, 1, n)

    seen = [of_person(np.arange(n) // 5) for of_person in pair.seen]
    both = np.flatnonzero(seen[0] & seen[1])
    part = slice(both[0], both[-1] + 1)

    def trial() -> bool | None:
        x, y = (without_drift(np.where(known, person(), np.nan)[part], 51) for known in seen)
        found = peak(lagged_correlations(x, y, 15))
        assert found is not None
        strangers = [person()[part] for _ in range(pair.n_strangers)]
        p = surrogate_p_value(found.r, surrogate_peaks(x, y, strangers, 15, 51))
        return None if p is None else p > 0.05

    yield "no synchrony by chance (surrogates)", pair.name, [coverage(trial, max(trials // 2, 50))]


def synchrony_in_parts(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """The same for people who are not together all the time."""

    def takes_turns(side: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda second: (second // 10 % 2 == side) | (second % 60 < 6)

    def at_both_ends(second: np.ndarray) -> np.ndarray:
        return (second < 4) | (second >= second.max() - 3)

    def in_every_second_shot(second: np.ndarray) -> np.ndarray:
        return second // 6 % 2 == 0

    for pair in (
        Pair("180 s, together for 6 s of each minute, 40 other videos", 180, (takes_turns(0), takes_turns(1)), 40),
        Pair("180 s, together for the first and last 4 s, 40 other videos", 180, (always, at_both_ends), 40),
        Pair("480 s, both seen for 6 of every 12 s", 480, (in_every_second_shot, in_every_second_shot)),
    ):
        yield from synchrony_level(rng, trials, pair)


def limits(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """Coverage where the assumptions hardly hold: strongly skewed values, groups of unequal size, and rare events."""
    draw, name = beta(0.4, 4), "no difference, Beta(0.4, 4), 3 n in the other group"
    for estimate, interval in (("difference of means (Welch t)", welch_difference), ("Cliff's delta", cliffs_delta)):
        yield (
            estimate,
            name,
            [coverage(lambda n=n, f=interval: holds(f(draw(rng, n), draw(rng, 3 * n)), 0.0), trials) for n in SIZES],
        )

    def reactions(n: int) -> np.ndarray:
        return rng.normal(0, 0.03, n) + np.where(rng.random(n) < 1 / 3, rng.beta(4, 4, n), 0)

    yield (
        "mean (event-related average)",
        "one in three reacts",
        [coverage(lambda n=n: holds(mean_interval(reactions(n)), 1 / 6), trials) for n in SIZES],
    )

    def rare(n: int) -> Estimate:
        observed_s = rng.uniform(60, 600, n)
        return rate_per_minute(rng.poisson(rng.gamma(4, 0.05, n) * observed_s / 60), observed_s)

    yield (
        "events per minute",
        "0.2 per minute, about one per person",
        [coverage(lambda n=n: holds(rare(n), 0.2), trials) for n in SIZES],
    )


def rate_limits(rng: np.random.Generator, trials: int) -> Iterator[Row]:
    """Coverage of counts per minute where few people cause most events, or were observed for longer if they do."""

    def one_in_three(n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.where(rng.random(n) < 1 / 3, rng.gamma(4, 1.5, n), 0.2), np.full(n, 5.0)

    def few(n: int) -> tuple[np.ndarray, np.ndarray]:
        return rng.gamma(0.3, 2 / 0.3, n), np.full(n, 5.0)

    def longer(n: int) -> tuple[np.ndarray, np.ndarray]:
        log_minutes = rng.normal(0, 0.7, n)
        log_rate = 0.6 * log_minutes + rng.normal(0, 0.7 * 0.8, n)  # their correlation is 0.6
        return 2 * np.exp(log_rate), 5 * np.exp(log_minutes)

    def holds_for(people: Callable[[int], tuple[np.ndarray, np.ndarray]], truth: float, n: int) -> bool | None:
        rate, minutes = people(n)
        return holds(rate_per_minute(rng.poisson(rate * minutes), 60 * minutes), truth)

    for name, people, truth in (
        ("one in three has 6 per minute, the others 0.2", one_in_three, 1 / 3 * 6 + 2 / 3 * 0.2),
        ("gamma-distributed rates with shape 0.3", few, 2.0),
        # The mean rate per minute observed is E(rate * minutes) / E(minutes) of log-normal variables.
        (
            "log-normal rates and times, sigma = 0.7, correlation 0.6",
            longer,
            2 * np.exp(0.7**2 / 2 + 0.6 * 0.7**2),
        ),
    ):
        yield "events per minute", name, [coverage(partial(holds_for, people, truth, n), trials) for n in SIZES]


def markdown(rows: list[Row]) -> str:
    """Format the rows as the table of the documentation page."""
    sizes = " | ".join(f"n = {n}" for n in SIZES)
    lines = [f"| estimate | population | {sizes} | studies |", "|---|---|" + "---:|" * (len(SIZES) + 1)]
    for estimate, population, found in rows:
        cells = ["" if np.isnan(one.share) else f"{100 * one.share:.1f} %" for one in found]
        cells += [""] * (len(SIZES) - len(cells))
        lines.append(f"| {estimate} | {population} | {' | '.join(cells)} | {_studies(found)} |")
    return "\n".join(lines) + "\n"


def _studies(found: Sequence[Coverage]) -> str:
    """The smallest and the largest number of studies of a cell of the row."""
    numbers = sorted({one.n_studies for one in found if one.n_studies is not None})
    return " to ".join(f"{n:,}" for n in dict.fromkeys([numbers[0], numbers[-1]])) if numbers else "exact"


def replaced(page: str, table: str) -> str:
    """Replace the table between the two marks of the documentation page."""
    return re.sub(r"(<!-- coverage -->\n).*?(<!-- /coverage -->)", lambda m: m[1] + table + m[2], page, flags=re.DOTALL)


def main() -> None:
    """Run all simulations."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--write", type=Path, help="the page whose table is to be replaced")
    options = parser.parse_args()
    rng = np.random.default_rng(20261128)
    parts = (
        differences,
        dominances,
        clusters,
        families,
        means_and_rates,
        dwell_times,
        kappas,
        partial(synchrony_level, pair=Pair("180 s, lags to 3 s")),
        limits,
        partial(synchrony_level, pair=Pair("180 s, lags to 3 s, common drift of 2 SD", drift=2.0)),
        unequal_contributions,
        synchrony_in_parts,
        rate_limits,
    )
    table = markdown([row for part in parts for row in part(rng, options.trials)])
    if options.write is not None:
        options.write.write_text(replaced(options.write.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(table, end="")


if __name__ == "__main__":
    main()
