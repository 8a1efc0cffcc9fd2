"""Page Compare: groups of videos, or markers, side by side."""

from typing import Any

import altair as alt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from analytics import queries
from analytics.queries.events import EVENTS, events_of_videos
from analytics.queries.groups import GroupError, find_groups
from analytics.results.videos import UnknownVideoError
from dashboard.data.markers import choose_markers
from dashboard.data.results import Results, current_results
from dashboard.widgets.charts import emotion_color
from dashboard.widgets.group_picker import MARKERS, choose_groups, choose_way
from fer_models.labels import EMOTIONS

VIDEOS_SQL = "SELECT video_id, path FROM videos WHERE status = 'done' ORDER BY path"
KNOWN_SQL = "SELECT video_id, path FROM videos"
BIN_MS = 1000
MOST_S = 600.0  # of each video or marker
FIRST_GROUPS, MOST_GROUPS = 3, 6
NOBODY = "nobody seen with a label"
GRAY = "#757b85"  # can be read on white and on black


def share_chart(comparison: pd.DataFrame) -> alt.LayerChart:
    """The mean share of time of each emotion in each group."""
    sides = [
        comparison[[f"group_{side}", "emotion", f"mean_{side}"]].set_axis(["group", "emotion", "share"], axis=1)
        for side in "ab"
    ]
    means = pd.concat(sides).drop_duplicates(["group", "emotion"])
    base = alt.Chart(means, height=len(EMOTIONS) * (16 * means["group"].nunique() + 12)).encode(
        x=alt.X(
            "share:Q",
            title="mean share of time",
            axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
            scale=alt.Scale(domain=[0, 1.4 * max(means["share"].max(), 0.1)]),
        ),
        y=alt.Y("emotion:N", title=None, sort=list(EMOTIONS)),
        yOffset=alt.YOffset("group:N"),
        tooltip=["group:N", "emotion:N", alt.Tooltip("share:Q", format=".1%")],
    )
    bars = base.mark_bar().encode(color=emotion_color(legend=None))
    names = base.mark_text(align="left", dx=4, limit=160, color=GRAY).encode(text="group:N")
    return alt.LayerChart(layer=[bars, names])


def effect_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """The differences with their intervals, in percentage points."""

    def spans(low: str, high: str, scale: float, digits: int) -> list[str]:
        return [
            NOBODY
            if not n_a or not n_b
            else note
            if pd.isna(a)
            else f"{scale * a:.{digits}f} to {scale * b:.{digits}f}"
            for a, b, note, n_a, n_b in zip(*(comparison[c] for c in (low, high, "note", "n_a", "n_b")), strict=True)
        ]

    return pd.DataFrame(
        {
            "groups": comparison["group_a"] + " to " + comparison["group_b"],
            "emotion": comparison["emotion"],
            "difference in % points": 100 * comparison["estimate"],
            "95 % interval": spans("low", "high", 100, 1),
            "Cliff's delta": comparison["cliffs_delta"],
            "its 95 % interval": spans("delta_low", "delta_high", 1, 2),
            "videos": comparison["n_a"].astype(str) + " and " + comparison["n_b"].astype(str),
            "people (tracks)": comparison["n_tracks_a"].astype(str) + " and " + comparison["n_tracks_b"].astype(str),
            "faces gated": comparison["gated_share"],
        }
    )


def groups_without_labels(comparison: pd.DataFrame) -> list[str]:
    """The groups of which no video has a label, in order."""
    sides = [comparison.loc[comparison[f"n_{side}"] == 0, f"group_{side}"] for side in "ab"]
    return sorted(set(pd.concat(sides)))


@st.cache_data(max_entries=16, show_spinner="comparing")
def comparison_of(_results: Results, key: tuple[Any, ...], groups: dict[str, str]) -> pd.DataFrame:
    """How groups of videos differ; kept for `key`, which says what the results are."""
    rows: pd.DataFrame = _results.answer(lambda connection: queries.compare(connection, groups)).to_pandas()
    return rows


@st.cache_data(max_entries=16, show_spinner="comparing")
def marker_comparison_of(_results: Results, key: tuple[Any, ...], events: pd.DataFrame) -> pd.DataFrame:
    """How markers differ; kept for `key`."""
    table = pa.Table.from_pandas(events, EVENTS, preserve_index=False)
    rows: pd.DataFrame = _results.answer(lambda connection: queries.compare_events(connection, table)).to_pandas()
    return rows


@st.cache_data(max_entries=16, show_spinner="averaging over time")
def mean_timelines(_results: Results, key: tuple[Any, ...], spans: pd.DataFrame) -> pd.DataFrame:
    """Mean probabilities of all emotions, second by second; kept for `key`."""
    table = pa.Table.from_pandas(spans, preserve_index=False)
    found = _results.answer(lambda connection: queries.group_timeline(connection, table, bin_ms=BIN_MS))
    rows: pd.DataFrame = found.to_pandas()
    return rows


def spans_of_groups(results: Results, groups: dict[str, str]) -> pd.DataFrame:
    """The videos of each group from their beginning, up to what is drawn."""
    videos: pd.DataFrame = results.ask(VIDEOS_SQL).to_pandas()
    videos["group"] = videos["path"].map(groups)
    spans: pd.DataFrame = videos.dropna(subset="group").assign(start_s=0.0, end_s=MOST_S)
    return spans[["group", "video_id", "start_s", "end_s"]]


