from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Face, observe

from analytics.timeline.baseline import LEAST_P, NEUTRAL, BaselineConfig, correct, find_baselines
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.labels import EMOTIONS

ANGRY, HAPPY = EMOTIONS.index("angry"), EMOTIONS.index("happy")


def face(**p: float) -> np.ndarray:
    """Probabilities of one face; the emotions that are not named share the rest equally."""
    rest = (1 - sum(p.values())) / (len(EMOTIONS) - len(p))
    return np.array([p.get(name, rest) for name in EMOTIONS])


GRIM, GRIM_SMILE, PLAIN = face(angry=0.5, neutral=0.4), face(angry=0.1, happy=0.6, neutral=0.15), face(neutral=0.94)


def baselines(p, config, track=None, counts=None):
    start_s = np.arange(len(p), dtype=float)
    track = np.zeros(len(p), int) if track is None else np.array(track)
    counts = np.ones(len(p), bool) if counts is None else np.array(counts)
    return find_baselines(track, start_s, start_s + 1, np.array(p), counts, config)


def test_by_hand():
    """Anger is reduced by how far its odds against neutral exceed those of a resting face, 0.05 to 0.70."""
    p = np.array([GRIM, GRIM_SMILE])
    corrected = correct(np.zeros(2, int), p, baselines(p[:1], BaselineConfig("own_mean")))
    odds = p[:, ANGRY] / p[:, NEUTRAL]
    np.testing.assert_allclose(corrected[:, ANGRY] / corrected[:, NEUTRAL], odds * (0.05 / 0.70) / odds[0])
    unbiased = [i for i in range(7) if i != ANGRY]
    np.testing.assert_allclose(corrected[:, unbiased] / corrected[:, [NEUTRAL]], (p / p[:, [NEUTRAL]])[:, unbiased])
    assert corrected[0].argmax() == NEUTRAL
    assert corrected[1].argmax() == HAPPY
    np.testing.assert_allclose(corrected.sum(1), 1)


def test_a_face_that_is_neutral_at_rest_is_unchanged():
    p = np.array([PLAIN, GRIM_SMILE])
    np.testing.assert_allclose(correct(np.zeros(2, int), p, baselines(p[:1], BaselineConfig("own_mean"))), p)


def test_the_most_neutral_stretch_is_found():
    p = [GRIM_SMILE] * 3 + [GRIM] * 3 + [GRIM_SMILE] * 3
    found = baselines(p, BaselineConfig("neutral_stretch", stretch_s=3.0))
    assert (found.start_s.tolist(), found.end_s.tolist()) == ([3], [6])
    np.testing.assert_allclose(found.probabilities, [GRIM])


@pytest.mark.parametrize("fps", [10, 25, 30])
def test_faces_that_fill_exactly_half_of_the_stretch_are_enough(fps):
    """The sum of the times of the frames is often a rounding error less than the 1 s that they are shown."""
    config = BaselineConfig("neutral_stretch")
    for first in range(60):
        start_s = np.arange(first, first + fps) / fps
        end_s = np.arange(first + 1, first + fps + 1) / fps
        p = np.repeat([PLAIN], fps, axis=0)
        found = find_baselines(np.zeros(fps, int), start_s, end_s, p, np.ones(fps, bool), config)
        assert (found.start_s, found.end_s) == (start_s[0], end_s[-1])
        short = find_baselines(np.zeros(fps, int), start_s, end_s, p, np.arange(fps) > 0, config)
        assert np.isnan(short.start_s).all()


def test_a_frame_counts_with_its_time_in_the_stretch_or_span():
    one, other = face(angry=0.2, neutral=0.5), face(angry=0.4, neutral=0.4)
    start_s, end_s = np.array([0.0, 1.0]), np.array([1.0, 9.0])
    for config, weights in (
        (BaselineConfig("neutral_stretch"), [1, 1]),
        (BaselineConfig("neutral_stretch", span_s=(0.5, 3.0)), [0.5, 2]),
        (BaselineConfig("own_mean"), [1, 8]),
    ):
        found = find_baselines(np.zeros(2, int), start_s, end_s, np.array([one, other]), np.ones(2, bool), config)
        log_odds = np.average(np.log([0.2 / 0.5, 0.4 / 0.4]), weights=weights)
        p = found.probabilities[0]
        assert np.log(p[ANGRY] / p[NEUTRAL]) == pytest.approx(log_odds)
        assert found.end_s - found.start_s == pytest.approx(sum(weights))


def test_a_given_span_is_taken_in_every_track_that_is_seen_in_it():
    p = [GRIM_SMILE, GRIM, GRIM, GRIM_SMILE, GRIM_SMILE]
    found = baselines(p, BaselineConfig("neutral_stretch", span_s=(1, 3)), track=[0, 0, 0, 1, 1])
    np.testing.assert_array_equal(found.start_s, [1, np.nan])
    np.testing.assert_array_equal(found.end_s, [3, np.nan])
    np.testing.assert_allclose(found.probabilities[0], GRIM)
    np.testing.assert_array_equal(correct(np.ones(1, int), np.array([GRIM]), found), [GRIM])


