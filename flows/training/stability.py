"""Stability of an emotion model on videos, measured on the tracked faces of an analysis."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analytics.queries.connection import connect
from fer_models.errors import FervidError
from fer_models.evaluation.stability import Stability, measure_stability
from fer_models.files import check_regular_file
from fer_models.labels import EMOTIONS
from flows.analysis.analyze_video import analyze_video
from flows.analysis.context import AnalysisContext
from flows.analysis.failures import VideoFailed
from flows.settings import AnalyzeSettings, TimelineSettings

PROBABILITIES = ", ".join(f"p_{emotion}" for emotion in EMOTIONS)
GOOD_FACES = f"""
SELECT track_id, frame_index, {PROBABILITIES} FROM faces
WHERE analysis_id = ? AND quality_ok AND track_id IS NOT NULL
"""


class StabilityError(FervidError):
    """A video cannot be analyzed, so its stability cannot be measured."""


def check_videos(videos: Sequence[Path]) -> None:
    """Check that the videos exist and are files.

    Raises:
        NotRegularFileError: if one is no file.
        StabilityError: if one does not exist.
    """
    for video in videos:
        if not video.exists():
            raise StabilityError(f"{video}: no such file: check its name")
        check_regular_file(video)


def evaluate_on_videos(model: str, videos: Sequence[Path], device: str) -> dict[Path, Stability]:
    """Measure the stability of a model's raw probabilities on all frames of each video, by path.

    Low-quality faces and faces without a track are excluded. Other settings are the defaults, also if the environment
    has FERVID_ variables, so that figures can be compared.

    Raises:
        DeviceError: if the device is not available.
        StabilityError: if a video cannot be analyzed.
        WeightsError: if there is no such model, or it is damaged.
    """
    # Unlike calls of these classes, `model_construct` does not read the environment.
    defaults = AnalyzeSettings.model_construct(timeline=TimelineSettings.model_construct())
    settings = defaults.model_copy(update={"model": model, "device": device})
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        context = AnalysisContext(Path(folder) / "results", settings)
        for video in videos:
            try:
                outcome = analyze_video(video, context)
            except VideoFailed as error:
                raise StabilityError(str(error)) from error
            with connect(context.out) as connection:
                rows = connection.execute(GOOD_FACES, [outcome.analysis_id]).fetchnumpy()
            probabilities = np.column_stack([np.asarray(rows[f"p_{emotion}"]) for emotion in EMOTIONS])
            tracks, frames = np.asarray(rows["track_id"]), np.asarray(rows["frame_index"])
            figures[video] = measure_stability(tracks, frames, probabilities)
    return figures
