"""How well a classifier does, and how sure it may be: accuracy, macro-F1, calibration."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_f1_score

from fer_models.classification.data import FaceImages
from fer_models.device import autocast_dtype
from fer_models.labels import EMOTIONS


@torch.no_grad()
def logits_of(network: nn.Module, crops: Tensor, device: torch.device, batch_size: int = 256) -> Tensor:
    """Logits (n, 7) float32 on the CPU, row for row, of normalised crops (n, 1, h, w)."""
    logits = []
    for chunk in crops.split(batch_size):
        with torch.autocast(device.type, autocast_dtype(device), enabled=autocast_dtype(device) != torch.float32):
            batch = network(chunk.to(device).contiguous(memory_format=torch.channels_last))
        logits.append(batch.float().cpu())
    return torch.cat(logits)


def fit_temperature(logits: Tensor, label: Tensor) -> float:
    """The temperature that makes the labels most likely (Guo et al. 2017, arXiv:1706.04599)."""
    log_temperature = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimizer.zero_grad()
        value = F.cross_entropy(logits / log_temperature.exp(), label)
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    optimizer.step(loss)
    return log_temperature.exp().item()


def measure(logits: Tensor, images: FaceImages, temperature: float) -> dict[str, float]:
    """Accuracy (whole split, and without copies of earlier rows), macro-F1, calibration error, share of votes met.

    `ece` is the expected calibration error over 15 bins, after and before the temperature.
    """
    probabilities = (logits / temperature).softmax(dim=1)
    predicted = probabilities.argmax(dim=1)
    right = (predicted == images.label).float()
    n = len(EMOTIONS)
    return {
        name: round(float(value), 4)
        for name, value in {
            "accuracy": right.mean(),
            "accuracy_without_copies": right[~images.is_copy].mean(),
            "macro_f1": multiclass_f1_score(predicted, images.label, n, average="macro"),
            "ece": multiclass_calibration_error(probabilities, images.label, n, n_bins=15),
            "ece_uncalibrated": multiclass_calibration_error(logits.softmax(dim=1), images.label, n, n_bins=15),
            "agreement_with_votes": (predicted == images.majority)[images.majority >= 0].float().mean(),
        }.items()
    }
