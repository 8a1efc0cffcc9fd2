"""RetinaFace (https://arxiv.org/abs/1905.00641) in batches, with the network of the `retina-face` package.

It finds the same faces as the package's own `detect_faces`, which takes one image at a time, at the same scale.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fer_models.detection.chunks import detect_in_chunks, tiles_per_frame
from fer_models.detection.protocol import score_threshold_of
from fer_models.detection.resizing import resize
from fer_models.detection.retinaface_network import STRIDES_PX, build_network, frames_of_sizes
from fer_models.detection.suppression import nms_by_frame
from fer_models.device import autocast_dtype
from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_registry import ModelCard, load_model_folder

MAX_SIDE_PX = 960
SCORE_THRESHOLD = 0.9  # minimum score of a face, as in the `retina-face` package
NMS_IOU = 0.4  # boxes that overlap a better one by more than this are suppressed, as in the `retina-face` package
# Sides of the two anchors per cell, at each of `STRIDES_PX`.
ANCHOR_SIDES_PX = ((512.0, 256.0), (128.0, 64.0), (32.0, 16.0))
ANCHOR_OFFSET_PX = 7.5  # distance along x and y from the corner of a cell to the center of its anchors, at every stride
# Frames per forward pass. On a CPU, larger batches were not faster.
CHUNK_FRAMES = {"cuda": 16, "cpu": 1}


def anchor_grid(height_px: int, width_px: int) -> tuple[Tensor, Tensor]:
    """The corner (x, y) of each anchor's cell, `(anchors, 2)`, and the anchor's side, `(anchors,)`, in input pixels.

    In the order of the network's outputs: by stride, row, column, size.

    >>> cells_xy, side_px = anchor_grid(32, 64)
    >>> cells_xy[:4].tolist(), side_px[:4].tolist(), len(side_px)
    ([[0, 0], [0, 0], [32, 0], [32, 0]], [512.0, 256.0, 512.0, 256.0], 84)
    """
    cells, sides = [], []
    for stride, sides_px in zip(STRIDES_PX, ANCHOR_SIDES_PX, strict=True):
        y, x = torch.meshgrid(torch.arange(0, height_px, stride), torch.arange(0, width_px, stride), indexing="ij")
        cells.append(torch.stack([x, y], -1).reshape(-1, 2).repeat_interleave(len(sides_px), 0))
        sides.append(torch.tensor(sides_px).repeat(x.numel()))
    return torch.cat(cells), torch.cat(sides)


def decode_boxes(deltas: Tensor, center_xy: Tensor, side_px: Tensor) -> Tensor:
    """Decode box outputs `(m, 4)` to input pixels; x2 and y2 are the last pixels inside a box, as in the package."""
    center = center_xy + deltas[:, :2] * side_px[:, None]
    half = (deltas[:, 2:].exp() * side_px[:, None] - 1) / 2
    return torch.cat([center - half, center + half], 1)


def decode_landmarks(deltas: Tensor, center_xy: Tensor, side_px: Tensor) -> Tensor:
    """Decode landmark outputs `(m, 5, 2)` to input pixels."""
    return center_xy[:, None] + deltas * side_px[:, None, None]


def flatten_outputs(outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Scores `(n, anchors)`, box outputs `(n, anchors, 4)` and landmark outputs `(n, anchors, 5, 2)`, float32.

    Args:
        outputs: the network's: for each stride score (background, then face), box and landmarks, `(n, h, w, values)`.
    """
    n = len(outputs[0])
    scores = torch.cat([level[..., 2:].reshape(n, -1) for level in outputs[0::3]], 1)
    boxes = torch.cat([level.reshape(n, -1, 4) for level in outputs[1::3]], 1)
    landmarks = torch.cat([level.reshape(n, -1, 5, 2) for level in outputs[2::3]], 1)
    return scores.float(), boxes.float(), landmarks.float()


