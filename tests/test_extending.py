"""Each extension described in docs/extending.md is made once, from Python."""

import numpy as np
import pytest
import torch
from clips import CPU, analyze_clip
from commands import fervid
from scenes import Face, feeling, observe
from streamlit.testing.v1 import AppTest
from torch import nn

from analytics import query
from analytics.exports import FORMATS, export_videos
from analytics.results.store import Store
from analytics.timeline.build import TimelineConfig, build_timeline
from dashboard.data.results import ENVIRONMENT
from fer_models import EMOTIONS, FaceBatch, load_classifier, load_detector
from fer_models.classification.architectures import ARCHITECTURES, architecture_options, build_network
from fer_models.detection import DETECTORS
from fer_models.model_installation.registration import add_model
from fer_models.registry.model_registry import ModelCard, WeightsError, read_card, save_model_folder
from fer_models.training.emotion.recipes import recipe_for


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


@pytest.fixture
def results(tmp_path):
    """A second of one happy person."""
    timeline = build_timeline(
        observe(np.arange(10) / 10, [Face(i, p=feeling("happy")) for i in range(10)]), TimelineConfig()
    )
    store = Store(tmp_path / "results")
    about = {"width_px": 640, "height_px": 360, "duration_s": 1.0, "avg_fps": 10.0}
    row = {"video_id": "v0000000000000001", "analysis_id": "a0000000000000001", "path": "in/alice.mp4"}
    store.commit_analysis(row | about, timeline)
    return store.root


class MyDetector:
    """Finds one face in the middle of every frame."""

    def __init__(self, name, sha256, score_threshold):
        self.name, self.sha256, self.score_threshold = name, sha256, score_threshold
        self.max_side_px, self.precision = 640, "fp32"

    @classmethod
    def load(cls, folder, *, device):
        card = read_card(folder)
        return cls(card.name, card.sha256, card.score_threshold)

    def detect(self, pixels):
        n, height, width = pixels.shape[:3]
        box = np.array([width / 4, height / 4, width * 3 / 4, height * 3 / 4], np.float32)
        landmarks = np.zeros((n, 5, 2), np.float32)
        return FaceBatch(np.arange(n), np.tile(box, (n, 1)), landmarks, np.full(n, 0.9, np.float32))


def test_a_detector_in_the_table_is_used_by_its_card(tmp_path, monkeypatch, face_clip):
    card = ModelCard("theirs", "detector", "my_detector", score_threshold=0.5)
    save_model_folder(tmp_path / "theirs", {"weight": torch.zeros(1)}, card)
    with pytest.raises(WeightsError, match=r"unknown architecture 'my_detector'\. Known: compact, retinaface"):
        add_model("mine", tmp_path / "theirs")
    monkeypatch.setitem(DETECTORS, "my_detector", MyDetector.load)
    add_model("mine", tmp_path / "theirs")
    detector = load_detector("mine", "cpu", max_side_px=320)
    assert (detector.name, detector.score_threshold, detector.max_side_px) == ("mine", 0.5, 320)
    faces = detector.detect(np.zeros((2, 40, 80, 3), np.uint8))
    np.testing.assert_array_equal(faces.boxes_xyxy, [[20, 10, 60, 30]] * 2)
    unknown = fervid("analyze", face_clip, "--out", tmp_path / "out", "--detector", "yours", "--dry-run")
    assert (unknown.exit_code, "yours: no such model. Known: compact, mine" in unknown.output) == (1, True)
    for name in ("mine", str(tmp_path / "theirs")):
        settings = CPU.model_copy(update={"detector": name, "fps": 5, "detect_every_s": 0})
        analyze_clip(face_clip, tmp_path / "results", settings)
    rows = query(tmp_path / "results", "SELECT DISTINCT x1_px, y2_px FROM faces").to_pylist()
    assert rows == [{"x1_px": 80, "y2_px": 180}]


class MyNetwork(nn.Module):
    """The logits are the mean of the crop times a weight per emotion."""

    def __init__(self, outputs=7):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return x.mean(dim=(1, 2, 3))[:, None] * self.weight


def test_an_architecture_in_the_table_can_be_trained_saved_and_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "my_network", MyNetwork)
    recipe = recipe_for("my_network")
    assert recipe.architecture == "my_network" and recipe.epochs == recipe_for("face_resnet_se").epochs
    options = architecture_options("my_network", input_size_px=recipe.input_size_px, outputs=7)
    network = build_network("my_network", options)
    with torch.no_grad():
        network.weight[EMOTIONS.index("happy")] = float(np.log(4))
    card = ModelCard("theirs", "emotion", "my_network", options, EMOTIONS, recipe.input_size_px, 1)
    save_model_folder(tmp_path / "theirs", network.state_dict(), card)
    add_model("mine", tmp_path / "theirs")
    # The mean of the crop is 1, so happy has four times the probability of each other emotion.
    white = np.full((1, 40, 40), 255, np.uint8)
    np.testing.assert_allclose(
        load_classifier("mine", "cpu").predict(white)[0], [0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1], atol=0.005
    )


def test_an_export_format_in_the_table_is_offered(results, tmp_path, monkeypatch):
    def write_my_format(connection, video, path):
        n_faces = connection.sql(f"SELECT count(*) FROM faces WHERE video_id = '{video.video_id}'").fetchall()[0][0]
        path.write_text(f"{video.path},{n_faces}\n")

    monkeypatch.setitem(FORMATS, "my_format", (".my.csv", write_my_format))
    (path,) = export_videos(results, tmp_path / "out", "my_format")
    assert path.name == "alice.my.csv"
    assert path.read_text() == "in/alice.mp4,10\n"


PAGE = """
import streamlit as st

from analytics import connect
from dashboard.data.results import current_results


def main():
    with connect(current_results().root) as connection:
        st.metric("faces", connection.sql("SELECT count(*) FROM faces").fetchall()[0][0])


main()
"""


def test_a_dashboard_page_gets_the_results_and_asks_analytics(results, tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(results))
    (tmp_path / "my_page.py").write_text(PAGE)
    shown = AppTest.from_file(tmp_path / "my_page.py", default_timeout=300).run()
    assert not shown.exception
    assert [(metric.label, metric.value) for metric in shown.metric] == [("faces", "10")]
