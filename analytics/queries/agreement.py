"""Agreement of the timelines with human codes, or of two human coders with each other."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from analytics.queries.codes import Code, CodesError
from analytics.queries.codings import (
    CLASS_OF,
    CodedVideo,
    Who,
    codings_of,
    find_tracks,
    pair_with_coder,
    pair_with_tracks,
)
from analytics.queries.groups import Participants
from analytics.queries.intervals import MAX_GAP_S
from analytics.results.video_record import video_names
from analytics.statistics.agreement import (
    EventMatch,
    cohens_kappa,
    common_events,
    confusion_s,
    match_events,
    pooled_kappa,
    precision_and_recall,
)
from analytics.tables.result_schemas import AGREEMENT, AGREEMENT_CONFUSION, AGREEMENT_EMOTIONS
from analytics.text import counted
from fer_models.labels import EMOTIONS

# Videos that codes may name: failed ones cannot be compared with codes.
_NAMEABLE_VIDEOS = """
SELECT * FROM known_videos WHERE video_id NOT IN (SELECT video_id FROM videos WHERE status <> 'done')
"""


@dataclass(frozen=True, eq=False)
class Agreement:
    """Three tables: overall and per person, per emotion, and seconds of each pair of emotions."""

    summary: pa.Table  # rows of `result_schemas.AGREEMENT`, the first of which is over all people, the others by path
    emotions: pa.Table  # rows of `result_schemas.AGREEMENT_EMOTIONS`
    confusion: pa.Table  # rows of `result_schemas.AGREEMENT_CONFUSION`
    tracks: Sequence[tuple[str, int | None]]  # video_id and track of each row of `summary` but the first
    notes: Sequence[str]  # on videos that are left out because they have no code


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
    """Compare codes, as of `translate_codes`, with the labels of the results, or with the codes of a second coder.

    Args:
        connection: the results; codes of videos that are not shown are left out.
        codes: the reference; one without a video belongs to the only video of the results.
        second: codes of another coder to compare with instead of the labels.
        people: the track of each person that the codes name; others are found as `Tracks.find` does: by the name given
            in the dashboard, or `P3` or `3` for track 3.
        participants: the participant of each track, the units of the interval; None: each video is one.
        uncoded: the emotion of time without a code, from 0 to the end of a video with codes; None: this time is left
            out.
        tolerance_s: greatest distance of two matching onsets.

    Raises:
        CodesError: if a video or person cannot be found, or codes of one person overlap.
    """
    videos = connection.sql("SELECT video_id, path, duration_s FROM videos WHERE status = 'done'").to_arrow_table()
    shown = {row["video_id"]: CodedVideo(**row) for row in videos.to_pylist()}
    nameable = video_names(connection.sql(_NAMEABLE_VIDEOS).to_arrow_table())
    tracks = find_tracks(connection, people or {})
    reference, coded_videos = codings_of(codes, shown, nameable, tracks, uncoded)
    if any(code.code for code in codes) and not reference:
        raise CodesError(f"all codes belong to other videos than {', '.join(video.path for video in shown.values())}")
    if second is None:
        found = pair_with_tracks(connection, reference, tracks, shown)
        coders = [(reference, coded_videos)]
    else:
        other_codes, other_videos = codings_of(second, shown, nameable, tracks, uncoded)
        found = pair_with_coder(reference, other_codes, tracks, shown)
        coders = [(reference, coded_videos), (other_codes, other_videos)]
    units = participants or Participants()
    compared = []
    for ((video_id, _), (person, coding)), (track_id, other) in zip(reference.items(), found, strict=True):
        mine, theirs = common_events(coding, other, MAX_GAP_S)
        compared.append(
            _Compared(
                shown[video_id],
                track_id,
                person,
                units.find(video_id, track_id),
                confusion_s(coding, other, len(EMOTIONS)),
                [match_events(mine, theirs, k, tolerance_s) for k in CLASS_OF.values()],
            )
        )
    videos = {video_id for video_id, video in shown.items() if video.duration_s != 0}
    return _tables(compared, _left_out_notes(coders, videos, uncoded))


def _left_out_notes(
    coders: Sequence[tuple[Collection[Who], set[str]]], videos: set[str], uncoded: str | None
) -> list[str]:
    """Sentences on videos that are left out: of only one of two coders, without a code, or without a person.

    Args:
        coders: what `codings_of` returns for each coder.
        videos: the ids of the videos to compare, without still images, which have no time to code.
        uncoded: as for `compare_with_codes`; None: videos without a code are not counted.
    """
    coded = [coded_videos for _, coded_videos in coders]
    n_coded, n_by_all = len(set.union(*coded)), len(set.intersection(*coded))
    notes = []
    if n := n_coded - n_by_all:
        notes.append(f"{counted(n, 'video')} with codes of only one coder {'is' if n == 1 else 'are'} left out.")
    if uncoded is not None and (n := len(videos.difference(*coded))):
        have, are = ("has", "is") if n == 1 else ("have", "are")
        notes.append(
            f"{n} of {counted(len(videos), 'analyzed video')} {have} no code and {are} left out in spite of --uncoded: "
            "perhaps nobody coded them."
        )
    if uncoded is not None and notes:
        notes[-1] += f" If a coder found nothing to code in a video, add a line with {uncoded} over the whole video."
    without_person = [coded_videos - {video_id for video_id, _ in people} for people, coded_videos in coders]
    if n := len(set.union(*without_person)):
        notes.append(
            f"{counted(n, 'video')} with codes of several people, none of whom has a track or an emotion, "
            f"{'is' if n == 1 else 'are'} left out: name tracks as P0, P1 … or give --people FILE."
        )
    return notes


@dataclass(frozen=True, eq=False)
class _Compared:
    video: CodedVideo
    track_id: int | None
    person: str  # as `PersonCodes.name`
    participant: str
    confusion: np.ndarray
    events: list[EventMatch]  # the matched events of each emotion


def _tables(compared: Sequence[_Compared], notes: Sequence[str]) -> Agreement:
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
    by_path = sorted(compared, key=lambda one: (one.video.path, one.person))
    rows = [overall, *(_summary_row(one.video.path, one.person, one.confusion, one.events) for one in by_path)]
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
        [(one.video.video_id, one.track_id) for one in by_path],
        notes,
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
