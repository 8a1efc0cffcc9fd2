"""Blinks, speaking, nods and head shakes in synthetic signals with known values."""

import numpy as np
import pytest

from analytics.timeline.blinks import BlinkRule, find_blinks
from analytics.timeline.movements import (
    MOVEMENT_KINDS,
    MovementConfig,
    Movements,
    TrackedMeasures,
    find_movements,
    local_frame_s,
    relative_to_rest,
)
from analytics.timeline.oscillations import OscillationRule, find_oscillations, find_swings, turning_points
from fer_models.video.sampling import frames_to_sample

CONFIG = MovementConfig()


def measures(n: int = 100, fps: float = 25.0, **changed: np.ndarray) -> TrackedMeasures:
    """One person who looks ahead with open eyes and a closed mouth, except for what is changed."""
    start_s = changed.get("start_s", np.arange(n) / fps)
    end_s = changed.get("end_s", start_s + 1 / fps)
    still = {
        "track": np.zeros(n, np.int64),
        "part": np.zeros(n, np.int64),
        "start_s": start_s,
        "end_s": end_s,
        "local_frame_s": local_frame_s(start_s, end_s),
        "eye_openness": np.full(n, 0.3),
        "mouth_opening": np.zeros(n),
        "yaw_deg": np.zeros(n),
        "pitch_deg": np.zeros(n),
    }
    return TrackedMeasures(**still | changed)


def found(movements: Movements) -> list[tuple[str, float, float]]:
    kinds = [MOVEMENT_KINDS[kind] for kind in movements.kind]
    return list(zip(kinds, movements.start_s.round(3).tolist(), movements.end_s.round(3).tolist(), strict=True))


def dips(n: int, *at: slice, depth: float = 0.8) -> np.ndarray:
    openness = np.full(n, 0.3)
    for rows in at:
        openness[rows] *= 1 - depth
    return openness


def wave(n: int, fps: float, hertz: float, size: float, at: slice) -> np.ndarray:
    """A measure that is 0 except for the rows `at`, where it swings between 0 and `size` in whole cycles."""
    values = np.zeros(n)
    time_s = np.arange(at.stop - at.start) / fps
    values[at] = size / 2 * (1 - np.cos(2 * np.pi * hertz * time_s))
    return values


def test_nothing_moves():
    movements = find_movements(measures(), CONFIG)
    assert found(movements) == []
    assert not movements.is_speaking.any()
    assert movements.is_measured.all()


def test_no_faces():
    movements = find_movements(measures(0), CONFIG)
    assert found(movements) == [] and len(movements.is_speaking) == len(movements.is_measured) == 0


def test_blinks_have_onset_duration_and_depth():
    """Closed for 3 frames of 40 ms from 1 s on, and for 5 frames from 2 s on."""
    movements = find_movements(measures(eye_openness=dips(100, slice(25, 28), slice(50, 55))), CONFIG)
    assert found(movements) == [("blink", 1.0, 1.12), ("blink", 2.0, 2.2)]
    assert movements.strength.tolist() == pytest.approx([0.8, 0.8])


@pytest.mark.parametrize(
    ("openness", "why"),
    [
        (dips(100, slice(25, 28), depth=0.25), "the eyes narrow, but do not close"),
        (dips(100, slice(25, 26)), "one frame may be an outlier"),
        (dips(100, slice(25, 40)), "the eyes stay closed for 0.6 s"),
        (dips(100, slice(0, 3)), "the onset was not seen"),
        (dips(100, slice(97, 100)), "the offset was not seen"),
        (np.where(np.arange(100) < 50, 0.3, 0.05), "the eyes close and stay closed"),
        (np.where(np.isin(np.arange(100), np.arange(60, 90, 6)), 0.01, dips(100, slice(50, 100))), "eyes are closed"),
    ],
)
def test_not_a_blink(openness, why):
    assert found(find_movements(measures(eye_openness=openness), CONFIG)) == [], why


def test_eyes_that_narrow_slowly_blink_relative_to_how_open_they_are():
    openness = np.linspace(0.3, 0.24, 100)
    openness[70:73] *= 0.5
    assert found(find_movements(measures(eye_openness=openness), CONFIG)) == [("blink", 2.8, 2.92)]


