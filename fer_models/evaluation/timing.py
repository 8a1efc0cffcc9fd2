"""Measurement of the time that a computation takes."""

import time
from collections.abc import Callable


def best_round_s(work: Callable[[], object], seconds: float) -> float:
    """Measure the time that `work` takes, in seconds: the best round within `seconds`, after a warm-up."""
    work()
    best_s, end_s = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        start_s = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - start_s)
    return best_s
