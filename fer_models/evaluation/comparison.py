"""Compare emotion models on one data set: accuracy, calibration and cost."""

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fer_models.classification.architectures import build_network
from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.ensemble import Ensemble
from fer_models.classification.onnx_classifier import OnnxClassifier
from fer_models.crops import CROP_PX
from fer_models.datasets.labeled_faces import TEST_SPLITS, FaceData
from fer_models.evaluation.metrics import Figures, measure_split, temperature_of
from fer_models.registry.model_card import ModelCard, sum_if_known

BATCHES = (1, 256)  # batch sizes whose speed is measured
ROUNDS = 5  # rounds of the speed measurement, in which the models take turns, so that all run under the same load

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Compared:
    """One model in a comparison."""

    card: ModelCard
    figures: dict[str, Figures]  # split -> metric -> value, from `measure_split`
    scores: dict[str, Tensor]  # split -> (n, 7) probabilities
    precision: str  # of the computation, such as "int8"
    multiply_adds: int | None  # multiply-add operations per crop; None if unknown
    images_per_s: dict[int, float]  # batch size -> crops classified per second; empty if not measured
    notes: tuple[str, ...] = ()  # on the images that the model saw

    def as_json(self) -> dict[str, object]:
        """Return the metrics as JSON."""
        return {
            "model": self.card.name,
            "architecture": self.card.architecture,
            "parameters": self.card.parameters,
            "precision": self.precision,
            "multiply_adds": self.multiply_adds,
            "images_per_s": {str(batch): round(rate, 1) for batch, rate in self.images_per_s.items()},
            "training_s": self.card.training_s,
            "sha256": self.card.sha256,
            "figures": self.figures,
            "notes": self.notes,
        }


def compare(classifiers: list[EmotionClassifier], data: FaceData, *, with_speed: bool = True) -> list[Compared]:
    """Evaluate every model on both test splits, and measure their speed in turns."""
    splits = data.splits
    speeds: list[dict[int, float]] = [{} for _ in classifiers]
    if with_speed:
        log.info("measuring speed: other programs should be idle")
        speeds = images_per_s(classifiers)
    compared = []
    for classifier, rates in zip(classifiers, speeds, strict=True):
        log.info("%s: evaluating both test splits, thirteen views of each image", classifier.card.name)
        figures, scores = {}, {}
        for split in TEST_SPLITS:
            figures[split], scores[split] = measure_split(
                classifier.predict,
                splits[split],
                temperature=temperature_of(classifier.card),
                tta=True,
                training=splits["Training"],
            )
        compared.append(
            Compared(
                classifier.card,
                figures,
                scores,
                classifier.precision,
                multiply_adds(classifier),
                rates,
                (*data.notes, *input_notes(classifier, data)),
            )
        )
    return compared


def input_notes(classifier: EmotionClassifier, data: FaceData) -> list[str]:
    """Say how the gray images of a data set differ from the faces that the model sees in videos, if they do."""
    side_px = max(images.pixels.shape[-1] for images in data.splits.values())
    is_enlarged = classifier.input_px > side_px
    differences = ["in color"] * (classifier.channels == 3) + ["at a higher resolution"] * is_enlarged
    if not differences:
        return []
    return [
        f"{classifier.card.name} sees gray images of {side_px} px{', enlarged' if is_enlarged else ''}; in videos, it "
        f"sees faces {' and '.join(differences)}"
    ]


def multiply_adds(classifier: EmotionClassifier) -> int | None:
    """Count the multiply-adds per crop in convolutions and linear layers; None for ONNX models, where it is unknown."""
    if isinstance(classifier, OnnxClassifier):
        return None
    if isinstance(classifier, Ensemble):
        return sum_if_known([multiply_adds(member) for member in classifier.members])
    card = classifier.card
    of_layers: list[int] = []

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        of_layers.append(output.numel() * module.get_parameter("weight")[0].numel())

    with torch.device("meta"):
        # The network is built again, because the convolutions of the classifier's own may be in 8-bit integers.
        network = build_network(card.architecture, card.architecture_options).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        network(torch.zeros(1, card.input_channels, classifier.input_px, classifier.input_px))
    return sum(of_layers)


def images_per_s(classifiers: list[EmotionClassifier]) -> list[dict[int, float]]:
    """Measure the crops per second of each model for each of `BATCHES`: the median of `ROUNDS` rounds."""
    crops = torch.randint(256, (max(BATCHES), CROP_PX, CROP_PX), dtype=torch.uint8)
    seconds: list[dict[int, list[float]]] = [{batch: [] for batch in BATCHES} for _ in classifiers]
    for turn in range(ROUNDS + 1):
        for classifier, taken in zip(classifiers, seconds, strict=True):
            for batch in BATCHES:
                started_s = time.perf_counter()
                classifier.predict(crops[:batch])
                if turn > 0:  # the first turn is a warm-up
                    taken[batch].append(time.perf_counter() - started_s)
    return [{batch: batch / float(np.median(taken)) for batch, taken in of_model.items()} for of_model in seconds]
