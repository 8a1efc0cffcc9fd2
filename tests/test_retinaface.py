"""RetinaFace in batches: the same faces as its package finds one image at a time, for any batch and memory."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

# The package selects a backend at import: TensorFlow, if it is installed.
os.environ["DEEPFACE_BACKEND_ENGINE"] = "pytorch"
pytest.importorskip("retinaface", reason="retina-face is an extra")

from random_retinaface import hide_package, lively_weights, random_image

from fer_models import FaceBatch, load_detector
from fer_models.detection.retinaface import SCORE_THRESHOLD, RetinaFaceDetector
from fer_models.registry.model_registry import ModelCard, WeightsError

pytestmark = pytest.mark.slow

SIZES_PX = [(120, 160), (161, 97), (200, 130), (64, 64), (33, 150), (90, 211), (128, 128)]


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return lively_weights()


@pytest.fixture(scope="module")
def package_network(weights: dict[str, Tensor]) -> nn.Module:
    from retinaface.model.retinaface_pth_model import RetinaFace

    with torch.device("meta"):
        network = RetinaFace()
    network.load_state_dict(weights, assign=True)
    return network.eval()


def detector_of(
    weights: dict[str, Tensor], *, score_threshold: float = SCORE_THRESHOLD, dtype=torch.float32, **options
) -> RetinaFaceDetector:
    card = ModelCard("retinaface", "detector", "retinaface", score_threshold=score_threshold)
    return RetinaFaceDetector(weights, card, dtype=dtype, **options)


def assert_same_as_package(
    faces: FaceBatch, images: list[np.ndarray], network: nn.Module, threshold: float, upscale: bool = False
) -> None:
    """Compare every face with the package's, which truncates boxes to whole pixels."""
    from retinaface import RetinaFace

    for i, image in enumerate(images):
        bgr = np.ascontiguousarray(image[..., ::-1])
        expected = RetinaFace.detect_faces(bgr, threshold=threshold, model=network, allow_upscaling=upscale)
        ours = faces.select(faces.frame == i)
        assert len(ours) == len(expected)
        for k, face in enumerate(expected.values()):
            landmarks = [face["landmarks"][name] for name in ("right_eye", "left_eye", "nose")]
            landmarks += [face["landmarks"][name] for name in ("mouth_right", "mouth_left")]
            assert ours.det_score[k] == pytest.approx(face["score"], abs=1e-3)
            np.testing.assert_allclose(ours.boxes_xyxy[k], np.array(face["facial_area"]) + 0.5, atol=0.51)
            np.testing.assert_allclose(ours.landmarks_xy[k], landmarks, atol=0.1)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_images_of_different_sizes_in_one_batch_have_the_faces_that_the_package_finds(weights, package_network, n):
    images = [random_image(seed, *size_px) for seed, size_px in enumerate(SIZES_PX[:n])]
    detector = detector_of(weights, chunk_frames=n)
    faces = detector.detect_images(images)
    assert len(faces) > 5 and faces.frame.max() >= n - 2
    assert_same_as_package(faces, images, package_network, detector.score_threshold)


@pytest.mark.parametrize(("upscale", "sizes_px"), [(False, [(24, 2100), (33, 2047)]), (True, [(24, 1200), (20, 1100)])])
def test_resized_images_have_the_faces_that_the_package_finds(weights, package_network, upscale, sizes_px):
    # The package scales the short side to 1024, the long side to at most 1980.
    images = [random_image(seed, *size_px) for seed, size_px in enumerate(sizes_px)]
    detector = detector_of(weights, chunk_frames=2, max_side_px=1980, upscale=upscale)
    faces = detector.detect_images(images)
    assert len(faces)
    assert_same_as_package(faces, images, package_network, detector.score_threshold, upscale)


def test_no_face_and_no_frame_give_an_empty_batch(weights, package_network):
    detector = detector_of(weights, score_threshold=0.99999)
    image = random_image(0, 64, 80)
    empty = FaceBatch.empty()
    for faces in (detector.detect(image[None]), detector.detect(np.zeros((0, 64, 80, 3), np.uint8))):
        assert len(faces) == 0
        assert faces.boxes_xyxy.dtype == empty.boxes_xyxy.dtype and faces.frame.dtype == empty.frame.dtype
    assert_same_as_package(detector.detect(image[None]), [image], package_network, detector.score_threshold)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frame_has_the_same_faces_in_any_batch(weights, dtype):
    pixels = np.stack([random_image(seed, 90, 150) for seed in range(5)])  # larger than a tile
    detector = detector_of(weights, dtype=dtype, chunk_frames=3, max_side_px=96, score_threshold=0.8)
    whole = detector.detect(pixels)
    assert len(set(whole.frame.tolist())) > 2
    for size in (1, 2):
        parts = [detector.detect(pixels[start : start + size]) for start in range(0, 5, size)]
        frame = np.concatenate([part.frame + i * size for i, part in enumerate(parts)])
        np.testing.assert_array_equal(frame, whole.frame)
        for name in ("boxes_xyxy", "landmarks_xy", "det_score"):
            np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))


def test_faces_lie_in_their_frames_and_are_ordered(weights):
    sizes_px = [(80, 100), (100, 60)]
    images = [random_image(seed, *size_px) for seed, size_px in enumerate(sizes_px)]
    faces = detector_of(weights, chunk_frames=2, score_threshold=0.6).detect_images(images)
    limit_xyxy = np.array([[w, h, w, h] for h, w in sizes_px])[faces.frame]
    assert len(set(faces.frame.tolist())) == 2
    assert (faces.boxes_xyxy >= 0).all() and (faces.boxes_xyxy < limit_xyxy).all()
    order = np.lexsort([-faces.det_score, faces.frame])
    np.testing.assert_array_equal(order, np.arange(len(faces)))


class LittleMemory(nn.Module):
    """Process at most two frames at a time; for more, allocate memory that no machine has."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> list[Tensor]:
        if len(x) > 2:
            torch.empty(2**46)
        outputs: list[Tensor] = self.network(x)
        return outputs


def test_out_of_memory_halves_the_batch_and_continues(weights, caplog):
    pixels = np.stack([random_image(seed, 64, 130) for seed in range(5)])  # larger than a tile
    detector = detector_of(weights, chunk_frames=2, score_threshold=0.8)
    expected = detector.detect(pixels)
    detector.chunk_frames = 4
    detector.network = LittleMemory(detector.network)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            faces = detector.detect(pixels)
            for name in ("frame", "boxes_xyxy", "landmarks_xy", "det_score"):
                np.testing.assert_array_equal(getattr(faces, name), getattr(expected, name))
    assert [record.message for record in caplog.records] == [
        "retinaface: out of memory, continuing with 2 frames at a time"
    ]


def test_out_of_memory_for_one_frame_is_an_error(weights):
    class NoMemory(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.empty(2**46)

    detector = detector_of(weights, chunk_frames=2)
    detector.network = NoMemory()
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        detector.detect(np.zeros((1, 40, 40, 3), np.uint8))


def test_without_weights_the_error_names_the_commands_that_install_them(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"fervid models fetch retinaface.*fervid models add retinaface FILE"):
        load_detector("retinaface")


def test_without_the_package_the_error_names_its_extra(weights, monkeypatch):
    hide_package(monkeypatch)
    with pytest.raises(WeightsError, match=r"pip install 'retina-face"):
        detector_of(weights)
