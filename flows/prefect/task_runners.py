"""Task runners: threads of this process, or the workers of a Ray or Dask cluster."""

import contextlib
import logging
import os
import socket
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task

from fer_models.errors import FervidError
from fer_models.extras import install_command
from flows.settings import EngineSettings

LOOPBACK = "127.0.0.1"
CONNECT_TIMEOUT_S = 10.0
# Size of Ray's object store: the smallest that it accepts, because only paths and numbers pass through it.
RAY_OBJECT_STORE_BYTES = 80 * 2**20
RAY_START_TIMEOUT_S = "300"  # seconds; Ray's default of 30 is too short on a very busy machine

Submit = Callable[..., PrefectFuture[Any]]  # a function that submits a task with keyword arguments


class EngineError(FervidError):
    """The requested engine is not installed, or its cluster cannot be reached."""


@contextlib.contextmanager
def running(engine: EngineSettings) -> Iterator[Submit]:
    """Yield a function that submits a task; it runs once the tasks whose futures are among its arguments have ended.

    A cluster that was started here is stopped when the block ends.

    Raises:
        EngineError: if the engine is not installed, or no cluster answers at the address.
    """
    runners = {"threads": _threads, "ray": _ray, "dask": _dask}
    with contextlib.ExitStack() as stack:
        if engine.engine == "ray":  # Ray prints messages about lost workers to standard output
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        try:
            if engine.address is not None:
                check_listening(engine.address)
            runner: Any = stack.enter_context(runners[engine.engine](engine))
            if engine.engine == "dask":
                runner.client  # type: ignore[attr-defined]  # noqa: B018 (connects, which it would do with the first task)
        except OSError as error:  # the base class of ConnectionError and TimeoutError, too
            where = f"at {engine.address}" if engine.address else "on this machine"
            raise EngineError(f"{engine.engine}: no cluster {where} can be used: {error}") from error

        def submit(task: Task[..., Any], **parameters: Any) -> PrefectFuture[Any]:
            with _asking_ray(engine.gpus_per_task) if engine.gpus_per_task else nullcontext():
                future: PrefectFuture[Any] = runner.submit(task, parameters)
            return future

        yield submit


def check_listening(address: str) -> None:
    """Make sure that something listens at the address of a cluster: Ray itself would try for minutes.

    Raises:
        OSError: if nothing listens. A word such as Ray's `auto` is not checked.
    """
    where = urllib.parse.urlsplit(address if "://" in address else f"//{address}")
    if where.hostname and where.port:
        socket.create_connection((where.hostname, where.port), timeout=CONNECT_TIMEOUT_S).close()


def _asking_ray(gpus: float) -> AbstractContextManager[None]:
    from prefect_ray.context import remote_options

    # By default, Ray ends a worker after each GPU task, and the next worker would have to load the models again.
    asking: AbstractContextManager[None] = remote_options(num_gpus=gpus, max_calls=0)
    return asking


def _threads(engine: EngineSettings) -> TaskRunner[Any]:
    return ThreadPoolTaskRunner(max_workers=engine.workers)  # type: ignore[arg-type]


def _ray(engine: EngineSettings) -> TaskRunner[Any]:
    # Ray reads some of these variables when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if engine.address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # on any system: listen on loopback only
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", RAY_START_TIMEOUT_S)
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise EngineError(f"Ray is not installed. Run: {install_command('ray')}") from error
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if engine.address is None:
        options |= {
            "address": "local",
            "num_cpus": engine.workers,
            "include_dashboard": False,
            "object_store_memory": RAY_OBJECT_STORE_BYTES,
            "_node_ip_address": LOOPBACK,
        }
    runner: TaskRunner[Any] = RayTaskRunner(engine.address, init_kwargs=options)
    return runner


def _dask(engine: EngineSettings) -> TaskRunner[Any]:
    try:
        from prefect_dask import DaskTaskRunner  # type: ignore[attr-defined]
    except ImportError as error:
        raise EngineError(f"Dask is not installed. Run: {install_command('dask')}") from error
    if engine.address is not None:
        where: dict[str, Any] = {"address": engine.address}
    else:
        # One process per task, because Python runs one thread of a process at a time and a killed process then loses
        # only one task. Failures are returned with their task; everything else that workers log concerns a cluster that
        # is stopping.
        where = {
            "cluster_kwargs": {
                "n_workers": engine.workers,
                "threads_per_worker": 1,
                "host": LOOPBACK,
                "dashboard_address": None,
                "silence_logs": logging.CRITICAL,
            }
        }
    runner: TaskRunner[Any] = DaskTaskRunner(**where)
    return runner
