"""Task runners: the tables do not depend on what runs the tasks, even if a worker is killed."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import Future
from pathlib import Path
from uuid import uuid4

import cloudpickle
import dask
import psutil
import pytest
from clips import analyze_clip
from comparison import assert_same, files
from prefect.futures import PrefectConcurrentFuture
from prefect.server.schemas.actions import FlowRunCreate

from fer_models.registry.model_registry import CARD_NAME, find_model
from flows.analysis.context import AnalysisContext, portable
from flows.analysis.failures import VideoFailed
from flows.analysis.fingerprints import request_fingerprint
from flows.analysis.flow import analyze, analyze_one, observe_one, report_each
from flows.analysis.progress import Progress, VideoEnded
from flows.analysis.run import AnalysisRun, Inputs
from flows.prefect.task_runners import EngineError, running
from flows.settings import AnalyzeSettings, EngineSettings

pytestmark = pytest.mark.slow

FERVID = Path(sys.executable).with_name("fervid")
# One thread per worker, so that workers do not compete for cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "FERVID_DEVICE": "cpu", "FERVID_SEGMENT_S": "0.4"}
# Part of the command line of a worker process at work.
WORKERS = {"ray": "ray::analyze", "dask": "spawn_main"}
MARK = "FERVID_TEST_RUN"  # an environment variable that identifies all processes of a run
TIMEOUT_S = 900.0  # for a very busy machine; nothing waits longer than necessary


def test_a_video_whose_worker_is_lost_is_reported_as_failed(tmp_path):
    task: Future = Future()
    task.set_exception(RuntimeError("worker lost"))
    progress, events = Progress(), []
    progress.listen(events.append)
    context = AnalysisContext(tmp_path / "out", AnalyzeSettings(), progress)
    run = AnalysisRun(Inputs(["a.mp4"]), [Path("a.mp4")], EngineSettings(engine="dask"), context)
    report_each(run, [PrefectConcurrentFuture(uuid4(), task)])
    assert events == [VideoEnded(Path("a.mp4"), "failed", "a.mp4: RuntimeError('worker lost')")]


@pytest.fixture(scope="module")
def videos(face_clip, tmp_path_factory):
    """Three videos with different contents, one of them "long", and a text file."""
    folder = tmp_path_factory.mktemp("clustered") / "videos"
    folder.mkdir()
    clip = face_clip.read_bytes()
    for i in range(2):
        (folder / f"{i}.mp4").write_bytes(clip + bytes([i] * 8))
    # A box of type "free" makes the file large enough for its duration to be read before it is planned.
    (folder / "long.mp4").write_bytes(clip + (2**21).to_bytes(4, "big") + b"free" + bytes(2**21 - 8))
    (folder / "text.mp4").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def expected(videos, tmp_path_factory):
    """The results of one process without a task runner."""
    out = tmp_path_factory.mktemp("expected") / "out"
    settings = AnalyzeSettings(device="cpu", segment_s=0.4)
    for path in sorted(videos.iterdir()):
        if path.name == "text.mp4":
            with pytest.raises(VideoFailed):
                analyze_clip(path, out, settings)
        else:
            analyze_clip(path, out, settings)
    return out


def processes_of(mark):
    """All processes that were started with this value of `MARK`, by a run or by its descendants."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def descendants(pid):
    """All processes below a process."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def command_line(process):
    """The command line of a process; empty once it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class ClusterRun:
    """`fervid analyze` on a cluster of its own; `stop` leaves no process behind, however it ended."""

    def __init__(self, engine, videos, folder, server):
        self.out, self.mark, self.engine = folder / "out", str(folder), engine
        # Files, not pipes: a process that outlives the run would keep a pipe open, and its reader waiting.
        self.stdout, self.stderr = folder / "stdout", folder / "stderr"
        # With parts of one second, the long video is two tasks, and a third one for its timeline.
        settings = {"FERVID_PART_S": "1", "PREFECT_API_URL": server, MARK: self.mark}
        with self.stdout.open("wb") as stdout, self.stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [FERVID, "analyze", videos, "--out", self.out, "--engine", engine, "--json"],
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, **ONE_THREAD, **settings},
            )

    def wait_for(self, find):
        """The first result of `find` that is not empty."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline_s:
            assert self.process.poll() is None, self.stderr.read_text()
            if found := find():
                return found
            time.sleep(0.2)
        raise AssertionError(f"{self.engine}: nothing found in {TIMEOUT_S:g} s")

    def workers(self):
        """Worker processes at work."""
        return [process for process in descendants(self.process.pid) if WORKERS[self.engine] in command_line(process)]

    def stop(self):
        """Kill every process of the run, including Ray's, whose new names hide their environment."""
        left = {*descendants(self.process.pid), *processes_of(self.mark)}
        for process in left:
            process.kill()
        psutil.wait_procs(left, timeout=300)
        self.process.wait(timeout=300)


