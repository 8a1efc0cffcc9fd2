"""Codes of human coders: their lanes in the player, and their agreement with the labels."""

import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from analytics.queries.agreement import compare_with_codes
from analytics.queries.codes import Code, CodesError, read_codes
from analytics.queries.codings import find_tracks
from analytics.results.videos import UnknownVideoError, choose_videos
from dashboard.data.results import Results
from dashboard.text import error_text, percent, plain
from fer_models.labels import EMOTIONS, emotion_named

ENVIRONMENT = "FERVID_DASHBOARD_CODES"
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
        ids_of = {name: choose_videos(videos, [name], by_content=False) for name in names}
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


def find_people(results: Results, video_id: str, coded: Set[str]) -> CodedPeople:
    """Match coded people to tracks, as `compare_with_codes` does.

    If only one person is coded and only one is visible, they match whatever their names.
    """
    tracks = results.answer(lambda connection: find_tracks(connection, {}, video_id))
    found = {person: track_id for person in coded if (track_id := tracks.find(video_id, person)) is not None}
    visible = tracks.visible(video_id)
    track_of = {person: track_id for person, track_id in found.items() if track_id in visible}
    hidden = frozenset(found.keys() - track_of.keys())
    if len(coded) == len(visible) == 1 and not hidden:
        track_of = dict(zip(coded, visible, strict=True))
    return CodedPeople(track_of, hidden, frozenset(person for person in coded if tracks.is_ambiguous(video_id, person)))


def coded_lanes(results: Results, video_id: str, codes: Iterable[Code]) -> list[CodedLane]:
    """A lane for each person that the codes of a video name."""
    by_person = _by_person(codes)
    people = find_people(results, video_id, by_person.keys())
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


def comparable_codes(results: Results, video_id: str, codes: Iterable[Code]) -> tuple[list[Code], dict[str, str]]:
    """The codes of a video that can be compared with labels, and why each other person is not compared.

    Returns:
        The emotions of people who have a track; and a reason for each person with emotions but no track.
    """
    by_person = _by_person(codes)
    people = find_people(results, video_id, by_person.keys())
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
        replace(code, code=emotion, video=video_id)
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
        st.warning(f"{plain(codes.name)}: {error_text(error)}")
        return []
