"""Prefect made quiet and quick: no telemetry, and a temporary server that starts while everything else loads."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

# Nothing is sent anywhere unless asked; must be set before Prefect is imported.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}


START_TIMEOUT_S = 120.0


class PrefectServerError(Exception):
    """The temporary Prefect server does not start."""


def be_quiet() -> None:
    """Turn off Prefect's telemetry and its lines on the console, unless the environment says otherwise."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def prefect_server() -> Iterator[Callable[[], None]]:
    """Use the server of `PREFECT_API_URL`, or else a temporary one on loopback that ends with the block.

    Gives a function that waits until the server answers; it raises `PrefectServerError` if that never happens.

    Prefect would start the same temporary server by itself, but only once a flow is called, and it would import the
    server's code in this process too: seconds in which nothing happens. Started first thing, the server is there by
    the time that torch and the models are loaded.
    """
    if "PREFECT_API_URL" in os.environ:
        yield lambda: None
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
            *("--host", "127.0.0.1", "--port", str(port), "--log-level", "critical", "--lifespan", "on"),
        ],
        # What Prefect sets for its own temporary server: no web pages, only what a flow needs.
        env={**os.environ, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the flow, which still needs the server to end in order
    )
    url = f"http://127.0.0.1:{port}/api"
    os.environ["PREFECT_API_URL"] = url
    try:
        yield lambda: wait_until_healthy(url, server)
    finally:
        send_what_is_left()
        del os.environ["PREFECT_API_URL"]
        server.terminate()
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def send_what_is_left() -> None:
    """Have Prefect send its last logs and events while the server is there; later it would complain on the console."""
    if "prefect" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (EventsWorker, APILogWorker):
            worker.drain_all(timeout=5)


def wait_until_healthy(api_url: str, server: subprocess.Popen[bytes]) -> None:
    """Return once the server answers.

    Raises:
        PrefectServerError: if the server has ended, or does not answer in time.
    """
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{api_url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise PrefectServerError(
        f"Prefect's temporary server did not start (exit code {server.poll()}): start one yourself with "
        "`prefect server start --background` and set PREFECT_API_URL"
    )
