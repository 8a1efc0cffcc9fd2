"""Rebuild timelines (pass 2) from stored observations, without the videos. Independent of Prefect."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from analytics import connect
from analytics.results.carry_notes import carry_notes, finish_carrying, is_up_to_date
from analytics.results.ids import analysis_id
from analytics.results.in_progress import videos_in_progress
from analytics.results.results_folder import check_results
from analytics.results.store import Store, StoreError
from analytics.results.stored_timeline import build_stored_timeline
from analytics.results.video_record import VideoRecord
from analytics.results.videos import all_videos, choose_videos
from analytics.tracking.identities import IdentitiesError
from flows.settings import TimelineSettings

if TYPE_CHECKING:
    from analytics.timeline.build import TimelineConfig

# Earlier versions of the observations measured blur in crops of the model's input size, usually 40 px, which gives
# larger values; their timelines are built with the former threshold.
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
    note: str = ""  # reason of a failure, or why a timeline is unchanged


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
    store = Store(results)
    with connect(results, observations=False) as connection:
        videos = all_videos(connection)
    ids = choose_videos(videos, wanted) if wanted else [row.video_id for row in videos]
    rebuilt = []
    # Of several contents of a file, the newest one stays the newest.
    for row in sorted(videos, key=lambda row: (row.path, row.finished_at)):
        if row.video_id in ids:
            rebuilt.append(rebuild_timeline(store, row, settings))
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
        row: of the view `videos`.
        settings: of pass 2.

    Raises:
        StoreError: if the results cannot be written.
    """
    started_s = time.perf_counter()
    path, video = row.path, row.video_id
    if row.status != "done":
        return Rebuilt(path, "failed", video, note=f"{path}: was never analyzed: {row.error}")
    finish_carrying(store, video)
    stored = row.stored_settings
    config = config_for(settings, stored["observe"])
    observation_ids = row.observed
    analyzed = analysis_id(observation_ids[1], config.settings())
    if row.is_running and video in videos_in_progress(store.root, [video]):
        return _rebuilt(store, row, "unchanged", note="the live session is running, and updates its timeline itself")
    # A live session that was killed may have more observations than its tables contain.
    if not row.is_running and is_up_to_date(store.root, row, analyzed) and store.is_done(video, row.analysis_id):
        return _rebuilt(store, row, "unchanged")
    if not row.is_running and store.is_done(video, analyzed):
        with carry_notes(store, video):
            # Keep the error of a later run, because it is unknown whether that run would succeed now.
            store.show_analysis(row, analyzed)
        return _rebuilt(store, row, "done")
    try:
        observations = _read_observations(store, row)
        timeline = build_stored_timeline(
            store,
            *observation_ids,
            observations,
            config,
            recompute_identities=bool(row.is_running),
            end_s=row.shown_until_s,
        )
        if row.is_running and not stored.get("run", {}).get("keep_appearance"):
            store.drop_appearance(*observation_ids)  # as the session would have done at its end
    except (StoreError, IdentitiesError) as error:
        return Rebuilt(path, "failed", video, note=f"{path}: {error}")
    # The fingerprint of a request belongs to `fervid analyze`, whose other settings are unknown here.
    requested = {name: value for name, value in stored.get("run", {}).items() if name != "request"}
    changed = {
        "analysis_id": analyzed,
        "settings": json.dumps(stored | {"timeline": config.settings(), "run": requested}),
        "started_at": datetime.now(UTC),
        **dict.fromkeys(SPEEDS),  # speeds are NULL because no frame was processed
        "is_running": False if row.live_since else None,
        "joined_by_look": timeline.used_appearance,
    }
    with carry_notes(store, video):
        store.commit_analysis(row.columns() | changed, timeline)
    return _rebuilt(store, row, "done", seconds=time.perf_counter() - started_s)


def _rebuilt(store: Store, row: VideoRecord, status: str, *, seconds: float = 0.0, note: str = "") -> Rebuilt:
    """The result for a video, whose timeline is the shown one now."""
    shown = store.shown_analysis(row.video_id)
    assert shown is not None
    sizes = store.table_rows(row.video_id, shown.analysis_id)
    return Rebuilt(row.path, status, row.video_id, shown.analysis_id, sizes["faces"], sizes["tracks"], seconds, note)


def _read_observations(store: Store, row: VideoRecord) -> pa.Table:
    """Read the observations of all frames of a video.

    Raises:
        StoreError: if a segment is damaged, or frames are missing.
    """
    observations = store.read_observations(*row.observed, store.n_segments(*row.observed))
    n_frames = store.table_rows(row.video_id, row.analysis_id)["frames"]
    if (n_found := pc.count_distinct(observations["frame_index"]).as_py()) < n_frames:
        raise StoreError(
            f"observations are missing ({n_found} of {n_frames} frames found): run fervid analyze on the video again"
        )
    return observations