def test_without_a_neutral_stretch_there_is_no_baseline_unless_required():
    p = [GRIM_SMILE] * 4
    assert np.isnan(baselines(p, BaselineConfig("neutral_stretch")).start_s).all()
    assert baselines(p, BaselineConfig("neutral_stretch", min_neutral=0.1)).start_s == [0]
    assert baselines(p, BaselineConfig("neutral_stretch", span_s=(1, 3))).start_s == [1]


def test_faces_that_do_not_count_are_no_baseline():
    found = baselines([GRIM, np.full(7, np.nan)], BaselineConfig("own_mean"), counts=[True, False])
    np.testing.assert_allclose(found.probabilities, [GRIM])
    assert np.isnan(baselines([PLAIN] * 3, BaselineConfig("neutral_stretch", stretch_s=9.0)).start_s).all()
    assert np.isnan(baselines([PLAIN] * 3, BaselineConfig("own_mean"), counts=[False] * 3).start_s).all()
    assert np.isnan(baselines([PLAIN] * 3, BaselineConfig()).start_s).all()
    assert len(baselines(np.empty((0, 7)), BaselineConfig("own_mean")).start_s) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=7, max_size=7).filter(any), min_size=1, max_size=6))
def test_no_emotion_is_ever_added_to_neutral(weights):
    p = np.array(weights) / np.sum(weights, axis=1, keepdims=True)
    corrected = correct(np.zeros(len(p), int), p, baselines(p, BaselineConfig("own_mean")))
    np.testing.assert_allclose(corrected.sum(1), 1)
    floor = np.maximum(p, LEAST_P)
    assert (corrected / corrected[:, [NEUTRAL]] <= floor / floor[:, [NEUTRAL]] * (1 + 1e-9)).all()


def test_a_timeline_has_the_baseline_and_the_original_probabilities():
    observations = observe(np.arange(40) / 10, [Face(i, p=tuple(GRIM if i < 20 else GRIM_SMILE)) for i in range(40)])
    plain = build_timeline(observations, TimelineConfig())
    config = replace(TimelineConfig(), baseline=BaselineConfig("neutral_stretch"))
    corrected = build_timeline(observations, config)
    assert plain.faces.select([f"p_{name}" for name in EMOTIONS]) == corrected.faces.select(
        [f"p_{name}" for name in EMOTIONS]
    )
    assert plain.faces["smooth_emotion"][0].as_py() == "angry"
    assert corrected.faces["smooth_emotion"].to_pylist()[::39] == ["neutral", "happy"]
    before, after = plain.tracks.to_pylist()[0], corrected.tracks.to_pylist()[0]
    assert before["baseline_start_s"] is before["baseline_angry"] is None
    assert (after["baseline_start_s"], after["baseline_end_s"]) == (0, pytest.approx(2.0))
    assert after["baseline_angry"] == pytest.approx(0.5, abs=1 / 2048)
    assert "angry" not in corrected.episodes["emotion"].to_pylist()


def test_the_probability_of_other_classes_stays():
    """A smile at 0.125 for contempt: by hand, as SciPy's `entropy([...], base=2)`; the seven sum to 0.875."""
    smile = [0.0625, 0, 0, 0.5, 0, 0, 0.3125]
    observations = observe(np.arange(40) / 10, [Face(i, p=tuple(smile)) for i in range(40)])
    column = observations.schema.get_field_index("p_other")
    observations = observations.set_column(column, observations.field(column), pa.array([0.125] * 40, pa.float32()))
    for method in ("none", "own_mean"):
        timeline = build_timeline(observations, replace(TimelineConfig(), baseline=BaselineConfig(method)))
        smooth = timeline.faces.select([f"smooth_{name}" for name in EMOTIONS]).to_pandas().to_numpy()
        np.testing.assert_array_equal(smooth.sum(1), [0.875] * 40)
        assert timeline.faces["p_other"].to_pylist() == [0.125] * 40
        assert timeline.faces["entropy"].to_pylist() == pytest.approx([1.64946] * 40, abs=1 / 512)
    assert smooth[0, HAPPY] < 0.2  # 0.875 times the share of the happy in a corrected smile


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"method": "mean"}, "one of none, own_mean, neutral_stretch"),
        ({"method": "own_mean", "span_s": (0, 1)}, "for baseline neutral_stretch"),
        ({"method": "neutral_stretch", "span_s": (2, 1)}, "end after it starts, got 2 to 1 s"),
        ({"stretch_s": 0}, "stretch_s"),
    ],
)
def test_config_is_checked(wrong, says):
    with pytest.raises(ValueError, match=says):
        BaselineConfig(**wrong)
