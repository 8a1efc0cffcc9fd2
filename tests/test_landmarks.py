"""The landmark network: inference, head pose, labels, losses and training."""

import copy
import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fer_models.datasets.labeled_faces import DataError
from fer_models.datasets.landmark_labels import read_labeled_crops
from fer_models.evaluation.landmark_clips import adjacent_triples, jitter_and_motion
from fer_models.evaluation.landmark_tables import accuracy_tables
from fer_models.evaluation.landmarks import measure_accuracy
from fer_models.landmarks.landmarker import LandmarkBatch, Landmarker
from fer_models.landmarks.network import LandmarkNet, LandmarkOutputs
from fer_models.landmarks.points import N_POINTS
from fer_models.landmarks.pose import MEAN_FACE_XYZ, RIGID_POINTS, head_pose_deg
from fer_models.registry.model_card import read_card
from fer_models.registry.model_registry import PACKAGED_DIR, WeightsError, load_model_folder, save_model_folder
from fer_models.training.landmarks.augmentation import LandmarkTargets, _move, augment
from fer_models.training.landmarks.losses import landmark_losses, point_weights
from fer_models.training.landmarks.training import LandmarkRecipe, TrainingRun, train_landmarks
from fer_models.training.runs import RunError

CPU = torch.device("cpu")


def face_points() -> np.ndarray:
    """A frontal face (70, 3) in shares of the crop: the rigid points of the mean face, all others on the midline."""
    points = np.zeros((N_POINTS, 3))
    points[list(RIGID_POINTS)] = MEAN_FACE_XYZ
    points[:, :2] = 0.5 + 0.5 * points[:, :2]
    points[[37, 38], 1] -= 0.03  # an open right eye
    points[[37, 38, 40, 41], 0] -= 0.1
    return points


def rotation(axis: int, degrees: float) -> np.ndarray:
    """Rotation matrix about x, y or z (0, 1, 2), counterclockwise seen from the tip of the axis."""
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[[i, j], [i, j]] = math.cos(math.radians(degrees))
    matrix[i, j], matrix[j, i] = -math.sin(math.radians(degrees)), math.sin(math.radians(degrees))
    return matrix


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return Landmarker.load(CPU)


# Head pose


@pytest.mark.parametrize("pose", [(0, 0, 0), (35, 0, 0), (0, -20, 0), (0, 0, 50), (-30, 15, -10)])
def test_pose_of_a_rotated_face(pose):
    yaw, pitch, roll = pose
    turned = rotation(2, roll) @ rotation(1, -yaw) @ rotation(0, -pitch)
    points = np.zeros((1, N_POINTS, 3))
    points[0, list(RIGID_POINTS)] = 40 * MEAN_FACE_XYZ @ turned.T + (100, 80, 3)
    assert head_pose_deg(points)[0] == pytest.approx(pose, abs=1e-9)


def test_signs_of_the_pose():
    nose_tip = RIGID_POINTS.index(30)
    for axis, degrees, angle, coordinate, sign in ((1, -20, 0, 0, 1), (0, -20, 1, 1, -1)):
        turned = MEAN_FACE_XYZ @ rotation(axis, degrees).T
        moved = (turned - MEAN_FACE_XYZ)[nose_tip] - (turned - MEAN_FACE_XYZ).mean(axis=0)
        points = np.zeros((1, N_POINTS, 3))
        points[0, list(RIGID_POINTS)] = turned
        assert head_pose_deg(points)[0, angle] == pytest.approx(20)
        assert np.sign(moved[coordinate]) == sign  # yaw > 0: the nose to the image's right; pitch > 0: up


# Inference


