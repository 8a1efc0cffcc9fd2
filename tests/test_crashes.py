"""Failures from outside: kill -9 at any moment, full disks, files that change, clocks, and simultaneous runs."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import av
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clips import analyze_clip
from comparison import assert_same, files, rows
from conftest import write_clip

from analytics import connect
from analytics.results.ids import file_sha256, video_id
from analytics.results.purge import PurgeError, plan_purge
from analytics.results.shards import row_crc32
from analytics.results.status import status
from analytics.results.store import StoreError
from analytics.results.table_files import table_path
from analytics.tables.schema import TIMELINE_TABLES
from flows.analysis.failures import VideoFailed
from flows.analysis.progress import Progress, VideoProgress
from flows.settings import AnalyzeSettings

pytestmark = pytest.mark.slow

FERVID = Path(sys.executable).with_name("fervid")
SEGMENT_S = 0.4  # ten frames
SEGMENT_FRAMES = 10
SETTINGS = {"device": "cpu", "segment_s": SEGMENT_S}
ONE_CORE = {"OMP_NUM_THREADS": "1", "FERVID_DEVICE": "cpu", "FERVID_SEGMENT_S": str(SEGMENT_S)}


def analyze(path, results, progress=None, **changes):
    return analyze_clip(path, results, AnalyzeSettings(**SETTINGS | changes), progress)


def on_progress(number, act):
    """A progress object that calls `act` at its `number`th event."""
    progress, counted = Progress(), itertools.count(1)
    progress.listen(lambda event: isinstance(event, VideoProgress) and next(counted) == number and act())
    return progress


# --- kill -9 -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def face_clip(face_clip, tmp_path_factory):
    """The first three segments of the clip: runs are killed and repeated many times."""
    with av.open(str(face_clip)) as container:
        views = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return write_clip(tmp_path_factory.mktemp("clips") / "short.mp4", views[: 3 * SEGMENT_FRAMES])


class Forks:
    """Runs analyses in processes that can be killed, see forks.py."""

    def __init__(self, videos):
        self.videos = [str(path) for path in videos]
        command = [sys.executable, Path(__file__).with_name("forks.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_CORE}
        )

    def run(self, out, kill=None, runs=1):
        job = {"videos": self.videos, "out": str(out), "settings": SETTINGS, "runs": runs, "kill": kill}
        print(json.dumps(job), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


def n_seen(run):
    """The number of frames that a run analyzed."""
    done = {}
    for message in run["messages"]:
        if "done" in message:
            first, _ = done.get(message["path"], (message["done"], 0))
            done[message["path"]] = first, message["done"]
    return sum(last - first for first, last in done.values())


@pytest.fixture(scope="module")
def forks(face_clip, empty_clip):
    forks = Forks([face_clip, empty_clip])
    yield forks
    forks.process.stdin.close()
    assert forks.process.wait(timeout=300) == 0


@pytest.fixture(scope="module")
def whole(forks, tmp_path_factory):
    """An uninterrupted run: its results, and the number of events of each kind at which a run can be killed."""
    out = tmp_path_factory.mktemp("whole") / "out"
    (run,) = forks.run(out)
    assert [message["outcome"] for message in run["messages"] if "outcome" in message] == ["done", "done"]
    counts = Counter(
        message.get("event", "frames") for message in run["messages"] if "event" in message or "done" in message
    )
    return out, run, counts


def moments():
    """Twenty moments to kill a run: kind of event, its position among events of this kind (0 to 1), delay in s."""
    chance = random.Random(7)
    kinds = [("frames", 0.02)] * 6 + [("mkdir", 0.003)] * 5 + [("rename", 0.0)] * 5 + [("remove", 0.001)] * 4
    spread = Counter()
    for kind, delay_s in kinds:
        n = sum(other == kind for other, _ in kinds)
        yield kind, (spread[kind] + chance.random()) / n, chance.random() * delay_s
        spread[kind] += 1


@pytest.mark.parametrize(("kind", "place", "delay_s"), list(moments()))
def test_a_killed_run_loses_at_most_a_segment_and_repeats_no_row(forks, whole, tmp_path, kind, place, delay_s):
    expected, whole_run, counts = whole
    out = tmp_path / "out"
    number = 1 + int(place * counts[kind])
    (run,) = forks.run(out, {kind: number, "delay_s": delay_s})
    assert run["killed"] or delay_s  # with a delay, the run may have finished before

    # A reader sees complete files of finished analyses, or nothing.
    assert files(out) <= files(expected)
    if (out / "fervid.json").exists():
        con = connect(out)
        done = {video for (video,) in con.sql("SELECT video_id FROM videos").fetchall()}
        for table in TIMELINE_TABLES:
            assert {video for (video,) in con.sql(f"SELECT DISTINCT video_id FROM {table}").fetchall()} <= done
        for file in files(out):
            if not file.startswith("observations"):
                assert rows(out, file).equals(rows(expected, file))

    segments = [file for file in files(out) if "segment-" in file]
    kept = sum(len(set(pq.read_table(out / file, partitioning=None)["frame_index"].to_pylist())) for file in segments)
    assert 0 <= n_seen(run) - kept <= SEGMENT_FRAMES

    (again,) = forks.run(out)
    assert not again["killed"]
    assert n_seen(again) == n_seen(whole_run) - kept
    assert_same(out, expected)


def test_two_runs_into_the_same_results_both_succeed(forks, whole, tmp_path):
    expected, _, _ = whole
    runs = forks.run(tmp_path / "out", runs=2)
    for run in runs:
        assert [message["outcome"] for message in run["messages"] if "outcome" in message] in (
            ["done", "done"],
            ["done", "unchanged"],
            ["unchanged", "done"],
            ["unchanged", "unchanged"],
        )
    assert_same(tmp_path / "out", expected)


def test_a_command_killed_with_all_its_processes_resumes(face_clip, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for i in range(2):
        (videos / f"{i}.mp4").write_bytes(face_clip.read_bytes() + bytes([i] * 8))  # different contents
    command = [FERVID, "analyze", videos, "--out", tmp_path / "out"]
    environment = {**os.environ, **ONE_CORE}
    environment.pop("PREFECT_API_URL", None)
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    while run.poll() is None and len([f for f in files(tmp_path / "out") if "segment-" in f]) < 2:
        time.sleep(0.01)
    everyone = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    assert len(everyone) > 1  # the process of the flow and Prefect's temporary server
    for process in everyone:
        process.kill()
    assert run.wait(timeout=300) == -signal.SIGKILL
    psutil.wait_procs(everyone, timeout=300)
    kept = len([file for file in files(tmp_path / "out") if "segment-" in file])
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, env=environment, timeout=900)
    assert again.returncode == 0, again.stderr
    observed = sum(video["n_observed"] for video in json.loads(again.stdout)["videos"])
    assert observed == (6 - kept) * SEGMENT_FRAMES
    for path in sorted(videos.iterdir()):
        analyze(path, tmp_path / "expected")
    assert_same(tmp_path / "out", tmp_path / "expected")


# --- disks -------------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A file system of one megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root on Linux")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_becomes_full_loses_nothing(whole, face_clip, empty_clip, disk):
    expected, _, _ = whole
    ballast = disk / "ballast"

    def fill_up():
        with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(bytes(4096))

    with pytest.raises(StoreError, match="the disk is full: free some space and run again"):
        analyze(face_clip, disk / "out", on_progress(3, fill_up))
    assert len(files(disk / "out")) == 1  # only one segment was written
    assert connect(disk / "out").sql("SELECT count(*) FROM videos").fetchall() == [(0,)]
    ballast.unlink()
    assert analyze(face_clip, disk / "out").n_observed == 20
    analyze(empty_clip, disk / "out")
    assert_same(disk / "out", expected)


def test_results_that_become_read_only_lose_nothing(whole, face_clip, empty_clip, disk):
    expected, _, _ = whole

    def make_read_only():  # through another mount, because the run keeps a file open in this one
        subprocess.run(["mount", "--bind", disk, disk], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)

    with pytest.raises(StoreError, match=r"cannot be written to \(Read-only file system\)"):
        analyze(face_clip, disk / "out", on_progress(3, make_read_only))
    assert connect(disk / "out").sql("SELECT count(*) FROM videos").fetchall() == [(0,)]
    subprocess.run(["umount", disk], check=True)
    assert analyze(face_clip, disk / "out").n_observed == 20
    analyze(empty_clip, disk / "out")
    assert_same(disk / "out", expected)


# --- other commands ---------------------------------------------------------------------------------------------


def test_a_run_is_running_until_it_ends_however_long_a_segment_takes(face_clip, tmp_path):
    """Also before its first segment is written."""
    out, video, found = tmp_path / "out", video_id(file_sha256(face_clip)), []

    def look():
        for segment in out.rglob("segment-*.parquet"):
            os.utime(segment, (0, 0))
        found.append([(one.path, one.state, one.reason) for one in status(out, [face_clip])])
        if list(out.rglob("segment-*.parquet")):
            with pytest.raises(PurgeError, match="an analysis or live session is running"):
                plan_purge(out, wanted=[video])

    progress = on_progress(1, look)
    later = itertools.count(1)
    progress.listen(lambda event: next(later) == 3 and look())
    analyze(face_clip, out, progress)
    assert found == [[(str(face_clip), "running", f"segments saved: {n}")] for n in (0, 1)]
    assert [one.state for one in status(out)] == ["done"]


def test_a_video_whose_segments_are_removed_during_its_analysis_fails_alone(face_clip, tmp_path):
    progress = on_progress(3, lambda: shutil.rmtree(tmp_path / "out" / "observations"))
    with pytest.raises(VideoFailed, match=r"segment-000000.parquet: missing or damaged"):
        analyze(face_clip, tmp_path / "out", progress)
    assert [one.state for one in status(tmp_path / "out")] == ["failed"]
    assert analyze(face_clip, tmp_path / "out").status == "done"


# --- files -------------------------------------------------------------------------------------------------------


def test_a_video_that_grows_while_it_is_read_fails_and_is_retried(face_clip, tmp_path):
    path = tmp_path / "growing.mp4"
    shutil.copy(face_clip, path)

    def grow():
        with path.open("ab") as file:
            file.write(bytes(8))

    size = face_clip.stat().st_size
    with pytest.raises(VideoFailed, match=rf"changed during the analysis \({size:,} bytes before, {size + 8:,} now\)"):
        analyze(path, tmp_path / "out", on_progress(3, grow))
    assert analyze(path, tmp_path / "out").n_observed == 30  # no observation of the old content is used for the new one
    assert connect(tmp_path / "out").sql("SELECT status FROM videos").fetchall() == [("done",)]


def test_a_video_deleted_while_it_is_read_is_retried_once_it_is_restored(face_clip, tmp_path):
    path = tmp_path / "gone.mp4"
    shutil.copy2(face_clip, path)
    with pytest.raises(VideoFailed, match="was deleted during the analysis"):
        analyze(path, tmp_path / "out", on_progress(3, path.unlink))
    shutil.copy2(face_clip, path)
    # The failed run has deleted appearance data, so identities must be computed again from the video.
    assert analyze(path, tmp_path / "out").n_observed == 30
    assert connect(tmp_path / "out").sql("SELECT status FROM videos").fetchall() == [("done",)]


# --- clocks ------------------------------------------------------------------------------------------------------


def test_the_newest_analysis_is_shown_also_where_the_clock_was_set_back(empty_clip, tmp_path):
    first = analyze(empty_clip, tmp_path, fps=5.0)
    path = table_path(tmp_path, "videos", first.video_id, first.analysis_id)
    (row,) = pq.read_table(path, partitioning=None).to_pylist()
    row["finished_at"] += timedelta(days=365)
    row["row_crc32"] = row_crc32({"video_id": first.video_id, **row})
    pq.write_table(pa.Table.from_pylist([row], pq.read_schema(path)), path)

    def shown():
        return connect(tmp_path).sql("SELECT count(*) FROM frames").fetchall()

    for fps, n_frames in ((None, 12), (5.0, 3), (None, 12)):
        analyze(empty_clip, tmp_path, fps=fps)
        assert shown() == [(n_frames,)]
