"""Page Compare: groups of videos, or markers, side by side."""

from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from analytics import queries
from analytics.queries.event_files import EVENTS
from analytics.queries.events import events_of_videos
from analytics.queries.groups import GroupError, find_groups
from analytics.results.video_record import VideoName, video_names
from analytics.results.videos import UnknownVideoError
from dashboard.data.codes import choose_codes
from dashboard.data.markers import Markers, choose_markers
from dashboard.data.results import Results, current_results
from dashboard.text import plain
from dashboard.widgets.agreement import show_agreement
from dashboard.widgets.charts import GRAY, emotion_color, show_chart
from dashboard.widgets.group_picker import MARKERS, choose_groups, choose_way, show_members
from fer_models.labels import EMOTIONS

VIDEOS_SQL = "SELECT video_id, path FROM videos WHERE status = 'done' ORDER BY path"
KNOWN_SQL = "SELECT video_id, path FROM videos"
BIN_MS = 1000
ONSET_BIN_MS = 500
BASELINE_S = 5.0  # seconds before the onset of a marker with which it is compared
MAX_SHOWN_S = 600.0  # of each video or marker, at most this many seconds are shown
DEFAULT_GROUPS, MAX_GROUPS = 3, 6
NO_LABELS = "no labeled face"
NO_INTERVAL = "none"
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


def share_chart(comparison: pd.DataFrame) -> alt.LayerChart:
    """The mean share of time of each emotion in each group, with its value."""
    sides = [
        comparison[[f"group_{side}", "emotion", f"mean_{side}"]].set_axis(["group", "emotion", "share"], axis=1)
        for side in "ab"
    ]
    means = pd.concat(sides).drop_duplicates(["group", "emotion"])
    means["text"] = [
        f"{group} {'–' if pd.isna(share) else f'{share:.1%}'}"
        for group, share in zip(means["group"], means["share"], strict=True)
    ]
    base = alt.Chart(means, height=len(EMOTIONS) * (16 * means["group"].nunique() + 12)).encode(
        x=alt.X(
            "share:Q",
            title="mean share of time",
            axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
            scale=alt.Scale(domain=[0, 1.6 * max(means["share"].max(), 0.1)]),
        ),
        y=alt.Y("emotion:N", title=None, sort=list(EMOTIONS)),
        yOffset=alt.YOffset("group:N"),
        tooltip=["group:N", "emotion:N", alt.Tooltip("share:Q", format=".1%")],
    )
    bars = base.mark_bar().encode(color=emotion_color(legend=None))
    names = base.mark_text(align="left", dx=4, limit=200).encode(text="text:N")
    return alt.LayerChart(layer=[bars, names])


def effect_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """The differences A − B in percentage points with their intervals."""

    def intervals(low: str, high: str, scale: float, digits: int) -> list[str]:
        return [
            NO_LABELS
            if not n_a or not n_b
            else NO_INTERVAL
            if pd.isna(a)
            else f"{scale * a:.{digits}f} to {scale * b:.{digits}f}"
            for a, b, n_a, n_b in zip(*(comparison[c] for c in (low, high, "n_a", "n_b")), strict=True)
        ]

    return pd.DataFrame(
        {
            "A − B": comparison["group_a"] + " − " + comparison["group_b"],
            "emotion": comparison["emotion"],
            "difference in points": 100 * comparison["estimate"],
            "95 % interval": intervals("low", "high", 100, 1),
            "p (Holm)": comparison["p_holm"],
            "Cliff's delta": comparison["cliffs_delta"],
            "95 % interval of delta": intervals("delta_low", "delta_high", 1, 2),
        }
    )


def evidence_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """How much the comparison of each two groups rests on; a row per pair."""
    comparison = comparison.drop_duplicates(["group_a", "group_b"])
    return pd.DataFrame(
        {
            "A − B": comparison["group_a"] + " − " + comparison["group_b"],
            "participants A, B": _pair(comparison, "n_participants"),
            "videos A, B": _pair(comparison, "n"),
            "tracks A, B": _pair(comparison, "n_tracks"),
            "low-quality faces": comparison["low_quality_share"],
        }
    )


def _pair(comparison: pd.DataFrame, name: str) -> pd.Series:
    return comparison[f"{name}_a"].astype(str) + ", " + comparison[f"{name}_b"].astype(str)