@pytest.mark.parametrize(("fps", "n_blinks"), [(60, 1), (30, 1), (20, 1), (19, 0), (10, 0)])
def test_blinks_need_20_frames_per_second(fps, n_blinks):
    """The eyes are closed for 0.2 s; below 20 frames per second nothing is reported, and that is visible."""
    n = 5 * fps
    movements = find_movements(measures(n, fps, eye_openness=dips(n, slice(2 * fps, 2 * fps + fps // 5))), CONFIG)
    assert len(found(movements)) == n_blinks
    assert movements.is_measured.all() == (n_blinks > 0) == movements.is_measured.any()


@pytest.mark.parametrize("shown_fps", [20, 24000 / 1001, 24, 25, 30000 / 1001, 30, 50, 60000 / 1001, 72])
@pytest.mark.parametrize("fps", [20, 25])
def test_20_of_the_frames_of_a_video_per_second_are_enough(shown_fps, fps):
    """Whole frames are sampled, so that some are shown for 50 to 83 ms. In 60 s, 20 blinks, and speech of 3 Hz."""
    end_s = np.arange(1, 60 * shown_fps + 1) / shown_fps
    start_s = end_s - 1 / shown_fps
    start_s = start_s[frames_to_sample(start_s, end_s[-1], fps=fps)]
    end_s = np.append(start_s[1:], end_s[-1])
    openness = np.where((start_s + 1) % 3 < 0.2, 0.06, 0.3)
    mouth = np.where(start_s % 10 < 5, 0.1 * (1 - np.cos(2 * np.pi * 3 * start_s)), 0)
    changed = {"start_s": start_s, "end_s": end_s, "eye_openness": openness, "mouth_opening": mouth}
    movements = find_movements(measures(len(start_s), **changed), CONFIG)
    is_blink = movements.kind == MOVEMENT_KINDS.index("blink")
    assert movements.is_measured.all() and movements.measured_s.sum() == pytest.approx(end_s[-1])
    assert is_blink.sum() == 20
    assert (movements.end_s - movements.start_s)[~is_blink].sum() == pytest.approx(30, rel=0.05)


@pytest.mark.parametrize(("longest_s", "n_blinks"), [(0.08, 1), (0.15, 1), (0.16, 0)])
def test_a_frame_that_is_shown_longer_counts_as_a_gap(longest_s, n_blinks):
    """At 25 frames per second, during a blink from 1 s on, one frame is shown for longer."""
    start_s = np.arange(100) / 25 + (longest_s - 0.04) * (np.arange(100) >= 27)
    end_s = np.append(start_s[1:], start_s[-1] + 0.04)
    movements = find_movements(measures(start_s=start_s, end_s=end_s, eye_openness=dips(100, slice(25, 29))), CONFIG)
    assert len(found(movements)) == n_blinks
    assert movements.measured_s.sum() == pytest.approx(end_s[-1] - (0 if n_blinks else longest_s - 0.05))


def test_seconds_with_too_few_frames_are_not_measured():
    """For 10 s 30 frames per second, then 15 for 10 s; at the change, the mean of two seconds counts."""
    start_s = np.concatenate([np.arange(300) / 30, 10 + np.arange(150) / 15])
    movements = find_movements(measures(450, start_s=start_s, end_s=np.append(start_s[1:], 20)), CONFIG)
    assert movements.is_measured[:300].all() and not movements.is_measured[start_s >= 10.5].any()
    assert 10 <= movements.measured_s.sum() <= 10.55


@pytest.mark.parametrize("broken", ["unknown", "gap", "shot"])
def test_no_blink_across_a_break(broken):
    openness, n = dips(100, slice(25, 33)), np.arange(100)
    changed: dict[str, np.ndarray] = {"eye_openness": openness}
    if broken == "unknown":
        openness[27:30] = np.nan  # 0.12 s
    elif broken == "gap":
        changed["start_s"] = n / 25 + 0.11 * (n >= 29)
        changed["end_s"] = changed["start_s"] + 1 / 25
    else:
        changed["part"] = (n >= 29).astype(np.int64)
    assert found(find_movements(measures(**changed), CONFIG)) == []


def test_two_missing_faces_break_nothing():
    """Of a blink from 1 to 1.32 s, the faces from 1.08 to 1.16 s are missing; their time is measured."""
    openness = dips(100, slice(25, 33))
    openness[27:29] = np.nan
    movements = find_movements(measures(eye_openness=openness), CONFIG)
    assert found(movements) == [("blink", 1.0, 1.32)]
    assert movements.measured_s.sum() == pytest.approx(4)
    assert np.flatnonzero(~movements.is_measured).tolist() == [27, 28]


def test_a_dip_of_one_frame_is_no_blink_beside_missing_faces():
    openness = dips(100, slice(25, 26))
    openness[[24, 26]] = np.nan
    assert found(find_movements(measures(eye_openness=openness), CONFIG)) == []


@pytest.mark.parametrize(("n_known", "measured_s"), [(12, 0), (13, 0.52)])
def test_less_than_half_a_second_is_not_measured(n_known, measured_s):
    openness = dips(100, slice(5, 8))
    openness[n_known:] = np.nan
    movements = find_movements(measures(eye_openness=openness), CONFIG)
    assert movements.measured_s.sum() == pytest.approx(measured_s)
    assert len(found(movements)) == movements.is_measured.any() == (measured_s > 0)


@pytest.mark.parametrize(
    ("fps", "every", "is_measured"),
    [(25, 4, True), (25, 3, False), (25, 2, False), (30, 2, False), (60, 2, True)],
)
def test_most_of_the_time_needs_20_faces_per_second(fps, every, is_measured):
    """Each second, third or fourth face is missing; at 60 frames per second, 30 faces per second remain."""
    openness = np.where(np.arange(4 * fps) % every == 1, np.nan, 0.3)
    movements = find_movements(measures(4 * fps, fps, eye_openness=openness), CONFIG)
    assert movements.is_measured.any() == is_measured


@pytest.mark.parametrize(("fps", "missing"), [(25, 0.05), (25, 0.1), (30, 0.1), (30, 0.2), (50, 0.2)])
def test_rates_hardly_depend_on_single_missing_faces(fps, missing):
    """In 300 s, 100 blinks of 0.2 s, and speech of 3 Hz in half of the time."""
    time_s = np.arange(300 * fps) / fps
    openness = np.where((time_s + 1) % 3 < 0.2, 0.06, 0.3)
    mouth = np.where(time_s % 10 < 5, 0.1 * (1 - np.cos(2 * np.pi * 3 * time_s)), 0)
    openness[np.random.default_rng(0).random(len(time_s)) < missing] = np.nan
    movements = find_movements(measures(len(time_s), fps, eye_openness=openness, mouth_opening=mouth), CONFIG)
    measured_s, is_blink = movements.measured_s.sum(), movements.kind == MOVEMENT_KINDS.index("blink")
    assert measured_s == pytest.approx(300, rel=0.01)
    assert is_blink.sum() / measured_s * 60 == pytest.approx(20, rel=0.03)
    assert (movements.end_s - movements.start_s)[~is_blink].sum() / measured_s == pytest.approx(0.5, rel=0.03)


def test_speaking_is_found_from_the_first_to_the_last_swing():
    """The mouth opens and closes four times per second from 1 to 2.5 s: 12 swings of 0.125 s."""
    opening = wave(200, 40, 4, 0.2, slice(40, 100))
    movements = find_movements(measures(200, 40, mouth_opening=opening), CONFIG)
    assert found(movements) == [("speaking", 1.0, 2.525)]
    # The median replaces each turning point by its neighbors, a tenth of a cycle away.
    assert movements.strength.tolist() == pytest.approx([0.2 * np.cos(np.deg2rad(36))])
    assert np.flatnonzero(movements.is_speaking).tolist() == list(range(40, 101))


@pytest.mark.parametrize(
    ("hertz", "size", "speaks"),
    [(2, 0.1, True), (7, 0.1, True), (4, 0.03, False), (0.5, 0.3, False), (12, 0.2, False)],
)
def test_only_swings_of_speech_count(hertz, size, speaks):
    opening = wave(240, 60, hertz, size, slice(60, 181))
    assert bool(found(find_movements(measures(240, 60, mouth_opening=opening), CONFIG))) == speaks


@pytest.mark.parametrize("missing", [0, 0.1])
def test_outliers_of_single_frames_five_times_per_second_are_not_speech(missing):
    """Every fifth frame differs, as key frames may do."""
    opening = np.where(np.arange(1000) % 5 == 0, 0.2, 0.1)
    opening[np.random.default_rng(0).random(1000) < missing] = np.nan
    movements = find_movements(measures(1000, mouth_opening=opening, pitch_deg=100 * opening), CONFIG)
    assert found(movements) == [] and movements.measured_s.sum() == pytest.approx(40, rel=0.01)


def test_a_mouth_that_opens_once_does_not_speak():
    opening = np.concatenate([np.zeros(40), np.linspace(0, 0.5, 10), np.full(40, 0.5), np.linspace(0.5, 0, 10)])
    assert found(find_movements(measures(mouth_opening=opening), CONFIG)) == []


@pytest.mark.parametrize(("pause_s", "n_spans"), [(0.3, 1), (0.8, 2)])
def test_a_short_pause_does_not_end_speaking(pause_s, n_spans):
    """The pause is from the last time the mouth closes to the first time it is open again, 0.125 s later."""
    pause = round(40 * pause_s)
    opening = wave(200, 40, 4, 0.2, slice(0, 40)) + wave(200, 40, 4, 0.2, slice(40 + pause, 81 + pause))
    assert len(found(find_movements(measures(200, 40, mouth_opening=opening), CONFIG))) == n_spans


def swings(n_swings: int, fps: float, hertz: float, size: float) -> np.ndarray:
    """3 s of rest, swings between 0 and `size`, and 3 s of rest where the last one ends."""
    time_s = np.arange(round((6 + n_swings / hertz / 2) * fps)) / fps - 3
    return size / 2 * (1 - np.cos(2 * np.pi * hertz * np.clip(time_s, 0, n_swings / hertz / 2)))


@pytest.mark.parametrize("noise", [0, 0.002, 0.005])
@pytest.mark.parametrize("n_swings", [4, 6, 8])
def test_speaking_is_found_in_noise(n_swings, noise):
    """Swings of 0.12 IOD at 4 Hz from 3 s on; the jitter of landmarks is about 0.004 IOD."""
    clean, error_s = swings(n_swings, 30, 4, 0.12), []
    for seed in range(20):
        opening = clean + np.random.default_rng(seed).normal(0, noise, len(clean))
        ((kind, start_s, end_s),) = found(find_movements(measures(len(clean), 30, mouth_opening=opening), CONFIG))
        assert kind == "speaking"
        error_s.append([start_s - 3, end_s - 1 / 30 - 3 - n_swings / 8])
    assert np.abs(np.median(error_s, axis=0)).max() < 0.05  # one frame and a half
    assert np.abs(error_s).max() < 0.25


@pytest.mark.parametrize("noise_deg", [0, 0.1, 0.5])
@pytest.mark.parametrize("n_swings", [3, 4, 6])
def test_nods_are_found_in_noise(n_swings, noise_deg):
    """Swings of 8° at 2.5 Hz from 3 s on."""
    clean, error_s = swings(n_swings, 30, 2.5, 8), []
    for seed in range(20):
        pitch_deg, yaw_deg = np.random.default_rng(seed).normal(0, noise_deg, (2, len(clean)))
        movements = find_movements(measures(len(clean), 30, pitch_deg=clean + pitch_deg, yaw_deg=yaw_deg), CONFIG)
        ((kind, start_s, end_s),) = found(movements)
        assert kind == "nod"
        error_s.append([start_s - 3, end_s - 1 / 30 - 3 - n_swings / 5])
    assert np.abs(np.median(error_s, axis=0)).max() < 0.05
    assert np.abs(error_s).max() < 0.3


def test_three_swings_are_a_nod_of_a_head_that_drifts():
    """The head rises by 1° per second, so that the lowest value before the nod is 3 s earlier."""
    pitch = swings(3, 30, 2.5, 8)
    pitch += np.arange(len(pitch)) / 30
    ((kind, start_s, end_s),) = found(find_movements(measures(len(pitch), 30, pitch_deg=pitch), CONFIG))
    assert kind == "nod"
    assert (start_s, end_s) == (pytest.approx(3, abs=0.1), pytest.approx(3.6 + 1 / 30, abs=0.1))


@pytest.mark.parametrize("n_swings", [0, 2])
@pytest.mark.parametrize("noise", [0.002, 0.005, 0.01])
def test_noise_and_two_swings_are_no_movement(n_swings, noise):
    """Noise of 0.01 IOD, a fifth of the smallest swing, is more than twice the jitter of landmarks; 1° for the head."""
    mouth, head = swings(n_swings, 30, 4, 0.12), swings(n_swings, 30, 4, 8)
    for seed in range(20):
        random = np.random.default_rng(seed)
        moved = {"mouth_opening": mouth + random.normal(0, noise, len(mouth))}
        moved["pitch_deg"] = head + random.normal(0, 100 * noise, len(head))
        assert found(find_movements(measures(len(mouth), 30, **moved), CONFIG)) == []


@pytest.mark.parametrize("noise", [0, 0.002, 0.005])
def test_all_swings_before_and_after_a_pause_count(noise):
    """Four swings, a pause of 1 s and four swings: two intervals."""
    part = swings(4, 30, 4, 0.12)
    clean = np.concatenate([part[:120], part[75:]])
    for seed in range(20):
        opening = clean + np.random.default_rng(seed).normal(0, noise, len(clean))
        spans = found(find_movements(measures(len(clean), 30, mouth_opening=opening), CONFIG))
        starts_s, ends_s = [start_s for _, start_s, _ in spans], [end_s - 1 / 30 for _, _, end_s in spans]
        assert starts_s == pytest.approx([3, 4.5], abs=0.25)
        assert ends_s == pytest.approx([3.5, 5], abs=0.25)


def test_nods_and_shakes_are_distinguished_by_the_angle_that_moves_more():
    """Two cycles per second of 10° for a second; the other angle moves by half of that."""
    large, small = wave(100, 25, 2, 10, slice(25, 51)), wave(100, 25, 2, 5, slice(25, 51))
    nod = find_movements(measures(pitch_deg=large, yaw_deg=small), CONFIG)
    shake = find_movements(measures(pitch_deg=small, yaw_deg=large), CONFIG)
    assert [kind for kind, _, _ in found(nod)] == ["nod"]
    assert [kind for kind, _, _ in found(shake)] == ["head_shake"]
    assert nod.strength.tolist() == pytest.approx([10], abs=0.5)


@pytest.mark.parametrize(("hertz", "size_deg"), [(2, 3), (0.5, 20)])
def test_small_and_slow_head_movements_are_no_nods(hertz, size_deg):
    assert found(find_movements(measures(pitch_deg=wave(100, 25, hertz, size_deg, slice(0, 100))), CONFIG)) == []


def test_looking_down_once_is_no_nod():
    pitch = np.concatenate([np.zeros(40), np.full(20, 20.0), np.zeros(40)])
    assert found(find_movements(measures(pitch_deg=pitch), CONFIG)) == []


def test_movements_belong_to_their_track():
    """Two people one after the other in the table, at the same time in the video; only the second one blinks."""
    one, two = measures(50), measures(50, eye_openness=dips(50, slice(25, 28)), track=np.ones(50, np.int64))
    both = TrackedMeasures(**{name: np.concatenate([getattr(one, name), value]) for name, value in vars(two).items()})
    both.part[50:] = 1
    movements = find_movements(both, CONFIG)
    assert movements.track.tolist() == [1]
    assert found(movements) == [("blink", 1.0, 1.12)]


def test_smiles_are_measured_against_the_persons_own_rest():
    """The median over good faces: 0.1 for the first person; the second one has no good face."""
    track = np.array([0, 0, 0, 0, 1])
    height = np.array([0.1, 0.1, 0.4, np.nan, 0.2])
    relative = relative_to_rest(track, height, np.array([True, True, True, True, False]))
    np.testing.assert_allclose(relative, [0, 0, 0.3, np.nan, np.nan], atol=1e-12)


@pytest.mark.parametrize(
    ("values", "turns"),
    [
        ([], []),
        ([1, 1, 1], []),
        ([0, 1, 0, 1], [0, 1, 2, 3]),
        ([0, 0.4, 0, 1], [0, 3]),  # the first rise is too small
        ([0, 1, 0.8, 1.2, 0], [0, 3, 4]),  # the small dip is no turning point
        ([0, 0, 1, 1, 0], [0, 2, 4]),
    ],
)
def test_turning_points(values, turns):
    assert turning_points([float(value) for value in values], 0.5) == turns


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0, 2, 2, 0, 0], [(1, 2, 2), (3, 4, 2)]),  # the time for which a turning point is held belongs to no swing
        ([-0.1, 0, 2, 2.1, 0], [(1, 2, 2.2), (3, 4, 2.1)]),  # within 0.2 of the turning points
        ([-0.9, -0.5, 0, 0, 0, 2, 0], [(4, 5, 2), (5, 6, 2)]),  # the lowest value is more than 0.3 s before the swing
        ([0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1], [(1, 7, 1.8)]),  # from 0.3 s before it has reached 1 to 0.3 s after
        ([0, 0.4, 0.4, 0.4, 0.4, 1.0], []),  # 0.6 in the 0.3 s before it has reached 1
    ],
)
def test_swings_by_hand(values, expected):
    rule = OscillationRule(min_swing=1, min_swings=2, max_swing_s=0.3, min_mean_swing_s=0)
    found = find_swings(np.arange(len(values)) / 10, np.array(values, float), rule)
    assert [(swing.start, swing.end) for swing in found] == [(start, end) for start, end, _ in expected]
    assert [swing.size for swing in found] == pytest.approx([size for _, _, size in expected])


