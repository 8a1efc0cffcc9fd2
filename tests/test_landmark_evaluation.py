"""Landmarks of real photographs, the crops for the teacher, and the commands that train and evaluate the network."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from commands import fervid
from conftest import write_clip
from PIL import Image

from fer_models.crops import TEMPLATE_XY, crop_faces, frame_crops
from fer_models.detection import load_detector
from fer_models.landmarks.landmarker import LandmarkBatch, Landmarker
from fer_models.landmarks.measures import measure_faces
from fer_models.landmarks.points import N_POINTS, mirror_points
from fer_models.registry.model_registry import read_card
from fer_models.training.landmarks.cut_crops import as_png, cut_crops
from fer_models.training.landmarks.training import LandmarkRecipe
from flows.training.landmarks import train_and_register

# Iris, iris, nose, and the corners of the mouth, as the detector's five landmarks.
FIVE_POINTS = (68, 69, 30, 48, 54)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """Crops (2, 48, 48, 3) of Eileen Collins, who smiles with closed teeth, and of the same photograph mirrored."""
    skimage_data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")
    pixels = skimage_data.astronaut()[None]
    faces = load_detector("compact", device="cpu").detect(pixels)
    best = faces.select(faces.det_score == faces.det_score.max())
    side, center = frame_crops(torch.from_numpy(best.boxes_xyxy), torch.from_numpy(best.landmarks_xy))
    crop = crop_faces(torch.from_numpy(pixels), torch.zeros(1, dtype=torch.int64), side, center).numpy()
    return np.concatenate([crop, crop[:, :, ::-1]])


@pytest.fixture(scope="module")
def found(photograph) -> LandmarkBatch:
    return Landmarker.load(torch.device("cpu")).predict(torch.from_numpy(photograph))


def test_points_of_a_photograph_lie_where_the_crop_is_aligned(found):
    distance = np.linalg.norm(found.points_xy[0, FIVE_POINTS] - TEMPLATE_XY, axis=1)
    assert distance.max() < 0.1
    assert found.score[0] > 0.5


def test_a_smiling_face_has_open_eyes_and_raised_corners(found):
    measures = measure_faces(found.points_xy)
    assert 0.15 < measures.eye_openness_right[0] < 0.5 and 0.15 < measures.eye_openness_left[0] < 0.5
    assert measures.mouth_corner_height[0] > 0
    assert measures.mouth_width[0] > 0.5


def test_a_mirrored_photograph_has_mirrored_landmarks(found):
    np.testing.assert_allclose(found.points_xy[1], mirror_points(found.points_xy)[0], atol=1e-6)
    np.testing.assert_allclose(found.pose_deg[1], found.pose_deg[0] * [-1, 1, -1], atol=1e-4)
    assert found.score[1] == found.score[0]


@pytest.fixture(scope="module")
def short_clip(tmp_path_factory) -> pa.Table:
    """Crops of six frames of a slow pan over the photograph."""
    photo = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image").astronaut()
    views = (photo[4:244, 80 + i : 400 + i] for i in range(6))
    return pa.concat_tables(cut_crops([write_clip(tmp_path_factory.mktemp("clips") / "pan.mp4", views)]))


def test_crops_for_the_teacher_show_what_the_network_sees(short_clip):
    assert short_clip["frame_index"].to_pylist() == list(range(6))
    assert set(short_clip["source"].to_pylist()) == {"pan.mp4"}
    small, large = (Image.open(io.BytesIO(short_clip[name][3].as_py())) for name in ("image", "teacher_image"))
    assert (small.size, large.size) == ((48, 48), (192, 192))
    difference = np.abs(np.asarray(large.resize((48, 48), Image.Resampling.BOX), float) - np.asarray(small, float))
    assert difference.mean() < 4


def label(folder: Path, points: np.ndarray) -> Path:
    """Write one label for each crop, as the teacher's script does."""
    folder.mkdir()
    rows = [
        {"row": row, "points_xyz": face.ravel(), "single_xyz": face.ravel(), "mirror_error": 0.02, "shift_error": 0.01}
        for row, face in enumerate(points)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "from_row_000000.parquet")
    return folder


