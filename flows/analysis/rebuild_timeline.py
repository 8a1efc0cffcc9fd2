"""Rebuild timelines (pass 2) from stored observations, without the videos. Independent of Prefect."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from analytics import connect
from analytics.results.corrections import (
    CorrectionError,
    build_corrected_timeline,
    corrected_settings,
    fitting_corrections,
)
from analytics.results.ids import analysis_id
from analytics.results.status import may_be_in_progress
from analytics.results.store import Store, StoreError, check_results
from analytics.results.stored_timeline import build_stored_timeline
from analytics.results.video_record import VideoRecord
from analytics.results.videos import all_videos, choose_videos
from analytics.tracking.identities import IdentitiesError
from flows.settings import TimelineSettings

if TYPE_CHECKING:
    from analytics.timeline.build import TimelineConfig

# Before this version of the observations, blur was measured in crops of the model's input size, usually 40 px, in which
# it is larger; then this was the threshold.
BLUR_AT_48_PX_SINCE, FORMER_MIN_BLUR = 5, 80.0
SPEEDS = ("frames_per_s", "n_observed", "decode_wait_s", "detect_s", "crop_s", "classify_s", "landmarks_s")


@dataclass(frozen=True)
class Rebuilt:
    """The result of rebuilding the timeline of one video."""

    path: str
    status: str  # status of the timeline: "done", "unchanged" or "failed"
    video_id: str
    analysis_id: str | None = None
    n_faces: int = 0
    n_tracks: int = 0
    seconds: float = 0.0
    note: str = ""  # reason of a failure


def rebuild_timelines(
    results: Path,
    settings: TimelineSettings,
    wanted: Sequence[str] = (),
    on_video: Callable[[Rebuilt], None] = lambda rebuilt: None,
) -> list[Rebuilt]:
    """Rebuild the timelines of some or all videos and make them the current ones.

    Args:
        results: the results folder.
        settings: of pass 2.
        wanted: videos by path, name or id; all by default.
        on_video: called after each video.

    Raises:
        StoreError: if `results` is not a results folder, or cannot be written.
        UnknownVideoError: if one of `wanted` is not in the results.
    """
    check_results(results)
    videos = all_videos(connect(results, observations=False))
    ids = choose_videos(videos, wanted) if wanted else [row.video_id for row in videos]
    rebuilt = []
    for row in videos:
        if row.video_id in ids:
            rebuilt.append(rebuild_timeline(Store(results), row, settings))
            on_video(rebuilt[-1])
    return rebuilt


def config_for(settings: TimelineSettings, observe: Mapping[str, Any]) -> "TimelineConfig":
    """Return the configuration of pass 2 for observations made with the settings `observe` of pass 1."""
    config = settings.config(observe["detector_score_threshold"])
    if observe.get("observe_version", 0) < BLUR_AT_48_PX_SINCE:
        return replace(config, quality=replace(config.quality, min_blur=FORMER_MIN_BLUR))
    return config


def rebuild_timeline(store: Store, row: VideoRecord, settings: TimelineSettings) -> Rebuilt:
    """Rebuild the timeline of one video.

    Args:
        store: the results.
        row: of view videos.
        settings: of pass 2.

    Raises:
        StoreError: if the results cannot be written.
    """
    started_s = time.perf_counter()
    path, video = row.path, row.video_id
    if row.status != "done":
        return Rebuilt(path, "failed", video, note=f"{path}: was never analyzed: {row.error}")
    stored = row.stored_settings
    config = config_for(settings, stored["observe"])
    corrections = fitting_corrections(store, row, config)
    timeline_settings = corrected_settings(config, corrections)
    seen = row.observed
    analyzed = analysis_id(seen[1], timeline_settings)
    # A live session that is running or was killed may have more observations than its tables contain.
    if store.is_done(video, analyzed) and not row.is_running:
        # Keep the error of a later run, because it is unknown whether that run would succeed now.
        store.mark_as_current(video, analyzed, path, error=row.error)
        sizes = store.table_rows(video, analyzed)
        return Rebuilt(path, "unchanged", video, analyzed, sizes["faces"], sizes["tracks"])
    n_frames = store.table_rows(video, row.analysis_id)["frames"]
    try:
        observations = store.read_observations(*seen, store.n_segments(*seen))
    except StoreError as error:
        return Rebuilt(path, "failed", video, note=f"{path}: {error}")
    if (n_seen := pc.count_distinct(observations["frame_index"]).as_py()) < n_frames:
        reason = f"what was seen is not all there any more ({n_seen} of {n_frames} frames)"
        return Rebuilt(path, "failed", video, note=f"{path}: {reason}: run fervid analyze on the video again")
    try:
        new, end_s = bool(row.is_running), row.shown_until_s
        timeline = build_stored_timeline(store, *seen, observations, config, recompute_identities=new, end_s=end_s)
        if corrections:
            timeline = build_corrected_timeline(observations, config, timeline.identities, corrections, end_s=end_s)
    except (IdentitiesError, CorrectionError) as error:
        return Rebuilt(path, "failed", video, note=f"{path}: {error}")
    # The fingerprint of a request belongs to `fervid analyze`, whose other settings are unknown here.
    requested = {name: value for name, value in stored.get("run", {}).items() if name != "request"}
    changed = {
        "analysis_id": analyzed,
        "settings": json.dumps(stored | {"timeline": timeline_settings, "run": requested}),
        "started_at": datetime.now(UTC),
        **dict.fromkeys(SPEEDS),  # speeds are NULL because no frame was processed
        "is_running": False if row.live_since else None,
        "joined_by_look": timeline.used_appearance,
    }
    store.commit_analysis(row.columns() | changed, timeline)
    if row.is_running and not may_be_in_progress(store.root, video):
        store.drop_appearance(*seen)  # the session was killed, so no other process drops its appearance data
    seconds = time.perf_counter() - started_s
    return Rebuilt(path, "done", video, analyzed, len(timeline.faces), len(timeline.tracks), seconds)
