"""Scheduled flows: Prefect keeps the schedule, allows one run at a time, and records all runs."""

import asyncio
import contextlib
import datetime
import hashlib
import json
import shlex
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Schedule
from prefect.settings import PREFECT_API_URL
from prefect.types.entrypoint import EntrypointType

from flows.prefect.server import PrefectServerError, ScheduleError, check_healthy

START_A_SERVER = (
    "start one with `prefect server start --background`, then `export PREFECT_API_URL=http://127.0.0.1:4200/api`"
)
# Prefect's strategies for a run that is due while another one writes to the same folder.
COLLISION = {"wait": ConcurrencyLimitStrategy.ENQUEUE, "skip": ConcurrencyLimitStrategy.CANCEL_NEW}
WhenBusy = Literal["skip", "wait"]
_SOURCES = ("inputs", "recursive", "pattern", "data")  # parameters that select files


def schedule_of(cron: str | None, every_min: float | None, timezone: str) -> Schedule:
    """The schedule of runs.

    Args:
        cron: five fields, such as `0 2 * * *`.
        every_min: instead, minutes from one run to the next.
        timezone: of the cron fields, such as `Europe/Berlin`.

    Raises:
        ValueError: if `cron` is invalid.
    """
    if cron is not None:
        return Schedule(cron=cron, timezone=timezone)
    return Schedule(interval=datetime.timedelta(minutes=every_min or 0))


def deployment_name(target: Path) -> str:
    """The name of the deployment that writes to `target`, which is unique to it, so that its run limit covers all runs.

    >>> deployment_name(Path("/data/results"))
    'results-ee6b01'
    """
    name = "".join(letter if letter.isalnum() else "-" for letter in target.name) or "root"
    return f"{name}-{hashlib.sha256(str(target).encode('utf-8', 'backslashreplace')).hexdigest()[:6]}"


def serve(
    flow: Flow[Any, Any], target: Path, parameters: dict[str, object], schedule: Schedule, when_busy: WhenBusy
) -> None:
    """Run `flow` on a schedule, in child processes, until this process is asked to stop.

    At most one run writes to `target` at a time. The deployment is paused while no process serves it.

    Args:
        flow: a flow in an importable module.
        target: the absolute path of what the runs fill: a results folder, or that of a model.
        parameters: of each run; as JSON.
        schedule: when runs are due.
        when_busy: what happens to a run that is due while another is active.
    """
    deployment = flow.to_deployment(
        deployment_name(target),
        description=f"Fills {target}",
        schedule=schedule,
        paused=False,
        parameters=parameters,
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=COLLISION[when_busy]),
        entrypoint_type=EntrypointType.MODULE_PATH,  # each run imports the flow in a new process
    )
    runner = _Runner(limit=None)
    runner.add_deployment(cast(RunnerDeployment, deployment))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(runner.start())


class _Runner(Runner):
    """Serves until Ctrl-C or SIGTERM; on SIGTERM, Prefect's runner would exit without cleaning up."""

    def handle_sigterm(self, *args: object, **kwargs: object) -> None:
        """Stop as on Ctrl-C."""
        signal.raise_signal(signal.SIGINT)


def check_server() -> None:
    """Make sure that a permanent server is configured; a temporary one has no user interface.

    Raises:
        PrefectServerError: if there is none, or it does not answer.
    """
    url = PREFECT_API_URL.value()
    if not url:
        raise PrefectServerError(f"a schedule needs a permanent Prefect server: {START_A_SERVER}")
    check_healthy(url)


def changed_parameters(deployment: str, parameters: Mapping[str, object]) -> list[str]:
    """Describe the parameters that an active deployment would change, which is replaced by one with `parameters`.

    Raises:
        ScheduleError: if they select other files for the same folder: the first schedule would be replaced silently.
    """
    with get_client(sync_client=True) as client:
        try:
            there = client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            return []
    if there.paused:
        return []
    old, new = _as_json(there.parameters), _as_json(parameters)
    changes = {
        name: f"{name} from {old.get(name, 'null')} to {new.get(name, 'null')}"
        for name in {**new, **old}
        if old.get(name) != new.get(name)
    }
    delete = shlex.join(["prefect", "deployment", "delete", deployment])
    if others := [changes[name] for name in _SOURCES if name in changes]:
        raise ScheduleError(
            f"{deployment}: is already scheduled, and this command would change {', '.join(others)}: select all files "
            f"in one command, choose another folder, or delete that one (`{delete}`)"
        )
    return list(changes.values())


def _as_json(parameters: Mapping[str, object]) -> dict[str, str]:
    """Each parameter as JSON, those of a group by their own names.

    >>> _as_json({"inputs": ["/videos"], "settings": {"fps": 5.0, "model": None}})
    {'inputs': '["/videos"]', 'settings.fps': '5.0', 'settings.model': 'null'}
    """
    flat: dict[str, object] = {}
    for name, value in parameters.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
    return {name: json.dumps(value, ensure_ascii=False) for name, value in flat.items()}
