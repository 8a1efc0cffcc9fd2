"""Training of the compact detector: augmentation, targets, losses, teacher labels, resuming, and matching."""

import dataclasses
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fer_models.datasets.face_photos import FaceDataError, LabeledImage, Photo, read_photos
from fer_models.detection import load_detector
from fer_models.detection.compact import CompactDetector, grid_points
from fer_models.detection.compact_network import CompactNet
from fer_models.evaluation.detector_metrics import Matches, evaluate_detector, match_hits, read_true_photos
from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_registry import ModelCard, WeightsError, find_model, load_model_folder, read_card
from fer_models.training.detector.augmentation import cover_faces, cut_tile, mosaic, random_tile, tile_map, upside_down
from fer_models.training.detector.inputs import EpochBatches, FaceInputs, photo_weights
from fer_models.training.detector.losses import detection_losses
from fer_models.training.detector.pseudo_labels import TEACHER_WEIGHTS, merge_labels, merge_teacher_labels
from fer_models.training.detector.recipe import DetectorRecipe
from fer_models.training.detector.registration import MAX_THRESHOLD, choose_threshold, save_detector
from fer_models.training.detector.synthetic_text import add_words, title_card
from fer_models.training.detector.targets import assign_targets
from fer_models.training.detector.training import mine_hard_negatives, train_detector
from fer_models.training.runs import RunError
from flows.analysis.progress import Progress, Stopped

pytestmark = pytest.mark.slow

FACES = Path(__file__).parents[1].parent / "shared" / "data" / "faces"
TINY = {"stem": (4, 4), "stages": (8, 8, 8), "blocks": (1, 1, 1), "pyramid": 8}
needs_faces = pytest.mark.skipif(not FACES.is_dir(), reason=f"{FACES} is not here")


def dotted_image() -> LabeledImage:
    """A black image of 100 x 80 px whose five landmarks are dots of 3 px, each with a different brightness."""
    landmarks = np.array([[[40.5, 30.5], [60.5, 30.5], [50.5, 40.5], [42.5, 52.5], [58.5, 52.5]]], np.float32)
    pixels = np.zeros((80, 100, 3), np.uint8)
    for (x, y), value in zip(landmarks[0].astype(int), (50, 100, 150, 200, 250), strict=True):
        pixels[y - 1 : y + 2, x - 1 : x + 2] = value
    return LabeledImage(pixels, np.array([[34, 20, 66, 60]], np.float32), landmarks, np.array([True]))


@pytest.mark.parametrize(
    ("scale", "turn_rad", "mirror"), [(1.0, 0.0, False), (2.0, 0.0, False), (1.5, 0.3, False), (2.0, -0.2, True)]
)
def test_pixels_and_landmarks_move_together(scale, turn_rad, mirror):
    to_tile = tile_map(np.array([50.0, 40.0]), scale, turn_rad, mirror, (160, 160))
    tile = cut_tile(dotted_image(), to_tile, (160, 160), (0, 0, 0))
    x, y = tile.landmarks_xy[0].astype(int).T
    # Mirrored, the eye on the left of the image is the other eye: its dot had the brightness of the right one.
    expected = [100, 50, 150, 250, 200] if mirror else [50, 100, 150, 200, 250]
    np.testing.assert_allclose(tile.pixels[y, x, 0], expected, atol=12)
    assert x[0] < x[1] and x[3] < x[4]


def test_a_downscaled_tile_has_the_computed_boxes_and_landmarks():
    tile = cut_tile(dotted_image(), tile_map(np.array([50.0, 40.0]), 0.5, 0.0, False, (40, 40)), (40, 40), (9, 9, 9))
    assert tile.boxes_xyxy.tolist() == [[12, 10, 28, 30]]  # x1 is (34 - 50) / 2 + 20, and so on
    assert tile.landmarks_xy[0, 2].tolist() == [20.25, 20.25]
    assert tile.pixels.shape == (40, 40, 3) and tile.is_confident.all()


def test_a_face_mostly_outside_is_not_confident_and_one_outside_is_dropped():
    image = dotted_image()
    half_out = cut_tile(image, tile_map(np.array([83.0, 40.0]), 1.0, 0.0, False, (64, 80)), (64, 80), (0, 0, 0))
    assert half_out.boxes_xyxy.tolist() == [[0, 20, 15, 60]] and not half_out.is_confident.any()
    outside = cut_tile(image, tile_map(np.array([98.0, 40.0]), 1.0, 0.0, False, (64, 80)), (64, 80), (0, 0, 0))
    assert len(outside.boxes_xyxy) == len(outside.landmarks_xy) == len(outside.is_confident) == 0


