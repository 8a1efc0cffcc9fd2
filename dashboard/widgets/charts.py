"""Charts that more than one page shows."""

import base64
from collections.abc import Iterable
from typing import Any

import altair as alt
import numpy as np

from fer_models.labels import EMOTION_COLORS, EMOTIONS

STRIP_WIDTH, STRIP_HEIGHT = 210, 30  # a table scales a picture to the height of a row


def emotion_color(legend: alt.Legend | None) -> alt.Color:
    """An emotion has the same color everywhere."""
    scale = alt.Scale(domain=list(EMOTIONS), range=[EMOTION_COLORS[name] for name in EMOTIONS])
    return alt.Color("emotion:N", scale=scale, legend=legend)


def emotion_legend() -> str:
    """The colors of the emotions, as HTML."""
    swatch = (
        '<span style="display:inline-block;width:10px;height:10px;border-radius:2px;background:{};margin-right:6px">'
    )
    names = "".join(f"<span>{swatch.format(EMOTION_COLORS[name])}</span>{name}</span>" for name in EMOTIONS)
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px 14px;font-size:14px">{names}</div>'


def timeline_strip(people: Iterable[Iterable[dict[str, Any]]], duration_s: float) -> str:
    """The episodes of each person as a strip of colors, left to right over the video, one strip below the other.

    Gives a picture's address for a table.
    """
    strips = [[(row["start_s"], row["end_s"], row["emotion"]) for row in episodes] for episodes in people]
    return _picture(strips, duration_s)


def share_bar(shares: Iterable[float]) -> str:
    """Shares of time in the order of `EMOTIONS`, side by side as one bar: a picture's address for a table."""
    ends = np.cumsum(np.nan_to_num(np.asarray(list(shares), float)))
    return _picture([list(zip([0.0, *ends[:-1]], ends, EMOTIONS, strict=True))], 1.0)


def _picture(strips: list[list[tuple[float, float, str]]], end: float) -> str:
    """Strips of spans from 0 to `end`, which share the height of a table's row; without any, an empty one."""
    margin, gap = (5, 0) if len(strips) < 2 else (2, 1)
    height = (STRIP_HEIGHT - 2 * margin + gap) / max(len(strips), 1)
    marks = "".join(
        f'<g transform="translate(0 {margin + i * height:.1f})">{_strip(spans, end, height - gap)}</g>'
        for i, spans in enumerate(strips or [[]])
    )
    size = f'width="{STRIP_WIDTH}" height="{STRIP_HEIGHT}" viewBox="0 0 {STRIP_WIDTH} {STRIP_HEIGHT}"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{marks}</svg>'
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _strip(spans: list[tuple[float, float, str]], end: float, height_px: float) -> str:
    scale = STRIP_WIDTH / max(end, 1e-3)
    marks = "".join(
        f'<rect x="{start * scale:.1f}" height="{height_px:.1f}" '
        f'width="{max(1.0, (stop - start) * scale):.1f}" fill="{EMOTION_COLORS[emotion]}"/>'
        for start, stop, emotion in spans
        if stop > start
    )
    return f'<rect width="100%" height="{height_px:.1f}" fill="#88888822"/>{marks}'


def clock(time_s: float) -> str:
    """A time for people: `04:12.4`, with hours where there are some."""
    tenths = round(10 * time_s)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest / 10:04.1f}" if hours else f"{minutes:02}:{rest / 10:04.1f}"
