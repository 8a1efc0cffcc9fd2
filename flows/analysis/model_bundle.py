"""The models of a run: which ones its settings mean, loaded once per process."""

import threading
from dataclasses import dataclass
from functools import lru_cache

import torch

from fer_models.classification.classifier import EmotionClassifier, load_classifier
from fer_models.detection import FaceDetector, load_detector
from fer_models.detection.retinaface_network import package_is_here
from fer_models.device import choose_device
from fer_models.registry.model_registry import list_model_dirs
from flows.settings import AnalyzeSettings


@dataclass(frozen=True, eq=False)
class Models:
    """The models of a run, and how they were chosen."""

    detector: FaceDetector
    detector_reason: str
    classifier: EmotionClassifier

    def weights(self) -> dict[str, str]:
        """The sha256 of each model's weights."""
        return {"detector": self.detector.sha256, "classifier": self.classifier.card.sha256}

    def describe(self) -> str:
        """Which models these are, in a line."""
        precision = str(self.classifier.dtype).removeprefix("torch.")
        return (
            f"detector {self.detector.name} ({self.detector_reason}) "
            f"with frames of at most {self.detector.max_side_px} px, model {self.classifier.card.name}, "
            f"on {self.classifier.device.type} in {precision}"
        )


_loading = threading.Lock()


@lru_cache(maxsize=1)
def _load_models(detector: str, detector_size_px: int | None, model: str, device: str) -> Models:
    name, reason = choose_detector(detector, choose_device(device))
    return Models(load_detector(name, device, detector_size_px), reason, load_classifier(model, device))


def choose_detector(asked: str, device: torch.device) -> tuple[str, str]:
    """The detector for "auto" or a name, and why it is that one."""
    if asked != "auto":
        return asked, "asked for"
    if device.type == "cuda" and "retinaface" in list_model_dirs() and package_is_here():
        return "retinaface", "its weights are here, and a GPU"
    return "compact", "the detector in the package"


def load_models(settings: AnalyzeSettings) -> Models:
    """The models that the settings name, loaded once per process.

    Raises:
        WeightsError: if a model is not there or damaged.
        DeviceError: if the device is not there.
    """
    with _loading:
        return _load_models(settings.detector, settings.detector_size_px, settings.model, settings.device)
