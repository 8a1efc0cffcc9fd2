"""The colors of emotions, as several pages show them."""

import altair as alt

from fer_models.labels import EMOTION_COLORS, EMOTIONS


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
