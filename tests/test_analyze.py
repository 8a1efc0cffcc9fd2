"""From files to tables: the analysis of one video, then the flow and the command with valid and invalid files."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import commands
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from clips import analyze_clip, context_of
from conftest import unreadable, write_clip
from PIL import Image

from analytics import connect
from analytics.results.ids import unread_video_id
from analytics.results.replaced_files import replaced_files_note
from analytics.results.status import status as status_of
from analytics.results.storage_paths import resolve_path
from analytics.results.store import Store
from analytics.results.video_record import VideoRecord
from analytics.results.videos import all_videos, path_text, stored_path
from dashboard.data.prefect_runs import flow_runs
from fer_models.video import VideoReadError, probe
from flows.analysis.analyze_video import analyze_video
from flows.analysis.failures import VideoFailed
from flows.analysis.inputs import InputError, find_files, is_wanted
from flows.analysis.outcomes import RunSummary, VideoOutcome
from flows.analysis.progress import Progress, Stopped, VideoProgress
from flows.analysis.replaced import record_replaced_files
from flows.analysis.run import Inputs, prepare_run
from flows.analysis.skipping import OTHER_SHOWN, range_notes
from flows.analysis.work_plan import plan_segments
from flows.settings import AnalyzeSettings, TimelineSettings

pytestmark = pytest.mark.slow

SETTINGS = AnalyzeSettings(device="cpu")
FERVID = Path(sys.executable).with_name("fervid")


def rows(results, sql):
    return connect(results).sql(sql).fetchall()


def analyze(path, results, progress=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return analyze_clip(path, results, settings, progress)


# --- which files -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, face_clip):
    for name in ("b.mp4", "a.MOV", "deep/c.mkv", ".hidden/d.mp4", "e.txt", "photo.jpg"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"x")
    return tmp_path / "videos"


def test_a_folder_gives_its_videos_and_images_in_order(folder):
    names = [path.relative_to(folder).as_posix() for path in find_files([folder]).videos]
    assert names == ["a.MOV", "b.mp4", "deep/c.mkv", "photo.jpg"]
    assert [p.name for p in find_files([folder], recursive=False).videos] == ["a.MOV", "b.mp4", "photo.jpg"]
    assert [p.name for p in find_files([folder], pattern="*.mp4").videos] == ["b.mp4"]


def test_hidden_files_of_the_working_directory_are_left_out(folder, monkeypatch):
    (folder / "._b.mp4").write_bytes(b"x")
    monkeypatch.chdir(folder)
    assert [path.name for path in find_files(["."]).videos] == ["a.MOV", "b.mp4", "c.mkv", "photo.jpg"]


def test_a_file_named_twice_or_without_a_suffix_is_taken_once(folder):
    paths = [folder / "b.mp4", folder, folder / "e.txt"]
    assert [p.name for p in find_files(paths).videos] == ["b.mp4", "a.MOV", "c.mkv", "photo.jpg", "e.txt"]


def test_different_spellings_of_a_path_have_one_id(folder, monkeypatch):
    monkeypatch.chdir(folder)
    paths = ["b.mp4", "./b.mp4", folder / "deep" / ".." / "b.mp4", folder / "." / "b.mp4", "deep/.."]
    assert [p.name for p in find_files(paths).videos] == ["b.mp4", "a.MOV", "c.mkv", "photo.jpg"]
    assert {path_text(Path(path)) for path in paths[:4]} == {str(folder / "b.mp4")}
    assert len({unread_video_id(Path(path)) for path in paths[:4]}) == 1
    # A symbolic link is not resolved, but `..` behind a link means the folder above its target.
    (folder.parent / "link").symlink_to(folder / "deep")
    assert path_text(folder.parent / "link" / "c.mkv") == str(folder.parent / "link" / "c.mkv")
    assert path_text(folder.parent / "link" / ".." / "b.mp4") == str(folder / "b.mp4")


def test_inputs_without_media_are_reported(folder, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        find_files([tmp_path / "missing.mp4"])
    with pytest.raises(InputError, match=r"matches --pattern \*\.webm"):
        find_files([folder], pattern="*.webm")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"looked for \.264"):
        find_files([tmp_path / "empty"])
    with pytest.raises(InputError, match="--recursive"):
        find_files([tmp_path], recursive=False)
    # Beside valid inputs, an unreadable one stays in the list, so that its failure is reported.
    assert tmp_path / "missing.mp4" in find_files([folder, tmp_path / "missing.mp4"]).videos


# --- one video ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def analyzed(face_clip, tmp_path_factory):
    results = tmp_path_factory.mktemp("results") / "out"
    return results, analyze(face_clip, results)


def test_every_frame_has_a_row_and_the_person_a_track(analyzed, face_clip):
    results, outcome = analyzed
    assert (outcome.status, outcome.n_frames, outcome.n_tracks) == ("done", 50, 1)
    assert rows(results, "SELECT count(*), min(status), max(status) FROM frames") == [(50, "ok", "ok")]
    assert rows(results, "SELECT emotion, start_s, n_faces FROM tracks") == [("happy", 0.0, 50)]
    ((path, status, n_frames, weights),) = rows(results, "SELECT path, status, n_frames, weights FROM videos")
    assert (path, status, n_frames) == (str(face_clip), "done", 50)
    assert all(len(sha256) == 64 for sha256 in json.loads(weights).values())


def test_probabilities_sum_to_one_and_boxes_lie_in_the_frame(analyzed):
    results, _ = analyzed
    names = " + ".join(f"p_{e}" for e in ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
    assert rows(results, f"SELECT count(*) FROM faces WHERE abs({names} - 1) > 1e-4") == [(0,)]
    assert rows(results, "SELECT count(*) FROM faces WHERE x1_px < 0 OR y1_px < 0 OR x2_px > 320 OR y2_px > 240") == [
        (0,)
    ]


def test_finished_videos_are_skipped_until_settings_or_content_change(face_clip, tmp_path):
    assert analyze(face_clip, tmp_path / "out").status == "done"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    assert analyze(face_clip, tmp_path / "out").status == "unchanged"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == before
    sparse = analyze(face_clip, tmp_path / "out", fps=5.0)
    assert (sparse.status, sparse.n_frames) == ("done", 10)
    assert set(before) < set((tmp_path / "out").rglob("*.parquet"))  # the old analysis stays beside the new
    assert rows(tmp_path / "out", "SELECT count(*) FROM frames") == [(10,)]
    assert analyze(face_clip, tmp_path / "out", overwrite=True).status == "done"


def test_going_back_to_earlier_settings_shows_their_rows_again(face_clip, tmp_path):
    for fps, n_frames, notes in ((5.0, 10, ()), (None, 50, ()), (None, 50, ()), (5.0, 10, (OTHER_SHOWN,))):
        assert analyze(face_clip, tmp_path / "out", fps=fps).notes == notes
        assert rows(tmp_path / "out", "SELECT count(*) FROM frames") == [(n_frames,)]


def test_an_analysis_of_other_times_says_what_it_hides(face_clip, tmp_path):
    """The clip lasts 2 s. Only times that are no longer shown are worth a note."""
    both = "fervid query --all-analyses shows both; to have one analysis of both, analyze"
    shows = "the results now show {:.2f} to {:.2f} s, in place of an earlier analysis of {:.2f} to {:.2f} s: " + both
    for start_s, end_s, notes in (
        (0.4, 0.8, ()),
        (0.8, 1.2, (shows.format(0.8, 1.2, 0.4, 0.8) + " with --start 0.4 --end 1.2",)),
        (None, 1.6, ()),
        (1.2, None, (shows.format(1.2, 2, 0, 1.6) + " without --start and --end",)),
        (None, None, ()),
        (0.4, 0.8, (OTHER_SHOWN, shows.format(0.4, 0.8, 0, 2) + " without --start and --end")),
    ):
        assert analyze(face_clip, tmp_path, start_s=start_s, end_s=end_s).notes == notes
        times = [(pytest.approx(start_s or 0, abs=0.05), pytest.approx((end_s or 2) - 0.04, abs=0.05))]
        assert rows(tmp_path, "SELECT min(pts_s), max(pts_s) FROM frames") == times


def test_the_range_of_both_analyses_is_advised_to_the_millisecond():
    """Six digits would leave out the first 22 ms."""
    settings = [{"start_s": 12345.678, "end_s": 20000.0}, {"start_s": 21000.0, "end_s": 30000.0404}]
    before, after = (
        VideoRecord(video_id="v", analysis_id="a", path="a.mp4", status="done", finished_at=datetime.now(UTC),
                    duration_s=40000.0, settings=json.dumps({"observe": observe}))
        for observe in settings
    )  # fmt: skip
    (note,) = range_notes(before, after)
    assert note.endswith("analyze with --start 12345.678 --end 30000.041")


@pytest.mark.parametrize("keep", [False, True])
def test_appearance_is_deleted_after_association_unless_it_is_kept(face_clip, tmp_path, keep):
    done = analyze(face_clip, tmp_path, keep_appearance=keep)
    kept = [pq.read_table(p, partitioning=None)["signature"] for p in tmp_path.glob("observations/*/*/segment*")]
    assert all(column.null_count == (0 if keep else len(column)) for column in kept) and kept
    faces = "SELECT track_id, joined_by_look FROM faces JOIN videos USING (video_id) ORDER BY pts_s"
    before = rows(tmp_path, faces)
    # Pass 2 runs again without decoding the video, and finds the same people.
    (tmp_path / f"videos/video_id={done.video_id}/{done.analysis_id}.parquet").unlink()
    assert analyze(face_clip, tmp_path).n_observed == 0
    assert rows(tmp_path, faces) == before
    assert set(before) == {(0, True)}


def faces_with_appearance(results):
    tables = (pq.read_table(path, partitioning=None) for path in results.glob("observations/*/*/segment*"))
    return sum(len(table) - table["signature"].null_count for table in tables)


def test_a_run_that_skips_a_video_deletes_its_appearance(face_clip, tmp_path):
    analyze(face_clip, tmp_path, keep_appearance=True)
    assert analyze(face_clip, tmp_path, keep_appearance=True).status == "unchanged"
    assert faces_with_appearance(tmp_path) > 0
    assert analyze(face_clip, tmp_path).status == "unchanged"
    assert faces_with_appearance(tmp_path) == 0


def test_appearance_of_an_overwriting_run_that_was_killed_is_deleted(face_clip, tmp_path):
    analyze(face_clip, tmp_path)

    def killed(*arguments, **options):
        raise Stopped

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("flows.analysis.analyze_video.build_stored_timeline", killed)
        analyze(face_clip, tmp_path, overwrite=True)
    assert faces_with_appearance(tmp_path) > 0
    assert analyze(face_clip, tmp_path).status == "unchanged"
    assert faces_with_appearance(tmp_path) == 0


def test_a_failed_run_keeps_no_appearance_so_the_next_observes_again(face_clip, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(VideoFailed, match="ZeroDivisionError"):
        patch.setattr("flows.analysis.analyze_video.build_stored_timeline", lambda *a, **k: 1 / 0)
        analyze(face_clip, tmp_path)
    assert list(tmp_path.glob("observations/*/*/segment*"))
    assert faces_with_appearance(tmp_path) == 0
    assert analyze(face_clip, tmp_path).n_observed == 50
    assert rows(tmp_path, "SELECT joined_by_look FROM videos") == [(True,)]


def test_a_transient_failure_keeps_what_the_next_run_resumes_from(face_clip, tmp_path, monkeypatch):
    def broken(*arguments, **options):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(VideoFailed, match="Input/output error"):
        patch.setattr("flows.analysis.analyze_video.build_stored_timeline", broken)
        analyze(face_clip, tmp_path)
    assert faces_with_appearance(tmp_path) > 0
    assert analyze(face_clip, tmp_path).n_observed == 0
    assert faces_with_appearance(tmp_path) == 0


def test_other_tracking_settings_observe_again_without_appearance(face_clip, tmp_path):
    analyze(face_clip, tmp_path)
    assert analyze(face_clip, tmp_path, timeline=TimelineSettings(gate=False)).n_observed == 0
    assert analyze(face_clip, tmp_path, timeline=TimelineSettings(max_gap_s=3.0)).n_observed == 50
    assert rows(tmp_path, "SELECT joined_by_look FROM videos") == [(True,)]
    assert len(list(tmp_path.glob("observations/*/*/identities*"))) == 2
    analyze(face_clip, tmp_path, overwrite=True)
    assert len(list(tmp_path.glob("observations/*/*/identities*"))) == 1


def test_a_file_that_moved_is_known_by_its_new_path(face_clip, tmp_path):
    old, new = tmp_path / "old.mp4", tmp_path / "new.mp4"
    shutil.copy(face_clip, old)
    analyze(old, tmp_path / "out")
    old.rename(new)
    assert analyze(new, tmp_path / "out").status == "unchanged"
    assert rows(tmp_path / "out", "SELECT path, status FROM videos") == [(str(new), "done")]


def test_a_failed_overwrite_leaves_the_good_analysis(face_clip, tmp_path, monkeypatch):
    analyze(face_clip, tmp_path / "out")

    def broken(*arguments, **options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("flows.analysis.analyze_video.observe_segments", broken)
    with pytest.raises(VideoFailed, match="Input/output error"):
        analyze(face_clip, tmp_path / "out", overwrite=True)
    ((status, error),) = rows(tmp_path / "out", "SELECT status, error FROM videos")
    assert (status, error) == ("done", "a later run failed: [Errno 5] Input/output error")
    assert rows(tmp_path / "out", "SELECT count(*) FROM frames") == [(50,)]


def test_an_error_in_the_code_fails_the_video_with_its_name(face_clip, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.analysis.analyze_video.build_stored_timeline", lambda *a, **k: 1 / 0)
    with pytest.raises(VideoFailed, match="ZeroDivisionError"):
        analyze(face_clip, tmp_path / "out")
    ((error,),) = rows(tmp_path / "out", "SELECT error FROM videos")
    assert error == "ZeroDivisionError: division by zero"


def test_a_stopped_run_is_resumed(face_clip, tmp_path):
    whole = analyze(face_clip, tmp_path / "whole", segment_s=0.5)
    progress, seen = Progress(), []
    progress.listen(lambda event: seen.append(event) or (len(seen) == 3 and progress.stop_requested.set()))
    with pytest.raises(Stopped):
        analyze(face_clip, tmp_path / "cut", progress, segment_s=0.5)
    assert list((tmp_path / "cut" / "observations").rglob("*.parquet"))
    assert rows(tmp_path / "cut", "SELECT count(*) FROM videos") == [(0,)]
    events = []
    progress = Progress()
    progress.listen(events.append)
    analyze(face_clip, tmp_path / "cut", progress, segment_s=0.5)
    assert events[0].done_frames > 0
    assert events[-1] == VideoProgress(face_clip, 50, 50)
    for table in ("frames", "faces", "tracks", "episodes"):
        tables = [pq.read_table(next((tmp_path / run / table).rglob("*.parquet"))) for run in ("whole", "cut")]
        assert tables[0].equals(tables[1]), table
    assert whole.n_frames == 50


def test_a_photograph_is_a_video_of_one_frame(tmp_path):
    data = pytest.importorskip("skimage.data")
    Image.fromarray(data.astronaut()).save(tmp_path / "collins.png")
    outcome = analyze(tmp_path / "collins.png", tmp_path / "out")
    assert (outcome.n_frames, outcome.decoder) == (1, "image")
    assert ("happy",) in rows(tmp_path / "out", "SELECT emotion FROM faces")


def test_part_of_a_video(face_clip, tmp_path):
    analyze(face_clip, tmp_path / "out", start_s=0.5, end_s=1.0)
    ((n, first, last),) = rows(tmp_path / "out", "SELECT count(*), min(pts_s), max(pts_s) FROM frames")
    assert (n, round(first, 2), round(last, 2)) == (12, 0.52, 0.96)
    with pytest.raises(VideoFailed, match=r"collins\.mp4: no frame in the range --start 7.* 0\.00 to 1\.96 s"):
        analyze(face_clip, tmp_path / "out", start_s=7.0)


def test_no_face_is_data(empty_clip, tmp_path):
    outcome = analyze(empty_clip, tmp_path / "out")
    assert (outcome.n_frames, outcome.n_faces, outcome.n_tracks) == (12, 0, 0)
    assert rows(tmp_path / "out", "SELECT DISTINCT status, n_faces FROM frames") == [("no_face", 0)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"Dear diary, today I pretended to be a video.\n" * 50, "not a video"),
        ("missing.mp4", None, "No such file"),
    ],
)
def test_a_bad_file_fails_with_its_reason_in_videos(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VideoFailed, match=says):
        analyze(path, tmp_path / "out")
    ((stored_path, status, error),) = rows(tmp_path / "out", "SELECT path, status, error FROM videos")
    assert (stored_path, status) == (str(path), "failed")
    assert says in error


def test_a_truncated_file_fails_unless_its_readable_part_is_requested(tmp_path, face_clip):
    whole = tmp_path / "whole.mkv"
    write_clip(whole, (np.full((120, 160, 3), i, np.uint8) for i in range(100)))
    path = tmp_path / "short.mkv"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(VideoFailed, match=r"short\.mkv: the file .* of 4\.0 s.*: copy it again, or use --end \d"):
        analyze(path, tmp_path / "out")
    assert analyze(path, tmp_path / "out", end_s=1.0).n_frames == 25


def test_the_suggested_end_of_a_truncated_file_is_accepted(face_clip):
    info = dataclasses.replace(probe(face_clip), truncation="the file ends after 2.0 of 4.0 s")
    with pytest.raises(VideoReadError, match=r"copy it again, or use --end 1\.9 to"):  # the last frame begins at 1.96 s
        plan_segments(info, SETTINGS)
    (segment,) = plan_segments(info, SETTINGS.model_copy(update={"end_s": 1.9}))
    assert segment.tolist() == list(range(48))
    with pytest.raises(VideoReadError, match=r"copy it again$"):  # no range of tenths of a second is readable
        plan_segments(dataclasses.replace(info, pts_s=np.array([0.0, 0.04])), SETTINGS)


def test_audio_without_video_is_reported(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoFailed, match="no video"):
        analyze(path, tmp_path / "out")


def test_a_failure_disappears_when_the_file_is_repaired(tmp_path, face_clip):
    path = tmp_path / "clip.mp4"
    path.write_bytes(face_clip.read_bytes()[:2000])
    with pytest.raises(VideoFailed):
        analyze(path, tmp_path / "out")
    shutil.copy(face_clip, path)
    analyze(path, tmp_path / "out")
    assert rows(tmp_path / "out", "SELECT status FROM videos") == [("done",)]


def test_runs_with_the_same_context_know_the_earlier_ones(empty_clip, tmp_path):
    """As in `fervid watch`."""
    context = context_of(tmp_path / "out", SETTINGS)
    (tmp_path / "videos").mkdir()
    file = tmp_path / "videos" / "camera.mp4"

    def run(content: bytes, path: Path = file) -> VideoOutcome:
        path.write_bytes(content)
        (video,) = prepare_run(Inputs([path]), context).videos
        outcome = analyze_video(video, context)
        record_replaced_files(RunSummary(context.out, [outcome], [], 1.0), context)
        return outcome

    first = run(empty_clip.read_bytes())
    second = run(empty_clip.read_bytes() + b"\0" * 8)
    assert run(empty_clip.read_bytes()).video_id == first.video_id
    with connect(context.out) as connection:
        note = replaced_files_note(context.out, all_videos(connection))
    assert note is not None and note.endswith(f"out --video {second.video_id}")
    broken = file.with_name("broken.mp4")
    with pytest.raises(VideoFailed):
        run(b"not a video", broken)
    assert ("broken.mp4", "failed") in states(context.out, tmp_path / "videos")
    assert run(empty_clip.read_bytes(), broken).same_as == str(file)
    assert {state for _, state in states(context.out, tmp_path / "videos")} == {"done"}


def test_a_file_replaced_after_the_clock_was_set_back_has_the_newest_row_of_its_path(empty_clip, tmp_path):
    results, file, now = tmp_path / "out", tmp_path / "camera.mp4", datetime.now(UTC)
    earlier = {"video_id": "v0000000000000001", "analysis_id": "a0000000000000001", "path": str(file)}
    Store(results).commit_failure(earlier, "damaged", after=now + timedelta(hours=1))
    shutil.copy(empty_clip, file)
    done = Store(results).shown_analysis(analyze(file, results).video_id)
    assert done is not None and done.finished_at > now + timedelta(hours=1)
    file.write_bytes(b"not a video")
    with pytest.raises(VideoFailed):
        analyze(file, results)
    ((failed_at,),) = rows(results, "SELECT finished_at FROM videos WHERE status = 'failed'")
    assert failed_at > done.finished_at


@pytest.mark.parametrize("command", ["analyze", "live", "plot"])
def test_a_missing_model_is_reported_before_anything_is_created(face_clip, tmp_path, command):
    source, out = "-" if command == "live" else face_clip, tmp_path / "out"
    for name, value, message in (
        ("FERVID_MODEL", "nobody", "error nobody: no such model. Known: default"),
        ("FERVID_DETECTOR", "retinaface", "error retinaface: its weights are not installed"),
    ):
        run = commands.fervid(command, source, "--out", out, env={name: value})
        assert (run.exit_code, message in run.stderr, out.exists()) == (1, True, False)
        assert "to process" not in run.stderr


# --- the flow, through the command, on a real Prefect server -------------------------------------------------------


def fervid(*arguments, **environment):
    """Run the command in a separate process."""
    return subprocess.run(
        [FERVID, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "FERVID_DEVICE": "cpu", **environment},
        timeout=900,
    )


def command(*arguments, **environment):
    """Run the command in this process, which has already imported torch."""
    return commands.fervid(*arguments, env={"FERVID_DEVICE": "cpu", **environment})


def states(results, folder):
    """The name and state of each video in the results, and of each file in a folder that is not in them."""
    return [(Path(video.path).name, video.state) for video in status_of(results, find_files([folder]).videos)]


def ask_server(url, path, **filters):
    request = urllib.request.Request(
        f"{url}/{path}", json.dumps(filters).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory, face_clip, empty_clip):
    folder = tmp_path_factory.mktemp("mixed") / "my videos"
    folder.mkdir()
    shutil.copy(face_clip, folder / "collins.mp4")
    shutil.copy(empty_clip, folder / "gray [red].mp4")
    (folder / "text.mp4").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def first_run(mixed_folder, server, tmp_path_factory):
    results = tmp_path_factory.mktemp("run") / "results"
    return results, fervid("analyze", mixed_folder, "--out", results, PREFECT_API_URL=server)


def test_the_others_finish_and_the_exit_code_says_that_some_failed(first_run):
    results, run = first_run
    assert run.returncode == 3, run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert "text.mp4: not a video" in run.stderr
    assert "happy 100 %" in run.stdout
    assert "gray [red].mp4" in run.stdout
    assert run.stderr.count("text.mp4") == 1
    found = rows(results, "SELECT parse_filename(path), status FROM videos ORDER BY path")
    assert found == [("collins.mp4", "done"), ("gray [red].mp4", "done"), ("text.mp4", "failed")]


def test_prefect_shows_the_run_its_tasks_and_its_summary(first_run, server):
    (flow_run,) = ask_server(
        server, "flow_runs/filter", flows={"name": {"any_": ["analyze"]}}, limit=1, sort="START_TIME_DESC"
    )
    assert flow_run["name"] == "my videos into results"
    assert flow_run["state_type"] == "FAILED"
    here = {"flow_runs": {"id": {"any_": [flow_run["id"]]}}}
    tasks = {task["name"]: task["state_type"] for task in ask_server(server, "task_runs/filter", **here)}
    assert tasks == {
        "analyze collins.mp4": "COMPLETED",
        "analyze gray [red].mp4": "COMPLETED",
        "analyze text.mp4": "FAILED",
    }
    artifacts = {a["key"]: a["data"] for a in ask_server(server, "artifacts/filter", **here)}
    assert "videos analyzed: 2, unchanged: 0, failed: 1" in artifacts["analyze-summary"]
    assert "text.mp4: not a video" in artifacts["analyze-summary"]
    assert len(json.loads(artifacts["analyze-videos"])) == 3


def test_the_dashboard_lists_the_runs_of_its_results(first_run, server, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", server)
    results, _ = first_run
    runs = flow_runs(results)
    assert runs[-1]["name"] == "my videos into results"
    assert "text.mp4: not a video" in runs[-1]["message"]
    assert flow_runs(results.parent / "others" / "results") == []


def test_a_second_run_analyzes_only_pending_videos(first_run, mixed_folder, server, face_clip):
    results, _ = first_run
    shutil.copy(mixed_folder / "gray [red].mp4", mixed_folder / "text.mp4")
    with (mixed_folder / "new.mp4").open("wb") as file:
        file.write(face_clip.read_bytes() + b"\0" * 8)  # the content of the file differs, but not its frames
    run = command("analyze", mixed_folder, "--out", results, "--json", PREFECT_API_URL=server)
    assert run.exit_code == 0, run.stderr
    summary = json.loads(run.stdout)
    assert summary["seconds"] > sum(video["seconds"] for video in summary["videos"]) > 0
    status = {Path(video["path"]).name: video["status"] for video in summary["videos"]}
    assert status == dict.fromkeys(["collins.mp4", "gray [red].mp4", "text.mp4"], "unchanged") | {"new.mp4": "done"}
    # The failed file is a copy of an analyzed one now.
    assert states(results, mixed_folder) == [("collins.mp4", "done"), ("gray [red].mp4", "done"), ("new.mp4", "done")]
    shutil.copy(mixed_folder / "gray [red].mp4", mixed_folder / "new.mp4")
    assert ("new.mp4", "pending") in states(results, mixed_folder)
    for _ in range(2):
        run = command("analyze", mixed_folder, "--out", results, PREFECT_API_URL=server)
        assert "0 analyzed, 4 unchanged, 0 failed" in run.stdout
        assert "new.mp4: replaced after the analysis" in run.stdout
    assert [state for _, state in states(results, mixed_folder)] == ["done"] * 3


def test_ctrl_c_stops_after_the_current_batch_and_the_next_run_resumes(face_clip, tmp_path, server):
    # Copies with different contents, enough of them to stop the run while it works.
    n_videos = 12
    (tmp_path / "videos").mkdir()
    for i in range(n_videos):
        (tmp_path / "videos" / f"{i:02d}.mp4").write_bytes(face_clip.read_bytes() + bytes([i] * 8))
    arguments = ["analyze", tmp_path / "videos", "--out", tmp_path / "out"]
    environment = {**os.environ, "PREFECT_API_URL": server, "FERVID_DEVICE": "cpu"}
    run = subprocess.Popen(
        [FERVID, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    while not list((tmp_path / "out" / "videos").glob("*/*.parquet")) and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=900)
    assert run.returncode == 130, output
    assert "run the same command again to resume" in output
    assert "Traceback" not in output
    ((n_done,),) = rows(tmp_path / "out", "SELECT count(*) FROM videos")
    assert 0 < n_done < n_videos
    again = command(*arguments, "--json", PREFECT_API_URL=server)
    assert again.exit_code == 0, again.stderr
    unchanged = [v for v in json.loads(again.stdout)["videos"] if v["status"] == "unchanged"]
    assert len(unchanged) == n_done


def test_a_broken_file_whose_name_is_not_utf_8_is_reported_and_can_be_retried(tmp_path, server):
    file, results = tmp_path / os.fsdecode(b"bad\xe9.mp4"), tmp_path / "results"
    file.write_bytes(b"not a video")
    for arguments in (["analyze", file, "--out", results], ["retry", results]):
        run = command(*arguments, PREFECT_API_URL=server)
        assert (run.exit_code, r"bad\xe9.mp4: not a video" in run.stderr) == (3, True), run.output
        (video,) = status_of(results)
        assert (video.path, video.state) == (path_text(file), "failed")
        assert video.reason.startswith("not a video")
        assert video.suggested_action.startswith("repair or replace the file")
    names = [run["name"] for run in ask_server(server, "task_runs/filter") if "xe9" in run["name"]]
    assert names == [r"analyze bad\xe9.mp4"] * 2


def test_the_file_at_a_stored_path_is_found(tmp_path):
    with_byte, with_characters = tmp_path / os.fsdecode(b"caf\xe9.mp4"), tmp_path / r"caf\xe9.mp4"
    with_byte.touch()
    assert path_text(with_byte) == path_text(with_characters) == str(with_characters)
    assert stored_path(path_text(with_byte)) == with_byte
    with_characters.touch()
    assert stored_path(path_text(with_byte)) == with_characters
    assert stored_path("/missing/caf\\xe9.mp4") == Path("/missing/caf\\xe9.mp4")


def test_without_a_server_a_good_run_is_quiet(face_clip, tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    run = subprocess.run(
        [FERVID, "analyze", face_clip, "--out", tmp_path / "out", "--device", "cpu"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=900,
    )
    assert run.returncode == 0, run.stderr
    out = tmp_path / "out"
    assert run.stderr.splitlines() == [f"1 file to process, results in {out}", f"done {face_clip}"]


def test_the_flow_can_be_called_from_python(face_clip, tmp_path, server):
    code = (
        "import sys\n"
        "from flows import analyze\n"
        "import flows.analysis.flow\n"
        "from flows import analyze as again\n"
        "assert analyze is again\n"
        "summary = analyze(sys.argv[1:2], out=sys.argv[2])\n"
        "print([(o.status, o.n_frames) for o in summary.outcomes])\n"
        "print([o.status for o in analyze(sys.argv[3:], out=sys.argv[2]).outcomes])\n"
    )
    copy, results = tmp_path / "copy.mp4", tmp_path / "out"
    shutil.copy(face_clip, copy)
    Store(results).commit_failure({"video_id": "v1", "analysis_id": "a1", "path": str(copy)}, "not a video")
    run = subprocess.run(
        [sys.executable, "-c", code, str(face_clip), str(results), str(copy)],
        capture_output=True,
        text=True,
        env={**os.environ, "PREFECT_API_URL": server, "FERVID_DEVICE": "cpu"},
    )
    assert run.stdout == "[('done', 50)]\n['unchanged']\n", run.stderr
    assert rows(results, "SELECT path, status FROM videos") == [(str(face_clip), "done")]


def test_a_server_that_does_not_answer_is_reported(face_clip, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.prefect.server.ANSWER_TIMEOUT_S", 0.1)
    run = command("analyze", face_clip, "--out", tmp_path / "out", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert run.exit_code == 1
    assert run.stderr.splitlines()[-1].startswith("error http://127.0.0.1:9/api: no Prefect server answers")


@pytest.mark.parametrize(
    "start",
    [
        "from flows.analysis.flow_process import FlowProcess; process = FlowProcess()",
        "from flows.prefect.server import prefect_server; server = prefect_server(); server.__enter__()",
    ],
    ids=["flow and server", "server"],
)
def test_a_killed_run_leaves_no_process_behind(start):
    code = f"import time; {start}; print('started', flush=True); time.sleep(600)"
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert run.stdout.readline() == "started\n"
    children = psutil.Process(run.pid).children()
    assert children
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(children, timeout=300)
    assert not alive


def test_a_folder_with_other_files_is_not_written_to(face_clip, tmp_path, server):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    run = command("analyze", face_clip, "--out", tmp_path / "thesis", PREFECT_API_URL=server)
    assert run.exit_code == 1
    assert "neither empty nor a results folder" in run.stderr
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter1.txt"]


def test_a_full_disk_ends_the_run_in_one_line(face_clip, tmp_path, server):
    if not Path("/dev/shm").is_dir() or os.geteuid() != 0:
        pytest.skip("a small file system can only be mounted by root on Linux")
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        run = command("analyze", face_clip, "--out", mount / "out", PREFECT_API_URL=server)
    finally:
        subprocess.run(["umount", mount], check=True)
    assert run.exit_code == 1
    assert "the disk is full: free some space and run again" in run.stderr
    assert "Traceback" not in run.stderr


def test_no_image_is_stored(analyzed):
    results, _ = analyzed
    suffixes = {path.suffix for path in results.rglob("*") if path.is_file()}
    assert suffixes == {".parquet", ".json"}
    sizes = {name: np.prod([1, *shape]) for name, shape in _list_shapes(results).items()}
    # Five landmarks, 70 more (NULL without --keep-landmarks), the mean colors of a 4x4 grid over the frame, those of
    # the appearance data (NULL by now), and a checksum and a size for each of five tables; a crop would be a list of
    # thousands.
    lists = {"landmarks_px": 10, "points_px": 140, "look": 48, "signature": 60, "table_crc32": 5, "table_bytes": 5}
    assert {name: size for name, size in sizes.items() if size > 1} == lists


def _list_shapes(results):
    """The length of list columns in every file."""
    shapes = {}
    for path in results.rglob("*.parquet"):
        for field in pq.read_schema(path):
            shapes[field.name] = (getattr(field.type, "list_size", 1),)
            assert not str(field.type).startswith(("binary", "large_binary"))
    return shapes


# --- what is skipped, and ranges -----------------------------------------------------------------------------------


def test_skipped_files_are_named_and_counted(folder):
    (folder / "clip.mp4v2").write_bytes(b"\x00\x00\x00\x20ftypisom")
    (folder / "noise.bin").write_bytes(b"nothing")
    (folder / "._b.mp4").write_bytes(b"x")
    (folder / "zero.mp4").symlink_to("/dev/zero")
    found = find_files([folder])
    assert [path.name for path in found.videos] == ["a.MOV", "b.mp4", "c.mkv", "photo.jpg"]
    reasons = {file.path.name: file.reason for file in found.skipped}
    assert reasons == {
        "clip.mp4v2": "media with an unknown suffix: name the file itself, or rename it",
        "._b.mp4": "hidden",
        "d.mp4": "hidden",
        "zero.mp4": "a device, not a regular file",
    }
    lines = found.skipped_lines()
    others = f"{folder / 'e.txt'}, {folder / 'noise.bin'}"
    assert lines[-1] == f"2 other files skipped (neither video nor image): {others}"
    assert any(line.startswith("2 files skipped (hidden): ") for line in lines)
    # A file that is named explicitly is analyzed, whatever its suffix.
    named = find_files([folder, folder / "clip.mp4v2"])
    assert folder / "clip.mp4v2" in named.videos
    assert "clip.mp4v2" not in {file.path.name for file in named.skipped}


def test_links_to_folders_are_named_unless_they_are_inputs(folder):
    (folder.parent / "real").mkdir()
    (folder.parent / "real" / "far.mp4").write_bytes(b"x")
    (folder / "link").symlink_to(folder.parent / "real")
    (folder / ".link").symlink_to(folder.parent / "real")
    found = find_files([folder], pattern="*.mp4")
    assert [path.name for path in found.videos] == ["b.mp4"]
    reason = "a link to a folder: name it as an input"
    assert f"1 file skipped ({reason}): {folder / 'link'}" in found.skipped_lines()
    for inputs in ([folder, folder / "link"], [folder / "link", folder]):
        found = find_files(inputs)
        assert folder / "link" / "far.mp4" in found.videos
        assert reason not in {file.reason for file in found.skipped}
    assert reason not in {file.reason for file in find_files([folder], recursive=False).skipped}


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of folders are others there")
def test_skipped_folders_that_cannot_be_read_are_named(folder, monkeypatch):
    monkeypatch.chdir(folder)  # another user may not read the folders above it
    with unreadable("deep", ".hidden"):
        found = find_files(["."])
        with pytest.raises(InputError) as within:
            find_files(["."], pattern="*.mkv")
        with pytest.raises(InputError) as alone:
            find_files(["deep"])
        with_others = find_files(["deep", "b.mp4"])
        with pytest.raises(VideoReadError, match="Permission denied"):
            probe(Path("deep"))
    reason = "a folder that cannot be read: Permission denied"
    assert [path.name for path in found.videos] == ["a.MOV", "b.mp4", "photo.jpg"]
    assert found.skipped_json() == [{"path": "deep", "reason": reason}]
    assert str(within.value) == (
        f".: no video or image in this folder matches --pattern *.mkv: 1 file skipped ({reason}): deep"
    )
    assert str(alone.value) == f"deep: {reason}"
    assert with_others.videos == [Path("deep"), Path("b.mp4")]  # the run reports the folder as failed


@pytest.mark.parametrize("root", ["disk", "memory://videos_with_results"])
def test_media_in_results_are_skipped(tmp_path, root):
    folder = tmp_path / "videos" if root == "disk" else resolve_path(root)
    names = (
        "a.mp4",
        "out/fervid.json",
        "out/previews/video_id=v1/preview.mp4",
        "out/figure.png",
        "out/faces/a.parquet",
    )
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    found = find_files([folder])
    assert found.videos == [folder / "a.mp4"]
    assert {(file.path.name, file.reason) for file in found.skipped} == {
        ("figure.png", "in a results folder"),
        ("preview.mp4", "in a results folder"),
    }
    with pytest.raises(InputError, match=r"2 files skipped \(in a results folder\)"):
        find_files([folder / "out"])
    assert not is_wanted(folder / "out" / "figure.png", folder, "*")
    assert is_wanted(folder / "a.mp4", folder, "*")


@pytest.mark.parametrize("suffix", [".mxf", ".3g2", ".qt", ".f4v", ".insv", ".heic", ".avif", ".jfif", ".MTS", ".m2ts"])
def test_media_of_rarer_suffixes_are_found(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    assert find_files([tmp_path]).videos == [tmp_path / f"a{suffix}"]


def test_a_range_between_two_frames_is_named(tmp_path):
    slides = [Image.new("L", (64, 48), 40 * i) for i in range(6)]
    slides[0].save(tmp_path / "slides.gif", save_all=True, append_images=slides[1:], duration=10_000)
    settings = SETTINGS.model_copy(update={"start_s": 12.0, "end_s": 18.0})
    with pytest.raises(VideoReadError) as caught:
        plan_segments(probe(tmp_path / "slides.gif"), settings)
    frames = "the frames around it begin at 10.00 and 20.00 s: choose another range to analyze it"
    assert caught.value.reason == f"no frame in the range --start 12 --end 18: {frames}"


def test_a_range_is_ignored_for_an_image_and_named_for_a_video(tmp_path, face_clip):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    settings = SETTINGS.model_copy(update={"start_s": 10.0, "end_s": 20.0})
    (only,) = plan_segments(probe(tmp_path / "a.png"), settings)
    assert only.tolist() == [0]
    with pytest.raises(VideoReadError) as caught:
        plan_segments(probe(face_clip), settings)
    frames = "its frames are from 0.00 to 1.96 s: choose another range to analyze it"
    assert caught.value.reason == f"no frame in the range --start 10 --end 20: {frames}"


def test_a_range_without_a_sampled_frame_says_so(face_clip):
    """At 0.5 frames/s, only the frame at 0 s is sampled; 12 of 25 frames/s lie between 0.5 and 1 s."""
    settings = SETTINGS.model_copy(update={"fps": 0.5, "start_s": 0.5, "end_s": 1.0})
    with pytest.raises(VideoReadError, match=r"none of its 12 frames is sampled with --fps 0\.5: choose another range"):
        plan_segments(probe(face_clip), settings)


def test_a_video_of_which_no_frame_decodes_has_failed(tmp_path):
    with av.open(str(tmp_path / "a.nut"), "w") as file:
        stream = file.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr4"  # swscale does not read it
        for i in range(3):
            frame = av.VideoFrame(64, 48, "bgr4")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(stream.encode(frame))
    with pytest.raises(VideoFailed, match=r"a\.nut: none of its 3 selected frames can be decoded: copy or convert"):
        analyze_clip(tmp_path / "a.nut", tmp_path / "results", AnalyzeSettings(device="cpu"))
    with connect(tmp_path / "results") as connection:
        assert connection.sql("SELECT status FROM videos").fetchall() == [("failed",)]
