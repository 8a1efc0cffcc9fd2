"""Labels near low-quality faces, shot boundaries and absences, and the columns that describe these."""

import numpy as np
import pytest
from scenes import Face, feeling, observe

from analytics import connect
from analytics.exports import export_videos
from analytics.queries.intervals import label_intervals
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline

CONFIG = TimelineConfig()


def labels(timeline) -> dict[float, str]:
    faces = timeline.faces.to_pylist()
    return {round(face["pts_s"], 3): face["smooth_emotion"] for face in faces if face["smooth_emotion"]}


def test_labels_are_carried_0_3_s_into_low_quality_faces():
    """Faces are good only from 2 s to 3 s: labels reach from 1.7 s to 3.2 s, and are marked where they are carried."""
    faces = [Face(i, p=feeling("happy"), blur=100 if 20 <= i < 30 else 1) for i in range(50)]
    timeline = build_timeline(observe(np.arange(50) / 10, faces), CONFIG)
    assert list(labels(timeline)) == pytest.approx(np.arange(17, 33) / 10)
    carried = [face["pts_s"] for face in timeline.faces.to_pylist() if face["label_carried"]]
    assert carried == pytest.approx([1.7, 1.8, 1.9, 3.0, 3.1, 3.2])
    (track,) = timeline.tracks.to_pylist()
    assert (track["labelled_s"], track["carried_s"], track["ok_s"]) == pytest.approx((1.6, 0.6, 1.0))
    (episode,) = timeline.episodes.to_pylist()
    assert (episode["start_s"], episode["end_s"]) == pytest.approx((1.7, 3.3))
    assert (episode["onset_observed"], episode["offset_observed"]) == (False, False)


def test_a_low_quality_frame_that_is_held_has_no_label():
    """Happy for 2 s, then a blurred frame for 10 s and sad for 2 s."""
    pts_s = [*np.arange(50) / 25, 2.0, *(12 + np.arange(50) / 25)]
    faces = [
        Face(i, p=feeling("happy" if i < 50 else "sad"), blur=1 if i == 50 else 100, appearance=20) for i in range(101)
    ]
    timeline = build_timeline(observe(pts_s, faces), CONFIG, end_s=14.0)
    (track,) = timeline.tracks.to_pylist()
    assert (track["seen_s"], track["labelled_s"], track["carried_s"]) == pytest.approx((14, 4, 0))
    assert (track["share_happy"], track["share_sad"]) == pytest.approx((0.5, 0.5))
    assert [e["end_s"] for e in timeline.episodes.to_pylist()] == pytest.approx([2, 14])


def test_labels_are_carried_into_what_follows_a_long_frame():
    """A good frame is held for 2 s before faces are blurred: labels reach 0.3 s beyond its end."""
    pts_s = [0.0, 0.04, 0.08, *(2.08 + np.arange(25) / 25)]
    faces = [Face(i, p=feeling("happy"), blur=100 if i < 3 else 1) for i in range(28)]
    (track,) = build_timeline(observe(pts_s, faces), CONFIG, end_s=3.08).tracks.to_pylist()
    assert (track["labelled_s"], track["carried_s"]) == pytest.approx((2.08 + 7 / 25, 7 / 25))


def test_smoothing_stops_at_a_shot_boundary_within_a_track():
    """A cut at 2 s from happy to sad within a track: no value of one shot influences the other."""
    faces = [Face(i, p=feeling("happy" if i < 20 else "sad"), appearance=50) for i in range(40)]
    observed = observe(np.arange(40) / 10, faces, gray=[60] * 20 + [150] * 20)
    timeline = build_timeline(observed, CONFIG)
    assert [i for i, cut in enumerate(timeline.frames["is_cut"].to_pylist()) if cut] == [20]
    assert set(timeline.faces["track_id"].to_pylist()) == {0}
    np.testing.assert_array_equal(timeline.faces["smooth_happy"].to_numpy(), [1] * 20 + [0] * 20)
    happy, sad = timeline.episodes.to_pylist()
    assert (happy["end_s"], sad["start_s"]) == (2, 2)
    assert (happy["offset_observed"], sad["onset_observed"]) == (False, False)


def test_observed_onsets_and_offsets():
    """Neutral, happy, neutral without a break: only the happy episode has both ends observed."""
    shown = ["neutral"] * 20 + ["happy"] * 20 + ["neutral"] * 20
    timeline = build_timeline(observe(np.arange(60) / 10, [Face(i, p=feeling(e)) for i, e in enumerate(shown)]), CONFIG)
    ends = [(e["emotion"], e["onset_observed"], e["offset_observed"]) for e in timeline.episodes.to_pylist()]
    assert ends == [("neutral", False, True), ("happy", True, True), ("neutral", True, False)]


