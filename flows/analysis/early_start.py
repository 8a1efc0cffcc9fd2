"""Analyze the first videos of a run while Prefect is still starting; its tasks take over what was begun."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from flows.analysis.analyze_video import analyze_video
from flows.analysis.run import AnalysisRun


@contextlib.contextmanager
def early_start(run: AnalysisRun) -> Iterator[None]:
    """Start the analysis of the videos of a run in threads, in their order, as many at a time as the run has workers.

    A task of the flow that finds its video begun waits for that; what was not begun is left to the tasks.
    """
    pool = ThreadPoolExecutor(run.engine.workers, thread_name_prefix="early")
    run.context.begun.update({path: pool.submit(analyze_video, path, run.context) for path in run.videos})
    try:
        yield
    except BaseException:
        run.context.progress.stop_requested.set()  # Prefect failed: nobody will use the results of these threads
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