def test_a_mosaic_moves_the_faces_of_its_tiles():
    image = dotted_image()
    sizes = [(96, 64), (32, 64), (96, 64), (32, 64)]
    center = np.array([50.0, 40.0])
    tiles = [cut_tile(image, tile_map(center, 0.5, 0.0, False, size), size, (7, 7, 7)) for size in sizes]
    whole = mosaic(tiles, (96, 64), 128)
    assert whole.pixels.shape == (128, 128, 3)
    assert whole.boxes_xyxy.tolist() == [[40, 22, 56, 42], [104, 22, 120, 42], [40, 86, 56, 106], [104, 86, 120, 106]]


def test_random_tiles_have_the_requested_size_and_show_the_face():
    rng = np.random.default_rng(0)
    # The face of 10 to 74 px is shown at all scales.
    tiles = [random_tile(dotted_image(), (96, 64), rng) for _ in range(200)]
    assert {tile.pixels.shape for tile in tiles} == {(64, 96, 3)}
    with_face = [tile for tile in tiles if tile.is_confident.any()]
    assert len(with_face) > 120
    for tile in with_face:
        assert (tile.boxes_xyxy[:, :2] >= 0).all() and (tile.boxes_xyxy[:, 2:] <= (96, 64)).all()


def test_words_and_discs_never_cover_a_face():
    rng = np.random.default_rng(0)
    image = dotted_image()
    lettered = [add_words(image, rng) for _ in range(60)]
    x1, y1, x2, y2 = image.boxes_xyxy[0].astype(int)
    for result in lettered:
        np.testing.assert_array_equal(result.pixels[y1:y2, x1:x2], image.pixels[y1:y2, x1:x2])
        assert result.boxes_xyxy is image.boxes_xyxy and result.is_confident is image.is_confident
    assert sum((result.pixels != image.pixels).any() for result in lettered) > 30


def test_a_title_card_has_no_face():
    card = title_card(64, np.random.default_rng(0))
    assert card.pixels.shape == (64, 64, 3) and card.pixels.dtype == np.uint8
    assert len(card.boxes_xyxy) == len(card.landmarks_xy) == len(card.is_confident) == 0
    assert card.pixels.std() > 0


def test_losses_are_near_zero_for_correct_outputs_and_large_for_wrong_ones():
    boxes = np.array([[8, 8, 24, 24]], np.float32)
    landmarks = np.full((1, 5, 2), 16, np.float32)
    arrays = assign_targets(boxes, landmarks, np.array([True]), 32, 32)
    target = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
    points, strides = (torch.from_numpy(array) for array in grid_points(32, 32))
    distances = torch.cat([points - 8, 24 - points], 1).clamp(min=0.1)
    right = torch.cat(
        [
            torch.where(target["state"][0] == 1, 12.0, -12.0)[:, None],
            (distances / strides[:, None]).log(),
            ((16 - points) / strides[:, None]).repeat(1, 5),
        ],
        1,
    )[None]
    losses = detection_losses(right, target, points, strides)
    assert all(value < 1e-3 for value in losses.values())
    worse = detection_losses(right + 0.3, target, points, strides)
    assert worse["box"] > 0.05 and worse["landmarks"] > 0.1
    assert detection_losses(-right, target, points, strides)["score"] > 10


def test_the_threshold_is_the_lowest_with_a_precision_of_99_percent():
    score = np.linspace(0.9, 0.3, 121)  # 0.9, 0.895, ...
    is_face = np.ones(121, bool)
    is_face[60] = False
    # One of the first 61 is false, but also only one of all 121, 99.2 %.
    assert choose_threshold(Matches(score, is_face, np.full(121, 50.0), score[is_face])) == pytest.approx(0.3)
    is_face[110] = False
    # Now one of the first 110 is false (99.1 %), and two of the first 111; later ones never reach 99 % again.
    found = Matches(score, is_face, np.full(121, 50.0), score[is_face])
    assert choose_threshold(found) == pytest.approx(0.9 - 109 * 0.005)
    nothing = Matches(score, np.zeros(121, bool), np.full(121, 50.0), np.zeros(5))
    assert choose_threshold(nothing) == MAX_THRESHOLD


