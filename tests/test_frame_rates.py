"""Cuts, tracks, labels and movements do not depend on whether a frame rate is nominal, NTSC, rounded or low."""

import numpy as np
import pytest
from scenes import Face, feeling, observe

from analytics import connect
from analytics.queries.intervals import label_intervals, visibility_intervals
from analytics.results.store import Store
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from analytics.timeline.movements import MovementConfig, TrackedMeasures, find_movements, local_frame_s
from analytics.tracking.tracker import TrackerConfig, link_faces
from fer_models.video.sampling import frames_to_sample

CONFIG = TimelineConfig()
NTSC = 30000 / 1001
nominal_and_ntsc = pytest.mark.parametrize(
    ("rate", "decimals"), [(30, 9), (NTSC, 9), (NTSC, 3)], ids=["30", "29.97", "29.97 in whole milliseconds"]
)


def frame_times(rate: float, decimals: int = 9, seconds: float = 12.5, fps: float | None = None) -> np.ndarray:
    """The times of the analyzed frames of a video, and its end."""
    pts_s = (np.arange(round(seconds * rate) + 1) / rate).round(decimals)
    return np.append(pts_s[frames_to_sample(pts_s[:-1], pts_s[-1], fps=fps)], pts_s[-1])


def build(times_s: np.ndarray, faces: list[Face], **observed) -> Timeline:
    return build_timeline(observe(times_s[:-1], faces, **observed), CONFIG, end_s=times_s[-1])


def two_people(times_s: np.ndarray, cut_s: float, undecoded: list[int]) -> Timeline:
    """A neutral man until a hard cut, and then a happy woman at the same place."""
    shot = (times_s[:-1] >= cut_s - 1e-6).astype(int)
    looks = [{"p": feeling("neutral"), "appearance": 20}, {"p": feeling("happy"), "appearance": 200}]
    faces = [Face(i, **looks[k]) for i, k in enumerate(shot) if i not in undecoded]
    return build(times_s, faces, undecoded=undecoded, gray=[(20, 200)[k] for k in shot])


@pytest.mark.parametrize("rate", [24000 / 1001, 25, NTSC, 30])
@pytest.mark.parametrize("fps", [1, 2, 10])
def test_a_cut_is_found_at_every_rate(rate, fps):
    timeline = two_people(frame_times(rate, fps=fps), 6.0, [])
    man, woman = timeline.tracks.to_pylist()
    assert sum(timeline.frames["is_cut"].to_pylist()) == 1
    assert (man["share_neutral"], woman["share_happy"]) == (1, 1)
    assert woman["start_s"] == pytest.approx(man["end_s"])


@pytest.mark.parametrize(("held_s", "n_lost"), [(0.8, 0), (3.0, 0), (0.04, 22)])
def test_a_cut_is_found_after_a_long_step(held_s, n_lost):
    """The frame before the cut is held, or frames around the cut cannot be decoded."""
    times_s = np.append(np.arange(101) / 25, 4 + held_s + np.arange(101) / 25)
    timeline = two_people(times_s, 4 + held_s, list(range(101 - n_lost // 2, 101 + n_lost - n_lost // 2)))
    man, woman = timeline.tracks.to_pylist()
    assert (man["share_neutral"], woman["share_happy"]) == (1, 1)
    assert sum(timeline.frames["is_cut"].to_pylist()) == 1


@nominal_and_ntsc
def test_labels_reach_three_steps(rate, decimals):
    """Of every eight faces at 10 per second five are blurred: labels reach 0.3 s into them from either side."""
    times_s = frame_times(rate, decimals, fps=10)
    faces = [Face(i, p=feeling("happy"), blur=10 if i % 8 >= 3 else 100) for i in range(len(times_s) - 1)]
    (track,) = build(times_s, faces).tracks.to_pylist()
    assert track["labelled_s"] == pytest.approx(times_s[-1])


@nominal_and_ntsc
def test_three_missing_faces_end_nothing(tmp_path, rate, decimals):
    """Of every eight faces at 10 per second three are missing, for 0.3 s."""
    times_s = frame_times(rate, decimals, fps=10)
    faces = [Face(i, p=feeling("happy")) for i in range(len(times_s) - 1) if i % 8 < 5]
    timeline = build(times_s, faces)
    (episode,) = timeline.episodes.to_pylist()
    shown = pytest.approx((0, times_s[-1]))
    assert (episode["start_s"], episode["end_s"]) == shown
    store = Store(tmp_path / "results")
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    with connect(store.root) as connection:
        for intervals in (label_intervals, visibility_intervals):
            (interval,) = intervals(connection, "v1").to_pylist()
            assert (interval["start_s"], interval["end_s"]) == shown
        ((observed_s,),) = connection.sql("SELECT episodes_s FROM observed_time()").fetchall()
    assert observed_s == pytest.approx(times_s[-1])


@nominal_and_ntsc
def test_changes_are_counted_across_two_missing_faces(tmp_path, rate, decimals):
    """Of every five faces at 2 per second two are missing, for 1 s."""
    times_s = frame_times(rate, decimals, fps=2)
    moods = ["happy" if i // 5 % 2 else "sad" for i in range(len(times_s) - 1)]
    timeline = build(times_s, [Face(i, p=feeling(mood)) for i, mood in enumerate(moods) if i % 5 in (0, 1, 4)])
    assert sum(timeline.transitions["count"].to_pylist()) == 4
    store = Store(tmp_path / "results")
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "1.mp4"}, timeline)
    with connect(store.root) as connection:
        ((observed_s,),) = connection.sql("SELECT transitions_s FROM observed_time()").fetchall()
    assert observed_s == pytest.approx(times_s[-1])


@nominal_and_ntsc
def test_a_face_is_linked_across_a_second(rate, decimals):
    times_s = frame_times(rate, decimals)[::30]
    boxes_xyxy = np.tile([0.0, 0.0, 100.0, 100.0], (len(times_s), 1))
    tracks = link_faces(np.arange(len(times_s)), times_s, boxes_xyxy, np.ones(len(times_s)), TrackerConfig())
    assert set(tracks) == {0}


@nominal_and_ntsc
def test_movements_are_measured_across_three_missing_faces(rate, decimals):
    """Of every twelve faces three are missing, for 0.1 s; eyes are closed for twelve frames, 0.4 s."""
    times_s = frame_times(rate, decimals)
    n = len(times_s) - 1
    openness = np.where(np.arange(n) // 12 % 5 == 2, 0.05, 0.3)
    openness[np.arange(n) % 12 >= 9] = np.nan
    zero, shown = np.zeros(n), (times_s[:-1], times_s[1:])
    faces = TrackedMeasures(zero, zero, *shown, local_frame_s(*shown), openness, zero, zero, zero)
    movements = find_movements(faces, MovementConfig())
    assert movements.measured_s.sum() == pytest.approx(times_s[-1])
    assert (movements.kind == 0).sum() == 6
