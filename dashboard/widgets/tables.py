"""Tables of which a row can be chosen."""

from typing import Any

import pandas as pd
import streamlit as st


def choose_row(rows: pd.DataFrame, columns: dict[str, Any], key: str) -> "pd.Series[Any] | None":
    """Show `columns` (name to heading or Streamlit's column) of the rows; gives the one that was chosen, if any."""
    event: Any = st.dataframe(
        rows,
        hide_index=True,
        column_order=list(columns),
        column_config=columns,
        on_select="rerun",
        selection_mode="single-row",
        key=key,
        placeholder="",
    )
    return rows.iloc[event.selection.rows[0]] if event.selection.rows else None
