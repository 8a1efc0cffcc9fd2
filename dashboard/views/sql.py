"""Page SQL: questions of one's own, read-only."""

import io
import os
from pathlib import Path

import altair as alt
import pandas as pd
import pyarrow as pa
import streamlit as st

from analytics import query
from analytics.errors import QueryError
from analytics.queries.connection import describe
from analytics.queries.cookbook import cookbook
from analytics.queries.events import EventsError
from analytics.results.videos import UnknownVideoError
from analytics.tables.schema import VIEWS
from analytics.tables.table_io import write_rows
from dashboard.data import markers
from dashboard.data.results import current_results

FIRST = """SELECT smooth_emotion, round(sum(duration_s), 1) AS seconds
FROM faces
WHERE smooth_emotion IS NOT NULL
GROUP BY ALL ORDER BY seconds DESC"""
SHOWN_ROWS = 5000
CHART_ROWS = 500
CHART_LINES = 7
IDS = ("_id", "_index")  # numbers that count nothing
BAR = "#4a8fc2"


def show_schema() -> None:
    """The tables with their columns, units and meanings."""
    with st.expander("Tables and columns"):
        chosen = st.segmented_control("Table", list(VIEWS), default="faces", label_visibility="collapsed")
        name = chosen or "faces"
        st.caption(VIEWS[name].metadata[b"description"].decode())
        widths = {"meaning": st.column_config.TextColumn("meaning", width="large")}
        columns = describe(name).drop_columns("table").to_pandas()
        st.dataframe(columns, hide_index=True, column_config=widths, height=300)


def choose_question() -> None:
    """The questions of the cookbook; the chosen one is put into the editor."""
    questions = {question.title: question for question in cookbook()}

    def take() -> None:
        if title := st.session_state["saved_question"]:
            st.session_state["sql"] = questions[title].sql

    title = st.selectbox(
        "Questions of the cookbook",
        list(questions),
        index=None,
        placeholder="choose one to put its SQL below, then run or change it",
        key="saved_question",
        on_change=take,
    )
    if title and questions[title].note:
        st.caption(questions[title].note)


def chart_of(rows: pd.DataFrame) -> alt.Chart | None:
    """Bars where rows have names, of a number that can be chosen; lines for numbers over a first, rising number."""
    numbers = [str(name) for name in rows.select_dtypes("number") if not str(name).endswith(IDS)]
    words = list(rows.select_dtypes(exclude=["number", "datetime"]).columns)
    chart: alt.Chart
    if words and numbers and 0 < len(rows) <= CHART_ROWS:
        ids = [name for name in rows.columns if name.endswith(IDS)]
        names = rows[list(dict.fromkeys([*words, *ids]))].astype(str).agg(" ".join, axis=1)
        value = st.selectbox("Bars of", numbers) if len(numbers) > 1 else numbers[0]
        x = alt.X("value:Q", title=value)
        y = alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=240))
        shown = pd.DataFrame({"name": names, "value": rows[value]})
        chart = alt.Chart(shown).mark_bar(color=BAR).encode(x=x, y=y, tooltip=["name", "value"])
        return chart
    if not words and len(numbers) > 1 and len(rows) > 1 and rows[numbers[0]].is_monotonic_increasing:
        over, *lines = numbers[: CHART_LINES + 1]
        # Under names of our own: one such as `min(pts_s)` would be taken for something to be worked out.
        long = rows[lines].assign(**{" over": rows[over]}).melt(" over", lines, " line", " value")
        long.columns = pd.Index(["over", "line", "value"])
        x, color = alt.X("over:Q", title=over), alt.Color("line:N", sort=lines, title=None)
        chart = alt.Chart(long).mark_line().encode(x=x, y=alt.Y("value:Q", title=None), color=color)
        return chart
    return None


def download(rows: pa.Table, form: str, mime: str) -> None:
    """A button that gives all rows as a file, which is made when it is asked for."""

    def content() -> bytes:
        file = io.BytesIO()
        write_rows(rows, file, form)
        return file.getvalue()

    name = "CSV" if form == "csv" else form.capitalize()
    st.download_button(f"All rows as {name}", content, f"answer.{form}", mime, on_click="ignore")


def show_answer(rows: pa.Table) -> None:
    """The rows as a table, as a chart if they make one, and as files."""
    said = f"{rows.num_rows:,} row{'' if rows.num_rows == 1 else 's'}"
    st.caption(said + (f", the first {SHOWN_ROWS:,} shown" if rows.num_rows > SHOWN_ROWS else ""))
    shown = rows.slice(0, SHOWN_ROWS).to_pandas()
    st.dataframe(shown, hide_index=True)
    with st.container(horizontal=True):
        download(rows, "csv", "text/csv")
        download(rows, "parquet", "application/vnd.apache.parquet")
    if (chart := chart_of(shown)) is not None:
        st.altair_chart(chart)


def ask(sql: str) -> None:
    """Answer a question, or say what is wrong with it; the answer stays until the next question."""
    results = current_results()
    events = os.environ.get(markers.ENVIRONMENT)
    st.session_state.pop("answer", None)
    try:
        with st.spinner("asking"):
            st.session_state["answer"] = query(results.root, sql, events=Path(events) if events else None)
    except (QueryError, EventsError, UnknownVideoError) as error:
        st.error(str(error))


def main() -> None:
    """Draw the page."""
    st.title("SQL")
    st.caption("One SELECT at a time (DuckDB's SQL), read-only: no files, no network; 30 s and 2 GB at most.")
    choose_question()
    st.session_state.setdefault("sql", st.session_state.get("last_question", FIRST))
    with st.form("question", border=False):
        sql = st.text_area("Question", height=170, key="sql")
        if st.form_submit_button("Run", type="primary", help="Ctrl+Enter in the editor does the same"):
            st.session_state["last_question"] = sql
            ask(sql)
    show_schema()
    if "answer" in st.session_state:
        show_answer(st.session_state["answer"])


if __name__ == "__main__":
    main()
