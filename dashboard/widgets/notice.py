"""The legal notice, which shrinks to one line once it was read in this browser."""

import streamlit as st

from dashboard.text import NOTICE, NOTICE_TITLE, SHORT_NOTICE
from dashboard.widgets.mount import mount_js

CSS = """
p { margin: 0 0 8px; font: 14px/1.45 var(--st-font, system-ui, sans-serif); color: var(--st-text-color, #1d2327); }
.full { border: 1px solid var(--st-border-color, #e3e6ea); border-radius: 8px; padding: 12px 14px; }
.short { margin: 0; font-size: 13px; color: color-mix(in srgb, var(--st-text-color, #1d2327) 76%, transparent); }
button { font: inherit; color: inherit; cursor: pointer; }
.full button { font: 14px var(--st-font, system-ui, sans-serif); color: var(--st-text-color, #1d2327); background: none;
  border: 1px solid var(--st-border-color, #e3e6ea); border-radius: 6px; padding: 4px 12px; min-height: 32px; }
.short button { border: 0; background: none; padding: 4px; text-decoration: underline; min-height: 24px; }
"""
notice_component = st.components.v2.component("fervid_notice", css=CSS, js=mount_js("notice.js"), html="")


def show_notice() -> None:
    """Show the notice."""
    notice_component(key="notice", data={"title": NOTICE_TITLE, "text": NOTICE, "short": SHORT_NOTICE})
