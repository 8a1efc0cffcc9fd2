"""What is to be done to a video, as ids that settings and weights decide, and as columns of table videos."""

import importlib.metadata
import json
import platform
from functools import lru_cache
from typing import Any

from analytics.results.ids import analysis_id, observation_id
from analytics.timeline.build import TimelineConfig
from fer_models.observe import OBSERVE_VERSION
from fer_models.registry.model_registry import portable_model_ref
from fer_models.video import VideoInfo
from flows.analysis.model_bundle import Models
from flows.settings import AnalyzeSettings

VERSIONED = ("fervid", "av", "decord", "numpy", "pyarrow", "retina-face", "torch", "torchvision")


def work_ids(video: str, settings: AnalyzeSettings, models: Models, decoder: str) -> dict[str, str]:
    """The ids of a video, of what is seen in it, and of what is made of that."""
    observed = observation_id(video, observation_settings(settings, models, decoder), models.weights())
    analyzed = analysis_id(observed, timeline_config(settings, models).settings())
    return {"video_id": video, "observation_id": observed, "analysis_id": analyzed}


def observation_settings(settings: AnalyzeSettings, models: Models, decoder: str) -> dict[str, Any]:
    """Every setting of pass 1 that can change a number, and the length of a segment."""
    return {
        "observe_version": OBSERVE_VERSION,
        **settings.model_dump(include={"fps", "start_s", "end_s", "min_face_px", "segment_s"}),
        "decoder": decoder,
        "detector": models.detector.name,
        "detector_score_threshold": models.detector.score_threshold,
        "detector_size_px": models.detector.max_side_px,
        "detector_precision": str(models.detector.dtype).removeprefix("torch."),
        "model": models.classifier.card.name,
        "device": models.classifier.device.type,
        "precision": str(models.classifier.dtype).removeprefix("torch."),
    }


def timeline_config(settings: AnalyzeSettings, models: Models) -> TimelineConfig:
    """The settings of pass 2."""
    return settings.timeline.config(models.detector.score_threshold)


def describe(info: VideoInfo) -> dict[str, Any]:
    """Columns of `videos` that say what the video is."""
    names = ("container", "codec", "width_px", "height_px", "rotation_deg", "duration_s", "n_frames", "avg_fps")
    return {name: getattr(info, name) for name in (*names, "is_vfr", "decoder", "decoder_reason")}


def provenance_columns(settings: AnalyzeSettings, models: Models, decoder: str) -> dict[str, str]:
    """Columns of `videos` that say how it was analyzed."""
    all_settings = {
        "observe": observation_settings(settings, models, decoder) | {"detector_reason": models.detector_reason},
        "timeline": timeline_config(settings, models).settings(),
        # How the run was asked for: changes no number, so it is in no id, but `fervid retry` goes by it.
        "run": {
            "model": portable_model_ref(settings.model),
            **settings.model_dump(include={"keep_appearance", "overwrite"}),
        },
    }
    return {"settings": json.dumps(all_settings), "weights": json.dumps(models.weights())}


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
