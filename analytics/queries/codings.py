"""Codings of people by video: those of human codes, and those of tracks or a second coder to compare them with."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

import duckdb
import numpy as np

from analytics.queries.codes import Code, CodesError
from analytics.queries.intervals import label_intervals
from analytics.results.video_record import NamedVideo
from analytics.results.videos import UnknownVideoError, choose_videos
from analytics.statistics.agreement import Coding
from analytics.time_tolerance import is_later
from fer_models.labels import EMOTIONS

Who = tuple[str, int | str]  # video_id, and the track or, if no track has the name, the person's name in the codes
CLASS_OF = {name: i for i, name in enumerate(EMOTIONS)}
_IGNORED = -1  # the class of codes without an emotion, whose time is not compared


class PersonCodes(NamedTuple):
    """The codes of one person of a video."""

    name: str  # the name in the codes; several with commas between them if they name the same track differently
    coding: Coding


class CodedVideo(NamedTuple):
    """A finished video that is shown."""

    video_id: str
    path: str
    duration_s: float | None


@dataclass(frozen=True)
class Tracks:
    """Find the tracks that names of people refer to."""

    of_person: Mapping[str, int]  # tracks of people given by the user, the same in every video
    # The visible tracks with a name given in the dashboard, by video; if there are none, a hidden one.
    of_name: Mapping[tuple[str, str], Sequence[int]]
    is_hidden: Mapping[str, Mapping[int, bool]]  # whether each track of each video is hidden

    def find(self, video_id: str, person: str) -> int | None:
        """The track that a name or a number refers to; None if there is no such track, or several are visible."""
        if person in self.of_person:
            return self.of_person[person]
        if named := self.of_name.get((video_id, person)):
            return named[0] if len(named) == 1 else None
        number = int(person.lstrip("Pp")) if re.fullmatch(r"[Pp]?\d+", person) else None
        return number if number in self.is_hidden.get(video_id, {}) else None

    def is_ambiguous(self, video_id: str, person: str) -> bool:
        """Whether several visible tracks of a video have this name."""
        return person not in self.of_person and len(self.of_name.get((video_id, person), ())) > 1

    def visible(self, video_id: str) -> list[int]:
        """The tracks of a video that are not hidden."""
        return [track for track, is_hidden in self.is_hidden.get(video_id, {}).items() if not is_hidden]


def find_tracks(
    connection: duckdb.DuckDBPyConnection, people: Mapping[str, int], video_id: str | None = None
) -> Tracks:
    """The tracks of all videos, or of one, and the names given in the dashboard.

    Args:
        connection: the results.
        people: the tracks of further names.
        video_id: only this video.
    """
    where, parameters = ("true", None) if video_id is None else ("video_id = $video_id", {"video_id": video_id})
    columns = "video_id, track_id, person, is_named, is_hidden"
    rows = connection.sql(f"SELECT {columns} FROM people WHERE {where} ORDER BY is_hidden, track_id", params=parameters)
    of_name: dict[tuple[str, str], list[int]] = {}
    is_hidden: dict[str, dict[int, bool]] = defaultdict(dict)
    for video, track_id, person, is_named, hidden in rows.fetchall():
        is_hidden[video][track_id] = hidden
        if is_named and not (hidden and (video, person) in of_name):
            of_name.setdefault((video, person), []).append(track_id)
    return Tracks(people, of_name, is_hidden)


def codings_of(
    codes: Sequence[Code],
    videos: Mapping[str, CodedVideo],
    nameable: Sequence[NamedVideo],
    tracks: Tracks,
    uncoded: str | None,
) -> tuple[dict[Who, PersonCodes], set[str]]:
    """The codes of each person of each video that is shown; names of the same track are one person.

    If several people of a video are coded, one without a track or an emotion is a tier of other codes, and left out.

    Args:
        codes: whose names are emotions, or empty: their time is neither coded nor uncoded. One without a video belongs
            to the only video.
        videos: the finished videos that are shown, by id.
        nameable: the videos that codes may name, including those that are not shown, whose codes are left out.
        tracks: the tracks that names of people refer to.
        uncoded: the emotion of time without a code, from 0 to the end of the video; None: this time is left out.

    Returns:
        The codes of the people; and the ids of the videos with codes, also with those of tiers alone.

    Raises:
        CodesError: if a video cannot be found, or codes of one person overlap.
    """
    if uncoded is None:
        codes = [code for code in codes if code.code]
    ids = {name: _video(name, videos.keys(), nameable) for name in dict.fromkeys(code.video for code in codes)}
    by_person: dict[Who, list[Code]] = defaultdict(list)
    for code in codes:
        video_id, person = ids[code.video], code.person or ""
        if video_id not in videos:
            continue
        track_id = tracks.find(video_id, person)
        by_person[video_id, person if track_id is None else track_id].append(code)
    n_people = Counter(video_id for video_id, _ in by_person)
    found = {}
    for (video_id, key), own in by_person.items():
        if not (isinstance(key, int) or n_people[video_id] == 1 or any(code.code for code in own)):
            continue
        name = ", ".join(dict.fromkeys(code.person for code in own if code.person))
        rows = _join_equal((code.start_s, code.end_s, CLASS_OF[code.code]) for code in own if code.code)
        if uncoded is not None:
            ignored = [(code.start_s, code.end_s, _IGNORED) for code in own if not code.code]
            rows = _fill(sorted([*rows, *ignored]), CLASS_OF[uncoded], videos[video_id].duration_s or 0.0)
            rows = [row for row in rows if row[2] != _IGNORED]
        try:
            found[video_id, key] = PersonCodes(name, _coding(rows))
        except ValueError as error:
            of = f" of {name}" if name else ""
            raise CodesError(f"the codes{of} in {videos[video_id].path} overlap: give one code at a time") from error
    return found, set(n_people)


def _join_equal(rows: Iterable[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Sort intervals by time, and merge those of the same class that touch or overlap, such as those of synonyms."""
    joined: list[tuple[float, float, int]] = []
    for start_s, end_s, code in sorted(rows):
        if joined and joined[-1][2] == code and not is_later(start_s, joined[-1][1]):
            joined[-1] = joined[-1][0], max(joined[-1][1], end_s), code
        else:
            joined.append((start_s, end_s, code))
    return joined


