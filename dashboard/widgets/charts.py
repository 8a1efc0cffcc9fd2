"""Charts in the theme of the page, and the colors of emotions."""

import altair as alt
import streamlit as st

from fer_models.labels import EMOTION_COLORS, EMOTIONS

GRAY = "#757b85"  # visible on white and on black
# Evaluated in the browser, where the background is known. With Streamlit's own colors, texts are too pale in the light
# theme, and texts of marks are black on dark in the dark theme (WCAG 2.2, 1.4.3).
ON_LIGHT = "luminance(background) > 0.5"
TEXT_COLOR = alt.ExprRef(f"{ON_LIGHT} ? '#4b5563' : '#c9cdd3'")
# Colors of up to six groups on light and on dark ground: none is like that of an emotion, and they differ also for
# people with protanopia or deuteranopia.
GROUP_COLORS = (
    ("#1c1f24", "#f4f5f7"),
    ("#8a4af3", "#8b5cf6"),
    ("#938800", "#f2e85c"),
    ("#c2185b", "#d81b60"),
    ("#158a9c", "#0f8fa0"),
    ("#5a3a0c", "#f0c9a0"),
)


def show_chart(chart: alt.Chart | alt.LayerChart | alt.HConcatChart) -> None:
    """Show a chart whose texts can be read in both themes."""
    chart = chart.configure_axis(labelColor=TEXT_COLOR, titleColor=TEXT_COLOR).configure_axisY(labelFlush=False)
    st.altair_chart(chart.configure_legend(labelColor=TEXT_COLOR).configure_text(color=TEXT_COLOR))


def emotion_color(legend: alt.Legend | None) -> alt.Color:
    """The color scale of emotions: each has the same color everywhere."""
    scale = alt.Scale(domain=list(EMOTIONS), range=[EMOTION_COLORS[name] for name in EMOTIONS])
    return alt.Color("emotion:N", scale=scale, legend=legend)


def group_color(groups: list[str], legend: alt.Legend | None) -> alt.Color:
    """The color scale of all groups: each has the same color in every chart of the page, whichever have data."""
    colors = [alt.ExprRef(f"{ON_LIGHT} ? '{on_light}' : '{on_dark}'") for on_light, on_dark in GROUP_COLORS]
    return alt.Color("group:N", title=None, scale=alt.Scale(domain=groups, range=colors[: len(groups)]), legend=legend)


def emotion_legend() -> str:
    """The colors of the emotions, as HTML."""
    swatch = (
        '<span style="display:inline-block;width:10px;height:10px;border-radius:2px;background:{};margin-right:6px">'
    )
    names = "".join(f"<span>{swatch.format(EMOTION_COLORS[name])}</span>{name}</span>" for name in EMOTIONS)
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px 14px;font-size:14px">{names}</div>'
