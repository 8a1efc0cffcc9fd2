"""Agreement of two codings of the same time: confusion by time, Cohen's kappa, precision and recall, matched events.

A coding is a piecewise constant function of time: intervals with a class each, which do not overlap. Results are
weighted by time, and only time that both codings cover counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analytics.statistics.intervals import MIN_UNITS, ROUNDING, Estimate, jackknife_reach, unequal_weights_note
from analytics.time_tolerance import TIME_TOLERANCE_S, is_later, is_longer

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Coding:
    """The n half-open intervals of one person by one coder, ordered by time and without overlap."""

    start_s: Array  # (n,)
    end_s: Array  # (n,)
    code: NDArray[np.int64]  # (n,) class of each interval, from 0

    def __post_init__(self) -> None:
        if not len(self.start_s) == len(self.end_s) == len(self.code):
            raise ValueError(f"{self.start_s.shape = }, {self.end_s.shape = }, {self.code.shape = }")
        if is_later(self.end_s[:-1], self.start_s[1:]).any() or (self.end_s < self.start_s).any():
            raise ValueError("intervals must be ordered by time and must not overlap")


@dataclass(frozen=True, eq=False)
class Events:
    """The n events of a coding, ordered by time."""

    onset_s: Array  # (n,)
    code: NDArray[np.int64]  # (n,) class of each event


@dataclass(frozen=True)
class EventMatch:
    """Number of events in a reference and in a coding, and of matched pairs."""

    n_reference: int
    n_coded: int
    n_matched: int

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall of the events; None without events."""
        total = self.n_reference + self.n_coded
        return 2 * self.n_matched / total if total else None


def confusion_s(reference: Coding, coded: Coding, n_classes: int) -> Array:
    """Seconds in which `reference` has class i and `coded` class j, `(n_classes, n_classes)`."""
    confusion = np.zeros((n_classes, n_classes))
    a, b = _common_cells(reference, coded)
    np.add.at(confusion, (a.code, b.code), a.end_s - a.start_s)
    return confusion


def common_events(reference: Coding, coded: Coding, max_gap_s: float) -> tuple[Events, Events]:
    """The events of both codings in the time that both cover.

    An event begins where a coding changes its class while the other one covers the time, and where the common time
    begins. A gap of at most `max_gap_s` is bridged; where a coding begins again after a longer one, its change was not
    observed and is no event.
    """
    a, b = _common_cells(reference, coded)
    return (
        _events(reference, coded, Events(a.start_s[:1], a.code[:1]), max_gap_s),
        _events(coded, reference, Events(b.start_s[:1], b.code[:1]), max_gap_s),
    )


def _events(coding: Coding, other: Coding, first: Events, max_gap_s: float) -> Events:
    """The events of `coding` in the time that `other` covers, too, the first of which is given; none without it."""
    if not len(first.onset_s):
        return first
    merged = _merge_adjacent(coding, max_gap_s)
    onset_s, code = merged.start_s[1:], merged.code[1:]
    was_observed = ~is_longer(onset_s - merged.end_s[:-1], max_gap_s)
    counts = was_observed & is_later(onset_s, first.onset_s) & _covers(other, onset_s, max_gap_s)
    return Events(np.append(first.onset_s, onset_s[counts]), np.append(first.code, code[counts]))


def _covers(coding: Coding, time_s: Array, max_gap_s: float) -> NDArray[np.bool_]:
    """Whether each time is in an interval, or in a gap of at most `max_gap_s` between two."""
    is_short = ~is_longer(coding.start_s[1:] - coding.end_s[:-1], max_gap_s)
    end_s = np.where(np.append(is_short, False), np.append(coding.start_s[1:], np.inf), coding.end_s)
    bridged = Coding(coding.start_s, end_s, coding.code)
    return _class_at(bridged, time_s + TIME_TOLERANCE_S) >= 0


def _merge_adjacent(coding: Coding, max_gap_s: float) -> Coding:
    gap_s = coding.start_s[1:] - coding.end_s[:-1]
    is_first = np.ones(len(coding.code), bool)
    is_first[1:] = (coding.code[1:] != coding.code[:-1]) | is_longer(gap_s, max_gap_s)
    first = np.flatnonzero(is_first)
    last = np.append(first[1:], len(coding.code)) - 1 if len(first) else first
    return Coding(coding.start_s[first], coding.end_s[last], coding.code[first])


