"""Import large libraries faster."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_gc() -> Iterator[None]:
    """Pause the garbage collector, which searches the many new objects of an import repeatedly and finds no garbage.

    Objects created meanwhile are excluded from later collections, because they live as long as the process.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
