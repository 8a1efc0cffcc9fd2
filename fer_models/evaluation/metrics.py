"""Classifier metrics against labels and votes: accuracy, F1, calibration and confidence intervals."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_f1_score

from fer_models.classification.onnx_classifier import read_spec
from fer_models.datasets.labeled_faces import FaceImages
from fer_models.device import autocast_dtype
from fer_models.labels import EMOTIONS
from fer_models.registry.model_card import ModelCard
from fer_models.registry.model_registry import ENSEMBLE_ARCHITECTURE, ONNX_ARCHITECTURE

BINS = 15  # number of bins of the expected calibration error, 15 as in most papers
MAX_LOG_TEMPERATURE = math.log(20)  # bound of a fitted temperature: 1 / 20 to 20
Z_95 = NormalDist().inv_cdf(0.975)
Predict = Callable[[Tensor], np.ndarray]  # such as `EmotionClassifier.predict`
Figure = float | list[float] | dict[str, float]  # a metric, its interval, or its value for each emotion
Figures = dict[str, Figure]


@torch.no_grad()
def logits_of(network: nn.Module, crops: Tensor, device: torch.device, *, exact: bool = False) -> Tensor:
    """Compute logits (n, outputs) float32 on the CPU for normalized crops (n, c, h, w).

    In bfloat16 where the device is fast in it, unless `exact`.
    """
    logits = []
    short = autocast_dtype(device) != torch.float32 and not exact
    for chunk in crops.split(256):
        with torch.autocast(device.type, autocast_dtype(device), enabled=short):
            batch = network(chunk.to(device).contiguous(memory_format=torch.channels_last))
        logits.append(batch.float().cpu())
    return torch.cat(logits)


def fit_temperature(logits: Tensor, label: Tensor) -> float:
    """Fit the temperature that maximizes the likelihood of the labels (n,), given logits (n, 7); 1 without labels.

    Guo et al. 2017, arXiv:1706.04599. It is bounded by 1 / 20 and 20, because the optimum is 0 if all images are
    classified correctly. The loss has a single minimum in the temperature, which bounded minimization finds.
    """
    if not len(label):
        return 1.0
    from scipy.optimize import minimize_scalar

    logits = logits.double()

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits / math.exp(log_temperature), label).item()

    bounds = (-MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE)
    found = float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-5}).x)
    if loss(0.0) <= loss(found):  # the loss is flat, as if all images are classified with certainty
        return 1.0
    return min(max(math.exp(found), math.exp(bounds[0])), math.exp(bounds[1]))


def mirrored(pixels: Tensor) -> Iterator[Tensor]:
    """Yield the crops (n, h, w) and their mirror images."""
    yield pixels
    yield pixels.flip(2)


def ten_crops(pixels: Tensor) -> Iterator[Tensor]:
    """Yield the four corners and the center of crops (n, h, w), 11/12 of their size, and their mirror images.

    As the ten crops of Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks".
    """
    h, w = pixels.shape[1:]
    high, wide = max(1, h * 11 // 12), max(1, w * 11 // 12)
    corners = [(y, x) for y in (0, h - high) for x in (0, w - wide)]
    for y, x in [*corners, ((h - high) // 2, (w - wide) // 2)]:
        yield from mirrored(pixels[:, y : y + high, x : x + wide])


def mean_scores(predict: Predict, views: Iterator[Tensor]) -> Tensor:
    """Average the probabilities (n, 7) over several views of the same crops."""
    return torch.stack([torch.from_numpy(predict(view)) for view in views]).mean(dim=0)


def measure_split(
    predict: Predict, images: FaceImages, *, temperature: float | None, tta: bool, training: FaceImages | None = None
) -> tuple[Figures, Tensor]:
    """Compute all metrics of one split; also return its probabilities (n, 7).

    Args:
        predict: returns calibrated probabilities (m, 7) of crops (m, h, w) uint8.
        images: the split.
        temperature: the temperature of `predict`, to measure the calibration without it; None: do not measure that.
        tta: also measure the mean over mirrored images (`accuracy_flip_averaged`) and over `ten_crops`
            (`accuracy_crops_averaged`).
        training: also measure without images that are in this split (`accuracy_not_in_training`).
    """
    scores = torch.from_numpy(predict(images.pixels))
    figures = measure(scores, images, temperature)
    if training is not None:
        is_new = ~contained_in(images, training)
        right = scores.argmax(dim=1) == images.label
        figures |= with_interval("accuracy_not_in_training", right[is_new]) if is_new.any() else {}
    if tta:
        for name, views in (("flip", mirrored(images.pixels)), ("crops", ten_crops(images.pixels))):
            averaged = mean_scores(predict, views)
            figures |= with_interval(f"accuracy_{name}_averaged", averaged.argmax(dim=1) == images.label)
            figures[f"macro_f1_{name}_averaged"] = rounded(macro_f1(averaged.argmax(dim=1), images.label))
    return figures, scores


def measure(scores: Tensor, images: FaceImages, temperature: float | None) -> Figures:
    """Compute accuracy with its interval, macro-F1, calibration error with and without temperature, and F1 per emotion.

    Metrics named `votes_...` are against the annotators' majority, on the images that have one. Shares are rounded to
    4 digits.
    """
    figures = against(scores, images.label, temperature)
    known = images.majority >= 0
    if known.any():
        by_votes = against(scores[known], images.majority[known], temperature)
        figures |= {f"votes_{name}": value for name, value in by_votes.items()} | {"votes_images": int(known.sum())}
    return {"images": len(images)} | figures


def against(scores: Tensor, target: Tensor, temperature: float | None) -> Figures:
    """Compute the metrics of probabilities (n, 7) against one emotion per row."""
    predicted = scores.argmax(dim=1)
    f1 = multiclass_f1_score(predicted, target, len(EMOTIONS), average="none")
    without = (
        {}
        if temperature is None
        else {"ece_uncalibrated": calibration_error(uncalibrated(scores, temperature), target)}
    )
    return {
        **with_interval("accuracy", predicted == target),
        "macro_f1": rounded(macro_f1(predicted, target)),
        "ece": calibration_error(scores, target),
        **without,
        "f1": {emotion: rounded(value) for emotion, value in zip(EMOTIONS, f1, strict=True)},
    }


def calibration_error(scores: Tensor, target: Tensor) -> float:
    """Return the expected calibration error: |confidence - accuracy| of the bins, weighted by their images.

    Guo et al. 2017, arXiv:1706.04599, equation 3.
    """
    confidence, predicted = scores.max(dim=1)
    gap = confidence.double() - (predicted == target).double()
    return rounded(torch.bincount(confidence_bins(confidence), weights=gap).abs().sum() / len(scores))


def confidence_bins(confidence: Tensor) -> Tensor:
    """The bin (n,) of each highest probability (n,), from 0 to `BINS` - 1; a probability of 1 is in the last one."""
    return (confidence * BINS).long().clamp_max(BINS - 1)


def uncalibrated(scores: Tensor, temperature: float) -> Tensor:
    """Return the probabilities (n, 7) without the temperature; what they lack to 1 is that of a further class.

    >>> uncalibrated(torch.tensor([[0.25, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0]]), 2.0)[0, :2]
    tensor([0.1667, 0.1667])
    """
    other = (1 - scores.sum(dim=1, keepdim=True)).clamp_min(0)
    other[other < 1e-5] = 0  # rounding error
    return (torch.cat([scores, other], dim=1).log() * temperature).softmax(dim=1)[:, :-1]


def temperature_of(card: ModelCard) -> float | None:
    """Return the temperature of a model; None if the probabilities without it cannot be computed from those with it.

    The members of an ensemble have their own temperatures, and an ONNX model may add up the probabilities of several
    classes.
    """
    if card.architecture == ENSEMBLE_ARCHITECTURE:
        return None
    is_scaled_onnx = card.architecture == ONNX_ARCHITECTURE and card.temperature != 1
    return None if is_scaled_onnx and read_spec(Path(card.name), card).merges_classes else card.temperature


def macro_f1(predicted: Tensor, target: Tensor) -> float:
    """Return the mean F1 over the emotions that occur or were predicted."""
    return float(multiclass_f1_score(predicted, target, len(EMOTIONS), average="macro"))


def with_interval(name: str, right: Tensor) -> Figures:
    """Return the share of `right` (n,) bool and its 95 % interval, see `wilson_interval`."""
    low, high = wilson_interval(int(right.sum()), len(right))
    return {name: rounded(right.float().mean()), f"{name}_interval": [rounded(low), rounded(high)]}


def wilson_interval(n_right: int, n: int) -> tuple[float, float]:
    """Compute the 95 % score interval of the share of right answers for `n` independent images (Wilson 1927).

    Unlike a bootstrap interval, it has a width also if all answers are right or wrong.
    """
    share, scale = n_right / n, 1 + Z_95**2 / n
    center = share + Z_95**2 / (2 * n)
    half_width = Z_95 * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    return max(0.0, (center - half_width) / scale), min(1.0, (center + half_width) / scale)


def contained_in(images: FaceImages, others: FaceImages) -> Tensor:
    """Find the `images` (n,) that have the same pixels as one of `others`."""
    known = {image.numpy().tobytes() for image in others.pixels}
    return torch.tensor([image.numpy().tobytes() in known for image in images.pixels])


def rounded(value: Tensor | float) -> float:
    """Round a share as in model cards."""
    return round(float(value), 4)
