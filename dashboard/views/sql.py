"""Page SQL: the user's own queries, read-only."""

import json
import math
import re
import tempfile
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pyarrow as pa
import streamlit as st

from analytics import query
from analytics.errors import QueryError
from analytics.queries.connection import describe
from analytics.queries.cookbook import cookbook
from analytics.queries.event_files import EventsError
from analytics.results.videos import UnknownVideoError
from analytics.tables.schema import VIEWS
from analytics.text import counted
from dashboard.data.markers import current_markers
from dashboard.data.results import Results, current_results
from dashboard.text import error_text
from dashboard.widgets.charts import GRAY, emotion_color, show_chart
from dashboard.widgets.download import download_button
from dashboard.widgets.mount import mount_js
from dashboard.widgets.quality_notes import show_people_note
from fer_models.labels import EMOTION_COLORS, EMOTIONS

DEFAULT_SQL = """SELECT smooth_emotion, round(sum(duration_s), 1) AS seconds
FROM visible('faces')
WHERE smooth_emotion IS NOT NULL
GROUP BY ALL ORDER BY seconds DESC"""
EDITOR_LABEL = "Query"
PEOPLE_VIEW = re.compile(r"\bpeople\b", re.IGNORECASE)
EVENT_VIEWS = re.compile(r"\b(events|event_bins)\b", re.IGNORECASE)
HIDDEN_SQL = "SELECT count(*) AS n FROM people WHERE is_hidden"
MAX_SHOWN_ROWS = 5000
MAX_BARS = 500
MAX_DECIMALS = 4
MAX_DECIMALS_OF_SMALL = 12
MAX_LINES = 7
INFINITE = [np.inf, -np.inf]  # not charted, because no axis reaches these values
ID_SUFFIXES = ("_id", "_index")  # columns with these suffixes hold ids, not quantities
BAR_COLOR = "#4a8fc2"
KEYWORDS = ("SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "USING", "JOIN", "LEFT JOIN", "count",
            "round", "median", "quantile_cont", "date_trunc", "parse_filename")  # fmt: skip
COMPLETION_CSS = """
.suggestions { display: flex; flex-wrap: wrap; gap: 4px; align-items: center; min-height: 26px;
  font: 13px var(--st-code-font, monospace); color: var(--st-text-color, #1d2327); }
button { font: inherit; color: inherit; background: none; border: 1px solid var(--st-border-color, #e3e6ea);
  border-radius: 6px; padding: 1px 8px; cursor: pointer; }
span { opacity: 0.8; font-family: var(--st-font, sans-serif); }
"""
completion = st.components.v2.component("fervid_completion", css=COMPLETION_CSS, js=mount_js("completion.js"), html="")


def completion_words() -> list[str]:
    """The tables, columns and keywords that the editor completes."""
    columns = {field.name for schema in VIEWS.values() for field in schema}
    return [*VIEWS, *sorted(columns - VIEWS.keys()), *KEYWORDS, *(word.lower() for word in KEYWORDS if word.isupper())]


def show_schema() -> None:
    """The tables with their columns, units and meanings."""
    with st.expander("Tables and columns"):
        name = st.segmented_control("Table", list(VIEWS), default="faces", required=True, label_visibility="collapsed")
        st.caption(VIEWS[name].metadata[b"description"].decode())
        widths = {"meaning": st.column_config.TextColumn("meaning", width="large")}
        columns = describe(name).drop_columns("table").to_pandas()
        st.dataframe(columns, hide_index=True, column_config=widths, height=300)


def show_hidden_note() -> None:
    """Say that the tables have rows of hidden people, as long as anybody is hidden."""
    if n_hidden := current_results().ask(HIDDEN_SQL)["n"][0].as_py():
        people = "1 person is hidden" if n_hidden == 1 else f"{n_hidden:,} people are hidden"
        st.caption(
            f"{people}: the tables still have their rows. `FROM visible('faces')` leaves them out, as the other pages "
            "do; likewise for `tracks`, `episodes` and `transitions`."
        )


