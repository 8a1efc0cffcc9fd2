"""A button that saves the rows of a page as a file."""

import pyarrow as pa
import streamlit as st

from dashboard.data.downloads import MIME, table_file


def download_button(rows: pa.Table, form: str, *, stem: str) -> None:
    """A button that saves all rows as a file `STEM.FORM`, which is made when it is clicked."""
    name = "CSV" if form == "csv" else form.capitalize()
    st.download_button(
        f"All rows as {name}", lambda: table_file(rows, form), f"{stem}.{form}", MIME[f".{form}"], on_click="ignore"
    )