def tasks_on(server):
    """The names of all tasks in the server's database."""
    request = urllib.request.Request(f"{server}/task_runs/filter", b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return {task["name"] for task in json.load(answer)}


@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_two_workers_one_of_them_killed_give_the_same_tables(engine, videos, expected, server, tmp_path):
    run = ClusterRun(engine, videos, tmp_path, server)
    try:
        run.wait_for(lambda: [file for file in files(run.out) if "segment-" in file])
        run.wait_for(run.workers)[0].kill()
        run.process.wait(timeout=TIMEOUT_S)
        left = processes_of(run.mark)
        psutil.wait_procs(left, timeout=300)
        assert not processes_of(run.mark)
    finally:
        run.stop()
    stderr = run.stderr.read_text()
    assert run.process.returncode == 3, stderr
    assert "text.mp4: not a video" in stderr
    assert "Traceback" not in stderr
    summary = json.loads(run.stdout.read_text())
    assert len(summary["videos"]) == 3
    assert all(video["models"].startswith("detector compact") for video in summary["videos"])
    assert {"observe long.mp4 part 0", "observe long.mp4 part 1", "analyze long.mp4"} <= tasks_on(server)
    assert_same(run.out, expected)


@pytest.mark.parametrize(("engine", "address"), [("ray", "127.0.0.1:9"), ("dask", "tcp://127.0.0.1:9")])
def test_a_missing_cluster_is_reported(engine, address):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(EngineError, match=f"{engine}: no cluster at .*127.0.0.1:9 can be used"),
        running(EngineSettings(engine=engine, address=address)),
    ):
        pass


@pytest.mark.parametrize("engine", ["ray", "dask"])
def test_a_missing_engine_is_reported_with_the_install_command(engine, monkeypatch):
    monkeypatch.setitem(sys.modules, f"prefect_{engine}", None)
    with (
        pytest.raises(EngineError, match=rf"not installed. Run: .*pip install 'prefect-{engine}"),
        running(EngineSettings(engine=engine)),
    ):
        pass


def test_tasks_can_be_pickled():
    for pickled_task in (analyze_one, observe_one, analyze):
        assert cloudpickle.loads(cloudpickle.dumps(pickled_task)).name == pickled_task.name


def test_a_process_of_a_cluster_keeps_its_models_and_reads_the_results_again_for_each_run(tmp_path):
    context = AnalysisContext(tmp_path / "out", AnalyzeSettings(device="cpu"))
    there = pickle.loads(pickle.dumps(context))
    finished = there.finished
    assert pickle.loads(pickle.dumps(context)).finished is finished
    context.begin_run()
    again = pickle.loads(pickle.dumps(context))
    assert again is there and again.finished is not finished


def test_thousands_of_inputs_fit_into_the_parameters_of_a_run(tmp_path):
    paths = [f"/videos/of/the/second/session/of/participant/{i:06}/\u00e4.mp4" for i in range(12_000)]
    run = AnalysisRun(Inputs(paths), [], EngineSettings(), AnalysisContext(tmp_path / "out", AnalyzeSettings()))
    parameters = run.parameters()
    FlowRunCreate(flow_id=uuid4(), parameters={"inputs": parameters["inputs"]})  # refuses what is too large
    *shown, rest = parameters["inputs"]
    assert shown == paths[: len(shown)] and len(shown) > 1000
    assert rest == f"and {12_000 - len(shown):,} more"


def test_settings_for_other_processes_hold_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "compact"):
        (tmp_path / name).mkdir()
    settings = portable(AnalyzeSettings(model="mine", detector="mine"))
    assert (settings.model, settings.detector) == (str(tmp_path / "mine"), str(tmp_path / "mine"))
    for name in ("auto", "compact", "retinaface"):
        assert portable(AnalyzeSettings(detector=name)).detector == name


def test_settings_for_other_processes_have_the_same_fingerprint(tmp_path, monkeypatch):
    for name in ("default", "compact"):
        shutil.copytree(find_model(name), tmp_path / f"my_{name}")
    monkeypatch.chdir(tmp_path)
    settings = AnalyzeSettings(model="my_default", detector="my_compact", device="cpu")
    assert request_fingerprint(portable(settings)) == request_fingerprint(settings)
    # A detector with another threshold is another request.
    card = tmp_path / "my_compact" / CARD_NAME
    card.write_text(json.dumps(json.loads(card.read_text()) | {"score_threshold": 0.9}))
    assert request_fingerprint(settings) != request_fingerprint(settings.model_copy(update={"detector": "compact"}))


def test_contradicting_options_are_refused():
    with pytest.raises(ValueError, match="--address needs --engine ray or dask"):
        EngineSettings(address="somewhere:10001")
    with pytest.raises(ValueError, match="--gpus-per-task needs --engine ray"):
        EngineSettings(engine="dask", gpus_per_task=0.5)
