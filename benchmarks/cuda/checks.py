"""Compare faces and emotions of a device with those of the CPU, in every precision and at every batch size."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import Row
from fer_models.boxes import box_iou
from fer_models.classification.architectures import build_network
from fer_models.classification.classifier import EmotionClassifier
from fer_models.crops import crop_faces, frame_crops
from fer_models.detection.compact import CompactDetector
from fer_models.detection.retinaface import SCORE_THRESHOLD, RetinaFaceDetector, flatten_outputs
from fer_models.detection.retinaface_network import is_package_installed
from fer_models.frame_batch import FaceBatch
from fer_models.landmarks.landmarker import PACKAGED_NAME, TASK, Landmarker
from fer_models.landmarks.network import INPUT_PX, LandmarkNet
from fer_models.landmarks.upright import DetectedInFrames, UprightCrops, turn_upright
from fer_models.observation import Observation
from fer_models.observe import ObserveOptions, observe_segments
from fer_models.registry.model_registry import ModelCard, find_model, load_model_folder
from fer_models.video import VideoInfo

CPU = torch.device("cpu")
RANDOM_RETINAFACE = ModelCard("random", "detector", "retinaface", score_threshold=SCORE_THRESHOLD)
# Largest difference between the sides of two boxes of one face.
MAX_BOX_PX = 0.5
# In bf16, the outputs of the network have eight significant bits, so a box is off by up to 1 % of the face. In bf16 and
# with TF32, the two best points of a face may also swap ranks, which moves its box by a pixel or two. Therefore only
# 95 % of the boxes must be within 1 % of their height, where that is more than `MAX_BOX_PX`.
ROUNDED_SHARE_OF_HEIGHT = 0.01
ROUNDED_SHARE_OF_BOXES = 0.95
# Largest difference of landmarks (px of the crop), head pose (degrees) and score.
MAX_LANDMARKS = {"fp32": (0.05, 0.1, 0.01), "fp32 with TF32": (0.1, 0.2, 0.02), "bf16": (0.75, 1.5, 0.1)}
MAX_PROBABILITY = {"fp32": 0.01, "fp32 with TF32": 0.01, "bf16": 0.03}
PRECISIONS = {"fp32": torch.float32, "fp32 with TF32": torch.float32, "bf16": torch.bfloat16}
SAME_FACE_IOU = 0.5
# Faces with a score this close to the threshold are not compared: rounding may decide which device finds them.
BORDERLINE_SCORE = 0.05
# Largest share of the pixels of crops that may differ, because rounding to sixteenths of a pixel may differ.
MAX_PIXELS_CHANGED = 1e-3
# Largest root mean square difference, in standard deviations of the outputs, of a network with random weights in fp32.
# Such a network amplifies rounding, so the results in TF32 and bf16 are reported but not judged.
MAX_RETINAFACE = 0.01
LITTLE_BYTES = 256 * 2**20  # memory left to the networks in the test of what happens when memory runs out
# Roll of the crops that are turned, the largest difference of their sides (as a share), and the share of faces that may
# differ more or be turned on one device only, because rounding may decide at a threshold.
ROLLS_DEG = (30, 180)
MAX_SIDE, MAX_TURNED_OTHERWISE = 0.01, 0.01
BATCH_SIZES = (1, 7, 32)
LARGE_CHUNKS = {"cuda": (512, 65536), "cpu": (8, 64)}  # number of frames and of crops that do not fit into that memory


def precisions_of(device: torch.device) -> list[str]:
    """The precisions that differ on a device: only CUDA has TF32."""
    return [name for name in PRECISIONS if device.type == "cuda" or name != "fp32 with TF32"]


@contextlib.contextmanager
def precision_mode(name: str) -> Iterator[torch.dtype]:
    """Yield the dtype of a precision; within the block, TF32 is switched on or off accordingly."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name == "fp32 with TF32"
    try:
        yield PRECISIONS[name]
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def load_detector_in(device: torch.device, dtype: torch.dtype) -> CompactDetector:
    """Load the compact detector with `dtype` as the precision of its computation."""
    return CompactDetector.load(find_model("compact", "detector"), device=device, dtype=dtype)


