"""From a checkpoint to a registered detector: score threshold, metrics and model card."""

import dataclasses
import logging
import math
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from fer_models.boxes import face_size_px
from fer_models.classification.normalization import MEAN, STD
from fer_models.datasets.face_photos import Photo
from fer_models.detection.compact import CompactDetector
from fer_models.detection.compact_int8 import convs_with_levels
from fer_models.detection.compact_network import STRIDES_PX, CompactNet
from fer_models.evaluation.detector_metrics import FOUND_IOU, Matches, match_hits
from fer_models.int8 import measure_inputs
from fer_models.registry.model_registry import ModelCard, save_model_folder
from fer_models.training.runs import read_checkpoint

log = logging.getLogger(__name__)

# On the held-out photographs, faces below this size are ignored, and detections below three quarters of it.
JUDGED_FACE_PX = 16
SCORE_THRESHOLD, HELD_OUT_THRESHOLD = 0.5, 0.05
# Precision on the held-out photographs that the threshold is chosen for. It is high because a missed face leaves a gap
# that neighboring frames fill, but a false positive adds an emotion to the results.
HELD_OUT_PRECISION = 0.99
MIN_THRESHOLD, MAX_THRESHOLD = 0.2, 0.8


def held_out_detector(
    network: CompactNet, device: torch.device, largest_inputs: Mapping[str, float] | None = None
) -> CompactDetector:
    """Create a detector for choosing the threshold: it keeps low scores and processes one photograph at a time."""
    card = ModelCard(
        name="held out",
        task="detector",
        architecture="compact",
        mean=MEAN,
        std=STD,
        score_threshold=HELD_OUT_THRESHOLD,
        largest_inputs=dict(largest_inputs or {}),
    )
    return CompactDetector(network, card, device=device, chunk_frames=1)


def match_photo(detector: CompactDetector, photo: Photo) -> Matches:
    """Match the detections in a photograph with the teachers' faces that are large enough to show an expression."""
    faces = detector.detect(photo.pixels[None])
    faces = faces.select(face_size_px(faces.boxes_xyxy) >= 0.75 * JUDGED_FACE_PX)
    counts = photo.is_confident & (face_size_px(photo.boxes_xyxy) >= JUDGED_FACE_PX)
    return match_hits(faces.boxes_xyxy, faces.det_score, photo.boxes_xyxy, counts, min_iou=FOUND_IOU)


def choose_threshold(found: Matches) -> float:
    """Choose the lowest threshold with `HELD_OUT_PRECISION`; the highest allowed if none reaches it."""
    threshold = found.threshold_at_precision(HELD_OUT_PRECISION)
    return MAX_THRESHOLD if math.isnan(threshold) else min(max(threshold, MIN_THRESHOLD), MAX_THRESHOLD)


def save_detector(checkpoint: Path, out: Path, card: ModelCard, held_out: list[Photo]) -> ModelCard:
    """Write the averaged weights of a checkpoint as a model folder.

    The scores are shifted so that 0.5 is the lowest threshold with precision `HELD_OUT_PRECISION` on `held_out`.

    Args:
        card: with name, data, settings and license note; the other fields are filled in.
    """
    log.info("choosing the threshold, which may take a minute; held-out photographs: %d", len(held_out))
    state = read_checkpoint(checkpoint)
    weights = {name.removeprefix("network."): tensor for name, tensor in state["state_dict"].items()}
    threshold = choose_threshold(_match_held_out(weights, card, held_out))
    for level in range(len(STRIDES_PX)):
        weights[f"head.{level}.1.bias"][0] -= math.log(threshold / (1 - threshold))
    weights = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    card = dataclasses.replace(
        card,
        mean=MEAN,
        std=STD,
        score_threshold=SCORE_THRESHOLD,
        largest_inputs=largest_inputs(weights, card, held_out),
    )
    found = _match_held_out(weights, card, held_out)
    measured = {
        "recall": found.recall(SCORE_THRESHOLD),
        "precision": found.precision(SCORE_THRESHOLD),
        "average_precision": found.average_precision(),
    }
    metrics = {name: round(value, 4) for name, value in measured.items() if not math.isnan(value)}
    described = ", ".join(f"{metric.replace('_', ' ')} {value:.3f}" for metric, value in metrics.items())
    log.info("saving %s: threshold before the shift %.2f; held-out photographs: %s", out, threshold, described)
    if not measured["recall"] > 0:  # NaN if they have no faces
        log.warning(
            "%s finds no labeled face in the held-out photographs (%d). Do not rely on this detector: train it for "
            "more epochs, or with more photographs",
            card.name,
            len(held_out),
        )
    card = dataclasses.replace(
        card,
        parameters=sum(parameter.numel() for parameter in CompactNet(**card.architecture_options).parameters()),
        metrics={"held_out": metrics},
        protocol=(
            f"Against the labels of the held-out photographs, faces of {JUDGED_FACE_PX} px and more, IoU {FOUND_IOU}; "
            f"scores are shifted so that {SCORE_THRESHOLD} is the lowest threshold with precision "
            f"{HELD_OUT_PRECISION}, limited to {MIN_THRESHOLD} to {MAX_THRESHOLD} before the shift."
        ),
        settings=card.settings | {"epochs_done": state["epoch"] + 1, "threshold_before_shift": round(threshold, 4)},
        versions={
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "torchvision", "lightning")},
        },
        training_s=round(state["trained_s"], 1),
    )
    return save_model_folder(out, weights, card)


def largest_inputs(weights: dict[str, Tensor], card: ModelCard, photos: list[Photo]) -> dict[str, float]:
    """Measure the largest input of each convolution but the first for photographs, see `measure_inputs`.

    Empty if a convolution has none above 0; the detector then never computes in 8-bit integers.
    """
    detector = held_out_detector(_network_of(weights, card), torch.device("cpu"))
    measured = measure_inputs(detector.network, lambda: [detector.detect(photo.pixels[None]) for photo in photos])
    is_complete = measured.keys() == convs_with_levels(detector.network)
    return {name: float(f"{value:.4g}") for name, value in measured.items()} if is_complete else {}


def _network_of(weights: dict[str, Tensor], card: ModelCard) -> CompactNet:
    network = CompactNet(**card.architecture_options)
    network.load_state_dict(weights)
    return network


def _match_held_out(weights: dict[str, Tensor], card: ModelCard, held_out: list[Photo]) -> Matches:
    detector = held_out_detector(_network_of(weights, card), torch.device("cpu"), card.largest_inputs)
    return Matches.join(match_photo(detector, photo) for photo in held_out)
