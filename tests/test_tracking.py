import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.tracking.tracker import TrackerConfig, confirm, link_faces


def boxes(*centers_x: float, size: float = 100) -> np.ndarray:
    x = np.array(centers_x, float)
    return np.column_stack([x - size / 2, np.full(len(x), 0.0), x + size / 2, np.full(len(x), size)])


def track(frame, pts_s, boxes_xyxy, det_score=None, step_s=0.0, **config) -> list[int]:
    """Tracks of faces whose frames have the times `pts_s`."""
    frame = np.array(frame, np.int64)
    det_score = np.full(len(frame), 0.9) if det_score is None else np.array(det_score)
    times_s = np.array(pts_s, float)[frame]
    settings = TrackerConfig(**config)
    raw = link_faces(frame, times_s, boxes_xyxy, det_score, settings, step_s=step_s)
    return confirm(raw, times_s, settings).tolist()


def test_no_faces():
    assert track([], [], np.empty((0, 4))) == []


def test_two_people_who_stay():
    times_s = np.arange(5) * 0.1
    frame = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert track(frame, times_s, boxes(*[100, 400] * 5)) == [0, 1] * 5
    assert track(frame, times_s, boxes(*[100, 400] * 2, *[400, 100] * 3)) == [0, 1] * 2 + [1, 0] * 3


def test_ids_follow_first_appearance_and_leave_out_what_is_too_short():
    # A false positive in one frame, then two people: the ids still have no gaps.
    frame = [0, 1, 2, 3, 3, 4, 4, 5, 5]
    tracks = track(frame, np.arange(6) * 0.1, boxes(900, 100, 100, 100, 400, 100, 400, 100, 400))
    assert tracks == [-1, 0, 0, 0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(("step_s", "confirmed"), [(0.04, False), (0.08, True)])
def test_a_track_needs_time(step_s, confirmed):
    tracks = track([0, 1, 2], np.arange(3) * step_s, boxes(100, 100, 100), min_duration_s=0.15)
    assert tracks == ([0, 0, 0] if confirmed else [-1, -1, -1])


@pytest.mark.parametrize(("gap_s", "second"), [(0.9, 0), (1.1, 1)])
def test_a_face_out_of_sight(gap_s, second):
    pts_s = [0, 0.1, 0.2, 0.2 + gap_s, 0.3 + gap_s, 0.4 + gap_s]
    assert track(range(6), pts_s, boxes(*[100] * 6), max_gap_s=1.0) == [0, 0, 0, second, second, second]


def test_a_gap_of_exactly_the_longest_time_does_not_end_a_track():
    for first in range(100):  # rounding errors of the times differ
        assert track(range(6), (first + np.array([0, 1, 2, 12, 13, 14])) / 10, boxes(*[100] * 6)) == [0] * 6


def test_sparse_sampling_does_not_end_tracks():
    assert track(range(4), np.arange(4) * 5.0, boxes(*[100] * 4), step_s=5.0) == [0, 0, 0, 0]


@pytest.mark.parametrize("fps", [5, 25, 100])
def test_a_walking_head_is_followed_at_any_rate(fps):
    """The head moves by seven widths per second: at 5 fps, its boxes never overlap."""
    times_s = np.arange(2 * fps) / fps
    assert track(range(len(times_s)), times_s, boxes(*(700 * times_s))) == [0] * len(times_s)


@pytest.mark.parametrize("fps", [5, 25])
def test_two_heads_that_pass_each_other_keep_their_ids(fps):
    times_s = np.arange(2 * fps) / fps
    x = np.column_stack([300 * times_s, 600 - 300 * times_s])  # the two heads meet after one second
    boxes_xyxy = boxes(*x.ravel())
    boxes_xyxy[1::2, [1, 3]] += 20
    assert track(np.repeat(range(len(times_s)), 2), times_s, boxes_xyxy) == [0, 1] * len(times_s)


def test_weak_faces_continue_tracks_but_begin_none():
    scores = [0.9, 0.9, 0.9, 0.2, 0.2, 0.9]
    assert track(range(6), np.arange(6) * 0.1, boxes(*[100] * 6), scores) == [0] * 6
    assert track(range(5), np.arange(5) * 0.1, boxes(*[100] * 5), [0.2] * 5) == [-1] * 5
    assert track(range(4), np.arange(4) * 0.1, boxes(*[100] * 4), [0.9, 0.9, 0.05, 0.9]) == [0, 0, -1, 0]


def test_a_strong_face_is_matched_before_a_weak_one_that_overlaps_more():
    frame, x = [0, 1, 2, 3, 3], [100, 100, 100, 130, 100]
    assert track(frame, np.arange(4) * 0.1, boxes(*x), [0.9, 0.9, 0.9, 0.9, 0.3]) == [0, 0, 0, 0, -1]


def test_a_false_positive_does_not_take_the_face_from_an_older_track():
    # In frame 5, there is a second detection to the left; afterwards, the face is nearer to its position.
    frame, x = [0, 1, 2, 3, 4, 5, 5, 6, 7, 8], [100, 100, 100, 100, 100, 115, 80, 85, 85, 85]
    assert track(frame, np.arange(9) * 0.1, boxes(*x)) == [0, 0, 0, 0, 0, 0, -1, 0, 0, 0]


def test_a_face_of_another_size_is_another_person():
    small, large = boxes(100, size=40), boxes(100, size=100)
    boxes_xyxy = np.concatenate([small] * 3 + [large] * 3)
    assert track(range(6), np.arange(6) * 0.1, boxes_xyxy) == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("wrong", [{"min_iou": 0}, {"low_score": 0.7}, {"min_faces": 1}, {"max_gap_s": -1}])
def test_config_is_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrackerConfig(**wrong)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 600), st.floats(0, 1)), max_size=4), max_size=25))
def test_laws_of_tracks(frames):
    """A track has one face per frame, ids are consecutive in order of appearance, and no track is too short."""
    frame = np.array([number for number, faces in enumerate(frames) for _ in faces], np.int64)
    x, score = np.array([face for faces in frames for face in faces], float).reshape(-1, 2).T
    config = TrackerConfig()
    tracks = confirm(link_faces(frame, frame * 0.1, boxes(*x), score, config), frame * 0.1, config)
    in_track = tracks >= 0
    assert len(set(zip(tracks[in_track], frame[in_track], strict=True))) == in_track.sum()
    ids, first, count = np.unique(tracks[in_track], return_index=True, return_counts=True)
    assert ids[np.argsort(first)].tolist() == list(range(len(ids)))
    assert (count >= config.min_faces).all()
    assert (score[in_track] >= config.low_score).all()
