"""Schedules on a real Prefect server on loopback, which is stopped after the tests."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from analytics import connect
from flows.prefect.schedule import changed_parameters, deployment_name
from flows.prefect.server import ScheduleError, is_healthy

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
TIMEOUT_S = 900.0  # for a very busy machine; nothing waits longer than necessary
UNNEEDED_SERVICES = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "TRIGGERS",
)


def eventually(find: Callable[[], Any]) -> Any:
    """The first result of `find` that is not empty."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        if found := find():
            return found
        time.sleep(0.5)
    raise AssertionError(f"nothing found in {TIMEOUT_S:.0f} s")


class Server:
    """A Prefect server, queried through its REST API."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self.environment = os.environ | {
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "10",
            # Without what no schedule needs, the server takes half of the processor time.
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
            "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
            **{f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in UNNEEDED_SERVICES},
            "XDG_DATA_HOME": str(home / "data"),
            "FERVID_DEVICE": "cpu",
            "OMP_NUM_THREADS": "1",
        }
        command = [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
        self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})

        def answer() -> list[Any] | None:
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return [json.load(response)]
            except urllib.error.HTTPError as error:
                if error.code != 503:  # 503: the server's database was busy
                    raise
                return None

        return eventually(answer)[0]

    def deployment(self, name: str) -> Any:
        found = self.ask("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return found[0] if found else None

    def runs(self, deployment: Any, *states: str) -> list[Any]:
        """The runs of a deployment in one of these states, the oldest first."""
        asked = {
            "deployments": {"id": {"any_": [deployment["id"]]}},
            "flow_runs": {"state": {"type": {"any_": states}}},
        }
        return self.ask("/flow_runs/filter", asked | {"sort": "EXPECTED_START_TIME_ASC"})

    def run_now(self, deployment: Any) -> str:
        return self.ask(f"/deployments/{deployment['id']}/create_flow_run", {})["id"]

    def state(self, run_id: str) -> Any:
        return self.ask(f"/flow_runs/{run_id}")["state"]

    def statuses(self, run: Any) -> dict[str, str]:
        """The status of each video in the table that a run attached."""
        asked = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": ["analyze-videos"]}}}
        (table,) = self.ask("/artifacts/filter", asked)
        return {Path(row["video"]).name: row["status"] for row in json.loads(table["data"])}


class Served:
    """A running `fervid schedule`."""

    def __init__(self, server: Server, *arguments: object) -> None:
        command = [str(BIN / "fervid"), *map(str, arguments)]
        with tempfile.NamedTemporaryFile(delete=False) as stderr:
            self.stderr = Path(stderr.name)
            self.process = subprocess.Popen(command, env=server.environment, start_new_session=True, stderr=stderr)

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """Stop it; returns its exit code and its standard error."""
        self.process.send_signal(number)
        code = self.process.wait(TIMEOUT_S)
        stderr = self.stderr.read_text()
        self.stderr.unlink()
        return code, stderr


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("prefect"))
    try:
        eventually(lambda: is_healthy(server.url))
        yield server
    finally:
        server.process.terminate()
        server.process.wait(TIMEOUT_S)


@pytest.fixture(scope="module")
def folder(empty_clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scheduled") / "videos"
    folder.mkdir()
    shutil.copy(empty_clip, folder / "good.mp4")
    (folder / "bad.mp4").write_text("not a video")
    return folder


def test_scheduled_runs_come_one_at_a_time_and_analyze_pending_videos(server, folder, face_clip):
    out = folder.parent / "results"
    served = Served(server, "schedule", folder, "--out", out, "--every", "0.25", "--fps", "5")
    try:
        deployment = eventually(lambda: server.deployment(deployment_name(out)))
        assert deployment["parameters"]["inputs"] == [str(folder)]
        assert deployment["parameters"]["settings"]["fps"] == 5.0
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["schedules"][0]["active"]

        # The first run starts on schedule. One of its videos fails, with a reason that Prefect's pages show.
        (first, *_) = eventually(lambda: server.runs(deployment, "FAILED"))
        assert first["auto_scheduled"]
        assert "bad.mp4: not a video" in first["state"]["message"]
        tasks = server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [first["id"]]}}})
        states = {task["name"].split("-")[0]: task["state"] for task in tasks}
        assert states["analyze bad.mp4"]["type"] == "FAILED"
        assert "bad.mp4: not a video" in states["analyze bad.mp4"]["message"]
        assert states["analyze good.mp4"]["type"] == "COMPLETED"
        assert server.statuses(first) == {"good.mp4": "done", "bad.mp4": "failed"}

        # The file is repaired: the next run analyzes only this one. Of runs that are due at the same time, one runs and
        # the others are skipped.
        shutil.copy(face_clip, folder / ".repaired")
        (folder / ".repaired").rename(folder / "bad.mp4")
        server.run_now(deployment)
        server.run_now(deployment)
        (repaired, *_) = eventually(lambda: server.runs(deployment, "COMPLETED"))
        assert server.statuses(repaired) == {"good.mp4": "unchanged", "bad.mp4": "done"}
        assert connect(out).sql("SELECT count(*) FROM videos WHERE status = 'done'").fetchall() == [(2,)]
        (skipped, *_) = eventually(lambda: server.runs(deployment, "CANCELLED"))
        assert skipped["state"]["message"] == "Deployment concurrency limit reached."

        # No other schedule may write other videos to the same results.
        other = subprocess.run(
            [BIN / "fervid", "schedule", face_clip.parent, "--out", out, "--every", "5", "--pattern", "*.mp4"],
            env=server.environment,
            capture_output=True,
            text=True,
        )
        assert other.returncode == 1
        assert f'change inputs from ["{folder}"] to ["{face_clip.parent}"], pattern from "*" to "*.mp4"' in other.stderr
        with temporary_settings({PREFECT_API_URL: server.url}):
            name, same = f"analyze/{deployment['name']}", deployment["parameters"]
            with pytest.raises(ScheduleError, match="recursive from true to false"):
                changed_parameters(name, same | {"recursive": False})
            assert changed_parameters(name, same) == []
            faster = same | {"settings": same["settings"] | {"fps": 10.0}}
            assert changed_parameters(name, faster) == ["settings.fps from 5.0 to 10.0"]
            assert changed_parameters("analyze/another-1a2b3c", faster) == []
    finally:
        code, _ = served.stop()
    assert code == 0
    assert server.deployment(deployment_name(out))["paused"]


def test_training_is_scheduled_and_runs_once_for_the_same_data(server, few_faces):
    small = ("--labels", "hard", "--set", "input_size_px=20", "--set", "small_size_px=16")  # for speed
    arguments = ("face_resnet", *small, "--data", few_faces, "--name", "mine", "--epochs", "1", "--device", "cpu")
    models = Path(server.environment["XDG_DATA_HOME"]) / "fervid" / "models"
    served = Served(server, "schedule-training", *arguments, "--cron", "0 2 1 1 *", "--when-busy", "wait")
    try:
        deployment = eventually(lambda: server.deployment(deployment_name(models / "mine")))
        assert deployment["schedules"][0]["schedule"] | {"day_or": True} == {
            "cron": "0 2 1 1 *",
            "timezone": "UTC",
            "day_or": True,
        }
        # Both are due now: the second one waits for the first, and then has nothing to do.
        runs = [server.run_now(deployment) for _ in range(2)]
        messages = [eventually(lambda run=run: ended(server.state(run))) for run in runs]
        trained, unchanged = sorted(messages, key=lambda message: "nothing to do" in message)
        assert trained.startswith("trained mine-")
        assert "nothing to do" in unchanged
        assert trained.split()[1] in unchanged
    finally:
        code, stderr = served.stop(signal.SIGTERM)
    assert (code, "Warning" in stderr) == (0, False), stderr
    assert server.deployment(deployment_name(models / "mine"))["paused"]


def ended(state: dict[str, Any]) -> str | None:
    """The message of a completed run; None while it is running."""
    assert state["type"] not in ("FAILED", "CRASHED", "CANCELLED"), state
    return state["message"] if state["type"] == "COMPLETED" else None


def test_without_a_server_the_command_that_starts_one_is_shown(tmp_path, folder):
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    command = [BIN / "fervid", "schedule", folder, "--out", tmp_path / "out", "--every", "5"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "prefect server start" in run.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_model_is_reported_when_runs_are_scheduled(tmp_path, folder):
    command = [BIN / "fervid", "schedule", folder, "--out", tmp_path / "out", "--every", "5", "--model", "missing"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stderr.split("\n")[0][:36]) == (1, "error missing: no such model. Known:")
    assert not (tmp_path / "out").exists()
