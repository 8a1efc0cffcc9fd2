"""The compact face detector: a small network (see `compact_network`) with batched pre- and post-processing."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_models.detection.chunks import detect_in_chunks, tiles_per_frame
from fer_models.detection.compact_int8 import use_int8
from fer_models.detection.compact_network import STRIDES_PX, CompactNet
from fer_models.detection.protocol import score_threshold_of
from fer_models.detection.suppression import nms_by_frame
from fer_models.frame_batch import FaceBatch
from fer_models.int8 import choose_precision
from fer_models.oom import keep_freed_memory
from fer_models.registry.model_registry import ModelCard, WeightsError, load_model_folder
from fer_models.registry.networks import build_with_weights

MAX_LOG_DISTANCE = 5.0  # limit on the predicted logarithm of a distance in strides: exp(5) strides exceed any input
NMS_IOU = 0.4
# Frames per forward pass. On a CPU, 8 are only 10 % faster per frame than 2, and batches often hold fewer.
CHUNK_FRAMES = {"cuda": 8, "cpu": 2}


def load_network(folder: Path) -> tuple[CompactNet, ModelCard]:
    """Load the network and the card of a model folder.

    Raises:
        WeightsError: if the folder's files are missing, damaged or do not belong together.
    """
    weights, card = load_model_folder(folder)
    return build_with_weights(folder, weights, card, lambda: CompactNet(**card.architecture_options)), card


def grid_points(height_px: int, width_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The center (x, y) and the stride of every grid point of the feature maps, in pixels of the input.

    >>> points_xy, stride_px = grid_points(32, 64)
    >>> points_xy[:2].tolist(), points_xy[-1].tolist(), len(stride_px)
    ([[4.0, 4.0], [12.0, 4.0]], [48.0, 16.0], 42)
    """
    points, strides = [], []
    for stride in STRIDES_PX:
        y, x = np.mgrid[: height_px // stride, : width_px // stride]
        points.append((np.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(np.full(x.size, stride))
    return np.concatenate(points).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode_boxes(outputs: Tensor, points_xy: Tensor, stride_px: Tensor) -> Tensor:
    """Boxes (x1 y1 x2 y2, input pixels) of `(…, points, 15)` raw outputs."""
    distances = outputs[..., 1:5].clamp(max=MAX_LOG_DISTANCE).exp() * stride_px[:, None]
    return torch.cat([points_xy - distances[..., :2], points_xy + distances[..., 2:]], -1)


def decode_landmarks(outputs: Tensor, points_xy: Tensor, stride_px: Tensor) -> Tensor:
    """Landmarks `(…, points, 5, 2)` in input pixels of `(…, points, 15)` raw outputs."""
    offsets = outputs[..., 5:].reshape(*outputs.shape[:-1], 5, 2)
    return points_xy[:, None] + offsets * stride_px[:, None, None]


class _Geometry(NamedTuple):
    """Size of the input made of a frame: downscaled to (height_px, width_px), then padded right and below."""

    height_px: int
    width_px: int
    padded_height_px: int
    padded_width_px: int


def _input_geometry(height_px: int, width_px: int, max_side_px: int) -> _Geometry:
    scale = min(1.0, max_side_px / max(height_px, width_px))
    height, width = max(1, round(height_px * scale)), max(1, round(width_px * scale))
    multiple = STRIDES_PX[-1]
    return _Geometry(height, width, -(-height // multiple) * multiple, -(-width // multiple) * multiple)


class CompactDetector:
    """Detect faces with a `CompactNet`; implements `FaceDetector`.

    Args:
        network: the trained network; it is modified (fused, moved, cast).
        card: its card, with a score threshold.
        dtype: of the computation; by default a fast one for the device: 8-bit integers if it is a CPU that multiplies
            them faster, and the card has the largest inputs of the convolutions.
        chunk_frames: the network always processes this many frames at once (the last chunk is padded), so that the
            faces of a frame are identical, to the bit, in every batch; tiles come `TILES_PER_FRAME` times as many at
            once. Halved permanently when memory runs out. By default as in `CHUNK_FRAMES`.
        max_side_px: larger frames are downscaled to this long side; smaller ones are never enlarged.

    Raises:
        WeightsError: if the card has no score threshold or lists other convolutions than the network has, or if weights
            of a convolution in 8-bit integers are NaN or infinite.
    """

    def __init__(
        self,
        network: CompactNet,
        card: ModelCard,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        max_side_px: int = 640,
        chunk_frames: int | None = None,
    ):
        self.name, self.sha256, self.score_threshold = card.name, card.sha256, score_threshold_of(card)
        self.mean, self.std = card.mean, card.std
        self.device = device or torch.device("cpu")
        self.dtype, self.precision = choose_precision(card, self.device, dtype)
        self.max_side_px, self.nms_iou = max_side_px, NMS_IOU
        self.chunk_frames = chunk_frames or CHUNK_FRAMES[self.device.type]
        if self.device.type == "cpu":
            keep_freed_memory()
        network = network.eval().fuse().to(self.device, self.dtype)
        if self.precision == "int8":
            try:
                use_int8(network, card.largest_inputs, card.mean, card.std)
            except ValueError as error:
                raise WeightsError(f"{card.name}: {error}") from error
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> "CompactDetector":
        """Load the detector of a model folder; `dtype` is that of its computation, by default a fast one.

        Raises:
            WeightsError: if the folder's files are missing, damaged or do not belong together.
        """
        return cls(*load_network(folder), device=device, dtype=dtype)

    @torch.inference_mode()
    def detect(self, pixels: np.ndarray) -> FaceBatch:
        """Find the faces in `(n, h, w, 3)` uint8 RGB frames; see `FaceDetector.detect`.

        Raises:
            ValueError: if `pixels` has another shape or dtype.
        """
        if pixels.ndim != 4 or pixels.shape[-1] != 3 or 0 in pixels.shape[1:] or pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be (n, h, w, 3) uint8, got {pixels.shape} {pixels.dtype}")

        def detect(chunk: slice, chunk_frames: int) -> tuple[np.ndarray, ...]:
            return self._detect_chunk(pixels[chunk], chunk.start, chunk_frames)

        return detect_in_chunks(self, len(pixels), tiles_per_frame(pixels), detect)

    def _detect_chunk(self, pixels: np.ndarray, first_frame: int, chunk_frames: int) -> tuple[np.ndarray, ...]:
        """Arrays of a `FaceBatch` for at most `chunk_frames` frames."""
        height, width = pixels.shape[1:3]
        geometry = _input_geometry(height, width, self.max_side_px)
        outputs = self.network(self._input(pixels, geometry, chunk_frames))[: len(pixels)].float()
        scores = outputs[..., 0].sigmoid()
        frame, point = torch.nonzero(scores >= self.score_threshold, as_tuple=True)

        points_xy, stride_px = (
            torch.from_numpy(array).to(self.device)[point]
            for array in grid_points(geometry.padded_height_px, geometry.padded_width_px)
        )
        found, score = outputs[frame, point], scores[frame, point]
        boxes = decode_boxes(found, points_xy, stride_px)
        keep = nms_by_frame(boxes, score, frame, self.nms_iou)

        to_frame = torch.tensor([width / geometry.width_px, height / geometry.height_px], device=self.device)
        limit = torch.tensor([width, height], dtype=torch.float32, device=self.device)
        corners = (boxes[keep].reshape(-1, 2, 2) * to_frame).clamp(min=0).minimum(limit)
        landmarks = decode_landmarks(found[keep], points_xy[keep], stride_px[keep]) * to_frame
        faces = (frame[keep] + first_frame, corners.flatten(1), landmarks, score[keep])
        return tuple(tensor.cpu().numpy() for tensor in faces)

    def _input(self, pixels: np.ndarray, geometry: _Geometry, chunk_frames: int) -> Tensor:
        """Downscale, normalize and pad frames to `(chunk_frames, 3, padded_h, padded_w)`; the padding is mean gray."""
        x = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self.device).permute(0, 3, 1, 2)
        if x.shape[-2:] != (geometry.height_px, geometry.width_px):
            if self.device.type == "cpu":
                x = functional.interpolate(x, size=geometry[:2], mode="bilinear", antialias=True)
            else:  # PyTorch resizes uint8 images, which rounds them, on the CPU only
                x = functional.interpolate(x.float(), size=geometry[:2], mode="bilinear", antialias=True).round_()
        shape = (chunk_frames, 3, geometry.padded_height_px, geometry.padded_width_px)
        in_pixels = self.precision == "int8"
        padded = torch.empty(
            shape,
            dtype=torch.uint8 if in_pixels else self.dtype,
            device=self.device,
            memory_format=torch.channels_last,
        ).fill_(round(255 * self.mean) if in_pixels else 0)
        shown = padded[: len(pixels), :, : geometry.height_px, : geometry.width_px].copy_(x)
        if not in_pixels:
            shown.sub_(255 * self.mean).div_(255 * self.std)
        return padded