def load_classifier_in(device: torch.device, dtype: torch.dtype) -> EmotionClassifier:
    """Load the default classifier with `dtype` as the precision of its computation."""
    weights, card = load_model_folder(find_model("default", "emotion"))
    network = build_network(card.architecture, card.architecture_options)
    network.load_state_dict(weights)
    return EmotionClassifier(network, card, device, dtype)


def check_detector(frames: dict[str, np.ndarray], device: torch.device) -> list[Row]:
    """Compare the faces of each clip's frames (n, h, w, 3) with those of the CPU in fp32."""
    reference = load_detector_in(CPU, torch.float32)
    expected = {clip: reference.detect(pixels) for clip, pixels in frames.items()}
    rows = []
    for precision in precisions_of(device):
        with precision_mode(precision) as dtype:
            detector = load_detector_in(device, dtype)
            for clip, pixels in frames.items():
                found = detector.detect(pixels)
                limits = (0.0, 1.0) if precision == "fp32" else (ROUNDED_SHARE_OF_HEIGHT, ROUNDED_SHARE_OF_BOXES)
                differences = compare_faces(expected[clip], found, detector.score_threshold, *limits)
                rows.append({"clip": clip, "precision": precision, **differences})
    return rows


def compare_faces(
    expected: FaceBatch, found: FaceBatch, threshold: float, share_of_height: float = 0.0, share: float = 1.0
) -> Row:
    """Count the faces that only one of two batches has, and measure the differences between the others.

    Args:
        expected: faces of some frames.
        found: faces of the same frames.
        threshold: the lowest score that the detector reports.
        share_of_height: largest difference of a side, as a share of the box's height, if that exceeds `MAX_BOX_PX`.
        share: share of the boxes that must be within this difference.
    """
    pairs = match_faces(expected, found)
    unmatched = np.concatenate([np.delete(expected.det_score, pairs[:, 0]), np.delete(found.det_score, pairs[:, 1])])
    clear = int((unmatched > threshold + BORDERLINE_SCORE).sum())
    box_px = np.abs(expected.boxes_xyxy[pairs[:, 0]] - found.boxes_xyxy[pairs[:, 1]]).max(axis=1, initial=0)
    height_px = np.diff(expected.boxes_xyxy[pairs[:, 0], 1::2], axis=1)[:, 0]
    of_allowed = box_px / np.maximum(MAX_BOX_PX, share_of_height * height_px)
    landmark_px = largest(expected.landmarks_xy[pairs[:, 0]] - found.landmarks_xy[pairs[:, 1]])
    return {
        "faces": len(expected),
        "in one only": len(unmatched),
        "of these clearly": clear,
        "box px (95 %)": float(np.quantile(box_px, 0.95)) if len(box_px) else 0.0,
        "box px (most)": largest(box_px),
        "landmark px": landmark_px,
        "score": largest(expected.det_score[pairs[:, 0]] - found.det_score[pairs[:, 1]]),
        "passed": clear == 0 and (not len(pairs) or bool(np.quantile(of_allowed, share) <= 1)),
    }


def match_faces(expected: FaceBatch, found: FaceBatch) -> np.ndarray:
    """Pair the faces of two batches that are each other's best match in their frame: rows (k, 2) of both."""
    iou = box_iou(expected.boxes_xyxy, found.boxes_xyxy)
    iou[expected.frame[:, None] != found.frame] = 0
    if not iou.size:
        return np.empty((0, 2), np.int64)
    best = iou.argmax(axis=1)
    mutual = iou.argmax(axis=0)[best] == np.arange(len(iou))
    rows = np.flatnonzero(mutual & (iou.max(axis=1) > SAME_FACE_IOU))
    return np.stack([rows, best[rows]], axis=1)


