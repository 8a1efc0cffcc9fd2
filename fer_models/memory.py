"""Networks that run out of memory go on with less at a time."""

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")

# What PyTorch, and the libraries under it, say in place of an `OutOfMemoryError`.
_SAYS_NO_MEMORY = ("DefaultCPUAllocator", "ALLOC_FAILED", "CUDA error: out of memory")


def in_chunks(n_items: int, size: int, work: Callable[[slice, int], T], on_less: Callable[[int], None]) -> list[T]:
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
