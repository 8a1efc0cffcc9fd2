"""Compare the share of time of each emotion between groups of videos or events, with intervals and tests."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from analytics.queries.event_files import read_events
from analytics.queries.events import during_matched_events, match_events, merge_overlaps
from analytics.queries.groups import GroupError, find_groups, resolve_participants
from analytics.queries.sql_files import run_sql_for_videos
from analytics.queries.summaries import shares_with_ids
from analytics.results.video_record import video_names
from analytics.results.videos import short_names
from analytics.statistics.clusters import Comparison, Sample, pair_samples
from analytics.statistics.intervals import holm
from analytics.tables.arrow_utils import to_float_array
from analytics.tables.result_schemas import COMPARISON
from analytics.text import counted
from analytics.time_tolerance import is_shorter
from fer_models.labels import EMOTIONS

METHODS = {True: "paired t", False: "Welch t"}
# A value from less than this share of the median labeled time of its group counts as much as the others, but a note
# says so.
LITTLE_TIME = 0.1
NOTE_SEPARATOR = "; "  # between the notes of a row


def compare(
    connection: duckdb.DuckDBPyConnection,
    groups: Mapping[str, str] | Path,
    *,
    participants: Mapping[str, str] | Path | None = None,
    all_faces: bool = False,
) -> pa.Table:
    """Compare the share of time of each emotion between groups of videos; a row per emotion and pair of groups.

    Participants are the units of all intervals and tests; without any, videos are. If a participant is in both groups,
    the comparison is paired. Still images count with the share of their good faces. Videos without any label are left
    out. See `result_schemas.COMPARISON` for the columns and docs/statistics.md for the methods.

    Args:
        connection: the results.
        groups: the group of each video by its path, file name or video_id, or a CSV with the columns path, group and
            optionally participant.
        participants: the participant of each video, likewise, or a CSV with the columns path and participant; None:
            the column participant of `groups`, if it has one. A video that neither names belongs to the person named in
            the dashboard, if all of its tracks have the same name.
        all_faces: as for `shares`.

    Raises:
        GroupError: if a file cannot be read, a video is not in the results, or there are fewer than two groups.
    """
    videos = video_names(connection.sql("SELECT video_id, path FROM videos").to_arrow_table())
    group_of = find_groups(groups, videos)
    if participants is None and isinstance(groups, Path):
        participants = groups
    people = resolve_participants(connection, participants)
    of_videos = shares_with_ids(connection, all_faces=all_faces)
    without = sorted(set(group_of) - set(of_videos["video_id"].to_pylist()))
    stills = run_sql_for_videos(connection, "still_shares", without, all_faces=all_faces)
    both = pa.concat_tables([of_videos, stills], promote_options="permissive")
    names = ("video_id", "track_id", "n_faces", "n_low_quality")
    tracks = zip(*(both[name].to_pylist() for name in names), strict=True)
    rows = [
        LabeledTime(group_of[video], video, people.find(video, track_id), track_id, label_s, n_faces, n_low_quality)
        for (video, track_id, n_faces, n_low_quality), label_s in zip(
            tracks, label_seconds(both, EMOTIONS), strict=True
        )
        if video in group_of
    ]
    of_groups: dict[str, list[str]] = {}
    for video, group in group_of.items():
        of_groups.setdefault(group, []).append(video)
    return compare_labeled_time(rows, of_groups, short_names(videos))


def compare_events(
    connection: duckdb.DuckDBPyConnection,
    events: Path | pa.Table,
    *,
    participants: Mapping[str, str] | Path | None = None,
) -> pa.Table:
    """Compare the share of time of each emotion between events with different labels; a row per emotion and pair.

    The columns are those of `compare`. A video counts once for each label, over all its events of that label; time in
    several of them counts once. Videos (or participants) with events of both labels make the comparison paired.
    `low_quality_share` is a share of time.
    Labels whose events show nobody also get rows, without videos.

    Args:
        connection: the results.
        events: as for `during_events`.
        participants: as for `compare`.

    Raises:
        EventsError: if the file cannot be read or a line is wrong.
        UnknownVideoError: if an event names a video that is not there.
        GroupError: if there are fewer than two labels, two labels differ only in case or blanks, or the participants
            cannot be read.
    """
    events = read_events(events) if isinstance(events, Path) else events
    labels = set(events["label"].to_pylist())
    if len(labels) < 2:
        raise GroupError(f"the events: at least two labels are needed to compare, got {len(labels)}")
    people = resolve_participants(connection, participants)
    of_videos = merge_overlaps(match_events(connection, events))
    shown = during_matched_events(connection, of_videos)
    names = ("label", "video_id", "track_id", "seen_s", "ok_s", "left_out_s")
    tracks = zip(*(shown[name].to_pylist() for name in names), strict=True)
    label_s = label_seconds(shown, [f"share_{name}" for name in EMOTIONS])
    rows = [
        LabeledTime(label, video, people.find(video, track_id), track_id, seconds, seen_s, seen_s - ok_s - left_s)
        for (label, video, track_id, seen_s, ok_s, left_s), seconds in zip(tracks, label_s, strict=True)
    ]
    names_of_videos = short_names(video_names(connection.sql("SELECT video_id, path FROM videos").to_arrow_table()))
    videos: dict[str, set[str]] = {label: set() for label in labels}
    for event in of_videos.to_pylist():
        if event["video_id"] in names_of_videos:
            videos[event["label"]].add(event["video_id"])
    return compare_labeled_time(rows, videos, names_of_videos)


@dataclass(frozen=True, eq=False)
class LabeledTime:
    """Time of each label of one track in one group: in a video of the group, or during events with one label."""

    group: str
    video_id: str
    participant: str
    track_id: int | None  # the track, or None for the faces of still images
    label_s: np.ndarray  # (7,) seconds with each label
    n_faces: float  # number of faces or, for events, their time
    n_low_quality: float


def label_seconds(rows: pa.Table, names: Collection[str]) -> np.ndarray:
    """The time of each label `(n, 7)`, from labelled_s and the shares in the columns `names`; 0 where not known."""
    seconds: np.ndarray = np.nan_to_num(to_float_array(rows, "labelled_s")[:, None] * to_float_array(rows, *names))
    return seconds


def compare_labeled_time(
    rows: Iterable[LabeledTime], videos: Mapping[str, Collection[str]], names: Mapping[str, str]
) -> pa.Table:
    """Compare the share of time of each emotion between each pair of groups: the rows of `result_schemas.COMPARISON`.

    The share of a participant in a video is over the labeled time of their tracks; the share of a participant is the
    mean over their videos in the group. Participants are the units of every interval and test.

    Args:
        rows: what each track showed; rows without labeled time are ignored.
        videos: the ids of the videos of each group; a group without rows is compared, too.
        names: the name of each video in notes.
    """
    units: dict[str, dict[tuple[str, str], _Unit]] = {group: {} for group in sorted(videos)}
    for row in rows:
        if row.label_s.sum() > 0:
            key = row.video_id, row.participant
            units[row.group].setdefault(key, _Unit(*key)).add(row)
    sides = [_Side(group, [*of_group.values()], frozenset(videos[group])) for group, of_group in units.items()]
    found = [row for a, b in combinations(sides, 2) for row in _compare(a, b, names)]
    return pa.Table.from_pylist(found, schema=COMPARISON)


@dataclass(eq=False)
class _Unit:
    """Totals over the tracks of one participant in one video."""

    video_id: str
    participant: str
    label_s: np.ndarray = field(default_factory=lambda: np.zeros(len(EMOTIONS)))
    tracks: set[tuple[str, int]] = field(default_factory=set)
    n_faces: float = 0.0
    n_low_quality: float = 0.0

    def add(self, row: LabeledTime) -> None:
        self.label_s += row.label_s
        if row.track_id is not None:
            self.tracks.add((row.video_id, row.track_id))
        self.n_faces += row.n_faces
        self.n_low_quality += row.n_low_quality


@dataclass(frozen=True)
class _Side:
    """One of the two groups that are compared."""

    name: str
    units: list[_Unit]
    videos: frozenset[str]

    def n_videos_without_label(self) -> int:
        return len(self.videos - {unit.video_id for unit in self.units})


def _compare(a: _Side, b: _Side, names: Mapping[str, str]) -> list[dict[str, object]]:
    pairing = pair_samples(_sample(a.units), _sample(b.units))
    used_a, used_b = _used(a.units, pairing.clusters_a), _used(b.units, pairing.clusters_b)
    notes = []
    if pairing.n_left_out:
        notes.append(f"left out: {counted(pairing.n_left_out, 'participant')} on one side only")
    for side in (a, b):
        if n_without := side.n_videos_without_label():
            notes.append(f"left out: {counted(n_without, 'video')} without a label in {side.name}")
    notes += [_little_time_note(side.name, used, names) for side, used in ((a, used_a), (b, used_b))]
    both = [*used_a, *used_b]
    common = {
        "group_a": a.name,
        "group_b": b.name,
        "n_a": len({unit.video_id for unit in used_a}),
        "n_b": len({unit.video_id for unit in used_b}),
        "n_participants_a": len(pairing.a),
        "n_participants_b": len(pairing.b),
        "n_tracks_a": len(set().union(*(unit.tracks for unit in used_a))),
        "n_tracks_b": len(set().union(*(unit.tracks for unit in used_b))),
        "method": METHODS[pairing.is_paired],
        "paired": pairing.is_paired,
        "low_quality_share": sum(unit.n_low_quality for unit in both) / max(sum(unit.n_faces for unit in both), 1e-12),
    }
    found = [pairing.compare(k) for k in range(len(EMOTIONS))]
    p_holm = holm([one.difference.p_value for one in found])
    return [
        {**common, "emotion": emotion, **_measures(one, notes), "p_holm": p}
        for emotion, one, p in zip(EMOTIONS, found, p_holm, strict=True)
    ]


def _sample(units: list[_Unit]) -> Sample:
    shares = [unit.label_s / unit.label_s.sum() for unit in units]
    return Sample(np.array(shares).reshape(-1, len(EMOTIONS)), [unit.participant for unit in units])


def _used(units: list[_Unit], participants: list[str]) -> list[_Unit]:
    used = set(participants)
    return [unit for unit in units if unit.participant in used]


def _little_time_note(group: str, units: list[_Unit], names: Mapping[str, str]) -> str:
    """A note on units with little labeled time, which names the one with the least; empty without any."""
    labelled_s = {unit: float(unit.label_s.sum()) for unit in units if unit.tracks}  # still images have no time
    if not labelled_s:
        return ""
    median_s = float(np.median([*labelled_s.values()]))
    n_little = sum(is_shorter(seconds, LITTLE_TIME * median_s) for seconds in labelled_s.values())
    if not n_little:
        return ""
    least = min(labelled_s, key=lambda unit: labelled_s[unit])
    person = f"{least.participant} in " if least.participant != least.video_id else ""
    units_of = "videos" if len({unit.video_id for unit in labelled_s}) == len(labelled_s) else "people in videos"
    count = "counts" if n_little == 1 else "count"
    return (
        f"{n_little} of {len(labelled_s)} {units_of} of {group} {count} fully with less than {100 * LITTLE_TIME:.0f} % "
        f"of the median labeled time of {median_s:.1f} s{':' if n_little == 1 else ', such as'} "
        f"{person}{names[least.video_id]} with {labelled_s[least]:.1f} s"
    )


def _measures(found: Comparison, notes: list[str]) -> dict[str, object]:
    is_delta_missing = found.difference.estimate is not None and found.dominance.estimate is None
    no_delta = found.dominance.note if is_delta_missing else ""
    # The names of groups, participants and videos may contain the separator.
    all_notes = [note.replace(NOTE_SEPARATOR, ", ") for note in (found.difference.note, no_delta, *notes) if note]
    interval = found.difference.within(-1, 1)  # differences of shares
    return {
        "mean_a": found.mean_a,
        "mean_b": found.mean_b,
        "estimate": found.difference.estimate,
        "low": interval.low,
        "high": interval.high,
        "p_value": found.difference.p_value,
        "cliffs_delta": found.dominance.estimate,
        "delta_low": found.dominance.low,
        "delta_high": found.dominance.high,
        "note": NOTE_SEPARATOR.join(all_notes) or None,
    }
