"""The compact detector: network, geometry, post-processing, and detection with the packaged weights."""

import dataclasses
import sys
from pathlib import Path

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image
from random_compact import lively_network
from torch import Tensor, nn

from fer_models.detection import load_detector, suppression
from fer_models.detection.compact import CompactDetector, decode_boxes, decode_landmarks, grid_points
from fer_models.detection.compact_network import CompactNet
from fer_models.errors import InstallationError
from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_registry import ModelCard, WeightsError, find_model, load_model_folder, save_model_folder
from fer_models.training.detector.targets import assign_targets

TINY = {"stem": (4, 4), "stages": (8, 8, 8), "blocks": (1, 1, 1), "pyramid": 8}
CARD = ModelCard("tiny", "detector", "compact", mean=0.5, std=0.25, score_threshold=0.5)
LANDMARKS = [[12.0, 12.0], [20.0, 12.0], [16.0, 16.0], [13.0, 20.0], [19.0, 20.0]]


def tiny_net() -> CompactNet:
    torch.manual_seed(0)
    return CompactNet(**TINY).eval()


def test_outputs_are_in_the_order_of_the_grid_points():
    pixels = torch.zeros(2, 3, 64, 96)
    points_xy, stride_px = grid_points(64, 96)
    assert tiny_net()(pixels).shape == (2, len(points_xy), 15)
    assert len(points_xy) == 8 * 12 + 4 * 6 + 2 * 3
    assert points_xy[8 * 12].tolist() == [8, 8] and stride_px[8 * 12] == 16  # the first point of stride 16
    assert points_xy[-1].tolist() == [80, 48]


def test_an_output_depends_on_the_pixels_around_its_point():
    network = tiny_net()
    dark, spot = torch.zeros(1, 3, 128, 128), torch.zeros(1, 3, 128, 128)
    spot[..., 96:, 96:] = 3.0
    with torch.inference_mode():
        change = (network(spot) - network(dark)).abs().sum(-1)[0]
    points_xy, stride_px = grid_points(128, 128)
    finest = stride_px == 8
    assert points_xy[finest][change[finest].argmax()].min() > 80


def test_fusing_batch_norm_keeps_the_outputs():
    network = tiny_net().train()
    pixels = torch.randn(4, 3, 64, 64)
    network(pixels)  # changes the statistics of the batch norms from their initial values
    network.eval()
    with torch.inference_mode():
        before = network(pixels)
        after = network.fuse()(pixels)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_targets_and_decoding_of_known_boxes():
    # A face of 16 x 16 px around (16, 16) is predicted by stride 8 only, and by the points inside its box.
    boxes, landmarks = np.array([[8, 8, 24, 24]], np.float32), np.array([LANDMARKS], np.float32)
    target = assign_targets(boxes, landmarks, np.array([True]), 32, 32)
    points_xy, stride_px = grid_points(32, 32)
    assert points_xy[target["state"] == 1].tolist() == [[12, 12], [20, 12], [12, 20], [20, 20]]
    assert (target["state"] == 0).sum() == len(points_xy) - 4
    assert target["box"][target["state"] == 1].tolist() == 4 * [[8, 8, 24, 24]]

    # The outputs that the network must give at (12, 12): 4 px to the left and above, 12 px to the right and below.
    outputs = torch.zeros(len(points_xy), 15)
    point = 1 * 4 + 1
    outputs[point, 1:5] = torch.tensor([0.5, 0.5, 1.5, 1.5]).log()
    outputs[point, 5:] = torch.tensor([[0, 0], [1, 0], [0.5, 0.5], [0.125, 1], [0.875, 1]]).flatten()
    grid = torch.from_numpy(points_xy), torch.from_numpy(stride_px)
    torch.testing.assert_close(decode_boxes(outputs, *grid)[point], torch.tensor([8.0, 8, 24, 24]))
    torch.testing.assert_close(decode_landmarks(outputs, *grid)[point], torch.tensor(LANDMARKS))


def test_targets_of_an_unsure_face_and_of_overlapping_faces():
    unsure = assign_targets(np.array([[0, 0, 16, 16]], np.float32), np.zeros((1, 5, 2)), np.array([False]), 32, 32)
    points_xy, stride_px = grid_points(32, 32)
    assert points_xy[(unsure["state"] == -1) & (stride_px == 8)].tolist() == [[4, 4], [12, 4], [4, 12], [12, 12]]
    assert not (unsure["state"] == 1).any()

    # A point inside two faces predicts the smaller one.
    both = np.array([[0, 0, 32, 32], [8, 8, 24, 24]], np.float32)
    target = assign_targets(both, np.zeros((2, 5, 2), np.float32), np.array([True, True]), 32, 32)
    at_middle = (points_xy == (12, 12)).all(1) & (stride_px == 8)
    assert target["box"][at_middle].tolist() == [[8, 8, 24, 24]]

    none = assign_targets(np.empty((0, 4)), np.empty((0, 5, 2)), np.empty(0, bool), 32, 32)
    assert not none["state"].any()


