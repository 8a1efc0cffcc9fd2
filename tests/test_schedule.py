"""Schedules against a real Prefect server on loopback, which ends with the tests."""

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

from analytics import connect
from flows.prefect.schedule import deployment_name
from flows.prefect.server import is_healthy

BIN = Path(sys.executable).parent
PATIENCE_S = 900.0  # a busy machine takes its time; nothing waits longer than it must


def eventually(look: Callable[[], Any]) -> Any:
    """What `look` gives once it gives something."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        if found := look():
            return found
        time.sleep(0.3)
    raise AssertionError(f"not within {PATIENCE_S:.0f} s")


class Server:
    """A Prefect server, asked through its REST API."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self.environment = os.environ | {
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
            "XDG_DATA_HOME": str(home / "data"),
            "FERVID_DEVICE": "cpu",
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
                if error.code != 503:  # its database was busy
                    raise
                return None

        return eventually(answer)[0]

    def deployment(self, name: str) -> Any:
        found = self.ask("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return found[0] if found else None

    def runs(self, deployment: Any, *states: str) -> list[Any]:
        """Its runs in one of these states, the oldest first."""
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
        """What the table that a run left says of each video."""
        asked = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": ["analyze-videos"]}}}
        (table,) = self.ask("/artifacts/filter", asked)
        return {Path(row["video"]).name: row["status"] for row in json.loads(table["data"])}


class Served:
    """A `fervid schedule` at work."""

    def __init__(self, server: Server, *arguments: object) -> None:
        command = [str(BIN / "fervid"), *map(str, arguments)]
        with tempfile.NamedTemporaryFile(delete=False) as said:
            self.said = Path(said.name)
            self.process = subprocess.Popen(command, env=server.environment, start_new_session=True, stderr=said)

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str]:
        """End it; gives its exit code and what it said."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        said = self.said.read_text()
        self.said.unlink()
        return code, said


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("prefect"))
    try:
        eventually(lambda: is_healthy(server.url))
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


@pytest.fixture(scope="module")
def folder(empty_clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scheduled") / "videos"
    folder.mkdir()
    shutil.copy(empty_clip, folder / "good.mp4")
    (folder / "bad.mp4").write_text("not a video")
    return folder


def test_runs_come_on_schedule_one_at_a_time_and_do_what_is_left(server, folder, face_clip):
    out = folder.parent / "results"
    served = Served(server, "schedule", folder, "--out", out, "--every", "0.25", "--fps", "5")
    try:
        deployment = eventually(lambda: server.deployment(deployment_name(out)))
        assert deployment["parameters"]["inputs"] == [str(folder)]
        assert deployment["parameters"]["settings"]["fps"] == 5.0
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["schedules"][0]["active"]

        # The first run is due by itself. One video of it fails, for a reason that Prefect's pages show.
        (first, *_) = eventually(lambda: server.runs(deployment, "FAILED"))
        assert first["auto_scheduled"]
        assert "bad.mp4: not a video" in first["state"]["message"]
        tasks = server.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [first["id"]]}}})
        states = {task["name"].split("-")[0]: task["state"] for task in tasks}
        assert states["analyze bad.mp4"]["type"] == "FAILED"
        assert "bad.mp4: not a video" in states["analyze bad.mp4"]["message"]
        assert states["analyze good.mp4"]["type"] == "COMPLETED"
        assert server.statuses(first) == {"good.mp4": "done", "bad.mp4": "failed"}

        # The file is mended: the next run does it alone.
        shutil.copy(face_clip, folder / ".mended")
        (folder / ".mended").rename(folder / "bad.mp4")
        (mended, *_) = eventually(lambda: server.runs(deployment, "COMPLETED"))
        assert server.statuses(mended) == {"good.mp4": "unchanged", "bad.mp4": "done"}
        assert connect(out).sql("SELECT count(*) FROM videos WHERE status = 'done'").fetchall() == [(2,)]

        # Of runs that are due together, one is at work and the others are skipped.
        server.run_now(deployment)
        server.run_now(deployment)
        (skipped, *_) = eventually(lambda: server.runs(deployment, "CANCELLED"))
        assert skipped["state"]["message"] == "Deployment concurrency limit reached."

        # Nobody else may fill the same results from another folder meanwhile.
        other = subprocess.run(
            [BIN / "fervid", "schedule", face_clip.parent, "--out", out, "--every", "5"],
            env=server.environment,
            capture_output=True,
            text=True,
        )
        assert other.returncode == 1
        assert "is on a schedule already" in other.stderr
    finally:
        code, _ = served.stop()
    assert code == 0
    assert server.deployment(deployment_name(out))["paused"]


def test_training_is_scheduled_and_done_once_for_the_same_data(server, few_faces):
    arguments = ("cnn4", "--data", few_faces, "--name", "mine", "--epochs", "1", "--device", "cpu")
    models = Path(server.environment["XDG_DATA_HOME"]) / "fervid" / "models"
    served = Served(server, "schedule-training", *arguments, "--cron", "0 2 1 1 *", "--when-busy", "wait")
    try:
        deployment = eventually(lambda: server.deployment(deployment_name(models / "mine")))
        assert deployment["schedules"][0]["schedule"] | {"day_or": True} == {
            "cron": "0 2 1 1 *",
            "timezone": "UTC",
            "day_or": True,
        }
        # Both are due now: the second waits for the first, and then has nothing to do.
        runs = [server.run_now(deployment) for _ in range(2)]
        told = [eventually(lambda run=run: ended(server.state(run))) for run in runs]
        trained, unchanged = sorted(told, key=lambda message: "nothing to do" in message)
        assert trained.startswith("trained mine-")
        assert "nothing to do" in unchanged
        assert trained.split()[1] in unchanged
    finally:
        code, said = served.stop(signal.SIGTERM)
    assert (code, "Warning" in said) == (0, False), said
    assert server.deployment(deployment_name(models / "mine"))["paused"]


def ended(state: dict[str, Any]) -> str | None:
    """The message of a run that went well; None while it is under way."""
    assert state["type"] not in ("FAILED", "CRASHED", "CANCELLED"), state
    return state["message"] if state["type"] == "COMPLETED" else None


def test_without_a_server_the_way_to_one_is_told(tmp_path, folder):
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    command = [BIN / "fervid", "schedule", folder, "--out", tmp_path / "out", "--every", "5"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "prefect server start" in run.stderr
    assert not (tmp_path / "out").exists()
