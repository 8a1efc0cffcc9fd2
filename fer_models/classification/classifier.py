"""Emotion inference with a PyTorch network: face crops to calibrated probabilities of the seven emotions."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_models.classification.architectures import build_network, fuse_batch_norm
from fer_models.crops import CHUNK_CROPS, crop_faces, to_gray
from fer_models.int8 import choose_precision, use_int8
from fer_models.labels import EMOTIONS
from fer_models.oom import run_with_oom_backoff
from fer_models.registry.model_registry import ModelCard, WeightsError, load_model_folder
from fer_models.registry.networks import build_with_weights

log = logging.getLogger(__name__)

LARGE_PX = 96  # networks with a larger input get an eighth as many crops per forward pass, to limit memory

N_FURTHER = 3  # the outputs after the seven probabilities: probability of all other classes, valence, arousal


class EmotionClassifier:
    """Classify face crops with one network.

    Args:
        network: returns logits (m, 7) for normalized crops (m, channels, size, size); modified in place.
        card: the input that the network expects, and the temperature of its logits.
        device: where to compute.
        dtype: precision of the computation; by default a fast one for the device: 8-bit integers if it is a CPU that
            multiplies them faster, and the card has the largest inputs of the convolutions.

    Raises:
        WeightsError: if the card has no input size or lists a convolution that the network lacks, or if weights of a
            convolution in 8-bit integers are NaN or infinite.
    """

    def __init__(
        self, network: nn.Module, card: ModelCard, device: torch.device, dtype: torch.dtype | None = None
    ) -> None:
        if card.input_size_px is None:
            raise WeightsError(f"{card.name}: the card of an emotion model needs input_size_px")
        self.card = card
        self.device = device
        self.dtype, self.precision = choose_precision(card, device, dtype)
        self.input_px = card.input_size_px
        self.channels = card.input_channels
        self.chunk_crops = CHUNK_CROPS[device.type] // (8 if self.input_px > LARGE_PX else 1)
        network = fuse_batch_norm(network.eval()).to(device, self.dtype)
        if self.precision == "int8":
            try:
                use_int8(network, card.largest_inputs)
            except ValueError as error:
                raise WeightsError(f"{card.name}: {error}") from error
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "EmotionClassifier":
        """Load a classifier from a model folder.

        Raises:
            WeightsError: if files are missing or damaged, do not belong together, or the classes are not `EMOTIONS`.
        """
        weights, card = load_model_folder(folder)
        if card.classes != EMOTIONS:
            raise WeightsError(f"{folder}: classes are {list(card.classes)}, expected {list(EMOTIONS)} in this order")
        network = build_with_weights(
            folder, weights, card, lambda: build_network(card.architecture, card.architecture_options)
        )
        classifier = cls(network, card, device)
        classifier.check_output(folder)
        return classifier

    @torch.inference_mode()
    def check_output(self, path: Path) -> None:
        """Check that the network fits its card, by one prediction for a black image.

        Raises:
            WeightsError: if the network rejects the input of its card, or does not return a finite logit per emotion.
        """
        crop = torch.zeros(1, self.channels, self.input_px, self.input_px, dtype=self.dtype, device=self.device)
        try:
            logits = self.network(crop)
        except RuntimeError as error:
            raise WeightsError(
                f"{path}: the network does not accept the input of its card, {tuple(crop.shape)}"
            ) from error
        if tuple(logits.shape) != (1, len(EMOTIONS)):
            raise WeightsError(f"{path}: the network returns {tuple(logits.shape)} instead of one logit per emotion")
        if not logits.isfinite().all():
            raise WeightsError(f"{path}: the network returns NaN or infinite values for a black image")

    @property
    def framing(self) -> tuple[str, float]:
        """Framing of faces in crops: "aligned" or "box", and the margin of the box."""
        return "aligned", 0.0

    def crop(
        self, aligned: Tensor, pixels: Tensor, frame: Tensor, boxes_xyxy: Tensor, side: Tensor, center: Tensor
    ) -> Tensor:
        """Return the crops to classify, uint8: the aligned ones, or sharper ones for a network with a larger input.

        Args:
            aligned: (m, 48, 48, 3) uint8, the aligned crops on which quality is measured.
            pixels: (n, h, w, 3) uint8 frames.
            frame: (m,) int64, the frame of each face.
            boxes_xyxy: (m, 4) float32 face boxes.
            side: (m,) from `frame_crops`.
            center: (m,) from `frame_crops`.
        """
        if self.input_px <= aligned.shape[1]:
            return aligned
        return crop_faces(pixels, frame, side, center, size_px=self.input_px)

    def predict(self, crops: np.ndarray | Tensor) -> np.ndarray:
        """Predict probabilities (m, 7) float32 in the order of `EMOTIONS`; m may be 0.

        Every row sums to 1, or to less if the model has further classes.

        Args:
            crops: (m, h, w) gray or (m, h, w, 3) RGB, uint8; resampled to the input size of the network.

        Raises:
            ValueError: if `crops` has another shape or type.
        """
        return self.predict_all(crops)[:, : len(EMOTIONS)]

    def predict_all(self, crops: np.ndarray | Tensor) -> np.ndarray:
        """Predict all outputs (m, 10) float32: the seven probabilities, that of all other classes, valence, arousal.

        The last three are NaN where the model does not output them. Arguments and errors are those of `predict`.
        """
        shape, dtype = tuple(crops.shape), str(crops.dtype).removeprefix("torch.")
        if dtype != "uint8":
            raise ValueError(f"crops must be uint8 from 0 to 255, got {dtype}: scale, round and convert them first")
        if not (len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)) or 0 in shape[1:]:
            raise ValueError(f"crops must be (m, h, w) gray or (m, h, w, 3) RGB, the channels last; got {shape}")
        if len(shape) == 3 and shape[2] == 3:
            raise ValueError(f"crops of shape {shape} look like one RGB crop: pass it as crops[None], (1, h, w, 3)")

        def score(chunk: slice, chunk_crops: int) -> Tensor:
            part = crops[chunk]
            if isinstance(part, np.ndarray):  # PyTorch rejects negative strides and warns of read-only arrays
                part = torch.from_numpy(np.require(part, requirements=["C", "W"]))
            return self.score(part, chunk_crops)

        on_cpu = self.device.type == "cpu"
        chunks = run_with_oom_backoff(len(crops), self.chunk_crops, score, self._take_fewer, in_threads=on_cpu)
        return torch.cat(chunks).numpy() if chunks else np.empty((0, len(EMOTIONS) + N_FURTHER), np.float32)

    def _take_fewer(self, chunk_crops: int) -> None:
        self.chunk_crops = chunk_crops
        log.warning("%s: out of memory; continuing with %d faces per batch", self.card.name, chunk_crops)

    @torch.inference_mode()
    def score(self, crops: Tensor, chunk_crops: int) -> Tensor:
        """Predict outputs (m, 10) on the CPU, see `predict_all`, for at most `chunk_crops` crops."""
        m = len(crops)
        inputs = self.prepare(crops.to(self.device))
        inputs = F.pad(inputs, (0, 0, 0, 0, 0, 0, 0, chunk_crops - m))
        inputs = inputs.to(self.dtype, memory_format=torch.channels_last)
        logits: Tensor = self.network(inputs)[:m].float()
        probabilities = (logits / self.card.temperature).softmax(dim=1).cpu()
        return F.pad(probabilities, (0, N_FURTHER), value=torch.nan)

    def prepare(self, crops: Tensor) -> Tensor:
        """Convert crops to normalized inputs (m, channels, size, size) float32."""
        values = to_input_size(crops, self.channels, self.input_px)
        return (values / 255 - self.card.mean) / self.card.std


def to_input_size(crops: Tensor, channels: int, input_px: int) -> Tensor:
    """Convert crops, (m, h, w) gray or (m, h, w, 3) RGB, to (m, channels, input_px, input_px) float32, 0 to 255."""
    if channels == 1:
        values = (to_gray(crops) if crops.ndim == 4 else crops.float())[:, None]
    else:
        color = crops if crops.ndim == 4 else crops[..., None].expand(*crops.shape, 3)
        values = color.permute(0, 3, 1, 2).float()
    if values.shape[2:] != (input_px, input_px):
        values = F.interpolate(values, size=(input_px, input_px), mode="bilinear", antialias=True)
    return values
