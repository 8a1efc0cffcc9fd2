"""Agreement of the timelines with human codes, or of two human coders with each other."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa

from analytics.queries.codes import Code, CodesError
from analytics.queries.groups import Participants
from analytics.queries.intervals import MAX_GAP_S, label_intervals
from analytics.results.videos import UnknownVideoError, choose_videos
from analytics.statistics.agreement import (
    Coding,
    EventMatch,
    cohens_kappa,
    common_part,
    confusion_s,
    match_events,
    pooled_kappa,
    precision_and_recall,
)
from analytics.tables.result_schemas import AGREEMENT, AGREEMENT_CONFUSION, AGREEMENT_EMOTIONS
from fer_models.labels import EMOTIONS

Who = tuple[str, str]  # video_id, and the person's name in the codes or track
CLASS_OF = {name: i for i, name in enumerate(EMOTIONS)}


@dataclass(frozen=True, eq=False)
class Agreement:
    """Three tables: overall and per person, per emotion, and seconds of each pair of emotions."""

    summary: pa.Table  # rows of `result_schemas.AGREEMENT`, the first of which is over all people, the others by path
    emotions: pa.Table  # rows of `result_schemas.AGREEMENT_EMOTIONS`
    confusion: pa.Table  # rows of `result_schemas.AGREEMENT_CONFUSION`


def compare_with_codes(
    connection: duckdb.DuckDBPyConnection,
    codes: Sequence[Code],
    *,
    second: Sequence[Code] | None = None,
    people: Mapping[str, int] | None = None,
    participants: Participants | None = None,
    uncoded: str | None = None,
    tolerance_s: float = 0.5,
) -> Agreement:
    """Compare codes, whose names are emotions, with the labels of the results, or with those of a second coder.

    Args:
        connection: the results.
        codes: the reference; one without a video belongs to the only video of the results.
        second: codes of another coder to compare with instead of the labels.
        people: the track of each person that the codes name; others are found by the name given in the dashboard, or
            `P3` or `3` for track 3.
        participants: the participant of each track, the units of the interval; None: each video is one.
        uncoded: the emotion of time without a code, from 0 to the end of the video; None: this time is left out.
        tolerance_s: greatest distance of two matching onsets.

    Raises:
        CodesError: if a video or person cannot be found, or codes of one person overlap.
    """
    videos = connection.sql("SELECT video_id, path, duration_s FROM videos WHERE status = 'done'").to_arrow_table()
    known = {row["video_id"]: _Video(**row) for row in videos.to_pylist()}
    reference = _codings(codes, known, uncoded)
    if second is None:
        found = _pair_with_tracks(connection, reference, people or {}, known)
    else:
        found = _pair_with_coder(connection, reference, _codings(second, known, uncoded), known)
    units = participants or Participants()
    compared = []
    for (video_id, person), (track_id, other) in zip(sorted(reference), found, strict=True):
        path = known[video_id].path
        mine, theirs = common_part(reference[video_id, person], other, MAX_GAP_S)
        compared.append(
            _Compared(
                path,
                person,
                units.find(path, track_id),
                confusion_s(reference[video_id, person], other, len(EMOTIONS)),
                [match_events(mine, theirs, k, tolerance_s) for k in CLASS_OF.values()],
            )
        )
    return _tables(compared)


class _Video(NamedTuple):
    video_id: str
    path: str
    duration_s: float | None


@dataclass(frozen=True, eq=False)
class _Compared:
    path: str
    person: str  # the name that the codes give the person
    participant: str
    confusion: np.ndarray
    events: list[EventMatch]  # the matched events of each emotion


def _codings(codes: Iterable[Code], videos: Mapping[str, _Video], uncoded: str | None) -> dict[Who, Coding]:
    """The codes of each person of each video."""
    spans: dict[Who, list[tuple[float, float, int]]] = defaultdict(list)
    for code in codes:
        spans[_video(code, videos), code.person or ""].append((code.start_s, code.end_s, CLASS_OF[code.code]))
    found = {}
    for (video_id, person), rows in spans.items():
        rows = _join_equal(rows)
        if uncoded is not None:
            rows = _fill(rows, CLASS_OF[uncoded], videos[video_id].duration_s or 0.0)
        try:
            found[video_id, person] = _coding(rows)
        except ValueError as error:
            name = f" of {person}" if person else ""
            raise CodesError(f"the codes{name} in {videos[video_id].path} overlap: give one code at a time") from error
    return found


def _join_equal(rows: list[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """Sort intervals by time, and merge those of the same class that touch or overlap, such as those of synonyms."""
    joined: list[tuple[float, float, int]] = []
    for start_s, end_s, code in sorted(rows):
        if joined and joined[-1][2] == code and start_s <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end_s), code
        else:
            joined.append((start_s, end_s, code))
    return joined


def _fill(rows: list[tuple[float, float, int]], code: int, duration_s: float) -> list[tuple[float, float, int]]:
    """The intervals, with `code` in the gaps between 0 and `duration_s`."""
    filled, now_s = [], 0.0
    for start_s, end_s, own in rows:
        if start_s > now_s:
            filled.append((now_s, start_s, code))
        filled.append((start_s, end_s, own))
        now_s = max(now_s, end_s)
    return [*filled, (now_s, duration_s, code)] if duration_s > now_s else filled


def _coding(rows: Sequence[tuple[float, float, int]]) -> Coding:
    start_s, end_s, code = zip(*rows, strict=True) if rows else ((), (), ())
    return Coding(np.array(start_s, float), np.array(end_s, float), np.array(code, np.int64))


def _video(code: Code, videos: Mapping[str, _Video]) -> str:
    if code.video is None:
        if len(videos) == 1:
            return next(iter(videos))
        raise CodesError("the codes do not name their video: add a column video, or choose one with --video")
    try:
        (video_id,) = choose_videos([*videos.values()], [code.video])
    except (UnknownVideoError, ValueError) as error:
        raise CodesError(f"the codes name the video {code.video}: {error}") from error
    return video_id


def _pair_with_tracks(
    connection: duckdb.DuckDBPyConnection,
    reference: Collection[Who],
    people: Mapping[str, int],
    videos: Mapping[str, _Video],
) -> list[tuple[int | None, Coding]]:
    """The track of each coded person and its labels, in the same order; None in videos in which nobody is visible.

    Raises:
        CodesError: if no visible track is that person.
    """
    tracks = _Tracks(
        people,
        dict(_named_tracks(connection)),
        dict(connection.sql("SELECT (video_id, track_id), is_hidden FROM people").fetchall()),
    )
    labels = _labels(connection, {video_id for video_id, _ in reference})
    found: list[tuple[int | None, Coding]] = []
    for video_id, person in sorted(reference):
        visible = tracks.visible(video_id)
        track_id = tracks.find(video_id, person)
        if track_id is None and len(visible) == 1 and _is_alone(video_id, reference):
            (track_id,) = visible
        if track_id not in visible and visible:
            raise _no_counterpart(videos[video_id].path, person, [f"P{number}" for number in visible])
        found.append((track_id, labels.get((video_id, track_id), _coding([]))))
    return found


def _pair_with_coder(
    connection: duckdb.DuckDBPyConnection,
    reference: Collection[Who],
    second: Mapping[Who, Coding],
    videos: Mapping[str, _Video],
) -> list[tuple[int | None, Coding]]:
    """The second coder's coding of each coded person, in the same order; empty in videos that only the first one coded.

    Raises:
        CodesError: if the second coder coded the video, but not that person.
    """
    n_visible = dict(
        connection.sql("SELECT video_id, count(*) FROM people WHERE NOT is_hidden GROUP BY ALL").fetchall()
    )
    found: list[tuple[int | None, Coding]] = []
    for video_id, person in sorted(reference):
        there = [name for video, name in second if video == video_id]
        name = person
        if (
            len(there) == 1
            and _is_alone(video_id, reference)
            and ("" in (person, *there) or n_visible.get(video_id) == 1)
        ):
            (name,) = there
        if there and name not in there:
            raise _no_counterpart(videos[video_id].path, person, there)
        found.append((None, second.get((video_id, name), _coding([]))))
    return found


def _is_alone(video_id: str, coded: Collection[Who]) -> bool:
    return sum(video == video_id for video, _ in coded) == 1


def _no_counterpart(path: str, person: str, there: Iterable[str]) -> CodesError:
    return CodesError(
        f"{path}: no counterpart for {person or 'the person coded'} among "
        f"{', '.join(sorted(there))}: name tracks as P0, P1 … or give --people FILE"
    )


def _labels(connection: duckdb.DuckDBPyConnection, video_ids: Iterable[str]) -> dict[tuple[str, int | None], Coding]:
    """The labels of each track."""
    found: dict[tuple[str, int | None], list[tuple[float, float, int]]] = defaultdict(list)
    for video_id in sorted(video_ids):
        for row in label_intervals(connection, video_id).to_pylist():
            found[video_id, row["track_id"]].append((row["start_s"], row["end_s"], CLASS_OF[row["emotion"]]))
    return {track: _coding(rows) for track, rows in found.items()}


@dataclass(frozen=True)
class _Tracks:
    """Find the tracks that names of people refer to."""

    of_person: Mapping[str, int]  # tracks of people given by the user, the same in every video
    of_name: Mapping[Who, int]  # tracks of people named in the dashboard, by video
    is_hidden: Mapping[tuple[str, int], bool]  # whether each track is hidden

    def find(self, video_id: str, person: str) -> int | None:
        """The track that a name refers to."""
        track_id = self.of_person.get(person, self.of_name.get((video_id, person)))
        if track_id is None and re.fullmatch(r"[Pp]?\d+", person):
            number = int(person.lstrip("Pp"))
            return number if (video_id, number) in self.is_hidden else None
        return track_id

    def visible(self, video_id: str) -> list[int]:
        """The tracks of a video that are not hidden."""
        return [track for (video, track), is_hidden in self.is_hidden.items() if video == video_id and not is_hidden]


def _named_tracks(connection: duckdb.DuckDBPyConnection) -> list[tuple[Who, int]]:
    """The track of each name that at most one visible track of the video has; a hidden one if no visible one has it."""
    rows = connection.sql(
        "SELECT video_id, person, arg_min(track_id, is_hidden) FROM people WHERE is_named "
        "GROUP BY video_id, person HAVING count(*) FILTER (NOT is_hidden) <= 1"
    ).fetchall()
    return [((video_id, person), track_id) for video_id, person, track_id in rows]


def _tables(compared: Sequence[_Compared]) -> Agreement:
    total = np.sum([one.confusion for one in compared], axis=0) if compared else np.zeros((len(EMOTIONS),) * 2)
    by_unit: dict[str, np.ndarray] = {}
    for one in compared:
        by_unit[one.participant] = by_unit.get(one.participant, 0) + one.confusion
    kappa = pooled_kappa([table for table in by_unit.values() if table.sum() > 0])
    every_event = [[one.events[k] for one in compared] for k in range(len(EMOTIONS))]
    overall = {
        **_summary_row(None, None, total, [event for events in every_event for event in events]),
        "low": kappa.low,
        "high": kappa.high,
        "note": kappa.note or None,
    }
    by_path = sorted(compared, key=lambda one: (one.path, one.person))
    rows = [overall, *(_summary_row(one.path, one.person, one.confusion, one.events) for one in by_path)]
    precision, recall = (_known(values) for values in precision_and_recall(total))
    emotions = [
        {
            "emotion": name,
            "coded_s": total[k].sum(),
            "labelled_s": total[:, k].sum(),
            "precision": precision[k],
            "recall": recall[k],
            **_event_columns(every_event[k]),
        }
        for k, name in enumerate(EMOTIONS)
    ]
    columns = {name: total[:, k] for k, name in enumerate(EMOTIONS)}
    return Agreement(
        pa.Table.from_pylist(rows, AGREEMENT),
        pa.Table.from_pylist(emotions, AGREEMENT_EMOTIONS),
        pa.table({"coded": list(EMOTIONS), **columns}, AGREEMENT_CONFUSION),
    )


def _summary_row(
    path: str | None, person: str | None, confusion: np.ndarray, events: Sequence[EventMatch]
) -> dict[str, object]:
    compared_s = float(confusion.sum())
    return {
        "path": path,
        "person": person,
        "compared_s": compared_s,
        "share_same": float(np.trace(confusion)) / compared_s if compared_s else None,
        "kappa": cohens_kappa(confusion),
        **_event_columns(events),
    }


def _event_columns(events: Sequence[EventMatch]) -> dict[str, object]:
    counts = np.array([(e.n_reference, e.n_coded, e.n_matched) for e in events], np.int64).reshape(-1, 3).sum(axis=0)
    match = EventMatch(*counts.tolist())
    return {
        "n_coded_events": match.n_reference,
        "n_label_events": match.n_coded,
        "n_matched": match.n_matched,
        "event_f1": match.f1,
    }


def _known(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
