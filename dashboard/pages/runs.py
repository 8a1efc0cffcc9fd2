"""Page Runs: what Prefect knows of the flows, and how fast each video was analysed."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.prefect_runs import ServerError, api_url, flow_runs
from dashboard.results import current_results

ANALYSES_SQL = """
    SELECT parse_filename(path) AS video, status, started_at, finished_at, n_frames, frames_per_s, decoder, error
    FROM videos ORDER BY finished_at DESC LIMIT 500
"""


def show_flow_runs() -> None:
    """Flow runs with their states, if there is a server."""
    st.subheader("Flow runs")
    try:
        runs = pd.DataFrame(flow_runs())
    except ServerError as error:
        st.info(
            f"{error}. Runs keep their history where a server runs: `prefect server start --background`, and "
            "`PREFECT_API_URL=http://127.0.0.1:4200/api` for both `fervid analyze` and `fervid dashboard`."
        )
        return
    st.caption(f"From the Prefect server at {api_url()}.")
    if runs.empty:
        st.info("The server knows of no run yet.")
        return
    runs["start_time"] = pd.to_datetime(runs["start_time"])
    columns: dict[str, Any] = {
        "name": "run",
        "state": "state",
        "start_time": st.column_config.DatetimeColumn("began"),
        "seconds": st.column_config.NumberColumn("took, in s", format="%.1f"),
        "message": "message",
        "page": st.column_config.LinkColumn("in Prefect", display_text="open"),
    }
    st.dataframe(runs, hide_index=True, column_order=list(columns), column_config=columns)


def show_analyses() -> None:
    """The newest analyses with their speed."""
    st.subheader("Analyses")
    analyses = current_results().ask(ANALYSES_SQL).to_pandas()
    columns: dict[str, Any] = {
        "video": "video",
        "status": "status",
        "finished_at": st.column_config.DatetimeColumn("finished"),
        "n_frames": "frames",
        "frames_per_s": st.column_config.NumberColumn("frames/s", format="%.0f"),
        "decoder": "decoder",
        "error": "reason",
    }
    st.dataframe(analyses, hide_index=True, column_order=list(columns), column_config=columns, placeholder="")


def main() -> None:
    """Draw the page."""
    st.title("Runs")
    show_flow_runs()
    show_analyses()


if __name__ == "__main__":
    main()
