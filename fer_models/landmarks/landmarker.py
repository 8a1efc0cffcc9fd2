"""Landmark inference: face crops to points, head pose and a score."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fer_models.crops import to_gray
from fer_models.device import autocast_dtype
from fer_models.landmarks.network import INPUT_PX, N_ANGLES, LandmarkNet, LandmarkOutputs
from fer_models.landmarks.points import MIRRORED_POSE_SIGNS, N_POINTS, mirror_points
from fer_models.oom import run_with_oom_backoff
from fer_models.registry.model_registry import ModelCard, WeightsError, find_model, load_model_folder
from fer_models.registry.networks import build_with_weights

log = logging.getLogger(__name__)

PACKAGED_NAME = "landmarks"
# Crops per forward pass: fewer than for the classifier (`crops.CHUNK_CROPS`), because landmarks are located per batch
# of frames, while crops of several batches are classified together.
CHUNK_CROPS = {"cpu": 16, "cuda": 128}
TASK: Final = "landmarks"


@dataclass(frozen=True, eq=False)
class LandmarkBatch:
    """Landmarks of m faces, in the frame of their crops."""

    points_xy: np.ndarray  # (m, 70, 2) float32, as `fer_models.landmarks.points`; shares of the side, (0, 0) top left
    score: np.ndarray  # (m,) float32, 0 to 1: the probability that the points can be trusted
    pose_deg: np.ndarray  # (m, 3) float32: yaw > 0 toward the image's right, pitch > 0 up, roll > 0 clockwise

    @classmethod
    def join(cls, parts: "list[LandmarkBatch]") -> "LandmarkBatch":
        """Join batches, in order; an empty list gives no faces."""
        empty = cls(
            np.empty((0, N_POINTS, 2), np.float32), np.empty(0, np.float32), np.empty((0, N_ANGLES), np.float32)
        )
        columns = zip(*((part.points_xy, part.score, part.pose_deg) for part in [empty, *parts]), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def select(self, rows: np.ndarray) -> "LandmarkBatch":
        """Return the faces selected by `rows`, a boolean mask or indices."""
        return LandmarkBatch(self.points_xy[rows], self.score[rows], self.pose_deg[rows])

    def assign(self, rows: np.ndarray, other: "LandmarkBatch") -> None:
        """Replace the faces at the indices `rows` by those of another batch."""
        self.points_xy[rows], self.score[rows], self.pose_deg[rows] = other.points_xy, other.score, other.pose_deg


class Landmarker:
    """Find landmarks and head pose in face crops with one network.

    Each crop is processed twice, as it is and mirrored, and the outputs are averaged, which makes them more accurate.

    Args:
        network: the trained network; it is modified (fused, moved, cast).
        card: the normalization of the input.
        device: where to compute.
        dtype: precision of the convolutions; by default a fast one for the device.
    """

    def __init__(
        self, network: LandmarkNet, card: ModelCard, device: torch.device, dtype: torch.dtype | None = None
    ) -> None:
        self.card, self.device = card, device
        self.dtype = dtype or autocast_dtype(device)
        self.chunk_crops = CHUNK_CROPS[device.type]
        network.prepare_inference(device, self.dtype)
        self.network = network

    @classmethod
    def load(cls, device: torch.device, model: str | Path = PACKAGED_NAME) -> "Landmarker":
        """Load the packaged landmark network, or that of another model name or folder.

        Raises:
            WeightsError: if files are missing or damaged, or do not belong together.
        """
        folder = find_model(str(model), TASK)
        weights, card = load_model_folder(folder)
        if card.input_size_px != INPUT_PX:
            raise WeightsError(f"{folder}: landmarks are found in crops of {INPUT_PX} px, not {card.input_size_px}")
        network = build_with_weights(folder, weights, card, lambda: LandmarkNet(**card.architecture_options))
        return cls(network, card, device)

    @property
    def name(self) -> str:
        """The name on the model card."""
        return self.card.name

    @property
    def sha256(self) -> str:
        """The sha256 of the weights."""
        return self.card.sha256

    def predict(self, crops: Tensor) -> LandmarkBatch:
        """Find the landmarks of aligned crops (m, 48, 48, 3) uint8 RGB from `crop_faces`; m may be 0.

        Raises:
            ValueError: if `crops` has another shape or type.
        """
        if crops.dtype != torch.uint8 or tuple(crops.shape[1:]) != (INPUT_PX, INPUT_PX, 3):
            raise ValueError(
                f"crops must be (m, {INPUT_PX}, {INPUT_PX}, 3) uint8, got {tuple(crops.shape)} {crops.dtype}"
            )

        def predict(chunk: slice, chunk_crops: int) -> LandmarkBatch:
            return self._predict_chunk(crops[chunk], chunk_crops)

        on_cpu = self.device.type == "cpu"
        parts = run_with_oom_backoff(len(crops), self.chunk_crops, predict, self._take_fewer, in_threads=on_cpu)
        return LandmarkBatch.join(parts)

    def _take_fewer(self, chunk_crops: int) -> None:
        self.chunk_crops = chunk_crops
        log.warning("%s: out of memory; continuing with %d faces per batch", self.name, chunk_crops)

    @torch.inference_mode()
    def _predict_chunk(self, crops: Tensor, chunk_crops: int) -> LandmarkBatch:
        """Find the landmarks of at most `chunk_crops` crops."""
        gray = to_gray(crops.to(self.device))[:, None]
        inputs = F.pad((gray / 255 - self.card.mean) / self.card.std, (0, 0, 0, 0, 0, 0, 0, chunk_crops - len(crops)))
        both = torch.cat([inputs, inputs.flip(3)]).to(self.dtype, memory_format=torch.channels_last)
        first, mirrored = zip(*(tensor.chunk(2) for tensor in self.network(both)), strict=True)
        outputs = mean_outputs(LandmarkOutputs(*first), mirror_outputs(LandmarkOutputs(*mirrored)))
        points_xy, pose_deg, score_logit = (tensor[: len(crops)].cpu().numpy() for tensor in outputs)
        return LandmarkBatch(points_xy, 1 / (1 + np.exp(-score_logit)), pose_deg)


def mirror_outputs(outputs: LandmarkOutputs) -> LandmarkOutputs:
    """Turn the outputs for mirrored crops into outputs for the crops."""
    return LandmarkOutputs(
        mirror_points(outputs.points_xy),
        outputs.pose_deg * outputs.pose_deg.new_tensor(MIRRORED_POSE_SIGNS),
        outputs.score_logit,
    )


def mean_outputs(first: LandmarkOutputs, second: LandmarkOutputs) -> LandmarkOutputs:
    """Average the outputs of two passes over the same crops."""
    return LandmarkOutputs(*((a + b) / 2 for a, b in zip(first, second, strict=True)))