def test_a_person_who_leaves_ends_the_episode():
    """A happy person is not visible from 2 s to 2.7 s: there are two episodes, which count visible time only."""
    faces = [Face(i, p=feeling("happy")) for i in [*range(20), *range(27, 40)]]
    timeline = build_timeline(observe(np.arange(40) / 10, faces), CONFIG)
    spans = [(e["start_s"], e["end_s"], e["onset_observed"]) for e in timeline.episodes.to_pylist()]
    assert spans == [pytest.approx((0, 2, False)), pytest.approx((2.7, 4, False))]


@pytest.mark.parametrize(("shown_s", "share_happy"), [(0.04, 0.2), (0.9, 0.9 / 1.2), (2.5, 2.5 / 2.8)])
def test_a_frame_that_is_shown_for_long_has_its_own_label(shown_s, share_happy):
    """Neutral for a second, then one happy frame, then the person is gone: what is on screen is counted."""
    pts_s = np.append(np.arange(25) / 25, [1.0, 1 + shown_s])
    faces = [Face(i, p=feeling("neutral" if i < 25 else "happy")) for i in range(26)]
    (track,) = build_timeline(observe(pts_s, faces), CONFIG).tracks.to_pylist()
    assert track["share_happy"] == (0 if shown_s < 0.3 else pytest.approx(shown_s / (1 + shown_s)))


@pytest.mark.parametrize(("unlabeled_s", "end"), [(0.4, "happy"), (1.5, "happy"), (1.7, "neutral")])
def test_a_label_outlasts_up_to_1_s_without_one(unlabeled_s, end):
    """Happy, then low-quality faces, of which labels reach into 0.3 s at each end, then neutral by a lead of 0.06."""
    n = round(25 * unlabeled_s)
    faces = [Face(i, p=feeling("happy")) for i in range(25)]
    faces += [Face(25 + i, blur=1) for i in range(n)]
    faces += [Face(25 + n + i, p=feeling("happy", 0.47)) for i in range(75)]
    timeline = build_timeline(observe(np.arange(100 + n) / 25, faces), CONFIG)
    assert timeline.faces["smooth_emotion"].to_pylist()[-1] == end


def test_tables_subtitles_and_annotations_agree_on_a_change(tmp_path):
    """Neutral for a second, then happy: every output has the same single change point, and no time twice."""
    faces = [Face(i, p=feeling("neutral" if i < 30 else "happy", 0.8)) for i in range(72)]
    timeline = build_timeline(observe(np.arange(72) / 30, faces), CONFIG)
    neutral, happy = timeline.episodes.to_pylist()
    assert neutral["end_s"] == happy["start_s"]
    assert happy["end_s"] - neutral["start_s"] == pytest.approx(72 / 30)
    store = Store(tmp_path / "results")
    video = {"video_id": "v0000000000000001", "analysis_id": "a1", "path": "a.mp4", "duration_s": 2.4, "avg_fps": 30.0}
    store.commit_analysis(video, timeline)
    with connect(store.root) as connection:
        spans = label_intervals(connection, video["video_id"]).to_pylist()
    change_ms = round(1000 * happy["start_s"])
    assert [round(1000 * span["end_s"]) for span in spans] == [change_ms, 2400]
    out = {form: export_videos(store.root, tmp_path / form, form)[0].read_text() for form in ("srt", "vtt", "boris")}
    stamp = f"00:00:{change_ms / 1000:06.3f}"
    assert stamp.replace(".", ",") in out["srt"]
    assert stamp in out["vtt"]
    observed_s = [float(row.split("\t")[10]) for row in out["boris"].splitlines()[1:]]
    assert observed_s == [2.4, 2.4]


def test_the_probability_of_an_interval_is_a_mean_over_time(tmp_path):
    """Nine quick frames at 1, then one frame of 9 s at 0.5: 10 s in all, (1 + 0.5 * 9) / 10."""
    timeline = build_timeline(observe(np.arange(3), [Face(i, p=feeling("happy")) for i in range(3)]), CONFIG)
    start_s, p = [*np.arange(9) / 9, 1.0], [1.0] * 9 + [0.5]
    faces = timeline.faces.take([0] * 10)
    for name, values in {
        "pts_s": start_s,
        "duration_s": [1 / 9] * 9 + [9.0],
        "smooth_happy": np.array(p, np.float32),
        "smooth_neutral": 1 - np.array(p, np.float32),
        "frame_index": list(range(10)),
    }.items():
        faces = faces.set_column(faces.schema.get_field_index(name), name, [values])
    store = Store(tmp_path / "results")
    tables = type(timeline)(**{**timeline.tables(), "faces": faces}, identities=timeline.identities)
    store.commit_analysis({"video_id": "v1", "analysis_id": "a1", "path": "a.mp4"}, tables)
    with connect(store.root) as connection:
        (span,) = label_intervals(connection, "v1").to_pylist()
    assert (span["end_s"], span["probability"]) == (10, pytest.approx(0.55))
