"""Write the rendered video, and say which faces it may show."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from analytics.results.atomic_write import write_atomic
from analytics.results.ids import file_sha256, video_id
from analytics.results.storage_paths import StoragePath
from fer_models.video import VideoInfo, check_readable, probe
from fer_models.video.writing import write_video
from flows.analysis.inputs import local_copy
from flows.render.analyzed_video import (
    RenderError,
    analyze_command,
    read_analysis,
    read_differently,
    read_observed,
    refuse_live,
)
from flows.render.scene import NO_BOXES, Hiding, make_scene, rendered_frames
from flows.settings import AnalyzeSettings

MIN_DETECTED_PX = 12  # detectors miss many faces that are smaller than this in their input


def render_video(
    video: StoragePath,
    results: Path,
    out: Path,
    *,
    hiding: Hiding | None = None,
    only: int | None = None,
    annotate: bool = True,
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Write the video as MP4 with boxes, labels and a running timeline; audio and timestamps are kept.

    People who were hidden in the dashboard are not drawn; their faces are blurred or pixelated like all others.

    Args:
        video: the file or its address, found in the results by its content.
        results: the results folder.
        out: the file to write.
        hiding: how to hide every detected face in every frame; frames of intervals that were not analyzed are hidden
            entirely.
        only: draw only this track; all faces are hidden nevertheless.
        annotate: False draws neither boxes and labels nor the timeline.
        on_frame: called with the number of frames done and the total.

    Returns:
        Notes on people who have to be confirmed, and, with `hiding`, on faces that the analysis may not have found.

    Raises:
        RenderError: if the video is not in the results, was read otherwise by the version that analyzed it, has no such
            track, or the person of the track is hidden.
        VideoReadError: if the video cannot be read.
        StoreError: if `results` is not a results folder, or `out` cannot be written.
    """
    refuse_live(video, results)
    with local_copy(video) as file:
        check_readable(file)
        content_id = video_id(file_sha256(file))
        observed = read_observed(content_id, video, results)
        observe = observed.settings
        info = probe(file, "pyav", video_stream=observe.get("video_stream"), rotate=observe.get("rotate", 0))
        if info.is_still:
            raise RenderError(f"{video}: is a still image: only videos can be rendered")
        analysis = read_analysis(content_id, video, results, only)
        if how := read_differently(info, observed, analysis):
            raise RenderError(
                f"{video}: was analyzed by a version that {how}. Analyze it again: {analyze_command(video, results)}"
            )
        scene = make_scene(info, analysis, observe, hiding)
        if not annotate:
            scene = replace(scene, shown=NO_BOXES, strip=None)
        write_atomic(out, lambda part: write_video(part, rendered_frames(info, scene, hiding, on_frame), info))
    return [
        *([analysis.people_note] if annotate and analysis.people_note else []),
        *(_notes_on_hiding(info, observe) if hiding else []),
    ]


def _notes_on_hiding(info: VideoInfo, observe: Mapping[str, Any]) -> list[str]:
    """Which faces may not be hidden, because the analysis with these settings of pass 1 may not have found them."""
    side_px = max(info.width_px, info.height_px)
    searched_px = min(observe.get("detector_size_px", side_px), side_px)
    least_px = max(observe.get("min_face_px", 0), MIN_DETECTED_PX * side_px / searched_px)
    notes = [
        "Undetected faces are not hidden: most that are upside down or strongly tilted, some in profile or masked, and "
        "many under "
        f"{least_px:.0f} px (frames of {side_px} px were searched at {searched_px} px). Voices are unchanged. Check "
        "the video before you share it; fervid render --help says how to find more faces."
    ]
    step_s = max(observe.get("detect_every_s", 0), 1 / (observe.get("fps") or math.inf))
    if step_s > AnalyzeSettings.model_fields["detect_every_s"].default:
        notes.append(
            f"Frames were searched every {step_s:g} s: people who were visible only in between are not hidden. To find "
            "them, analyze the video with --detect-every 0 and without --fps."
        )
    return notes