def largest(differences: np.ndarray) -> float:
    """The largest absolute value; 0 for an empty array."""
    return float(np.abs(differences).max(initial=0))


def cut_faces(pixels: np.ndarray, faces: FaceBatch, device: torch.device) -> Tensor:
    """Crop faces on the device, (m, 48, 48, 3)."""
    arrays = (pixels, faces.frame, faces.boxes_xyxy, faces.landmarks_xy)
    frames, frame, boxes_xyxy, landmarks_xy = (torch.from_numpy(array).to(device) for array in arrays)
    return crop_faces(frames, frame, *frame_crops(boxes_xyxy, landmarks_xy))


def cut_all_faces(frames: dict[str, np.ndarray]) -> Tensor:
    """Find and crop the faces of all clips on the CPU in fp32, (m, 48, 48, 3)."""
    detector = load_detector_in(CPU, torch.float32)
    return torch.cat([cut_faces(pixels, detector.detect(pixels), CPU) for pixels in frames.values()])


def check_crops(frames: dict[str, np.ndarray], device: torch.device) -> list[Row]:
    """Compare the crops of the same faces, pixel by pixel."""
    detector = load_detector_in(CPU, torch.float32)
    rows = []
    for clip, pixels in frames.items():
        faces = detector.detect(pixels)
        expected, found = (cut_faces(pixels, faces, where).cpu().int() for where in (CPU, device))
        changed = float((expected != found).float().mean()) if len(faces) else 0.0
        most = int((expected - found).abs().max()) if len(faces) else 0
        figures = {"faces": len(faces), "pixels changed": changed, "by at most": most}
        rows.append({"clip": clip, **figures, "passed": changed <= MAX_PIXELS_CHANGED})
    return rows


def load_landmarker_in(device: torch.device, dtype: torch.dtype) -> Landmarker:
    """Load the packaged landmark network with `dtype` as the precision of its convolutions."""
    weights, card = load_model_folder(find_model(PACKAGED_NAME, TASK))
    network = LandmarkNet(**card.architecture_options)
    network.load_state_dict(weights)
    return Landmarker(network, card, device, dtype)


def check_classifier(frames: dict[str, np.ndarray], device: torch.device) -> list[Row]:
    """Compare the probabilities of the same crops with those of the CPU in fp32."""
    crops = cut_all_faces(frames)
    expected = load_classifier_in(CPU, torch.float32).predict(crops)
    rows = []
    for precision in precisions_of(device):
        with precision_mode(precision) as dtype:
            found = load_classifier_in(device, dtype).predict(crops)
        difference = largest(expected - found)
        rows.append(
            {
                "precision": precision,
                "faces": len(crops),
                "probability": difference,
                "labels changed": int((expected.argmax(1) != found.argmax(1)).sum()),
                "passed": difference <= MAX_PROBABILITY[precision],
            }
        )
    return rows


def check_landmarks(frames: dict[str, np.ndarray], device: torch.device) -> list[Row]:
    """Compare the landmarks of the same crops with those of the CPU in fp32, in pixels of the crop and degrees."""
    crops = cut_all_faces(frames)
    expected = load_landmarker_in(CPU, torch.float32).predict(crops)
    rows = []
    for precision in precisions_of(device):
        with precision_mode(precision) as dtype:
            found = load_landmarker_in(device, dtype).predict(crops)
        points_px = INPUT_PX * largest(expected.points_xy - found.points_xy)
        pose_deg, score = largest(expected.pose_deg - found.pose_deg), largest(expected.score - found.score)
        most_px, most_deg, most_score = MAX_LANDMARKS[precision]
        figures = {"points (px)": points_px, "pose (degrees)": pose_deg, "score": score}
        passed = points_px <= most_px and pose_deg <= most_deg and score <= most_score
        rows.append({"precision": precision, "faces": len(crops), **figures, "passed": passed})
    return rows


