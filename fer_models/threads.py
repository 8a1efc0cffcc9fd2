"""Run work in threads that each compute on few cores.

PyTorch shares every layer among all cores instead. The layers of small networks take less than a millisecond, so that
the cores spend about a quarter of their time waiting for each other: see docs/performance.md.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import ParamSpec, TypeVar

import torch

Item = TypeVar("Item")
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

MAX_WORKERS = 4  # chunks processed at the same time: a batch of frames has about as many
MAX_STAGES = 64  # stages running at the same time, up to three for each video

_making_pools = threading.Lock()


def map_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, in_turn: bool = False
) -> Iterator[Result]:
    """Call `function` for all items in inference mode, in parallel or in turn, and yield the results in order.

    Items in turn, or a single one, are computed by a worker, too, because the number of threads may change the last bit
    of a result. After an error no further calls are started, and those that run are waited for. `function` must not
    call `map_in_threads`, or it may wait forever.
    """
    chunks, _ = _pools()
    function = torch.inference_mode()(function)
    if in_turn:
        for item in items:
            yield chunks.submit(function, item).result()
        return
    futures = [chunks.submit(function, item) for item in items]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()
        wait(futures)


def run_stage(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Future[Result]:
    """Start `function` in another thread than the caller's. It may call `map_in_threads`, but not `run_stage`."""
    _, stages = _pools()
    return stages.submit(function, *args, **kwargs)


def _pools() -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    """The executors of chunks and of stages; the same during the whole process."""
    with _making_pools:
        return _make_pools()


@cache
def _make_pools() -> tuple[ThreadPoolExecutor, ThreadPoolExecutor]:
    n_available = torch.get_num_threads()
    n_workers = min(MAX_WORKERS, n_available)
    start = _compute_with, (n_available // n_workers, n_available)
    return ThreadPoolExecutor(n_workers, "chunks", *start), ThreadPoolExecutor(MAX_STAGES, "stages", *start)


def _compute_with(n_threads: int, n_available: int) -> None:
    """Limit PyTorch to `n_threads` in this thread; threads that start later can still use all available ones."""
    torch.get_num_threads()  # a thread takes the default at its first use, which would undo the next line
    torch.set_num_threads(n_threads)  # this also sets the default, which any thread can set back
    reset = threading.Thread(target=torch.set_num_threads, args=(n_available,))
    reset.start()
    reset.join()