def choose_question() -> None:
    """The questions of the cookbook; the chosen one is put into the editor, and the last answer removed."""
    questions = {question.title: question for question in cookbook()}

    def take() -> None:
        if title := st.session_state["saved_question"]:
            st.session_state["sql"] = questions[title].sql
            st.session_state.pop("answer", None)

    title = st.selectbox(
        "Cookbook",
        list(questions),
        index=None,
        placeholder="choose a question to put its SQL into the editor",
        key="saved_question",
        on_change=take,
    )
    if title and questions[title].note:
        st.caption(questions[title].note)


def decimals_as_floats(rows: pa.Table) -> pa.Table:
    """The rows with decimals, which sums of integers are in DuckDB, as floats: pandas has no decimal numbers."""
    fields = [field.with_type(pa.float64()) if pa.types.is_decimal(field.type) else field for field in rows.schema]
    return rows.cast(pa.schema(fields))


def n_decimals(values: pd.Series) -> int:
    """The number of decimals with which all values of a column are shown: as many as they have, up to `MAX_DECIMALS`.

    Columns in which all values are small may have more, so that the largest one has three significant digits.

    >>> n_decimals(pd.Series([8.1, 7.0])), n_decimals(pd.Series([1e-4, 4.5e-5, 0.0])), n_decimals(pd.Series([1 / 3]))
    (1, 6, 4)
    """
    values = values[np.isfinite(values)]
    largest = values.abs().max()
    significant = 2 - math.floor(math.log10(largest)) if largest > 0 else 0
    most = min(max(MAX_DECIMALS, significant), MAX_DECIMALS_OF_SMALL)
    shown = values.round(most)
    return next(n for n in range(most + 1) if np.allclose(shown.round(n), shown, rtol=0, atol=0.1 * 10.0**-most))


def chart_of(rows: pd.DataFrame) -> alt.Chart | None:
    """A bar chart of a selected column if rows have names; a line chart if the rows are of one line.

    They are if the first number increases from row to row, and no column such as `track_id` has several values.
    """
    numbers = [str(name) for name in rows.select_dtypes("number") if not str(name).endswith(ID_SUFFIXES)]
    words = [str(name) for name in rows.select_dtypes(exclude=["number", "datetime"]).columns]
    if words and numbers and 0 < len(rows) <= MAX_BARS:
        return bar_chart(rows, words, numbers)
    if words or len(numbers) < 2 or len(rows) < 2:
        return None
    over = rows[numbers[0]]
    n_ids = rows[[name for name in rows if str(name).endswith("_id")]].nunique(dropna=False)
    if over.is_monotonic_increasing and over.is_unique and (n_ids == 1).all():
        return line_chart(rows, numbers)
    return None


def bar_chart(rows: pd.DataFrame, words: list[str], numbers: list[str]) -> alt.Chart:
    """A bar per row, in the color of its emotion if a column holds emotions."""
    ids = [str(name) for name in rows.columns if str(name).endswith(ID_SUFFIXES)]
    # `astype(str)` alone keeps missing values, which cannot be joined.
    texts = rows[list(dict.fromkeys([*words, *ids]))].astype(object).fillna("").astype(str)
    names = [" ".join(filter(None, row)) or "NULL" for row in texts.to_numpy()]
    value = st.selectbox("Bars of", numbers) if len(numbers) > 1 else numbers[0]
    shown = pd.DataFrame(
        {"name": names, "value": rows[value].replace(INFINITE, np.nan), "emotion": emotion_of_rows(rows, words)}
    )
    shown["row"] = range(len(shown))
    x = alt.X("value:Q", title=value, axis=alt.Axis(tickCount=10))
    # Rows may have the same name, so the axis numbers them and shows their names as labels.
    labels = alt.Axis(labelLimit=240, labelExpr=f"{json.dumps(names)}[datum.value]")
    y = alt.Y("row:O", title=None, axis=labels)
    color = (
        alt.when("isValid(datum.emotion)").then(emotion_color(legend=None)).otherwise(alt.value(GRAY))
        if shown["emotion"].notna().any()
        else alt.value(BAR_COLOR)
    )
    chart: alt.Chart = alt.Chart(shown).mark_bar().encode(x=x, y=y, color=color, tooltip=["name", "value"])
    return chart


def emotion_of_rows(rows: pd.DataFrame, words: list[str]) -> "pd.Series[str] | None":
    """The first column of `words` that holds emotions and nothing but emotions; None without one."""
    known = {name: rows[name].dropna() for name in words}
    return next((rows[name] for name in words if len(known[name]) and known[name].isin(EMOTIONS).all()), None)


