"""Codes of human coders: their lanes in the player, and their agreement with the labels."""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from analytics.queries.agreement import compare_with_codes
from analytics.queries.codes import Code, CodesError, read_codes
from analytics.results.videos import UnknownVideoError, choose_videos
from dashboard.data.results import Results
from dashboard.text import percent, plain
from fer_models.labels import EMOTIONS, emotion_named

ENVIRONMENT = "FERVID_DASHBOARD_CODES"
PEOPLE_SQL = "SELECT track_id, person, is_hidden FROM people WHERE video_id = $video_id ORDER BY track_id"
HIDDEN = "this person is hidden"
AMBIGUOUS = "several visible people have this name"
UNKNOWN = "no visible person has this name or number"


@dataclass(frozen=True, eq=False)
class Codes:
    """The codes of a file."""

    name: str
    codes: Sequence[Code]

    def by_video(self, results: Results) -> dict[str, list[Code]]:
        """The codes that name a video, by video_id.

        Raises:
            UnknownVideoError: if a code names a video that is not in the results.
        """
        videos = results.videos()
        names = {code.video for code in self.codes if code.video is not None}
        ids_of = {name: choose_videos(videos, [name]) for name in names}
        found: dict[str, list[Code]] = {}
        for code in self.codes:
            for video_id in ids_of.get(code.video or "", []):
                found.setdefault(video_id, []).append(code)
        return found

    def of_video(self, results: Results, video_id: str) -> list[Code]:
        """The codes of one video, by time; those that name no video belong to whatever video is shown.

        Raises:
            UnknownVideoError: if a code names a video that is not in the results.
        """
        without = [code for code in self.codes if code.video is None]
        own = [*without, *self.by_video(results).get(video_id, [])]
        return sorted(own, key=lambda code: (code.start_s, code.end_s))


@dataclass(frozen=True)
class CodedSpan:
    """A code as the player draws it: `emotion` is an index into `EMOTIONS`, or None for another code."""

    start_s: float
    end_s: float
    label: str
    emotion: int | None


@dataclass(frozen=True)
class CodedLane:
    """The codes of one person; `track_id` is the track that is the same person, if there is one."""

    person: str
    track_id: int | None
    spans: tuple[CodedSpan, ...]
    agreement: str  # agreement with the labels in words, or why there is none; empty if nobody or nothing matches


def match_people(coded: Iterable[str], people: Mapping[int, str]) -> dict[str, int]:
    """The track of each coded person among `people`, by its name or its number.

    >>> match_people(["Anna", "P1", "Bo"], {0: "Anna", 1: "P1"})
    {'Anna': 0, 'P1': 1}
    """
    coded = sorted(set(coded))
    track_of = {name: track_id for track_id, name in sorted(people.items(), reverse=True)}
    numbers = {person: int(person.lstrip("Pp")) for person in coded if re.fullmatch(r"[Pp]?\d+", person)}
    found = {person: track_of.get(person, numbers.get(person, -1)) for person in coded}
    return {person: track_id for person, track_id in found.items() if track_id in people}


@dataclass(frozen=True)
class CodedPeople:
    """The tracks of the coded people of a video, and which of them are hidden."""

    track_of: Mapping[str, int]  # the visible track of each coded person who has one
    hidden: frozenset[str]  # coded people who were hidden
    ambiguous: frozenset[str]  # coded people whose name several visible tracks have

    @property
    def reasons(self) -> dict[str, str]:
        """Why hidden and ambiguous people are not compared."""
        return dict.fromkeys(self.hidden, HIDDEN) | dict.fromkeys(self.ambiguous, AMBIGUOUS)


def find_people(results: Results, video_id: str, coded: Collection[str]) -> CodedPeople:
    """Match coded people to tracks.

    If only one person is coded and only one is visible, they match whatever their names.
    """
    rows = results.ask(PEOPLE_SQL, video_id=video_id).to_pylist()
    visible, hidden = (
        {row["track_id"]: row["person"] for row in rows if row["is_hidden"] is is_hidden} for is_hidden in (False, True)
    )
    n_tracks = Counter(visible.values())
    ambiguous = frozenset(person for person in coded if n_tracks[person] > 1)
    track_of = match_people(set(coded) - ambiguous, visible)
    found_hidden = frozenset(match_people(set(coded) - track_of.keys() - ambiguous, hidden))
    if len(set(coded)) == len(visible) == 1 and not found_hidden:
        track_of = {next(iter(coded)): next(iter(visible))}
    return CodedPeople(track_of, found_hidden, ambiguous)


