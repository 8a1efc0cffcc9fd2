"""Record which analyzed files a run found to have been replaced."""

from analytics.results.replaced_files import mark_replaced_files
from analytics.results.videos import path_text
from flows.analysis.context import AnalysisContext
from flows.analysis.outcomes import RunSummary


def record_replaced_files(summary: RunSummary, context: AnalysisContext) -> None:
    """Mark the rows of files that the run found to have the content of another video."""
    found = {path_text(outcome.path): outcome.video_id for outcome in summary.outcomes}
    known = context.finished.paths
    if any(path in known and known[path].video_ids != {video_id} for path, video_id in found.items()):
        mark_replaced_files(context.store, found)
