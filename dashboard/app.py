"""The dashboard: pages over one results folder. It computes nothing itself: it queries `analytics` and draws.

Run by `dashboard.server`, which passes the results folder in the environment.
"""

from pathlib import Path

import duckdb
import streamlit as st

from dashboard.data.results import current_results
from dashboard.text import DISCLAIMER, error_with_commands, plain
from dashboard.widgets.notice import show_notice
from fer_models.errors import FervidError

HERE = Path(__file__).parent
# The folder must not be called `pages`: Streamlit would offer its files directly, without the common frame.
PAGES = {
    "Library": ":material/video_library:",
    "Timeline": ":material/timeline:",
    "Moments": ":material/star:",
    "Compare": ":material/compare_arrows:",
    "SQL": ":material/database:",
    "Models": ":material/neurology:",
    "Runs": ":material/schedule:",
}


def main() -> None:
    """Draw the selected page; problems of the results folder become one sentence."""
    results = current_results()
    st.set_page_config(page_title=f"Fervid: {results.root.name}", page_icon=str(HERE / "icon.svg"), layout="wide")
    pages = [st.Page(HERE / "views" / f"{name.lower()}.py", title=name, icon=icon) for name, icon in PAGES.items()]
    page = st.navigation(pages, position="top")
    if page.title != "Timeline" and st.query_params:  # left in the address by the Back button
        st.query_params.clear()
    show_notice()
    try:
        page.run()
    except FervidError as error:
        st.error(error_with_commands(error))
    except duckdb.Error as error:  # a Parquet file is damaged or missing
        st.error(f"A table cannot be read: {plain(error)}  \n`fervid verify` names the file.")
    st.caption(f"{DISCLAIMER} Results: {plain(results.root)}")


if __name__ == "__main__":
    main()