@precision_mode("fp32")
def check_turned_crops(frames: dict[str, np.ndarray], device: torch.device) -> list[Row]:
    """Compare which crops of tilted and upside-down faces are turned, and how far, with those of the CPU."""
    detector = load_detector_in(CPU, torch.float32)
    found = {clip: detector.detect(pixels) for clip, pixels in frames.items()}
    landmarkers = [load_landmarker_in(where, torch.float32) for where in (CPU, device)]
    rows = []
    for roll_deg in ROLLS_DEG:
        different = n_turned = n_faces = 0
        for clip, pixels in frames.items():
            expected, turned = (turn_rolled(pixels, found[clip], roll_deg, each) for each in landmarkers)
            same_side = (expected.side - turned.side.cpu()).abs() <= MAX_SIDE * expected.side.abs()
            different += int(((expected.is_turned != turned.is_turned) | ~same_side.numpy()).sum())
            n_turned += int(expected.is_turned.sum())
            n_faces += len(expected.is_turned)
        passed = different <= MAX_TURNED_OTHERWISE * n_faces
        rows.append(
            {"roll": f"{roll_deg}°", "faces": n_faces, "turned": n_turned, "different": different, "passed": passed}
        )
    return rows


def turn_rolled(pixels: np.ndarray, faces: FaceBatch, roll_deg: int, landmarker: Landmarker) -> UprightCrops:
    """Turn crops that a detector has left tilted by `roll_deg` upright, on the device of the landmark network."""
    arrays = (pixels, faces.frame, faces.boxes_xyxy, faces.landmarks_xy)
    frames, frame, boxes_xyxy, landmarks_xy = (torch.from_numpy(array).to(landmarker.device) for array in arrays)
    side, center = frame_crops(boxes_xyxy, landmarks_xy)
    side = side * complex(np.exp(-1j * np.deg2rad(roll_deg)))
    crops = crop_faces(frames, frame, side, center)
    return turn_upright(DetectedInFrames(frames, frame, boxes_xyxy), side, center, crops, landmarker)


def check_batch_sizes(info: VideoInfo, n_frames: int, device: torch.device) -> list[Row]:
    """Observe a video at several batch sizes in the device's default precision: all bits must be equal."""
    networks = {
        "detector": CompactDetector.load(find_model("compact", "detector"), device=device),
        "classifier": EmotionClassifier.load(find_model("default", "emotion"), device),
        "landmarker": Landmarker.load(device),
    }
    index = np.arange(min(n_frames, info.n_frames))
    observed = [
        next(observe_segments(info, [index], **networks, options=ObserveOptions(batch_size=size)))
        for size in BATCH_SIZES
    ]
    rows = []
    for size, observation in zip(BATCH_SIZES, observed, strict=True):
        same = same_observation(observed[-1], observation)
        rows.append({"batch size": size, "faces": len(observation.faces), "passed": same})
    return rows


def same_observation(one: Observation, other: Observation) -> bool:
    """Whether two observations have the same faces, probabilities and landmarks, bit for bit."""
    pairs = [(one.probabilities, other.probabilities)]
    for of_one, of_other in ((one.faces, other.faces), (one.landmarks, other.landmarks)):
        columns, others = vars(of_one), vars(of_other)
        pairs += [(columns[name], others[name]) for name in columns if columns[name] is not None]
    return all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


@precision_mode("fp32")
def check_little_memory(pixels: np.ndarray, device: torch.device) -> list[Row]:
    """Let memory run out: detector and classifier must continue with smaller chunks and give the same results."""
    detector, classifier = load_detector_in(device, torch.float32), load_classifier_in(device, torch.float32)
    faces = detector.detect(pixels)
    crops = cut_faces(pixels, faces, device)
    probabilities = classifier.predict(crops)
    detector.chunk_frames, classifier.chunk_crops = LARGE_CHUNKS[device.type]
    before = detector.chunk_frames, classifier.chunk_crops
    with little_memory(detector, classifier):
        found, again = detector.detect(pixels), classifier.predict(crops)
    after = detector.chunk_frames, classifier.chunk_crops
    differences = compare_faces(faces, found, detector.score_threshold)
    same = bool(differences["passed"]), largest(probabilities - again) <= MAX_PROBABILITY["fp32"]
    return [
        {"network": name, "chunk before": n, "chunk after": left, "passed": left < n and alike}
        for name, n, left, alike in zip(("detector", "classifier"), before, after, same, strict=True)
    ]