class FixedNet(nn.Module):
    """A network with the same outputs for every frame."""

    def __init__(self, outputs: Tensor):
        super().__init__()
        self.outputs = outputs

    def forward(self, pixels: Tensor) -> Tensor:
        return self.outputs.expand(len(pixels), -1, -1)


def detector_that_says(height_px: int, width_px: int, hits: list[tuple[int, int, float]]) -> CompactDetector:
    """A detector that finds faces of 32 px at these points (x, y) of stride 16 of its input, with these logits."""
    points_xy, stride_px = grid_points(height_px, width_px)
    outputs = torch.full((len(points_xy), 15), -9.0)
    for x, y, logit in hits:
        point = np.flatnonzero((points_xy == (x, y)).all(1) & (stride_px == 16))[0]
        outputs[point] = torch.tensor([logit] + 14 * [0.0])
    detector = CompactDetector(tiny_net(), CARD, dtype=torch.float32)
    detector.network = FixedNet(outputs)
    return detector


def test_overlapping_detections_are_suppressed_and_faces_are_ordered():
    detector = detector_that_says(64, 96, [(24, 24, 1.0), (40, 24, 2.0), (40, 40, 0.5), (72, 24, 3.0), (8, 40, -0.1)])
    faces = detector.detect(np.zeros((3, 64, 96, 3), np.uint8))
    # (24, 24) and (40, 40) overlap (40, 24) by a third: under the limit of 0.4, so both stay; (8, 40) scores under 0.5.
    assert faces.frame.tolist() == 4 * [0] + 4 * [1] + 4 * [2]
    first = faces.select(faces.frame == 0)
    assert first.boxes_xyxy.tolist() == [[56, 8, 88, 40], [24, 8, 56, 40], [8, 8, 40, 40], [24, 24, 56, 56]]
    np.testing.assert_allclose(first.det_score, 1 / (1 + np.exp([-3.0, -2.0, -1.0, -0.5])), rtol=1e-6)
    assert first.landmarks_xy[0].tolist() == 5 * [[72, 24]]

    detector.nms_iou = 0.3
    assert detector.detect(np.zeros((1, 64, 96, 3), np.uint8)).boxes_xyxy.tolist() == [
        [56, 8, 88, 40],
        [24, 8, 56, 40],
    ]


@pytest.mark.parametrize(
    ("frame_hw", "input_hw", "box"),
    [
        ((360, 640), (384, 640), [40, 24, 72, 56]),  # the frame has the size of the input
        ((1080, 1920), (384, 640), [120, 72, 216, 168]),  # the frame is shrunk to a third before detection
        ((101, 67), (128, 96), [40, 24, 67, 56]),  # the frame is not enlarged; the box is clipped at the right edge
        ((1280, 333), (640, 192), [166.5 * 40 / 83, 48, 166.5 * 72 / 83, 112]),  # 166.5 px rounds to 166
        ((1, 1), (32, 32), None),
    ],
)
def test_boxes_are_mapped_back_to_pixels_of_the_frame(frame_hw, input_hw, box):
    detector = detector_that_says(*input_hw, [] if box is None else [(56, 40, 2.0)])
    faces = detector.detect(np.zeros((1, *frame_hw, 3), np.uint8))
    assert len(faces) == (box is not None)
    if box is not None:
        np.testing.assert_allclose(faces.boxes_xyxy[0], box, atol=1e-3)


