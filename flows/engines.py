"""Where tasks run: in threads here, or in the processes of a Ray or Dask cluster, through Prefect's own runners."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task

from flows.settings import EngineSettings

LOOPBACK = "127.0.0.1"
# Only paths and numbers go through Ray: the least it takes.
RAY_OBJECT_STORE_BYTES = 80 * 2**20


class EngineError(Exception):
    """The engine asked for is not installed, or its cluster cannot be reached."""


class Runner:
    """Takes tasks; of a run that is under way."""

    def __init__(self, runner: TaskRunner[Any], task_options: dict[str, Any]) -> None:
        self.runner = runner
        self.task_options = task_options  # what each task asks Ray for

    def submit(self, task: Task[..., Any], **parameters: Any) -> PrefectFuture[Any]:
        """Have a task run with these arguments, once the tasks whose futures are among them have ended."""
        if not self.task_options:
            return self.runner.submit(task, parameters)
        from prefect_ray.context import remote_options

        with remote_options(**self.task_options):
            return self.runner.submit(task, parameters)


@contextlib.contextmanager
def running(engine: EngineSettings) -> Iterator[Runner]:
    """Tasks can be submitted while this is open; a cluster of our own ends with it.

    Raises:
        EngineError: if the engine is not installed, or there is no cluster at the address.
    """
    runners = {"threads": _threads, "ray": _ray, "dask": _dask}
    with contextlib.ExitStack() as stack:
        try:
            runner = stack.enter_context(runners[engine.engine](engine))
        except (ConnectionError, OSError, TimeoutError) as error:
            where = f"at {engine.address}" if engine.address else "on this machine"
            raise EngineError(f"{engine.engine}: no cluster {where} can be used: {error}") from error
        # Ray would end a worker after each task on a GPU, and the models would be loaded again for the next.
        options = {"num_gpus": engine.gpus_per_task, "max_calls": 0} if engine.gpus_per_task else {}
        yield Runner(runner, options)


def _threads(engine: EngineSettings) -> TaskRunner[Any]:
    return ThreadPoolTaskRunner(max_workers=engine.workers)  # type: ignore[arg-type]


def _ray(engine: EngineSettings) -> TaskRunner[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
    try:
        from prefect_ray import RayTaskRunner
    except ImportError as error:
        raise EngineError("ray: not installed: pip install 'fervid[ray]'") from error
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if engine.address:
        return RayTaskRunner(engine.address, init_kwargs=quiet)
    here = {
        "address": "local",
        "num_cpus": engine.workers,
        "include_dashboard": False,
        "object_store_memory": RAY_OBJECT_STORE_BYTES,
        "_node_ip_address": LOOPBACK,
    }
    return RayTaskRunner(init_kwargs=quiet | here)


def _dask(engine: EngineSettings) -> TaskRunner[Any]:
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise EngineError("dask: not installed: pip install 'fervid[dask]'") from error
    if engine.address:
        return DaskTaskRunner(address=engine.address)
    # A process for each: Python runs in one thread of a process at a time, and a process killed takes one task along.
    here = {"n_workers": engine.workers, "threads_per_worker": 1, "host": LOOPBACK, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=here)