@contextlib.contextmanager
def little_memory(detector: CompactDetector, classifier: EmotionClassifier) -> Iterator[None]:
    """Leave the networks little memory: limit the process's share of a GPU, or request more than a CPU has."""
    if detector.device.type == "cpu":
        networks = detector.network, classifier.network
        detector.network, classifier.network = Greedy(networks[0], 2), Greedy(networks[1], 16)
        yield
        detector.network, classifier.network = networks
        return
    torch.cuda.empty_cache()
    total_bytes = torch.cuda.get_device_properties(detector.device).total_memory
    share = (torch.cuda.memory_reserved(detector.device) + LITTLE_BYTES) / total_bytes
    torch.cuda.set_per_process_memory_fraction(share)  # of the current device; one without an index is refused
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


class Greedy(nn.Module):
    """A network that requests 64 TiB if its input has more than `limit` items."""

    def __init__(self, network: nn.Module, limit: int) -> None:
        super().__init__()
        self.network, self.limit = network, limit

    def forward(self, x: Tensor) -> Tensor:
        """Run the wrapped network, after requesting too much memory for large inputs."""
        if len(x) > self.limit:
            torch.empty(2**46)
        result: Tensor = self.network(x)
        return result


@functools.cache
def random_retinaface_weights() -> dict[str, Tensor]:
    """Random but seeded weights of RetinaFace's network, with batch norms whose statistics are those of noise."""
    from retinaface.model.retinaface_pth_model import RetinaFace

    torch.manual_seed(0)
    network: Any = RetinaFace()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(2, 96, 128, 3) * 255)
    weights: dict[str, Tensor] = network.eval().state_dict()
    return weights


def check_retinaface(device: torch.device) -> list[Row]:
    """Compare the outputs of RetinaFace's network with random weights, by their root mean square difference."""
    if not is_package_installed():
        return [{"precision": "not run: the package retina-face is missing"}]
    weights = random_retinaface_weights()
    pixels = torch.rand((2, 96, 128, 3), generator=torch.Generator().manual_seed(1)) * 255
    expected = retinaface_outputs(
        RetinaFaceDetector(weights, RANDOM_RETINAFACE, device=CPU, dtype=torch.float32), pixels
    )
    rows = []
    for precision in precisions_of(device):
        with precision_mode(precision) as dtype:
            detector = RetinaFaceDetector(weights, RANDOM_RETINAFACE, device=device, dtype=dtype)
            found = retinaface_outputs(detector, pixels)
        apart = [rms_difference(a, b.cpu()) for a, b in zip(expected, found, strict=True)]
        row: Row = {"precision": precision, **dict(zip(("scores", "boxes", "landmarks"), apart, strict=True))}
        rows.append(row | {"passed": max(apart) <= MAX_RETINAFACE} if precision == "fp32" else row)
    return rows


@torch.inference_mode()
def retinaface_outputs(detector: RetinaFaceDetector, pixels: Tensor) -> tuple[Tensor, ...]:
    """The network's raw scores, boxes and landmarks of frames (n, h, w, 3) that fill their canvas."""
    with torch.autocast(detector.device.type, detector.dtype, enabled=detector.dtype != torch.float32):
        return flatten_outputs(detector.network(pixels.to(detector.device)))


def rms_difference(expected: Tensor, found: Tensor) -> float:
    """Root mean square difference, in standard deviations of the expected values.

    >>> rms_difference(torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 1.0]))
    0.0
    """
    return float((expected - found).square().mean().sqrt() / expected.std())
