"""Third-party detectors: YuNet and RetinaFace-MobileNet-0.25, for comparison and as teachers.

Their weights are not part of the package; each is loaded from a file. The network of RetinaFace on MobileNet-0.25
(https://arxiv.org/abs/1905.00641) is written anew here; it takes the public weights of biubug6/Face-Detector-1MB.
"""

import dataclasses
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_models.detection.suppression import nms
from fer_models.errors import FervidError
from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_registry import WeightsError

WEAK_SCORE = 0.05  # detections from this score on are kept; evaluation chooses its own thresholds
YUNET_FILE, RETINAFACE_FILE = "face_detection_yunet_2023mar.onnx", "retinaface_mobilenet025.pth"
BGR_MEAN = (104, 117, 123)


class ReferenceDetectorError(FervidError):
    """A reference detector cannot be used on this machine."""


def join_frames(batches: list[FaceBatch]) -> FaceBatch:
    """Join the faces of single frames into one batch."""
    numbered = [dataclasses.replace(faces, frame=faces.frame + i) for i, faces in enumerate(batches)]
    return FaceBatch(*(np.concatenate([getattr(b, f.name) for b in numbered]) for f in dataclasses.fields(FaceBatch)))


class YuNet:
    """OpenCV's `FaceDetectorYN` at the frame's own size.

    Raises:
        ReferenceDetectorError: if OpenCV is not installed.
        WeightsError: if the weights cannot be read.
    """

    def __init__(self, path: Path):
        try:
            import cv2
        except ImportError as error:
            raise ReferenceDetectorError("YuNet runs in OpenCV: pip install opencv-python-headless") from error
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # suppress warnings about its own backends
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


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias and its batch norm."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


def _block(inputs: int, outputs: int, stride: int = 1, *, depthwise: bool = True, kernel: int = 3) -> nn.Sequential:
    """A convolution (or a depthwise and a 1x1 one) with ReLUs; numbered as in the public weights."""
    first = [*_conv(inputs, inputs, 3, stride, inputs), nn.ReLU()] if depthwise else []
    last = _conv(inputs, outputs, 1) if depthwise else _conv(inputs, outputs, kernel, stride)
    return nn.Sequential(*first, *last, nn.ReLU())


class Context(nn.Module):
    """RetinaFace's context module: 3x3, 5x5 and 7x7 fields made of 3x3 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3X3 = nn.Sequential(*_conv(64, 32))
        self.conv5X5_1 = _block(64, 16, depthwise=False)
        self.conv5X5_2 = nn.Sequential(*_conv(16, 16))
        self.conv7X7_2 = _block(16, 16, depthwise=False)
        self.conv7x7_3 = nn.Sequential(*_conv(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        """`(b, 64, h, w)` to the same shape."""
        middle = self.conv5X5_1(x)
        parts = [self.conv3X3(x), self.conv5X5_2(middle), self.conv7x7_3(self.conv7X7_2(middle))]
        return functional.relu(torch.cat(parts, 1))


class RetinaFaceMobile(nn.Module):
    """RetinaFace on MobileNet-0.25; the names of its parts are those of the public weights."""

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
        """`(1, 3, h, w)` to logits `(a, 2)`, box `(a, 4)` and landmark `(a, 10)` offsets per anchor."""
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
    """The anchors these weights were made for: center x, center y, side, `(a, 3)` pixels."""
    levels = []
    for stride, sides in ((8, (10, 20)), (16, (32, 64)), (32, (128, 256))):
        shape = (-(-height_px // stride), -(-width_px // stride), 2)
        y, x, which = np.mgrid[: shape[0], : shape[1], :2]
        side = np.array(sides)[which]
        levels.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, side], -1).reshape(-1, 3))
    return torch.from_numpy(np.concatenate(levels)).float()


class RetinaFaceReference:
    """The network above at the frame's own size, one frame at a time.

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


# Each reference's name, its loader, and the file of its weights.
REFERENCES: dict[str, tuple[Callable[[Path], Callable[[np.ndarray], FaceBatch]], str]] = {
    "yunet": (YuNet, YUNET_FILE),
    "retinaface_mobilenet025": (RetinaFaceReference, RETINAFACE_FILE),
}
REFERENCE_THRESHOLD = 0.5


def load_reference(name: str, folder: Path) -> Callable[[np.ndarray], FaceBatch]:
    """The reference called `name`, with its weights from `folder`; it keeps hits from a score of 0.05 on.

    Raises:
        ReferenceDetectorError: if there is no such reference, or it cannot run here.
        WeightsError: if its weights are missing or are those of something else.
    """
    if name not in REFERENCES:
        raise ReferenceDetectorError(f"{name}: no such reference; known: {', '.join(REFERENCES)}")
    make, file = REFERENCES[name]
    if not (folder / file).is_file():
        raise WeightsError(f"{folder / file}: no such file; put the weights of {name} there, or name another folder")
    return make(folder / file)
