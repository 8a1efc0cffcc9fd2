"""Clusters: the same tables whatever runs the tasks, also where a worker is killed at its work."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import cloudpickle
import dask
import psutil
import pytest
from clips import analyze_clip
from comparison import assert_same, files

from flows.analysis.analyze_video import VideoFailed
from flows.analysis.flow import analyze, analyze_one, observe_one
from flows.prefect.task_runners import EngineError, running
from flows.settings import AnalyzeSettings, EngineSettings

FERVID = Path(sys.executable).with_name("fervid")
# Workers compute in one thread each; the results with more are the same, but this is not the place to find out.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "FERVID_DEVICE": "cpu", "FERVID_SEGMENT_S": "0.4"}
# What a worker process calls itself while it works.
WORKERS = {"ray": "ray::analyze", "dask": "spawn_main"}


@pytest.fixture(scope="module")
def videos(face_clip, tmp_path_factory):
    """Five videos with contents of their own, one of them "long", and a text."""
    folder = tmp_path_factory.mktemp("clustered") / "videos"
    folder.mkdir()
    clip = face_clip.read_bytes()
    for i in range(4):
        (folder / f"{i}.mp4").write_bytes(clip + bytes([i] * 8))
    # A box that says it is free space: the file is large enough for a look at how long it is.
    (folder / "long.mp4").write_bytes(clip + (2**21).to_bytes(4, "big") + b"free" + bytes(2**21 - 8))
    (folder / "text.mp4").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def expected(videos, tmp_path_factory):
    """The results of one process, in a thread."""
    out = tmp_path_factory.mktemp("expected") / "out"
    settings = AnalyzeSettings(device="cpu", segment_s=0.4)
    for path in sorted(videos.iterdir()):
        if path.name == "text.mp4":
            with pytest.raises(VideoFailed):
                analyze_clip(path, out, settings)
        else:
            analyze_clip(path, out, settings)
    return out


def tasks_on(server):
    """The names of all tasks that the server knows of."""
    request = urllib.request.Request(f"{server}/task_runs/filter", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return {task["name"] for task in json.load(answer)}


def kill_a_worker(run, engine):
    """End one of the processes that are at work below `run`, as a machine does that is switched off."""
    workers = []
    while not workers and run.poll() is None:
        below = psutil.Process(run.pid).children(recursive=True)
        workers = [process for process in below if WORKERS[engine] in " ".join(process.cmdline())]
    workers[0].kill()


@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_two_workers_one_of_them_killed_give_the_same_tables(engine, videos, expected, server, tmp_path):
    run = subprocess.Popen(
        [FERVID, "analyze", videos, "--out", tmp_path / "out", "--engine", engine, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Parts of a second: the long one is two tasks, and a third for its timeline.
        env={**os.environ, **ONE_THREAD, "FERVID_PART_S": "1", "PREFECT_API_URL": server},
    )
    while run.poll() is None and not [file for file in files(tmp_path / "out") if "segment-" in file]:
        time.sleep(0.02)
    kill_a_worker(run, engine)
    output, said = run.communicate(timeout=600)
    assert run.returncode == 3, said
    assert "text.mp4: not a video" in said
    assert "Traceback" not in said
    summary = json.loads(output)
    assert len(summary["videos"]) == 5
    assert all(video["models"].startswith("detector compact") for video in summary["videos"])
    assert {"observe long.mp4 part 0", "observe long.mp4 part 1", "analyze long.mp4"} <= tasks_on(server)
    assert_same(tmp_path / "out", expected)


@pytest.mark.parametrize(("engine", "address"), [("ray", "127.0.0.1:9"), ("dask", "tcp://127.0.0.1:9")])
def test_a_cluster_that_is_not_there_is_told(engine, address):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(EngineError, match=f"{engine}: no cluster at .*127.0.0.1:9 can be used"),
        running(EngineSettings(engine=engine, address=address)),
    ):
        pass


@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_an_engine_that_is_not_installed_is_told_with_its_extra(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, f"prefect_{engine}", None)
    with (
        pytest.raises(EngineError, match=rf"not installed. Run: pip install 'prefect-{engine}"),
        running(EngineSettings(engine=engine)),
    ):
        pass


def test_tasks_can_travel_to_other_processes():
    for travelling in (analyze_one, observe_one, analyze):
        assert cloudpickle.loads(cloudpickle.dumps(travelling)).name == travelling.name


def test_what_does_not_go_together_is_refused():
    with pytest.raises(ValueError, match="an address is that of a cluster: choose --engine ray or dask"):
        EngineSettings(address="somewhere:10001")
    with pytest.raises(ValueError, match="only Ray assigns GPUs to tasks"):
        EngineSettings(engine="dask", gpus_per_task=0.5)
