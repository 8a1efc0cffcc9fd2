"""Page Compare: groups of videos side by side."""

from pathlib import PurePath

import altair as alt
import pandas as pd
import streamlit as st

from analytics import queries
from analytics.groups import GroupError
from dashboard.charts import emotion_colour
from dashboard.results import Results, current_results
from fer_models.labels import EMOTIONS

VIDEOS_SQL = "SELECT path FROM videos WHERE status = 'done' ORDER BY path"
BIN_MS = 1000
MOST_BINS = 600
ROW_HEADER = alt.Header(labelAngle=0, labelAlign="left")


def groups_by_folder(paths: list[str]) -> dict[str, str]:
    """Each video in the group of the folder it lies in."""
    return {path: PurePath(path).parent.name or "." for path in paths}


def groups_by_word(paths: list[str], words: list[str]) -> dict[str, str]:
    """Each video in the group of the first word that its path holds; the others in none."""
    found = {path: next((word for word in words if word.lower() in path.lower()), None) for path in paths}
    return {path: word for path, word in found.items() if word is not None}


def choose_groups(paths: list[str]) -> dict[str, str] | None:
    """The groups that a person asks for, in one of three ways; None until there is enough to go by."""
    way = st.segmented_control("Groups by", ["folder", "words in the path", "a CSV file"], default="folder")
    if way == "folder":
        return groups_by_folder(paths)
    if way == "words in the path":
        words = st.text_input("Words, with commas between", placeholder="ad_a, ad_b")
        chosen = [word.strip() for word in words.split(",") if word.strip()]
        return groups_by_word(paths, chosen) if chosen else None
    file = st.file_uploader("A CSV file with the columns path and group", type="csv") if way else None
    if file is None:
        return None
    try:
        rows = pd.read_csv(file, dtype=str)[["path", "group"]].dropna()
    except (KeyError, ValueError) as error:
        st.error(f"{file.name}: needs the columns path and group in its first line, comma separated: {error}")
        return None
    return dict(zip(rows["path"], rows["group"], strict=True))


def share_chart(comparison: pd.DataFrame) -> alt.Chart:
    """The mean share of time of each emotion in each group."""
    sides = [
        comparison[[f"group_{side}", "emotion", f"mean_{side}"]].set_axis(["group", "emotion", "share"], axis=1)
        for side in "ab"
    ]
    means = pd.concat(sides).drop_duplicates()
    chart: alt.Chart = (
        alt.Chart(means)
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="mean share of time", axis=alt.Axis(format="%")),
            y=alt.Y("group:N", title=None),
            row=alt.Row(
                "emotion:N", title=None, sort=list(EMOTIONS), header=alt.Header(labelAngle=0, labelAlign="left")
            ),
            color=emotion_colour(legend=None),
            tooltip=["group:N", "emotion:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=34)
    )
    return chart


def effect_table(comparison: pd.DataFrame) -> pd.DataFrame:
    """The differences with their intervals, in words of percent points."""

    def span(low: float, high: float, scale: float, digits: int) -> str:
        return "one video only" if pd.isna(low) else f"{scale * low:.{digits}f} to {scale * high:.{digits}f}"

    return pd.DataFrame(
        {
            "groups": comparison["group_a"] + " to " + comparison["group_b"],
            "emotion": comparison["emotion"],
            "difference in % points": 100 * comparison["difference"],
            "95 % interval": [span(a, b, 100, 1) for a, b in zip(comparison["low"], comparison["high"], strict=True)],
            "Cliff's delta": comparison["cliffs_delta"],
            "its 95 % interval": [
                span(a, b, 1, 2) for a, b in zip(comparison["delta_low"], comparison["delta_high"], strict=True)
            ],
            "videos": comparison["n_videos_a"].astype(str) + " and " + comparison["n_videos_b"].astype(str),
            "people (tracks)": comparison["n_tracks_a"].astype(str) + " and " + comparison["n_tracks_b"].astype(str),
            "faces gated": comparison["gated_share"],
        }
    )


def mean_timeline(results: Results, group_of: dict[str, str], emotion: str) -> pd.DataFrame:
    """Mean probability of an emotion over the videos of each group, second by second, with the spread of videos."""
    bins = results.answer(lambda connection: queries.timeline(connection, bin_ms=BIN_MS)).to_pandas()
    bins = bins[bins["path"].isin(group_of) & bins["labelled_s"].notna()]
    bins["group"] = bins["path"].map(group_of)
    bins["weighted"] = bins[emotion] * bins["labelled_s"]
    of_video = bins.groupby(["group", "path", "start_s"], as_index=False)[["weighted", "labelled_s"]].sum()
    of_video["mean"] = of_video["weighted"] / of_video["labelled_s"]
    found: pd.DataFrame = of_video.groupby(["group", "start_s"])["mean"].agg(["mean", "std", "count"]).reset_index()
    error = found["std"] / found["count"] ** 0.5
    return found.assign(low=(found["mean"] - error).clip(0), high=(found["mean"] + error).clip(upper=1))


def timeline_chart(means: pd.DataFrame) -> alt.LayerChart:
    """Lines with a band of one standard error of the mean between videos; no band where there is one video only."""
    base = alt.Chart(means, height=260)
    x = alt.X("start_s:Q", title="time in s")
    colour = alt.Color("group:N", title="group", scale=alt.Scale(scheme="dark2"))
    band = base.mark_area(opacity=0.2).encode(
        x=x, y=alt.Y("low:Q", title="mean probability"), y2="high:Q", color=colour
    )
    tooltip = ["group:N", "start_s:Q", alt.Tooltip("mean:Q", format=".2f"), alt.Tooltip("count:Q", title="videos")]
    line = base.mark_line().encode(x=x, y="mean:Q", color=colour, tooltip=tooltip)
    return alt.LayerChart(layer=[band, line])


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("Compare")
    paths = results.ask(VIDEOS_SQL)["path"].to_pylist()
    groups = choose_groups(paths)
    if groups is None:
        st.info("Say which videos belong together.")
        return
    try:
        comparison = results.answer(lambda connection: queries.compare(connection, groups)).to_pandas()
    except GroupError as error:
        st.info(str(error))
        return
    st.caption(
        "A video counts once. Shares are of the time with a label; intervals are bootstraps over videos; Cliff's delta "
        "is how much oftener a video of the first group has more of it than one of the second."
    )
    left, right = st.columns([1, 2])
    left.altair_chart(share_chart(comparison))
    right.dataframe(
        effect_table(comparison),
        hide_index=True,
        column_config={
            "difference in % points": st.column_config.NumberColumn(format="%.1f"),
            "Cliff's delta": st.column_config.NumberColumn(format="%.2f"),
            "faces gated": st.column_config.NumberColumn(format="percent"),
        },
    )
    st.subheader("Over time")
    emotion = st.selectbox("Emotion", EMOTIONS, index=EMOTIONS.index("happy"))
    means = mean_timeline(results, groups, emotion)
    st.altair_chart(timeline_chart(means[means["start_s"] <= means["start_s"].min() + MOST_BINS]))
    st.caption("Mean over videos, second by second; the band is one standard error of the mean.")


if __name__ == "__main__":
    main()
