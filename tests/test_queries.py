"""Query results that can be computed manually, from synthetic videos in a real results folder."""

import csv
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from commands import fervid
from scenes import LONG_FRAME_S, Face, feeling, long_smile, observe

from analytics import connect, queries, query
from analytics.errors import QueryError
from analytics.queries.connection import describe, limited
from analytics.queries.groups import GroupError
from analytics.queries.query_errors import query_error
from analytics.report import report_page
from analytics.results.store import Store
from analytics.tables.result_schemas import ANSWERS
from analytics.timeline.baseline import BaselineConfig, Baselines, correct
from analytics.timeline.build import TimelineConfig, build_timeline
from analytics.timeline.smoothing import SmoothingConfig
from fer_models.labels import EMOTIONS
from flows.analysis.outcomes import RunSummary, VideoOutcome
from flows.cli.commands.results import Question
from flows.cli.console import console, errors
from flows.cli.display import print_summary

BLURRED = {"blur": 1.0}


def commit(store: Store, video: int, path: str, faces: list[Face], pts_s, config: TimelineConfig | None = None) -> None:
    row = {"video_id": f"v{video:016}", "analysis_id": f"a{video:016}", "observation_id": f"o{video:016}", "path": path}
    observed = observe(pts_s, faces)
    store.write_segment(row["video_id"], row["observation_id"], 0, observed)
    store.commit_analysis(row, build_timeline(observed, config or TimelineConfig()))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Three videos of 4 s at 10 frames/s, and one that failed.

    a.mp4: happy for 2 s, then sad for 2 s. b.mp4: neutral, the last 2 s of it blurred and seemingly angry.
    c.mp4: two people, one happy, one neutral.
    """
    store, pts_s = Store(tmp_path_factory.mktemp("queries") / "results"), np.arange(40) / 10
    commit(store, 1, "/films/a.mp4", [Face(i, p=feeling("happy" if i < 20 else "sad")) for i in range(40)], pts_s)
    blurred = [Face(i, p=feeling("angry"), **BLURRED) for i in range(20, 40)]
    commit(store, 2, "/films/b.mp4", [*(Face(i) for i in range(20)), *blurred], pts_s)
    pair = [Face(i, x=x, p=feeling(p)) for i in range(40) for x, p in ((100, "happy"), (500, "neutral"))]
    commit(store, 3, "/films/c.mp4", pair, pts_s)
    store.commit_failure({"video_id": f"v{4:016}", "analysis_id": f"a{4:016}", "path": "/films/d.mp4"}, "not a video")
    return store.root


@pytest.fixture(scope="module")
def connection(results):
    with connect(results) as connection:
        yield connection


def of(rows: pa.Table, name: str) -> list:
    return rows[name].to_pylist()


def test_shares_are_of_time_and_sum_to_one(connection):
    rows = queries.shares(connection)
    assert of(rows, "path") == [f"/films/{name}.mp4" for name in "abcc"]
    assert of(rows, "n_faces") == [40, 40, 40, 40]
    assert of(rows, "n_low_quality") == [0, 20, 0, 0]
    assert of(rows, "labelled_s") == pytest.approx([4, 2.3, 4, 4])  # a label reaches 0.3 s beyond a good face
    assert of(rows, "happy")[0] == pytest.approx(0.5, abs=0.05)
    shares = np.array([of(rows, name) for name in EMOTIONS])
    np.testing.assert_allclose(shares.sum(0), 1, atol=1e-6)
    seen = "SELECT sum(duration_s) FROM faces WHERE smooth_emotion = 'happy'"
    (in_faces_s,) = connection.sql(seen).fetchall()[0]
    assert sum(np.multiply(of(rows, "happy"), of(rows, "labelled_s"))) == pytest.approx(in_faces_s)


def test_a_frame_shown_for_long_counts_for_long(tmp_path):
    pts_s = [*np.arange(10) / 10, 1.0, 1.9]  # the eleventh frame is shown for 0.9 s
    commit(Store(tmp_path / "r"), 1, "a.mp4", [Face(i) for i in range(12)], pts_s)
    with connect(tmp_path / "r") as connection:
        assert connection.sql("SELECT duration_s FROM faces WHERE frame_index = 10").fetchall() == [
            (pytest.approx(0.9),)
        ]
        assert of(queries.shares(connection), "labelled_s") == pytest.approx([2.0])


def test_with_all_faces_low_quality_ones_count_with_their_own_emotion(connection):
    every = queries.shares(connection, all_faces=True).to_pylist()
    (ungated,) = [row for row in every if row["path"] == "/films/b.mp4"]
    assert ungated["labelled_s"] == pytest.approx(4)
    assert ungated["angry"] == pytest.approx(1.7 / 4)  # labels reach into 0.3 s of the 2 s
    assert sum(ungated[name] for name in EMOTIONS) == pytest.approx(1)
    effect = {row["emotion"]: row for row in queries.gate_effect(connection).to_pylist()}
    assert effect["angry"]["share"] == 0
    assert effect["angry"]["all_faces_s"] == pytest.approx(1.7)


@pytest.mark.parametrize("method", ["none", "own_mean"])
def test_faces_without_probabilities_have_no_label(tmp_path, method):
    """Good for 4 s; then dark and not classified for 6 s, of which labels reach into 0.3 s."""
    unknown = (float("nan"),) * len(EMOTIONS)
    faces = [Face(i) for i in range(40)] + [Face(i, p=unknown, brightness=5) for i in range(40, 100)]
    config = TimelineConfig(baseline=BaselineConfig(method))
    commit(Store(tmp_path / "r"), 1, "a.mp4", faces, np.arange(100) / 10, config)
    with connect(tmp_path / "r") as connection:
        (row,) = queries.shares(connection, all_faces=True).to_pylist()
    assert (row["labelled_s"], row["neutral"], row["angry"]) == (pytest.approx(4.3), 1, 0)


@pytest.mark.parametrize("method", ["own_mean", "neutral_stretch"])
def test_low_quality_faces_are_corrected_for_the_baseline_of_their_track(tmp_path, method):
    """A face that never changes shows nothing but its resting face, also where it is blurred.

    Of the other person, who is happy from 4 to 6 s, only the end of the smile is blurred, with 0.25 for other classes.
    """
    end_of_smile = tuple(0.75 * p for p in feeling("happy", 0.9))
    resting = tuple({"angry": 0.6, "neutral": 0.4}.get(name, 0.0) for name in EMOTIONS)
    still = [Face(i, x=100, p=resting, blur=100.0 if i < 40 else 1.0) for i in range(80)]
    smile_at = {**dict.fromkeys(range(40, 50), feeling("happy", 0.9)), **dict.fromkeys(range(50, 60), end_of_smile)}
    smiling = [
        Face(i, x=500, p=smile_at.get(i, feeling("happy", 0.2)), blur=1.0 if i >= 50 else 100) for i in range(80)
    ]
    span_s = (0.0, 4.0) if method == "neutral_stretch" else None
    config = TimelineConfig(
        baseline=BaselineConfig(method, span_s), smoothing=SmoothingConfig(time_constant_s=0.001, max_reach_s=0.001)
    )
    commit(Store(tmp_path / "r"), 1, "a.mp4", still + smiling, np.arange(80) / 10, config)
    with connect(tmp_path / "r") as connection:
        shares = queries.shares(connection, all_faces=True).to_pylist()
        effect = {row["emotion"]: row for row in queries.gate_effect(connection).to_pylist()}
        bins = queries.timeline(connection, bin_ms=4000, all_faces=True).to_pylist()
        (smile,) = connection.sql(
            "SELECT first(unfiltered_happy) FROM unfiltered_faces() WHERE track_id = 1 AND pts_s = 5.5"
        ).fetchall()
        names = ", ".join(f"baseline_{name}" for name in EMOTIONS)
        at_rest = np.array(connection.sql(f"SELECT {names} FROM tracks WHERE track_id = 1").fetchall())
    of_still, of_smiling = shares
    assert (of_still["neutral"], of_still["angry"], of_still["labelled_s"]) == (1, 0, pytest.approx(8))
    assert of_smiling["happy"] == pytest.approx(2 / 8)
    assert effect["happy"]["all_faces_s"] == pytest.approx(2)
    assert "angry" not in effect
    first, second = (row for row in bins if row["track_id"] == 0)
    assert second["angry"] == pytest.approx(first["angry"], abs=0.001)
    corrected = correct(np.array([0]), np.array([end_of_smile]), Baselines(np.zeros(1), np.ones(1), at_rest))
    assert corrected.sum() == pytest.approx(0.75)
    assert smile[0] == pytest.approx(corrected[0, EMOTIONS.index("happy")], abs=0.001)


def test_analyses_with_different_settings_are_noted(tmp_path):
    """Two videos of the same settings, one with two others; settings that earlier versions lack have the default."""
    store = Store(tmp_path / "r")
    plain = {"observe": {"fps": None, "model": "default", "detector": "compact"}}
    others = {"observe": plain["observe"] | {"fps": 5.0}, "timeline": {"baseline": {"method": "own_mean"}}}
    timeline = build_timeline(observe(np.arange(40) / 10, [Face(i) for i in range(40)]), TimelineConfig())
    for video, settings, classifier in ((1, plain, "a"), (2, plain, "a"), (3, others, "b")):
        row = {"video_id": f"v{video:016}", "analysis_id": f"a{video:016}", "path": f"{video}.mp4"}
        weights = {"classifier": 64 * classifier, "detector": 64 * "c"}
        store.commit_analysis(row | {"settings": json.dumps(settings), "weights": json.dumps(weights)}, timeline)
    with connect(store.root) as connection:
        note = queries.mixed_settings_note(connection)
        assert note is not None
        assert note == (
            "The analyses of these videos differ in --fps (5.0 in 1, all frames in 2); emotion model (default "
            "aaaaaaaa in 2, default bbbbbbbb in 1); --baseline (none in 2, own_mean in 1). Do not compare or pool "
            "them: analyze all videos again with the same --fps, emotion model; build all timelines again with the "
            "same --baseline (fervid timeline)."
        )
        assert queries.mixed_settings_note(connection, [f"v{1:016}", f"v{2:016}"]) is None
    for question in ("shares", "rates", "library", "dwell", "gate"):
        assert "differ in --fps" in " ".join(fervid("summary", store.root, question).output.split())
    assert "differ in --fps" in report_page(store.root)


@pytest.mark.parametrize(
    ("other", "advice"),
    [
        ({"observe": {"fps": 5.0}}, "analyze all videos again with the same --fps."),
        (
            {"timeline": {"baseline": {"method": "own_mean"}}},
            "build all timelines again with the same --baseline (fervid timeline).",
        ),
    ],
)
def test_the_advice_on_different_settings_says_what_helps(tmp_path, other, advice):
    """A rebuilt timeline has the frames and scores of its analysis."""
    store = Store(tmp_path / "r")
    for video, settings in (("v1", {}), ("v2", other)):
        row = {"video_id": video, "analysis_id": "a1", "path": f"{video}.mp4", "settings": json.dumps(settings)}
        store.commit_analysis(row, build_timeline(observe(np.arange(2) / 10, [Face(0)]), TimelineConfig()))
    with connect(store.root) as connection:
        assert (queries.mixed_settings_note(connection) or "").endswith(f"Do not compare or pool them: {advice}")


def test_the_library_adds_up(connection):
    rows = {row["emotion"]: row for row in queries.library(connection).to_pylist()}
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    assert (rows["happy"]["n_tracks"], rows["happy"]["n_videos"]) == (2, 2)
    assert rows["happy"]["labelled_s"] == pytest.approx(6, abs=0.2)


def test_bins_are_whole_milliseconds(results):
    with connect(results, video="a.mp4") as connection:
        rows = queries.timeline(connection, bin_ms=200)  # 0.6 / 0.2 is 2.999… in floating point
        assert of(rows, "start_s") == pytest.approx([i / 5 for i in range(20)])
        assert of(rows, "n_faces") == [2] * 20
        assert of(rows, "labelled_s") == [0.2] * 20  # exactly 0.2, not 0.19999999999999996
        assert of(rows, "happy")[0] > 0.9 > 0.1 > of(rows, "happy")[-1]
    with connect(results, video="b.mp4") as connection:
        assert of(queries.timeline(connection), "angry")[-1] is None
        assert of(queries.timeline(connection, all_faces=True), "angry")[-1] == pytest.approx(1, abs=0.1)
        with pytest.raises(ValueError, match="bin_ms must be 1 or more"):
            queries.timeline(connection, bin_ms=0)


def test_time_is_split_among_the_bins_in_which_a_frame_is_shown(tmp_path):
    """The smile is from 0.95 to 1.85 s: 0.05 and 0.85 s of bins from 0 s, 0.55 and 0.35 s of those from 0.5 s."""
    config = TimelineConfig(smoothing=SmoothingConfig(time_constant_s=0.001))
    commit(Store(tmp_path / "r"), 1, "a.mp4", long_smile(), LONG_FRAME_S, config)
    with connect(tmp_path / "r") as connection:
        rows = queries.timeline(connection)
        spans = {"group": ["g"], "video_id": [f"v{1:016}"], "start_s": [0.5], "end_s": [2.0]}
        means = queries.group_timeline(connection, pa.table(spans), bin_ms=1000)
    assert of(rows, "labelled_s") == [1, 1, 1, 0.05]
    assert of(rows, "n_faces") == [11, 3, 11, 1]
    assert of(rows, "happy") == pytest.approx([0.05, 0.85, 0, 0], abs=1e-3)
    assert of(means, "mean_happy") == pytest.approx([0.55, 0.35 / 0.5], abs=1e-3)


def test_a_bin_of_an_hour_has_the_whole_video(results):
    with connect(results, video="a.mp4") as connection:
        assert of(queries.timeline(connection, bin_ms=3_600_000), "labelled_s") == [4]


def test_bins_before_zero_are_as_long_as_the_others(tmp_path):
    commit(Store(tmp_path / "r"), 1, "a.mp4", [Face(i) for i in range(8)], (np.arange(8) - 4) / 10)
    with connect(tmp_path / "r") as connection:
        rows = queries.timeline(connection, bin_ms=200)
    assert of(rows, "start_s") == pytest.approx([-0.4, -0.2, 0, 0.2])
    assert of(rows, "n_faces") == [2] * 4


def test_top_moments_link_to_the_time(connection, tmp_path):
    rows = queries.top_moments(connection, "happy", limit=1).to_pylist()
    assert len(rows) == 1
    assert rows[0]["link"] == f"{rows[0]['path']}#t={rows[0]['apex_s']:.3f}"
    faces = [Face(i, p=feeling("neutral", 0.9 if i == 19 else 0.6)) for i in range(40)]
    commit(Store(tmp_path / "r"), 1, "/films/50 % müde #2.mp4", faces, (np.arange(40) + 1 / 3) / 30)
    with connect(tmp_path / "r") as other:
        (row,) = queries.top_moments(other, "neutral").to_pylist()
    assert unquote(urlsplit(row["link"]).path) == row["path"]
    frame = round(30 * row["apex_s"] - 1 / 3)
    at_s = float(urlsplit(row["link"]).fragment.removeprefix("t="))
    assert (frame + 1 / 3) / 30 <= at_s < (frame + 4 / 3) / 30  # while the frame of the peak is shown
    assert queries.top_moments(connection, "fear").num_rows == 0
    with pytest.raises(ValueError, match="one of angry"):
        queries.top_moments(connection, "joy")


def test_moments_of_equal_rounded_peaks_are_ordered_by_duration(tmp_path):
    """Smiles of about 4, 6 and 5 s, whose peaks are 1.00, and one of 8 s with a peak of 0.8."""
    for number, (length_s, p) in enumerate([(4, 1.0), (6, 0.998), (5, 1.0), (8, 0.8)]):
        faces = [Face(i, p=feeling("happy", p if i < 10 * length_s else 0)) for i in range(100)]
        commit(Store(tmp_path / "r"), number, f"/{length_s}.mp4", faces, np.arange(100) / 10)
    with connect(tmp_path / "r") as connection:
        assert of(queries.top_moments(connection, "happy"), "path") == ["/6.mp4", "/5.mp4", "/4.mp4", "/8.mp4"]
        assert of(queries.top_moments(connection, "happy", limit=1), "path") == ["/6.mp4"]


def test_moments_count_the_faces_of_the_episode(tmp_path):
    """One person, happy for two seconds with five blurred faces, then sad for two."""
    faces = [Face(i, p=feeling("happy" if i < 20 else "sad"), blur=1 if 5 <= i < 10 else 100) for i in range(40)]
    commit(Store(tmp_path / "r"), 1, "/a.mp4", faces, np.arange(40) / 10)
    with connect(tmp_path / "r") as connection:
        (happy,) = queries.top_moments(connection, "happy").to_pylist()
        (sad,) = queries.top_moments(connection, "sad").to_pylist()
    assert happy["n_faces"] == round(10 * (happy["end_s"] - happy["start_s"])) < 25
    assert (happy["n_low_quality"], sad["n_low_quality"]) == (5, 0)


def test_transitions_and_dwell(connection):
    (change,) = queries.transitions(connection).to_pylist()
    expected = {
        "from_emotion": "happy",
        "to_emotion": "sad",
        "n_changes": 1,
        "share": 1.0,
        "n_tracks": 1,
        "n_videos": 1,
    }
    assert change == expected
    dwell = {row["emotion"]: row for row in queries.dwell(connection).to_pylist()}
    assert (dwell["happy"]["n_episodes"], dwell["happy"]["n_videos"]) == (2, 2)
    assert dwell["happy"]["longest_s"] == pytest.approx(4)


@pytest.mark.parametrize("question", ["shares", "quality", "gate_effect", "validity", "movements", "dwell", "rates"])
def test_answers_have_the_columns_that_are_described(connection, question):
    described = ANSWERS[question.removesuffix("_effect")]
    answer = getattr(queries, question)(connection).schema
    assert [(field.name, field.type) for field in answer] == [(field.name, field.type) for field in described]


def test_good_faces_without_probabilities_are_not_of_low_quality(tmp_path):
    """Of 20 faces, one is blurred and two have no probabilities; the first event has one of each."""
    store = Store(tmp_path / "r")
    faces = [
        Face(i, p=(np.nan,) * 7 if i in (3, 12) else feeling("sad"), blur=1.0 if i == 14 else 100.0) for i in range(20)
    ]
    commit(store, 1, "/a.mp4", faces, np.arange(20) / 10)
    events = pa.table({"label": ["a", "b"], "start_s": [1.0, 1.5], "end_s": [1.5, 2.0], "video": [None, None]})
    with connect(store.root) as connection:
        for all_faces in (False, True):
            assert queries.shares(connection, all_faces=all_faces)["n_low_quality"].to_pylist() == [1]
        assert queries.quality(connection)["n_faces"].to_pylist() == [19, 1]
        assert "1 of 20 faces (5.0 %) are low-quality faces" in queries.gate_note(connection)
        during = queries.during_events(connection, events).to_pylist()[0]
        compared = queries.compare_events(connection, events).to_pylist()[0]
    assert (during["seen_s"], during["ok_s"], during["mean_sad"]) == pytest.approx((0.5, 0.4, 1))
    assert compared["low_quality_share"] == pytest.approx(0.1)


def test_quality_counts_low_quality_faces_by_reason(connection):
    assert {row["reason"]: row["n_faces"] for row in queries.quality(connection).to_pylist()} == {
        "good": 140,
        "blurred": 20,
    }
    low_quality = "20 of 160 faces (12.5 %) are low-quality faces: blurred 20."
    carried = "Their own emotions do not count; 3 of them carry the label of good faces close in time."  # 0.3 s
    assert queries.gate_note(connection) == f"{low_quality} {carried}"
    assert queries.gate_note(connection, video_ids=[f"v{2:016}"]).startswith("20 of 40 faces")
    assert queries.gate_note(connection, video_ids=[f"v{1:016}"]) == "0 of 40 faces are low-quality faces."
    assert queries.gate_note(connection, all_faces=True) == f"{low_quality} They are included."


def test_the_note_of_a_comparison_is_on_the_grouped_contents_of_a_replaced_file(tmp_path):
    """The blurred faces are in the earlier content of c.mp4, which is in no group."""
    store, pts_s = Store(tmp_path / "r"), np.arange(20) / 10
    commit(store, 1, "/c.mp4", [Face(i, **BLURRED) for i in range(20)], pts_s)
    for video, path in ((2, "/c.mp4"), (3, "/d.mp4")):
        commit(store, video, path, [Face(i) for i in range(20)], pts_s)
    with connect(store.root) as connection:
        assert queries.gate_note(connection).startswith("20 of 60 faces")
    groups = tmp_path / "groups.csv"
    groups.write_text(f"path,group\nv{2:016},x\nv{3:016},y\n")
    run = fervid("summary", store.root, "compare", "--groups", groups)
    assert "0 of 40 faces are low-quality faces" in " ".join(run.output.split())


def test_time_of_good_faces_without_a_track_is_reported(tmp_path, capsys, monkeypatch):
    """Faces in two frames that are shown for 8 s each, as in a slide show."""
    store = Store(tmp_path / "r")
    commit(store, 1, "/slides.mp4", [Face(0), Face(2)], [0.0, 8.0, 16.0])
    with connect(store.root) as connection:
        assert queries.gate_note(connection) == (
            "0 of 2 faces are low-quality faces. 16.0 s with good faces belong to no person: too few of them are at "
            "most 1 s apart."
        )
    commit(store, 2, "/film.mp4", [Face(i) for i in range(40)], np.arange(40) / 10)
    with connect(store.root) as connection:
        assert "belong" not in queries.gate_note(connection, video_ids=[f"v{2:016}"])
        assert queries.untracked_note(connection, [f"v{2:016}"]) is None
    outcomes = [
        VideoOutcome(Path(name), "done", f"v{i:016}", f"a{i:016}", n_frames=3, n_faces=2, n_tracks=0)
        for i, name in ((1, "slides.mp4"), (2, "film.mp4"))
    ]
    monkeypatch.setattr(errors, "quiet", False)  # an earlier command may have set it
    print_summary(console, RunSummary(store.root, outcomes, [], seconds=1.0))
    assert "\n16.0 s with good faces belong to no person: too few of them" in capsys.readouterr().out


def test_validity_of_each_person(connection):
    rows = {(row["path"], row["track_id"]): row for row in queries.validity(connection).to_pylist()}
    blurred, pair = rows["/films/b.mp4", 0], rows["/films/c.mp4", 1]
    assert (blurred["seen_share"], blurred["good_share"]) == pytest.approx((1, 0.5))
    assert (blurred["labelled_share"], blurred["carried_share"]) == pytest.approx((2.3 / 4, 0.3 / 2.3))
    assert (blurred["main_reason"], pair["main_reason"]) == ("blurred", None)
    assert rows["/films/a.mp4", 0]["changes_per_min"] == pytest.approx(60 / 4)
    assert (pair["changes_per_min"], pair["yaw_p90_deg"]) == (0, pytest.approx(0))


def test_failures_include_frames_that_cannot_be_decoded(results, tmp_path):
    with connect(results) as connection:
        (row,) = queries.failures(connection).to_pylist()
    assert row == {"path": "/films/d.mp4", "status": "failed", "error": "not a video", "n_undecoded_frames": 0}
    store = Store(tmp_path / "r")
    row = {"video_id": "v1", "analysis_id": "a1", "path": "e.mp4"}
    store.commit_analysis(row, build_timeline(observe(np.arange(5) / 10, [], undecoded=[1, 2]), TimelineConfig()))
    with connect(store.root) as connection:
        assert of(queries.failures(connection), "n_undecoded_frames") == [2]


def test_every_question_has_an_answer_for_empty_results(tmp_path):
    with connect(Store(tmp_path / "r").root) as connection:
        for name in ("shares", "timeline", "transitions", "dwell", "quality", "gate_effect", "failures"):
            assert getattr(queries, name)(connection).num_rows == 0, name
        assert of(queries.totals(connection), "n_frames") == [0]
        assert queries.gate_note(connection) == "There are no faces: no video is finished."


def test_results_in_which_every_video_failed(tmp_path):
    store = Store(tmp_path / "r")
    store.commit_failure({"video_id": "v1", "analysis_id": "a1", "path": "d.mp4"}, "not a video")
    output = fervid("summary", store.root).output
    assert "There are no faces: no video is finished." in output and "1 video, 1 of them failed" in output
    assert "Labeled time" not in output and "n_tracks" not in output
    commit(store, 2, "empty.mp4", [], np.arange(5) / 10)
    assert "No face was found." in fervid("summary", store.root).output


# --- groups --------------------------------------------------------------------------------------------------------


def test_groups_are_compared_video_by_video(connection):
    rows = queries.compare(connection, {"a.mp4": "films", "/films/c.mp4": "films", f"v{2:016}": "home"}).to_pylist()
    assert [row["emotion"] for row in rows] == list(EMOTIONS)
    happy = rows[EMOTIONS.index("happy")]
    assert (happy["group_a"], happy["n_a"], happy["n_tracks_a"], happy["n_b"]) == ("films", 2, 3, 1)
    assert happy["mean_a"] == pytest.approx(0.5, abs=0.05)
    assert (happy["mean_b"], happy["cliffs_delta"], happy["low"]) == (0, None, None)  # one participant in group b
    assert happy["note"] == (
        "no interval: 5 participants per group are needed, got 1; "
        "no Cliff's delta: 2 participants per group are needed, got 1"
    )
    assert happy["low_quality_share"] == pytest.approx(20 / 160)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("path,group\na.mp4,x\nz.mp4,y\n", "z.mp4: no such video in the results"),
        ("path,group\na.mp4,x\n/films/a.mp4,y\n", "/films/a.mp4: is named twice, in the groups x and y"),
        ("path,group\na.mp4,x\nb.mp4,x\n", "at least two groups"),
        ("clip,group\na.mp4,x\n", "columns path and group"),
        ("", "columns path and group"),
        ("path,group\na.mp4,\n", "line 2 has no group"),
        ("path,group\na.mp4,x\na.mp4,y\n", "comes twice"),
        ("path,group,group\na.mp4,x,y\n", "column group comes twice in the header"),
        ("path,group\na.mp4,x\nb.mp4,y,0,5\n", "line 3 has more cells than the header"),
        (b"path,group\n\xff\xfe,x\n", "not a text file in UTF-8"),
        (None, "No such file"),
    ],
)
def test_wrong_groups_are_reported(connection, tmp_path, content, says):
    path = tmp_path / "groups.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(GroupError, match=r"groups\.csv: .*") as error:
        queries.compare(connection, path)
    assert says in str(error.value)


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", list(Question))
def test_every_question_can_be_asked_from_the_command_line(results, tmp_path, question):
    groups = tmp_path / "groups.csv"
    groups.write_text("path,group\na.mp4,x\nb.mp4,y\n")
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n1,2,ad\n")
    options = {"moments": ["--emotion", "happy"], "compare": ["--groups", groups]}
    options |= {name: ["--events", events] for name in ("events", "averages")}
    run = fervid("summary", results, question.value, *options.get(question.value, []))
    assert run.exit_code == 0, run.output
    n_faces = 80 if question == Question.compare else 160
    says_quality = question not in (Question.movements, Question.failures)  # which do not depend on it
    assert (f"20 of {n_faces} faces" in run.output) == says_quality


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("shares", "shares of labelled_s"),
        ("timeline", "mean smoothed probabilities"),
        ("transitions", "of all changes away from from_emotion"),
        ("dwell", "may last longer than was seen"),
        ("rates", "per minute of observed_s"),
        ("validity", "carried_share is of the labeled time"),
        ("validity", "changes_per_min of 4 of 4 people rest on less than 60 s: one change more or less is more than 1"),
        ("gate", "low-quality faces without a label count with the emotion of their own frame"),
        ("synchrony", "Where it is empty, peak_r is not evidence"),
        ("events", "change its mean probability in the event minus that in the 3 s before it"),
        ("moments", "Episodes with the highest peak come first"),
        ("averages", "changes of the mean probability: minus that in the 3 s before the event"),
    ],
)
def test_an_answer_says_what_its_values_are(results, tmp_path, question, says):
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n1,2,ad\n")
    options = {"moments": ["--emotion", "happy"]}
    options |= {name: ["--events", events, "--before", 3] for name in ("events", "averages")}
    assert says in fervid("summary", results, question, *options.get(question, [])).stdout
    if question in ("shares", "rates"):  # notes are never among the rows of a file
        assert says not in fervid("summary", results, question, "--format", "csv").stdout


@pytest.mark.parametrize("question", ["shares", "compare", "events", "averages", "validity", "synchrony"])
def test_wide_answers_are_compact_unless_all_columns_are_requested(results, tmp_path, question):
    groups, events = tmp_path / "groups.csv", tmp_path / "events.csv"
    groups.write_text("path,group\na.mp4,x\nb.mp4,y\n")
    events.write_text("start_s,end_s,label\n1,2,ad\n")
    options = {"compare": ["--groups", groups]} | {name: ["--events", events] for name in ("events", "averages")}
    asked = question, *options.get(question, [])
    short, long = (fervid("summary", results, *asked, *form) for form in ([], ["--format", "long"]))
    assert (short.exit_code, long.exit_code) == (0, 0), short.output + long.output
    assert "All columns: --format long" in short.output
    assert len(short.output.splitlines()) < len(long.output.splitlines()) / 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["moments", "--emotion", "fear"], "No rows: nobody shows fear clearly"),
        (["synchrony", "--video", "a.mp4"], "No rows: no two people are visible together"),
        (["failures", "--video", "a.mp4"], "No rows: nothing failed."),
        (["shares", "--video", "d.mp4"], "No rows: no video is finished."),
        (["events", "--events", "none.csv"], "No rows: nobody is visible during these events."),
    ],
)
def test_an_empty_answer_says_why(results, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    tmp_path.joinpath("none.csv").write_text("start_s,end_s,label\n100,101,later\n")
    run = fervid("summary", results, *options)
    assert run.exit_code == 0, run.output
    assert run.stdout.startswith(says)
    assert says in fervid("summary", results, *options, "--format", "csv").stderr
    assert "no rows" in fervid("query", results, "SELECT * FROM faces WHERE false").stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("rates --groups g.csv", "rates does not use it: it is for compare; --participants reads the column"),
        ("library --groups g.csv", "--groups: library does not use it: it is for compare "),
        ("shares --events e.csv", "shares does not use it: it is for compare, events, averages"),
        ("validity --limit 10", "validity does not use it: it is for moments"),  # the default, but given
        ("--before 5", "overview does not use it: it is for events, averages"),
        ("rates --all-faces", "it is for shares, timeline, compare"),
        ("compare --events e.csv --all-faces", "compare includes low-quality faces only with --groups"),
    ],
)
def test_an_option_that_the_answer_would_not_follow_is_refused(results, words, says):
    run = fervid("summary", results, *words.split())
    assert run.exit_code == 2
    assert says in re.sub(r"[│\s]+", " ", run.output)


def test_compare_explains_its_rows_and_missing_intervals(results, tmp_path):
    groups = tmp_path / "groups.csv"
    groups.write_text("path,group\na.mp4,films\nc.mp4,films\nb.mp4,home\n")
    run = fervid("summary", results, "compare", "--groups", groups, "--all-faces")
    assert "95 % interval" in run.output
    assert "films and home: no interval: 5 participants per group are needed, got 1; no Cliff's delta" in run.output
    assert "films and home: 2 and 1 videos." in run.output
    assert "No participants are given: each video counts as one." in run.output
    assert "Group films has no" not in run.output
    assert "They are included" in run.output
    groups.write_text("path,group\na.mp4,films\nd.mp4,home\n")
    run = fervid("summary", results, "compare", "--groups", groups)
    assert "Group home has no video with a label" in run.output
    assert "All faces in these videos: 0 of 40 faces are low-quality faces" in run.output
    groups.write_text("path,group,participant\na.mp4,films,Ann\nb.mp4,home,Ann\n")
    run = fervid("summary", results, "compare", "--groups", groups)
    assert "films and home are compared within 1 participant (paired)." in run.output
    assert "No participants are given" not in run.output
    groups.write_text("path,group,participant\na.mp4,films,Ann\nb.mp4,home,Eve\n")
    run = fervid("summary", results, "compare", "--groups", groups)
    assert "films and home: 1 and 1 participants in 1 and 1 videos." in run.output


def test_without_participants_events_are_compared_within_videos(results, tmp_path):
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n0,1,talk\n1,2,ad\n")
    run = fervid("summary", results, "compare", "--events", events)
    assert "ad and talk are compared within 3 videos (paired)." in run.output
    assert "No participants are given: each video counts as one." in run.output


@pytest.mark.parametrize("question", ["events", "averages", "compare"])
def test_the_quality_note_is_on_videos_with_an_event(results, tmp_path, question):
    """Half of the faces of b.mp4 are blurred, and it has no event."""
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label,video\n1,2,ad,a.mp4\n1,2,ad,c.mp4\n2,3,talk,a.mp4\n")
    run = fervid("summary", results, question, "--events", events)
    assert "0 of 120 faces are low-quality faces" in run.output


def test_all_columns_of_events_are_explained_if_they_are_shown(results, tmp_path):
    events = tmp_path / "events.csv"
    events.write_text("start_s,end_s,label\n1,2,ad\n")
    short, long = (
        fervid("summary", results, "events", "--events", events, *form) for form in ([], ["--format", "long"])
    )
    assert ("share_…" in short.output, "share_… is of labelled_s" in long.output) == (False, True)
    assert "end_s" in short.output


def test_the_overview_has_totals_and_failures(results, tmp_path):
    folder = tmp_path / "my results"
    folder.symlink_to(results)
    run = fervid("summary", folder)
    assert "4 videos, 1 of them failed" in run.output
    assert "--start" not in run.output
    assert "160 faces" in run.output and "120 frames, 4 people (tracks), 5 episodes" in run.output
    assert "not a video" in run.output
    assert f"What to do about each failure: fervid status '{folder}'\n" in run.output
    assert f"For more: fervid summary '{folder}' QUESTION" in run.output


def test_a_summary_of_one_video_as_csv(results):
    run = fervid("summary", results, "shares", "--video", "c.mp4", "--format", "csv")
    assert [row["path"] for row in csv.DictReader(run.stdout.splitlines())] == ["/films/c.mp4", "/films/c.mp4"]
    assert "0 of 80 faces are low-quality faces" in run.stderr


@pytest.mark.parametrize(
    ("options", "exit_code", "says"),
    [
        (["moments"], 2, "--emotion"),
        (["moments", "--emotion", "joy"], 2, "angry"),
        (["compare"], 2, "--groups"),
        (["overview", "--format", "json"], 2, "name a question"),
        (["shares", "--video", "z.mp4"], 1, "z.mp4: no such video"),
        (["shares", "--memory", "much"], 2, "memory limit must be a size"),
        (["shares", "--format", "parquet"], 2, "--out"),
    ],
)
def test_impossible_summaries_are_reported(results, options, exit_code, says):
    run = fervid("summary", results, *options)
    assert run.exit_code == exit_code
    assert says in re.sub(r"[│\s]+", " ", run.output)


def test_the_schema_can_be_asked_for(results):
    run = fervid("query", results, "--schema", "--format", "csv")
    rows = {(row["table"], row["column"]): row for row in csv.DictReader(run.stdout.splitlines())}
    assert (rows["faces", "pts_s"]["unit"], rows["faces", "pts_s"]["type"]) == ("s", "double")
    assert ("observations", "observation_id") in rows
    assert fervid("query", results, "SELECT 1", "--schema").exit_code == 2
    assert fervid("query", results, "--schema", "--video", "a.mp4").exit_code == 2
    assert fervid("query", results).exit_code == 2
    assert set(of(describe("tracks"), "table")) == {"tracks"}
    with pytest.raises(QueryError, match="no table 'crowds'"):
        describe("crowds")


EXISTING = "videos, frames, faces, tracks, episodes, transitions, movements, observations, people"


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("FROM episode", "no table 'episode': did you mean episodes? There are videos, frames, faces"),
        ("FROM nope", "no table 'nope': there are videos, frames, faces"),  # DuckDB would suggest an internal table
        ("FROM x", f"no table 'x': there are {EXISTING}, and with a file of events events and event_bins"),
        ("FROM event_bins", "there are no events: give --events FILE"),
        ("SELECT emotio FROM faces", "no column 'emotio': did you mean emotion?"),
        ("SELECT f.pts FROM faces AS f", "no column 'pts': did you mean pts_s?"),
        ("SELECT path FROM videos JOIN faces USING (video)", "no column 'video': did you mean video_id?"),
        ("SELECT * EXCLUDE (emotio) FROM episodes", "no column 'emotio': did you mean emotion?"),
        ('FROM faces WHERE emotion = "sad"', "no column 'sad': did you mean the text 'sad' in single quotes?"),
        ("SELECT sad FROM tracks", "no column 'sad': did you mean share_sad, or the text 'sad' in single quotes?"),
        ("SELECT zzzz FROM videos", "no column 'zzzz': docs/schema.md lists all columns"),
    ],
)
def test_an_unknown_table_or_column_is_reported_with_those_that_exist(connection, sql, says):
    with pytest.raises(QueryError) as caught, limited(connection, 10):
        connection.sql(sql)
    assert str(caught.value).startswith(says)
    assert "noted_people" not in str(caught.value)
    assert "Binder" not in str(caught.value)


def test_too_much_text_for_arrow_is_reported_without_an_option_of_duckdb():
    error = duckdb.InvalidInputException(
        "Invalid Input Error: Arrow Appender: The maximum total string size for regular string buffers is 2147483647 "
        "but the offset of 2300000000 exceeds this.\n* SET arrow_large_buffer_size=true to use large string buffers"
    )
    assert str(query_error(error)).startswith("a column of the result has more than 2 GiB of text")


def test_a_summary_that_takes_too_long_is_stopped(connection):
    with pytest.raises(QueryError, match=r"stopped after 0\.1 s"), limited(connection, 0.1):
        endless = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
        connection.sql(endless).fetchall()


def test_events_are_answered_and_joined_in_sql(results, tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("start_s,end_s,label,video\n1,3,ad,a.mp4\n0,1,start,\n")
    with connect(results, events=file) as connection:
        rows = queries.during_events(connection, file)
        joined = connection.sql("SELECT label, count(*) FROM events GROUP BY ALL ORDER BY 1").fetchall()
    assert joined == [("ad", 1), ("start", 4)]  # the event also belongs to the video that failed
    assert of(rows, "label") == ["start", "ad", "start", "start", "start"]
    ad = rows.slice(1, 1).to_pylist()[0]
    assert ad["path"] == "/films/a.mp4"
    assert ad["seen_s"] == pytest.approx(2)
    assert ad["mean_happy"] == pytest.approx(0.5, abs=0.01)
    assert ad["change_sad"] == pytest.approx(0.5, abs=0.01)  # one second of the event is sad, and none before it


@pytest.mark.slow
def test_events_are_joined_by_video_or_not_at_all(results, tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("start_s,end_s,label,video\n0,1,start,\n1,2,ad,a.mp4\n")
    by_time = (
        "SELECT label, count(*) FROM faces JOIN events {} pts_s >= start_s AND pts_s < end_s GROUP BY 1 ORDER BY 1"
    )
    with pytest.raises(QueryError, match=r"join it USING \(video_id\)"):
        query(results, by_time.format("ON"), events=file)
    right = query(results, by_time.format("USING (video_id) WHERE"), events=file).to_pylist()
    assert [tuple(row.values()) for row in right] == [("ad", 10), ("start", 40)]
    assert query(results, "SELECT label FROM events", events=file).num_rows == 5
    run = fervid("query", results, "SELECT * FROM events")
    assert (run.exit_code, "give --events FILE" in run.output) == (1, True)


def test_events_after_the_end_of_their_videos_are_reported(tmp_path):
    store = Store(tmp_path / "r")
    timeline = build_timeline(observe(np.arange(40) / 10, [Face(i) for i in range(40)]), TimelineConfig())
    for number, duration_s in enumerate((4.0, 9.0, None)):
        row = {"video_id": f"v{number:016}", "analysis_id": f"a{number}", "path": f"/{number}.mp4"}
        store.commit_analysis(row | {"duration_s": duration_s}, timeline)
    file = tmp_path / "events.csv"
    file.write_text("start_s,end_s,label,video\n5,6,early,\n5,6,late,0.mp4\n9,10,later,\n5,6,unknown,2.mp4\n")
    run = fervid("summary", store.root, "events", "--events", file, "--format", "csv")
    assert "Outside the video: 2 of 3 events, about which nothing is known. Times must be in sec" in run.stderr
    file.write_text("start_s,end_s,label,video\n20,21,ad,0.mp4\n20,21,ad,1.mp4\n1,2,ad,1.mp4\n")
    run = fervid("summary", store.root, "events", "--events", file, "--format", "csv")
    assert "Outside the video: 2 of 3 events" in run.stderr  # the same times in two videos are two events
    file.write_text("start_s,end_s,label,video\n1,5.5,long,0.mp4\n1,9,long,1.mp4\n5,6,late,0.mp4\n")
    run = fervid("summary", store.root, "events", "--events", file, "--format", "csv")
    assert "1 of 3 events reaches beyond the video, by up to 1.5 s: only the time in it counts." in run.stderr
    file.write_text("start_s,end_s,label,video\n1,5.5,long,\n8,20,long,1.mp4\n")
    run = fervid("summary", store.root, "events", "--events", file, "--format", "csv")
    assert "2 of 2 events reach beyond the video, by up to 11 s" in run.stderr
    file.write_text("start_s,end_s,label,video\n1,2,ad,\n")
    said = fervid("summary", store.root, "events", "--events", file, "--format", "csv").stderr
    assert "Outside" not in said and "beyond" not in said


def test_events_outside_the_analyzed_part_are_reported(tmp_path):
    """A video of 20 s, of which the part from 2 to 5 s was analyzed."""
    store, settings = Store(tmp_path / "r"), '{"observe": {"start_s": 2, "end_s": 5}}'
    timeline = build_timeline(observe(2 + np.arange(30) / 10, [Face(i) for i in range(30)]), TimelineConfig())
    row = {"video_id": "v1", "analysis_id": "a1", "path": "/a.mp4", "duration_s": 20.0, "settings": settings}
    store.commit_analysis(row, timeline)
    file = tmp_path / "events.csv"
    for lines, says in (
        ("3,4,in", None),
        ("3,19,film\n2,3,in", "1 of 2 events reaches beyond the analyzed part of the video, by up to 14 s"),
        ("-1,3,early\n1.5,4,early", "2 of 2 events reach beyond the analyzed part of the video, by up to 3 s"),
        ("0,2,early\n10,12,later\n3,4,in", "Outside the analyzed part of the video: 2 of 3 events"),
    ):
        file.write_text(f"start_s,end_s,label\n{lines}\n")
        with connect(store.root) as connection:
            note = queries.late_events_note(connection, file)
        assert note is None if says is None else note.startswith(says)


def test_an_event_that_is_repeated_counts_once(results, tmp_path):
    """The talk, of 1 s, is twice for a.mp4 and once for all four videos, in one of which nobody was analyzed."""
    file = tmp_path / "events.csv"
    file.write_text("start_s,end_s,label,video\n1,2,talk,a.mp4\n1,2,talk,\n1,2,talk,/films/a.mp4\n2,4,ad,\n")
    labeled = """SELECT sum(least(pts_s + duration_s, end_s) - greatest(pts_s, start_s)) FROM faces
        JOIN events USING (video_id) WHERE label = 'talk' AND pts_s < end_s - 1e-6 AND pts_s + duration_s > start_s"""
    with connect(results, events=file) as connection:
        assert connection.sql(labeled).fetchall() == [(pytest.approx(4),)]  # one person in a and in b, two in c
        assert connection.sql("SELECT count(*) FROM events").fetchall() == [(8,)]
        talk = [row for row in queries.averages(connection, file, bin_ms=1000).to_pylist() if row["label"] == "talk"]
        assert {row["n_trials"] for row in talk if row["start_s"] >= 0} == {3}
        during = queries.during_events(connection, file, before_s=1)
        assert of(during, "label") == ["talk", "ad", "talk", "ad", "talk", "talk", "ad", "ad"]
        assert "of 1 of 2 events" in queries.baseline_overlap_note(connection, file, before_s=1)
    sql = "SELECT count(*) FROM events"
    commands = [("summary", results, name, "--format", "csv") for name in ("events", "averages", "compare")]
    commands += [("query", results, sql), ("export", results, "--format", "trials", "--out", tmp_path / "out")]
    note = "2 events repeat others of the same video, label, start and end, and are left out."
    assert [command for command in commands if note not in fervid(*command, "--events", file).stderr] == []
    with (tmp_path / "out" / "trials.csv").open(newline="") as trials:
        assert len({row["trial"] for row in csv.DictReader(trials)}) == 6  # two in each of the three finished videos
    file.write_text("start_s,end_s,label,video\n1,2,talk,a.mp4\n1,2,talk,b.mp4\n1,2,ad,a.mp4\n")
    assert "repeat" not in fervid(*commands[0], "--events", file).stderr


def test_events_of_all_videos_are_reported_if_a_column_was_not_read(results, tmp_path):
    file, note = (
        tmp_path / "events.csv",
        "2 events name no video and apply to all 4 videos; columns not read: recording.",
    )
    file.write_text("recording,label,start_s,end_s\na.mp4,ad,1,2\nc.mp4,talk,1,2\n")
    sql = "SELECT count(*) FROM events"
    commands = [("summary", results, name, "--format", "csv") for name in ("events", "averages", "compare")]
    commands += [("query", results, sql), ("export", results, "--format", "trials", "--out", tmp_path / "out")]
    assert [command for command in commands if note not in fervid(*command, "--events", file).stderr] == []
    assert note not in fervid("query", results, sql, "--video", "a.mp4", "--events", file).stderr
    file.write_text("label,start_s,end_s\nad,1,2\n")
    assert "columns not read" not in fervid(*commands[0], "--events", file).stderr


def test_events_may_be_of_videos_that_are_not_asked_about(results, tmp_path):
    file = tmp_path / "events.csv"
    file.write_text("start_s,end_s,label,video\n1,2,ad,a.mp4\n1,2,talk,c.mp4\n")
    run = fervid("summary", results, "events", "--video", "c.mp4", "--events", file, "--format", "csv")
    assert [row["label"] for row in csv.DictReader(run.stdout.splitlines())] == ["talk", "talk"]
    assert "0 of 80 faces are low-quality faces" in run.stderr
    file.write_text("start_s,end_s,label,video\n1,2,ad,z.mp4\n")
    unknown = fervid("summary", results, "events", "--video", "c.mp4", "--events", file)
    assert (unknown.exit_code, "z.mp4: no such video" in unknown.output) == (1, True)


def test_synchrony_has_a_row_for_each_pair_of_each_video(connection):
    (pair,) = queries.synchrony(connection).to_pylist()
    assert (pair["path"], pair["track_a"], pair["track_b"]) == ("/films/c.mp4", 0, 1)
    assert pair["together_s"] == pytest.approx(4)
    assert pair["share_same"] == 0


def test_summary_asks_for_the_events(results):
    refused = fervid("summary", results, "events")
    assert refused.exit_code == 2
    assert "needs --events FILE" in re.sub(r"[│\s]+", " ", refused.output)
