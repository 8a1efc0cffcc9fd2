"""Lagged correlation and its chance level: an imitation is found, independent people are not."""

import numpy as np
import pyarrow as pa
import pytest
from scenes import Face, feeling, observe
from test_synchrony import faces_of

from analytics.queries.connection import connect
from analytics.queries.synchrony import pair_synchrony, synchrony
from analytics.results.notes import hide
from analytics.results.store import Store
from analytics.statistics.synchrony import (
    MAX_SHIFTS,
    lagged_correlations,
    peak,
    shifted_peaks,
    stranger_peaks,
    surrogate_p_value,
    without_drift,
)
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.labels import EMOTIONS

RNG = np.random.default_rng(11)


def mood(n: int) -> np.ndarray:
    """A slow series of one person, five samples per second."""
    return np.convolve(RNG.normal(0, 1, n + 40), np.exp(-np.abs(np.arange(-20, 21)) / 6), "valid")


def smiling_faces(*people: np.ndarray) -> pa.Table:
    """Faces of people whose smoothed probability of happy is given for each frame, at five frames per second."""
    tables = []
    for track, happy in enumerate(people):
        n = len(happy)
        shown = {"happy": happy, "neutral": 1 - happy}
        tables.append(
            pa.table(
                {
                    "frame_index": np.arange(n),
                    "pts_s": np.arange(n) / 5,
                    "duration_s": np.full(n, 0.2),
                    "track_id": pa.array(np.full(n, track), pa.int32()),
                    "smooth_emotion": ["happy"] * n,
                    **{f"smooth_{name}": shown.get(name, np.zeros(n)) for name in EMOTIONS},
                }
            )
        )
    return pa.concat_tables(tables)


def test_each_lag_is_a_plain_correlation():
    x, y = mood(100), mood(100)
    found = lagged_correlations(x, y, 3)
    assert found[3] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found[5] == pytest.approx(np.corrcoef(x[:-2], y[2:])[0, 1])
    assert found[0] == pytest.approx(np.corrcoef(x[3:], y[:-3])[0, 1])
    x[:95] = np.nan
    assert np.isnan(lagged_correlations(x, y, 1)).all()
    assert peak(np.full(3, np.nan)) is None


def test_an_imitation_after_two_seconds_is_found_with_its_direction():
    x = mood(900)
    y = np.roll(x, 10) + RNG.normal(0, 0.5, 900)
    found = peak(lagged_correlations(x, y, 15))
    assert found is not None
    assert found.lag == 10
    assert surrogate_p_value(found.r, shifted_peaks(x, y, 15)) < 0.05
    backwards = peak(lagged_correlations(y, x, 15))
    assert backwards is not None and backwards.lag == -10


def test_independent_people_are_rarely_synchronous():
    found = []
    for _ in range(60):
        x, y = mood(900), mood(900)
        best = peak(lagged_correlations(x, y, 15))
        assert best is not None
        found.append(surrogate_p_value(best.r, shifted_peaks(x, y, 15)))
    assert np.mean(np.array(found) <= 0.05) < 0.14  # the limit is 0.05 plus three standard errors of 60 pairs


def test_long_series_have_a_limited_number_of_evenly_spaced_shifts():
    x, y = mood(3100), mood(3100)
    assert len(shifted_peaks(x[:900], y[:900], 15)) == 900 // 31 - 1
    # With a lag of 0, a peak is a plain correlation; the limit allows every fourth of 3100 shifts.
    expected = [np.corrcoef(x, np.roll(y, shift))[0, 1] for shift in range(4, 3100 - 3, 4)]
    found = shifted_peaks(x, y, 0)
    assert len(found) == 774 and found == pytest.approx(expected)
    assert len(shifted_peaks(x[:3000], y[:3000], 0)) == MAX_SHIFTS == 999
    assert surrogate_p_value(1.0, found) == 1 / 775


