"""Controls that assign videos, or time ranges of them, to the groups that page Compare compares."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath

import streamlit as st

from dashboard.data.markers import Markers
from dashboard.text import plain

FOLDERS, WORDS, SINGLE, FILE, MARKERS = "folders", "words in the path", "single videos", "a CSV file", "markers"
DEFAULT_VIDEOS = 2  # number of videos that are compared before anything is selected
MAX_LISTED = 20
PATH_HEADERS = ("path", "video", "file", "filename", "name")
GROUP_HEADERS = ("group", "condition", "label")


class GroupFileError(ValueError):
    """A CSV file from which groups cannot be read."""


@dataclass(frozen=True)
class GroupFile:
    """The group of each path in a file that a user uploaded."""

    name: str
    groups: dict[str, str]


def groups_by_folder(paths: list[str]) -> dict[str, str]:
    """Each video in the group of the folder it lies in."""
    return {path: PurePath(path).parent.name or "." for path in paths}


def groups_by_word(paths: list[str], words: list[str]) -> dict[str, str]:
    """Each video in the group of the first word that its path contains; videos without a match are left out."""
    found = {path: next((word for word in words if word.lower() in path.lower()), None) for path in paths}
    return {path: word for path, word in found.items() if word is not None}


def parse_groups(content: bytes, name: str) -> dict[str, str]:
    r"""The group of each path in a CSV file: with commas, semicolons or tabs, with or without a byte order mark.

    The first line names the columns: `path` (or video, file, filename, name) and `group` (or condition, label).

    >>> parse_groups("\ufeffVideo;Condition\na.mp4;odd\n".encode(), "groups.csv")
    {'a.mp4': 'odd'}

    Raises:
        GroupFileError: if a column is missing; names what was found.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GroupFileError(f"{name}: not a text file in UTF-8. Save it as CSV with the encoding UTF-8.") from error
    first_line = text.partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    path_column = next((header.index(alias) for alias in PATH_HEADERS if alias in header), None)
    group_column = next((header.index(alias) for alias in GROUP_HEADERS if alias in header), None)
    if path_column is None or group_column is None:
        raise GroupFileError(
            f"{name}: the first line must name the columns path and group; found {', '.join(header) or 'nothing'}."
        )
    width = max(path_column, group_column)
    pairs = ((row[path_column].strip(), row[group_column].strip()) for row in rows[1:] if len(row) > width)
    return {path: group for path, group in pairs if path and group}


def choose_way(paths: list[str], markers: Markers | None) -> str:
    """How groups are formed: by folder if there is more than one, else one group for each video."""
    several = len(set(groups_by_folder(paths).values())) > 1
    ways = [FOLDERS, WORDS, SINGLE, FILE, *([MARKERS] if markers else [])]
    default = FOLDERS if several else SINGLE
    way: str = st.segmented_control(
        "Groups by", ways, default=default, required=True, key="group_way", persist_state="session"
    )
    return way


def choose_groups(paths: list[str], way: str) -> dict[str, str]:
    """The group of each path, as selected; empty until enough is selected."""
    match way:
        case "folders":
            groups = groups_by_folder(paths)
            if len(set(groups.values())) < 2:
                st.info(f"All {len(paths)} videos are in one folder. Group them in another way.")
                return {}
            return groups
        case "words in the path":
            text = st.text_input(
                "Words, separated by commas", placeholder="ad_a, ad_b", key="group_words", persist_state="session"
            )
            words = [word.strip() for word in text.split(",") if word.strip()]
            groups = groups_by_word(paths, words)
            show_unmatched_words(words, groups)
            return groups
        case "single videos":
            chosen = st.multiselect(
                "Videos",
                paths,
                paths[:DEFAULT_VIDEOS],
                format_func=lambda path: PurePath(path).name,
                key="group_videos",
                persist_state="session",
            )
            names = [PurePath(path).name for path in chosen]
            return {path: PurePath(path).name if names.count(PurePath(path).name) == 1 else path for path in chosen}
        case "a CSV file":
            return groups_of_file()
    return {}


def groups_of_file() -> dict[str, str]:
    """The groups of a file with the columns path and group, which is kept for this session."""
    st.file_uploader(
        "A CSV file with the columns path and group",
        type=["csv", "tsv", "txt"],
        key="group_file",
        on_change=take_group_file,
    )
    if problem := st.session_state.pop("group_file_problem", None):
        st.error(plain(problem))
    kept: GroupFile | None = st.session_state.get("groups_of_file")
    if kept is None:
        return {}
    st.caption(f"Groups of {plain(kept.name)}")
    return kept.groups


def take_group_file() -> None:
    """Keep the groups of the file that was just uploaded; forget them if it was removed."""
    file = st.session_state["group_file"]
    st.session_state.pop("groups_of_file", None)
    if file is None:
        return
    try:
        st.session_state["groups_of_file"] = GroupFile(file.name, parse_groups(file.getvalue(), file.name))
    except GroupFileError as error:
        st.session_state["group_file_problem"] = str(error)


def show_unmatched_words(words: list[str], groups: Mapping[str, str]) -> None:
    """Name the words that no path contains, or only paths that contain an earlier word."""
    if unmatched := [word for word in words if word not in groups.values()]:
        st.warning(f"No video has in its path: {plain(', '.join(unmatched))}.")


def show_members(groups: Mapping[str, str], paths: list[str]) -> None:
    """List the videos of each group, and those in no group."""
    members: dict[str, list[str]] = {}
    for path in paths:
        if path in groups:
            members.setdefault(groups[path], []).append(PurePath(path).name)
    rest = [PurePath(path).name for path in paths if path not in groups]
    counts = " · ".join(f"{name}: {len(videos)}" for name, videos in sorted(members.items()))
    with st.expander(plain(f"Videos in each group ({counts}{f'; in no group: {len(rest)}' if rest else ''})")):
        for name, videos in sorted(members.items()):
            st.markdown(f"**{plain(name)}**: {plain(_listing(videos))}")
        if rest:
            st.markdown(f"*in no group*: {plain(_listing(rest))}")


def _listing(names: list[str]) -> str:
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