def noise(n: int, height: int, width: int) -> np.ndarray:
    """Frames of colored blocks, whose size differs between frames."""
    rng = np.random.default_rng(0)
    frames = []
    for side in range(3, 3 + n):
        blocks = rng.integers(0, 256, (-(-height // side), -(-width // side), 3), np.uint8)
        frames.append(blocks.repeat(side, 0).repeat(side, 1)[:height, :width])
    return np.array(frames, np.uint8).reshape(n, height, width, 3)


@pytest.mark.slow
@pytest.mark.parametrize("height_width", [(72, 130), (700, 300)])
def test_a_frame_has_the_same_faces_in_any_batch(height_width):
    pixels = noise(11, *height_width)
    detector = CompactDetector(lively_network(), CARD)
    whole = detector.detect(pixels)
    assert len(set(whole.frame.tolist())) > 5 and len(set(whole.det_score.tolist())) > 20
    for size in (1, 4, 8):
        parts = [detector.detect(pixels[start : start + size]) for start in range(0, 11, size)]
        np.testing.assert_array_equal(
            np.concatenate([part.frame + i * size for i, part in enumerate(parts)]), whole.frame
        )
        for name in ("boxes_xyxy", "landmarks_xy", "det_score"):
            np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))


def test_no_face_and_no_frame_give_an_empty_batch():
    detector = CompactDetector(tiny_net(), dataclasses.replace(CARD, score_threshold=0.99))
    for faces in (detector.detect(noise(2, 40, 50)), detector.detect(noise(0, 40, 50))):
        assert isinstance(faces, FaceBatch) and len(faces) == 0
        empty = FaceBatch.empty()
        assert faces.boxes_xyxy.dtype == empty.boxes_xyxy.dtype and faces.frame.dtype == empty.frame.dtype


def test_a_detector_needs_a_card_with_a_score_threshold():
    with pytest.raises(WeightsError, match="tiny: the card of a detector needs a score_threshold"):
        CompactDetector(tiny_net(), dataclasses.replace(CARD, score_threshold=None))


def test_an_unknown_detector_is_reported():
    with pytest.raises(WeightsError, match="no-such-detector"):
        load_detector("no-such-detector")


def grace_hopper() -> np.ndarray:
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.array(Image.open(file).convert("RGB"))


def astronaut() -> np.ndarray:
    skimage = pytest.importorskip("skimage", reason="the photograph comes with scikit-image")
    return np.array(skimage.data.astronaut())


# Faces located by eye: a box that the detection must overlap, then eyes, nose and corners of the mouth.
PORTRAITS = [
    (grace_hopper, [196, 112, 345, 310], None),
    (astronaut, [180, 68, 265, 180], [[203, 110], [240, 111], [220, 130], [207, 150], [240, 150]]),
]


@pytest.mark.parametrize(("photograph", "box", "landmarks"), PORTRAITS)
def test_the_packaged_weights_find_a_portrait(photograph, box, landmarks):
    pixels = photograph()
    faces = load_detector("compact", device="cpu").detect(pixels[None])
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes_xyxy[0], box, atol=25)
    if landmarks:
        np.testing.assert_allclose(faces.landmarks_xy[0], landmarks, atol=10)


def test_the_packaged_weights_find_small_and_many_faces():
    face = Image.fromarray(astronaut()[30:230, 120:320])
    canvas = np.full((2, 360, 640, 3), 90, np.uint8)
    for x, side in ((20, 60), (150, 100), (350, 200)):
        canvas[1, 80 : 80 + side, x : x + side] = np.asarray(face.resize((side, side), Image.Resampling.LANCZOS))
    faces = load_detector("compact", device="cpu").detect(canvas)
    assert faces.frame.tolist() == [1, 1, 1]
    center_x = np.sort((faces.boxes_xyxy[:, 0] + faces.boxes_xyxy[:, 2]) / 2)
    np.testing.assert_allclose(center_x, [20 + 30, 150 + 50, 350 + 100], atol=8)


def test_the_packaged_detector_has_name_hash_and_threshold():
    detector = load_detector("compact", device="cpu")
    assert detector.name == "compact" and len(detector.sha256) == 64 and 0 < detector.score_threshold < 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"blocks": [1, 2, 10**12]}, "blocks must be at most 64 per stage, got 1000000000000"),
        ({"stem": [16] * 10**5}, "stem must have at most 16 entries, got 100000"),
        # The network would have 3 PB of weights.
        ({"stages": [48, 10**7, 10**7]}, "tensors are missing, unknown or of another shape"),
        ({"pyramid": "wide"}, "not all arguments converted"),
    ],
)
def test_cards_of_huge_or_invalid_networks_are_refused(tmp_path, options, reason):
    weights, card = load_model_folder(find_model("compact"))
    save_model_folder(tmp_path, weights, dataclasses.replace(card, architecture_options=options))
    with pytest.raises(WeightsError, match=f"weights do not fit architecture 'compact': .*{reason}"):
        load_detector(str(tmp_path), device="cpu")


def test_detectors_load_from_a_folder(tmp_path: Path):
    packaged = Path(load_detector.__code__.co_filename).parents[1] / "weights" / "compact"
    for file in packaged.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert load_detector(str(tmp_path)).sha256 == load_detector("compact").sha256
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="sha256"):
        load_detector(str(tmp_path))


def test_a_torchvision_that_does_not_fit_torch_is_reported(tmp_path, monkeypatch):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    (tmp_path / "torchvision" / "_C.so").write_bytes(b"for another build")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(InstallationError, match=r"torchvision .* does not work with torch .*: install both"):
        suppression.load_operator()
