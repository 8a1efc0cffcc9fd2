import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.timeline.smoothing import SmoothingConfig, smooth, steady_labels

CONFIG = SmoothingConfig(time_constant_s=1.0, max_reach_s=2.0)
NAN = float("nan")


def test_two_rows_one_time_constant_apart():
    # Each row has weight 1 in its own mean, and the other row has weight 1/e.
    start_s = np.array([0.0, 1.0])
    smoothed = smooth(np.zeros(2), start_s, start_s + 1, np.array([[1.0], [0.0]]), np.ones(2), CONFIG)
    own = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(smoothed[:, 0], [own, 1 - own])


def test_longer_rows_weigh_more_at_most_one_time_constant_outside_of_their_own_mean():
    weights = np.array([3.0, 0.5])
    smoothed = smooth(np.zeros(2), np.zeros(2), weights, np.array([[1.0], [0.0]]), weights, CONFIG)
    np.testing.assert_allclose(smoothed[:, 0], [3 / 3.5, 1 / 1.5])


def test_rows_that_do_not_count_are_filled_from_their_neighbors():
    values = np.array([[1.0], [NAN], [0.0]])
    start_s = np.array([0.0, 1.0, 2.0])
    smoothed = smooth(np.zeros(3), start_s, start_s + 1, values, np.array([1.0, 0.0, 1.0]), CONFIG)
    np.testing.assert_allclose(smoothed[1, 0], 0.5)


def test_nothing_is_known_out_of_reach_or_in_another_track():
    track = np.array([0, 0, 1])
    start_s = np.array([0.0, 2.5, 0.0])
    smoothed = smooth(track, start_s, start_s + 1, np.ones((3, 1)), np.array([1.0, 0.0, 0.0]), CONFIG)
    np.testing.assert_array_equal(smoothed[:, 0], [1, NAN, NAN])


@pytest.mark.parametrize(
    ("start_s", "end_s", "is_known"),
    [
        ([0.0, 9.0], [9.0, 10.0], True),  # right after a long row
        ([0.0, 1.0, 2.0], [1.0, 2.0, 3.0], True),
        ([0.0, 1.0, 2.0], [1.0, 2.0, 3.1], False),  # shown until 2.1 s after the first one
        ([0.0, 1.0], [1.0, 3.1], False),  # shown for longer than 2 s
    ],
)
def test_rows_are_known_that_lie_wholly_in_reach(start_s, end_s, is_known):
    """The first row is known; time runs forward, and backward."""
    n = len(start_s)
    weights = np.eye(n)[0]
    forward = smooth(np.zeros(n), np.array(start_s), np.array(end_s), np.ones((n, 1)), weights, CONFIG)
    backward = smooth(
        np.zeros(n), -np.array(end_s)[::-1], -np.array(start_s)[::-1], np.ones((n, 1)), weights[::-1], CONFIG
    )
    assert [not np.isnan(smoothed) for smoothed in (forward[-1, 0], backward[0, 0])] == [is_known] * 2


def test_no_rows():
    nothing = np.empty(0)
    assert smooth(nothing, nothing, nothing, np.empty((0, 7)), nothing, CONFIG).shape == (0, 7)
    assert steady_labels(nothing, np.empty((0, 7)), 0.1).shape == (0,)


rows = st.lists(  # track, hundredths of a second since the row before and until the end of this one, value and weight
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 300),
        st.integers(0, 300),
        st.floats(0, 1),
        st.sampled_from([0, 0.1, 1, 7]),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_smoothing_is_the_weighted_mean_over_all_pairs(rows):
    track, gap, shown, value, weight = np.array(rows, float).reshape(-1, 5).T
    track, end_s = np.sort(track), np.cumsum(gap + shown) / 100
    start_s = end_s - shown / 100
    smoothed = smooth(track, start_s, end_s, value[:, None], weight, CONFIG)[:, 0]
    for row in range(len(track)):
        same = track == track[row]
        distance_s = np.abs(start_s - start_s[row])
        # From each row that is not later to the end of this one, from others to its start.
        reach_s = np.where(np.arange(len(track)) <= row, end_s[row] - end_s, start_s - start_s[row])
        lent = np.where(np.arange(len(track)) == row, weight, np.minimum(weight, 1))
        kernel = same * lent * np.exp(-distance_s)
        if (same & (weight > 0) & (reach_s.round(6) <= 2)).any():
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
