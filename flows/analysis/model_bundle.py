"""The models of a run: the detector and the emotion classifier that its settings name, and the landmark network."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.loading import load_classifier
from fer_models.detection import FaceDetector, find_detector, load_detector
from fer_models.detection.retinaface_network import is_package_installed
from fer_models.device import choose_device
from fer_models.landmarks.landmarker import PACKAGED_NAME, TASK, Landmarker
from fer_models.registry.model_registry import find_model, list_model_dirs
from flows.analysis.card_hash import card_hash
from flows.analysis.outcomes import describe_models
from flows.settings import AnalyzeSettings


@dataclass(frozen=True, eq=False)
class Models:
    """The models of a run, and why the detector was chosen."""

    detector: FaceDetector
    detector_reason: str
    classifier: EmotionClassifier
    landmarker: Landmarker
    cards: Mapping[str, str]  # `card_hash` of each model that is not included in the package

    def weights(self) -> dict[str, str]:
        """The sha256 of each model's weights."""
        return {
            "detector": self.detector.sha256,
            "classifier": self.classifier.card.sha256,
            "landmarks": self.landmarker.sha256,
        }

    def describe(self) -> str:
        """The models, their device and precision in one line."""
        return describe_models(
            {
                "detector": self.detector.name,
                "detector_reason": self.detector_reason,
                "detector_size_px": self.detector.max_side_px,
                "model": self.classifier.card.name,
                "landmarks": self.landmarker.name,
                "device": self.classifier.device.type,
                "detector_precision": self.detector.precision,
                "precision": self.classifier.precision,
            }
        )


def choose_detector(requested: str, device: torch.device) -> tuple[str, str]:
    """The name of the detector to use, and why."""
    if requested != "auto":
        return requested, "requested"
    if device.type == "cuda" and "retinaface" in list_model_dirs() and is_package_installed():
        return "retinaface", "its weights and a GPU are available"
    return "compact", "included in the package"


def load_models(settings: AnalyzeSettings) -> Models:
    """Load the models that the settings name.

    Raises:
        WeightsError: if a model is missing or damaged.
        DeviceError: if the device is not available.
    """
    name, reason = choose_detector(settings.detector, choose_device(settings.device))
    detector = load_detector(name, settings.device, settings.detector_size_px)
    classifier = load_classifier(settings.model, settings.device)
    folders = {
        "detector_card": find_detector(name),
        "model_card": find_model(settings.model, "emotion"),
        "landmarks_card": find_model(PACKAGED_NAME, TASK),
    }
    cards = {role: found for role, folder in folders.items() if (found := card_hash(folder))}
    return Models(detector, reason, classifier, Landmarker.load(classifier.device), cards)
