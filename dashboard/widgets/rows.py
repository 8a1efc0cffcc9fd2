"""A table in which a click anywhere in a row opens a video or a moment, with thumbnails made in the browser."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypedDict
from urllib.parse import parse_qsl, urlsplit

import streamlit as st

from dashboard.text import percent
from dashboard.widgets.mount import PLAYER, mount_js
from fer_models.labels import EMOTION_COLORS, EMOTIONS

THUMBNAILS_ENVIRONMENT = "FERVID_DASHBOARD_THUMBNAILS"  # "on" or "off": the setting until a user chooses
Kind = Literal["text", "muted", "number", "link", "emotion", "strips", "bar", "thumbnail", "play"]
Strip = list[tuple[float, float, int]]  # for each part of a strip: position and width in percent, index of the emotion
# Maps each column to its value, whose type depends on the kind of column; `href` to the address that a click opens, and
# `play_href` to that of a click on the play button; and `NAME_title` to the tooltip of the value in column `NAME`.
Row = dict[str, object]
rows_component = st.components.v2.component(
    "fervid_rows", css=(PLAYER / "rows.css").read_text(encoding="utf-8"), js=mount_js("rows.js"), html=""
)


@dataclass(frozen=True)
class Column:
    """A column of the table: the key of its values in the rows, and how they are shown."""

    name: str
    label: str
    kind: Kind = "text"
    help: str | None = None


def show_rows(columns: Sequence[Column], rows: Sequence[Row], *, label: str, key: str, thumbnails: bool) -> None:
    """Show the rows; a click on one opens page Timeline at the row's address."""
    data = {
        "label": label,
        "columns": [asdict(column) for column in columns],
        "rows": list(rows),
        "colors": EMOTION_COLORS,
        "thumbnails": thumbnails,
    }
    # The address, not the number of the row: these rows may be others than those that were clicked.
    clicked = rows_component(key=key, data=data, on_open_change=lambda: None).open
    if clicked is not None:
        st.switch_page("views/timeline.py", query_params=dict(parse_qsl(urlsplit(clicked).query)))


def thumbnails_switch() -> bool:
    """The switch for thumbnails. If other machines can open the dashboard, it is off until a user turns it on."""
    default = os.environ.get(THUMBNAILS_ENVIRONMENT, "on") == "on"
    st.session_state.setdefault("thumbnails_chosen", default)

    def choose() -> None:
        st.session_state["thumbnails_chosen"] = st.session_state["thumbnails_switch"]

    help_text = "Made in this browser from the videos while you look at them; never stored."
    st.session_state["thumbnails_switch"] = st.session_state["thumbnails_chosen"]
    return st.toggle("Thumbnails", key="thumbnails_switch", on_change=choose, help=help_text)


class Episode(TypedDict):
    """An episode in a strip."""

    start_s: float
    end_s: float
    emotion: str


def episode_strip(episodes: Iterable[Episode], duration_s: float) -> Strip:
    """The episodes of one person from the left (0 s) to the right (`duration_s`).

    >>> episode_strip([{"start_s": 2.5, "end_s": 5.0, "emotion": "happy"}], 10.0)
    [(25.0, 25.0, 3)]
    """
    scale = 100 / max(duration_s, 1e-3)
    return [
        (round(row["start_s"] * scale, 2), round((row["end_s"] - row["start_s"]) * scale, 2), _number(row["emotion"]))
        for row in episodes
        if row["end_s"] > row["start_s"]
    ]


def share_strip(shares: Iterable[float]) -> Strip:
    r"""Shares of time, in the order of `EMOTIONS`, side by side.

    >>> share_strip([0.5, 0, 0, 0.5, 0, 0, 0])
    [(0.0, 50.0, 0), (50.0, 50.0, 3)]
    """
    strip: Strip = []
    left = 0.0
    for number, share in enumerate(shares):
        if share > 0:
            strip.append((round(100 * left, 2), round(100 * share, 2), number))
            left += share
    return strip


def share_text(shares: Iterable[float]) -> str:
    r"""Shares of time, in the order of `EMOTIONS`, as words, the largest first; those that round to 0 are left out.

    >>> share_text([0.3, 0, 0, 0.698, 0.002, 0, 0])
    'happy 70\xa0%, angry 30\xa0%'
    """
    largest_first = sorted(zip(shares, EMOTIONS, strict=True), key=lambda each: -each[0])
    return ", ".join(f"{name} {percent(share)}" for share, name in largest_first if share >= 0.005)


def _number(emotion: str) -> int:
    return EMOTIONS.index(emotion)