def line_chart(rows: pd.DataFrame, numbers: list[str]) -> alt.Chart:
    """A line for each number over the first, in the color of the emotion that its name ends with."""
    over, *lines = numbers[: MAX_LINES + 1]
    # Columns are renamed, because Vega reads a name such as `min(pts_s)` as an expression.
    long = rows[lines].assign(**{" over": rows[over]}).replace(INFINITE, np.nan).melt(" over", lines, " line", " value")
    long.columns = pd.Index(["over", "line", "value"])
    emotions = [next((name for name in EMOTIONS if line.endswith(name)), None) for line in lines]
    colors = [EMOTION_COLORS[name] for name in emotions if name]
    scale = alt.Scale(domain=lines, range=colors) if len(colors) == len(lines) else alt.Undefined
    color = alt.Color("line:N", sort=lines, title=None, scale=scale)
    x, y = alt.X("over:Q", title=over), alt.Y("value:Q", title=None)
    chart: alt.Chart = alt.Chart(long).mark_line().encode(x=x, y=y, color=color)
    return chart


def show_answer(rows: pa.Table) -> None:
    """Show the rows as a table and, if they are suitable, as a chart; offer them as files."""
    with st.container(horizontal=True, vertical_alignment="center"):
        count = counted(rows.num_rows, "row")
        first = f", the first {MAX_SHOWN_ROWS:,} shown" if rows.num_rows > MAX_SHOWN_ROWS else ""
        st.caption(count + first, width="content")
        download_button(rows, "csv", stem="answer")
        download_button(rows, "parquet", stem="answer")
    shown = rows.slice(0, MAX_SHOWN_ROWS)
    table = shown.to_pandas()
    formats = {
        str(name): st.column_config.NumberColumn(format=f"%.{n_decimals(values)}f")
        for name, values in table.select_dtypes("floating").items()
    }
    st.dataframe(table, hide_index=True, column_config=formats)
    if (chart := chart_of(decimals_as_floats(shown).to_pandas())) is not None:
        show_chart(chart)


def run_query(sql: str) -> None:
    """Run a query and keep its answer until the next one, or show its error."""
    results = current_results()
    st.session_state.pop("answer", None)
    try:
        with st.spinner("running"):
            st.session_state["answer"] = _answer(results, sql)
    except QueryError as error:
        st.error("The query cannot be answered.")
        # Monospaced, because a caret marks the column of the error.
        st.code(str(error), language=None, wrap_lines=False)
    except EventsError as error:
        st.error(error_text(error))


def _answer(results: Results, sql: str) -> pa.Table:
    """The answer to a query; the current markers are its events, if it uses any."""
    markers = current_markers() if EVENT_VIEWS.search(sql) else None
    if markers is None:
        return query(results.root, sql)
    with tempfile.TemporaryDirectory(prefix="fervid-") as folder:
        events = Path(folder) / "markers.csv"
        try:
            markers.write_csv(results, events)
        except UnknownVideoError as error:
            raise EventsError(f"{markers.name}: {error}") from error
        return query(results.root, sql, events=events)


def main() -> None:
    """Draw the page."""
    st.title("SQL")
    choose_question()
    st.session_state.setdefault("sql", st.session_state.get("last_question", DEFAULT_SQL))
    with st.form("question", border=False):
        sql = st.text_area(EDITOR_LABEL, height=132, key="sql")
        completion(key="completion", data={"label": EDITOR_LABEL, "words": completion_words()})
        with st.container(horizontal=True, vertical_alignment="center"):
            is_submitted = st.form_submit_button("Run", type="primary", help="or Ctrl+Enter in the editor")
            st.caption(
                "One SELECT at a time in DuckDB's SQL. Read-only; no files, no network; at most 30 s and 2 GB "
                "(`fervid query --timeout … --memory …` allows more).",
                width="content",
            )
    show_hidden_note()
    if is_submitted:
        st.session_state["last_question"] = sql
        run_query(sql)
    if "answer" in st.session_state:
        if PEOPLE_VIEW.search(st.session_state["last_question"]):
            show_people_note(current_results())
        show_answer(st.session_state["answer"])
    show_schema()


if __name__ == "__main__":
    main()
