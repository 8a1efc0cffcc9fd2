"""Third-party detectors for comparison and as teachers: YuNet, RetinaFace-MobileNet-0.25 and CenterFace.

Their weights are not part of the package; each is loaded from a file. The weights of RetinaFace-MobileNet-0.25 are the
public ones of biubug6/Face-Detector-1MB.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fer_models.detection.suppression import nms
from fer_models.errors import FervidError
from fer_models.evaluation.retinaface_mobile import RetinaFaceMobile, anchors
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
        return FaceBatch.of_frames([self._detect(frame) for frame in pixels])

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
        return FaceBatch.of_frames([self._detect(frame) for frame in pixels])

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
        return FaceBatch.of_frames([self._detect(frame) for frame in pixels])

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
