"""Reading that stalls, in the disk or in the decoder, is abandoned; slow reading is waited for."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from clips import analyze_clip
from conftest import write_clip

from analytics import connect
from fer_models import load_classifier, load_detector
from fer_models.observe import ObserveOptions, observe_segments
from fer_models.prefetch import StallTimeout, heartbeat, prefetch, run_with_watchdog
from fer_models.video import VideoReadError, probe
from flows.analysis.failures import VideoFailed
from flows.settings import AnalyzeSettings

pytestmark = pytest.mark.slow

FERVID = Path(sys.executable).with_name("fervid")


def test_items_come_in_order_and_an_error_comes_after_them():
    def numbers():
        yield from range(5)
        raise OSError("no more")

    items = prefetch(numbers(), timeout_s=60)
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="no more"):
        next(items)


def test_none_is_an_item_and_a_result():
    assert list(prefetch(iter([1, None, 2]), timeout_s=60)) == [1, None, 2]
    assert run_with_watchdog(lambda: None, timeout_s=60) is None


def test_an_iterator_that_is_closed_closes_the_one_it_reads():
    closed = threading.Event()

    def forever():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    with contextlib.closing(prefetch(forever(), timeout_s=60)) as items:
        next(items)
    assert closed.is_set()


def test_closing_does_not_wait_for_a_stalled_iterator():
    release = threading.Event()

    def stuck():
        yield 0
        release.wait()

    with contextlib.closing(prefetch(stuck(), timeout_s=0.5)) as items:
        next(items)
    release.set()  # only now: a close that waited for the iterator would never have returned


def test_a_reader_with_heartbeats_is_waited_for_and_a_silent_one_is_not():
    release = threading.Event()

    def slow():
        for _ in range(20):
            time.sleep(0.1)
            heartbeat()
        yield "late"
        release.wait()

    items = prefetch(slow(), timeout_s=1)
    assert next(items) == "late"
    with pytest.raises(StallTimeout):
        next(items)
    release.set()


@pytest.fixture
def pipe(tmp_path):
    """A named pipe with the name of a video, into which nothing has been written."""
    path = tmp_path / "silent.mp4"
    os.mkfifo(path)
    yield path
    with contextlib.suppress(OSError):  # lets a reader that waits at the other end continue
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


def test_a_named_pipe_is_refused_at_once(pipe, tmp_path):
    with pytest.raises(VideoFailed, match=r"silent\.mp4: is a pipe"):
        analyze_clip(pipe, tmp_path / "out", AnalyzeSettings(device="cpu"))
    ((status, error),) = connect(tmp_path / "out").sql("SELECT status, error FROM videos").fetchall()
    assert status == "failed"
    assert "is a pipe" in error


def test_a_decoder_that_stalls_is_abandoned(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (250, 96, 128, 3), np.uint8)
    whole = write_clip(tmp_path / "whole.mkv", noise)
    info = probe(whole)
    stalled = tmp_path / "stalled.mkv"
    os.mkfifo(stalled)
    done = threading.Event()

    def write_half():
        content = whole.read_bytes()
        with stalled.open("wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            done.wait()

    writer = threading.Thread(target=write_half, daemon=True)
    writer.start()
    seen = observe_segments(
        dataclasses.replace(info, path=stalled),
        np.split(np.arange(250), range(5, 250, 5)),
        detector=load_detector("compact", "cpu"),
        classifier=load_classifier("default", "cpu"),
        options=ObserveOptions(timeout_s=5),
    )
    assert next(seen).frame_index.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(VideoReadError, match=r"decoding stalled for 5 s after \d\.\d\d s.* use --end \d\.\d\d"):
        list(seen)
    done.set()
    writer.join()


def test_the_command_continues_with_other_videos_and_ends(pipe, face_clip, server, tmp_path):
    run = subprocess.run(
        [FERVID, "analyze", pipe, face_clip, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        env={**os.environ, "FERVID_DEVICE": "cpu", "PREFECT_API_URL": server},
        timeout=900,
    )
    assert run.returncode == 3, run.stderr
    assert f"failed {pipe}: is a pipe" in run.stderr
    assert "Traceback" not in run.stderr
    assert connect(tmp_path / "out").sql("SELECT status FROM videos ORDER BY 1").fetchall() == [("done",), ("failed",)]
