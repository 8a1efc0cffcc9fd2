"""Compare face detectors on photographs whose faces are known: recall, precision, average precision, speed.

    python benchmarks/detectors.py ../shared/data/faces/eval.parquet --references ../shared/data/detectors

The references are YuNet (through OpenCV, a development dependency) and RetinaFace with a MobileNet-0.25 backbone
(https://arxiv.org/abs/1905.00641), the latter in a network of our own that takes the public weights.
"""

import argparse
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import nms

from fer_models.batches import FaceBatch
from fer_models.detection import load_detector
from fer_models.detection.evaluation import (
    KINDS,
    SIZES_PX,
    Detect,
    Evaluation,
    evaluate_detector,
    frames_per_s,
    read_true_photos,
)

WEAK_SCORE = 0.05


def join(batches: list[FaceBatch]) -> FaceBatch:
    """The faces of frames that were looked at one by one, as one batch."""
    numbered = [dataclasses.replace(faces, frame=faces.frame + i) for i, faces in enumerate(batches)]
    return FaceBatch(*(np.concatenate([getattr(b, f.name) for b in numbered]) for f in dataclasses.fields(FaceBatch)))


class YuNet:
    """OpenCV's `FaceDetectorYN` at the frame's own size."""

    def __init__(self, path: Path):
        self.network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), WEAK_SCORE, 0.3, 5000)

    def __call__(self, pixels: np.ndarray) -> FaceBatch:
        """Faces of `(n, h, w, 3)` frames, one at a time."""
        return join([self._detect(frame) for frame in pixels])

    def _detect(self, frame: np.ndarray) -> FaceBatch:
        self.network.setInputSize((frame.shape[1], frame.shape[0]))
        _, rows = self.network.detect(np.ascontiguousarray(frame[..., ::-1]))
        if rows is None:
            return FaceBatch.empty()
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1)
        return FaceBatch(np.zeros(len(rows), np.int64), boxes, rows[:, 4:14].reshape(-1, 5, 2), rows[:, 14])


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias and its batch norm."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


def block(inputs: int, outputs: int, stride: int = 1, *, depthwise: bool = True, kernel: int = 3) -> nn.Sequential:
    """A convolution (or a depthwise and a 1x1 one) with ReLUs; numbered as in the public weights."""
    first = [*conv(inputs, inputs, 3, stride, inputs), nn.ReLU()] if depthwise else []
    last = conv(inputs, outputs, 1) if depthwise else conv(inputs, outputs, kernel, stride)
    return nn.Sequential(*first, *last, nn.ReLU())


