"""Third-party detectors for comparison and as teachers: YuNet, RetinaFace-MobileNet-0.25 and CenterFace.

Their weights are not part of the package; each is loaded from a file. The network of RetinaFace on MobileNet-0.25
(https://arxiv.org/abs/1905.00641) is implemented here and loads the public weights of biubug6/Face-Detector-1MB.
"""

import dataclasses
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_models.detection.suppression import nms
from fer_models.errors import FervidError
from fer_models.extras import pip_install
from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_registry import WeightsError

WEAK_SCORE = 0.05  # lowest score of the detections that are returned; evaluation applies its own thresholds
YUNET_FILE, RETINAFACE_FILE = "face_detection_yunet_2023mar.onnx", "retinaface_mobilenet025.pth"
CENTERFACE_FILE = "centerface.onnx"
# Stride of CenterFace's outputs; the sides of its input must be multiples of the second number.
CENTERFACE_STRIDE_PX, CENTERFACE_MULTIPLE_PX = 4, 32
# Boxes that overlap a better one by more than this IoU are suppressed.
CENTERFACE_MAX_IOU = 0.3
# Mean blue, green and red that RetinaFace-MobileNet-0.25 subtracts from its input.
BGR_MEAN = (104, 117, 123)


class ReferenceDetectorError(FervidError):
    """A reference detector cannot be used on this machine."""


def join_frames(batches: list[FaceBatch]) -> FaceBatch:
    """Join the faces of single frames into one batch."""
    numbered = [dataclasses.replace(faces, frame=faces.frame + i) for i, faces in enumerate(batches)]
    return FaceBatch(*(np.concatenate([getattr(b, f.name) for b in numbered]) for f in dataclasses.fields(FaceBatch)))


