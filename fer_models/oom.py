"""Retry with smaller batches when memory runs out, and keep freed memory for reuse."""

import contextlib
import ctypes
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch

from fer_models.threads import map_in_threads

T = TypeVar("T")

# Texts in messages of PyTorch and its libraries that mean that memory ran out.
# If no algorithm of a convolution fits into the memory, PyTorch only says that it found none.
_SAYS_NO_MEMORY = (
    "DefaultCPUAllocator",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "CUDA error: out of memory",
    "unable to find an engine",
)


def run_with_oom_backoff(
    n_items: int,
    size: int,
    work: Callable[[slice, int], T],
    on_less: Callable[[int], None],
    *,
    in_threads: bool = False,
) -> list[T]:
    """Call `work` for chunks of `size` items, and halve the size whenever memory runs out.

    Args:
        n_items: number of items; may be 0.
        size: items in a full chunk; only the last chunk holds fewer.
        work: takes the range of items and the current size of a full chunk. (Another thread may use the same network
            with another size.)
        on_less: called with each reduced size, so that the caller can start with it next time.
        in_threads: whether to process chunks in parallel, see `map_in_threads`; in turn once memory has run out.

    Returns:
        The results of `work`, one for each chunk.

    Raises:
        RuntimeError: from `work`, including out of memory for a single item.
    """
    results: list[T] = []
    start, in_turn = 0, False
    while start < n_items:
        chunks = [slice(first, min(first + size, n_items)) for first in range(start, n_items, size)]
        work_on = partial(_work_on, work, size)
        try:
            for result in map_in_threads(work_on, chunks, in_turn=in_turn) if in_threads else map(work_on, chunks):
                results.append(result)
                start += size
        except RuntimeError as error:
            is_alone = in_turn or not in_threads
            if not is_out_of_memory(error) or (size == 1 and is_alone):
                raise
            if is_alone:
                size //= 2
                on_less(size)
            in_turn = True  # a chunk may fit where several at the same time do not
    return results


def _work_on(work: Callable[[slice, int], T], size: int, chunk: slice) -> T:
    return work(chunk, size)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that device or main memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _SAYS_NO_MEMORY)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next batch instead of returning it to the system.

    Otherwise, every layer of a network on the CPU may map and unmap pages, which can cost a third of the speed,
    depending on the layout of the heap. Only glibc supports this; elsewhere nothing happens.
    """
    # Numbers of the parameters M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3).
    trim_threshold, mmap_threshold = -1, -3
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(mmap_threshold, 32 * 2**20)  # the largest allowed value: larger blocks are still returned to the system
        mallopt(trim_threshold, 2**30)
