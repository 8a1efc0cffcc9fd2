"""A button that saves the rows of a page as a file."""

import io

import pyarrow as pa
import streamlit as st

from analytics.tables.table_io import write_rows
from dashboard.data.downloads import MIME


def download_button(rows: pa.Table, form: str, *, stem: str) -> None:
    """A button that saves all rows as a file `STEM.FORM`, which is made when it is clicked."""

    def content() -> bytes:
        file = io.BytesIO()
        write_rows(rows, file, form)
        return file.getvalue()

    name = "CSV" if form == "csv" else form.capitalize()
    st.download_button(f"All rows as {name}", content, f"{stem}.{form}", MIME[f".{form}"], on_click="ignore")
