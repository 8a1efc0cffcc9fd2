"""Invariants of every timeline, tested with generated observations and several settings of pass 2."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scenes import Face, feeling, observe

from analytics.results.store import Store
from analytics.tables.quantization import PROBABILITY_STEP, STEPS
from analytics.time_tolerance import longest
from analytics.timeline.baseline import BaselineConfig
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from analytics.timeline.observations import observations_table
from analytics.timeline.quality import QualityConfig
from analytics.timeline.smoothing import SmoothingConfig
from analytics.timeline.track_summary import UNSEEN_S
from fer_models.frame_batch import FaceBatch
from fer_models.labels import EMOTIONS
from fer_models.observation import Observation

pytestmark = pytest.mark.slow

WIDTH_PX, HEIGHT_PX = 640, 480
# A test must not fail because the machine is busy.
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
P, SMOOTH, SHARES, MEANS = ([f"{prefix}_{name}" for name in EMOTIONS] for prefix in ("p", "smooth", "share", "mean"))
CONFIGS = [
    TimelineConfig(),
    replace(TimelineConfig(), quality=QualityConfig(gate=False), smoothing=SmoothingConfig(time_constant_s=2.0)),
    replace(TimelineConfig(), baseline=BaselineConfig("own_mean")),
    replace(TimelineConfig(), baseline=BaselineConfig("neutral_stretch", stretch_s=0.5, min_neutral=0.0)),
]
timelines = st.deferred(lambda: st.builds(build_timeline, videos(), st.sampled_from(CONFIGS)))


@st.composite
def videos(draw: st.DrawFn) -> pa.Table:
    """Some seconds of up to four people who move, disappear, overlap and show emotions at random, at a variable rate.

    Hypothesis draws and shrinks the structure; the values come from a random generator that it seeds.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, people = draw(st.integers(1, 60)), draw(st.integers(0, 4))
    pts_s = draw(st.sampled_from([0.0, 7.25])) + np.cumsum(rng.choice(draw(st.sampled_from(RATES)), n))
    decoded = rng.random(n) > draw(st.sampled_from([0, 0.2]))
    seen = (rng.random((n, people)) > draw(st.sampled_from([0, 0.1, 0.5]))) & decoded[:, None]
    frame, person = np.nonzero(seen)
    m = len(frame)
    speed_px = rng.normal(0, draw(st.sampled_from([0, 80])), people)
    center = np.column_stack([100 + 130 * person + speed_px[person] * pts_s[frame], np.full(m, 240.0)])
    half = rng.uniform(5, 60, people)[person, None] * rng.normal(1, 0.03, (m, 1))
    low, high = np.clip(center - half, 0, 470), np.clip(center + half, 10, 480) + 1
    landmarks_xy = center[:, None] + half[:, None] * (LANDMARKS + rng.normal(0, 0.1, (m, 5, 2)))
    mood = rng.integers(0, 7, (people, 1 + n // 8))[person, frame // 8]
    odds = rng.normal(0, 1, (m, 7)) + 5 * (mood[:, None] == np.arange(7))
    probabilities = np.exp(odds) / np.exp(odds).sum(1, keepdims=True)
    probabilities[rng.random(m) < draw(st.sampled_from([0, 0.2]))] = np.nan
    gray = np.repeat(rng.integers(60, 200, 1 + n // 20), 20)[:n] if draw(st.booleans()) else np.full(n, 90)
    return observations_table(
        Observation(
            frame_index=np.arange(n) * draw(st.sampled_from([1, 5])),
            pts_s=pts_s,
            decoded=decoded,
            thumbnail_rgb=np.repeat(gray.astype(np.uint8)[:, None], 48, axis=1),
            faces=FaceBatch(
                frame,
                np.concatenate([low, high], axis=1).astype(np.float32),
                landmarks_xy.astype(np.float32),
                rng.uniform(0.1, 1, m).astype(np.float32),
            ),
            probabilities=probabilities.astype(np.float32),
            blur=rng.gamma(2, 100, m),
            brightness=rng.uniform(0, 255, m),
            cut_off=rng.choice([0, 0.1, 0.4], m),
        )
    )


RATES = ([0.04], [1 / 30, 0.05, 0.2], [0.5, 0.04], [2.0])
LANDMARKS = np.array([(-0.4, -0.4), (0.4, -0.4), (0, 0), (-0.4, 0.4), (0.4, 0.4)])


def tracked_faces(timeline: Timeline) -> pd.DataFrame:
    faces = timeline.faces.to_pandas()
    return faces[faces.track_id.notna()]


def law(test):
    return settings(SLOW, max_examples=40)(given(timelines)(test))


@law
def test_time_rises_within_a_track_which_has_one_face_in_a_frame(timeline):
    for _, track in tracked_faces(timeline).groupby("track_id"):
        assert (np.diff(track.pts_s) > 0).all()
        assert track.frame_index.is_unique
    assert (np.diff(timeline.frames["pts_s"].to_numpy()) > 0).all()


@law
def test_probabilities_sum_to_1_and_agree_with_derived_columns(timeline):
    faces = timeline.faces.to_pandas()
    for names in (P, SMOOTH):
        p = faces[names].to_numpy(np.float64)
        known = ~np.isnan(p).any(axis=1)
        assert np.isnan(p[~known]).all()
        assert (p[known].sum(axis=1) == 1).all(), "exactly: in steps of a power of two"
        assert (p[known] >= 0).all()
        assert (p[known] % PROBABILITY_STEP == 0).all()
    known = faces.emotion.notna()
    assert (faces[known].p_max == faces[known][P].max(axis=1)).all()
    named = faces[P].to_numpy()[known, faces[known].emotion.map(EMOTIONS.index).to_numpy(int)]
    assert (named == faces[known].p_max).all()
    assert faces[known].valence_proxy.between(-1, 1).all()


@law
def test_faces_lie_in_the_frame_and_low_quality_has_a_reason(timeline):
    faces = timeline.faces.to_pandas()
    assert ((faces.x1_px >= 0) & (faces.x2_px <= WIDTH_PX) & (faces.y1_px >= 0) & (faces.y2_px <= HEIGHT_PX)).all()
    assert ((faces.x1_px < faces.x2_px) & (faces.y1_px < faces.y2_px)).all()
    assert (faces.quality_ok == faces.quality_reason.isna()).all()
    for name, step in STEPS.items():
        assert (faces[name].dropna().to_numpy(np.float64) % step == 0).all(), name


@law
def test_shares_sum_to_1_and_durations_to_the_time_observed(timeline):
    tracks, faces = timeline.tracks.to_pandas().set_index("track_id"), tracked_faces(timeline)
    labeled = tracks.emotion.notna()
    np.testing.assert_allclose(tracks[SHARES][labeled].sum(axis=1), 1, atol=1e-6)
    assert tracks[SHARES][~labeled].isna().all(axis=None)
    shown_s = {
        "seen_s": faces,
        "ok_s": faces[faces.quality_ok],
        "labelled_s": faces[faces.smooth_emotion.notna()],
    }
    for name, of in shown_s.items():
        np.testing.assert_allclose(
            tracks[name], of.groupby("track_id").duration_s.sum().reindex(tracks.index).fillna(0)
        )
    assert (tracks.n_faces == faces.groupby("track_id").size()).all()
    assert (tracks.ok_s <= tracks.seen_s + 1e-9).all()
    assert (tracks.seen_s <= tracks.end_s - tracks.start_s + 1e-9).all()
    for name in EMOTIONS:
        of = faces[faces.smooth_emotion == name].groupby("track_id").duration_s.sum().reindex(tracks.index).fillna(0)
        np.testing.assert_allclose(tracks[f"share_{name}"].fillna(0) * tracks.labelled_s, of, atol=1e-5)
    known = tracks[MEANS].notna().all(axis=1)
    np.testing.assert_allclose(tracks[MEANS][known].sum(axis=1), 1, atol=1e-6)


@law
def test_a_track_is_in_at_most_one_episode_at_a_time_which_agrees_with_its_label(timeline):
    episodes, tracks = timeline.episodes.to_pandas(), timeline.tracks.to_pandas().set_index("track_id")
    for _, spans in episodes.groupby("track_id"):
        assert (spans.start_s.to_numpy()[1:] >= spans.end_s.to_numpy()[:-1]).all()
    faces = tracked_faces(timeline)
    for episode in episodes.itertuples():
        own = faces[(faces.track_id == episode.track_id) & faces.pts_s.between(episode.start_s, episode.end_s - 1e-9)]
        assert set(own.smooth_emotion.dropna()) == {episode.emotion}
        unseen_s = (own.pts_s.to_numpy()[1:] - (own.pts_s + own.duration_s).to_numpy()[:-1]).max(initial=0)
        assert unseen_s <= longest(0.3)
    assert (episodes.start_s <= episodes.apex_s).all()
    assert (episodes.apex_s < episodes.end_s).all()
    assert (episodes["mean"] <= episodes.peak + 1e-6).all()
    own = tracks.loc[episodes.track_id]
    assert (episodes.start_s.to_numpy() >= own.start_s.to_numpy()).all()
    assert (episodes.end_s.to_numpy() <= own.end_s.to_numpy()).all()


@law
def test_labels_are_carried_at_most_0_3_s_and_marked(timeline):
    for _, track in tracked_faces(timeline).groupby("track_id"):
        start_s, end_s = track.pts_s.to_numpy(), (track.pts_s + track.duration_s).to_numpy()
        own = (track.label_carried == False).to_numpy()  # noqa: E712  # NULL is neither
        carried = (track.label_carried == True).to_numpy()  # noqa: E712
        since_s, until_s = end_s[carried, None] - end_s[own], start_s[own] - start_s[carried, None]
        assert (np.maximum(since_s, until_s).min(axis=1, initial=np.inf) <= longest(0.3)).all()
        assert (track.label_carried.isna() == track.smooth_emotion.isna()).all()


@law
def test_transitions_are_the_changes_of_the_label_within_a_shot_with_at_most_1_s_between(timeline):
    changes = 0
    frames = timeline.frames.to_pandas()
    shot_of_frame = dict(zip(frames.frame_index, frames.is_cut.cumsum(), strict=True))
    for _, track in tracked_faces(timeline).dropna(subset="smooth_emotion").groupby("track_id"):
        gap_s = track.pts_s - (track.pts_s + track.duration_s).shift()
        shot = track.frame_index.map(shot_of_frame)
        is_change = (track.smooth_emotion != track.smooth_emotion.shift()) & (shot == shot.shift())
        changes += (is_change & (gap_s <= longest(UNSEEN_S))).sum()
    assert sum(timeline.transitions["count"].to_pylist()) == changes


@settings(SLOW, max_examples=40)
@given(videos(), st.sampled_from(CONFIGS), st.randoms(use_true_random=False))
def test_the_same_rows_in_any_order_make_the_same_tables(observations, config, random):
    order = list(range(len(observations)))
    random.shuffle(order)
    first, again = build_timeline(observations, config), build_timeline(observations.take(order), config)
    for name, table in first.tables().items():
        assert table.equals(again.tables()[name]), name


@settings(SLOW, max_examples=15)
@given(videos())
def test_tables_come_back_from_the_disk_bit_for_bit(tmp_path_factory, observations):
    store = Store(tmp_path_factory.mktemp("laws") / "results")
    ids = {"video_id": "v1", "analysis_id": "a1", "path": "a.mp4"}
    files = []
    for _ in range(2):
        timeline = build_timeline(observations, TimelineConfig())
        store.commit_analysis(ids, timeline)
        files.append({path: path.read_bytes() for path in store.root.rglob("*.parquet") if "videos" not in path.parts})
    assert files[0] == files[1]
    for name, table in timeline.tables().items():
        stored = pa.parquet.read_table(store.root / name / "video_id=v1" / "a1.parquet", partitioning=None)
        assert stored.drop_columns("analysis_id").equals(table), name


def test_the_generated_timelines_are_varied():
    """The generator must produce tracks, low-quality faces, gaps and episodes, or the invariants would test nothing."""
    found = {"tracks": 0, "episodes": 0, "transitions": 0, "gated": 0, "baselines": 0}

    @settings(SLOW, max_examples=40, database=None, derandomize=True)
    @given(timelines)
    def count(timeline):
        found["gated"] += sum(not ok for ok in timeline.faces["quality_ok"].to_pylist())
        found["baselines"] += len(timeline.tracks) - timeline.tracks["baseline_start_s"].null_count
        for name in ("tracks", "episodes", "transitions"):
            found[name] += len(timeline.tables()[name])

    count()
    assert min(found.values()) >= 5, found


@pytest.mark.parametrize("fps", [10, 25, 100])
def test_smoothing_means_the_same_at_any_rate(fps):
    """A step from neutral to happy at several frame rates gives the same smoothed curve."""
    config = TimelineConfig()
    times_s = (np.arange(4 * fps) + 0.5) / fps  # the middle of each frame's share of time
    faces = [Face(i, p=feeling("happy" if t > 2 else "neutral")) for i, t in enumerate(times_s)]
    timeline = build_timeline(observe(times_s, faces), config)
    happy = np.interp([1.8, 2.2], times_s, timeline.faces["smooth_happy"].to_numpy())
    expected = np.exp(-0.2 / config.smoothing.time_constant_s) / 2
    np.testing.assert_allclose(happy, [expected, 1 - expected], atol=0.02)