def with_depth(points_xy: np.ndarray) -> np.ndarray:
    return np.concatenate([points_xy, np.zeros((*points_xy.shape[:2], 1), np.float32)], axis=2)


@pytest.fixture
def labeled(photograph, found, tmp_path) -> list[str]:
    """Options for crops of all three splits; the labels are what the network finds, shifted by 1 % of the side."""
    darker = photograph // 2  # copies of test images are excluded from training
    files = [as_png(pixels) for pixels in (*darker, *photograph, *photograph)]
    usage = 2 * ["Training"] + 2 * ["PublicTest"] + 2 * ["PrivateTest"]
    pq.write_table(pa.table({"image": files, "usage": usage}), tmp_path / "crops.parquet")
    labels = label(tmp_path / "labels", np.tile(with_depth(found.points_xy + np.float32([0.01, 0])), (3, 1, 1)))
    return ["--crops", str(tmp_path / "crops.parquet"), "--labels", str(labels)]


def test_the_command_measures_accuracy_and_jitter_and_writes_a_page(labeled, short_clip, tmp_path):
    pq.write_table(short_clip, tmp_path / "clips.parquet")
    rng = np.random.default_rng(0)
    points = np.tile(rng.uniform(0.2, 0.8, (1, N_POINTS, 3)), (6, 1, 1)) + rng.normal(0, 0.001, (6, N_POINTS, 3))
    label(tmp_path / "clip_labels", points.astype(np.float32))
    page = tmp_path / "models.md"
    page.write_text("# Facial landmarks\n\nreplaced\n\n# Other\n\ntext\n", encoding="utf-8")
    videos = ["--clips", str(tmp_path / "clips.parquet"), "--clip-labels", str(tmp_path / "clip_labels")]
    run = fervid("evaluate-landmarks", *labeled, *videos, "--seconds", "0.1", "--device", "cpu", "--out", page)
    assert run.exit_code == 0, run.output
    text = page.read_text(encoding="utf-8")
    assert "replaced" not in text and text.endswith("# Other\n\ntext\n")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| P")]
    # Everything was shifted by 1 % of the side, and the outer corners of the eyes are about half a side apart.
    assert [row[:3] for row in rows[:2]] == [["PublicTest", "2", "2"], ["PrivateTest", "2", "2"]]
    assert all(1.5 < float(row[3].removesuffix(" %")) < 3 and row[4] == "1.000" for row in rows[:2])
    assert rows[2] == ["PublicTest", "0", "100.00 %", rows[0][3], "100.00 %"]
    assert "| pan.mp4 | 6 | " in text and "| all | 6 | " in text and "| 0.98 M | " in text


def test_options_that_belong_together_are_checked():
    unequal = fervid("evaluate-landmarks", "--crops", "a", "--crops", "b", "--labels", "c")
    assert unequal.exit_code == 2 and "each --crops needs its --labels" in " ".join(unequal.output.split())
    lone = fervid("evaluate-landmarks", "--crops", "a", "--labels", "b", "--clips", "c")
    assert lone.exit_code == 2 and "belong together" in lone.output
    text = fervid("evaluate-landmarks", "--crops", "a", "--labels", "b", "--out", "x.txt")
    assert text.exit_code == 2 and "x.txt: must end in .md" in text.output


def test_a_network_is_trained_into_the_models_of_the_user(labeled, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    data = [(Path(labeled[1]), Path(labeled[3]))]
    folder = train_and_register.fn(data, "short", LandmarkRecipe(epochs=1), "cpu", False)
    assert folder == tmp_path / "fervid" / "models" / "short"
    card = read_card(folder)
    assert (card.name, card.task) == ("short", "landmarks") and set(card.metrics) == {"PublicTest", "PrivateTest"}
    assert card.protocol.startswith("Against the labels of crops.parquet (labels), ")
    assert "crops and landmarks of crops.parquet (labels)" in card.license_note
