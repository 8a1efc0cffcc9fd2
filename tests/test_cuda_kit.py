"""The benchmark kit for a GPU machine, run on the CPU without the packages that such a machine lacks."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_clip

from benchmarks.cuda.pack import main as pack_main
from benchmarks.cuda.packed_faces import unpack_faces
from benchmarks.cuda.report import Clock
from benchmarks.cuda.speed import marked_rows, measure_classifier_chunks, measure_detector_chunks
from fer_models.classification.loading import load_classifier
from fer_models.datasets.reading import read_data
from fer_models.detection import load_detector

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
KIT = ROOT / "benchmarks" / "cuda"
NOT_THERE = ("altair", "analytics", "dashboard", "decord", "duckdb", "flows", "prefect", "streamlit")
# Python imports this module when it starts; afterwards, the packages cannot be found.
BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {NOT_THERE}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def pack(few_faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of a few faces and two frames of a clip, without Python packages."""
    photo = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image").astronaut()
    out = tmp_path_factory.mktemp("pack")
    clip = write_clip(out.parent / "collins.mp4", [photo[4:244, 40:360], photo[4:244, 42:362]])
    options = ["--data", few_faces, "--video", clip, "--out", out, "--crf", 10, "--without-packages"]
    pack_main([str(option) for option in options])
    return out


def test_packed_faces_are_the_same_but_for_a_little_noise(pack: Path, few_faces: Path) -> None:
    given, packed = read_data(few_faces).splits, unpack_faces(pack / "faces.npz")
    assert list(packed) == ["Training", "PublicTest"]  # PrivateTest is not packed, so that nothing can be chosen by it
    for split, images in packed.items():
        for name in ("label", "votes", "majority", "row", "is_copy"):
            assert torch.equal(getattr(images, name), getattr(given[split], name))
        error = (images.pixels.int() - given[split].pixels.int()).abs()
        assert error.float().mean() < 2


def test_tables_say_that_the_time_is_over() -> None:
    over = Clock(0)
    frames, detector = {"360p": np.zeros((1, 64, 64, 3), np.uint8)}, load_detector("compact", device="cpu")
    rows = measure_detector_chunks(frames, detector, 0, over)
    assert rows == [{"clip": "360p", "frames at a time": "not run: time is over"}]
    rows = measure_classifier_chunks(torch.zeros(1, 1, 48, 48), load_classifier("default", "cpu"), 0, over)
    assert rows == [{"faces at a time": "not run: time is over"}]
    assert marked_rows({}, "n", "frames/s", {1: 5.0, 2: 7.0}, (1, 2, 4)) == [
        {"n": 1, "frames/s": 5.0, "best": False},
        {"n": 2, "frames/s": 7.0, "best": True},
        {"n": "not run: time is over"},
    ]


def test_everything_runs_on_a_cpu_without_our_other_packages(pack: Path, one_thread: None, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKER)
    out = tmp_path / "out"
    command = ["bash", KIT / "run.sh", "--out", out, "--pack", pack, "--device", "cpu", "--seconds", 2000, "--quick"]
    command += ["--frames", 2, "--images", 16, "--architectures", "face_resnet_se cnn4"]
    environment = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]

    checked = json.loads((out / "phase_a.json").read_text())
    passed = {title: [row.get("passed") for row in rows] for title, rows in checked.items() if "passed" in rows[0]}
    assert passed == {
        "Detector against the CPU": [True] * 6,
        "Crops against the CPU": [True] * 3,
        "Classifier against the CPU": [True] * 2,
        "Landmarks against the CPU": [True] * 2,
        "Turned crops against the CPU": [True] * 2,
        "Batch sizes": [True] * 3,
        "Out of memory": [True] * 2,
        "RetinaFace's network against the CPU": [True, None],
    }
    measured = {(row["clip"], row["batches"], row["videos at once"]) for row in checked["Whole pipeline"]}
    assert measured == {(c, b, n) for c in ("360p", "720p", "1080p") for b in ("usual", "of 4") for n in (1, 2)}
    assert all(row["frames/s"] > 0 for row in checked["Stages alone, 1080p"])

    trained = json.loads((out / "phase_b.json").read_text())
    models = ["cuda-face-resnet-se-labels", "cuda-face-resnet-se", "cuda-cnn4"]
    assert [row["model"] for name in ("face_resnet_se", "cnn4") for row in trained[name]] == models
    assert len(list(out.iterdir())) <= 8
    assert max(path.stat().st_size for path in out.iterdir()) <= 16 * 2**20
    (tmp_path / "models.tar").write_bytes(b"".join(path.read_bytes() for path in sorted(out.glob("models.tar.*"))))
    with tarfile.open(tmp_path / "models.tar") as archive:
        archive.extractall(tmp_path / "models", filter="data")
    for model in models:
        scores = load_classifier(str(tmp_path / "models" / model), "cpu").predict(np.zeros((1, 48, 48), np.uint8))
        assert scores.sum() == pytest.approx(1, abs=1e-5)
