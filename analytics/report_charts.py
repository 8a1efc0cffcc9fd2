"""The charts of the report as SVG and HTML text: nothing to load, nothing that runs."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from fer_models.labels import EMOTION_COLOURS, EMOTIONS

_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
_MAX_TICKS = 6  # as many as a phone has room for


def legend() -> str:
    """The emotions and their colours."""
    items = (f'<li><i class="e-{name}"></i>{name}</li>' for name in EMOTIONS)
    return f'<ul class="legend">{"".join(items)}</ul>'


def emotion_rules() -> str:
    """A CSS class for each emotion: its colour as fill of SVG and ground of HTML."""
    return "".join(f".e-{name}{{fill:{colour};background:{colour}}}" for name, colour in EMOTION_COLOURS.items())


def share_bar(share: Mapping[str, float]) -> str:
    """Shares that sum to 1 as one bar; empty if there are none."""
    shown = [(name, share[name]) for name in EMOTIONS if share.get(name, 0) > 0]
    parts = (
        f'<i class="e-{name}" style="width:{100 * part:.2f}%" title="{name} {part:.0%}"></i>' for name, part in shown
    )
    return f'<div class="bar">{"".join(parts)}</div>'


def stacked_areas(bins: np.ndarray, probabilities: np.ndarray, n_bins: int) -> str:
    """Seven probabilities over time, one on top of the other, `n_bins` steps wide.

    Each area reaches from 0 to the sum of its own and all before it, the last one drawn first: half the outlines.

    Args:
        bins: (b,) rising, which steps are known.
        probabilities: (b, 7), rows sum to 1.
        n_bins: how many steps there are.
    """
    tops = np.rint(100 * (1 - np.cumsum(probabilities, axis=1))).astype(int)
    runs = np.split(np.arange(len(bins)), np.flatnonzero(np.diff(bins) > 1) + 1) if len(bins) else []
    paths = []
    for place in reversed(range(len(EMOTIONS))):
        outline = "".join(_steps(bins[run], tops[run, place]) for run in runs)
        paths.append(f'<path class="e-{EMOTIONS[place]}" d="{outline}"/>')
    return f'<svg class="areas" viewBox="0 0 {n_bins} 100" preserveAspectRatio="none">{"".join(paths)}</svg>'


def label_ribbon(spans: Sequence[Mapping[str, Any]], start_s: float, end_s: float) -> str:
    """Spans with emotion, start_s and end_s as coloured stretches of a line; each says what it is where one points."""
    scale = 1000 / max(end_s - start_s, 1e-9)
    stretches = "".join(
        f'<rect class="e-{span["emotion"]}" x="{(span["start_s"] - start_s) * scale:.1f}" '
        f'width="{(span["end_s"] - span["start_s"]) * scale:.1f}" height="1">'
        f"<title>{escape(span['emotion'])} {clock(span['start_s'])} to {clock(span['end_s'])}</title></rect>"
        for span in spans
    )
    return f'<svg class="ribbon" viewBox="0 0 1000 1" preserveAspectRatio="none">{stretches}</svg>'


def time_axis(start_s: float, end_s: float) -> str:
    """Marks at round times."""
    span_s = max(end_s - start_s, 1e-9)
    step_s = next((step for step in _STEPS_S if span_s / step <= _MAX_TICKS), span_s / _MAX_TICKS)
    first = int(np.ceil(start_s / step_s - 1e-9))
    times_s = [i * step_s for i in range(first, int(np.floor(end_s / step_s + 1e-9)) + 1)]
    marks = (_mark((time_s - start_s) / span_s, clock(time_s)) for time_s in times_s)
    return f'<div class="axis">{"".join(marks)}</div>'


def _mark(place: float, text: str) -> str:
    """A time at its place, 0 to 1, kept from standing out at either end."""
    side = ' class="first"' if place < 0.04 else ' class="last"' if place > 0.96 else ""
    return f'<span{side} style="left:{100 * place:.2f}%">{text}</span>'


def clock(time_s: float) -> str:
    """A time as people write it: seconds below a minute, then minutes, then hours.

    >>> clock(3.25), clock(75), clock(3675)
    ('3.2 s', '1:15', '1:01:15')
    """
    if abs(time_s) < 60:
        return f"{time_s:.1f} s"
    minutes, seconds = divmod(round(abs(time_s)), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
    return f"-{text}" if time_s < 0 else text


def _steps(bins: np.ndarray, tops: np.ndarray) -> str:
    """The outline of one unbroken run, from the ground up, along the tops, and back down; equal steps are joined."""
    turn = np.flatnonzero(np.diff(tops, prepend=-1))
    path = "".join(f"V{tops[i]}H{bins[after - 1] + 1}" for i, after in zip(turn, [*turn[1:], len(tops)], strict=True))
    return f"M{bins[0]},100{path}V100Z"