def test_detections_are_matched_and_counted():
    truth = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], float)
    counts = np.array([True, True, False])
    boxes = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [40, 0, 50, 10], [60, 0, 70, 10]], float)
    score = np.array([0.9, 0.8, 0.7, 0.6])
    matches = match_hits(boxes, score, truth, counts, min_iou=0.4)
    assert matches.hit_is_face.tolist() == [
        True,
        False,
        False,
    ]  # the detection on the face that does not count is excluded
    assert matches.hit_score.tolist() == [0.9, 0.8, 0.6]
    np.testing.assert_allclose(matches.face_score, [0.9, 0])
    assert matches.recall(0.5) == 0.5 and matches.precision(0.5) == pytest.approx(1 / 3)
    assert matches.average_precision() == 0.5

    none = match_hits(np.empty((0, 4)), np.empty(0), truth, counts, min_iou=0.4)
    assert none.recall(0.5) == 0 and np.isnan(none.precision(0.5)) and none.average_precision() == 0
    joined = Matches.join([matches, none])
    assert joined.recall(0.5) == 0.25


def test_files_that_are_not_training_data_are_refused(tmp_path):
    names = ("missing", "text", "other", "empty", "broken", "faceless")
    missing, text, other, empty, broken, faceless = (tmp_path / f"{name}.parquet" for name in names)
    text.write_text("no Parquet")
    pq.write_table(pa.table({"image": [b""], "label": [0]}), other)
    pq.write_table(pa.table({"image": pa.array([], pa.binary()), "source": [], "faces": []}), empty)
    pq.write_table(pa.table({"image": [b"not an image"], "source": ["x"], "faces": [[]]}), broken)
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    face = {"x1": 0.0, "y1": 0.0, "x2": 8.0, "y2": 8.0, "score": 1.0}
    pq.write_table(pa.table({"image": [image.getvalue()], "source": ["x"], "faces": [[face]]}), faceless)
    for path, reason in (
        (missing, "no such file"),
        (text, "not a readable Parquet file"),
        (other, "columns missing: source, faces. A file of photographs has image, source, faces"),
        (empty, "no photographs"),
        (broken, "row 1 is not a photograph with labeled faces: it cannot be read as an image"),
        (faceless, "row 1: a face has no 'landmarks'"),
    ):
        with pytest.raises(FaceDataError, match=reason) as error:
            read_photos(path)
        assert str(path) in str(error.value)