def coded_lanes(results: Results, video_id: str, codes: Iterable[Code]) -> list[CodedLane]:
    """A lane for each person that the codes of a video name."""
    by_person = _by_person(codes)
    people = find_people(results, video_id, by_person)
    return [
        CodedLane(
            person,
            people.track_of.get(person),
            tuple(map(_span, own)),
            f"not compared: {people.reasons[person]}"
            if person in people.reasons
            else agreement_text(results, _comparable(own, video_id, people.track_of)),
        )
        for person, own in sorted(by_person.items())
    ]


def people_of(results: Results, video_id: str) -> dict[int, str]:
    """The name of each track of a video, without hidden people."""
    rows = results.ask(PEOPLE_SQL, video_id=video_id).to_pylist()
    return {row["track_id"]: row["person"] for row in rows if not row["is_hidden"]}


def comparable_codes(results: Results, video_id: str, codes: Iterable[Code]) -> tuple[list[Code], dict[str, str]]:
    """The codes of a video that can be compared with labels, and why each other person is not compared.

    Returns:
        The emotions of people who have a track, named as `P0`; and a reason for each person with emotions but no track.
    """
    by_person = _by_person(codes)
    people = find_people(results, video_id, by_person)
    comparable = [code for own in by_person.values() for code in _comparable(own, video_id, people.track_of)]
    left_out = {
        person: people.reasons.get(person, UNKNOWN)
        for person, own in sorted(by_person.items())
        if person not in people.track_of and any(emotion_named(code.code) is not None for code in own)
    }
    return comparable, left_out


def _by_person(codes: Iterable[Code]) -> dict[str, list[Code]]:
    by_person: dict[str, list[Code]] = {}
    for code in codes:
        by_person.setdefault(code.person or "", []).append(code)
    return by_person


def _comparable(codes: Iterable[Code], video_id: str, track_of: Mapping[str, int]) -> list[Code]:
    return [
        replace(code, code=emotion, person=f"P{track_of[code.person or '']}", video=video_id)
        for code in codes
        if (emotion := emotion_named(code.code)) is not None and (code.person or "") in track_of
    ]


def _span(code: Code) -> CodedSpan:
    emotion = emotion_named(code.code)
    return CodedSpan(code.start_s, code.end_s, code.code, None if emotion is None else EMOTIONS.index(emotion))


def agreement_text(results: Results, codes: Sequence[Code]) -> str:
    """Cohen's kappa, the share of time with the same emotion, and how much time that is; empty without codes."""
    if not codes:
        return ""
    try:
        found = results.answer(lambda connection: compare_with_codes(connection, codes))
    except CodesError:
        return "not compared: codes overlap"
    overall = found.summary.to_pylist()[0]
    if not overall["compared_s"]:
        return "no common time"
    kappa = "" if overall["kappa"] is None else f"κ {overall['kappa']:.2f} · "
    return f"{kappa}{percent(overall['share_same'])} of {overall['compared_s']:.1f} s the same"


def current_codes() -> Codes | None:
    """The codes selected in this session, else those given to the command, else None.

    Raises:
        CodesError: if the file given to the command cannot be read anymore.
    """
    if "codes" in st.session_state:
        chosen: Codes | None = st.session_state["codes"]
        return chosen
    path = os.environ.get(ENVIRONMENT)
    return Codes(Path(path).name, read_codes(Path(path))) if path else None


def lanes_of(codes: Codes | None, results: Results, video_id: str) -> list[CodedLane]:
    """The coded lanes of a video; shows a warning if the codes do not fit the results."""
    if codes is None:
        return []
    try:
        return coded_lanes(results, video_id, codes.of_video(results, video_id))
    except UnknownVideoError as error:
        st.warning(plain(f"{codes.name}: {error}"))
        return []
