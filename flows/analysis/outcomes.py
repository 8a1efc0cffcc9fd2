"""The result of a run, and of each of its videos."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analytics.results.storage_paths import StoragePath


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


def describe_models(observe: Mapping[str, Any]) -> str:
    """The models that the settings of pass 1 name, their device and precision, in one line."""
    return (
        f"detector {observe['detector']} ({observe['detector_reason']}) with frames of at most "
        f"{observe['detector_size_px']} px, emotion model {observe['model']}, landmark network {observe['landmarks']}, "
        f"on {observe['device']}, faces in {observe['detector_precision']}, emotions in {observe['precision']}"
    )
