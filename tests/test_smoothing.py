import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.timeline.smoothing import SmoothingConfig, smooth, steady_labels

CONFIG = SmoothingConfig(time_constant_s=1.0, max_reach_s=2.0)
NAN = float("nan")


def test_two_rows_one_time_constant_apart():
    # Each row has weight 1 in its own mean, and the other row has weight 1/e.
    smoothed = smooth(np.zeros(2), np.array([0.0, 1.0]), np.array([[1.0], [0.0]]), np.ones(2), CONFIG)
    own = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(smoothed[:, 0], [own, 1 - own])


def test_longer_rows_weigh_more_at_most_one_time_constant_outside_of_their_own_mean():
    smoothed = smooth(np.zeros(2), np.zeros(2), np.array([[1.0], [0.0]]), np.array([3.0, 0.5]), CONFIG)
    np.testing.assert_allclose(smoothed[:, 0], [3 / 3.5, 1 / 1.5])


def test_rows_that_do_not_count_are_filled_from_their_neighbors():
    values = np.array([[1.0], [NAN], [0.0]])
    smoothed = smooth(np.zeros(3), np.array([0.0, 1.0, 2.0]), values, np.array([1.0, 0.0, 1.0]), CONFIG)
    np.testing.assert_allclose(smoothed[1, 0], 0.5)


def test_nothing_is_known_out_of_reach_or_in_another_track():
    track = np.array([0, 0, 1])
    smoothed = smooth(track, np.array([0.0, 2.5, 0.0]), np.ones((3, 1)), np.array([1.0, 0.0, 0.0]), CONFIG)
    np.testing.assert_array_equal(smoothed[:, 0], [1, NAN, NAN])


def test_no_rows():
    nothing = np.empty(0)
    assert smooth(nothing, nothing, np.empty((0, 7)), nothing, CONFIG).shape == (0, 7)
    assert steady_labels(nothing, np.empty((0, 7)), 0.1).shape == (0,)


rows = st.lists(  # track, milliseconds since the row before, value and weight
    st.tuples(st.integers(0, 2), st.integers(0, 3000), st.floats(0, 1), st.sampled_from([0, 0.1, 1, 7])), max_size=30
)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_smoothing_is_the_weighted_mean_over_all_pairs(rows):
    track, step_ms, value, weight = np.array(rows, float).reshape(-1, 4).T
    track, pts_s = np.sort(track), np.cumsum(step_ms) / 1000
    smoothed = smooth(track, pts_s, value[:, None], weight, CONFIG)[:, 0]
    for row in range(len(track)):
        same = track == track[row]
        distance_s = np.abs(pts_s - pts_s[row])
        lent = np.where(np.arange(len(track)) == row, weight, np.minimum(weight, 1))
        kernel = same * lent * np.exp(-distance_s)
        if (same & (weight > 0) & (distance_s.round(6) <= 2)).any():
            assert smoothed[row] == pytest.approx((kernel * value).sum() / kernel.sum())
        else:
            assert np.isnan(smoothed[row])


def labels(p_of_first: list[float], track: list[int] | None = None, lead: float = 0.2) -> list[int]:
    p = np.array(p_of_first)
    return steady_labels(np.array(track or [0] * len(p)), np.column_stack([p, 1 - p]), lead).tolist()


def test_labels_change_only_with_a_clear_lead():
    assert labels([0.8, 0.55, 0.45, 0.42, 0.35, 0.55, 0.62]) == [0, 0, 0, 0, 1, 1, 0]


def test_labels_begin_again_in_a_new_track():
    assert labels([0.8, 0.45], track=[0, 1]) == [0, 1]
    assert labels([0.8, 0.45], track=[0, 0]) == [0, 0]


@pytest.mark.parametrize("wrong", [{"time_constant_s": 0}, {"max_reach_s": -1}, {"min_lead": 1}])
def test_config_is_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SmoothingConfig(**wrong)