def with_gaps(series: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.where(known, series, np.nan)


def test_surrogates_have_the_gaps_of_the_second_person():
    """With a lag of 0, a peak is the plain correlation of the samples at which both are known."""
    steps = np.arange(400)
    x, y = with_gaps(mood(400), steps % 50 < 30), with_gaps(mood(400), (steps % 40 < 30) & (steps < 350))
    known = np.flatnonzero(~np.isnan(y))
    both = ~np.isnan(x) & ~np.isnan(y)
    expected = []
    for shift in range(1, len(known)):
        values = dict(zip(np.roll(known, -shift).tolist(), y[known], strict=True))
        expected.append(np.corrcoef(x[both], [values[step] for step in np.flatnonzero(both).tolist()])[0, 1])
    assert shifted_peaks(x, y, 0) == pytest.approx(expected)

    strangers = [mood(n) for n in (400, 1000, 350)]
    expected = []
    for stranger in strangers:
        z = {i: stranger[i] for i in known.tolist()}
        left = {i: z[i] - np.mean([z[j] for j in range(i - 5, i + 6) if j in z]) for i in z}
        expected.append(np.corrcoef(x[both], [left[step] for step in np.flatnonzero(both).tolist()])[0, 1])
    assert stranger_peaks(x, y, strangers, 0, 11) == pytest.approx(expected)


def test_only_people_who_are_seen_for_as_long_are_surrogates():
    """A correlation over 4 s is high by chance; nine tenths of the common samples are needed at each lag."""
    people = [0.5 + mood(900) / 20 for _ in range(2)]
    (alone,) = pair_synchrony(smiling_faces(*people)).to_pylist()
    short = [mood(n) for n in (20, 50, 300, 800)]
    (row,) = pair_synchrony(smiling_faces(*people), strangers=short * 10).to_pylist()
    assert row == alone and row["n_surrogates"] == 28
    x, y = mood(100), mood(100)
    # At a lag of 2, x and y have 98 common samples: at least 88.2 are needed, which 91 - 2 are and 90 - 2 are not.
    assert [len(stranger_peaks(x, y, [mood(n)], 2, 11)) for n in (90, 91)] == [0, 1]
    y[20:] = np.nan  # the samples of the stranger after 20 no longer count
    assert [len(stranger_peaks(x, y, [mood(n)], 2, 11)) for n in (17, 20, 100)] == [0, 1, 1]


def test_independent_people_who_are_together_in_parts_are_rarely_synchronous():
    """Two people take turns of 10 s and are together for 6 s of each minute; others are always seen."""
    second = np.arange(900) // 5
    in_turns = [(second // 10 % 2 == side) | (second % 60 < 6) for side in (0, 1)]
    strangers = [mood(900) / 20 for _ in range(40)]
    p_values = []
    for _ in range(60):
        tables = smiling_faces(*(0.5 + mood(900) / 20 for _ in in_turns))
        faces = tables.filter(np.concatenate(in_turns))
        (row,) = pair_synchrony(faces, strangers=strangers).to_pylist()
        p_values.append(row["p_surrogate"])
    assert np.mean(np.array(p_values) <= 0.05) < 0.14


def test_faces_without_expression_have_no_peak():
    """The second person repeats what the first one does, but neither changes by more than 0.002."""
    x = 0.5 + 0.002 * np.sin(np.arange(300))
    assert np.isnan(lagged_correlations(x, np.roll(x, 5), 15)).all()
    assert peak(lagged_correlations(10 * x, 10 * np.roll(x, 5), 15)).lag == 5
    still = [0.95 + 0.002 * np.sin(i) for i in range(60)]
    faces = [Face(i, x=x, p=feeling("happy", p)) for i, p in enumerate(still) for x in (100, 500)]
    (row,) = pair_synchrony(build_timeline(observe(np.arange(60) / 5, faces), TimelineConfig()).faces).to_pylist()
    assert row["valence_r"] is row["peak_r"] is row["p_surrogate"] is None


def test_the_moving_average_is_that_of_known_samples():
    x = mood(200)
    x[30:45] = x[190:] = np.nan
    expected = [x[t] - np.nanmean(x[max(t - 10, 0) : t + 11]) for t in range(200) if not np.isnan(x[t])]
    found = without_drift(x, 21)
    np.testing.assert_allclose(found[~np.isnan(x)], expected)
    assert (np.isnan(found) == np.isnan(x)).all()
    np.testing.assert_allclose(without_drift(x[:8], 21), x[:8] - x[:8].mean())


def test_a_common_drift_is_no_synchrony():
    """Sixty pairs of independent people, who all become happier by two standard deviations within three minutes."""
    drift = np.linspace(-1, 1, 900)
    assert np.std(mood(9000)) == pytest.approx(2.4, abs=0.2)
    p_values = []
    for _ in range(60):
        people = [0.5 + 0.04 * (mood(900) + 2.4 * drift) for _ in range(2)]
        (row,) = pair_synchrony(smiling_faces(*people)).to_pylist()
        p_values.append(row["p_surrogate"])
    assert np.mean(np.array(p_values) <= 0.05) < 0.14


def test_a_minute_is_too_short_for_a_p_value_by_shifts_alone():
    assert surrogate_p_value(0.4, shifted_peaks(mood(300), mood(300), 15)) is None
    assert surrogate_p_value(0.9, np.linspace(0, 0.5, 19)) == pytest.approx(1 / 20)


def test_the_answer_says_the_lag_and_the_chance_level():
    """Forty seconds in which the second person repeats the first one's emotions two seconds later."""
    first = list(RNG.choice(["happy", "sad", "neutral"], 40))
    second = ["neutral", "neutral", *first[:-2]]
    (row,) = pair_synchrony(faces_of(first, second), strangers=[mood(200) for _ in range(25)]).to_pylist()
    assert row["peak_lag_s"] == pytest.approx(2)
    assert row["peak_r"] == pytest.approx(1, abs=0.01)  # the moving averages differ at the two ends
    assert row["n_surrogates"] >= 19
    assert row["p_surrogate"] < 0.06
    assert row["chance_r"] < 0.8


@pytest.mark.parametrize(("n_strangers", "is_known"), [(13, False), (14, True)])
def test_the_chance_level_needs_19_surrogates(n_strangers, is_known):
    """Of a series of 200 steps there are 5 shifts by multiples of 31 steps: 31 to 155, up to 200 - 31."""
    strangers = [mood(200) for _ in range(n_strangers)]
    (row,) = pair_synchrony(smiling_faces(*(0.5 + mood(200) / 20 for _ in range(2))), strangers=strangers).to_pylist()
    assert row["n_surrogates"] == 5 + n_strangers
    assert (row["chance_r"] is not None, row["p_surrogate"] is not None) == (is_known, is_known)


def test_a_single_video_has_the_surrogates_of_all_videos(tmp_path):
    """Fifteen videos of 40 s: 14 people of other videos and 5 shifts are the 19 surrogates that are needed."""
    store = Store(tmp_path / "results")
    for video in range(15):
        shown = RNG.choice(["happy", "sad", "neutral"], (40, 2))
        faces = [Face(i, x=100 + 400 * k, p=feeling(shown[i // 5, k])) for i in range(200) for k in range(2)]
        timeline = build_timeline(observe(np.arange(200) / 5, faces), TimelineConfig())
        store.commit_analysis({"video_id": f"v{video:02d}", "analysis_id": "a", "path": f"{video:02d}.mp4"}, timeline)
    with connect(store.root) as connection:
        rows = synchrony(connection).to_pylist()
    assert [row["n_surrogates"] for row in rows] == [19] * 15
    assert all(row["chance_r"] is not None for row in rows)
    with connect(store.root, video="03.mp4") as connection:
        assert synchrony(connection).to_pylist() == [rows[3]]
    hide(store.root, "v00", 0, True)  # then the other person is the surrogate
    hide(store.root, "v01", 0, True)
    hide(store.root, "v01", 1, True)  # then nobody is
    with connect(store.root, video="03.mp4") as connection:
        (row,) = synchrony(connection).to_pylist()
    assert (row["n_surrogates"], row["chance_r"]) == (18, None)
