import numpy as np
import pytest

from analytics.timeline.episodes import EpisodeConfig, find_episodes

NAN = float("nan")
PLAIN = {"on": 0.6, "off": 0.4, "max_gap_s": 0.0, "min_duration_s": 0.0}


def episodes(
    values: list[float], *, start_s=None, track=None, other=(), row_s: float = 1.0, **config
) -> list[tuple[float, ...]]:
    """First row, start, end, apex, peak and mean of each episode; each row is shown for `row_s`."""
    start_s = np.arange(len(values)) * row_s if start_s is None else np.array(start_s, float)
    track = np.zeros(len(values), int) if track is None else np.array(track)
    is_other = np.isin(np.arange(len(values)), other)
    end_s = np.append(start_s[1:], start_s[-1] + row_s) if row_s != 1 else start_s + row_s
    found = find_episodes(track, start_s, end_s, np.array(values), is_other, EpisodeConfig(**{**PLAIN, **config}))
    columns = (found.first_row, found.start_s, found.end_s, found.apex_s, found.peak, found.mean)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_onset_and_offset_have_their_own_thresholds():
    #        off  mid  on   mid  mid  off
    values = [0.1, 0.5, 0.7, 0.5, 0.5, 0.3]
    assert episodes(values) == [(2, 2, 5, 2, 0.7, pytest.approx((0.7 + 0.5 + 0.5) / 3))]


def test_a_value_at_a_threshold_counts_as_reached():
    assert [found[1:3] for found in episodes([0.6, 0.4, 0.39])] == [(0, 2)]


def test_nothing_clear_or_nothing_at_all():
    assert episodes([0.5, 0.5]) == []
    assert episodes([]) == []


def test_the_first_of_two_peaks_is_the_apex():
    assert episodes([0.7, 0.9, 0.8, 0.9])[0][3:5] == (1, 0.9)


def test_an_episode_ends_with_its_track_and_where_nothing_is_known():
    assert [found[1:3] for found in episodes([0.9, 0.9, 0.5], start_s=[0, 1, 0], track=[0, 0, 1])] == [(0, 2)]
    spans = [found[1:3] for found in episodes([0.9, 0.9, 0.9], start_s=[0, 1, 0], track=[0, 0, 1])]
    assert spans == [(0, 2), (0, 1)]
    assert [found[1:3] for found in episodes([0.9, NAN, 0.5, 0.9])] == [(0, 1), (3, 4)]


def test_short_breaks_are_closed_before_short_spans_are_dropped():
    values = [0.9, 0.1, 0.9, 0.1, 0.1, 0.9]
    assert [found[1:3] for found in episodes(values)] == [(0, 1), (2, 3), (5, 6)]
    assert [found[1:3] for found in episodes(values, max_gap_s=1)] == [(0, 3), (5, 6)]
    assert [found[1:3] for found in episodes(values, max_gap_s=1, min_duration_s=2)] == [(0, 3)]
    assert episodes(values, max_gap_s=1)[0][5] == pytest.approx((0.9 + 0.1 + 0.9) / 3)


def test_breaks_between_tracks_are_never_closed():
    spans = [found[1:3] for found in episodes([0.9, 0.9], start_s=[0, 1], track=[0, 1], max_gap_s=9)]
    assert spans == [(0, 1), (1, 2)]


def test_a_break_with_another_emotion_in_it_is_not_bridged():
    spans = [found[1:3] for found in episodes([0.9, NAN, 0.9], other=[1], max_gap_s=1)]
    assert spans == [(0, 1), (2, 3)]


def test_a_break_in_which_nobody_is_seen_ends_an_episode():
    """Nobody is visible from 2 to 2.7 s: this break is longer than 0.3 s, so it is not bridged."""
    start_s = [0, 1, 2.7, 3.7]
    assert [found[1:3] for found in episodes([0.9] * 4, start_s=start_s, max_gap_s=0.3)] == [(0, 2), (2.7, 4.7)]
    assert [found[1:3] for found in episodes([0.9] * 4, start_s=start_s, max_gap_s=0.7)] == [(0, 4.7)]
    assert len(episodes([0.9, 0.9, 0.5, 0.5], start_s=start_s, max_gap_s=0.3)) == 1, "the state does not outlast it"


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2, 0.7, 7.3])
def test_durations_at_a_threshold_do_not_depend_on_the_start(shift):
    """Anywhere in the video, an episode of 0.3 s is long enough, and a break of 0.3 s is short enough to be bridged."""
    start_s = shift + np.arange(12) / 10
    values = [0.1, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1]
    apart = episodes(values, start_s=start_s, row_s=0.1, max_gap_s=0.2, min_duration_s=0.3)
    joined = episodes(values, start_s=start_s, row_s=0.1, max_gap_s=0.3, min_duration_s=0.3)
    assert [found[0] for found in apart] == [1, 7]
    assert [found[0] for found in joined] == [1]


@pytest.mark.parametrize("wrong", [{"on": 0.3, "off": 0.4}, {"off": 0}, {"max_gap_s": -1}])
def test_config_is_checked(wrong):
    with pytest.raises(ValueError, match="must"):
        EpisodeConfig(**wrong)
