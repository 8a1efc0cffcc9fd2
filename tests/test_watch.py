"""New files in a folder: yielded once they have stopped growing, then analyzed by the command."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from analytics.results.status import status
from flows.analysis.inputs import InputError
from flows.analysis.watch import stable_file_batches

pytestmark = pytest.mark.slow

FERVID = Path(sys.executable).with_name("fervid")
PATIENCE_S = 900.0  # seconds to wait on a busy machine; no test waits longer than necessary


@contextmanager
def watched(*folders: Path, settle_s: float = 0.5, **options) -> Iterator[Queue]:
    """The batches of a watch, each a list of file names and sizes at the time of the batch."""
    batches: Queue = Queue()
    stop = threading.Event()
    options = {"recursive": True, "pattern": "*"} | options

    def watch() -> None:
        for batch in stable_file_batches(folders, settle_s=settle_s, stop=stop, **options):
            batches.put([(path.name, path.stat().st_size) for path in batch])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield batches
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "first.mp4").write_bytes(b"there at start")
    return tmp_path / "videos"


def test_existing_files_come_first_then_new_ones(folder):
    with watched(folder) as batches:
        assert batches.get(timeout=PATIENCE_S) == [("first.mp4", 14)]
        (folder / "notes.txt").write_text("not a video")
        (folder / "second.mp4").write_bytes(b"x")
        assert batches.get(timeout=PATIENCE_S) == [("second.mp4", 1)]
        (folder / "first.mp4").write_bytes(b"replaced")
        assert batches.get(timeout=PATIENCE_S) == [("first.mp4", 8)]
        assert batches.empty()


def test_a_file_that_grows_slowly_is_yielded_whole(folder):
    with watched(folder, settle_s=5.0) as batches:
        with (folder / "slow.mp4").open("wb") as file:
            for _ in range(10):
                file.write(b"x" * 100)
                file.flush()
                time.sleep(0.1)
        sizes = dict(batches.get(timeout=PATIENCE_S))
        if "slow.mp4" not in sizes:
            sizes |= dict(batches.get(timeout=PATIENCE_S))
        assert sizes == {"first.mp4": 14, "slow.mp4": 1000}


def test_files_and_folders_renamed_into_place_are_seen(folder, tmp_path):
    with watched(folder) as batches:
        batches.get(timeout=PATIENCE_S)
        (folder / ".part").write_bytes(b"hidden")
        (folder / ".part").rename(folder / "whole.mp4")
        assert batches.get(timeout=PATIENCE_S) == [("whole.mp4", 6)]
        (tmp_path / "day").mkdir()
        (tmp_path / "day" / "inside.mp4").write_bytes(b"moved")
        (tmp_path / "day").rename(folder / "day")
        assert batches.get(timeout=PATIENCE_S) == [("inside.mp4", 5)]


def test_only_matching_files_are_yielded_also_when_polling(folder):
    with watched(folder, recursive=False, pattern="*.mkv", force_polling=True) as batches:
        (folder / "day").mkdir()
        (folder / "day" / "deep.mkv").write_bytes(b"x")
        (folder / "other.mp4").write_bytes(b"x")
        (folder / "empty.mkv").write_bytes(b"")
        (folder / "wanted.mkv").write_bytes(b"x")
        assert batches.get(timeout=PATIENCE_S) == [("wanted.mkv", 1)]


def test_a_file_that_comes_back_with_its_time_is_yielded_again(folder):
    with watched(folder) as batches:
        assert batches.get(timeout=PATIENCE_S) == [("first.mp4", 14)]
        (folder / "first.mp4").rename(folder / ".hidden")
        (folder / "next.mp4").write_bytes(b"x")  # the removal has been seen once this is yielded
        assert batches.get(timeout=PATIENCE_S) == [("next.mp4", 1)]
        (folder / ".hidden").rename(folder / "first.mp4")
        assert batches.get(timeout=PATIENCE_S) == [("first.mp4", 14)]


def test_a_folder_that_comes_back_is_yielded_again(folder, tmp_path):
    with watched(folder.parent) as batches:
        assert batches.get(timeout=PATIENCE_S) == [("first.mp4", 14)]
        folder.rename(tmp_path / ".hidden")
        (tmp_path / "next.mp4").write_bytes(b"x")
        assert batches.get(timeout=PATIENCE_S) == [("next.mp4", 1)]
        (tmp_path / ".hidden").rename(folder)
        assert batches.get(timeout=PATIENCE_S) == [("first.mp4", 14)]


def test_a_watched_folder_that_was_removed_is_watched_again(folder, tmp_path):
    (tmp_path / "other").mkdir()
    with watched(folder, tmp_path / "other") as batches:
        assert batches.get(timeout=PATIENCE_S) == [("first.mp4", 14)]
        shutil.rmtree(folder)
        (tmp_path / "other" / "next.mp4").write_bytes(b"x")  # the removal has been seen once this is yielded
        assert batches.get(timeout=PATIENCE_S) == [("next.mp4", 1)]
        folder.mkdir()
        (folder / "first.mp4").write_bytes(b"back again")
        assert batches.get(timeout=PATIENCE_S) == [("first.mp4", 10)]
        (folder / "second.mp4").write_bytes(b"xy")
        assert batches.get(timeout=PATIENCE_S) == [("second.mp4", 2)]


def test_a_file_that_stays_empty_is_yielded(folder, monkeypatch):
    monkeypatch.setattr("flows.analysis.watch.EMPTY_S", 1.0)
    with watched(folder) as batches:
        batches.get(timeout=PATIENCE_S)
        (folder / "empty.mp4").write_bytes(b"")
        assert batches.get(timeout=PATIENCE_S) == [("empty.mp4", 0)]
        (folder / "empty.mp4").write_bytes(b"whole")
        assert batches.get(timeout=PATIENCE_S) == [("empty.mp4", 5)]


def test_only_folders_are_watched(folder):
    with pytest.raises(InputError, match=r"first\.mp4: not a folder"):
        next(
            stable_file_batches([folder / "first.mp4"], recursive=True, pattern="*", settle_s=1, stop=threading.Event())
        )


def test_the_command_analyzes_new_files_until_it_is_stopped(empty_clip, server, tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    shutil.copy(empty_clip, videos / "first.mp4")
    command = [FERVID, "watch", videos, "--out", out, "--device", "cpu", "--fps", "5", "--settle", "1"]
    environment = {**os.environ, "PREFECT_API_URL": server}
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    assert run.stderr is not None
    no_longer = threading.Timer(PATIENCE_S, run.kill)  # stops the command if an expected line is never printed
    no_longer.start()
    try:
        lines = iter(run.stderr)
        assert next(line for line in lines if line.startswith("done")).strip().endswith("first.mp4")
        (videos / "broken.mp4").write_text("not a video")
        assert "not a video" in next(line for line in lines if line.startswith("failed"))
        os.killpg(run.pid, signal.SIGINT)
        assert "stopped: finished work is kept" in run.stderr.read()
        assert run.wait(PATIENCE_S) == 130
    finally:
        no_longer.cancel()
        run.kill()
    assert sorted((Path(one.path).name, one.state) for one in status(out)) == [
        ("broken.mp4", "failed"),
        ("first.mp4", "done"),
    ]
