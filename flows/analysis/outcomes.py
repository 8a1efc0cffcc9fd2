"""The result of a run, and of each of its videos."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analytics.results.storage_paths import StoragePath
from analytics.results.video_record import VideoRecord, analyzed_part
from analytics.time_tolerance import is_shorter


@dataclass(frozen=True)
class VideoOutcome:
    """The result of a run for one video."""

    path: StoragePath
    status: str  # "done" or "unchanged"; a failure raises `VideoFailed` instead
    video_id: str
    analysis_id: str
    n_frames: int
    n_faces: int
    n_tracks: int
    seconds: float = 0.0
    frames_per_s: float | None = None
    decoder: str = ""
    decoder_reason: str = ""
    n_undecoded: int = 0
    same_as: str = ""  # path of another file with the same content, whose row represents both
    notes: tuple[str, ...] = ()  # what was chosen, repaired or left out when the file was read, as sentences
    n_observed: int = 0  # number of frames observed in this run; all others were stored already
    models: str = ""  # the models, and how they were chosen, in the process that analyzed the video
    times: dict[str, float] = field(default_factory=dict)  # stage -> seconds


@dataclass(frozen=True)
class Failure:
    """A video that could not be analyzed, and the reason."""

    path: StoragePath
    reason: str


@dataclass(frozen=True)
class RunSummary:
    """The result of a run, video by video."""

    out: StoragePath
    outcomes: list[VideoOutcome]
    failures: list[Failure]
    seconds: float

    @property
    def frames_per_s(self) -> float:
        """Frames observed in this run per second of it."""
        return sum(o.n_observed for o in self.outcomes) / max(self.seconds, 1e-9)

    def as_json(self) -> dict[str, object]:
        """The summary as plain values."""
        return {
            "out": str(self.out),
            "seconds": self.seconds,
            "frames_per_s": self.frames_per_s,
            "videos": [dataclasses.asdict(o) | {"path": str(o.path)} for o in self.outcomes],
            "failures": [{"path": str(f.path), "reason": f.reason} for f in self.failures],
        }


def range_notes(before: VideoRecord | None, after: VideoRecord) -> tuple[str, ...]:
    """A note if the shown analysis of a video, which was `before`, does not cover all of its times anymore."""
    if before is None:
        return ()
    duration_s = after.duration_s or 0.0  # still images have none
    (start_s, end_s), (now_start_s, now_end_s) = (
        analyzed_part(duration_s, row.settings) or (0.0, duration_s) for row in (before, after)
    )
    if not is_shorter(start_s, now_start_s) and not is_shorter(now_end_s, end_s):
        return ()
    from_s, to_s = min(start_s, now_start_s), max(end_s, now_end_s)
    options = ([f"--start {from_s:g}"] if from_s else []) + ([f"--end {to_s:g}"] if to_s < duration_s else [])
    return (
        f"the results now show {now_start_s:g} to {now_end_s:g} s, in place of an earlier analysis of {start_s:g} to "
        f"{end_s:g} s: fervid query --all-analyses shows both; to have one analysis of both, analyze "
        f"{'with ' + ' '.join(options) if options else 'without --start and --end'}",
    )


def describe_models(observe: Mapping[str, Any]) -> str:
    """The models that the settings of pass 1 name, their device and precision, in one line."""
    return (
        f"detector {observe['detector']} ({observe['detector_reason']}) with frames of at most "
        f"{observe['detector_size_px']} px, emotion model {observe['model']}, landmark network {observe['landmarks']}, "
        f"on {observe['device']}, faces in {observe['detector_precision']}, emotions in {observe['precision']}"
    )