class RetinaFaceDetector:
    """Detect faces with the network of `retina-face`; implements `FaceDetector`.

    Args:
        weights: of the package's PyTorch network.
        card: the card of the weights, with a score threshold.
        dtype: of the arithmetic; by default the fastest of the device.
        max_side_px: larger frames are downscaled to this long side.
        upscale: whether smaller frames are enlarged to it.
        chunk_frames: the network always processes this many frames at once (the last chunk is padded), so that the
            faces of a frame are the same in every batch; tiles come `TILES_PER_FRAME` times as many at once. Halved
            permanently when memory runs out. By default as in `CHUNK_FRAMES`.

    Raises:
        WeightsError: if the weights are not the network's, the card has no score threshold, or the package is not
            installed.
    """

    def __init__(
        self,
        weights: dict[str, Tensor],
        card: ModelCard,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        max_side_px: int = MAX_SIDE_PX,
        upscale: bool = False,
        chunk_frames: int | None = None,
    ):
        self.name, self.sha256, self.score_threshold = card.name, card.sha256, score_threshold_of(card)
        self.device = device or torch.device("cpu")
        self.dtype = dtype or autocast_dtype(self.device)
        self.precision = str(self.dtype).removeprefix("torch.")
        self.max_side_px, self.upscale = max_side_px, upscale
        self.chunk_frames = chunk_frames or CHUNK_FRAMES[self.device.type]
        network = build_network(weights).to(self.device)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @classmethod
    def load(cls, folder: Path, *, device: torch.device) -> "RetinaFaceDetector":
        """Load the detector of a model folder.

        Raises:
            WeightsError: if the folder's files are missing or damaged, or the package is not installed.
        """
        return cls(*load_model_folder(folder), device=device)

    def detect(self, pixels: np.ndarray) -> FaceBatch:
        """Find the faces in `(n, h, w, 3)` uint8 RGB frames; see `FaceDetector.detect`.

        Raises:
            ValueError: if `pixels` has another shape or dtype.
        """
        if pixels.ndim != 4:
            raise ValueError(f"pixels must be (n, h, w, 3) uint8, got {pixels.shape} {pixels.dtype}")
        return self.detect_images(list(pixels))

    @torch.inference_mode()
    def detect_images(self, images: Sequence[np.ndarray]) -> FaceBatch:
        """Find the faces in `(h, w, 3)` uint8 RGB images of any sizes, in batches; see `FaceDetector.detect`.

        Raises:
            ValueError: if an image has another shape or dtype.
        """
        for image in images:
            if image.ndim != 3 or image.shape[-1] != 3 or not image.size or image.dtype != np.uint8:
                raise ValueError(f"an image must be (h, w, 3) uint8, got {image.shape} {image.dtype}")

        def detect(chunk: slice, chunk_frames: int) -> tuple[np.ndarray, ...]:
            return self._detect_chunk(images[chunk], chunk.start, chunk_frames)

        per_frame = min((tiles_per_frame(image[None]) for image in images), default=1)
        return detect_in_chunks(self, len(images), per_frame, detect)

    def _detect_chunk(
        self, images: Sequence[np.ndarray], first_frame: int, chunk_frames: int
    ) -> tuple[np.ndarray, ...]:
        """Arrays of a `FaceBatch` for at most `chunk_frames` images."""
        canvas, sizes_px, scales = self._letterbox(images, chunk_frames)
        canvas_px = canvas.shape[1], canvas.shape[2]
        mixed = self.dtype != torch.float32
        with (
            frames_of_sizes(sizes_px, canvas_px, self.device),
            torch.autocast(self.device.type, self.dtype, enabled=mixed),
        ):
            outputs = self.network(canvas)
        scores, box_outputs, landmark_outputs = flatten_outputs(outputs)

        cells_xy, side_px = (tensor.to(self.device) for tensor in anchor_grid(*canvas_px))
        limit_xy = torch.tensor(sizes_px, device=self.device).flip(1)
        hit = (scores >= self.score_threshold) & (cells_xy < limit_xy[:, None]).all(-1)
        hit[len(images) :] = False
        frame, anchor = torch.nonzero(hit, as_tuple=True)

        center_xy, side_px = cells_xy[anchor] + ANCHOR_OFFSET_PX, side_px[anchor]
        scale = torch.tensor(scales, dtype=torch.float32, device=self.device)[frame, None]
        corners = decode_boxes(box_outputs[frame, anchor], center_xy, side_px).reshape(-1, 2, 2)
        boxes = (corners.clamp(min=0).minimum(limit_xy[frame, None] - 1).flatten(1)) / scale
        landmarks = decode_landmarks(landmark_outputs[frame, anchor], center_xy, side_px) / scale[..., None]
        score = scores[frame, anchor]
        # As in the package, a box includes its last row and column of pixels.
        keep = nms_by_frame(boxes + torch.tensor([0, 0, 1, 1], device=self.device), score, frame, NMS_IOU)
        faces = (frame + first_frame, boxes, landmarks, score)
        return tuple(tensor[keep].cpu().numpy() for tensor in faces)

    def _letterbox(
        self, images: Sequence[np.ndarray], chunk_frames: int
    ) -> tuple[Tensor, list[tuple[int, int]], list[float]]:
        """Copy each image to the top left corner of its own canvas.

        Returns:
            Canvas `(chunk_frames, height, width, 3)` float32; height and width of each image on it (padding images
            are as large as the canvas); the scale of each.
        """
        limit = float("inf") if self.upscale else 1.0
        scales = [min(limit, self.max_side_px / max(image.shape[:2])) for image in images]
        resized = [
            resize(torch.from_numpy(np.require(image, requirements=["C", "W"])).to(self.device), scale)
            for image, scale in zip(images, scales, strict=True)
        ]
        sizes_px = [(image.shape[0], image.shape[1]) for image in resized]
        height_px, width_px = (max(sides) for sides in zip(*sizes_px, strict=True))
        canvas = torch.zeros((chunk_frames, height_px, width_px, 3), device=self.device)
        for target, image in zip(canvas, resized, strict=False):
            target[: image.shape[0], : image.shape[1]] = image
        n_filled = chunk_frames - len(images)
        return canvas, sizes_px + n_filled * [(height_px, width_px)], scales + n_filled * [1.0]
