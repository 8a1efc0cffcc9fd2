import itertools
import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import Face, feeling, observe, still_landmarks

from analytics.tables.affect import arousal_proxy, entropy_bits, top_emotion, valence_proxy
from analytics.tables.schema import OBSERVATIONS, TIMELINE_TABLES, timeline_schema
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from analytics.timeline.quality import QualityConfig
from fer_models.labels import EMOTIONS

CONFIG = TimelineConfig()


def rows(table: pa.Table, *names: str) -> list[tuple]:
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


def test_one_person_from_neutral_to_happy():
    """One second neutral and two seconds happy, at 10 frames/s."""
    faces = [Face(i, p=feeling("neutral" if i < 10 else "happy")) for i in range(30)]
    timeline = build_timeline(observe(np.arange(30) / 10, faces), CONFIG)
    assert set(timeline.faces["track_id"].to_pylist()) == {0}
    assert rows(timeline.tracks, "track_id", "n_faces", "n_faces_ok", "emotion") == [(0, 30, 30, "happy")]
    track = timeline.tracks.to_pylist()[0]
    assert (track["start_s"], track["end_s"]) == (0, pytest.approx(3.0))
    assert track["mean_happy"] == pytest.approx(2 / 3)
    assert track["share_happy"] == pytest.approx(2 / 3)
    assert (track["suspected_switch"], track["switch_s"]) == (False, None)
    assert rows(timeline.transitions, "from_emotion", "to_emotion", "count") == [("neutral", "happy", 1)]
    neutral, happy = timeline.episodes.to_pylist()
    assert (neutral["emotion"], neutral["start_s"], happy["emotion"], happy["end_s"]) == (
        "neutral",
        0,
        "happy",
        pytest.approx(3.0),
    )
    assert neutral["end_s"] == happy["start_s"] == pytest.approx(1.0)
    assert happy["duration_s"] == happy["end_s"] - happy["start_s"]


def test_frames_have_their_duration():
    observations = observe([0, 0.5, 0.6, 1.6], [Face(1), Face(1, x=500)], undecoded=[2])
    frames = build_timeline(observations, CONFIG).frames
    # The last frame lasts for the median step.
    assert frames["duration_s"].to_pylist() == pytest.approx([0.5, 0.1, 1.0, 0.5])
    assert rows(frames, "status", "n_faces") == [("no_face", 0), ("ok", 2), ("decode_error", None), ("no_face", 0)]


def test_the_last_frame_ends_where_the_video_does():
    observations = observe([0, 10, 20], [Face(0), Face(1), Face(2)])
    # An end before the last frame is ignored, and so is one that lies after it by a rounding error.
    for end_s, last_s in ((20.04, 0.04), (25, 5), (None, 10), (19, 10), (np.nextafter(20, 21), 10)):
        timeline = build_timeline(observations, CONFIG, end_s=end_s)
        assert timeline.frames["duration_s"].to_pylist() == pytest.approx([10, 10, last_s])
        assert timeline.faces["duration_s"].to_pylist() == pytest.approx([10, 10, last_s])
    assert build_timeline(observe([0], [Face(0)]), CONFIG, end_s=3).frames["duration_s"].to_pylist() == [3]


def test_a_frame_ends_where_data_are_lost():
    """Lost are 0.35 s to 5 s, in which a segment begins."""
    first = observe([0, 0.1, 0.2, 0.3], [Face(i) for i in range(4)], lost_from_s=[0.35])
    second = observe([5, 5.1, 5.2, 5.3], [Face(i) for i in range(4)], first=4, lost_from_s=[0.35])
    timeline = build_timeline(pa.concat_tables([first, second]), CONFIG, end_s=5.5)
    for table in (timeline.frames, timeline.faces):
        assert table["duration_s"].to_pylist() == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2])


