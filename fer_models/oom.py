"""Networks that run out of memory go on with less at a time; memory they give back stays at hand."""

import contextlib
import ctypes
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

# What PyTorch, and the libraries under it, say in place of an `OutOfMemoryError`.
_SAYS_NO_MEMORY = ("DefaultCPUAllocator", "ALLOC_FAILED", "CUDA error: out of memory")


def run_with_oom_backoff(
    n_items: int, size: int, work: Callable[[slice, int], T], on_less: Callable[[int], None]
) -> list[T]:
    """What `work` gives for each chunk of `size` items; half as many from where memory runs out.

    Args:
        n_items: how many items there are; may be 0.
        size: items of a full chunk; only the last one holds fewer.
        work: takes which items are meant, and how many a full chunk has now. Another thread may work with the same
            network and another size.
        on_less: told the new size, for the next time.

    Raises:
        RuntimeError: as `work` does, also if memory does not suffice for a single item.
    """
    results: list[T] = []
    start = 0
    while start < n_items:
        try:
            results.append(work(slice(start, min(start + size, n_items)), size))
            start += size
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2
            on_less(size)
    return results


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, on the device or in the machine."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _SAYS_NO_MEMORY)


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, for the next batch, rather than give it back to the system.

    Else pages are taken and given back in every layer of a network on the processor: it then ran at two thirds of its
    speed, or not, as the heap happened to lie. Only glibc has this; elsewhere nothing is done.
    """
    trim_threshold, mmap_threshold = -1, -3  # parameters of mallopt(3)
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(mmap_threshold, 32 * 2**20)  # the most it takes; larger pieces are given back as before
        mallopt(trim_threshold, 2**30)
