"""Load an emotion classifier by the architecture of its card."""

from collections.abc import Callable
from pathlib import Path

import torch

from fer_models.classification.architectures import ARCHITECTURES
from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.ensemble import Ensemble
from fer_models.classification.onnx_classifier import OnnxClassifier
from fer_models.device import choose_device
from fer_models.registry.ensemble_members import find_members
from fer_models.registry.model_registry import (
    ENSEMBLE_ARCHITECTURE,
    ONNX_ARCHITECTURE,
    WeightsError,
    find_model,
    read_card,
)

MAX_DEPTH = 4  # how deeply ensembles may contain ensembles; one that contains itself would recurse forever


def load_classifier(name: str = "default", device: str = "auto") -> EmotionClassifier:
    """Load an emotion classifier.

    Args:
        name: a name from `fervid models`, or a model folder.
        device: "auto", "cpu" or "cuda".

    Raises:
        WeightsError: if there is no such model, or it is damaged.
        DeviceError: if the device is not available.
    """
    return load_from_folder(find_model(name, "emotion"), choose_device(device))


def load_from_folder(folder: Path, device: torch.device, depth: int = 0) -> EmotionClassifier:
    """Load the classifier in a model folder.

    Raises:
        WeightsError: if it is damaged, or its architecture is unknown.
    """
    card = read_card(folder)
    if card.architecture == ENSEMBLE_ARCHITECTURE:
        return _load_ensemble(folder, device, depth)
    loader = LOADERS.get(card.architecture)
    if loader is None and card.architecture in ARCHITECTURES:
        loader = EmotionClassifier.load
    if loader is None:
        known = ", ".join((*ARCHITECTURES, *LOADERS, ENSEMBLE_ARCHITECTURE))
        raise WeightsError(f"{folder}: unknown architecture {card.architecture!r}. Known: {known}")
    return loader(folder, device)


def _load_ensemble(folder: Path, device: torch.device, depth: int) -> Ensemble:
    if depth >= MAX_DEPTH:
        raise WeightsError(f"{folder}: ensembles of ensembles may be nested {MAX_DEPTH} times at most")
    members = [load_from_folder(member, device, depth + 1) for member in find_members(folder)]
    return Ensemble(members, read_card(folder))


# Loaders of architectures that are not PyTorch networks in `ARCHITECTURES`.
LOADERS: dict[str, Callable[[Path, torch.device], EmotionClassifier]] = {ONNX_ARCHITECTURE: OnnxClassifier.load}