def test_a_loss_shorter_than_the_sampling_step_leaves_no_gap():
    """At 2 frames per second, 0.6 to 0.7 s is lost; and 2.1 to 4.2 s, of which no more than 0.4 s is counted."""
    times_s = [0, 0.5, 1, 1.5, 2, 4.5, 5, 5.5]
    observations = observe(times_s, [Face(i) for i in range(8)], lost_from_s=[0.6, 2.1])
    timeline = build_timeline(observations, CONFIG, end_s=6)
    assert timeline.frames["duration_s"].to_pylist() == pytest.approx(8 * [0.5])


def test_shares_are_of_time_not_of_frames():
    """Three quick happy frames last as long together as one sad frame does."""
    times_s = [0, 1, 2, 3, 4, 5, 6, 6 + 1 / 3, 6 + 2 / 3, 7, 8, 9]
    faces = [Face(i, p=feeling("happy" if i in (6, 7, 8) else "sad")) for i in range(11)]
    config = replace(CONFIG, smoothing=replace(CONFIG.smoothing, time_constant_s=0.01, min_lead=0))
    track = build_timeline(observe(times_s, faces), config).tracks.to_pylist()[0]
    assert (track["share_sad"], track["share_happy"]) == pytest.approx((8 / 9, 1 / 9))


def test_a_photo_keeps_its_faces_but_has_no_tracks():
    timeline = build_timeline(observe([0], [Face(0, p=feeling("happy", 0.75))]), CONFIG)
    assert rows(timeline.frames, "duration_s", "n_faces") == [(None, 1)]
    assert rows(timeline.faces, "track_id", "emotion", "p_max", "smooth_emotion", "smooth_happy") == [
        (None, "happy", 0.75, None, None)
    ]
    assert len(timeline.tracks) == len(timeline.episodes) == len(timeline.transitions) == 0


@pytest.mark.parametrize(
    "observations", [OBSERVATIONS.empty_table(), observe([0, 1], []), observe([0, 1], [], undecoded=[0, 1])]
)
def test_no_faces_at_all(observations):
    timeline = build_timeline(observations, CONFIG)
    assert len(timeline.frames) == len(observations)
    for name, table in timeline.tables().items():
        assert table.schema.equals(timeline_schema(TIMELINE_TABLES[name]), check_metadata=True)
        assert name == "frames" or len(table) == 0


@pytest.mark.parametrize(
    ("face", "reason"),
    [
        (Face(0), None),
        (Face(0, det_score=0.4), "low_detection_score"),
        (Face(0, size_px=20), "too_small"),
        (Face(0, cut_off=0.3), "cut_off"),
        (Face(0, x=40), None),  # a tenth of the crop is outside the frame
        (Face(0, nose_shift=0.8), "turned_away"),  # atan(0.8 / 0.5) = 58°
        (Face(0, nose_shift=-0.8), "turned_away"),
        (Face(0, brightness=10), "dark"),
        (Face(0, blur=1), "blurred"),
        (Face(0, blur=math.nan, brightness=math.nan), None),  # an unknown measure does not reject a face
    ],
)
def test_the_quality_filter_gives_a_reason(face, reason):
    timeline = build_timeline(observe([0], [face]), CONFIG)
    assert rows(timeline.faces, "quality_ok", "quality_reason") == [(reason is None, reason)]


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        ({"landmark_score": 0.06, "head_pitch_deg": 39}, None),
        ({"landmark_score": 0.04}, "low_landmark_score"),
        ({"head_pitch_deg": 41}, "looking_up"),
        ({"head_pitch_deg": -41, "landmark_score": 0}, "looking_down"),
        ({"head_yaw_deg": 80}, None),  # the yaw of the five landmarks decides
        ({"head_pitch_deg": math.nan, "landmark_score": math.nan}, None),  # unknown, as in results of version 0.1
    ],
)
def test_the_quality_filter_uses_head_pitch_and_landmark_score(measured, reason):
    landmarks = still_landmarks(1, **{name: np.array([value]) for name, value in measured.items()})
    timeline = build_timeline(observe([0], [Face(0)], landmarks=landmarks), CONFIG)
    assert rows(timeline.faces, "quality_ok", "quality_reason") == [(reason is None, reason)]


