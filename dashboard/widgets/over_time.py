"""Means of groups over time, and the change of probabilities around the onset of markers."""

import altair as alt
import pandas as pd
import streamlit as st

from analytics.statistics.intervals import MIN_UNITS, ROUNDING, t_quantile
from dashboard.data.comparison import BASELINE_S, BIN_MS, MAX_SHOWN_S, ONSET_BIN_MS, Compared
from dashboard.text import plain
from dashboard.widgets.charts import GRAY, group_color, show_chart
from fer_models.labels import EMOTIONS

AXIS_PX = 36  # width reserved for the vertical axis, so that charts below each other begin at the same position
TIME_AXIS = alt.Axis(tickMinStep=1, tickCount=12)
LEFT_AXIS = alt.Axis(minExtent=AXIS_PX, format=".1f")
BIN_TOOLTIP = [
    "group:N",
    alt.Tooltip("start_s:Q", title="from s"),
    alt.Tooltip("mean:Q", format=".2f"),
    "videos:Q",
    "people:Q",
]
ONSET_TOOLTIP = [
    "group:N",
    alt.Tooltip("start_s:Q", title="from s", format=".1f"),
    alt.Tooltip("estimate:Q", title="change", format="+.2f"),
    alt.Tooltip("mean:Q", title="mean probability", format=".2f"),
    alt.Tooltip("n_participants:Q", title="participants"),
    alt.Tooltip("n_trials:Q", title="markers"),
]


@st.fragment
def show_over_time(found: Compared) -> None:
    """The mean timeline of one emotion, and its change around the onset of markers."""
    st.subheader("Over time")
    if found.means.empty:
        st.info(f"Nothing to show: only still images have labels, or nobody has one in the first {MAX_SHOWN_S:g} s.")
        return
    emotion = st.selectbox(
        "Emotion",
        EMOTIONS,
        index=EMOTIONS.index("happy"),
        width=240,
        key="compared_emotion",
        persist_state="session",
    )
    rows = timeline_rows(found.means, emotion)
    show_chart(timeline_chart(rows, emotion, found.groups))
    show_chart(people_chart(rows, found.time_title, found.groups))
    if without := sorted({*found.groups} - {*rows["group"]}):
        st.caption(
            plain(
                f"No line: {', '.join(without)}. Nobody there has a label in the shown time, or only still images do."
            )
        )
    if found.limit_note:
        st.caption(found.limit_note)
    st.caption(
        "Mean over participants (those of the groups file, else people with a name, else videos), second by second. "
        "Lines are interrupted where no face has a label, and paler where fewer people are behind them. The band is "
        f"the 95 % interval over participants, where there are at least {MIN_UNITS}."
    )
    if found.onsets is not None:
        show_onsets(found.onsets, emotion, found.groups)
        for note in found.onset_notes:
            st.caption(plain(note))


def show_onsets(averages: pd.DataFrame, emotion: str, groups: list[str]) -> None:
    """Chart of the change of one emotion around the onset of markers; names the groups without a baseline."""
    st.subheader("Change around the onset")
    chart = onset_chart(averages, emotion, groups)
    if chart is None:
        st.info(f"No person has a good face in the {BASELINE_S:g} s before a marker: there is no baseline.")
        return
    show_chart(chart)
    compared = averages[averages["estimate"].notna()]
    if left_out := sorted({*groups} - {*compared["label"]}):
        names = plain(", ".join(left_out))
        st.info(f"Left out, because no person has a good face in the {BASELINE_S:g} s before their markers: {names}.")
    for note in interval_notes(averages, emotion):
        st.caption(plain(note))
    st.caption(
        f"Probability minus the person's mean in the {BASELINE_S:g} s before the onset: averaged over the markers of "
        "each participant, then over participants. The band is the 95 % interval over participants."
    )


def interval_notes(averages: pd.DataFrame, emotion: str) -> list[str]:
    """Why groups have no interval, and from when on; a note that applies to all groups names none of them."""
    shown = averages[averages["emotion"] == emotion].dropna(subset="estimate").sort_values("start_s")
    groups: dict[str, list[str]] = {}  # by note
    for group, rows in shown.groupby("label"):
        has_interval = rows["low"].notna()
        without = rows[~has_interval[::-1].cummax()[::-1]]  # the rows after the last interval
        if without.empty:
            continue
        if has_interval.any():
            first = without.iloc[0]
            note = f"from {first['start_s']:g} s on, {first['note']}"
        else:  # not even where the most participants are averaged
            note = str(without.sort_values("n_participants")["note"].iloc[-1])
        groups.setdefault(note, []).append(str(group))
    n_groups = shown["label"].nunique()
    return [
        note[0].upper() + note[1:] if len(names) == n_groups else f"{', '.join(names)}: {note}"
        for note, names in groups.items()
    ]


def timeline_rows(means: pd.DataFrame, emotion: str) -> pd.DataFrame:
    """The mean of one emotion in each group and bin; a bin without data has a row with no mean, so that lines break.

    `run` numbers the uninterrupted stretches of a group, and `evidence` is the number of people relative to the
    largest of the group.
    """
    bin_s = BIN_MS / 1000
    parts = []
    for group, rows in means.groupby("group"):
        bins = (rows["start_s"] / bin_s).round().astype(int)
        mean, reach = rows[f"mean_{emotion}"], _interval_reach(rows[f"error_{emotion}"], rows["n_participants"])
        part = pd.DataFrame(
            {
                "mean": mean.to_numpy(),
                "low": (mean - reach).clip(lower=0).to_numpy(),
                "high": (mean + reach).clip(upper=1).to_numpy(),
                "videos": rows["n_videos"].to_numpy(),
                "people": rows["n_people"].to_numpy(),
            },
            index=bins,
        )
        part = part.reindex(range(bins.min(), bins.max() + 1))
        part["run"] = part["mean"].isna().cumsum()
        part["evidence"] = part["people"] / part["people"].max()
        parts.append(part.assign(group=group, start_s=part.index * bin_s, end_s=(part.index + 1) * bin_s))
    return pd.concat(parts, ignore_index=True)