def test_landmarks_do_not_depend_on_the_batch(landmarker):
    crops = torch.randint(0, 256, (70, 48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = landmarker.predict(crops)
    alone = LandmarkBatch.join([landmarker.predict(crop[None]) for crop in crops[[0, 33, 69]]])
    for name, values in vars(alone).items():
        np.testing.assert_array_equal(values, getattr(together, name)[[0, 33, 69]])


def test_landmarks_have_types_and_ranges(landmarker):
    found = landmarker.predict(torch.zeros((3, 48, 48, 3), dtype=torch.uint8))
    assert {name: (value.shape, value.dtype.name) for name, value in vars(found).items()} == {
        "points_xy": ((3, 70, 2), "float32"),
        "score": ((3,), "float32"),
        "pose_deg": ((3, 3), "float32"),
    }
    assert ((found.score >= 0) & (found.score <= 1)).all()


def test_no_crops_give_no_landmarks(landmarker):
    found = landmarker.predict(torch.empty((0, 48, 48, 3), dtype=torch.uint8))
    assert [value.shape for value in vars(found).values()] == [(0, 70, 2), (0,), (0, 3)]


@pytest.mark.parametrize(
    "crops",
    [
        torch.zeros(1, 40, 40, 3, dtype=torch.uint8),
        torch.zeros(1, 48, 48, dtype=torch.uint8),
        torch.zeros(1, 48, 48, 3),
    ],
)
def test_other_crops_are_refused(landmarker, crops):
    with pytest.raises(ValueError, match=r"crops must be \(m, 48, 48, 3\) uint8"):
        landmarker.predict(crops)


def test_weights_of_another_network_are_refused(tmp_path):
    card = dataclasses.replace(read_card(PACKAGED_DIR / "landmarks"), architecture_options={"hidden": 8})
    network = LandmarkNet(hidden=16)
    save_model_folder(tmp_path, network.state_dict(), card)
    with pytest.raises(WeightsError, match="weights do not fit"):
        Landmarker.load(CPU, tmp_path)


def test_precisions_agree():
    weights, card = load_model_folder(PACKAGED_DIR / "landmarks")
    crops = torch.randint(0, 256, (4, 48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        network = LandmarkNet(**card.architecture_options)
        network.load_state_dict(weights)
        found.append(Landmarker(network, card, CPU, dtype).predict(crops))
    exact, rounded = found
    assert exact.points_xy.std(axis=0).max() > 0.05  # the crops have different landmarks
    np.testing.assert_allclose(rounded.points_xy, exact.points_xy, atol=0.005)
    np.testing.assert_allclose(rounded.pose_deg, exact.pose_deg, atol=0.5)


# Labels


def write_crops(path: Path, images: list[np.ndarray], usage: list[str] | None = None) -> Path:
    contents = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        contents.append(file.getvalue())
    pq.write_table(pa.table({"image": contents} | ({"usage": usage} if usage else {})), path)
    return path


def write_labels(folder: Path, labels: list[tuple[int, np.ndarray, float, float]]) -> Path:
    folder.mkdir()
    rows = [
        {
            "row": row,
            "points_xyz": p.ravel().tolist(),
            "single_xyz": p.ravel().tolist(),
            "mirror_error": m,
            "shift_error": s,
        }
        for row, p, m, s in labels
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "from_row_000000.parquet")
    return folder


@pytest.fixture
def few_labels(tmp_path: Path) -> tuple[Path, Path]:
    """Ten noisy images, six for training; of these, one has no label and one an inconsistent label."""
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (10, 48, 48), dtype=np.uint8))
    usage = 6 * ["Training"] + 2 * ["PublicTest"] + 2 * ["PrivateTest"]
    points = face_points()
    labels = [(row, points + rng.normal(0, 0.01, points.shape), 0.02, 0.01) for row in range(10) if row != 1]
    labels[2] = (3, points, 0.02, 0.3)
    return write_crops(tmp_path / "crops.parquet", images, usage), write_labels(tmp_path / "labels", labels)


def test_labels_are_read_by_row(few_labels):
    crops = read_labeled_crops(*few_labels)
    assert crops.is_consistent.tolist() == [True, False, True, False, *6 * [True]]
    assert np.isnan(crops.points_xyz[1]).all()
    np.testing.assert_allclose(crops.points_xyz[3], face_points(), atol=1e-6)
    assert crops.split.tolist() == [0] * 6 + [1, 1, 2, 2]


def test_labels_of_other_crops_are_refused(tmp_path):
    crops = write_crops(tmp_path / "crops.parquet", [np.zeros((48, 48), np.uint8)] * 2)
    for rows, outside in (([5], 5), ([1, -1], -1), ([1, 2, 0], 2)):
        labels = write_labels(tmp_path / f"labels{outside}", [(row, face_points(), 0.0, 0.0) for row in rows])
        with pytest.raises(DataError, match=f"^{labels}: .*a label of row {outside}, but the crops are rows 0 to 1$"):
            read_labeled_crops(crops, labels)


@pytest.mark.parametrize("rows", [[0, None], [0.0, 1.0], ["0", "1"]])
def test_rows_of_labels_that_are_no_whole_numbers_are_refused(tmp_path, rows):
    crops = write_crops(tmp_path / "crops.parquet", [np.zeros((48, 48), np.uint8)] * 2)
    labels = write_labels(tmp_path / "labels", [(row, face_points(), 0.0, 0.0) for row in rows])
    with pytest.raises(DataError, match=f"^{labels}: .*: row must be a whole number in every row$"):
        read_labeled_crops(crops, labels)


@pytest.mark.filterwarnings("error")
def test_a_score_that_no_crop_reaches_has_no_error(landmarker, few_labels):
    _, table = accuracy_tables(read_labeled_crops(*few_labels), landmarker)  # of noise, without faces
    assert table.rows[-1] == ["PrivateTest", "0.9", "0.00 %", "-", "-"]


def test_crops_of_16_bits_are_refused(tmp_path, few_labels):
    crops = write_crops(tmp_path / "deep.parquet", [np.full((48, 48), 40_000, np.uint16)])
    with pytest.raises(DataError, match="more than 8 bits per pixel"):
        read_labeled_crops(crops, few_labels[1])


def test_a_crop_that_cannot_be_read_is_named(tmp_path, few_labels):
    crops = tmp_path / "text.parquet"
    png = pq.read_table(few_labels[0])["image"][0].as_py()
    pq.write_table(pa.table({"image": [png, b"text"]}), crops)
    with pytest.raises(DataError, match=f"^{crops}: row 2: not a usable image: it cannot be read as an image"):
        read_labeled_crops(crops, few_labels[1])


def test_the_file_at_fault_is_named(tmp_path, few_labels):
    crops, labels = few_labels
    for others in ((labels, labels), (tmp_path / "missing.parquet", labels)):
        with pytest.raises(DataError, match=f"^{others[0]}: not face crops: "):
            read_labeled_crops(*others)
    for others in ((crops, crops), (crops, tmp_path / "missing")):
        with pytest.raises(DataError, match=f"^{others[1]}: not the landmarks of {crops}: "):
            read_labeled_crops(*others)


# Accuracy


def test_accuracy_of_shifted_points(few_labels):
    truth = read_labeled_crops(*few_labels)
    points = truth.points_xyz[..., :2] + np.float32([0.03, 0.04])
    pose = head_pose_deg(np.nan_to_num(truth.points_xyz)).astype(np.float32) + np.float32([1, -2, 3])
    accuracy = measure_accuracy(LandmarkBatch(points, np.ones(10, np.float32), pose), truth)
    interocular = np.linalg.norm(truth.points_xyz[:, 36, :2] - truth.points_xyz[:, 45, :2], axis=1)
    assert accuracy.images == 8
    assert accuracy.mean_error == pytest.approx((0.05 / interocular[truth.is_consistent]).mean(), rel=1e-4)
    assert accuracy.eye_openness_correlation == pytest.approx(1)
    assert (accuracy.yaw_error_deg, accuracy.pitch_error_deg, accuracy.roll_error_deg) == pytest.approx(
        (1, 2, 3), abs=1e-4
    )
    same = np.repeat(points[truth.is_consistent][:1], 10, axis=0)  # one face for all, so nothing to correlate with
    unvaried = measure_accuracy(LandmarkBatch(same, np.ones(10, np.float32), pose), truth)
    assert np.isnan(unvaried.mouth_opening_correlation)


def test_jitter_ignores_even_motion():
    face = face_points()[:, :2] * 100
    steady = np.stack([face, face + np.array([1, 0]), face + np.array([2, 0])])
    jumping = np.stack([face, face + np.array([0, 3]), face])
    interocular = np.linalg.norm(face[36] - face[45])
    jitter, motion = jitter_and_motion(np.concatenate([steady, jumping]), np.array([[0, 1, 2], [3, 4, 5]]))
    assert jitter * interocular == pytest.approx([0, 3])
    assert motion * interocular == pytest.approx([2, 0])


def test_triples_follow_the_nearest_face():
    source = np.array(["a"] * 6 + ["b"])
    frame = np.array([0, 0, 1, 1, 2, 4, 3])
    center = np.array([0, 100, 101, 1, 2, 3, 0], complex)  # faces swap their order, one of them disappears
    triples = adjacent_triples(source, frame, np.full(7, 20 + 0j), center)
    assert triples.tolist() == [[0, 3, 4]]


# Training


def test_moving_a_crop_moves_its_points():
    gray = torch.zeros(200, 48, 48)
    gray[:, 18:21, 30:33] = 255.0  # a square whose center is (31.5, 19.5)
    points = torch.zeros(200, N_POINTS, 2)
    points[:] = torch.tensor([31.5, 19.5]) / 48
    targets = LandmarkTargets(points, torch.zeros(200, 3), torch.ones(200, dtype=torch.bool))
    moved, after = _move(gray, targets, torch.Generator().manual_seed(0))
    weight = moved / moved.sum(dim=(1, 2), keepdim=True)
    axis = torch.arange(48) + 0.5
    center = torch.stack([(weight.sum(dim=1) * axis).sum(dim=1), (weight.sum(dim=2) * axis).sum(dim=1)], dim=1)
    torch.testing.assert_close(center, 48 * after.points_xy[:, 0], atol=0.25, rtol=0)
    assert after.pose_deg[:, :2].abs().max() == 0 and after.pose_deg[:, 2].std() > 1


def test_rolling_a_crop_clockwise_increases_the_roll():
    points = torch.from_numpy(face_points()[None, :, :2].astype(np.float32)).repeat(50, 1, 1)
    targets = LandmarkTargets(points, torch.zeros(50, 3), torch.ones(50, dtype=torch.bool))
    _, after = _move(torch.zeros(50, 48, 48), targets, torch.Generator().manual_seed(0))
    across = after.points_xy[:, 45] - after.points_xy[:, 36]
    torch.testing.assert_close(
        torch.atan2(across[:, 1], across[:, 0]).rad2deg(), after.pose_deg[:, 2], atol=1e-2, rtol=0
    )


def test_augmented_crops_stay_in_range():
    gray = 255 * torch.rand(64, 48, 48, generator=torch.Generator().manual_seed(1))
    targets = LandmarkTargets(torch.rand(64, N_POINTS, 2), torch.zeros(64, 3), torch.ones(64, dtype=torch.bool))
    changed, _ = augment(gray, targets, torch.Generator().manual_seed(2))
    assert changed.shape == gray.shape and changed.min() >= 0 and changed.max() <= 255


def test_losses_are_zero_for_the_right_answer_and_ignore_unknown_faces():
    points = torch.from_numpy(face_points()[None, :, :2].astype(np.float32)).repeat(2, 1, 1)
    targets = LandmarkTargets(points, torch.tensor([[5.0, -3.0, 1.0], [0.0, 0.0, 0.0]]), torch.tensor([True, False]))
    wrong_second = torch.stack([points[0], points[1] + 0.2])
    outputs = LandmarkOutputs(
        wrong_second, torch.tensor([[5.0, -3.0, 1.0], [90.0, 0.0, 0.0]]), torch.tensor([20.0, -20.0])
    )
    assert {name: round(loss.item(), 4) for name, loss in landmark_losses(outputs, targets).items()} == {
        "points": 0, "eyes": 0, "mouth": 0, "pose": 0, "score": 0,
    }  # fmt: skip


def test_weights_of_points_are_on_the_device_of_the_points():
    assert point_weights(torch.device("meta")).device.type == "meta"
    assert point_weights(torch.device("cpu")).mean().item() == pytest.approx(1)


def test_without_a_known_face_only_the_score_is_learned():
    points = torch.from_numpy(face_points()[None, :, :2].astype(np.float32)).repeat(2, 1, 1)
    targets = LandmarkTargets(points, torch.zeros(2, 3), torch.tensor([False, False]))
    outputs = LandmarkOutputs(
        (points + 0.2).requires_grad_(), torch.ones(2, 3).requires_grad_(), torch.zeros(2).requires_grad_()
    )
    losses = landmark_losses(outputs, targets)
    assert {name: round(loss.item(), 4) for name, loss in losses.items()} == {
        "points": 0, "eyes": 0, "mouth": 0, "pose": 0, "score": 0.6931,
    }  # fmt: skip
    sum(losses.values()).backward()
    assert outputs.points_xy.grad is None and outputs.score_logit.grad.tolist() == [0.25, 0.25]


def test_losses_rise_with_each_kind_of_error():
    points = torch.from_numpy(face_points()[None, :, :2].astype(np.float32))
    targets = LandmarkTargets(points, torch.zeros(1, 3), torch.tensor([True]))
    closed, open_mouth = points.clone(), points.clone()
    closed[:, [37, 38], 1] += 0.03
    open_mouth[:, [65, 66, 67], 1] += 0.1
    right = LandmarkOutputs(points, torch.zeros(1, 3), torch.tensor([20.0]))
    losses = [
        landmark_losses(outputs, targets)
        for outputs in (
            right._replace(points_xy=closed),
            right._replace(points_xy=open_mouth),
            right._replace(pose_deg=torch.tensor([[10.0, 0.0, 0.0]])),
            right._replace(score_logit=torch.tensor([-20.0])),
        )
    ]
    assert [{name for name, loss in part.items() if loss > 0.001} for part in losses] == [
        {"points", "eyes"},
        {"points", "mouth"},
        {"pose"},
        {"score"},
    ]


def test_losses_see_lids_that_are_upside_down():
    points = torch.from_numpy(face_points()[None, :, :2].astype(np.float32))
    targets = LandmarkTargets(points, torch.zeros(1, 3), torch.tensor([True]))
    inverted = points.clone()
    inverted[:, [37, 38, 41, 40]] = points[:, [41, 40, 37, 38]]  # the eye aspect ratio is the same
    outputs = LandmarkOutputs(inverted, torch.zeros(1, 3), torch.tensor([20.0]))
    # The right eye, 0.15 wide and open by 0.03, seems open by -0.2 instead of 0.2; nothing is wrong in the left eye.
    # Opening: (0.4 - 0.1 / 2) / 2 eyes; single pairs of lids: 0.3 * 0.4 / 2 eyes.
    assert landmark_losses(outputs, targets)["eyes"].item() == pytest.approx(0.175 + 0.06, abs=0.001)


def test_openings_of_eyes_and_mouth_weigh_five_times_as_much_as_points(few_labels):
    """The gradient of the first step is that of the weighted sum of the losses, up to its length, which is limited."""
    run = TrainingRun(read_labeled_crops(*few_labels), LandmarkRecipe(), CPU)
    network, rows = copy.deepcopy(run.network).train(), torch.arange(len(run.pixels))
    run.network.train()
    run._train_batch(rows, torch.Generator().manual_seed(0))
    gray, targets = augment(run.pixels.float(), run.targets, torch.Generator().manual_seed(0))
    with torch.autocast(CPU.type, run.dtype, enabled=run.dtype != torch.float32):
        outputs = network(((gray / 255 - 0.5) / 0.25)[:, None])
    losses = landmark_losses(outputs, targets)
    (losses["points"] + 5 * losses["eyes"] + 5 * losses["mouth"] + losses["pose"] + 0.1 * losses["score"]).backward()
    gradient, expected = (
        torch.cat([parameter.grad.ravel() for parameter in n.parameters()]) for n in (run.network, network)
    )
    assert torch.cosine_similarity(gradient, expected, dim=0) > 0.999


def test_the_learning_rate_warms_up_and_falls_to_1_percent(few_labels):
    run = TrainingRun(read_labeled_crops(*few_labels), LandmarkRecipe(epochs=1000, batch_size=5), CPU)
    (group,) = run.optimizer.param_groups
    rates = []
    run.train_epoch(lambda: rates.append(group["lr"]))
    assert rates == pytest.approx([2e-3 / 200, 2 * 2e-3 / 200], rel=1e-4)  # ten crops in batches of 5
    for step, rate in ((99, 1e-3), (1000, (0.01 + 0.99 / 2) * 2e-3), (2000, 2e-5)):
        run._set_learning_rate(step)
        assert group["lr"] == pytest.approx(rate, rel=0.01)


@pytest.mark.slow
def test_a_training_resumes_where_it_stopped(few_labels, tmp_path):
    recipe = LandmarkRecipe(epochs=2, batch_size=3)
    whole = train_landmarks([few_labels], tmp_path / "whole", recipe, device="cpu")
    calls = 0

    def stop_in_second_epoch() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_landmarks([few_labels], tmp_path / "halves", recipe, device="cpu", on_batch=stop_in_second_epoch)
    with pytest.raises(RunError, match="Continue it with --resume"):
        train_landmarks([few_labels], tmp_path / "halves", recipe, device="cpu")
    with pytest.raises(RunError, match="seed was 0 and is now 1"):
        other = dataclasses.replace(recipe, seed=1)
        train_landmarks([few_labels], tmp_path / "halves", other, device="cpu", resume=True)
    halves = train_landmarks([few_labels], tmp_path / "halves", recipe, device="cpu", resume=True)
    assert read_card(whole).sha256 == read_card(halves).sha256
    assert read_card(whole).metrics["PrivateTest"]["images"] == 2
    assert Landmarker.load(CPU, whole).predict(torch.zeros((1, 48, 48, 3), dtype=torch.uint8)).points_xy.shape == (
        1,
        70,
        2,
    )


def test_copies_of_test_images_are_excluded_from_training(few_labels, tmp_path):
    crops, labels = few_labels
    images = read_labeled_crops(crops, labels).pixels
    images[0] = images[9]
    copies = write_crops(tmp_path / "copies.parquet", list(images), pq.read_table(crops)["usage"].to_pylist())
    folder = train_landmarks([(copies, labels)], tmp_path / "out", LandmarkRecipe(epochs=1), device="cpu")
    assert read_card(folder).data["crops"] == 5


def test_training_without_labels_is_refused(tmp_path):
    crops = write_crops(tmp_path / "crops.parquet", [np.zeros((48, 48), np.uint8)])
    labels = write_labels(tmp_path / "labels", [(0, face_points(), 0.5, 0.5)])
    with pytest.raises(DataError, match=f"^{labels}: no consistent landmarks of training crops. Label them with"):
        train_landmarks([(crops, labels)], tmp_path / "out", LandmarkRecipe(epochs=1), device="cpu")