def test_low_quality_faces_keep_their_rows_and_do_not_count():
    faces = [Face(i, p=feeling("sad" if i == 5 else "happy"), blur=1 if i == 5 else 100) for i in range(10)]
    timeline = build_timeline(observe(np.arange(10) / 10, faces), CONFIG)
    assert timeline.faces["p_sad"][5].as_py() == 1
    assert timeline.faces["smooth_happy"].to_pylist() == pytest.approx([1] * 10)
    assert rows(timeline.tracks, "n_faces", "n_faces_ok", "mean_happy") == [(10, 9, pytest.approx(1))]


def test_people_who_overlap_may_have_been_exchanged():
    alone = [Face(i, x=560) for i in range(10)]
    pair = [Face(i, x=x) for i in range(10) for x in (100 + 10 * i, 240 - 10 * i)]
    tracks = build_timeline(observe(np.arange(10) / 10, [*pair, *alone]), CONFIG).tracks
    assert rows(tracks, "track_id", "suspected_switch") == [(0, True), (1, True), (2, False)]


def test_a_face_seen_twice_is_refused():
    observations = observe([0, 1], [Face(0)])
    for again in (observations.slice(0, 1), observations.slice(1, 1)):
        with pytest.raises(ValueError, match="observed twice"):
            build_timeline(pa.concat_tables([observations, again]), CONFIG)


def test_affect_by_hand():
    certain = np.eye(7)
    assert [EMOTIONS[code] for code in top_emotion(certain)] == list(EMOTIONS)
    no_other = np.full(7, math.nan)
    assert entropy_bits(certain, no_other).tolist() == [0] * 7
    assert entropy_bits(np.full((1, 7), 1 / 7), no_other[:1]) == pytest.approx(math.log2(7))
    assert entropy_bits(np.full((1, 7), 1 / 8), np.array([1 / 8])) == pytest.approx(3)
    happy, sad, neutral = (EMOTIONS.index(name) for name in ("happy", "sad", "neutral"))
    valence, arousal = valence_proxy(certain), arousal_proxy(certain)
    assert (valence[happy], arousal[happy]) == pytest.approx((0.924, 0.383))  # cos and sin of 22.5°
    assert (valence[sad], arousal[sad]) == pytest.approx((-0.924, -0.383))
    assert (valence[neutral], arousal[neutral]) == (0, 0)
    unknown = np.full((1, 7), math.nan)
    assert top_emotion(unknown) == [-1]
    assert np.isnan([valence_proxy(unknown), arousal_proxy(unknown), entropy_bits(unknown, no_other[:1])]).all()


def test_settings_are_plain_values():
    assert CONFIG.settings()["tracker"]["max_gap_s"] == CONFIG.tracker.max_gap_s
    assert set(CONFIG.settings()) == {
        "cuts",
        "tracker",
        "joining",
        "quality",
        "baseline",
        "smoothing",
        "episodes",
        "movements",
    }


@pytest.mark.parametrize(
    "wrong", [{"min_det_score": 2}, {"max_yaw_deg": 91}, {"max_pitch_deg": 91}, {"min_face_px": -1}]
)
def test_quality_config_is_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        QualityConfig(**wrong)


@st.composite
def videos(draw) -> pa.Table:
    """Up to 20 frames at a variable rate with up to three faces each, some of bad quality."""
    steps_s = draw(st.lists(st.sampled_from([0.04, 0.2, 0.5, 2.0]), min_size=1, max_size=20))
    face = st.tuples(
        st.integers(1, 6), st.sampled_from(EMOTIONS), st.floats(0, 1), st.sampled_from([0.3, 0.7]), st.booleans()
    )
    faces = [
        Face(i, x=100 * place, p=feeling(emotion, p), det_score=score, blur=100 if sharp else 1, appearance=40 * place)
        for i in range(len(steps_s))
        for place, emotion, p, score, sharp in draw(st.lists(face, max_size=3))
    ]
    seen = {face.frame for face in faces}
    undecoded = [i for i in range(len(steps_s)) if i not in seen and draw(st.booleans())]
    return observe(np.cumsum(steps_s), faces, undecoded)