def _fill(rows: list[tuple[float, float, int]], code: int, duration_s: float) -> list[tuple[float, float, int]]:
    """The intervals, with `code` in the gaps between 0 and `duration_s`."""
    filled, now_s = [], 0.0
    for start_s, end_s, own in rows:
        if is_later(start_s, now_s):
            filled.append((now_s, start_s, code))
        filled.append((start_s, end_s, own))
        now_s = max(now_s, end_s)
    return [*filled, (now_s, duration_s, code)] if is_later(duration_s, now_s) else filled


def _coding(rows: Sequence[tuple[float, float, int]]) -> Coding:
    start_s, end_s, code = zip(*rows, strict=True) if rows else ((), (), ())
    return Coding(np.array(start_s, float), np.array(end_s, float), np.array(code, np.int64))


def _video(name: str | None, shown: Set[str], nameable: Sequence[NamedVideo]) -> str:
    """The id of the video that codes name."""
    if name is None:
        if len(shown) == 1:
            return next(iter(shown))
        raise CodesError("the codes do not name their video: add a column video, or choose one with --video")
    try:
        found = choose_videos(nameable, [name])
    except (UnknownVideoError, ValueError) as error:
        raise CodesError(f"the codes name the video {name}: {error}") from error
    if len(found) > 1:
        raise CodesError(
            f"the codes name the video {name}: {len(found)} contents of this file were analyzed; "
            f"give the video_id of one: {', '.join(found)}"
        )
    return found[0]


def pair_with_tracks(
    connection: duckdb.DuckDBPyConnection,
    reference: Mapping[Who, PersonCodes],
    tracks: Tracks,
    videos: Mapping[str, CodedVideo],
) -> list[tuple[int | None, Coding]]:
    """The track of each coded person and its labels, in the same order; None in videos in which nobody is visible.

    Raises:
        CodesError: if no visible track is that person.
    """
    n_coded = Counter(video_id for video_id, _ in reference)
    labels = _labels(connection, n_coded.keys())
    found: list[tuple[int | None, Coding]] = []
    for (video_id, key), (name, _) in reference.items():
        visible = tracks.visible(video_id)
        track_id = key if isinstance(key, int) else None
        if track_id is None and len(visible) == 1 and n_coded[video_id] == 1:
            (track_id,) = visible
        if not visible:
            track_id = None
        elif track_id not in visible:
            raise _no_counterpart(videos[video_id].path, name, [f"P{number}" for number in visible])
        found.append((track_id, labels.get((video_id, track_id), _coding([]))))
    return found


def pair_with_coder(
    reference: Mapping[Who, PersonCodes],
    second: Mapping[Who, PersonCodes],
    tracks: Tracks,
    videos: Mapping[str, CodedVideo],
) -> list[tuple[int | None, Coding]]:
    """The track of each coded person and the second coder's coding, which is empty in videos that only the first coded.

    Raises:
        CodesError: if the second coder coded the video, but not that person.
    """
    n_coded = Counter(video_id for video_id, _ in reference)
    of_second: dict[str, dict[int | str, PersonCodes]] = defaultdict(dict)
    for (video_id, key), codes in second.items():
        of_second[video_id][key] = codes
    found: list[tuple[int | None, Coding]] = []
    for (video_id, key), (name, _) in reference.items():
        there = of_second[video_id]
        counterpart = key
        if key not in there and len(there) == 1 and n_coded[video_id] == 1:
            (other,) = there
            # Names of two tracks are two people. Others may be the same one if there is nobody else.
            are_tracks = isinstance(key, int) and isinstance(other, int)
            if not are_tracks and ("" in (key, other) or len(tracks.visible(video_id)) == 1):
                counterpart = other
        if there and counterpart not in there:
            raise _no_counterpart(videos[video_id].path, name, [codes.name for codes in there.values()])
        track_id = next((one for one in (key, counterpart) if isinstance(one, int)), None)
        found.append((track_id, there[counterpart].coding if there else _coding([])))
    return found


def _no_counterpart(path: str, person: str, there: Iterable[str]) -> CodesError:
    return CodesError(
        f"{path}: no counterpart for {person or 'the person coded'} among "
        f"{', '.join(sorted(there))}: name tracks as P0, P1 … or give --people FILE"
    )


def _labels(connection: duckdb.DuckDBPyConnection, video_ids: Iterable[str]) -> dict[tuple[str, int | None], Coding]:
    """The labels of each track; a gap without a label is no time of a label."""
    found: dict[tuple[str, int | None], list[tuple[float, float, int]]] = defaultdict(list)
    for video_id in sorted(video_ids):
        for row in label_intervals(connection, video_id, max_gap_s=0).to_pylist():
            found[video_id, row["track_id"]].append((row["start_s"], row["end_s"], CLASS_OF[row["emotion"]]))
    return {track: _coding(rows) for track, rows in found.items()}
