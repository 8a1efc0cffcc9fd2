"""Page Runs: flow runs that Prefect recorded, and how fast each video was analyzed."""

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from analytics.results.video_record import video_names
from analytics.results.videos import short_names
from dashboard.data.prefect_runs import ServerError, api_url, flow_runs, server_page
from dashboard.data.results import current_results
from dashboard.text import plain
from dashboard.widgets.charts import show_chart

ANALYSES_SQL = """
    SELECT video_id, path, status, started_at, finished_at, frames_per_s, decoder, error,
        n_observed, decode_wait_s, CASE WHEN detect_s > 0.01 THEN n_observed / detect_s END AS detect_per_s,
        CASE WHEN classify_s > 0.01 THEN n_observed / classify_s END AS classify_per_s,
        1000 * decode_wait_s / n_observed AS decode, 1000 * detect_s / n_observed AS detect,
        1000 * crop_s / n_observed AS crop, 1000 * classify_s / n_observed AS classify,
        1000 * landmarks_s / n_observed AS landmarks
    FROM videos ORDER BY finished_at DESC LIMIT {limit}
"""
STAGES = {"decode": "waiting for frames", "detect": "detecting faces", "crop": "cropping faces",
          "classify": "classifying emotions", "landmarks": "locating landmarks"}  # fmt: skip
MAX_LISTED = 500  # number of analyses in the table
MAX_CHARTED = 20  # number of analyses in the chart


def show_flow_runs() -> None:
    """Flow runs with their states, if there is a server."""
    st.subheader("Flow runs")
    try:
        runs = pd.DataFrame(flow_runs(current_results().root))
    except ServerError as error:
        st.caption(
            f"Not recorded: {plain(error)} To record runs, start one with `prefect server start --background`, and set "
            "`PREFECT_API_URL=http://127.0.0.1:4200/api` for `fervid analyze` and `fervid dashboard`."
        )
        return
    st.caption(
        f"Runs of `fervid analyze` into these results, from the Prefect server at {plain(api_url())}. [Its own page]"
        f"({server_page()}) also lists runs into other folders, and trainings."
    )
    if runs.empty:
        st.info("The server has recorded no run into these results.")
        return
    runs["start_time"] = pd.to_datetime(runs["start_time"])
    columns: dict[str, Any] = {
        "name": "run",
        "state": "state",
        "start_time": st.column_config.DatetimeColumn("started (UTC)", format="YYYY-MM-DD HH:mm:ss"),
        "seconds": st.column_config.NumberColumn("duration in s", format="%.1f"),
        "message": "message",
        "page": st.column_config.LinkColumn("in Prefect", display_text="open"),
    }
    st.dataframe(runs, hide_index=True, column_order=list(columns), column_config=columns, placeholder="")
    list_messages(runs[runs["state"] != "Completed"], "name", "message")


def list_messages(rows: pd.DataFrame, name: str, message: str) -> None:
    """List the messages that a table above shows in part."""
    for named, text in rows.loc[rows[message].notna(), [name, message]].to_numpy():
        st.markdown(f"- **{plain(named)}**: {plain(text)}")


def show_analyses() -> None:
    """The newest analyses with their speed."""
    st.subheader("Analyses")
    rows = current_results().ask(ANALYSES_SQL.format(limit=MAX_LISTED))
    analyses = rows.to_pandas()
    analyses["video"] = analyses["video_id"].map(short_names(video_names(rows)))
    columns: dict[str, Any] = {
        "video": "video",
        "status": "status",
        "finished_at": st.column_config.DatetimeColumn("finished (UTC)", format="YYYY-MM-DD HH:mm:ss"),
        "n_observed": st.column_config.NumberColumn(
            "frames analyzed",
            help="Sampled frames that the last run analyzed; none if it only rebuilt the timeline. Merges and splits "
            "keep the number.",
        ),
        "frames_per_s": st.column_config.NumberColumn("frames/s", format="%.0f"),
        "decode_wait_s": st.column_config.NumberColumn("waited for frames, in s", format="%.1f"),
        "detect_per_s": st.column_config.NumberColumn("detect, frames/s", format="%.0f"),
        "classify_per_s": st.column_config.NumberColumn("classify, frames/s", format="%.0f"),
        "decoder": "decoder",
    }
    if analyses.empty:
        st.info("Nothing has been analyzed yet.")
        return
    if len(analyses) == MAX_LISTED:
        st.caption(f"The newest {MAX_LISTED}; the table `videos` of page SQL has all.")
    st.dataframe(analyses, hide_index=True, column_order=list(columns), column_config=columns, placeholder="")
    list_messages(analyses, "video", "error")
    show_stages(analyses[analyses["n_observed"].notna()])


def show_stages(analyses: pd.DataFrame) -> None:
    """The time per frame of each stage in the newest analyses, video by video."""
    if analyses.empty:
        return
    long = (
        analyses.head(MAX_CHARTED)
        .rename(columns=STAGES)
        .melt(["video"], list(STAGES.values()), "stage", "ms per frame")
    )
    chart = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            x=alt.X("sum(ms per frame):Q", title="time per frame in ms", axis=alt.Axis(tickCount=10)),
            y=alt.Y("video:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
            color=alt.Color(
                "stage:N",
                sort=list(STAGES.values()),
                title=None,
                scale=alt.Scale(scheme="tableau10"),
                legend=alt.Legend(orient="bottom", columns=1),
            ),
            order=alt.Order("color_stage_sort_index:Q"),
            tooltip=["video:N", "stage:N", alt.Tooltip("sum(ms per frame):Q", title="ms per frame", format=".2f")],
        )
    )
    st.subheader("Time per stage")
    newest = f"The newest {MAX_CHARTED} analyses. " if len(analyses) > MAX_CHARTED else ""
    st.caption(
        f"{newest}Frames are decoded in parallel with the other stages: only the time spent waiting for them counts."
    )
    show_chart(chart)


def main() -> None:
    """Draw the page."""
    st.title("Runs")
    show_flow_runs()
    show_analyses()


if __name__ == "__main__":
    main()
