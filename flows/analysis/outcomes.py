"""The result of a run, and of each of its videos."""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analytics.results.notes import FOLDER as NOTES
from analytics.results.videos import path_text
from flows.analysis.context import AnalysisContext
from flows.analysis.fingerprints import describe_models
from flows.analysis.finished_work import FinishedWork

if TYPE_CHECKING:
    from flows.analysis.run import AnalysisRun


@dataclass(frozen=True)
class VideoOutcome:
    """The result of a run for one video."""

    path: Path
    status: str  # "done" or "unchanged"; a failure raises `VideoFailed`
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
    same_as: str = ""  # another file with the same content, whose row represents both
    notes: tuple[str, ...] = ()  # what was chosen, repaired or left out when the file was read
    n_observed: int = 0  # frames observed in this run; the others were stored already
    models: str = ""  # the models of the process that analyzed it, and how they were chosen
    times: dict[str, float] = field(default_factory=dict)  # seconds of each stage


@dataclass(frozen=True)
class Failure:
    """A video that could not be analyzed, and the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class RunSummary:
    """The result of a run, video by video."""

    out: Path
    outcomes: list[VideoOutcome]
    failures: list[Failure]
    seconds: float

    @property
    def frames_per_s(self) -> float:
        """Frames observed in this run per second of it."""
        return sum(o.n_observed for o in self.outcomes) / max(self.seconds, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {
            "out": str(self.out),
            "seconds": self.seconds,
            "frames_per_s": self.frames_per_s,
            "videos": [dataclasses.asdict(o) | {"path": str(o.path)} for o in self.outcomes],
            "failures": [{"path": str(f.path), "reason": f.reason} for f in self.failures],
        }


def skip_all(run: "AnalysisRun") -> RunSummary | None:
    """The summary of a run with nothing to do, found without loading models; None if there is something to do."""
    found = {path: run.context.finished.find(path) for path in run.videos}
    finished = {path: work for path, work in found.items() if work is not None}
    if len(finished) < len(found):
        return None
    started_s = time.monotonic()
    outcomes = [skip_outcome(path, work, run.context) for path, work in finished.items()]
    return RunSummary(run.context.out, outcomes, [], time.monotonic() - started_s)


def skip_outcome(path: Path, work: FinishedWork, context: AnalysisContext) -> VideoOutcome:
    """The outcome of a video whose analysis is finished; the views show it from now on."""
    store, ids = context.store, work.ids
    if work.may_have_appearance and not context.settings.keep_appearance:
        _drop_appearance(work, context)
    known_path = store.show(*ids.analyzed, path_text(path))
    _apply_corrections(work, context)
    sizes = store.table_rows(*ids.analyzed)
    return VideoOutcome(
        path=path,
        status="unchanged",
        video_id=ids.video_id,
        analysis_id=ids.analysis_id,
        n_frames=sizes["frames"],
        n_faces=sizes["faces"],
        n_tracks=sizes["tracks"],
        same_as=known_path if known_path != path_text(path) else "",
        models=describe_models(work.observe),
    )


def _apply_corrections(work: FinishedWork, context: AnalysisContext) -> None:
    """Show the timeline with the corrections of people that users made in the dashboard, if there are any."""
    if (context.store.root / NOTES).exists():
        from analytics.results.corrections import apply_corrections  # imports SciPy

        apply_corrections(context.store, *work.ids.analyzed)


def _drop_appearance(work: FinishedWork, context: AnalysisContext) -> None:
    """Drop appearance data that an earlier run kept, or left when it was interrupted."""
    from analytics.results.stored_timeline import knows_identities  # imports SciPy

    config = context.settings.timeline.config(work.observe["detector_score_threshold"])
    if knows_identities(context.store, *work.ids.observed, config):
        context.store.drop_appearance(*work.ids.observed)