def groups_without_labels(comparison: pd.DataFrame) -> list[str]:
    """The groups in which no video has a label, in order."""
    sides = [comparison.loc[comparison[f"n_{side}"] == 0, f"group_{side}"] for side in "ab"]
    return sorted(set(pd.concat(sides)))


@st.cache_data(max_entries=16, show_spinner="comparing")
def comparison_of(
    _results: Results, key: tuple[Any, ...], groups: dict[str, str], participants: dict[str, str]
) -> pd.DataFrame:
    """How groups of videos differ; cached for `key`, which identifies the results."""
    found = _results.answer(lambda connection: queries.compare(connection, groups, participants=participants))
    rows: pd.DataFrame = found.to_pandas()
    return rows


@st.cache_data(max_entries=16, show_spinner="comparing")
def marker_comparison_of(_results: Results, key: tuple[Any, ...], events: pd.DataFrame) -> pd.DataFrame:
    """How markers differ; cached for `key`."""
    table = pa.Table.from_pandas(events, EVENTS, preserve_index=False)
    rows: pd.DataFrame = _results.answer(lambda connection: queries.compare_events(connection, table)).to_pandas()
    return rows


@st.cache_data(max_entries=16, show_spinner="averaging over time")
def mean_timelines(
    _results: Results, key: tuple[Any, ...], ranges: pd.DataFrame, participants: dict[str, str]
) -> pd.DataFrame:
    """Mean probabilities of all emotions, second by second; cached for `key`."""
    table = pa.Table.from_pandas(ranges, preserve_index=False)
    found = _results.answer(
        lambda connection: queries.group_timeline(connection, table, participants=participants, bin_ms=BIN_MS)
    )
    rows: pd.DataFrame = found.to_pandas()
    return rows


@st.cache_data(max_entries=16, show_spinner="averaging around onsets")
def onset_averages(_results: Results, key: tuple[Any, ...], events: pd.DataFrame) -> pd.DataFrame:
    """How probabilities change around the onset of markers; cached for `key`."""
    table = pa.Table.from_pandas(events, EVENTS, preserve_index=False)
    found = _results.answer(
        lambda connection: queries.averages(connection, table, bin_ms=ONSET_BIN_MS, before_s=BASELINE_S)
    )
    rows: pd.DataFrame = found.to_pandas()
    return rows


def ranges_of_groups(results: Results, groups: dict[str, str]) -> pd.DataFrame:
    """The videos of each group, from their start up to `MAX_SHOWN_S`."""
    videos: pd.DataFrame = results.ask(VIDEOS_SQL).to_pandas()
    videos["group"] = videos["path"].map(groups)
    ranges: pd.DataFrame = videos.dropna(subset="group").assign(start_s=0.0, end_s=MAX_SHOWN_S)
    return ranges[["group", "video_id", "start_s", "end_s"]]


def ranges_of_markers(results: Results, events: pa.Table) -> pd.DataFrame:
    """The time range of each marker in each video; also of a failed video, in which nobody is seen."""
    videos = video_names(results.ask(KNOWN_SQL))
    ranges: pd.DataFrame = events_of_videos(events, videos).to_pandas().rename(columns={"label": "group"})
    ranges["end_s"] = ranges["end_s"].clip(upper=ranges["start_s"] + MAX_SHOWN_S)
    return ranges


