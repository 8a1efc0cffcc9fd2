"""Differences between groups: shares of time as bars, intervals of the differences, and sample sizes."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from analytics.queries.comparison import NOTE_SEPARATOR
from dashboard.text import percent, plain, shortened
from dashboard.widgets.charts import emotion_color, show_chart
from fer_models.labels import EMOTIONS

NO_LABELS = "no labeled face"
LOW_QUALITY = "low-quality faces"
EFFECT_COLUMNS = {
    "difference in points": st.column_config.NumberColumn(
        format="%+.1f", help="Share of time of A minus that of B, in percentage points."
    ),
    "p (Holm)": st.column_config.TextColumn(
        help="Two-sided p-value, adjusted by Holm over the seven emotions.", alignment="right"
    ),
    "Cliff's delta": st.column_config.NumberColumn(
        format="%+.2f",
        help="P(a > b) − P(a < b) over all pairs of participants; within participants if the comparison is paired.",
    ),
}


@st.fragment
def show_differences(comparison: pd.DataFrame, pairing: Sequence[str]) -> None:
    """Shares of time as bars, differences as a table; `pairing` are sentences on paired comparisons."""
    left, right = st.columns([2, 3])
    names = pair_names(comparison)
    pairs = names.unique().tolist()
    with left:
        shown = pairs[0]
        if len(pairs) > 1:
            shown = st.selectbox("Bars of", pairs, key="compared_pair", persist_state="session")
        show_chart(share_chart(comparison[names == shown]))
    table = effect_table(comparison)
    if len(pairs) == 1:
        right.caption(plain(f"A − B: {pairs[0]}"))
    right.dataframe(
        table,
        hide_index=True,
        column_order=[name for name in table.columns if name != "A − B" or len(pairs) > 1],
        height="content",
        column_config=EFFECT_COLUMNS,
        placeholder="—",
    )
    right.dataframe(
        evidence_table(comparison),
        hide_index=True,
        height="content",
        column_config={
            LOW_QUALITY: st.column_config.NumberColumn(format="%.1f %%", help="Of the faces of people with a label.")
        },
    )
    if missing := groups_without_labels(comparison):
        st.info(plain(f"{NO_LABELS.capitalize()}: {', '.join(missing)}."))
    for note in [*pairing, *notes_of(comparison)]:
        st.caption(plain(note))
    st.caption(
        "Differences are A − B: positive where A shows more of the emotion. Shares are shares of labeled time: means "
        "over participants, or over videos if there are none. Methods: docs/statistics.md."
    )


def pair_names(comparison: pd.DataFrame) -> "pd.Series[str]":
    """The names of the two groups that each row compares."""
    return comparison["group_a"] + " − " + comparison["group_b"]


def notes_of(comparison: pd.DataFrame) -> list[str]:
    """The notes of the comparison; one that does not apply to all pairs of groups and emotions names them."""
    notes = comparison.assign(pair=pair_names(comparison), note=comparison["note"].str.split(NOTE_SEPARATOR)).explode(
        "note"
    )
    pairs: dict[tuple[str, str], list[str]] = {}  # by note and emotions
    for (note, pair), rows in notes.groupby(["note", "pair"], sort=False):
        emotions = "" if len(rows) == len(EMOTIONS) else ", ".join(rows["emotion"])
        pairs.setdefault((str(note), emotions), []).append(str(pair))
    n_pairs = notes["pair"].nunique()
    found = []
    for (note, emotions), of_pairs in pairs.items():
        names = "" if len(of_pairs) == n_pairs else ", ".join(of_pairs)
        of = f"{names} ({emotions})" if names and emotions else names or emotions
        found.append(f"{of}: {note}" if of else note)
    return found


def share_chart(comparison: pd.DataFrame) -> alt.LayerChart:
    """The mean share of time of each emotion in both groups of one pair, with its value.

    Pairs must not be mixed: a paired comparison averages only the participants that both groups have, so the mean of a
    group may differ between its pairs.
    """
    sides = [
        comparison[[f"group_{side}", "emotion", f"mean_{side}"]].set_axis(["group", "emotion", "share"], axis=1)
        for side in "ab"
    ]
    means = pd.concat(sides)
    means["percent"] = ["—" if pd.isna(share) else percent(share, 1) for share in means["share"]]
    means["text"] = means["percent"] + " " + means["group"].map(shortened)
    base = alt.Chart(means, height=len(EMOTIONS) * (16 * means["group"].nunique() + 12)).encode(
        x=alt.X(
            "share:Q",
            title="mean share of time",
            axis=alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], labelExpr="100 * datum.value + '\u00a0%'"),
            scale=alt.Scale(domain=[0, 1.6 * max(means["share"].fillna(0).max(), 0.1)]),
        ),
        y=alt.Y("emotion:N", title=None, sort=list(EMOTIONS)),
        yOffset=alt.YOffset("group:N"),
        tooltip=["group:N", "emotion:N", alt.Tooltip("percent:N", title="share")],
    )
    bars = base.mark_bar().encode(color=emotion_color(legend=None))
    names = base.mark_text(align="left", dx=4, limit=240).encode(text="text:N")
    return alt.LayerChart(layer=[bars, names])


def effect_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """The differences A − B in percentage points with their intervals."""

    def intervals(low: str, high: str, scale: float, digits: int) -> list[str | None]:
        return [
            NO_LABELS
            if not n_a or not n_b
            else None
            if pd.isna(a)
            else f"{scale * a:.{digits}f} to {scale * b:.{digits}f}"
            for a, b, n_a, n_b in zip(*(comparison[c] for c in (low, high, "n_a", "n_b")), strict=True)
        ]

    return pd.DataFrame(
        {
            "A − B": pair_names(comparison),
            "emotion": comparison["emotion"],
            "difference in points": 100 * comparison["estimate"],
            "95 % interval": intervals("low", "high", 100, 1),
            "p (Holm)": comparison["p_holm"].map(p_text),
            "Cliff's delta": comparison["cliffs_delta"],
            "95 % interval of delta": intervals("delta_low", "delta_high", 1, 2),
        }
    )


def p_text(p: float) -> str | None:
    """A p-value with three decimals; None if there is none.

    >>> p_text(0.0004), p_text(0.0312), p_text(float("nan"))
    ('< 0.001', '0.031', None)
    """
    if pd.isna(p):
        return None
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def evidence_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """Sample sizes of the comparison of each two groups; a row per pair."""
    comparison = comparison.drop_duplicates(["group_a", "group_b"])
    return pd.DataFrame(
        {
            "A − B": pair_names(comparison),
            "participants A, B": _pair(comparison, "n_participants"),
            "videos A, B": _pair(comparison, "n"),
            "tracks A, B": _pair(comparison, "n_tracks"),
            LOW_QUALITY: 100 * comparison["low_quality_share"],
        }
    )


def _pair(comparison: pd.DataFrame, name: str) -> pd.Series:
    return comparison[f"{name}_a"].astype(str) + ", " + comparison[f"{name}_b"].astype(str)


def groups_without_labels(comparison: pd.DataFrame) -> list[str]:
    """The groups in which no video has a label, in order."""
    sides = [comparison.loc[comparison[f"n_{side}"] == 0, f"group_{side}"] for side in "ab"]
    return sorted(set(pd.concat(sides)))