def _import_opencv(name: str) -> Any:
    """Import OpenCV, which is not a requirement of the package.

    Raises:
        ReferenceDetectorError: if it is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise ReferenceDetectorError(f"{name} needs OpenCV. Run: {pip_install('opencv-python-headless')}") from error
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # suppress warnings about OpenCV's own backends
    return cv2


class YuNet:
    """OpenCV's `FaceDetectorYN` at the full size of the frame.

    Raises:
        ReferenceDetectorError: if OpenCV is not installed.
        WeightsError: if the weights cannot be read.
    """

    def __init__(self, path: Path):
        cv2 = _import_opencv("YuNet")
        try:
            self.network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), WEAK_SCORE, 0.3, 5000)
        except cv2.error as error:
            raise WeightsError(f"{path}: not the weights of YuNet: {error}") from error

    def __call__(self, pixels: np.ndarray) -> FaceBatch:
        """Detect faces in `(n, h, w, 3)` uint8 RGB frames, one at a time."""
        return join_frames([self._detect(frame) for frame in pixels])

    def _detect(self, frame: np.ndarray) -> FaceBatch:
        self.network.setInputSize((frame.shape[1], frame.shape[0]))
        _, rows = self.network.detect(np.ascontiguousarray(frame[..., ::-1]))
        if rows is None:
            return FaceBatch.empty()
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1)
        return FaceBatch(np.zeros(len(rows), np.int64), boxes, rows[:, 4:14].reshape(-1, 5, 2), rows[:, 14])


class CenterFace:
    """CenterFace (https://arxiv.org/abs/1911.03599), run by OpenCV at the full size of the frame.

    Raises:
        ReferenceDetectorError: if OpenCV is not installed.
        WeightsError: if the weights cannot be read.
    """

    def __init__(self, path: Path):
        cv2 = _import_opencv("CenterFace")
        try:
            self.network = cv2.dnn.readNetFromONNX(str(path))
        except cv2.error as error:
            raise WeightsError(f"{path}: not the weights of CenterFace: {error}") from error
        self.outputs = self.network.getUnconnectedOutLayersNames()

    def __call__(self, pixels: np.ndarray) -> FaceBatch:
        """Detect faces in `(n, h, w, 3)` uint8 RGB frames, one at a time."""
        return join_frames([self._detect(frame) for frame in pixels])

    def _detect(self, frame: np.ndarray) -> FaceBatch:
        padding = [(0, -side % CENTERFACE_MULTIPLE_PX) for side in frame.shape[:2]]
        inputs = np.pad(frame, (*padding, (0, 0))).astype(np.float32).transpose(2, 0, 1)[None]
        self.network.setInput(np.ascontiguousarray(inputs))
        heat_map, log_size, offset, landmarks = (output[0] for output in self.network.forward(self.outputs))
        return decode_centerface(heat_map[0], log_size, offset, landmarks)


def decode_centerface(
    heat_map: np.ndarray, log_size: np.ndarray, offset: np.ndarray, landmarks: np.ndarray
) -> FaceBatch:
    """Convert the outputs of CenterFace for one frame to faces.

    Args:
        heat_map: (h, w) score of a face at each point.
        log_size: (2, h, w) logarithm of height and width, in strides.
        offset: (2, h, w) of the center from the point, y and x, in strides.
        landmarks: (10, h, w) y and x of five landmarks in the box, as shares of its height and width.
    """
    row, column = np.nonzero(heat_map > WEAK_SCORE)
    score = heat_map[row, column]
    height, width = np.exp(log_size[:, row, column]) * CENTERFACE_STRIDE_PX
    center_y, center_x = (np.stack([row, column]) + offset[:, row, column] + 0.5) * CENTERFACE_STRIDE_PX
    left, top = center_x - width / 2, center_y - height / 2
    boxes = np.stack([left, top, left + width, top + height], axis=1).astype(np.float32)
    y, x = landmarks[0::2, row, column] * height + top, landmarks[1::2, row, column] * width + left
    points = np.stack([x.T, y.T], axis=2).astype(np.float32)
    best = nms(torch.from_numpy(boxes), torch.from_numpy(score), CENTERFACE_MAX_IOU).numpy()
    return FaceBatch(np.zeros(len(best), np.int64), boxes[best], points[best], score[best])


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias and its batch norm."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


def _block(inputs: int, outputs: int, stride: int = 1, *, depthwise: bool = True, kernel: int = 3) -> nn.Sequential:
    """A convolution, or a depthwise and a 1x1 convolution, with ReLUs; numbered as in the public weights."""
    first = [*_conv(inputs, inputs, 3, stride, inputs), nn.ReLU()] if depthwise else []
    last = _conv(inputs, outputs, 1) if depthwise else _conv(inputs, outputs, kernel, stride)
    return nn.Sequential(*first, *last, nn.ReLU())


class Context(nn.Module):
    """RetinaFace's context module: receptive fields of 3x3, 5x5 and 7x7, built from 3x3 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3X3 = nn.Sequential(*_conv(64, 32))
        self.conv5X5_1 = _block(64, 16, depthwise=False)
        self.conv5X5_2 = nn.Sequential(*_conv(16, 16))
        self.conv7X7_2 = _block(16, 16, depthwise=False)
        self.conv7x7_3 = nn.Sequential(*_conv(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, 64, h, w)` to the same shape."""
        middle = self.conv5X5_1(x)
        parts = [self.conv3X3(x), self.conv5X5_2(middle), self.conv7x7_3(self.conv7X7_2(middle))]
        return functional.relu(torch.cat(parts, 1))


class RetinaFaceMobile(nn.Module):
    """RetinaFace on MobileNet-0.25; modules are named as in the public weights."""

    def __init__(self) -> None:
        super().__init__()
        plan = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        stage1 = [_block(3, 8, 2, depthwise=False), *(_block(i, o, s) for i, o, s in plan)]
        stage2 = [_block(64, 128, 2), *(_block(128, 128) for _ in range(5))]
        stage3 = [_block(128, 256, 2), _block(256, 256)]
        stages = {f"stage{n}": nn.Sequential(*s) for n, s in enumerate((stage1, stage2, stage3), 1)}
        self.body = nn.ModuleDict(stages)
        outputs = {f"output{n}": _block(c, 64, depthwise=False, kernel=1) for n, c in enumerate((64, 128, 256), 1)}
        merges = {f"merge{n}": _block(64, 64, depthwise=False) for n in (1, 2)}
        self.fpn = nn.ModuleDict({**outputs, **merges})
        self.ssh1, self.ssh2, self.ssh3 = Context(), Context(), Context()
        self.ClassHead, self.BboxHead, self.LandmarkHead = (
            nn.ModuleList(nn.Sequential(OrderedDict(conv1x1=nn.Conv2d(64, width, 1))) for _ in range(3))
            for width in (4, 8, 20)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map `(1, 3, h, w)` to logits `(a, 2)`, box `(a, 4)` and landmark `(a, 10)` offsets per anchor."""
        features = []
        for n in (1, 2, 3):
            x = self.body[f"stage{n}"](x)
            features.append(self.fpn[f"output{n}"](x))
        for n in (1, 0):
            above = functional.interpolate(features[n + 1], size=features[n].shape[2:], mode="nearest")
            features[n] = self.fpn[f"merge{n + 1}"](features[n] + above)
        features = [ssh(f) for ssh, f in zip((self.ssh1, self.ssh2, self.ssh3), features, strict=True)]

        def run(heads: nn.ModuleList, width: int) -> Tensor:
            maps = [head(f) for head, f in zip(heads, features, strict=True)]
            return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, width) for m in maps])

        return run(self.ClassHead, 2), run(self.BboxHead, 4), run(self.LandmarkHead, 10)


def anchors(height_px: int, width_px: int) -> Tensor:
    """Return the anchors of these weights: center x, center y and side, `(a, 3)` pixels."""
    levels = []
    for stride, sides in ((8, (10, 20)), (16, (32, 64)), (32, (128, 256))):
        shape = (-(-height_px // stride), -(-width_px // stride), 2)
        y, x, which = np.mgrid[: shape[0], : shape[1], :2]
        side = np.array(sides)[which]
        levels.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, side], -1).reshape(-1, 3))
    return torch.from_numpy(np.concatenate(levels)).float()


class RetinaFaceReference:
    """RetinaFace-MobileNet-0.25 at the full size of the frame.

    Raises:
        WeightsError: if the weights cannot be read, or are those of another network.
    """

    def __init__(self, path: Path):
        self.network = RetinaFaceMobile().eval()
        try:
            self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, LookupError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise WeightsError(f"{path}: not the weights of RetinaFace-MobileNet-0.25: {error}") from error

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> FaceBatch:
        """Detect faces in `(n, h, w, 3)` uint8 RGB frames, one at a time."""
        return join_frames([self._detect(frame) for frame in pixels])

    def _detect(self, frame: np.ndarray) -> FaceBatch:
        blue_first = frame[..., ::-1].astype(np.float32) - np.array(BGR_MEAN, np.float32)
        logits, box, landmarks = self.network(torch.from_numpy(blue_first).permute(2, 0, 1)[None])
        score = logits.softmax(1)[:, 1]
        keep = score > WEAK_SCORE
        score, box, landmarks, anchor = score[keep], box[keep], landmarks[keep], anchors(*frame.shape[:2])[keep]
        side = anchor[:, 2:]
        center, half = anchor[:, :2] + 0.1 * side * box[:, :2], side * (0.2 * box[:, 2:]).exp() / 2
        boxes = torch.cat([center - half, center + half], 1)
        points = anchor[:, None, :2] + 0.1 * side[:, None] * landmarks.reshape(-1, 5, 2)
        best = nms(boxes, score, 0.4)
        return FaceBatch(np.zeros(len(best), np.int64), *(t[best].numpy() for t in (boxes, points, score)))


# Maps the name of each reference detector to its class and the name of its weights file.
REFERENCES: dict[str, tuple[Callable[[Path], Callable[[np.ndarray], FaceBatch]], str]] = {
    "yunet": (YuNet, YUNET_FILE),
    "retinaface_mobilenet025": (RetinaFaceReference, RETINAFACE_FILE),
    "centerface": (CenterFace, CENTERFACE_FILE),
}
REFERENCE_THRESHOLD = 0.5


def load_reference(name: str, folder: Path) -> Callable[[np.ndarray], FaceBatch]:
    """Load a reference detector with its weights from `folder`; it returns detections with a score above 0.05.

    Raises:
        ReferenceDetectorError: if there is no such reference, or OpenCV is not installed.
        WeightsError: if its weights are missing or those of another network.
    """
    file = reference_file(name, folder)
    make, _ = REFERENCES[name]
    return make(file)


def reference_file(name: str, folder: Path) -> Path:
    """Return the file of a reference detector's weights in `folder`.

    Raises:
        ReferenceDetectorError: if there is no such reference.
        WeightsError: if the file is missing.
    """
    if name not in REFERENCES:
        raise ReferenceDetectorError(f"{name}: no such reference detector. Known: {', '.join(REFERENCES)}")
    file = folder / REFERENCES[name][1]
    if not file.is_file():
        raise WeightsError(f"{file}: no such file. Copy the weights of {name} there, or give another folder")
    return file