def timeline_rows(means: pd.DataFrame, emotion: str) -> pd.DataFrame:
    """The mean of one emotion in each group and bin; a bin without data has a row with no mean, so that lines break.

    `run` numbers the uninterrupted stretches of a group, and `evidence` is the number of people relative to the
    largest of the group.
    """
    bin_s = BIN_MS / 1000
    parts = []
    for group, rows in means.groupby("group"):
        bins = (rows["start_s"] / bin_s).round().astype(int)
        mean, error = rows[f"mean_{emotion}"], rows[f"error_{emotion}"]
        part = pd.DataFrame(
            {
                "mean": mean.to_numpy(),
                "low": (mean - error).clip(lower=0).to_numpy(),
                "high": (mean + error).clip(upper=1).to_numpy(),
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


def timeline_chart(rows: pd.DataFrame, emotion: str) -> alt.LayerChart:
    """Step lines of `timeline_rows` that break where there is no data, paler where fewer people are behind them.

    The band is one standard error of the mean between participants; there is none where there is only one.
    """
    rows = rows.dropna(subset="mean")
    x = alt.X("start_s:Q", title=None, scale=alt.Scale(nice=False), axis=TIME_AXIS)
    strength = alt.Opacity("evidence:Q", scale=alt.Scale(domain=[0, 1], range=[0.15, 1]), legend=None)
    probability = alt.Scale(domain=[0, 1])
    base = alt.Chart(rows, height=260)
    y = alt.Y("mean:Q", title=f"mean probability of {emotion}", scale=probability, axis=LEFT_AXIS)
    color = group_color(alt.Legend(orient="top", symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=3))
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


def people_chart(rows: pd.DataFrame, title: str) -> alt.Chart:
    """The number of people behind each point of `timeline_chart`; lines on top of each other are all visible."""
    groups = sorted(rows["group"].unique())
    widths = [3 + 4 * number for number in reversed(range(len(groups)))]  # the first is drawn first
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
            color=group_color(None),
            strokeWidth=alt.StrokeWidth("group:O", scale=alt.Scale(domain=groups, range=widths), legend=None),
            tooltip=BIN_TOOLTIP,
        )
    )
    return chart


def onset_chart(averages: pd.DataFrame, emotion: str) -> alt.LayerChart | None:
    """The mean change of one emotion around the onset, with its 95 % interval; None without a baseline anywhere."""
    rows = averages[averages["emotion"] == emotion].dropna(subset="estimate").rename(columns={"label": "group"})
    if rows.empty:
        return None
    rows["end_s"] = rows["start_s"] + ONSET_BIN_MS / 1000
    x = alt.X("start_s:Q", title="time since the onset in s", scale=alt.Scale(nice=False), axis=TIME_AXIS)
    color = group_color(alt.Legend(orient="top", symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=3))
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


def group_color(legend: alt.Legend | None) -> alt.Color:
    """The color scale of groups."""
    return alt.Color("group:N", title=None, scale=alt.Scale(scheme="dark2"), legend=legend)


def select_groups(groups: list[str], way: str) -> list[str]:
    """The groups to compare; if there are many, the user selects some, because every pair is compared."""
    if len(groups) <= MAX_GROUPS:
        return groups
    return st.multiselect(
        "Groups to compare",
        groups,
        groups[:DEFAULT_GROUPS],
        max_selections=MAX_GROUPS,
        key=f"compared_{way}",
        persist_state="session",
    )


def show_differences(comparison: pd.DataFrame) -> None:
    """Shares of time as bars, differences as a table."""
    left, right = st.columns([2, 3])
    with left:
        show_chart(share_chart(comparison))
    table = effect_table(comparison)
    pairs = table["A − B"].unique()
    if len(pairs) == 1:
        right.caption(plain(f"A − B: {pairs[0]}"))
    right.dataframe(
        table,
        hide_index=True,
        column_order=[name for name in table.columns if name != "A − B" or len(pairs) > 1],
        height="content",
        column_config={
            "difference in points": st.column_config.NumberColumn(
                format="%+.1f", help="Share of time of A minus that of B, in percentage points."
            ),
            "p (Holm)": st.column_config.NumberColumn(
                format="%.3f", help="Two-sided p-value, adjusted by Holm over the seven emotions."
            ),
            "Cliff's delta": st.column_config.NumberColumn(
                format="%+.2f", help="P(a > b) − P(a < b) over all pairs of participants (Cliff's delta)."
            ),
        },
        placeholder="—",
    )
    right.dataframe(
        evidence_table(comparison),
        hide_index=True,
        height="content",
        column_config={"low-quality faces": st.column_config.NumberColumn(format="percent")},
    )
    if missing := groups_without_labels(comparison):
        st.info(plain(f"{NO_LABELS.capitalize()}: {', '.join(missing)}."))
    for note in comparison["note"].dropna().unique():
        st.caption(plain(note))
    st.caption(
        "Differences are A − B: positive where A shows more of the emotion. Shares are shares of labeled time; each "
        "video counts once. Methods: docs/statistics.md."
    )


@dataclass(frozen=True, eq=False)
class Compared:
    """What the page shows of groups of videos, or of markers."""

    differences: pd.DataFrame  # rows of `result_schemas.COMPARISON`
    means: pd.DataFrame  # means over time, as `queries.group_timeline` returns them
    time_title: str
    onsets: pd.DataFrame | None = None  # for markers only: rows of `result_schemas.AVERAGES`


