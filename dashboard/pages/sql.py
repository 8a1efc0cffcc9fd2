"""Page SQL: questions of one's own, read-only."""

import io

import altair as alt
import pandas as pd
import pyarrow as pa
import streamlit as st

from analytics import query
from analytics.rows import write_rows
from analytics.schema import TABLES
from analytics.sql import QueryError
from dashboard.results import current_results

FIRST = """SELECT smooth_emotion, round(sum(duration_s), 1) AS seconds
FROM faces
WHERE smooth_emotion IS NOT NULL
GROUP BY ALL ORDER BY seconds DESC"""
SHOWN_ROWS = 5000
CHART_ROWS = 500


def show_schema() -> None:
    """The tables with their columns, units and meanings."""
    with st.expander("Tables and columns"):
        for name, schema in TABLES.items():
            st.markdown(f"**{name}**: {schema.metadata[b'description'].decode()}")
            columns = [
                {
                    "column": field.name,
                    "type": str(field.type),
                    "unit": field.metadata[b"unit"].decode(),
                    "meaning": field.metadata[b"description"].decode(),
                }
                for field in schema
            ]
            st.dataframe(pd.DataFrame(columns), hide_index=True)


def chart_of(rows: pd.DataFrame) -> alt.Chart | None:
    """A bar per row, where the answer is words with numbers: the first column of each kind."""
    numbers = rows.select_dtypes("number").columns
    words = rows.select_dtypes(exclude=["number", "datetime"]).columns
    if not len(numbers) or not len(words) or len(rows) > CHART_ROWS:
        return None
    x = alt.X(numbers[0], type="quantitative", title=numbers[0])
    chart: alt.Chart = alt.Chart(rows).mark_bar().encode(x=x, y=alt.Y(words[0], type="nominal", sort=None))
    return chart


def download(rows: pa.Table, form: str, mime: str) -> None:
    """A button that gives all rows as a file."""
    file = io.BytesIO()
    write_rows(rows, file, form)
    st.download_button(f"Download as {form.upper()}", file.getvalue(), f"answer.{form}", mime, on_click="ignore")


def show_answer(rows: pa.Table) -> None:
    """The rows as a table, as a chart if they make one, and as files."""
    st.caption(f"{rows.num_rows:,} rows" + (f", the first {SHOWN_ROWS:,} shown" if rows.num_rows > SHOWN_ROWS else ""))
    shown = rows.slice(0, SHOWN_ROWS).to_pandas()
    st.dataframe(shown, hide_index=True)
    if (chart := chart_of(shown)) is not None:
        st.altair_chart(chart)
    left, right, _ = st.columns([1, 1, 3])
    with left:
        download(rows, "csv", "text/csv")
    with right:
        download(rows, "parquet", "application/vnd.apache.parquet")


def main() -> None:
    """Draw the page."""
    results = current_results()
    st.title("SQL")
    st.caption("One SELECT at a time (DuckDB's SQL), read-only: no files, no network; 30 s and 2 GB at most.")
    show_schema()
    sql = st.text_area("Question", FIRST, height=170, key="sql")
    if st.button("Run", type="primary"):
        try:
            st.session_state["answer"] = query(results.root, sql)
        except QueryError as error:
            st.session_state.pop("answer", None)
            st.error(str(error))
    if "answer" in st.session_state:
        show_answer(st.session_state["answer"])


if __name__ == "__main__":
    main()
