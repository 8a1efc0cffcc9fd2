"""Analysis of clips for tests: models are loaded once per test process."""

from functools import cache
from pathlib import Path
from typing import Any

from flows.analysis.analyze_video import VideoOutcome, analyze_video
from flows.analysis.context import AnalysisContext
from flows.analysis.model_bundle import Models, load_models
from flows.analysis.progress import Progress
from flows.settings import AnalyzeSettings

CPU = AnalyzeSettings(device="cpu")


@cache
def models_of(**chosen: Any) -> Models:
    """The models that the settings name, loaded on first use."""
    return load_models(AnalyzeSettings(**chosen))


def context_of(out: Path, settings: AnalyzeSettings = CPU, progress: Progress | None = None) -> AnalysisContext:
    """A context whose models are shared with other tests."""
    models = models_of(**settings.model_dump(include={"detector", "detector_size_px", "model", "device"}))
    return AnalysisContext(out, settings, progress, models)


def analyze_clip(
    path: Path, out: Path, settings: AnalyzeSettings = CPU, progress: Progress | None = None
) -> VideoOutcome:
    """Analyze a video as `fervid analyze` does, without Prefect."""
    return analyze_video(path, context_of(out, settings, progress))
