"""Association of tracklets over the whole video: by position, speed and appearance."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Face, appearance_descriptors, observe

from analytics.tables.schema import OBSERVATIONS
from analytics.timeline.build import TimelineConfig, build_timeline
from analytics.tracking.identities import IdentitiesError
from analytics.tracking.reid import ReidConfig, associate_tracklets
from analytics.tracking.shot_detection import ShotDetectionConfig
from analytics.tracking.tracker import TrackerConfig
from analytics.tracking.tracklets import Crossings, find_crossings, split_tracks

CONFIG = TimelineConfig()
LEFT, RIGHT = 40, 200  # gray levels of the appearance of two people


def without_appearance(observations):
    field = OBSERVATIONS.field("signature")
    place = observations.schema.get_field_index(field.name)
    return observations.set_column(place, field, pa.nulls(len(observations), field.type))


def pair(x_left: np.ndarray, x_right: np.ndarray, unseen: set[int] | None = None):
    """Two people at 10 frames/s; the right one is not visible in some frames."""
    n = len(x_left)
    faces = [Face(i, x=x_left[i], appearance=LEFT) for i in range(n)]
    faces += [Face(i, x=x_right[i], appearance=RIGHT) for i in range(n) if i not in (unseen or ())]
    return observe(np.arange(n) / 10, faces)


def test_two_people_who_pass_each_other_are_distinguished():
    x = np.linspace(0, 600, 31)
    timeline = build_timeline(pair(x, 600 - x), CONFIG)
    assert timeline.faces["track_id"].to_pylist() == [0, 1] * 31
    assert timeline.tracks["suspected_switch"].to_pylist() == [False, False]
    assert timeline.used_appearance


def test_two_people_who_meet_and_turn_back_are_distinguished_by_appearance():
    """Two people approach, one occludes the other for half a second, and both go back."""
    x = 290 - 40 * np.abs(np.arange(-10, 11)) / 2
    timeline = build_timeline(pair(x, 600 - x, unseen=set(range(8, 13))), CONFIG)
    faces = timeline.faces.to_pandas()
    ends = faces[faces.frame_index.isin([0, 20])].sort_values(["frame_index", "x1_px"]).track_id.tolist()
    assert ends == [0, 1, 0, 1]


def test_without_appearance_any_crossing_is_uncertain_and_has_a_time():
    x = np.linspace(0, 600, 31)
    timeline = build_timeline(without_appearance(pair(x, 600 - x)), CONFIG)
    assert timeline.used_appearance is False
    assert timeline.tracks["suspected_switch"].to_pylist() == [True, True]
    assert timeline.tracks["switch_s"].to_pylist() == pytest.approx([1.5, 1.5], abs=0.2)


def test_a_meeting_of_people_with_the_same_appearance_is_uncertain():
    x = np.linspace(0, 600, 31)
    faces = [Face(i, x=at, appearance=LEFT) for i in range(31) for at in (x[i], 600 - x[i], 1500)]
    tracks = build_timeline(observe(np.arange(31) / 10, faces), CONFIG).tracks
    alone = tracks["suspected_switch"].to_pylist().count(False)
    assert alone >= 1, "who met nobody is not doubtful"


@pytest.mark.parametrize(("appearance", "n_people"), [(LEFT, 1), (RIGHT, 2), (None, 2)])
def test_a_person_who_returns_elsewhere_is_recognized_by_appearance(appearance, n_people):
    first = [Face(i, x=100, appearance=appearance and LEFT) for i in range(20)]
    again = [Face(i, x=900, appearance=appearance) for i in range(80, 100)]
    timeline = build_timeline(observe(np.arange(100) / 10, [*first, *again]), CONFIG)
    assert len(timeline.tracks) == n_people
    if n_people == 1:
        (track,) = timeline.tracks.to_pylist()
        assert (track["start_s"], track["end_s"], track["n_faces"]) == (0, pytest.approx(10), 40)
        assert timeline.episodes.num_rows >= 2, "nothing is said of the time out of sight"
        assert timeline.episodes["duration_s"].to_numpy().max() < 3


def test_a_crossing_does_not_end_tracks_that_are_sampled_rarely():
    faces = [Face(i, x=x) for i in range(9) for x in (300 + 5 * abs(i - 4), 240 - 5 * abs(i - 4))]
    timeline = build_timeline(observe(np.arange(9) * 5.0, faces), CONFIG)
    assert timeline.faces["track_id"].to_pylist() == [0, 1] * 9


@pytest.mark.parametrize(("appearance", "n_people"), [(LEFT, 1), (RIGHT, 2)])
def test_after_a_cut_appearance_decides(appearance, n_people):
    faces = [Face(i, x=300, appearance=LEFT if i < 10 else appearance) for i in range(20)]
    timeline = build_timeline(observe(np.arange(20) / 10, faces, gray=[20] * 10 + [200] * 10), CONFIG)
    assert len(timeline.tracks) == n_people


def linked(ticks, **faces) -> list[list[int]]:
    """Tracks of one face per tick of 1/12 s, for first ticks 180 to 199: rounding errors of the times differ."""
    ticks = np.array(ticks)
    faces = {
        "frame": ticks,
        "shot": np.zeros(len(ticks), int),
        "boxes_xyxy": np.tile([0.0, 0, 100, 100], (len(ticks), 1)),
    } | faces
    times_s = [(first + ticks) / 12 for first in range(180, 200)]
    return [associate_tracklets(pts_s=pts_s, **faces, config=ReidConfig()).track.tolist() for pts_s in times_s]


def gray(*levels: int) -> np.ndarray:
    return appearance_descriptors([level for level in levels for _ in range(4)]).astype(float)


@pytest.mark.parametrize(
    ("gap", "appearance"),
    [
        (36, None),  # the longest gap over which position is evidence
        (18, gray(40, 85)),  # the longest one after which a somewhat different appearance does not end a track
        (360, gray(40, 40)),  # the longest absence
    ],
)
def test_a_gap_of_exactly_the_longest_time_is_bridged(gap, appearance):
    ticks = [0, 1, 2, 3, *(3 + gap + np.arange(4))]
    assert linked(ticks, tracklet=np.repeat([0, 1], 4), appearance=appearance) == [[0] * 8] * 20
    longer = [0, 1, 2, 3, *(4 + gap + np.arange(4))]
    assert linked(longer, tracklet=np.repeat([0, 1], 4), appearance=appearance) == [[0] * 4 + [1] * 4] * 20


@pytest.mark.parametrize(
    ("of_a", "of_b", "meet"),
    [
        (range(6), range(6), [0, 5]),  # two overlaps that are half a second apart are one crossing
        ([0, 1, 2, 3], range(10), [6]),  # a track keeps its box for 0.3 s after its last face
        ([6, 7, 8, 9], range(10), [3]),  # … and before its first one
    ],
)
def test_limits_of_crossings_include_the_limit(of_a, of_b, meet):
    tick = np.array([*of_a, *of_b])
    tracklet = np.repeat([0, 1], [len(of_a), len(of_b)])
    x = np.where((tracklet == 0) | np.isin(tick, meet), 0.0, 500.0)
    boxes = np.stack([x, 0 * x, x + 100, 0 * x + 100], axis=1)
    for first in range(100):
        crossings = find_crossings(tracklet, tick, (first + tick) / 10, boxes, 0 * tick, 0.2)
        assert crossings.frame.tolist() == meet[:1], first


def test_speed_is_measured_over_the_same_faces_at_any_time():
    """At 10 frames per second, 0.4 s have five faces; the head turns back at the second one of them."""
    tick = np.arange(20)
    x = 10.0 * np.abs(tick - 16)
    boxes = np.stack([x, 0 * x, x + 100, 0 * x + 100], axis=1)
    nothing = Crossings(np.empty(0, int), np.empty(0, int), np.empty(0, int), np.zeros(20, bool))
    for first in range(100):
        (speed,) = split_tracks(nothing, 0 * tick, tick, (first + tick) / 10, boxes, 0 * tick, None).end_speed
        assert speed.tolist() == pytest.approx([60, 0], rel=0.02), first


def test_kept_identities_are_used_as_they_are_without_appearance():
    x = 290 - 40 * np.abs(np.arange(-10, 11)) / 2
    observations = pair(x, 600 - x, unseen=set(range(8, 13)))
    first = build_timeline(observations, CONFIG)
    again = build_timeline(without_appearance(observations), CONFIG, first.identities)
    assert all(table.equals(again.tables()[name]) for name, table in first.tables().items())
    assert again.used_appearance
    with pytest.raises(IdentitiesError, match="other faces"):
        build_timeline(observations.slice(1), CONFIG, first.identities)


@pytest.mark.parametrize(
    "wrong", [{"crossing_iou": 1}, {"appearance_scale": 0}, {"max_away_s": -1}, {"position_sigma": np.inf}]
)
def test_config_is_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ReidConfig(**wrong)


@st.composite
def tracked(draw):
    """Faces of up to four tracks with random gaps, positions and appearance, with a cut at a random time."""
    n_frames = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tracklet, frame = np.nonzero(rng.random((draw(st.integers(1, 4)), n_frames)) < rng.uniform(0.3, 1))
    order = np.lexsort((tracklet, frame))
    tracklet, frame = tracklet[order], frame[order]
    pts_s = np.cumsum(rng.choice([0.04, 0.2, 2.0], n_frames))
    center = rng.uniform(0, 300, (len(frame), 2))
    return {
        "tracklet": np.where(rng.random(len(frame)) < 0.1, -1, tracklet),
        "frame": frame,
        "pts_s": pts_s[frame],
        "boxes_xyxy": np.concatenate([center - 50, center + 50], axis=1),
        "shot": (frame >= draw(st.integers(0, 30))).astype(int),
        "appearance": rng.choice([0, 60, 200], (len(frame), 1)) + rng.uniform(0, 20, (len(frame), 60)),
    }


@settings(max_examples=60, deadline=None)
@given(tracked(), st.booleans())
def test_invariants_of_association(faces, uses_appearance):
    """Tracks have one face per frame and increasing times, and at most one possible switch, never at their start."""
    if not uses_appearance:
        faces["appearance"] = None
    joined = associate_tracklets(**faces, config=ReidConfig())
    assert ((joined.track >= 0) == (faces["tracklet"] >= 0)).all()
    in_track = joined.track >= 0
    assert len(set(zip(joined.track[in_track], faces["frame"][in_track], strict=True))) == in_track.sum()
    for track in np.unique(joined.track[in_track]):
        rows = np.flatnonzero(joined.track == track)
        assert (np.diff(faces["pts_s"][rows]) >= 0).all()
        assert joined.is_switch[rows].sum() <= 1
        assert not joined.is_switch[rows[0]]
    again = associate_tracklets(**faces, config=ReidConfig())
    assert (again.track == joined.track).all() and (again.is_switch == joined.is_switch).all()


def test_the_document_has_every_setting_with_its_value():
    page = (Path(__file__).parents[1] / "docs" / "identities.md").read_text(encoding="utf-8")
    written = {name: float(value) for name, value in re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", page, re.MULTILINE)}
    kinds = (TrackerConfig, ReidConfig, ShotDetectionConfig)
    assert written == {field.name: field.default for kind in kinds for field in fields(kind)}
