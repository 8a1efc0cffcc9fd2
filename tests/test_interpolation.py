import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.interpolation import interpolate_boxes


def placed(track, pts_s, x, at_s, max_gap_s=1.0, hold_s=0.0) -> list[tuple]:
    """Time, track, left edge and whether it was placed, of each box; boxes are 10 px wide and high."""
    x = np.array(x, float)
    boxes_xyxy = np.column_stack([x, np.zeros(len(x)), x + 10, np.full(len(x), 10.0)])
    at_s = np.array(at_s, float)
    found = interpolate_boxes(
        np.array(track, int), np.array(pts_s, float), boxes_xyxy, at_s, max_gap_s=max_gap_s, hold_s=hold_s
    )
    np.testing.assert_allclose(found.boxes_xyxy[:, 2] - found.boxes_xyxy[:, 0], 10)
    columns = (at_s[found.at], found.track, found.boxes_xyxy[:, 0], found.interpolated)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_a_box_moves_evenly_between_the_frames_it_was_seen_in():
    found = placed([0, 0], [1.0, 2.0], [0, 100], at_s=[0.9, 1.0, 1.25, 2.0, 2.1])
    assert found == [(1.0, 0, 0, False), (1.25, 0, 25, True), (2.0, 0, 100, False)]


def test_it_stands_still_at_the_ends_and_beside_a_long_gap():
    found = placed([0, 0], [1.0, 4.0], [0, 100], at_s=[0.7, 0.9, 1.2, 2.5, 3.9, 4.2, 4.3], hold_s=0.25)
    assert found == [(0.9, 0, 0, True), (1.2, 0, 0, True), (3.9, 0, 100, True), (4.2, 0, 100, True)]


def test_tracks_do_not_mix_and_rows_may_come_in_any_order():
    rows = ([1, 0, 1, 0], [0.0, 0.0, 1.0, 1.0], [0, 500, 10, 600])
    expected = [(0.5, 0, 550, True), (0.5, 1, 5, True), (1.0, 0, 600, False), (1.0, 1, 10, False)]
    assert placed(*rows, at_s=[0.5, 1.0]) == expected
    assert placed(*(values[::-1] for values in rows), at_s=[0.5, 1.0]) == expected


def test_nobody_or_no_time():
    assert placed([], [], [], at_s=[0.0, 1.0]) == []
    assert placed([0], [0.0], [5], at_s=[]) == []


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 50), min_size=1), st.sets(st.integers(0, 50)), st.integers(0, 10), st.integers(0, 3))
def test_every_seen_box_is_kept_and_every_gap_is_closed(seen, asked, max_gap, hold):
    """In whole seconds: a time is covered if seen, within a short enough gap, or near enough to a face."""
    times = sorted(seen)
    found = {
        t: (x, guessed) for t, _, x, guessed in placed([0] * len(times), times, times, sorted(asked), max_gap, hold)
    }
    for t in asked:
        before, after = max((s for s in times if s <= t), default=None), min((s for s in times if s >= t), default=None)
        between = before is not None and after is not None and after - before <= max_gap
        near = any(s is not None and abs(s - t) <= hold for s in (before, after))
        assert (t in found) == (between or near)
        if t in found:
            assert found[t][1] == (t not in seen)
            assert abs(found[t][0] - t) <= (1e-9 if between else hold)
