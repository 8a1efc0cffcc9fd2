"""The contract of `FaceDetector`, tested for every entry of `DETECTORS` with random weights that find many faces."""

from pathlib import Path

import numpy as np
import pytest
from random_compact import lively_network
from random_retinaface import lively_weights, random_image
from torch import Tensor

from fer_models import FaceBatch, load_detector
from fer_models.detection import DETECTORS, FaceDetector
from fer_models.registry.model_registry import ModelCard, save_model_folder

SHAPE = (90, 150, 3)
PIXELS = np.stack([random_image(seed, *SHAPE[:2]) for seed in range(4)])
COLUMNS = ("boxes_xyxy", "landmarks_xy", "det_score")


def compact_weights() -> dict[str, Tensor]:
    return lively_network().state_dict()


MODELS = {
    "compact": (compact_weights, ModelCard("many", "detector", "compact", mean=0.5, std=0.25, score_threshold=0.5)),
    "retinaface": (lively_weights, ModelCard("many", "detector", "retinaface", std=1 / 255, score_threshold=0.8)),
}


@pytest.fixture(scope="module", params=sorted(DETECTORS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a detector of each architecture."""
    if request.param == "retinaface":
        pytest.importorskip("retinaface", reason="retina-face is an extra")
    weights, card = MODELS[request.param]
    folder = tmp_path_factory.mktemp("models") / request.param
    save_model_folder(folder, weights(), card)
    return folder


@pytest.fixture(scope="module")
def detector(folder: Path) -> FaceDetector:
    return load_detector(str(folder), "cpu")


@pytest.fixture(scope="module")
def found(detector: FaceDetector) -> FaceBatch:
    return detector.detect(PIXELS)


def test_it_says_what_it_is(detector):
    assert detector.name == "many" and len(detector.sha256) == 64
    assert detector.max_side_px > 0 and detector.precision in ("float32", "bfloat16")


def test_faces_are_ordered_by_frame_then_by_falling_score(detector, found):
    assert set(found.frame.tolist()) == {0, 1, 2, 3} and len(found) > 20
    np.testing.assert_array_equal(np.lexsort([-found.det_score, found.frame]), np.arange(len(found)))
    assert (found.det_score >= detector.score_threshold).all() and (found.det_score <= 1).all()


def test_arrays_have_their_shapes_and_boxes_lie_in_the_frame(found):
    empty = FaceBatch.empty()
    for name in ("frame", *COLUMNS):
        values = getattr(found, name)
        assert values.dtype == getattr(empty, name).dtype
        assert values.shape == (len(found), *getattr(empty, name).shape[1:])
    x1, y1, x2, y2 = found.boxes_xyxy.T
    assert (x1 >= 0).all() and (y1 >= 0).all() and (x2 <= SHAPE[1]).all() and (y2 <= SHAPE[0]).all()
    # Like its package, RetinaFace inverts boxes of less than a pixel, which only random weights give.
    assert (x2 - x1 > -1).all() and (y2 - y1 > -1).all()


@pytest.mark.parametrize("size", [1, 3])
def test_a_frame_has_the_same_faces_in_any_batch(detector, found, size):
    parts = [detector.detect(PIXELS[start : start + size]) for start in range(0, len(PIXELS), size)]
    frame = np.concatenate([part.frame + i * size for i, part in enumerate(parts)])
    np.testing.assert_array_equal(frame, found.frame)
    for name in COLUMNS:
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(found, name))


def test_larger_frames_are_shrunk_and_boxes_mapped_back(folder, found):
    smaller = load_detector(str(folder), "cpu", max_side_px=75)
    assert smaller.max_side_px == 75
    again = smaller.detect(PIXELS)
    assert len(again) > 0 and not np.array_equal(again.boxes_xyxy, found.boxes_xyxy)
    assert (again.boxes_xyxy <= [SHAPE[1], SHAPE[0]] * 2).all()
    assert again.boxes_xyxy.max() > 75  # pixels of the frame, not of the smaller one


def test_no_frame_gives_no_face(detector):
    faces, empty = detector.detect(PIXELS[:0]), FaceBatch.empty()
    assert len(faces) == 0
    assert [getattr(faces, name).dtype for name in COLUMNS] == [getattr(empty, name).dtype for name in COLUMNS]


def test_arrays_of_another_shape_or_type_are_refused(detector):
    with pytest.raises(ValueError, match=r"\(n, h, w, 3\) uint8"):
        detector.detect(PIXELS[0])
    with pytest.raises(ValueError, match="float64"):
        detector.detect(PIXELS[:1].astype(np.float64))
    with pytest.raises(ValueError, match=r"0, 50, 3\)"):
        detector.detect(np.zeros((1, 0, 50, 3), np.uint8))
