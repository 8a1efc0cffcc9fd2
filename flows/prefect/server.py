"""The Prefect server of a run: the user's, or a temporary one that starts while everything else loads."""

import contextlib
import json
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
from typing import Any

from fer_models.errors import FervidError

SERVER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from flows.prefect.server import serve; "
    "serve(int(sys.argv[2]))"
)
START_TIMEOUT_S = 300.0  # long enough for a slow and busy machine; if the server process ends, waiting stops at once
ANSWER_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 5.0
START_ONE = "start one yourself with `prefect server start --background` and set PREFECT_API_URL"
# Environment of a temporary server. The first three variables are those that Prefect sets for its own temporary
# servers: no web pages, only what a flow needs. The others keep it from importing all installed integrations, such as
# prefect-dask, just to list their block types.
SERVER_ENVIRONMENT = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}


class PrefectServerError(FervidError):
    """No Prefect server answers, or none can be started."""


class ScheduleError(FervidError):
    """Another schedule already writes to the same folder."""


@contextlib.contextmanager
def prefect_server() -> Iterator[Callable[[], None]]:
    """Use the server of `PREFECT_API_URL`, or else a temporary one on loopback that ends with the block.

    Yields a function that waits until the server answers; it raises `PrefectServerError` if that never happens.

    Prefect would start the same temporary server by itself, but only when a flow is called, and would import the
    server's code into this process too, which takes seconds. Started here, it is ready by the time torch and the models
    are loaded.
    """
    given_url = os.environ.get("PREFECT_API_URL", "")
    if given_url:
        yield lambda: check_healthy(given_url)
        return
    port = free_port()
    server = subprocess.Popen(
        # -P: do not import modules from the working directory.
        [sys.executable, "-P", "-c", SERVER, json.dumps(sys.path), str(port)],
        env={**os.environ, **SERVER_ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C must reach only the flow, which needs the server to stop in an orderly way
    )
    url = f"http://127.0.0.1:{port}/api"
    os.environ["PREFECT_API_URL"] = url
    try:
        yield lambda: wait_until_healthy(url, server)
    finally:
        try:
            flush_prefect_workers()
        finally:
            del os.environ["PREFECT_API_URL"]
            stop(server)


def free_port() -> int:
    """A port of the loopback interface on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def server_in_thread() -> Iterator[None]:
    """Run a temporary server in a thread, for flows of this process; `PREFECT_API_URL` is its address.

    To be called before Prefect is imported, in a process with `SERVER_ENVIRONMENT`.

    Raises:
        PrefectServerError: if the server does not start.
    """
    port = free_port()
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(**uvicorn_options(port)))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline_s:
            raise PrefectServerError(f"Prefect's temporary server did not start: {START_ONE}")
        time.sleep(0.02)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=STOP_TIMEOUT_S)


def uvicorn_options(port: int) -> dict[str, Any]:
    """Options of uvicorn for a temporary server."""
    app = "prefect.server.api.server:create_app"
    return {"app": app, "factory": True, "host": "127.0.0.1", "port": port, "log_level": "critical", "lifespan": "on"}


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the temporary server, by force if necessary."""
    server.terminate()
    try:
        server.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def flush_prefect_workers() -> None:
    """Send Prefect's last logs and events while the server still runs; without it, Prefect prints errors at exit."""
    if "prefect" in sys.modules:
        # Prefect flushes these workers only at exit, and has no public function to do it earlier.
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for worker in (EventsWorker, APILogWorker):
            worker.drain_all(timeout=5)


def is_healthy(api_url: str) -> bool:
    """Whether a Prefect server answers, including one that requires an API key."""
    is_local = urllib.parse.urlsplit(api_url).hostname in ("127.0.0.1", "localhost", "::1")
    proxies = urllib.request.ProxyHandler({} if is_local else None)  # requests to loopback must not go through a proxy
    try:
        with urllib.request.build_opener(proxies).open(f"{api_url}/health", timeout=15):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


def check_healthy(api_url: str) -> None:
    """Make sure that the server of `PREFECT_API_URL` answers, within some seconds.

    Raises:
        PrefectServerError: if it does not answer.
    """
    deadline_s = time.monotonic() + ANSWER_TIMEOUT_S  # a busy server may miss one request, so several are made
    while not is_healthy(api_url):
        if time.monotonic() > deadline_s:
            raise PrefectServerError(f"{api_url}: no Prefect server answers: start it, or unset PREFECT_API_URL")
        time.sleep(0.25)


def wait_until_healthy(api_url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers.

    Raises:
        PrefectServerError: if the server ends, or does not answer in time.
    """
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and server.poll() is None:
        if is_healthy(api_url):
            return
        time.sleep(0.05)
    raise PrefectServerError(f"Prefect's temporary server did not start (exit code {server.poll()}): {START_ONE}")


def serve(port: int) -> None:
    """Run the temporary server until it is terminated or its parent process ends."""
    import uvicorn

    def end_with_parent() -> None:
        sys.stdin.read()  # the parent never writes, so this returns when the parent ends
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    uvicorn.run(**uvicorn_options(port))
