"""Identity and provenance of work: ids made from content, settings and weights, and columns of the table `videos`."""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from analytics.results.ids import TIMELINE_VERSION, analysis_id, observation_id
from fer_models.detection import find_detector
from fer_models.observe_version import OBSERVE_VERSION
from fer_models.registry.model_registry import (
    ModelCard,
    find_model,
    list_cards,
    list_model_dirs,
    portable_model_ref,
    read_card,
)
from flows.analysis.card_hash import card_hash
from flows.settings import AnalyzeSettings

if TYPE_CHECKING:
    from analytics.timeline.build import TimelineConfig
    from fer_models.video import VideoInfo
    from flows.analysis.model_bundle import Models

# Settings that change no number, and settings that `request_fingerprint` includes in another form.
_NEUTRAL = {
    "batch_size",
    "decode_timeout_s",
    "detector",
    "device",
    "keep_appearance",
    "model",
    "overwrite",
    "verify_content",
}
# Settings of pass 1 that are stored as they were given, and used by `fervid retry`.
OBSERVATION_SETTINGS = {
    "fps",
    "start_s",
    "end_s",
    "video_stream",
    "rotate",
    "detect_every_s",
    "keep_landmarks",
    "min_face_px",
    "segment_s",
}
VERSIONED = ("fervid", "av", "decord", "numpy", "pyarrow", "retina-face", "torch", "torchvision")


@dataclass(frozen=True)
class WorkIds:
    """The ids of a video, of its observations and of their analysis. Equal ids mean equal rows."""

    video_id: str
    observation_id: str
    analysis_id: str

    @property
    def observed(self) -> tuple[str, str]:
        """The ids under which the store keeps the observations."""
        return self.video_id, self.observation_id

    @property
    def analyzed(self) -> tuple[str, str]:
        """The ids under which the store keeps the analysis."""
        return self.video_id, self.analysis_id

    def columns(self) -> Mapping[str, str]:
        """The ids as columns of the table `videos`."""
        return asdict(self)


def work_ids(video: str, settings: AnalyzeSettings, models: "Models", decoder: str) -> WorkIds:
    """Compute the ids of a video, its observations and its analysis."""
    observed = observation_id(video, observation_settings(settings, models, decoder), models.weights())
    return WorkIds(video, observed, analysis_id(observed, timeline_config(settings, models).settings()))


def observation_settings(settings: AnalyzeSettings, models: "Models", decoder: str) -> dict[str, object]:
    """Every setting of pass 1 that can change a number, and the length of a segment."""
    return {
        "observe_version": OBSERVE_VERSION,
        **settings.model_dump(include=OBSERVATION_SETTINGS),
        "decoder": decoder,
        "detector": models.detector.name,
        "detector_score_threshold": models.detector.score_threshold,
        "detector_size_px": models.detector.max_side_px,
        "detector_precision": models.detector.precision,
        "model": models.classifier.card.name,
        "landmarks": models.landmarker.name,
        "device": models.classifier.device.type,
        "precision": models.classifier.precision,
        **models.cards,
    }


def timeline_config(settings: AnalyzeSettings, models: "Models") -> "TimelineConfig":
    """The configuration of pass 2."""
    return settings.timeline.config(models.detector.score_threshold)


def describe(info: "VideoInfo") -> dict[str, object]:
    """The columns of the table `videos` that describe the file."""
    names = (
        *("container", "codec", "video_stream", "width_px", "height_px", "rotation_deg", "is_mirrored"),
        *("start_time_s", "duration_s", "n_frames", "avg_fps", "is_vfr", "n_clock_jumps"),
        *("decoder", "decoder_reason"),
    )
    return {name: getattr(info, name) for name in names} | {"notes": "; ".join(info.notes) or None}


def shown_until_s(info: "VideoInfo", settings: AnalyzeSettings) -> float | None:
    """The time at which the last sampled frame ends; None for a still image, which has no end."""
    if info.end_s <= info.pts_s[-1]:
        return None
    return info.end_s if settings.end_s is None else min(info.end_s, settings.end_s)


def provenance_columns(settings: AnalyzeSettings, models: "Models", decoder: str, request: str) -> dict[str, str]:
    """The columns of the table `videos` that say how the video was analyzed; `request` as of `request_fingerprint`."""
    all_settings = {
        "observe": observation_settings(settings, models, decoder) | {"detector_reason": models.detector_reason},
        "timeline": timeline_config(settings, models).settings(),
        # How the run was requested. It changes no number and is part of no id, but `fervid retry` uses it.
        "run": {
            "model": portable_model_ref(settings.model),
            # A run that repeats this one uses the same detector, even where "auto" would choose another.
            "detector": models.detector.name if settings.detector == "auto" else portable_model_ref(settings.detector),
            **settings.model_dump(include={"keep_appearance", "overwrite"}),
            "request": request,
            "requested": settings.model_dump(mode="json"),
        },
    }
    return {
        "settings": json.dumps(all_settings),
        "weights": json.dumps(models.weights()),
        "versions": json.dumps(versions()),
    }


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of the libraries that the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def request_fingerprint(settings: AnalyzeSettings) -> str:
    """Hash of what the ids of the work depend on, as far as it is known without torch: settings, weights and machine.

    Raises:
        WeightsError: if there is no such model.
    """
    cards, folders = list_cards(), list_model_dirs()

    def identities(task: str) -> list[list[str]]:
        return [
            _identity(folders[name])
            for name, card in cards.items()
            if isinstance(card, ModelCard) and card.task == task
        ]

    request = {
        "settings": settings.model_dump(mode="json", exclude=_NEUTRAL),
        "versions": [OBSERVE_VERSION, TIMELINE_VERSION],
        "classifier": _identity(find_model(settings.model, "emotion")),
        # "auto" chooses among all installed detectors.
        "detectors": (
            identities("detector") if settings.detector == "auto" else [_identity(find_detector(settings.detector))]
        ),
        "landmarks": identities("landmarks"),
        "optional": [importlib.util.find_spec(name) is not None for name in ("decord", "retinaface")],
        "device": [settings.device, *machine()],
    }
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]


def _identity(folder: Path) -> list[str]:
    """The name of a model, and the hash of what determines its outputs."""
    card = read_card(folder)
    return [card.name, card_hash(folder) or card.sha256]


def machine() -> tuple[str, bool, str]:
    """Properties of the machine that determine device and precision: the processor, and whether a GPU is usable."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as info:
        processor = next((line for line in info if line.startswith(("flags", "Features"))), processor)
    has_gpu = shutil.which("nvidia-smi") is not None or Path("/dev/nvidiactl").exists()
    return processor, has_gpu, os.environ.get("CUDA_VISIBLE_DEVICES", "")
