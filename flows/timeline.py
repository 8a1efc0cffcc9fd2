"""Pass 2 alone as a flow, for schedules; the command line does without Prefect, which takes longer to start."""

from collections.abc import Sequence
from pathlib import Path

from prefect import flow

from flows.settings import TimelineSettings
from flows.timeline_job import Rebuilt, rebuild_timelines


@flow(name="timeline", flow_run_name="timelines of {results}", persist_result=False)
def timeline(
    results: str | Path, settings: TimelineSettings | None = None, videos: Sequence[str] = ()
) -> list[Rebuilt]:
    """Make the timelines of some videos anew, or of all, by path, name or id; the views then show these.

    Raises:
        StoreError: if `results` is not a results folder, or cannot be written.
        UnknownVideoError: if one of `videos` is not in the results.
    """
    return rebuild_timelines(Path(results), settings or TimelineSettings(), videos)
