"""Pass 2 alone: from the observations of a results folder, without the videos."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
from commands import fervid
from scenes import Face, feeling, observe

from analytics import connect, queries
from analytics.results.ids import analysis_id
from analytics.results.replaced_files import replaced_files_note
from analytics.results.store import Store, StoreError
from analytics.results.stored_timeline import build_stored_timeline
from analytics.results.videos import UnknownVideoError, all_videos
from analytics.timeline.build import TimelineConfig, build_timeline
from fer_models.observe_version import OBSERVE_VERSION
from flows.analysis.rebuild_timeline import config_for, rebuild_timelines
from flows.settings import AnalyzeSettings, TimelineSettings

IDS = {"video_id": "v0000000000000001", "observation_id": "o0000000000000001"}
OTHER = {"video_id": "v0000000000000002", "observation_id": "o0000000000000002"}
BLURRED = [Face(i, p=feeling("sad" if i % 2 else "happy"), blur=1 if i % 2 else 100, appearance=40) for i in range(40)]
SEGMENTS = [
    observe(
        np.arange(20) / 10 + 2 * s,
        [replace(f, frame=f.frame - 20 * s) for f in BLURRED[20 * s :][:20]],
        first=20 * s,
    )
    for s in range(2)
]


@pytest.fixture
def results(tmp_path):
    """The results of two analyzed videos, whose files no longer exist."""
    store = Store(tmp_path / "results")
    config = TimelineSettings().config(score_threshold=0.5)
    for ids, name in ((IDS, "a.mp4"), (OTHER, "b.mp4")):
        for index, segment in enumerate(SEGMENTS):
            store.write_segment(ids["video_id"], ids["observation_id"], index, segment)
        settings = {
            "observe": {"detector_score_threshold": 0.5, "fps": None, "observe_version": OBSERVE_VERSION},
            "timeline": config.settings(),
        }
        row = {"analysis_id": analysis_id(ids["observation_id"], config.settings()), "path": f"/gone/{name}"}
        row |= ids | {"settings": json.dumps(settings), "frames_per_s": 10.0}
        store.commit_analysis(row, build_timeline(pa.concat_tables(SEGMENTS), config))
    return store.root


def rows(results, sql):
    return connect(results).sql(sql).fetchall()


def timeline_command(*arguments: object):
    return fervid("timeline", *arguments)


def test_other_settings_make_another_timeline_which_the_views_show(results):
    before = rows(results, "SELECT * FROM tracks ORDER BY ALL")
    assert [one.status for one in rebuild_timelines(results, TimelineSettings(gate=False))] == ["done"] * 2
    assert rows(results, "SELECT n_faces, n_faces_ok FROM tracks") == [(40, 20)] * 2
    assert rows(results, "SELECT mean_happy, mean_sad FROM tracks") == [(0.5, 0.5)] * 2
    assert all(
        not json.loads(s)["timeline"]["quality"]["gate"] for (s,) in rows(results, "SELECT settings FROM videos")
    )
    assert all(json.loads(s)["observe"]["fps"] is None for (s,) in rows(results, "SELECT settings FROM videos"))
    with connect(results) as connection:
        assert queries.gate_note(connection).endswith(": blurred 40. They are included, because of --no-gate.")
    # The earlier timeline still exists, and is shown again immediately.
    back = rebuild_timelines(results, TimelineSettings())
    assert [(one.status, one.seconds) for one in back] == [("done", 0)] * 2
    assert rows(results, "SELECT * FROM tracks ORDER BY ALL") == before


def test_the_newest_content_of_a_file_stays_the_newest(results):
    store = Store(results)
    first = store.shown_analysis(IDS["video_id"])
    timeline = build_timeline(pa.concat_tables(SEGMENTS), TimelineSettings().config(score_threshold=0.5))
    store.commit_analysis(first.columns() | {"path": "/gone/b.mp4"}, timeline)  # it has the smaller id, and is newer
    for settings in (TimelineSettings(), TimelineSettings(gate=False)):
        rebuild_timelines(results, settings)
        with connect(results) as connection:
            note = replaced_files_note(results, all_videos(connection))
        assert note is not None and note.endswith(f"--video {OTHER['video_id']}")


def test_timelines_of_another_version_are_rebuilt(results):
    """The id of an analysis contains the version: with the same settings, that of another version has another id."""
    store, video = Store(results), IDS["video_id"]
    present = store.shown_analysis(video)
    timeline = build_timeline(pa.concat_tables(SEGMENTS), TimelineSettings().config(score_threshold=0.5))
    store.commit_analysis(present.columns() | {"analysis_id": "a0000000000000001"}, timeline)
    store.remove_analysis(video, present.analysis_id)
    assert [one.status for one in rebuild_timelines(results, TimelineSettings())] == ["done", "unchanged"]
    assert store.shown_analysis(video).analysis_id == present.analysis_id


@pytest.mark.parametrize(("threshold", "low"), [(0.5, 0.1), (0.05, 0.05)])
def test_a_detector_may_count_faces_of_any_score(threshold, low):
    tracker = TimelineSettings().config(threshold).tracker
    assert (tracker.high_score, tracker.low_score) == (threshold, low)


def test_blur_that_was_measured_in_smaller_crops_keeps_its_threshold():
    settings = TimelineSettings()
    for version, min_blur in (({}, 80), ({"observe_version": 4}, 80), ({"observe_version": 5}, 50)):
        config = config_for(settings, {"detector_score_threshold": 0.5} | version)
        assert config.quality.min_blur == min_blur
        assert replace(config, quality=TimelineConfig().quality) == TimelineConfig()


def test_only_selected_videos_are_rebuilt(results):
    rebuilt = rebuild_timelines(results, TimelineSettings(time_constant_s=2.0), ["b.mp4"])
    assert [(one.path, one.status, one.n_faces) for one in rebuilt] == [("/gone/b.mp4", "done", 40)]
    with pytest.raises(UnknownVideoError, match="no such video"):
        rebuild_timelines(results, TimelineSettings(), ["c.mp4"])


def test_identities_stay_after_appearance_is_deleted(tmp_path):
    """Settings of smoothing can be changed; a change of tracking settings fails and keeps the current timeline."""
    store, video, seen = Store(tmp_path / "results"), *IDS.values()
    store.write_segment(video, seen, 0, observe(np.arange(20) / 10, [Face(i, appearance=40) for i in range(20)]))
    config = TimelineSettings().config(score_threshold=0.5)
    timeline = build_stored_timeline(store, video, seen, store.read_observations(video, seen, 1), config)
    store.drop_appearance(video, seen)
    settings = json.dumps({"observe": {"detector_score_threshold": 0.5}, "timeline": config.settings()})
    row = {"analysis_id": analysis_id(seen, config.settings()), "path": "/gone/a.mp4", "settings": settings}
    store.commit_analysis(IDS | row | {"joined_by_look": timeline.used_appearance}, timeline)
    assert [one.status for one in rebuild_timelines(store.root, TimelineSettings(time_constant_s=2.0))] == ["done"]
    before = rows(store.root, "FROM videos")
    run = timeline_command(store.root, "--max-gap", 3)
    assert run.exit_code == 3
    assert run.stdout.count("--keep-appearance") == 1
    assert run.stdout.startswith("failed /gone/a.mp4: ")
    assert "people" not in run.stdout  # no table: it would show the previous timeline as the result
    assert f"0 rebuilt, 0 unchanged, 1 failed; results in {store.root}" in run.stdout
    assert "--keep-appearance" not in run.stderr
    quiet = timeline_command(store.root, "--max-gap", 3, "--quiet")
    assert (quiet.exit_code, quiet.stdout) == (3, "")
    assert quiet.stderr == f"{run.stdout.splitlines()[0]}\n"
    assert rows(store.root, "FROM videos") == before
    assert rows(store.root, "SELECT joined_by_look FROM videos") == [(True,)]


def test_a_quiet_rebuild_prints_nothing(results):
    run = timeline_command(results, "--no-gate", "--quiet")
    assert (run.exit_code, run.stdout, run.stderr) == (0, "", "")


def test_a_later_run_that_failed_is_not_forgotten(results):
    failed = OTHER | {"analysis_id": "a0000000000000009", "path": "/gone/b.mp4"}
    Store(results).commit_failure({k: v for k, v in failed.items() if k != "observation_id"}, "disk trouble")
    errors = [(None,), ("a later run failed: disk trouble",)]
    for settings in (TimelineSettings(gate=False), TimelineSettings(), TimelineSettings(gate=False)):
        rebuild_timelines(results, settings)
        assert rows(results, "SELECT error FROM videos ORDER BY path") == errors
    # A later run that finds the video analyzed clears the error.
    ((analyzed,),) = rows(results, "SELECT analysis_id FROM videos WHERE path = '/gone/b.mp4'")
    Store(results).mark_as_current(OTHER["video_id"], analyzed, "/gone/b.mp4")
    assert rows(results, "SELECT error FROM videos ORDER BY path") == [(None,), (None,)]


def test_observations_are_required(results):
    folder = results / "observations" / f"video_id={IDS['video_id']}" / f"observation_id={IDS['observation_id']}"
    (folder / "segment-000001.parquet").unlink()
    shutil.rmtree(results / "observations" / f"video_id={OTHER['video_id']}")
    run = timeline_command(results, "--no-gate")
    assert run.exit_code == 3
    assert "/gone/a.mp4: observations are missing (20 of 40 frames found): run fervid analyze" in run.output
    assert "/gone/b.mp4: observations are missing (0 of 40 frames found)" in run.output
    assert not list(folder.glob("identities-*"))  # identities of only half of the video would prevent the next analysis
    (folder / "segment-000000.parquet").rename(folder / "segment-000001.parquet")
    assert "segment-000000.parquet: missing or damaged" in timeline_command(results, "--no-gate").output
    assert rows(results, "SELECT count(*) FROM tracks") == [(2,)]


def test_a_video_that_was_never_analyzed_is_reported(results):
    Store(results).commit_failure({"video_id": "v3", "analysis_id": "a3", "path": "/gone/c.mp4"}, "it is broken")
    run = timeline_command(results, "--json")
    assert run.exit_code == 3
    failed = json.loads(run.stdout)[2]
    assert failed["note"] == "/gone/c.mp4: was never analyzed: it is broken"


def test_the_command_line_and_the_environment_set_it(results, monkeypatch):
    monkeypatch.setenv("FERVID_TIME_CONSTANT_S", "2")
    options = ("--baseline", "neutral_stretch", "--baseline-span", 0, 1, "--max-gap", 3, "--speech", "exclude")
    run = timeline_command(results, "--video", "a.mp4", *options)
    assert run.exit_code == 0, run.output
    assert "weights exp(-distance / 2 s) to both sides, tracks continued across gaps up to 3 s" in run.output
    assert "baseline neutral_stretch 0 to 1 s" in run.output
    assert "faces of sufficient quality without intervals of speaking, smoothed" in run.output
    assert "--speech exclude: in 2.0 s of 2.0 s with good faces, movements were not measured" in run.output
    ((settings,),) = rows(results, "SELECT settings FROM videos WHERE path = '/gone/a.mp4'")
    made = json.loads(settings)["timeline"]
    assert made["baseline"] == {"method": "neutral_stretch", "span_s": [0, 1], "stretch_s": 2, "min_neutral": 1 / 3}
    assert (made["smoothing"]["time_constant_s"], made["tracker"]["max_gap_s"]) == (2, 3)
    assert made["quality"]["speech"] == "exclude"


def test_people_without_a_neutral_stretch_are_reported(results, tmp_path):
    """The two people of the fixture are happy throughout; a third one is neutral for 2 s, and then sad."""
    ids = {"video_id": "v0000000000000003", "observation_id": "o0000000000000003"}
    faces = [Face(i, p=feeling("neutral" if i < 20 else "sad"), appearance=40) for i in range(40)]
    observed = observe(np.arange(40) / 10, faces)
    ((settings,),) = rows(results, "SELECT settings FROM videos WHERE path = '/gone/a.mp4'")
    config, store = TimelineSettings().config(score_threshold=0.5), Store(results)
    store.write_segment(*ids.values(), 0, observed)
    row = ids | {"analysis_id": analysis_id(ids["observation_id"], config.settings()), "path": "/gone/c.mp4"}
    store.commit_analysis(row | {"settings": settings, "frames_per_s": 10.0}, build_timeline(observed, config))

    note = "--baseline neutral_stretch: 2 of 3 people have no neutral stretch and were not corrected"
    assert note in timeline_command(results, "--baseline", "neutral_stretch").output
    groups = tmp_path / "groups.csv"
    groups.write_text("path,group\na.mp4,x\nc.mp4,y\n")
    compared = fervid("summary", results, "compare", "--groups", groups)
    assert "1 of 2 people has no neutral stretch and was not corrected" in " ".join(compared.output.split())
    fervid("report", results, "--out", tmp_path / "report.html")
    assert note in (tmp_path / "report.html").read_text(encoding="utf-8")
    late = timeline_command(results, "--baseline", "neutral_stretch", "--baseline-span", 90, 91).output
    assert "--baseline-span: 3 of 3 people have no good face in that period and were not corrected" in late
    for options in (("neutral_stretch", "--baseline-span", 0, 1), ("own_mean",), ("none",)):
        assert "not corrected" not in timeline_command(results, "--baseline", *options).output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--time-constant", "0"], "--time-constant: must be"),
        (["--max-gap", "-1"], "must be at least 0"),
        (["--baseline-span", "0", "1"], "a span is for baseline neutral_stretch"),
        (["--speech", "only", "--no-gate"], "speech only needs the quality filter"),
    ],
)
def test_wrong_settings_are_usage(results, options, says):
    run = timeline_command(results, *options)
    assert run.exit_code == 2
    assert says in run.output


def test_a_folder_without_results_is_rejected(tmp_path):
    run = timeline_command(tmp_path)
    assert run.exit_code == 1
    assert "not a results folder" in run.output
    with pytest.raises(StoreError):
        rebuild_timelines(tmp_path, TimelineSettings())
    assert list(tmp_path.iterdir()) == []


def test_analyze_takes_the_same_settings(monkeypatch):
    monkeypatch.setenv("FERVID_GATE", "false")
    assert not AnalyzeSettings().timeline.gate
    monkeypatch.delenv("FERVID_GATE")
    usual = AnalyzeSettings().timeline.config(score_threshold=0.5)
    assert asdict(usual) == asdict(TimelineConfig())
