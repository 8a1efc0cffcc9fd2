"""The classifier in use: face crops in, calibrated probabilities of the seven emotions out."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_models.classification.architectures import build_network, fuse_batch_norm
from fer_models.crops import to_gray
from fer_models.device import autocast_dtype, choose_device
from fer_models.labels import EMOTIONS
from fer_models.oom import run_with_oom_backoff
from fer_models.registry.model_registry import ModelCard, WeightsError, find_model, load_model_folder, read_card

log = logging.getLogger(__name__)

# The network always sees this many crops at once (the last chunk is filled up), so that what a face scores does not
# depend, not even in the last bit, on the faces beside it. Halved for good when memory runs out.
CHUNK_CROPS = {"cpu": 32, "cuda": 1024}
LARGE_PX = 96  # inputs larger than this come an eighth as many at once


class EmotionClassifier:
    """Reads emotions from face crops with one network.

    Args:
        network: gives logits (m, 7) for normalized crops (m, channels, size, size); it is fused and moved.
        card: says what the network takes and how its logits become probabilities.
        device: where to compute.
        dtype: what to compute in; by default what the device is fast in.
    """

    def __init__(
        self, network: nn.Module, card: ModelCard, device: torch.device, dtype: torch.dtype | None = None
    ) -> None:
        if card.input_size_px is None or card.input_channels not in (1, 3):
            raise WeightsError(f"{card.name}: the card must give input_size_px and 1 or 3 input_channels")
        self.card = card
        self.device = device
        self.dtype = dtype or autocast_dtype(device)
        self.size_px, self.channels = card.input_size_px, card.input_channels
        self.chunk_crops = CHUNK_CROPS[device.type] // (8 if self.size_px > LARGE_PX else 1)
        network = fuse_batch_norm(network.eval()).to(device, self.dtype)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "EmotionClassifier":
        """The classifier in a model folder.

        Raises:
            WeightsError: if files are missing or damaged, do not belong together, or the classes are not `EMOTIONS`.
        """
        weights, card = load_model_folder(folder)
        if card.classes != EMOTIONS:
            raise WeightsError(f"{folder}: classes are {list(card.classes)}, expected {list(EMOTIONS)} in this order")
        try:
            network = build_network(card.architecture, card.architecture_options)
            network.load_state_dict(weights)
        except (RuntimeError, TypeError, ValueError) as error:
            raise WeightsError(f"{folder}: weights do not fit architecture {card.architecture!r}: {error}") from error
        classifier = cls(network, card, device)
        classifier.check_output(folder)
        return classifier

    @torch.inference_mode()
    def check_output(self, folder: Path) -> None:
        """Make sure that the network takes what its card says, and gives a logit for each emotion.

        Raises:
            WeightsError: if it does not.
        """
        crop = torch.zeros(1, self.channels, self.size_px, self.size_px, dtype=self.dtype, device=self.device)
        try:
            shape = tuple(self.network(crop).shape)
        except RuntimeError as error:
            raise WeightsError(f"{folder}: the network cannot take {tuple(crop.shape)}, as its card says") from error
        if shape != (1, len(EMOTIONS)):
            raise WeightsError(f"{folder}: the network gives {shape} for a face, not a logit for each emotion")

    def predict(self, crops: np.ndarray | Tensor) -> np.ndarray:
        """Probabilities (m, 7) float32, row for row, in the order of `EMOTIONS`; every row sums to 1; m may be 0.

        Args:
            crops: (m, h, w) gray or (m, h, w, 3) RGB, uint8; other sizes than the network's are resampled.

        Raises:
            ValueError: if `crops` has another shape or type.
        """
        tensor = torch.from_numpy(np.ascontiguousarray(crops)) if isinstance(crops, np.ndarray) else crops
        if tensor.dtype != torch.uint8:
            raise ValueError(
                f"crops must be uint8 from 0 to 255, got {tensor.dtype}: scale, round and convert them first"
            )
        if not (tensor.ndim == 3 or (tensor.ndim == 4 and tensor.shape[3] == 3)) or 0 in tensor.shape[1:]:
            shape = tuple(tensor.shape)
            raise ValueError(f"crops must be (m, h, w) gray or (m, h, w, 3) RGB, the channels last; got {shape}")

        def score(chunk: slice, chunk_crops: int) -> Tensor:
            return self.score(tensor[chunk], chunk_crops)

        chunks = run_with_oom_backoff(len(tensor), self.chunk_crops, score, self._take_fewer)
        return torch.cat(chunks).numpy() if chunks else np.empty((0, len(EMOTIONS)), np.float32)

    def _take_fewer(self, chunk_crops: int) -> None:
        self.chunk_crops = chunk_crops
        log.warning("%s: out of memory: goes on with %d faces at a time", self.card.name, chunk_crops)

    @torch.inference_mode()
    def score(self, crops: Tensor, chunk_crops: int) -> Tensor:
        """Probabilities (m, 7) on the CPU of at most `chunk_crops` crops."""
        m = len(crops)
        inputs = self.prepare(crops.to(self.device))
        inputs = F.pad(inputs, (0, 0, 0, 0, 0, 0, 0, chunk_crops - m))
        inputs = inputs.to(self.dtype, memory_format=torch.channels_last)
        logits: Tensor = self.network(inputs)[:m].float()
        return (logits / self.card.temperature).softmax(dim=1).cpu()

    def prepare(self, crops: Tensor) -> Tensor:
        """Crops to normalized inputs (m, channels, size, size) float32."""
        if self.channels == 1:
            gray = to_gray(crops) if crops.ndim == 4 else crops.float()
            values = gray[:, None]
        else:
            color = crops if crops.ndim == 4 else crops[..., None].expand(*crops.shape, 3)
            values = color.permute(0, 3, 1, 2).float()
        if values.shape[2:] != (self.size_px, self.size_px):
            values = F.interpolate(values, size=(self.size_px, self.size_px), mode="bilinear", antialias=True)
        return (values / 255 - self.card.mean) / self.card.std


def load_classifier(name: str = "default", device: str = "auto") -> EmotionClassifier:
    """The classifier called `name`, or the one in a model folder, ready on `device` ("auto", "cpu" or "cuda").

    Raises:
        WeightsError: if there is no such model, or it is damaged.
        DeviceError: if the device is not there.
    """
    from fer_models.classification import ensemble  # which imports this module

    folder = find_model(name, "emotion")
    if read_card(folder).architecture == ensemble.ARCHITECTURE:
        return ensemble.Ensemble.load(folder, choose_device(device))
    return EmotionClassifier.load(folder, choose_device(device))