def test_blinks_of_a_run_by_hand():
    spans = find_blinks(np.arange(6) * 0.04, np.array([0.3, 0.2, 0.06, 0.2, 0.3, 0.3]), 0.3, BlinkRule())
    assert (spans.first.tolist(), spans.last.tolist()) == ([1], [3])
    assert spans.strength.tolist() == pytest.approx([0.8])


@pytest.mark.parametrize("wrong", [{"closed_share": 0.9}, {"max_duration_s": 0}, {"open_share": 1.0}])
def test_blink_rule_is_checked(wrong):
    with pytest.raises(ValueError, match="must hold"):
        BlinkRule(**wrong)


@pytest.mark.parametrize("wrong", [{"min_swing": 0}, {"min_swings": 1}, {"max_swing_s": 0.05}, {"max_pause_s": -1}])
def test_oscillation_rule_is_checked(wrong):
    with pytest.raises(ValueError):
        OscillationRule(**{"min_swing": 1, "min_swings": 3, "max_swing_s": 0.5, "min_mean_swing_s": 0.1} | wrong)


def test_oscillations_of_a_run_by_hand():
    rule = OscillationRule(min_swing=1, min_swings=3, max_swing_s=0.2, min_mean_swing_s=0.05)
    values = np.array([0, 0, 2, 0, 3, 0, 0, 0])
    spans = find_oscillations(np.arange(8) / 10, values, rule)
    assert (spans.first.tolist(), spans.last.tolist(), spans.strength.tolist()) == ([1], [5], [2.5])


def test_the_strength_is_the_median_of_all_swings_of_joined_intervals():
    """Eight swings of 0.06, a pause and eight of 0.30."""
    small, large = np.tile([0, 0.06], 4), np.tile([0, 0.3], 4)
    values = np.concatenate([small, [0, 0, 0, 0], large, [0]])
    spans = find_oscillations(np.arange(len(values)) / 10, values, CONFIG.speaking)
    assert (spans.first.tolist(), spans.last.tolist()) == ([0], [20])
    assert spans.strength.tolist() == pytest.approx([0.18])