def _interval_reach(error: pd.Series, n_participants: pd.Series) -> pd.Series:
    """Half the width of Student's 95 % interval of each mean, as in `intervals.mean_interval`; NaN without one."""
    has_interval = (n_participants >= MIN_UNITS) & (error > ROUNDING)
    return error.where(has_interval) * [t_quantile(n - 1) for n in n_participants.clip(lower=2)]


def line_legend(groups: "pd.Series[str]") -> alt.Legend:
    """The legend of a chart with a line for each of the groups, which colors may be reserved for more of."""
    names = sorted(groups.unique())
    return alt.Legend(
        orient="top", symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=3, labelLimit=320, values=names
    )


def timeline_chart(rows: pd.DataFrame, emotion: str, groups: list[str]) -> alt.LayerChart:
    """Step lines of `timeline_rows` that break where there is no data, paler where they average fewer people.

    The band is the 95 % interval over participants; there is none where there are fewer than `MIN_UNITS`.
    """
    rows = rows.dropna(subset="mean")
    x = alt.X("start_s:Q", title=None, scale=alt.Scale(nice=False), axis=TIME_AXIS)
    strength = alt.Opacity("evidence:Q", scale=alt.Scale(domain=[0, 1], range=[0.15, 1]), legend=None)
    probability = alt.Scale(domain=[0, 1])
    base = alt.Chart(rows, height=260)
    y = alt.Y("mean:Q", title=f"mean probability of {emotion}", scale=probability, axis=LEFT_AXIS)
    color = group_color(groups, line_legend(rows["group"]))
    band = (
        base.transform_filter("isValid(datum.low)")
        .mark_rect(opacity=0.16)
        .encode(x=x, x2="end_s:Q", y=alt.Y("low:Q", scale=probability), y2="high:Q", color=color)
    )
    joints = base.mark_line(interpolate="step-after", strokeWidth=1, opacity=0.35).encode(
        x=x, y=y, color=color, detail="run:N"
    )
    steps = base.mark_rule(strokeWidth=3).encode(
        x=x, x2="end_s:Q", y=y, color=color, opacity=strength, tooltip=BIN_TOOLTIP
    )
    has_band = rows["low"].notna().any()
    return alt.LayerChart(layer=[*([band] if has_band else []), joints, steps])


def people_chart(rows: pd.DataFrame, title: str, groups: list[str]) -> alt.Chart:
    """The number of people averaged at each point of `timeline_chart`; overlapping lines differ in width."""
    widths = [3 + 4 * number for number in reversed(range(len(groups)))]  # the lowest line is the widest
    chart: alt.Chart = (
        alt.Chart(rows.fillna({"people": 0}), height=110)
        .mark_rule()
        .encode(
            x=alt.X("start_s:Q", title=title, scale=alt.Scale(nice=False), axis=TIME_AXIS),
            x2="end_s:Q",
            y=alt.Y(
                "people:Q",
                title="people",
                scale=alt.Scale(domainMin=0),
                axis=alt.Axis(tickMinStep=1, tickCount=3, minExtent=AXIS_PX),
            ),
            color=group_color(groups, None),
            strokeWidth=alt.StrokeWidth("group:O", scale=alt.Scale(domain=groups, range=widths), legend=None),
            tooltip=BIN_TOOLTIP,
        )
    )
    return chart


def onset_chart(averages: pd.DataFrame, emotion: str, groups: list[str]) -> alt.LayerChart | None:
    """The mean change of one emotion around the onset, with its 95 % interval; None without a baseline anywhere."""
    rows = averages[averages["emotion"] == emotion].dropna(subset="estimate").rename(columns={"label": "group"})
    if rows.empty:
        return None
    rows["end_s"] = rows["start_s"] + ONSET_BIN_MS / 1000
    x = alt.X("start_s:Q", title="time since the onset in s", scale=alt.Scale(nice=False), axis=TIME_AXIS)
    color = group_color(groups, line_legend(rows["group"]))
    base = alt.Chart(rows, height=220)
    band = (
        base.transform_filter("isValid(datum.low)")
        .mark_rect(opacity=0.16)
        .encode(x=x, x2="end_s:Q", y=alt.Y("low:Q", axis=LEFT_AXIS), y2="high:Q", color=color)
    )
    steps = base.mark_rule(strokeWidth=3).encode(
        x=x,
        x2="end_s:Q",
        y=alt.Y("estimate:Q", title=f"change of {emotion}", axis=LEFT_AXIS),
        color=color,
        tooltip=ONSET_TOOLTIP,
    )
    onset = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=GRAY, strokeDash=[4, 3]).encode(x="at:Q")
    no_change = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=GRAY).encode(y="at:Q")
    has_band = rows["low"].notna().any()
    return alt.LayerChart(layer=[no_change, onset, *([band] if has_band else []), steps])