@pytest.fixture(scope="module")
def few_photos(tmp_path_factory, one_thread) -> Path:
    """Twenty-one real photographs from most sources, one of them held out."""
    if not FACES.is_dir():
        pytest.skip(f"{FACES} is not here")
    table = pq.read_table(FACES / "train.parquet")
    path = tmp_path_factory.mktemp("faces") / "few.parquet"
    pq.write_table(table.take(list(range(0, len(table), len(table) // 20))), path)
    return path


def test_inputs_depend_on_seed_and_number_only(few_photos):
    photos = read_photos(few_photos)
    assert (len(photos), sum(photo.held_out for photo in photos)) == (21, 1)
    first, again = (FaceInputs(photos, seed=1) for _ in range(2))
    for number in (0, 7):
        for name, tensor in first[number, 128].items():
            assert torch.equal(tensor, again[number, 128][name])
    assert not torch.equal(first[0, 128]["pixels"], first[1, 128]["pixels"])
    assert first[0, 128]["pixels"].shape == (3, 128, 128) and first[0, 128]["pixels"].dtype == torch.uint8


def test_batches_have_the_same_number_of_pixels_and_inputs_never_repeat():
    epochs = EpochBatches(batches=7, batch_size=8, size_px=64)
    seen, pixels = [], set()
    for epoch in (0, 1):
        epochs.set_epoch(epoch)
        batches = list(epochs)
        assert len(batches) == len(epochs) == 7
        seen += [number for batch in batches for number, _ in batch]
        pixels |= {sum(size**2 for _, size in batch) for batch in batches}
    assert pixels == {8 * 64**2} and len(set(seen)) == len(seen)
    assert {size for batch in epochs for _, size in batch} == {64, 128}


def test_some_faces_are_partly_covered_and_keep_their_labels():
    rng = np.random.default_rng(0)
    image = dotted_image()
    covered = [cover_faces(image, rng) for _ in range(100)]
    changed = [(result.pixels != image.pixels).any(-1) for result in covered]
    assert 3 < sum(change.any() for change in changed) < 30
    x1, y1, x2, y2 = image.boxes_xyxy[0].astype(int)
    for change in changed:
        assert change[y1:y2, x1:x2].sum() == change.sum() <= 0.55 * (x2 - x1) * (y2 - y1)


def photo_of(boxes: np.ndarray, score: np.ndarray | None = None, source: str = "mask_wearing") -> Photo:
    score = np.ones(len(boxes), np.float32) if score is None else score
    blank, landmarks = np.zeros((99, 99, 3), np.uint8), np.zeros((len(boxes), 5, 2), np.float32)
    return Photo(blank, boxes, landmarks, score > 0.55, score, source, False)


def seen(boxes: list[list[float]], scores: list[float]) -> FaceBatch:
    """Faces whose landmarks all lie in the first corner of their boxes."""
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    landmarks = np.repeat(xyxy[:, None, :2], 5, axis=1)
    return FaceBatch(np.zeros(len(xyxy), np.int64), xyxy, landmarks, np.array(scores, np.float32))


def test_labels_of_three_detectors_are_merged():
    boxes = np.array([[10, 10, 30, 30], [50, 10, 70, 30], [10, 50, 30, 70], [50, 50, 70, 70]], np.float32)
    photo = photo_of(boxes, np.array([0.9, 0.6, 0.9, 0.5], np.float32), "azure_face")
    by_teacher = {
        # Only this detector finds the face at (80, 80), and it finds the first face twice.
        "retinaface_mobilenet025": seen([[12, 10, 32, 30], [11, 11, 31, 31], [80, 80, 99, 99]], [0.5, 0.4, 0.9]),
        "centerface": seen([[11, 10, 31, 30], [51, 10, 71, 30]], [0.75, 0.25]),
    }
    merged = merge_labels(photo, by_teacher)
    # The weights 1.0, 0.6 and 1.6 add up to 3.2. The first face has the weighted scores 0.9, 0.3 and 1.2, the second
    # 0.6 and 0.4; the third 0.9 / 3.2 = 0.28, the fourth 0.16 and the lone one 0.17. Faces are ordered by their highest
    # single score.
    np.testing.assert_allclose(merged.score, [2.4 / 3.2, 0.9 / 3.2, 1.0 / 3.2], rtol=1e-6)
    x = (0.9 * 10 + 0.3 * 12 + 1.2 * 11) / 2.4
    np.testing.assert_allclose(merged.boxes_xyxy[0], [x, 10, x + 20, 30], rtol=1e-6)
    np.testing.assert_allclose(merged.boxes_xyxy[1:], [[10, 50, 30, 70], [50.4, 10, 70.4, 30]], rtol=1e-6)
    # The photograph's own landmarks are at (0, 0).
    np.testing.assert_allclose(merged.landmarks_xy[2], 5 * [[0.4 * 51, 0.4 * 10]], rtol=1e-5)
    # 0.38 in photographs of people, 0.30 in those of masked people; a face needs two detectors.
    assert merged.is_confident.tolist() == [True, False, False]
    masked = merge_labels(dataclasses.replace(photo, source="mask_wearing"), by_teacher)
    assert masked.is_confident.tolist() == [True, False, True]


def test_positive_examples_need_higher_scores_in_photographs_without_people():
    boxes = np.array([[10, 10, 30, 30], [50, 10, 70, 30]], np.float32)
    by_teacher = {"retinaface_mobilenet025": seen([boxes[0]], [1.0]), "centerface": seen([boxes[1]], [0.75])}
    # The mean scores are (1 + 1.6 * 0.75) / 3.2 and (1 + 0.6) / 3.2.
    for source, is_confident in (("azure_face", [True, True]), ("animals", [True, False])):
        merged = merge_labels(photo_of(boxes, source=source), by_teacher)
        assert merged.score.tolist() == pytest.approx([0.6875, 0.5])
        assert merged.is_confident.tolist() == is_confident


def test_photographs_are_sampled_by_source_and_hard_negatives():
    face, none = np.array([[10, 10, 30, 30]], np.float32), np.empty((0, 4), np.float32)
    photos = [
        dataclasses.replace(photo_of(boxes, source=source), hard_negatives_xyxy=hard_negatives)
        for source, boxes, hard_negatives in (
            ("azure_face", none, face),  # 3 / sqrt(2) = 2.1213
            ("azure_face", face, face),  # 1 / sqrt(2) = 0.7071
            ("muxspace", face, none),  # 0.35
            ("human_samples", none, none),  # 1; the sum is 4.1784
        )
    ]
    np.testing.assert_allclose(photo_weights(photos), [0.50768, 0.16923, 0.08376, 0.23932], atol=1e-5)


def test_faces_of_one_detector_are_never_positive_examples():
    photo = photo_of(np.array([[10, 10, 30, 30]], np.float32), np.array([1.0], np.float32))
    merged = merge_labels(photo, {"retinaface_mobilenet025": FaceBatch.empty(), "centerface": FaceBatch.empty()})
    assert merged.is_confident.tolist() == [False] and merged.score.tolist() == pytest.approx([1 / 3.2])


def test_tiny_faces_stay_ignored_at_low_scores():
    boxes = np.array([[10, 10, 16, 16], [40, 40, 46, 46]], np.float32)
    photo = photo_of(boxes, np.array([0.4, 0.2], np.float32))
    merged = merge_labels(photo, {"retinaface_mobilenet025": FaceBatch.empty(), "centerface": FaceBatch.empty()})
    assert merged.boxes_xyxy.tolist() == [boxes[0].tolist()] and not merged.is_confident.any()


def test_some_tiles_with_faces_are_upside_down_and_show_no_face():
    rng = np.random.default_rng(0)
    image = dotted_image()
    photo = Photo(
        image.pixels, image.boxes_xyxy, image.landmarks_xy, image.is_confident, np.ones(1), "azure_face", False
    )
    turned = upside_down(photo)
    x, y = image.landmarks_xy[0, 0].astype(int)
    assert turned.pixels[80 - 1 - y, 100 - 1 - x, 0] == image.pixels[y, x, 0] == 50
    assert len(turned.boxes_xyxy) == len(turned.landmarks_xy) == len(turned.is_confident) == 0
    # In upside-down tiles, the mouth (gray values 200 and 250) is above the eyes (50 and 100).
    tiles = [random_tile(photo, (64, 64), rng) for _ in range(400)]
    without = [tile for tile in tiles if not len(tile.boxes_xyxy) and tile.pixels[..., 0].max() >= 200]
    rows = [[np.nonzero(np.abs(tile.pixels[..., 0].astype(int) - v) < 20)[0] for v in (50, 250)] for tile in without]
    upside = [eye.mean() > mouth.mean() for eye, mouth in rows if len(eye) and len(mouth)]
    assert 5 < sum(upside) < 60


@needs_faces
def test_the_train_detector_command_creates_a_model(few_photos, server, tmp_path):
    command = [Path(sys.executable).with_name("fervid"), "train-detector", "--data", few_photos, "--epochs", "1"]
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path), "PREFECT_API_URL": server}
    run = subprocess.run(
        [*command, "--name", "short", "--device", "cpu"], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    folder = tmp_path / "fervid" / "models" / "short"
    assert f"model saved: {folder}" in run.stdout
    assert read_card(folder).settings["epochs_done"] == 1


@needs_faces
def test_a_training_with_an_infinite_loss_stops_without_a_model(few_photos, tmp_path):
    recipe = DetectorRecipe(epochs=1, samples_per_epoch=16, batch_size=8, network_options=TINY)
    with pytest.raises(RunError, match="epoch 1: the loss is not finite"):
        train_detector(few_photos, tmp_path / "lost", dataclasses.replace(recipe, learning_rate=1e30), device="cpu")
    assert not list((tmp_path / "lost").rglob("*.ckpt"))
    assert not (tmp_path / "lost" / "model.json").exists()


def test_a_detector_that_finds_nothing_is_saved_with_a_warning(tmp_path, caplog):
    pixels = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image").astronaut()
    packaged, card = load_model_folder(find_model("compact"))
    found = load_detector("compact", device="cpu").detect(pixels[None])
    photo = Photo(pixels, found.boxes_xyxy, found.landmarks_xy, np.ones(1, bool), found.det_score, "", held_out=True)
    weights = {f"network.{name}": tensor for name, tensor in packaged.items()}
    blind = weights | {name: torch.full_like(weights[name], -20) for name in weights if name.endswith(".1.bias")}
    caplog.set_level(logging.INFO)
    for name, state, says in (
        ("good", weights, "held-out photographs: recall 1.000, precision 1.000, average precision 1.000"),
        ("blind", blind, "held-out photographs: recall 0.000, average precision 0.000"),
    ):
        torch.save({"state_dict": state, "epoch": 0, "trained_s": 1.0}, tmp_path / "last.ckpt")
        save_detector(tmp_path / "last.ckpt", tmp_path / name, dataclasses.replace(card, name=name), [photo])
        assert caplog.messages[-1 if name == "good" else -2].endswith(says)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("blind finds no labeled face in the held-out photographs (1). Do not rely on this")


def test_training_resumes_and_gives_a_model_folder(few_photos, tmp_path):
    recipe = DetectorRecipe(epochs=1, samples_per_epoch=16, batch_size=8, network_options=TINY)
    train_detector(few_photos, tmp_path / "halves", recipe, device="cpu")
    first = torch.load(tmp_path / "halves" / "checkpoints" / "last.ckpt", weights_only=True)
    twice = dataclasses.replace(recipe, epochs=2)
    folder = train_detector(few_photos, tmp_path / "halves", twice, device="cpu", resume=True)
    second = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert (first["global_step"], second["global_step"]) == (2, 4)
    assert second["trained_s"] > first["trained_s"] > 0

    # Called for NaN, which is not valid JSON.
    card = json.loads((folder / "model.json").read_text(), parse_constant=pytest.fail)
    assert card["task"] == "detector" and card["settings"]["epochs_done"] == 2
    assert card["data"]["set"] == "few.parquet"
    assert card["license_note"] == "Trained by Fervid on the photographs of few.parquet, which have their own terms."
    assert card["parameters"] == sum(parameter.numel() for parameter in CompactNet(**TINY).parameters())
    held_out = card["metrics"]["held_out"]
    assert {"recall", "average_precision"} <= set(held_out) <= {"recall", "precision", "average_precision"}
    assert "precision" in held_out or held_out["recall"] == 0  # undefined without detections
    detector = load_detector(str(folder), device="cpu")
    assert detector.score_threshold == card["score_threshold"]
    assert len(detector.detect(np.zeros((2, 64, 64, 3), np.uint8))) == 0

    with pytest.raises(RunError, match="--resume"):
        train_detector(few_photos, folder, twice, device="cpu")
    with pytest.raises(RunError, match="batch_size was 8 and is now 4"):
        train_detector(few_photos, folder, dataclasses.replace(twice, batch_size=4), device="cpu", resume=True)
    # Checkpoints of version 0.1 have no settings and can be resumed.
    torch.save({key: value for key, value in second.items() if key != "settings"}, folder / "checkpoints" / "last.ckpt")
    train_detector(few_photos, folder, twice, device="cpu", resume=True)  # the training is already complete
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4


class StopAt(logging.Handler):
    """Interrupt a run when it logs a message that starts with `beginning`."""

    def __init__(self, beginning: str):
        super().__init__()
        self.beginning = beginning

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(self.beginning):
            raise InterruptedError


def test_a_resumed_run_gives_the_same_weights_as_an_uninterrupted_one(few_photos, tmp_path, caplog):
    recipe = DetectorRecipe(epochs=2, samples_per_epoch=16, batch_size=8, network_options=TINY)
    start = train_detector(few_photos, tmp_path / "start", recipe, device="cpu")
    recipe = dataclasses.replace(recipe, init=str(start), network_options={})
    uninterrupted = train_detector(few_photos, tmp_path / "uninterrupted", recipe, device="cpu")
    logger, stop = logging.getLogger("fer_models.training.detector.training"), StopAt("epoch 2/2")
    caplog.set_level(logging.INFO, logger.name)
    logger.addHandler(stop)
    try:
        with pytest.raises(InterruptedError):
            train_detector(few_photos, tmp_path / "resumed", recipe, device="cpu")
    finally:
        logger.removeHandler(stop)
    resumed = train_detector(few_photos, tmp_path / "resumed", recipe, device="cpu", resume=True)
    card, other = read_card(uninterrupted), read_card(resumed)
    assert card.sha256 == other.sha256 != read_card(start).sha256
    assert card.settings["init"] == read_card(start).sha256 and card.parameters == read_card(start).parameters


def test_a_run_can_be_stopped_after_a_batch(few_photos, tmp_path):
    progress = Progress()
    progress.stop_requested.set()
    recipe = DetectorRecipe(epochs=1, samples_per_epoch=16, batch_size=8, network_options=TINY)
    with pytest.raises(Stopped):
        train_detector(few_photos, tmp_path, recipe, device="cpu", on_batch=progress.check)
    assert not (tmp_path / "model.json").exists()


def test_hard_negatives_are_detections_that_no_teacher_confirms():
    photo = photo_of(np.array([[10, 10, 30, 30]], np.float32))
    detector = CompactDetector(CompactNet(**TINY), ModelCard("x", "detector", "compact", score_threshold=0.5))
    hits = np.array([[11, 10, 31, 30], [60, 60, 80, 80]], np.float32)
    detector.detect = lambda pixels: FaceBatch(np.zeros(2, int), hits, np.zeros((2, 5, 2)), np.ones(2))
    assert mine_hard_negatives([photo], detector)[0].hard_negatives_xyxy.tolist() == [[60, 60, 80, 80]]


def test_tiles_often_show_hard_negatives(few_photos):
    rng = np.random.default_rng(0)
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[140:150, 20:30] = 255
    photo = dataclasses.replace(photo_of(np.empty((0, 4), np.float32)), pixels=pixels)
    plain = [random_tile(photo, (64, 64), rng).pixels.max() for _ in range(60)]
    with_negatives = [random_tile(photo, (64, 64), rng, np.array([[20, 140, 30, 150]])).pixels.max() for _ in range(60)]
    assert np.mean(np.array(with_negatives) == 255) > np.mean(np.array(plain) == 255) + 0.2


def test_a_tile_around_a_hard_negative_shows_it():
    class Certain(np.random.Generator):
        """What happens with some probability always happens, such as the choice of a hard negative."""

        def random(self):
            return 0.0

    pixels = np.zeros((600, 800, 3), np.uint8)
    pixels[298:302, 398:402] = 255  # brighter than the fill color of 128
    photo = dataclasses.replace(photo_of(np.empty((0, 4), np.float32)), pixels=pixels)
    rng, hard_negative = Certain(np.random.PCG64(0)), np.array([[390, 290, 410, 310]])
    tiles = [random_tile(photo, (256, 256), rng, hard_negative) for _ in range(300)]
    assert min(tile.pixels.max() for tile in tiles) > 150


def test_detections_of_the_teachers_are_cached(few_photos, tmp_path):
    references, cache = FACES.parent / "detectors", tmp_path / "cache"
    some = tmp_path / "some.parquet"
    pq.write_table(pq.read_table(few_photos)[:6], some)
    photos = read_photos(some)
    merged = merge_teacher_labels(photos, some, references, cache)
    assert any(photo.is_confident.any() for photo in merged)
    times = {file.stem: file.stat().st_mtime_ns for file in cache.iterdir()}
    assert set(times) == set(TEACHER_WEIGHTS)
    again = merge_teacher_labels(photos, some, references, cache)
    assert {file.stem: file.stat().st_mtime_ns for file in cache.iterdir()} == times
    for one, other in zip(merged, again, strict=True):
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
        np.testing.assert_array_equal(one.is_confident, other.is_confident)
    with pytest.raises(WeightsError, match="Copy the weights"):
        merge_teacher_labels(photos, some, tmp_path, cache)


@pytest.mark.parametrize(
    "values", [{"init": "default"}, {"references": Path("nowhere")}], ids=lambda values: next(iter(values))
)
def test_a_recipe_is_checked_before_the_data_are_read(tmp_path, values):
    with pytest.raises(WeightsError):
        train_detector(tmp_path / "no_data", tmp_path / "out", DetectorRecipe(**values), device="cpu")


def test_too_few_photographs_are_refused(few_photos, tmp_path):
    path = tmp_path / "two.parquet"
    pq.write_table(pq.read_table(few_photos)[:2], path)
    with pytest.raises(FaceDataError, match="too few"):
        train_detector(path, tmp_path / "out", DetectorRecipe(epochs=1))


@needs_faces
def test_the_packaged_weights_find_most_faces_of_the_evaluation_set():
    photos = read_true_photos(FACES / "eval.parquet")[:30]
    detector = load_detector("compact", device="cpu")
    result = evaluate_detector(detector.detect, photos)
    threshold = detector.score_threshold
    assert result.found.precision(threshold) > 0.7
    recalls = result.recall_by_class(threshold)
    assert sum(n for _, n in recalls.values()) == len(result.face_px)
    assert result.found.recall(threshold) > 0.7
