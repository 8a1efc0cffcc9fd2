"""Charts in the theme of the page, and the colors of emotions."""

import altair as alt
import streamlit as st

from fer_models.labels import EMOTION_COLORS, EMOTIONS

GRAY = "#757b85"  # visible on white and on black
# Evaluated in the browser, where the background is known. With Streamlit's own colors, texts are too pale in the light
# theme, and texts of marks are black on dark in the dark theme (WCAG 2.2, 1.4.3).
TEXT_COLOR = alt.ExprRef("luminance(background) > 0.5 ? '#4b5563' : '#c9cdd3'")


def show_chart(chart: alt.Chart | alt.LayerChart | alt.HConcatChart) -> None:
    """Show a chart whose texts can be read in both themes."""
    chart = chart.configure_axis(labelColor=TEXT_COLOR, titleColor=TEXT_COLOR).configure_axisY(labelFlush=False)
    st.altair_chart(chart.configure_legend(labelColor=TEXT_COLOR).configure_text(color=TEXT_COLOR))


def emotion_color(legend: alt.Legend | None) -> alt.Color:
    """The color scale of emotions: each has the same color everywhere."""
    scale = alt.Scale(domain=list(EMOTIONS), range=[EMOTION_COLORS[name] for name in EMOTIONS])
    return alt.Color("emotion:N", scale=scale, legend=legend)


def emotion_legend() -> str:
    """The colors of the emotions, as HTML."""
    swatch = (
        '<span style="display:inline-block;width:10px;height:10px;border-radius:2px;background:{};margin-right:6px">'
    )
    names = "".join(f"<span>{swatch.format(EMOTION_COLORS[name])}</span>{name}</span>" for name in EMOTIONS)
    return f'<div style="display:flex;flex-wrap:wrap;gap:4px 14px;font-size:14px">{names}</div>'
