"""Compare the share of time of each emotion between groups of videos or events, with intervals and tests."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pyarrow as pa

from analytics.statistics.clusters import Comparison, Sample, pair_samples
from analytics.statistics.intervals import holm
from analytics.tables.arrow_utils import to_float_array
from analytics.tables.result_schemas import COMPARISON
from fer_models.labels import EMOTIONS

METHODS = {True: "paired t", False: "Welch t"}


@dataclass(frozen=True, eq=False)
class LabeledTime:
    """What one track showed in one group: in a video of the group, or during events with one label."""

    group: str
    path: str
    participant: str
    track_id: int | None  # the track, or None for the faces of still images
    label_s: np.ndarray  # (7,) seconds with each label
    n_faces: float  # number of faces or, for events, their time
    n_low_quality: float


def label_seconds(rows: pa.Table, names: Collection[str]) -> np.ndarray:
    """The time of each label `(n, 7)`, from labelled_s and the shares in the columns `names`; 0 where not known."""
    seconds: np.ndarray = np.nan_to_num(to_float_array(rows, "labelled_s")[:, None] * to_float_array(rows, *names))
    return seconds


def compare_labeled_time(rows: Iterable[LabeledTime], videos: Mapping[str, Collection[str]]) -> pa.Table:
    """How each two groups differ in the share of time of each emotion: the rows of `result_schemas.COMPARISON`.

    The share of a participant in a video is over the labeled time of their tracks; the share of a participant is the
    mean over their videos in the group. Participants are the units of every interval and test.

    Args:
        rows: what each track showed; rows without labeled time are ignored.
        videos: the paths of the videos of each group; a group without rows is compared, too.
    """
    units: dict[str, dict[tuple[str, str], _Unit]] = {group: {} for group in sorted(videos)}
    for row in rows:
        if row.label_s.sum() > 0:
            key = row.path, row.participant
            units[row.group].setdefault(key, _Unit(*key)).add(row)
    sides = [_Side(group, [*of_group.values()], frozenset(videos[group])) for group, of_group in units.items()]
    found = [row for a, b in combinations(sides, 2) for row in _compare(a, b)]
    return pa.Table.from_pylist(found, schema=COMPARISON)


@dataclass(eq=False)
class _Unit:
    """What the tracks of one participant in one video add up to."""

    path: str
    participant: str
    label_s: np.ndarray = field(default_factory=lambda: np.zeros(len(EMOTIONS)))
    tracks: set[tuple[str, int]] = field(default_factory=set)
    n_faces: float = 0.0
    n_low_quality: float = 0.0

    def add(self, row: LabeledTime) -> None:
        self.label_s += row.label_s
        if row.track_id is not None:
            self.tracks.add((row.path, row.track_id))
        self.n_faces += row.n_faces
        self.n_low_quality += row.n_low_quality


@dataclass(frozen=True)
class _Side:
    """One of the two groups that are compared."""

    name: str
    units: list[_Unit]
    videos: frozenset[str]

    def videos_without_label(self) -> frozenset[str]:
        return self.videos - {unit.path for unit in self.units}


def _compare(a: _Side, b: _Side) -> list[dict[str, object]]:
    pairing = pair_samples(_sample(a.units), _sample(b.units))
    used_a, used_b = _used(a.units, pairing.clusters_a), _used(b.units, pairing.clusters_b)
    notes = []
    if pairing.n_left_out:
        notes.append(f"{pairing.n_left_out} participants on one side only are left out")
    if n_without := len(a.videos_without_label() | b.videos_without_label()):
        notes.append(f"{n_without} videos without a label are left out")
    both = [*used_a, *used_b]
    common = {
        "group_a": a.name,
        "group_b": b.name,
        "n_a": len({unit.path for unit in used_a}),
        "n_b": len({unit.path for unit in used_b}),
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
    return [unit for unit in units if unit.participant in set(participants)]


def _measures(found: Comparison, notes: list[str]) -> dict[str, object]:
    return {
        "mean_a": found.mean_a,
        "mean_b": found.mean_b,
        "estimate": found.difference.estimate,
        "low": found.difference.low,
        "high": found.difference.high,
        "p_value": found.difference.p_value,
        "cliffs_delta": found.dominance.estimate,
        "delta_low": found.dominance.low,
        "delta_high": found.dominance.high,
        "note": "; ".join(note for note in (found.difference.note, *notes) if note) or None,
    }
