"""Flow runs that a Prefect server recorded, through its REST API; Prefect itself is not imported."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import TypedDict

from analytics.results.storage_paths import StoragePath

DEFAULT_API = "http://127.0.0.1:4200/api"  # address at which `prefect server start` listens
TIMEOUT_S = 3.0
MAX_RUNS = 200  # maximum number of runs in one response of a server
LOOPBACK_ADDRESSES = ("127.0.0.1", "localhost", "::1")


class ServerError(Exception):
    """No Prefect server answers, or its answer cannot be read."""


class FlowRun(TypedDict):
    """A run as page Runs shows it."""

    name: str
    state: str
    message: str | None  # message of the server
    start_time: str | None  # start in ISO 8601
    seconds: float
    page: str  # address of the run's web page


def api_url() -> str:
    """The address of the server: `PREFECT_API_URL`, or this machine."""
    return os.environ.get("PREFECT_API_URL", DEFAULT_API).rstrip("/")


def server_page() -> str:
    """The web page of the server."""
    return api_url().removesuffix("/api")


def flow_runs(results: StoragePath) -> list[FlowRun]:
    """The newest runs of the server, limited to those that write to `results`.

    Raises:
        ServerError: if no server answers.
    """
    criteria = {"sort": "START_TIME_DESC", "limit": MAX_RUNS, "flows": {"name": {"any_": ["analyze"]}}}
    request = urllib.request.Request(
        f"{api_url()}/flow_runs/filter", json.dumps(criteria).encode(), {"Content-Type": "application/json"}
    )
    try:
        with _opener().open(request, timeout=TIMEOUT_S) as response:
            runs = json.load(response)
        return [
            {
                "name": run["name"],
                "state": run["state_name"],
                "message": (run.get("state") or {}).get("message"),
                "start_time": run["start_time"],
                "seconds": run["total_run_time"],
                "page": f"{server_page()}/runs/flow-run/{run['id']}",
            }
            for run in runs
            if run["parameters"].get("out") == str(results)
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "reason", error)
        raise ServerError(
            f"No Prefect server answers at {api_url()}: {getattr(reason, 'strerror', reason)}."
        ) from error


def _opener() -> urllib.request.OpenerDirector:
    """Sends requests to a server on this machine without a proxy, and others as the environment says."""
    is_local = urllib.parse.urlsplit(api_url()).hostname in LOOPBACK_ADDRESSES
    return urllib.request.build_opener(urllib.request.ProxyHandler({} if is_local else None))