def same(a: Timeline, b: Timeline) -> bool:
    return all(table.equals(b.tables()[name]) for name, table in a.tables().items())


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(videos(), st.randoms())
def test_the_order_of_segments_does_not_matter(observations, random):
    cuts = sorted(random.sample(range(len(observations) + 1), min(3, len(observations))))
    bounds = [0, *cuts, len(observations)]
    segments = [observations.slice(start, stop - start) for start, stop in itertools.pairwise(bounds)]
    random.shuffle(segments)
    assert same(build_timeline(observations, CONFIG), build_timeline(pa.concat_tables(segments), CONFIG))


@settings(max_examples=40, deadline=None)
@given(videos())
def test_laws_of_a_timeline(observations):
    timeline = build_timeline(observations, CONFIG)
    faces = timeline.faces.to_pandas()
    assert len(timeline.frames) == observations["frame_index"].combine_chunks().unique().__len__()
    assert len(faces) == timeline.frames["n_faces"].combine_chunks().fill_null(0).to_numpy().sum()
    tracked = faces[faces.track_id.notna()]
    assert not tracked.duplicated(["track_id", "frame_index"]).any(), "a track has one face in a frame"
    for _, track in tracked.groupby("track_id"):
        assert track.pts_s.is_monotonic_increasing
    smooth = faces[[f"smooth_{name}" for name in EMOTIONS]].to_numpy()
    known = faces.smooth_emotion.notna().to_numpy()
    np.testing.assert_allclose(smooth[known].sum(1), 1, atol=1e-5)
    assert np.isnan(smooth[~known]).all()
    assert (faces.quality_ok == faces.quality_reason.isna()).all()
    tracks = timeline.tracks.to_pandas()
    assert tracks.track_id.tolist() == list(range(len(tracks)))
    assert (tracks.suspected_switch == tracks.switch_s.notna()).all()
    shares = tracks[[f"share_{name}" for name in EMOTIONS]].to_numpy()
    np.testing.assert_allclose(shares[tracks.emotion.notna()].sum(1), 1, atol=1e-5)
    episodes = timeline.episodes.to_pandas()
    assert (episodes.start_s <= episodes.apex_s).all()
    assert (episodes.apex_s < episodes.end_s).all()
    assert (episodes["mean"] <= episodes.peak + 1e-6).all()
    for _, spans in episodes.groupby(["track_id", "emotion"]):
        assert (spans.start_s.to_numpy()[1:] >= spans.end_s.to_numpy()[:-1]).all(), "episodes must not overlap"


def test_a_hard_cut_ends_every_track_and_is_marked():
    pts_s = [i / 10 for i in range(20)]
    faces = [Face(i) for i in range(20)]
    gray = [60] * 10 + [150] * 10
    cut = build_timeline(observe(pts_s, faces, gray=gray), TimelineConfig())
    assert cut.faces["track_id"].to_pylist() == [0] * 10 + [1] * 10
    assert cut.frames["is_cut"].to_pylist() == [False] * 10 + [True] + [False] * 9
    assert cut.tracks.num_rows == 2
    assert build_timeline(observe(pts_s, faces), TimelineConfig()).tracks.num_rows == 1


def test_a_cut_is_found_across_a_frame_that_cannot_be_decoded():
    gray = [60] * 10 + [150] * 10
    observations = observe([i / 10 for i in range(20)], [Face(i) for i in range(20) if i != 10], [10], gray=gray)
    frames = build_timeline(observations, TimelineConfig()).frames
    assert [i for i, is_shot_boundary in enumerate(frames["is_cut"].to_pylist()) if is_shot_boundary] == [11]
