"""Runs of the flows as a Prefect server tells of them; Prefect itself is not imported, its REST API is enough."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

DEFAULT_API = "http://127.0.0.1:4200/api"  # where `prefect server start` listens
PATIENCE_S = 3.0
MOST_RUNS = 200  # of which a server tells in one answer


class ServerError(Exception):
    """There is no Prefect server, or it does not answer as one."""


def api_url() -> str:
    """Where the server is: `PREFECT_API_URL`, or this machine."""
    return os.environ.get("PREFECT_API_URL", DEFAULT_API).rstrip("/")


def server_page() -> str:
    """The page of the server for people."""
    return api_url().removesuffix("/api")


def flow_runs(results: Path) -> list[dict[str, Any]]:
    """The runs that fill `results` among the newest of the server.

    Each with name, state, the server's message, when it began, how long it took, and a link to its page.

    Raises:
        ServerError: if no server answers.
    """
    asked = {"sort": "START_TIME_DESC", "limit": MOST_RUNS, "flows": {"name": {"any_": ["analyze"]}}}
    request = urllib.request.Request(
        f"{api_url()}/flow_runs/filter", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            runs: list[dict[str, Any]] = json.load(answer)
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
        raise ServerError(f"No Prefect server answers at {api_url()}: {getattr(reason, 'strerror', reason)}") from error
