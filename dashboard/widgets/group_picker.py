"""Controls that assign videos, or time ranges of them, to the groups that page Compare compares."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import streamlit as st

from analytics.queries.groups import GroupError, parse_column
from analytics.results.video_record import VideoName
from analytics.results.videos import file_name, folder_of, short_names
from dashboard.data.markers import Markers
from dashboard.text import plain, without_common_folder

FOLDERS, WORDS, SINGLE, FILE, MARKERS = "folders", "words in the path", "single videos", "a CSV file", "markers"
MAX_GROUPS = 6  # every pair of groups is compared
DEFAULT_VIDEOS = 2  # number of videos that are compared before anything is selected
MAX_LISTED = 20
# Advice for a choice that makes fewer than two groups.
NEXT_STEPS = {
    FOLDERS: "All videos are in one folder: group them in another way.",
    WORDS: "Enter at least two words that paths contain: each makes a group of the videos that have it in their path. "
    "The folders that all videos share do not count.",
    SINGLE: "Select at least two videos.",
    FILE: "Choose a file that names at least two groups.",
}


@dataclass(frozen=True)
class Grouping:
    """The group and the participant of videos."""

    groups: dict[str, str]  # group by path (or its end), file name or video_id
    participants: dict[str, str] = field(default_factory=dict)  # participant of each video that a file names
    source: str = "the groups"  # the name of the file


@dataclass(frozen=True)
class GroupFile:
    """The groups and participants in a file that a user uploaded."""

    name: str
    grouping: Grouping


def groups_by_folder(paths: list[str]) -> dict[str, str]:
    """Group videos by the name of the folder that contains them."""
    return {path: file_name(folder_of(path)) or "." for path in paths}


def joined_folders_note(paths: list[str]) -> str | None:
    """A sentence on folders in different places that are one group, because their names are the same; None without."""
    folders: dict[str, set[str]] = {}
    for path, name in groups_by_folder(paths).items():
        folders.setdefault(name, set()).add(folder_of(path))
    joined = [_listing(sorted(found)) for _, found in sorted(folders.items()) if len(found) > 1]
    return f"Folders of the same name are one group: {'; '.join(joined)}." if joined else None


def words_in(path: str, words: Iterable[str]) -> list[str]:
    """The words that a path contains, in any case; a word within a longer one does not count.

    >>> words_in("in/female_01.mp4", ["male", "female"]), words_in("in/female_male.mp4", ["male", "female"])
    (['female'], ['female', 'male'])
    """
    rest, found = path.lower(), []
    for word in sorted(words, key=len, reverse=True):
        if word.lower() in rest:
            found.append(word)
            rest = rest.replace(word.lower(), "\0")
    return found


def groups_by_word(paths: list[str], words: list[str]) -> dict[str, str]:
    """Group videos by the word that their path contains; videos with no word, or several, are left out.

    The folders that all paths begin with do not count.
    """
    found = {path: words_in(short, words) for path, short in zip(paths, without_common_folder(paths), strict=True)}
    return {path: matching[0] for path, matching in found.items() if len(matching) == 1}


def choose_way(paths: list[str], markers: Markers | None) -> str:
    """Choose how to form groups; default: by folder if there are several, else one group for each video."""
    several = len(set(groups_by_folder(paths).values())) > 1
    ways = [FOLDERS, WORDS, SINGLE, FILE, *([MARKERS] if markers else [])]
    default = FOLDERS if several else SINGLE
    way: str = st.segmented_control(
        "Groups by", ways, default=default, required=True, key="group_way", persist_state="session"
    )
    return way


def choose_groups(videos: Sequence[VideoName], way: str) -> Grouping:
    """The groups of the videos, as selected; empty until enough is selected."""
    paths = [video.path for video in videos]
    match way:
        case "folders":
            if note := joined_folders_note(paths):
                st.caption(plain(note))
            return Grouping(groups_by_folder(paths))
        case "words in the path":
            text = st.text_input(
                "Words, separated by commas", placeholder="ad_a, ad_b", key="group_words", persist_state="session"
            )
            words = [word.strip() for word in text.split(",") if word.strip()]
            show_unmatched_words(videos, words)
            return Grouping(groups_by_word(paths, words))
        case "single videos":
            names = short_names(videos)
            chosen = st.multiselect(
                f"Videos, at most {MAX_GROUPS}",
                list(names),
                list(names)[:DEFAULT_VIDEOS],
                format_func=names.__getitem__,
                max_selections=MAX_GROUPS,
                key="group_videos",
                persist_state="session",
            )
            return Grouping({video_id: names[video_id] for video_id in chosen})
        case "a CSV file":
            return grouping_of_file()
    return Grouping({})


def grouping_of_file() -> Grouping:
    """The groups and participants of a file, which is kept for this session."""
    st.file_uploader(
        "A CSV file with the columns path, group and optionally participant",
        type=["csv", "tsv", "txt"],
        key="group_file",
        on_change=take_group_file,
    )
    if problem := st.session_state.pop("group_file_problem", None):
        st.error(plain(problem))
    kept: GroupFile | None = st.session_state.get("groups_of_file")
    if kept is None:
        return Grouping({})
    st.caption(f"Groups of {plain(kept.name)}")
    return kept.grouping


def take_group_file() -> None:
    """Keep the groups of the file that was just uploaded; forget them if it was removed."""
    file = st.session_state["group_file"]
    st.session_state.pop("groups_of_file", None)
    if file is None:
        return
    try:
        st.session_state["groups_of_file"] = GroupFile(file.name, parse_grouping(file.getvalue(), file.name))
    except GroupError as error:
        st.session_state["group_file_problem"] = str(error)


def parse_grouping(content: bytes, name: str) -> Grouping:
    """The groups and participants of an uploaded file, as `fervid summary compare --groups` reads them.

    Raises:
        GroupError: if a column is missing; names what was found.
    """
    groups = parse_column(content, name, "group")
    return Grouping(groups, parse_column(content, name, "participant", optional=True), name)


def show_unmatched_words(videos: Sequence[VideoName], words: list[str]) -> None:
    """Name the words that no path contains, and the videos whose paths contain several."""
    names = short_names(videos)
    short = without_common_folder([video.path for video in videos])
    found = {video.video_id: words_in(path, words) for video, path in zip(videos, short, strict=True)}
    if unmatched := [word for word in words if not any(word in matching for matching in found.values())]:
        st.warning(f"No video has in its path below the common folder: {plain(', '.join(unmatched))}.")
    if ambiguous := [names[video_id] for video_id, matching in found.items() if len(matching) > 1]:
        st.warning(f"Left out, because several of the words are in their path: {plain(_listing(ambiguous))}.")


def show_members(groups: Mapping[str, str], videos: Sequence[VideoName]) -> None:
    """List the videos of each group, and those that are not compared.

    Args:
        groups: group by video_id.
        videos: all videos.
    """
    members: dict[str, list[str]] = {}
    rest: list[str] = []
    for video_id, name in short_names(videos).items():
        of_group = members.setdefault(groups[video_id], []) if video_id in groups else rest
        of_group.append(name)
    counts = " · ".join(f"{name}: {len(videos)}" for name, videos in sorted(members.items()))
    with st.expander(plain(f"Videos in each group ({counts}{f'; not compared: {len(rest)}' if rest else ''})")):
        for name, of_group in sorted(members.items()):
            st.markdown(f"**{plain(name)}**: {plain(_listing(of_group))}")
        if rest:
            st.markdown(f"*not compared*: {plain(_listing(rest))}")


def _listing(names: list[str]) -> str:
    more = len(names) - MAX_LISTED
    return ", ".join(names[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