def spans_of_markers(results: Results, events: pa.Table) -> pd.DataFrame:
    """The span of each marker in each video; a marker may be of a video that failed, where nobody is seen."""
    videos = results.ask(KNOWN_SQL).to_pylist()
    spans: pd.DataFrame = events_of_videos(events, videos).to_pandas().rename(columns={"label": "group"})
    spans["end_s"] = spans["end_s"].clip(upper=spans["start_s"] + MOST_S)
    return spans


def timeline_chart(means: pd.DataFrame, emotion: str, title: str) -> alt.LayerChart:
    """Lines with a band of one standard error of the mean between videos; no band where there is one video only."""
    mean, error = means[f"mean_{emotion}"], means[f"error_{emotion}"]
    low, high = (mean - error).clip(lower=0), (mean + error).clip(upper=1)
    rows = means[["group", "start_s", "n_videos"]].assign(mean=mean, low=low, high=high)
    last = rows.loc[rows.groupby("group")["start_s"].idxmax()]
    rows = pd.concat([rows, last.assign(start_s=last["start_s"] + BIN_MS / 1000)])  # steps end where the last bin does
    base = alt.Chart(rows, height=260)
    x = alt.X("start_s:Q", title=title)
    color = alt.Color(
        "group:N", title=None, scale=alt.Scale(scheme="dark2"), legend=alt.Legend(orient="top", symbolOpacity=1)
    )
    y = alt.Y("low:Q", title=f"mean probability of {emotion}", scale=alt.Scale(domain=[0, 1]))
    band = base.mark_area(opacity=0.2, interpolate="step-after").encode(x=x, y=y, y2="high:Q", color=color)
    tooltip = ["group:N", "start_s:Q", alt.Tooltip("mean:Q", format=".2f"), alt.Tooltip("n_videos:Q", title="videos")]
    line = base.mark_line(interpolate="step-after").encode(x=x, y="mean:Q", color=color, tooltip=tooltip)
    return alt.LayerChart(layer=[band, line])


def some_of(groups: list[str]) -> list[str]:
    """The groups to look at, where there are many: each is compared with each."""
    if len(groups) <= MOST_GROUPS:
        return groups
    return st.multiselect("Groups to compare", groups, groups[:FIRST_GROUPS], max_selections=MOST_GROUPS)


def show_differences(comparison: pd.DataFrame) -> None:
    """Shares of time as bars, differences as a table."""
    st.caption(
        "Shares are shares of labeled time; each video counts once. Cliff's delta is the probability that a video of "
        "the first group has the larger share, minus the probability that it has the smaller. Methods: "
        "docs/statistics.md."
    )
    left, right = st.columns([2, 3])
    left.altair_chart(share_chart(comparison))
    right.dataframe(
        effect_table(comparison),
        hide_index=True,
        column_config={
            "difference in % points": st.column_config.NumberColumn(format="%.1f"),
            "Cliff's delta": st.column_config.NumberColumn(format="%.2f"),
            "faces gated": st.column_config.NumberColumn(format="percent"),
        },
        placeholder="",
    )
    if missing := groups_without_labels(comparison):
        st.info(f"{NOBODY.capitalize()}: {', '.join(missing)}.")


def show_over_time(means: pd.DataFrame, title: str) -> None:
    """The mean timeline of one emotion."""
    st.subheader("Over time")
    emotion = st.selectbox("Emotion", EMOTIONS, index=EMOTIONS.index("happy"))
    st.altair_chart(timeline_chart(means, emotion, title))
    st.caption("Mean over videos, second by second; the band is one standard error of the mean.")


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Compare")
    videos = results.ask(VIDEOS_SQL).to_pylist()
    if not videos:
        st.info("There is no finished video here yet.")
        return
    paths = [video["path"] for video in videos]
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    with right:
        markers = choose_markers()
    with left:
        way = choose_way(paths, markers)
    key = (str(results.root), results.etag())
    try:
        if way == MARKERS and markers is not None:
            labels = some_of(sorted(set(markers.events["label"].to_pylist())))
            events = markers.events.filter(pc.is_in(markers.events["label"], pa.array(labels, pa.string())))
            comparison = marker_comparison_of(results, key, events.to_pandas())
            means, title = mean_timelines(results, key, spans_of_markers(results, events)), "time since the start in s"
        else:
            groups = choose_groups(paths, way)
            chosen = some_of(sorted(set(groups.values())))
            groups = {path: group for path, group in groups.items() if group in chosen}
            if len(set(groups.values())) < 2:
                st.info("Say which videos belong together: two groups or more.")
                return
            groups = find_groups(groups, videos)
            comparison = comparison_of(results, key, groups)
            means, title = mean_timelines(results, key, spans_of_groups(results, groups)), "time in the video in s"
    except (GroupError, UnknownVideoError) as error:
        st.info(str(error))
        return
    if means.empty:
        st.info("No face has a label there: there is nothing to compare.")
        return
    show_differences(comparison)
    show_over_time(means, title)


if __name__ == "__main__":
    main()
