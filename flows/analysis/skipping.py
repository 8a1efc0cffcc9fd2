"""Outcomes of videos whose analysis is finished, found without loading models; notes on what is no longer shown."""

import math
import time

from analytics.results.carry_notes import carry_notes, finish_carrying, is_up_to_date
from analytics.results.segments import newest_segment
from analytics.results.storage_paths import StoragePath, is_remote
from analytics.results.store import Store
from analytics.results.video_record import VideoRecord, analyzed_part
from analytics.results.videos import path_text
from analytics.time_tolerance import is_later
from flows.analysis.context import AnalysisContext
from flows.analysis.finished_work import FinishedWork
from flows.analysis.outcomes import RunSummary, VideoOutcome, describe_models
from flows.analysis.replaced import record_replaced_files
from flows.analysis.run import AnalysisRun


def skip_all(run: AnalysisRun) -> RunSummary | None:
    """The summary of a run with nothing to do, found without loading models; None if there is something to do."""
    found = {path: run.context.finished.find(path) for path in run.videos}
    finished = {path: work for path, work in found.items() if work is not None}
    if len(finished) < len(found):
        return None
    started_s = time.monotonic()
    outcomes = [skip_outcome(path, work, run.context) for path, work in finished.items()]
    summary = RunSummary(run.context.out, outcomes, [], time.monotonic() - started_s)
    record_replaced_files(summary, run.context)
    return summary


OTHER_SHOWN = (
    "the results now show an earlier analysis with these settings, in place of a later one with others, such as "
    "--start, --end or --speech"
)


def skip_outcome(path: StoragePath, work: FinishedWork, context: AnalysisContext) -> VideoOutcome:
    """Mark the finished analysis of a video as current, and return the outcome `unchanged`."""
    store, ids = context.store, work.ids
    if not context.settings.keep_appearance and _may_have_appearance(work, store):
        _drop_appearance(work, context)
    notes: tuple[str, ...] = ()
    file = path_text(path)
    after = context.finished.newest_at(path)
    finish_carrying(store, ids.video_id)
    shown = store.shown_analysis(ids.video_id)
    is_current = shown is not None and is_up_to_date(store.root, shown, ids.analysis_id)
    # The tables of `ids` are known to be readable, but not those with corrections.
    if (
        shown
        and is_current
        and (shown.analysis_id == ids.analysis_id or store.is_done(ids.video_id, shown.analysis_id))
    ):
        known_path = store.mark_as_current(
            ids.video_id, shown.analysis_id, file, object_version=work.object_version, after=after
        )
    else:
        before = shown
        with carry_notes(store, ids.video_id):
            known_path = store.mark_as_current(*ids.analyzed, file, object_version=work.object_version, after=after)
        shown = store.shown_analysis(ids.video_id)
        assert shown is not None
        notes = () if is_current else (OTHER_SHOWN, *range_notes(before, shown))
    sizes = store.table_rows(ids.video_id, shown.analysis_id)
    return VideoOutcome(
        path=path,
        status="unchanged",
        video_id=ids.video_id,
        analysis_id=shown.analysis_id,
        n_frames=sizes["frames"],
        n_faces=sizes["faces"],
        n_tracks=sizes["tracks"],
        same_as=known_path if known_path != file else "",
        notes=notes,
        models=describe_models(work.observe),
    )


def range_notes(before: VideoRecord | None, after: VideoRecord) -> tuple[str, ...]:
    """A note if the shown analysis of a video, which was `before`, does not cover all of its times anymore."""
    if before is None:
        return ()
    duration_s = after.duration_s or 0.0  # still images have none
    (start_s, end_s), (now_start_s, now_end_s) = (
        analyzed_part(duration_s, row.settings) or (0.0, duration_s) for row in (before, after)
    )
    if not is_later(now_start_s, start_s) and not is_later(end_s, now_end_s):
        return ()
    # Rounded outward, so that no frame is lost.
    from_s = math.floor(1000 * min(start_s, now_start_s)) / 1000
    to_s = math.ceil(1000 * max(end_s, now_end_s)) / 1000
    options = ([f"--start {from_s}"] if from_s else []) + ([f"--end {to_s}"] if to_s < duration_s else [])
    return (
        f"the results now show {now_start_s:.2f} to {now_end_s:.2f} s, in place of an earlier analysis of "
        f"{start_s:.2f} to {end_s:.2f} s: fervid query --all-analyses shows both; to have one analysis of both, "
        f"analyze {'with ' + ' '.join(options) if options else 'without --start and --end'}",
    )


def _may_have_appearance(work: FinishedWork, store: Store) -> bool:
    """Whether appearance data may be stored: a run kept it, or was killed after it observed the video again."""
    if work.keeps_appearance or work.finished_at is None or is_remote(store.root):
        return True
    return newest_segment(store.observations_folder(*work.ids.observed))[0] > work.finished_at.timestamp()


def _drop_appearance(work: FinishedWork, context: AnalysisContext) -> None:
    """Drop appearance data that an earlier run kept, or left when it was interrupted."""
    from analytics.results.stored_timeline import knows_identities  # imported here because it loads SciPy

    config = context.settings.timeline.config(work.observe["detector_score_threshold"])
    if knows_identities(context.store, *work.ids.observed, config):
        context.store.drop_appearance(*work.ids.observed)