def _common_cells(reference: Coding, coded: Coding) -> tuple[Coding, Coding]:
    """Split both codings at the edges of either, and keep the intervals in which both have a class."""
    edges = np.unique(np.concatenate([reference.start_s, reference.end_s, coded.start_s, coded.end_s]))
    middle = (edges[1:] + edges[:-1]) / 2
    a, b = (_class_at(coding, middle) for coding in (reference, coded))
    both = (a >= 0) & (b >= 0) & is_later(edges[1:], edges[:-1])
    start_s, end_s = edges[:-1][both], edges[1:][both]
    return Coding(start_s, end_s, a[both]), Coding(start_s, end_s, b[both])


def _class_at(coding: Coding, time_s: Array) -> NDArray[np.int64]:
    """The class at each time; -1 where there is none."""
    if not len(coding.start_s):
        return np.full(len(time_s), -1)
    span = np.searchsorted(coding.start_s, time_s, side="right") - 1
    inside = (span >= 0) & (time_s < coding.end_s[np.maximum(span, 0)])
    return np.where(inside, coding.code[np.maximum(span, 0)], -1)


def cohens_kappa(confusion: Array) -> float | None:
    """Cohen's kappa of a confusion matrix; None if both codings contain only one class, and the same one.

    >>> round(cohens_kappa(np.array([[20.0, 5.0], [10.0, 15.0]])), 3)
    0.4
    """
    total = confusion.sum()
    if total <= 0:
        return None
    agreement = np.trace(confusion) / total
    chance = float((confusion.sum(axis=0) * confusion.sum(axis=1)).sum() / total**2)
    if chance > 1 - 1e-12:
        return None
    # The difference may be a rounding error, such as where one coding contains a single class.
    return 0.0 if abs(agreement - chance) < 1e-12 else float((agreement - chance) / (1 - chance))


def pooled_kappa(confusions: Sequence[Array]) -> Estimate:
    """Kappa of the sum of the tables of independent units, with a delete-one jackknife interval over the units.

    Student's t has fewer degrees of freedom where the units differ in their compared time.

    Args:
        confusions: seconds of each pair of classes for each unit, each of which has compared time.
    """
    total = np.sum(confusions, axis=0) if len(confusions) else np.zeros((1, 1))
    kappa = cohens_kappa(total)
    n = len(confusions)
    if n < MIN_UNITS:
        return Estimate(kappa, note=f"no interval: {MIN_UNITS} participants are needed, got {n}")
    if kappa is None:
        return Estimate(None, note="no kappa: both codings contain a single class")
    others = [cohens_kappa(total - one) for one in confusions]
    if any(other is None for other in others):
        return Estimate(kappa, note="no interval: without one of the participants there is a single class")
    weights = np.array([one.sum() for one in confusions]) / total.sum()
    squares = np.sum([(kappa - other) ** 2 for other in others if other is not None])
    reach = jackknife_reach(squares, weights)
    if reach is None:
        return Estimate(kappa, note=unequal_weights_note(weights, "compared time"))
    if reach < ROUNDING:
        return Estimate(kappa, note="no interval: the values do not vary")
    return Estimate(kappa, float(kappa - reach), float(kappa + reach)).within(-1, 1)


def precision_and_recall(confusion: Array) -> tuple[Array, Array]:
    """Precision and recall of each class in a confusion matrix of times; NaN for classes without time."""
    hit, coded, reference = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return hit / coded, hit / reference


def match_events(reference: Events, coded: Events, code: int, tolerance_s: float) -> EventMatch:
    """Match events of one class whose onsets lie at most `tolerance_s` apart, each at most once.

    On sorted onsets, matching each with the earliest free one in reach gives the most pairs.
    """
    a, b = (events.onset_s[events.code == code] for events in (reference, coded))
    n_matched = i = j = 0
    while i < len(a) and j < len(b):
        if not is_longer(abs(a[i] - b[j]), tolerance_s):
            n_matched, i, j = n_matched + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return EventMatch(len(a), len(b), n_matched)
