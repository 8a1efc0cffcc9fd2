"""Which videos, or which spans of them, are compared with which: the ways that page Compare offers."""

from pathlib import PurePath

import pandas as pd
import streamlit as st

from dashboard.data.markers import Markers

FOLDERS, WORDS, SINGLE, FILE, MARKERS = "folders", "words in the path", "single videos", "a CSV file", "markers"
FIRST_VIDEOS = 2  # compared before anything is chosen


def groups_by_folder(paths: list[str]) -> dict[str, str]:
    """Each video in the group of the folder it lies in."""
    return {path: PurePath(path).parent.name or "." for path in paths}


def groups_by_word(paths: list[str], words: list[str]) -> dict[str, str]:
    """Each video in the group of the first word that its path holds; the others in none."""
    found = {path: next((word for word in words if word.lower() in path.lower()), None) for path in paths}
    return {path: word for path, word in found.items() if word is not None}


def choose_way(paths: list[str], markers: Markers | None) -> str | None:
    """How groups are made; by folder if there is more than one, else video by video."""
    several = len(set(groups_by_folder(paths).values())) > 1
    ways = [FOLDERS, WORDS, SINGLE, FILE, *([MARKERS] if markers else [])]
    way: str | None = st.segmented_control("Groups by", ways, default=FOLDERS if several else SINGLE, key="group_way")
    return way


def choose_groups(paths: list[str], way: str | None) -> dict[str, str]:
    """The group of each path, as a person asks for it; empty until there is enough to go by."""
    match way:
        case "folders":
            groups = groups_by_folder(paths)
            if len(set(groups.values())) < 2:
                st.info(f"All {len(paths)} videos lie in one folder; group them in another way.")
                return {}
            return groups
        case "words in the path":
            words = st.text_input("Words, with commas between", placeholder="ad_a, ad_b")
            return groups_by_word(paths, [word.strip() for word in words.split(",") if word.strip()])
        case "single videos":
            chosen = st.multiselect("Videos", paths, paths[:FIRST_VIDEOS], format_func=lambda path: PurePath(path).name)
            names = [PurePath(path).name for path in chosen]
            return {path: PurePath(path).name if names.count(PurePath(path).name) == 1 else path for path in chosen}
        case "a CSV file":
            return groups_of_file()
    return {}


def groups_of_file() -> dict[str, str]:
    """The groups of a file with the columns path and group."""
    file = st.file_uploader("A CSV file with the columns path and group", type="csv")
    if file is None:
        return {}
    try:
        rows = pd.read_csv(file, dtype=str)[["path", "group"]].dropna()
    except (KeyError, ValueError) as error:
        st.error(f"{file.name}: needs the columns path and group in its first line, comma separated: {error}")
        return {}
    return dict(zip(rows["path"], rows["group"], strict=True))
