"""Prefect made quiet and quick: no telemetry, and a temporary server that starts while everything else loads."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

from fer_models.errors import FervidError

START_TIMEOUT_S = 120.0
# What Prefect sets for a temporary server of its own: no web pages, only what a flow needs.
SERVER_ENVIRONMENT = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


class PrefectServerError(FervidError):
    """There is no Prefect server where there should be one."""


class ScheduleError(FervidError):
    """A place is already being filled on a schedule, from elsewhere."""


@contextlib.contextmanager
def prefect_server() -> Iterator[Callable[[], None]]:
    """Use the server of `PREFECT_API_URL`, or else a temporary one on loopback that ends with the block.

    Gives a function that waits until the server answers; it raises `PrefectServerError` if that never happens.

    Prefect would start the same temporary server by itself, but only once a flow is called, and it would import the
    server's code in this process too: seconds in which nothing happens. Started first thing, the server is there by
    the time that torch and the models are loaded.
    """
    given_url = os.environ.get("PREFECT_API_URL", "")
    if given_url:
        yield lambda: check_healthy(given_url)
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-c", f"from flows.prefect.server import serve; serve({port})"],
        env={**os.environ, **SERVER_ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the flow, which still needs the server to end in order
    )
    url = f"http://127.0.0.1:{port}/api"
    os.environ["PREFECT_API_URL"] = url
    try:
        yield lambda: wait_until_healthy(url, server)
    finally:
        try:
            send_what_is_left()
        finally:
            del os.environ["PREFECT_API_URL"]
            stop(server)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the temporary server, if need be by force."""
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


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers, be it to ask for a key."""
    is_here = urllib.parse.urlsplit(api_url).hostname in ("127.0.0.1", "localhost", "::1")
    proxies = urllib.request.ProxyHandler({} if is_here else None)  # a proxy is for other machines
    try:
        with urllib.request.build_opener(proxies).open(f"{api_url}/health", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


def check_healthy(api_url: str) -> None:
    """Make sure that the server the user named is there.

    Raises:
        PrefectServerError: if it does not answer.
    """
    if not is_healthy(api_url):
        raise PrefectServerError(f"{api_url}: no Prefect server answers: start it, or unset PREFECT_API_URL")


def wait_until_healthy(api_url: str, server: subprocess.Popen[bytes]) -> None:
    """Return once the server answers.

    Raises:
        PrefectServerError: if the server has ended, or does not answer in time.
    """
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and server.poll() is None:
        if is_healthy(api_url):
            return
        time.sleep(0.05)
    raise PrefectServerError(
        f"Prefect's temporary server did not start (exit code {server.poll()}): start one yourself with "
        "`prefect server start --background` and set PREFECT_API_URL"
    )


def serve(port: int) -> None:
    """Be the temporary server until terminated, or until the process that started this one is gone."""
    import uvicorn

    def end_with_parent() -> None:
        sys.stdin.read()  # the parent never writes: this returns when its end of the pipe closes
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    app = "prefect.server.api.server:create_app"
    uvicorn.run(app, factory=True, host="127.0.0.1", port=port, log_level="critical", lifespan="on")
