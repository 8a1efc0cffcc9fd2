"""The geometry of the charts of the report; `templates/macros.html` draws them as SVG and HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from analytics.report.words import NO_LABEL, clock
from fer_models.labels import EMOTIONS

# Maximum number of intervals with one label that the text for screen readers lists; a chart may have hundreds.
MAX_RUNS_IN_WORDS = 12
AREAS_HEIGHT = 100  # height of the stacked probabilities in units of the drawing; the labels are below them
LABELS_HEIGHT = 22
GAP_HEIGHT = 4
# Possible intervals between the ticks of the time axis, in seconds.
_TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_MAX_TICKS = 6  # maximum number of ticks on a time axis, for which a phone has room


@dataclass(frozen=True)
class Grid:
    """Equal steps of time, the same in all charts of a video."""

    start_ms: int
    bin_ms: int
    n_bins: int

    @classmethod
    def over(cls, start_s: float, end_s: float, max_bins: int) -> "Grid":
        """At most `max_bins` steps of whole milliseconds.

        >>> Grid.over(1.0, 3.5, 200)
        Grid(start_ms=1000, bin_ms=13, n_bins=193)
        """
        start_ms, end_ms = round(1000 * start_s), round(1000 * end_s)
        bin_ms = max(1, -(-(end_ms - start_ms) // max_bins))
        return cls(start_ms, bin_ms, max(1, -(-(end_ms - start_ms) // bin_ms)))

    def time_s(self, step: int) -> float:
        """The time at which a step begins."""
        return (self.start_ms + step * self.bin_ms) / 1000


@dataclass(frozen=True)
class Area:
    """The area of one emotion, as the path of an SVG."""

    emotion: str
    outline: str


@dataclass(frozen=True)
class Run:
    """Consecutive steps with the same label; None: visible without a label."""

    label: str | None
    first: int
    stop: int
    words: str


@dataclass(frozen=True)
class PersonChart:
    """One person over time: stacked probabilities, and below them the labels."""

    width: int
    areas: list[Area]
    runs: list[Run]
    description: str  # description of the chart for screen readers
    areas_height: int = AREAS_HEIGHT
    labels_y: int = AREAS_HEIGHT + GAP_HEIGHT
    labels_height: int = LABELS_HEIGHT
    height: int = AREAS_HEIGHT + GAP_HEIGHT + LABELS_HEIGHT


@dataclass(frozen=True)
class Tick:
    """A time on the axis, its position from 0 to 1."""

    position: float
    text: str

    @property
    def edge(self) -> str:
        """`first` or `last` near an end, where the text is aligned so that it stays inside."""
        return "first" if self.position < 0.06 else "last" if self.position > 0.94 else ""


def person_chart(
    bins: np.ndarray, labels: Sequence[str | None], probabilities: np.ndarray, grid: Grid, name: str
) -> PersonChart:
    """Lay out the chart of one person.

    Args:
        bins: (b,) increasing, the steps in which the person is visible.
        labels: (b,) the label in each, None where it is not known.
        probabilities: (b, 7), rows sum to at most 1, or are NaN where the label is not known.
        grid: the steps.
        name: of the person.
    """
    known = np.array([label is not None for label in labels], bool)
    runs = label_runs(bins, labels, grid)
    return PersonChart(grid.n_bins, _areas(bins[known], probabilities[known]), runs, f"{name}: {words_of_runs(runs)}")


def label_runs(bins: np.ndarray, labels: Sequence[str | None], grid: Grid) -> list[Run]:
    r"""Runs of consecutive steps with the same label.

    >>> [run.words for run in label_runs(np.array([0, 1, 2, 5]), ["sad", "sad", None, None], Grid(0, 500, 6))]
    ['sad, 0.0\xa0s to 1.0\xa0s', 'visible, no label, 1.0\xa0s to 1.5\xa0s', 'visible, no label, 2.5\xa0s to 3.0\xa0s']
    """
    positions = [(int(bins[i]), labels[i], int(bins[i]) - i) for i in range(len(bins))]
    runs = []
    for (label, _), steps in groupby(positions, key=lambda position: position[1:]):
        first, *others = [step for step, _, _ in steps]
        stop = (others[-1] if others else first) + 1
        words = f"{label or NO_LABEL}, {clock(grid.time_s(first))} to {clock(grid.time_s(stop))}"
        runs.append(Run(label, first, stop, words))
    return runs


def words_of_runs(runs: Sequence[Run]) -> str:
    """The labels over time in words."""
    words = [run.words for run in runs[:MAX_RUNS_IN_WORDS]]
    n_more = len(runs) - MAX_RUNS_IN_WORDS
    return "; ".join([*words, f"and {n_more:,} more intervals"] if n_more > 0 else words)


def time_ticks(grid: Grid) -> list[Tick]:
    """Ticks at round times."""
    start_s, span_s = grid.time_s(0), grid.n_bins * grid.bin_ms / 1000
    step_s = next((step for step in _TICK_STEPS_S if span_s / step <= _MAX_TICKS), span_s / _MAX_TICKS)
    first = int(np.ceil(start_s / step_s - 1e-9))
    times_s = [i * step_s for i in range(first, int(np.floor((start_s + span_s) / step_s + 1e-9)) + 1)]
    return [Tick((time_s - start_s) / span_s, clock(time_s)) for time_s in times_s]


def _areas(bins: np.ndarray, probabilities: np.ndarray) -> list[Area]:
    """Each area reaches from 0 to the sum of its own and all later emotions; drawn from the first to the last.

    Neutral is at the bottom, as in the dashboard.
    """
    tops = np.rint(AREAS_HEIGHT * (1 - np.cumsum(probabilities[:, ::-1], axis=1)[:, ::-1])).astype(int)
    runs = np.split(np.arange(len(bins)), np.flatnonzero(np.diff(bins) > 1) + 1) if len(bins) else []
    return [Area(EMOTIONS[k], "".join(_outline(bins[run], tops[run, k]) for run in runs)) for k in range(len(EMOTIONS))]


def _outline(bins: np.ndarray, tops: np.ndarray) -> str:
    """The outline of one run without a gap: up, along the tops and down; steps of equal height are joined."""
    turn = np.flatnonzero(np.diff(tops, prepend=-1))
    path = "".join(f"V{tops[i]}H{bins[after - 1] + 1}" for i, after in zip(turn, [*turn[1:], len(tops)], strict=True))
    return f"M{bins[0]},{AREAS_HEIGHT}{path}V{AREAS_HEIGHT}Z"
