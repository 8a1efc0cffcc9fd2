"""Import large libraries faster."""

import atexit
import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def without_gc() -> Iterator[None]:
    """Pause the garbage collector, which searches the many new objects of an import repeatedly and finds no garbage.

    Objects created meanwhile are excluded from later collections until the process ends.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


# The last collection must free the objects of Triton and DuckDB, whose bindings otherwise report them as leaked.
atexit.register(gc.unfreeze)
