"""Share the chunks of a batch among the cores of the CPU, one thread per chunk.

PyTorch shares each layer instead. The layers of small networks take less than a millisecond, so that the threads spend
a quarter of their processor time waiting for each other: see docs/performance.md.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_WORKERS = 4  # a batch of frames has about as many chunks; with more cores, each worker computes on several


@dataclass(frozen=True, eq=False)
class _Workers:
    n_workers: int
    n_threads: int  # threads that each worker computes with
    executor: ThreadPoolExecutor


def map_in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Call `function` for all items in parallel, in inference mode, and yield the results in order, as `map` does.

    After an error no further calls are started. `function` must not call `map_in_threads`, or it may wait forever.
    """
    workers = _workers()
    if workers.n_workers == 1 or len(items) < 2:
        return map(function, items)
    return workers.executor.map(torch.inference_mode()(function), items)


@contextlib.contextmanager
def few_threads() -> Iterator[None]:
    """Let the calling thread compute with as many threads as a worker, for operators that are too small to share."""
    n_before = torch.get_num_threads()
    torch.set_num_threads(min(_workers().n_threads, n_before))
    try:
        yield
    finally:
        torch.set_num_threads(n_before)


@cache
def _workers() -> _Workers:
    n_available = torch.get_num_threads()
    n_workers = min(MAX_WORKERS, n_available)
    n_threads = n_available // n_workers
    executor = ThreadPoolExecutor(n_workers, "chunks", torch.set_num_threads, (n_threads,))
    return _Workers(n_workers, n_threads, executor)