class Context(nn.Module):
    """RetinaFace's context module: 3x3, 5x5 and 7x7 fields made of 3x3 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3X3 = nn.Sequential(*conv(64, 32))
        self.conv5X5_1 = block(64, 16, depthwise=False)
        self.conv5X5_2 = nn.Sequential(*conv(16, 16))
        self.conv7X7_2 = block(16, 16, depthwise=False)
        self.conv7x7_3 = nn.Sequential(*conv(16, 16))

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
        stage1 = [block(3, 8, 2, depthwise=False), *(block(i, o, s) for i, o, s in plan)]
        stage2 = [block(64, 128, 2), *(block(128, 128) for _ in range(5))]
        stage3 = [block(128, 256, 2), block(256, 256)]
        stages = {f"stage{n}": nn.Sequential(*s) for n, s in enumerate((stage1, stage2, stage3), 1)}
        self.body = nn.ModuleDict(stages)
        outputs = {f"output{n}": block(c, 64, depthwise=False, kernel=1) for n, c in enumerate((64, 128, 256), 1)}
        merges = {f"merge{n}": block(64, 64, depthwise=False) for n in (1, 2)}
        self.fpn = nn.ModuleDict({**outputs, **merges})
        self.ssh1, self.ssh2, self.ssh3 = Context(), Context(), Context()
        for name, width in (("ClassHead", 4), ("BboxHead", 8), ("LandmarkHead", 20)):
            heads = (nn.ModuleDict({"conv1x1": nn.Conv2d(64, width, 1)}) for _ in range(3))
            setattr(self, name, nn.ModuleList(heads))

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
            maps = [head["conv1x1"](f) for head, f in zip(heads, features, strict=True)]
            return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, width) for m in maps])

        return run(self.ClassHead, 2), run(self.BboxHead, 4), run(self.LandmarkHead, 10)


def anchors(height: int, width: int) -> Tensor:
    """The anchors these weights were made for: centre x, centre y, side, `(a, 3)` pixels."""
    levels = []
    for stride, sides in ((8, (10, 20)), (16, (32, 64)), (32, (128, 256))):
        shape = (-(-height // stride), -(-width // stride), 2)
        y, x, which = np.mgrid[: shape[0], : shape[1], :2]
        side = np.array(sides)[which]
        levels.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, side], -1).reshape(-1, 3))
    return torch.from_numpy(np.concatenate(levels)).float()


class RetinaFaceReference:
    """The network above at the frame's own size, one frame at a time."""

    def __init__(self, path: Path):
        self.network = RetinaFaceMobile().eval()
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> FaceBatch:
        """Faces of `(n, h, w, 3)` frames, one at a time."""
        return join([self._detect(frame) for frame in pixels])

    def _detect(self, frame: np.ndarray) -> FaceBatch:
        blue_first = frame[..., ::-1].astype(np.float32) - (104, 117, 123)
        x = torch.from_numpy(blue_first.astype(np.float32)).permute(2, 0, 1)[None]
        logits, box, landmarks = self.network(x)
        score = logits.softmax(1)[:, 1]
        keep = score > WEAK_SCORE
        score, box, landmarks, anchor = score[keep], box[keep], landmarks[keep], anchors(*frame.shape[:2])[keep]
        side = anchor[:, 2:]
        centre, half = anchor[:, :2] + 0.1 * side * box[:, :2], side * (0.2 * box[:, 2:]).exp() / 2
        boxes = torch.cat([centre - half, centre + half], 1)
        points = anchor[:, None, :2] + 0.1 * side[:, None] * landmarks.reshape(-1, 5, 2)
        best = nms(boxes, score, 0.4)
        return FaceBatch(np.zeros(len(best), np.int64), *(t[best].numpy() for t in (boxes, points, score)))


def report(name: str, result: Evaluation, threshold: float, speed: dict[str, float]) -> None:
    """Print what one detector does at one threshold."""
    found = result.found
    print(f"{name} at score {threshold:.2f}: precision {found.precision(threshold):.3f}", end=", ")
    print(f"recall {found.recall(threshold):.3f}, AP at IoU 0.5 {result.found_at_half.average_precision():.3f}")
    recalls = result.recall_by_class(threshold)
    for kind in KINDS:
        cells = [(low, *recalls[kind, low]) for low, _ in SIZES_PX if (kind, low) in recalls]
        print(f"  {kind:13s}", "  ".join(f"{low}+ px {recall:.3f} of {n}" for low, recall, n in cells))
    print("  frames/s     ", "  ".join(f"{size} {value:.0f}" for size, value in speed.items()))


def main() -> None:
    """Read the command line and print a paragraph per detector and threshold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("eval", type=Path, help="Parquet file of photographs with ground truth")
    parser.add_argument("--references", type=Path, help="folder with the weights of YuNet and RetinaFace MobileNet")
    parser.add_argument("--model", default="compact", help="name or folder of the detector to judge")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long to measure each speed")
    arguments = parser.parse_args()
    photos = read_true_photos(arguments.eval)
    detector = load_detector(arguments.model)
    threshold, detector.score_threshold = detector.score_threshold, WEAK_SCORE
    candidates: list[tuple[str, Detect, float]] = [(arguments.model, detector.detect, threshold)]
    if arguments.references:
        yunet = YuNet(arguments.references / "face_detection_yunet_2023mar.onnx")
        retinaface = RetinaFaceReference(arguments.references / "retinaface_mobilenet025.pth")
        candidates += [("yunet", yunet, 0.5), ("retinaface-mobilenet-0.25", retinaface, 0.5)]
    noise = np.random.default_rng(0)
    frames = {f"{w}x{h}": noise.integers(0, 256, (8, h, w, 3), np.uint8) for w, h in ((640, 360), (1280, 720))}
    for name, detect, threshold in candidates:
        speed = {size: frames_per_s(detect, pixels, seconds=arguments.seconds) for size, pixels in frames.items()}
        report(name, evaluate_detector(detect, photos), threshold, speed)


if __name__ == "__main__":
    main()
