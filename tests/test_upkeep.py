"""`status`, `retry` and `gc`: states of videos, repeated failures, and removal of files that no run can use."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from clips import analyze_clip
from commands import fervid
from scenes import Face, observe

from analytics import connect
from analytics.results.ids import file_sha256, video_id
from analytics.results.in_progress import mark_in_progress
from analytics.results.status import running, status
from analytics.results.storage_paths import file_version
from analytics.results.store import Store
from analytics.results.vacuum import find_garbage, find_kept, remove_garbage
from analytics.timeline.build import Timeline, TimelineConfig, build_timeline
from fer_models.registry.model_registry import find_model
from flows.analysis.failures import VideoFailed
from flows.analysis.fingerprints import _NEUTRAL, OBSERVATION_SETTINGS
from flows.analysis.progress import Progress
from flows.analysis.rebuild_timeline import rebuild_timelines
from flows.analysis.stored_settings import missing_model, settings_of, stored_settings, timeline_settings
from flows.settings import AnalyzeSettings, TimelineSettings

pytestmark = pytest.mark.slow

FERVID = Path(sys.executable).with_name("fervid")
PTS_S = np.arange(10) / 10
OLD_S = 100 * 3600.0


def timeline() -> Timeline:
    return build_timeline(observe(PTS_S, [Face(i) for i in range(10)]), TimelineConfig())


def row(path: Path, number: int, observed: str = "o1", **known):
    ids = {"video_id": video_id(file_sha256(path)), "analysis_id": f"a{number}", "observation_id": observed}
    return ids | {"path": str(path), "size_bytes": path.stat().st_size} | known


def age(path: Path, by_s: float = OLD_S) -> None:
    os.utime(path, (time.time() - by_s,) * 2)


@pytest.fixture
def folder(tmp_path):
    for name in ("begun", "broken", "done", "new", "stopped"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        (tmp_path / "videos" / f"{name}.mp4").write_text(name)
        age(tmp_path / "videos" / f"{name}.mp4")
    return tmp_path / "videos"


@pytest.fixture
def store(tmp_path, folder):
    """A finished video, a failed one, one being analyzed, and one whose run was interrupted."""
    store = Store(tmp_path / "results")
    done = row(folder / "done.mp4", 1)
    store.write_segment(done["video_id"], "o1", 0, observe(PTS_S, []))
    store.commit_analysis(done, timeline())
    store.commit_failure(row(folder / "broken.mp4", 1), "not a video")
    begun, stopped = (video_id(file_sha256(folder / f"{name}.mp4")) for name in ("begun", "stopped"))
    for video in (begun, stopped):
        age(store.write_segment(video, "o1", 0, observe(PTS_S, [])), 3600)
    with mark_in_progress(store.root, begun):
        yield store


# --- status ------------------------------------------------------------------------------------------------------


def states(results, files=()):
    return {Path(one.path).name: (one.state, one.reason) for one in status(results, files)}


def test_every_file_has_a_state_and_a_reason(store, folder):
    assert states(store.root, sorted(folder.iterdir())) == {
        "begun.mp4": ("running", "segments saved: 1"),
        "broken.mp4": ("failed", "not a video"),
        "done.mp4": ("done", ""),
        "new.mp4": ("pending", "not analyzed yet"),
        "stopped.mp4": ("pending", "a run was interrupted 60 min ago: segments saved: 1"),
    }


@pytest.mark.parametrize("table", ["videos", "faces"])
def test_a_damaged_video_has_no_other_state(store, folder, table):
    path = store.root / table / f"video_id={video_id(file_sha256(folder / 'done.mp4'))}" / "a1.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    found = [(Path(one.path).name, one.state) for one in status(store.root, sorted(folder.iterdir()))]
    assert [state for name, state in found if name == "done.mp4"] == ["damaged"]
    assert len(found) == len(list(folder.iterdir()))


def test_without_the_files_videos_in_progress_have_ids_only(store, folder):
    assert sorted((one.state, Path(one.path).name) for one in status(store.root)) == [
        ("done", "done.mp4"),
        ("failed", "broken.mp4"),
        ("pending", ""),
        ("running", ""),
    ]


def test_a_changed_file_is_pending_and_a_copy_is_done(store, folder):
    (folder / "copy.mp4").write_text("done")
    (folder / "done.mp4").write_text("other")
    os.utime(folder / "done.mp4", (time.time() + 60,) * 2)
    store.commit_analysis(row(folder / "new.mp4", 1, started_at=datetime.now(UTC)), timeline())
    found = states(store.root, [folder / "copy.mp4", folder / "done.mp4", folder / "new.mp4"])
    assert found["new.mp4"] == ("done", "")
    assert "copy.mp4" not in found  # the copy shares the row of the original file


def test_a_touched_file_is_done_once_it_was_found_unchanged(store, folder):
    done = row(folder / "done.mp4", 1, started_at=datetime.now(UTC), object_version=file_version(folder / "done.mp4"))
    store.commit_analysis(done, timeline())
    os.utime(folder / "done.mp4", (time.time() + 60,) * 2)
    assert states(store.root, [folder / "done.mp4"])["done.mp4"] == ("pending", "modified since it was analyzed")
    ids = done["video_id"], done["analysis_id"]
    store.mark_as_current(*ids, done["path"], object_version=file_version(folder / "done.mp4"))
    assert states(store.root, [folder / "done.mp4"])["done.mp4"] == ("done", "")


def test_a_file_whose_first_content_was_restored_is_done(store, folder):
    path = folder / "done.mp4"
    first = row(path, 2, started_at=datetime.now(UTC))
    store.commit_analysis(first, timeline())
    path.write_text("other")
    store.commit_analysis(row(path, 1, started_at=datetime.now(UTC)), timeline())
    other_at = store.video_row(video_id(file_sha256(path)), "a1").finished_at
    path.write_text("done")
    os.utime(path, (time.time() + 60,) * 2)
    store.mark_as_current(first["video_id"], "a2", str(path), object_version=file_version(path), after=other_at)
    assert states(store.root, [path])["done.mp4"] == ("done", "")


def test_a_later_run_outside_of_the_range_suggests_another_range(store, folder):
    store.commit_failure(row(folder / "done.mp4", 2), "no frame in the range --start 60: its frames are from 0 to 5 s")
    (found,) = (one for one in status(store.root) if one.path == str(folder / "done.mp4"))
    assert (found.state, found.can_retry) == ("done", False)
    assert found.suggested_action == "the earlier analysis is shown: choose another --start or --end"


def test_a_failed_run_after_an_analysis_of_a_part_is_the_same_everywhere(store, folder):
    """A truncated file is analyzed with --end, and then fails again in a run over its folder."""
    settings = json.dumps({"observe": {"start_s": None, "end_s": 10.8}})
    path = folder / "done.mp4"
    store.commit_analysis(row(path, 2, settings=settings), timeline())
    store.commit_failure(row(path, 3), "the file ends after 10.9 of 19.7 s")
    (found,) = (one for one in status(store.root) if one.path == str(path))
    assert (found.state, found.reason) == ("done", "a later run failed: the file ends after 10.9 of 19.7 s")
    assert found.suggested_action == (
        "the analysis with --end 10.8 is shown: move the file to another folder to keep it, or replace the file and "
        "run `fervid analyze`"
    )
    said = " ".join(fervid("status", store.root).output.split())
    assert "1 done (a later run of 1 of them failed), 1 running, 1 failed, 0 damaged, 1 pending" in said
    said = " ".join(fervid("summary", store.root).output.split())
    assert "2 videos, 1 of them failed, a later run of 1 of the others failed;" in said
    assert f"What to do about each failure: fervid status {store.root}" in said
    (folder / "broken.mp4").unlink()  # so that nothing can be retried
    said = " ".join(fervid("retry", store.root).output.split())
    assert found.suggested_action in said
    assert "no failed video can be retried" in said
    store.mark_as_current(found.video_id, "a2", str(path))  # the same part is analyzed again
    assert states(store.root)["done.mp4"] == ("done", "")


def test_a_finished_video_of_copied_results_is_not_running(store, tmp_path):
    copy = shutil.copytree(store.root, tmp_path / "copy", copy_function=shutil.copy)  # with new modification times
    assert states(copy)["done.mp4"] == ("done", "")
    done = next(one.video_id for one in status(copy) if one.state == "done")
    assert done not in {one.video_id for one in running(copy)}
    with mark_in_progress(copy, done):  # an analysis with other settings has started
        assert states(copy)["done.mp4"] == ("running", "segments saved: 0")
        Store(copy).write_segment(done, "o2", 0, observe(PTS_S, []))
        assert states(copy)["done.mp4"] == ("running", "segments saved: 1")


def test_a_video_in_an_object_store_does_not_count_as_missing(store):
    address = "memory://videos/far.mp4"
    store.commit_failure({"video_id": "vfar", "analysis_id": "afar", "path": address}, "cut off")
    (far,) = (one for one in status(store.root) if one.path == address)
    assert "`fervid retry RESULTS`" in far.suggested_action
    (((path,),),) = [settings_of(store.root, ["vfar"]).by_settings.values()]
    assert str(path) == address


def test_inputs_of_status_may_be_at_an_address(store):
    run = fervid("status", store.root, "memory://nowhere")
    assert "memory://nowhere: no such file or folder" in run.output


def test_the_command_counts_states_and_suggests_actions(store, folder):
    run = fervid("status", store.root, folder)
    assert run.exit_code == 0
    assert "1 done, 1 running, 1 failed, 0 damaged, 2 pending" in run.output
    assert "repair or replace the file" in run.output
    missing, reason = folder / "nope.mp4", "no such file or folder: check its name"
    run = fervid("status", store.root, folder, missing)
    assert f"\n{missing}: {reason}\n" in run.output
    assert "1 done, 1 running, 1 failed, 0 damaged, 2 pending" in run.output
    answer = json.loads(fervid("status", store.root, folder, missing, "--json").stdout)
    assert answer["skipped"] == [{"path": str(missing), "reason": reason}]
    (folder / "broken.mp4").unlink()
    answer = json.loads(fervid("status", store.root, "--json").stdout)
    assert answer["count"] == {"done": 1, "running": 1, "failed": 1, "damaged": 0, "pending": 1}
    (failed,) = [one for one in answer["videos"] if one["state"] == "failed"]
    assert "the file is missing" in failed["suggested_action"]
    (folder / "broken.mp4").symlink_to("broken.mp4")
    answer = json.loads(fervid("status", store.root, "--json").stdout)
    (failed,) = [one for one in answer["videos"] if one["state"] == "failed"]
    assert "it is a broken symbolic link" in failed["suggested_action"]


# --- retry -------------------------------------------------------------------------------------------------------


def test_every_setting_is_part_of_the_ids_or_changes_no_number():
    # These are part of the ids in another form: as chosen for the video, or as settings of pass 2.
    others = {"decoder", "detector_size_px", "timeline"}
    assert set(AnalyzeSettings.model_fields) == others | OBSERVATION_SETTINGS | _NEUTRAL


def test_every_setting_of_pass_2_comes_back():
    smoothed = {"time_constant_s": 0.5, "max_gap_s": 2.0, "baseline": "neutral_stretch", "baseline_span_s": (1.0, 2.0)}
    # `speech` needs the quality filter, so that the two cannot be changed together.
    changed = [TimelineSettings(gate=False), TimelineSettings(speech="exclude", **smoothed)]
    assert {"gate", "speech", *smoothed} == TimelineSettings.model_fields.keys()
    for given in changed:
        stored = json.loads(json.dumps(given.config(score_threshold=0.5).settings()))
        assert timeline_settings(stored) == given


def test_settings_come_back_as_they_were_given(face_clip, tmp_path):
    given = AnalyzeSettings(
        device="cpu",
        fps=2.0,
        start_s=0.5,
        end_s=1.0,
        video_stream=0,
        rotate=90,
        detector_size_px=160,
        detect_every_s=0.5,
        keep_landmarks=True,
        min_face_px=10.0,
        segment_s=5.0,
        timeline=TimelineSettings(gate=False, max_gap_s=2.0),
    )
    assert [name for name in OBSERVATION_SETTINGS if getattr(given, name) == getattr(AnalyzeSettings(), name)] == []
    analyze_clip(face_clip, tmp_path / "out", given)
    ((text,),) = connect(tmp_path / "out").sql("SELECT settings FROM videos").fetchall()
    expected = given.model_copy(update={"device": "auto", "detector": "compact"})
    assert stored_settings(text) == expected
    assert stored_settings(None) == AnalyzeSettings()


def test_settings_that_only_earlier_versions_accepted_are_named(store, folder):
    stages = {"quality": {"gate": True}, "smoothing": {"time_constant_s": 0.3}, "tracker": {"max_gap_s": 1.0}}
    settings = {
        "observe": {"model": "default", "detector": "compact", "end_s": 0.0},
        "timeline": stages | {"baseline": {"method": "none", "span_s": None}},
    }
    ended = row(folder / "new.mp4", 2, settings=json.dumps(settings))
    store.commit_failure(ended, "no frame in the range before 0 s")
    (folder / "broken.mp4").unlink()
    run = fervid("retry", store.root)
    assert (run.exit_code, "end_s must be greater than 0, got 0.0" in run.output) == (3, True), run.output
    assert "no failed video can be retried" in run.output


def test_a_model_that_was_removed_is_named_with_its_option():
    assert missing_model(AnalyzeSettings()) is None
    assert missing_model(AnalyzeSettings(detector="gone")) == ("--detector", "gone")
    assert missing_model(AnalyzeSettings(model="gone", detector="gone")) == ("--model", "gone")


def test_a_failed_video_is_analyzed_again_once_it_is_repaired(face_clip, server, tmp_path):
    clip, results = tmp_path / "clip.mp4", tmp_path / "out"
    clip.write_text("not a video")
    with pytest.raises(VideoFailed):
        analyze_clip(clip, results, AnalyzeSettings(device="cpu"))
    (failed,) = status(results)
    usual = AnalyzeSettings(detector="compact", detector_size_px=640)  # the settings that "auto" selected
    assert settings_of(results, [failed.video_id]) == ({usual: [clip]}, {})
    environment = {"PREFECT_API_URL": server}
    # In a process of its own, whose interpreter reports semaphores that are left at its end.
    run = subprocess.run([FERVID, "retry", results], env=os.environ | environment, capture_output=True, text=True)
    assert (run.returncode, "leaked" in run.stderr) == (3, False), run.stderr
    clip.write_bytes(face_clip.read_bytes())
    done = fervid("retry", results, env=environment | {"FERVID_FPS": "5"})
    assert done.exit_code == 0, done.stderr
    assert "1 analyzed, 0 unchanged, 0 failed" in done.stdout
    assert [(one.state, one.path) for one in status(results)] == [("done", str(clip))]
    assert "no video has failed: there is nothing to retry" in fervid("retry", results).output


def fails(clip: Path, results: Path, **settings) -> AnalyzeSettings:
    """Analyze a clip that changes meanwhile, so that it fails; return the settings that a retry must use."""
    progress, asked = Progress(), AnalyzeSettings(device="cpu", detector_size_px=160, **settings)
    progress.listen(lambda event: clip.touch())
    with pytest.raises(VideoFailed, match="changed during the analysis"):
        analyze_clip(clip, results, asked, progress)
    return asked.model_copy(update={"device": "auto", "detector": "compact"})


def test_a_later_failed_run_is_repeated_with_its_settings(face_clip, server, tmp_path, monkeypatch):
    clip, results, model = tmp_path / "clip.mp4", tmp_path / "out", tmp_path / "models" / "own"
    shutil.copy(face_clip, clip)
    shutil.copytree(find_model("default"), model)
    analyze_clip(clip, results, AnalyzeSettings(device="cpu", fps=2.0))
    monkeypatch.chdir(model.parent)
    failed = fails(clip, results, fps=5.0, model="own", keep_appearance=True)
    assert settings_of(results, [status(results)[0].video_id]).by_settings == {
        failed.model_copy(update={"model": str(model)}): [clip]
    }
    monkeypatch.chdir(tmp_path)
    model.rename(tmp_path / "elsewhere")
    environment = {"PREFECT_API_URL": server}
    run = fervid("retry", results, env=environment)
    assert (run.exit_code, str(model) in run.output, "--model NAME" in run.output) == (3, True, True), run.output
    assert (status(results)[0].state, status(results)[0].can_retry) == ("done", True)
    (tmp_path / "elsewhere").rename(model)
    done = subprocess.run([FERVID, "retry", results], env=os.environ | environment, capture_output=True, text=True)
    assert "1 analyzed, 0 unchanged, 0 failed" in done.stdout, done.stderr
    assert [(one.state, one.reason) for one in status(results)] == [("done", "")]
    with connect(results) as connection:
        assert connection.sql("SELECT count(*) FROM frames").fetchall() == [(10,)]
        assert connection.sql("SELECT count(signature) > 0 FROM observations").fetchall() == [(True,)]


def test_a_failed_overwrite_is_repeated_with_overwrite(face_clip, tmp_path):
    clip, results = tmp_path / "clip.mp4", tmp_path / "out"
    shutil.copy(face_clip, clip)
    analyze_clip(clip, results, AnalyzeSettings(device="cpu", fps=2.0))
    again = fails(clip, results, fps=2.0, overwrite=True)
    # A timeline rebuilt later keeps the error of the failed run, and gc does not delete it.
    rebuild_timelines(results, TimelineSettings(gate=False))
    remove_garbage(results, find_garbage(results, superseded=True, older_than_s=0.0))
    (one,) = status(results)
    assert (one.can_retry, settings_of(results, [one.video_id]).by_settings) == (True, {again: [clip]})


def test_the_folder_of_a_model_is_part_of_no_id(face_clip, tmp_path):
    for folder in ("a", "b"):
        shutil.copytree(find_model("default"), tmp_path / folder)
    found = [
        analyze_clip(face_clip, tmp_path / "out", AnalyzeSettings(device="cpu", fps=2.0, model=model))
        for model in ("default", str(tmp_path / "a"), str(tmp_path / "b"))
    ]
    assert [one.status for one in found] == ["done", "unchanged", "unchanged"]


# --- gc ----------------------------------------------------------------------------------------------------------


def names(results, **options):
    return sorted(str(file.relative_to(results)) for one in find_garbage(results, **options) for file in one.files)


def files_of(results):
    return {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}


def test_recent_files_and_files_in_use_are_kept(store):
    assert names(store.root) == []
    for path in store.root.rglob("*"):
        age(path)
    of = video_id(file_sha256(store.root.parent / "videos" / "begun.mp4"))
    found = names(store.root)
    assert f"observations/video_id={of}/observation_id=o1/segment-000000.parquet" in found
    assert len(found) == 2  # those of the two unfinished videos, not those of the finished or the failed one


def test_partial_files_and_tables_without_a_row_are_removed(store, folder):
    done = row(folder / "done.mp4", 1)
    part = store.root / "faces" / ".a1.parquet.1-abc.part"
    part.write_text("half")
    killed = store.root / "faces" / f"video_id={done['video_id']}" / "a9.parquet"
    killed.write_text("no row says that this is done")
    for path in (part, killed):
        age(path)
    before = files_of(store.root)
    garbage = find_garbage(store.root)
    assert before == files_of(store.root)
    remove_garbage(store.root, garbage)
    assert before - files_of(store.root) == {str(path.relative_to(store.root)) for path in (part, killed)}
    assert connect(store.root).sql("SELECT count(*) FROM faces").fetchall() == [(10,)]


def test_superseded_analyses_and_their_observations_are_removed_on_request(store, folder):
    path = folder / "done.mp4"
    store.write_segment(row(path, 2)["video_id"], "o2", 0, observe(PTS_S, []))
    store.commit_analysis(row(path, 2, "o2"), timeline())
    for file in store.root.rglob("*.parquet"):
        age(file)
    time.sleep(0.01)  # rows have the time at which they were written
    assert not [name for name in names(store.root) if "observation_id=o2" in name or "/a1." in name]
    found = find_garbage(store.root, superseded=True, older_than_s=0.0)
    remove_garbage(store.root, found)
    left = files_of(store.root)
    assert not [name for name in left if "/a1.parquet" in name and row(path, 1)["video_id"] in name]
    assert f"observations/video_id={row(path, 2)['video_id']}/observation_id=o2/segment-000000.parquet" in left
    assert f"observations/video_id={row(path, 1)['video_id']}/observation_id=o1/segment-000000.parquet" not in left
    assert connect(store.root, all_analyses=True).sql("SELECT count(*) FROM faces").fetchall() == [(10,)]


def test_a_failure_followed_by_success_is_removed_on_request(store, folder):
    (folder / "broken.mp4").write_text("mended")
    store.commit_analysis(row(folder / "broken.mp4", 1), timeline())
    what = [one.what for one in find_garbage(store.root, superseded=True, older_than_s=0.0)]
    assert what.count("superseded analysis or failure") == 1


def test_the_command_says_what_it_removes(store):
    part = store.root / "videos" / ".rows.arrow.1-abc.part"
    part.write_text("half")
    age(part)
    tried = fervid("gc", store.root, "--dry-run").output
    assert "1 file of 4 bytes would be removed" in tried
    # The observations of the two unfinished videos are a few seconds old, so they must be kept.
    assert re.search(r"kept: 2 files of [0-9,]+ bytes, changed less than 24h ago", tried)
    assert "superseded" not in tried
    assert part.exists()
    run = fervid("gc", store.root)
    assert f"temporary file: {part.relative_to(store.root)}" in run.output
    assert not part.exists()


def test_the_command_says_which_superseded_files_it_keeps_and_why(store, folder):
    path = folder / "done.mp4"
    store.commit_analysis(row(path, 2), timeline())
    for file in store.root.rglob("*.parquet"):
        age(file)
    run = fervid("gc", store.root)
    kept = find_kept(store.root, [], superseded=False).superseded
    # The row and the five tables of the first analysis, whose observations the second one uses.
    names = sorted(file.name for one in kept for file in one.files)
    assert names == ["a1.parquet"] * 6
    size = sum(one.size_bytes for one in kept)
    assert f"kept: 6 files of {size:,} bytes of superseded analyses; to remove them, add --superseded" in run.output
    assert "changed less than" not in run.output