def show_over_time(found: Compared) -> None:
    """The mean timeline of one emotion, and how it changes around the onset of markers."""
    st.subheader("Over time")
    emotion = st.selectbox(
        "Emotion",
        EMOTIONS,
        index=EMOTIONS.index("happy"),
        width=240,
        key="compared_emotion",
        persist_state="session",
    )
    rows = timeline_rows(found.means, emotion)
    show_chart(timeline_chart(rows, emotion))
    show_chart(people_chart(rows, found.time_title))
    st.caption(
        "Mean over participants (those of the groups file, else people with a name, else videos), second by second. "
        "Lines are interrupted where no face has a label, and paler where fewer people are behind them; the band is "
        "one standard error of the mean between participants."
    )
    if found.onsets is not None:
        show_onsets(found.onsets, emotion)


def show_onsets(averages: pd.DataFrame, emotion: str) -> None:
    """How one emotion changes around the onset of markers."""
    st.subheader("Change around the onset")
    chart = onset_chart(averages, emotion)
    if chart is None:
        st.info(f"No person has a good face in the {BASELINE_S:g} s before a marker: there is no baseline.")
        return
    show_chart(chart)
    notes = averages.loc[averages["estimate"].notna(), "note"].dropna()
    if not notes.empty:
        # The note of most points is shown; the number of participants may differ between points.
        st.caption(plain(notes.mode().iloc[0]))
    st.caption(
        f"Probability minus its mean in the {BASELINE_S:g} s before the onset: averaged over the markers of each "
        "participant, then over participants. The band is the 95 % interval. Markers without a good face before "
        "them are left out."
    )


def compare_markers(results: Results, key: tuple[Any, ...], events: pa.Table) -> Compared:
    """Differences between markers, and means over time."""
    labels = select_groups(sorted(set(events["label"].to_pylist())), MARKERS)
    events = events.filter(pc.is_in(events["label"], pa.array(labels, pa.string())))
    frame = events.to_pandas()
    return Compared(
        marker_comparison_of(results, key, frame),
        mean_timelines(results, key, ranges_of_markers(results, events), {}),
        "time since the start of the marker in s",
        onset_averages(results, key, frame),
    )


def compare_videos(results: Results, key: tuple[Any, ...], videos: list[VideoName], way: str) -> Compared | None:
    """Differences between groups of videos, and means over time; None until two groups are selected."""
    paths = [video.path for video in videos]
    grouping = choose_groups(paths, way)
    groups = grouping.groups
    chosen = select_groups(sorted(set(groups.values())), way)
    groups = {path: group for path, group in groups.items() if group in chosen}
    if len(set(groups.values())) < 2:
        st.info("Select at least two groups.")
        return None
    groups = find_groups(groups, videos)
    show_members(groups, paths)
    return Compared(
        comparison_of(results, key, groups, grouping.participants),
        mean_timelines(results, key, ranges_of_groups(results, groups), grouping.participants),
        "time in the video in s",
    )


def show_comparison(results: Results, videos: list[VideoName], way: str, markers: Markers | None) -> None:
    """Compare groups of videos, or markers, as selected."""
    key = (str(results.root), results.etag(), results.notes_etag())
    try:
        if way == MARKERS and markers is not None:
            found: Compared | None = compare_markers(results, key, markers.events)
        else:
            found = compare_videos(results, key, videos, way)
    except (GroupError, UnknownVideoError) as error:
        st.info(plain(error))
        return
    if found is None:
        return
    if found.means.empty:
        st.info("No face in these groups has a label: there is nothing to compare.")
        return
    show_differences(found.differences)
    show_over_time(found)


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Compare")
    videos = video_names(results.ask(VIDEOS_SQL))
    if not videos:
        st.info("There are no finished videos yet.")
        return
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        for_way = st.container(width="content")
        with st.container(horizontal=True, width="content"):
            markers = choose_markers()
            codes = choose_codes()
    with for_way:
        way = choose_way([video.path for video in videos], markers)
    show_comparison(results, videos, way, markers)
    if codes is not None:
        show_agreement(results, codes)


if __name__ == "__main__":
    main()
