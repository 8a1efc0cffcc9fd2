"""Videos in progress: known while their runs live, however long these write nothing, and however they end."""

import errno
import fcntl
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from scenes import observe

from analytics.results.in_progress import RECENT_S, mark_in_progress, videos_in_progress
from analytics.results.storage_paths import resolve_path
from analytics.results.store import Store

VIDEO = "v0000000000000001"
WAITING_RUN = """
import sys
from pathlib import Path
from analytics.results.in_progress import mark_in_progress

with mark_in_progress(Path(sys.argv[1]), sys.argv[2]):
    print("marked", flush=True)
    sys.stdin.read()
"""


def test_a_video_is_in_progress_until_the_last_of_its_runs_ends_or_is_killed(tmp_path):
    command = [sys.executable, "-c", WAITING_RUN, tmp_path, VIDEO]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "marked\n"
        with mark_in_progress(tmp_path, VIDEO), mark_in_progress(tmp_path, "v0000000000000002"):
            assert videos_in_progress(tmp_path) == {VIDEO, "v0000000000000002"}
        assert videos_in_progress(tmp_path) == {VIDEO}
        run.kill()
    assert list((tmp_path / ".locks").iterdir())
    assert videos_in_progress(tmp_path) == set()
    assert not list((tmp_path / ".locks").iterdir())


def test_without_locks_a_video_is_in_progress_while_its_newest_segment_is_recent(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    store = Store(tmp_path)
    segment = store.write_segment(VIDEO, "o1", 0, observe([0.0], []))
    assert videos_in_progress(tmp_path) == set()  # no run has left a file
    with mark_in_progress(tmp_path, VIDEO):
        assert videos_in_progress(tmp_path) == {VIDEO}
        os.utime(segment, (segment.stat().st_mtime - RECENT_S,) * 2)
        assert videos_in_progress(tmp_path) == set()
    assert not list((tmp_path / ".locks").iterdir())


def test_in_an_object_store_a_session_is_in_progress_while_its_newest_segment_is_recent():
    root = resolve_path("memory://in_progress")
    segment = Store(root).write_segment(VIDEO, "o1", 0, observe([0.0], []))
    with mark_in_progress(root, VIDEO):
        assert videos_in_progress(root, [VIDEO, "v0000000000000002"]) == {VIDEO}
    segment.fs.store[segment.path].created = datetime.now(UTC) - timedelta(seconds=RECENT_S)
    assert videos_in_progress(root, [VIDEO]) == set()


@pytest.fixture(autouse=True)
def _empty_memory():
    yield
    root = resolve_path("memory://in_progress")
    if root.exists():
        root.fs.rm(root.path, recursive=True)
