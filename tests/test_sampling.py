"""Sampling of frames and splitting into segments, compared with manually computed tables."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models.video import frames_to_sample, split_segments
from fer_models.video.sampling import split_at_seeks

EVERY_40_MS = np.arange(10) * 0.04


@pytest.mark.parametrize(
    ("kwargs", "frames"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"fps": 25}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"fps": 100}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),  # there are more ticks than frames, and no frame is taken twice
        ({"fps": 12.5}, [0, 2, 4, 6, 8]),
        ({"fps": 10}, [0, 3, 5, 8]),  # the ticks are at 0, 0.1, 0.2 and 0.3 s
        ({"fps": 0.1}, [0]),
        ({"start_s": 0.08, "end_s": 0.16}, [2, 3]),  # the interval is half-open
        ({"fps": 10, "start_s": 0.04}, [3, 5, 8]),  # the grid of ticks does not move with the start
        ({"fps": 10, "start_s": 0.21, "end_s": 0.3}, []),
        ({"start_s": 5.0}, []),
        ({"end_s": 0.0}, []),
    ],
)
def test_frames_to_sample(kwargs, frames):
    chosen = frames_to_sample(EVERY_40_MS, 0.4, **kwargs)
    assert chosen.tolist() == frames
    assert chosen.dtype == np.int64


def test_times_rounded_to_milliseconds_lose_no_frame():
    pts_s = np.rint(np.arange(300) / 30 * 1000) / 1000
    assert frames_to_sample(pts_s, 10.0, fps=30).tolist() == list(range(300))
    assert frames_to_sample(pts_s, 10.0, fps=10).tolist() == list(range(0, 300, 3))


def test_a_frame_is_found_by_its_printed_time():
    """Of a video with 24000/1001 frames/s, every frame is the first from its time in whole microseconds on."""
    pts_s = np.arange(472) * 1001 / 24000
    for i, printed in enumerate(pts_s.round(6)):
        before, after = (frames_to_sample(pts_s, 19.7, **{bound: printed}) for bound in ("end_s", "start_s"))
        assert (before.tolist(), after.tolist()) == (list(range(i)), list(range(i, 472)))


def test_the_grid_starts_at_the_first_frame():
    assert frames_to_sample(EVERY_40_MS + 8.333, 8.733, fps=12.5).tolist() == [0, 2, 4, 6, 8]
    assert frames_to_sample(EVERY_40_MS - 0.2, 0.2, fps=12.5).tolist() == [0, 2, 4, 6, 8]


def test_segments_take_the_frames_of_the_whole():
    pts_s = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.2, 500))
    for fps in (None, 3.0, 7.3):
        whole = frames_to_sample(pts_s, pts_s[-1], fps=fps).tolist()
        cuts_s = np.arange(0, 102.5, 2.5)
        parts = [frames_to_sample(pts_s, pts_s[-1], fps=fps, start_s=a, end_s=b).tolist() for a, b in pairwise(cuts_s)]
        assert [i for part in parts for i in part] == whole


@pytest.mark.parametrize(
    ("pts_s", "shown_until_s", "frames"),
    [
        ([0.0, 0.033, 30.0], 30.033, [0, 1, 2]),  # a slide show: the second frame is shown for 30 s
        ([0.0, 0.04, 0.19, 0.21], 0.25, [0, 2, 3]),  # a frame begins between any two ticks
        ([0.0, 0.04, 0.08, 0.30], 0.34, [0, 2, 3]),  # shown at 0.1 and 0.2 s; no other frame begins in between
        ([0.0, 0.04, 0.08], 5.08, [0, 2]),  # the last frame is shown for 5 s
        ([0.0, 0.04, 0.08], 0.15, [0]),
    ],
)
def test_a_frame_that_is_shown_for_long_is_not_skipped(pts_s, shown_until_s, frames):
    assert frames_to_sample(np.array(pts_s), shown_until_s, fps=10).tolist() == frames


@given(st.lists(st.floats(0.002, 1), min_size=1, max_size=40), st.floats(1, 30))
def test_at_every_tick_a_frame_is_taken_that_is_shown_before_the_next_tick(steps_s, fps):
    pts_s = np.cumsum([0, *steps_s])
    taken = frames_to_sample(pts_s[:-1], pts_s[-1], fps=fps)
    for tick_s in np.arange(0, pts_s[-1] - 1 / fps, 1 / fps):
        is_shown = (pts_s[:-1] < tick_s + 1 / fps) & (pts_s[1:] > tick_s - 2e-3)
        assert np.isin(np.flatnonzero(is_shown), taken).any(), tick_s


def test_no_frame_to_choose_from():
    assert frames_to_sample(np.empty(0), 0.0, fps=5).tolist() == []
    assert split_segments(np.empty(0), 30.0) == []


@pytest.mark.parametrize("kwargs", [{"fps": 0}, {"fps": -1}, {"fps": float("nan")}, {"start_s": 2, "end_s": 1}])
def test_frames_to_sample_refuses(kwargs):
    with pytest.raises(ValueError, match="must"):
        frames_to_sample(EVERY_40_MS, 0.4, **kwargs)


@pytest.mark.parametrize(
    ("pts_s", "segment_s", "slices"),
    [
        # In floating point, 0.6 // 0.2 is 2.
        ([0.0, 0.2, 0.4, 0.6, 0.8], 0.2, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]),
        ([0.0, 29.999, 30.0, 31.0], 30.0, [(0, 2), (2, 4)]),
        ([0.0, 95.0], 30.0, [(0, 1), (1, 2)]),  # segments without frames are left out
        ([-0.5, 0.0, 0.5], 1.0, [(0, 1), (1, 3)]),
        ([8.3, 8.4], 30.0, [(0, 2)]),
    ],
)
def test_split_segments(pts_s, segment_s, slices):
    assert split_segments(np.array(pts_s), segment_s) == slices


def test_split_segments_refuses_nothing_to_fill():
    with pytest.raises(ValueError, match="at least"):
        split_segments(EVERY_40_MS, 0.0)


@pytest.mark.parametrize(
    ("frames", "keyframes", "slices"),
    [
        ([5], [0, 100], [(0, 1)]),
        ([5, 105, 205], [0, 100, 200], [(0, 1), (1, 2), (2, 3)]),
        ([5, 100], [0, 100], [(0, 1), (1, 2)]),
        ([5, 95, 105], [0, 100], [(0, 3)]),  # skipping 5 frames is not worth a seek
        ([5, 500], [0], [(0, 2)]),
        ([5, 500], [], [(0, 2)]),
    ],
)
def test_split_at_seeks(frames, keyframes, slices):
    assert split_at_seeks(np.array(frames), np.array(keyframes, np.int64), min_skip=16) == slices
