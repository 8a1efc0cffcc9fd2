"""The charts of the report as SVG and HTML text: nothing to load, nothing that runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

import numpy as np

from fer_models.labels import EMOTION_COLORS, EMOTIONS

MAX_SAID = 12  # stretches of labels that are read out; a chart may have hundreds
AREAS_HEIGHT = 100  # the probabilities, in units of the drawing; the labels are below
LABELS_HEIGHT = 22
GAP_HEIGHT = 4
UNREAD = "seen, not read"
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_MAX_TICKS = 6  # as many as a phone has room for


@dataclass(frozen=True)
class Grid:
    """Equal steps of time across all charts of one video: what is drawn begins and ends at steps."""

    start_ms: int
    bin_ms: int
    n_bins: int

    @classmethod
    def over(cls, start_s: float, end_s: float, max_bins: int) -> "Grid":
        """At most so many steps, of whole milliseconds.

        >>> Grid.over(1.0, 3.5, 200)
        Grid(start_ms=1000, bin_ms=13, n_bins=193)
        """
        start_ms, end_ms = round(1000 * start_s), round(1000 * end_s)
        bin_ms = max(1, -(-(end_ms - start_ms) // max_bins))
        return cls(start_ms, bin_ms, max(1, -(-(end_ms - start_ms) // bin_ms)))

    def time_s(self, step: int) -> float:
        """When a step begins."""
        return (self.start_ms + step * self.bin_ms) / 1000


def legend(*, unread: bool = False) -> str:
    """The emotions and their colors."""
    names = [(name, name) for name in EMOTIONS] + [("unread", UNREAD)] * unread
    items = (f'<li><i class="e-{kind}"></i>{name}</li>' for kind, name in names)
    return f'<ul class="legend" aria-label="Colors">{"".join(items)}</ul>'


def emotion_rules() -> str:
    """A CSS class for each emotion: its color as fill of SVG and ground of HTML."""
    return "".join(f".e-{name}{{fill:{color};background:{color}}}" for name, color in EMOTION_COLORS.items())


def share_words(share: Mapping[str, float]) -> str:
    """Shares in words, the largest first; nothing if there are none.

    >>> share_words({"happy": 0.25, "sad": 0.75, "fear": 0.0})
    'sad 75%, happy 25%'
    """
    largest = sorted(share.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {part:.0%}" for name, part in largest if part >= 0.005)


def share_bar(share: Mapping[str, float]) -> str:
    """Shares that sum to 1 as one bar; empty if there are none."""
    shown = [(name, share[name]) for name in EMOTIONS if share.get(name, 0) > 0]
    parts = (
        f'<i class="e-{name}" style="width:{100 * part:.2f}%" title="{name} {part:.0%}"></i>' for name, part in shown
    )
    return f'<div class="bar" role="img" aria-label="{share_words(share) or "no label known"}">{"".join(parts)}</div>'


def person_chart(
    bins: np.ndarray, labels: Sequence[str | None], probabilities: np.ndarray, grid: Grid, said: str
) -> str:
    """One person over time: probabilities stacked, and below them, step for step, the labels.

    Args:
        bins: (b,) rising, the steps in which the person is seen.
        labels: (b,) the label in each, None where it is not known.
        probabilities: (b, 7), rows sum to 1, or are NaN where the label is not known.
        grid: the steps.
        said: what the picture shows, for those who hear it.
    """
    height = AREAS_HEIGHT + GAP_HEIGHT + LABELS_HEIGHT
    lanes = f'<rect class="lane" width="{grid.n_bins}" height="{AREAS_HEIGHT}"/>'
    lanes += f'<rect class="lane" y="{AREAS_HEIGHT + GAP_HEIGHT}" width="{grid.n_bins}" height="{LABELS_HEIGHT}"/>'
    known = np.array([label is not None for label in labels], bool)
    return (
        f'<svg class="chart" role="img" aria-label="{escape(said)}" viewBox="0 0 {grid.n_bins} {height}" '
        f'preserveAspectRatio="none">{lanes}{_areas(bins[known], probabilities[known])}'
        f"{_ribbon(bins, labels, grid)}</svg>"
    )


def _areas(bins: np.ndarray, probabilities: np.ndarray) -> str:
    """Each area reaches from 0 to the sum of its own and all before it, the last one drawn first: half the outlines."""
    tops = np.rint(AREAS_HEIGHT * (1 - np.cumsum(probabilities, axis=1))).astype(int)
    runs = np.split(np.arange(len(bins)), np.flatnonzero(np.diff(bins) > 1) + 1) if len(bins) else []
    paths = []
    for place in reversed(range(len(EMOTIONS))):
        outline = "".join(_outline(bins[run], tops[run, place]) for run in runs)
        paths.append(f'<path class="e-{EMOTIONS[place]}" d="{outline}"/>')
    return "".join(paths)


def _outline(bins: np.ndarray, tops: np.ndarray) -> str:
    """The outline of one unbroken run, from the ground up, along the tops, and back down; equal steps are joined."""
    turn = np.flatnonzero(np.diff(tops, prepend=-1))
    path = "".join(f"V{tops[i]}H{bins[after - 1] + 1}" for i, after in zip(turn, [*turn[1:], len(tops)], strict=True))
    return f"M{bins[0]},{AREAS_HEIGHT}{path}V{AREAS_HEIGHT}Z"


def label_runs(bins: np.ndarray, labels: Sequence[str | None]) -> list[tuple[str | None, int, int]]:
    """Stretches of steps without a break and with one label: the label, the first step and the one after the last.

    >>> label_runs(np.array([0, 1, 2, 5]), ["sad", "sad", None, None])
    [('sad', 0, 2), (None, 2, 3), (None, 5, 6)]
    """
    places = [(int(bins[i]), labels[i], int(bins[i]) - i) for i in range(len(bins))]
    runs = [list(run) for _, run in groupby(places, key=lambda place: place[1:])]
    return [(run[0][1], run[0][0], run[-1][0] + 1) for run in runs]


def _ribbon(bins: np.ndarray, labels: Sequence[str | None], grid: Grid) -> str:
    return "".join(
        f'<rect class="e-{label or "unread"}" x="{first}" y="{AREAS_HEIGHT + GAP_HEIGHT}" width="{stop - first}" '
        f'height="{LABELS_HEIGHT}"><title>{label or UNREAD}, {_between(first, stop, grid)}</title></rect>'
        for label, first, stop in label_runs(bins, labels)
    )


def words_of_labels(bins: np.ndarray, labels: Sequence[str | None], grid: Grid) -> str:
    """The labels over time in words, as many stretches as one can listen to."""
    runs = label_runs(bins, labels)
    said = [f"{label or UNREAD}, {_between(first, stop, grid)}" for label, first, stop in runs[:MAX_SAID]]
    return "; ".join([*said, f"and {len(runs) - MAX_SAID:,} more stretches"] if runs[MAX_SAID:] else said)


def _between(first: int, stop: int, grid: Grid) -> str:
    return f"{clock(grid.time_s(first))} to {clock(grid.time_s(stop))}"


def time_axis(grid: Grid) -> str:
    """Marks at round times."""
    start_s, span_s = grid.time_s(0), grid.n_bins * grid.bin_ms / 1000
    step_s = next((step for step in _STEPS_S if span_s / step <= _MAX_TICKS), span_s / _MAX_TICKS)
    first = int(np.ceil(start_s / step_s - 1e-9))
    times_s = [i * step_s for i in range(first, int(np.floor((start_s + span_s) / step_s + 1e-9)) + 1)]
    marks = (_mark((time_s - start_s) / span_s, clock(time_s)) for time_s in times_s)
    return f'<div class="axis">{"".join(marks)}</div>'


def _mark(place: float, text: str) -> str:
    """A time at its place, 0 to 1, kept from standing out at either end."""
    side = ' class="first"' if place < 0.06 else ' class="last"' if place > 0.94 else ""
    return f'<span{side} style="left:{100 * place:.2f}%">{text}</span>'


def clock(time_s: float) -> str:
    """A time as people write it: seconds below a minute, then minutes, then hours.

    >>> clock(3.25), clock(59.97), clock(75), clock(3675)
    ('3.2 s', '1:00', '1:15', '1:01:15')
    """
    if abs(time_s) < 59.95:
        return f"{time_s:.1f} s"
    minutes, seconds = divmod(round(abs(time_s)), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"-{text}" if time_s < 0 else text
