"""The dashboard: pages over one results folder. It holds no numbers of its own: it asks `analytics` and draws.

Run by `dashboard.server`, which says in the environment which results are shown.
"""

from pathlib import Path

import duckdb
import streamlit as st

from analytics.results.store import StoreError
from dashboard.data.results import current_results
from dashboard.widgets.text import DISCLAIMER, NOTICE

HERE = Path(__file__).parent
# The files are not in a folder called `pages`: of those, Streamlit runs one that is linked to without what is in here.
PAGES = {
    "Library": ":material/video_library:",
    "Timeline": ":material/timeline:",
    "Moments": ":material/star:",
    "Compare": ":material/compare_arrows:",
    "SQL": ":material/database:",
    "Models": ":material/neurology:",
    "Runs": ":material/schedule:",
}


def show_notice() -> None:
    """The legal notice, once in a session until it was read."""
    if not st.session_state.get("notice_read"):
        with st.container(border=True):
            st.markdown(NOTICE)
            st.button("I have read this", on_click=lambda: st.session_state.update(notice_read=True))


def main() -> None:
    """Draw the page that is chosen, and turn what can be wrong with a results folder into a sentence."""
    results = current_results()
    st.set_page_config(page_title=f"Fervid: {results.root.name}", page_icon=str(HERE / "icon.svg"), layout="wide")
    pages = [st.Page(HERE / "views" / f"{name.lower()}.py", title=name, icon=icon) for name, icon in PAGES.items()]
    page = st.navigation(pages, position="top")
    st.html(HERE / "app.css")
    show_notice()
    try:
        page.run()
    except StoreError as error:
        st.error(str(error))
    except duckdb.Error as error:  # what DuckDB makes of a damaged or missing Parquet file
        st.error(f"A table cannot be read; analyze that video again, with `--overwrite`: {error}")
    st.divider()
    st.caption(f"{DISCLAIMER} Shown: {results.root}")


if __name__ == "__main__":
    main()
