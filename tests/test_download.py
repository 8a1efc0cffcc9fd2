"""Installing weights completely and unchanged: downloads from a real server, files, folders."""

import hashlib
import http.server
import itertools
import json
import os
import pickle
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from clips import analyze_clip
from commands import fervid
from random_retinaface import hide_package, lively_weights

from fer_models.extras import install_command
from fer_models.model_installation.download import fetch_retinaface
from fer_models.model_installation.registration import add_model
from fer_models.model_installation.verification import check_models
from fer_models.registry.model_registry import (
    WeightsError,
    find_model,
    load_model_folder,
    user_models_dir,
)
from flows.analysis.model_bundle import choose_detector, load_models
from flows.cli.doctor import retinaface
from flows.settings import AnalyzeSettings

pytestmark = pytest.mark.slow

network_module = pytest.importorskip("retinaface.model.retinaface_pth_model", reason="retina-face is an extra")


@pytest.fixture(autouse=True)
def models_dir(monkeypatch, tmp_path) -> Path:
    """An empty folder for the user's models."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return user_models_dir()


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory) -> Path:
    """A weights file in the format of the package's server; all values are zero."""
    with torch.device("meta"):
        expected = network_module.RetinaFace().state_dict()
    path = tmp_path_factory.mktemp("weights") / "retinaface.pth"
    torch.save({name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in expected.items()}, path)
    return path


class Server(http.server.ThreadingHTTPServer):
    """Serves one file as /retinaface.pth, and closes the connection after `max_bytes`."""

    file: Path
    max_bytes: int | None = None
    n_requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.n_requests += 1
        if self.path != "/retinaface.pth":
            self.send_error(404)
            return
        content = self.server.file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: self.server.max_bytes])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def weights_server(weights_file, monkeypatch) -> Iterator[Server]:
    """A server on loopback in place of the package's download addresses; the first one answers 404."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.file = weights_file
        urls = [f"http://127.0.0.1:{server.server_port}/{name}" for name in ("moved.pth", "retinaface.pth")]
        monkeypatch.setattr(network_module, "WEIGHTS_URLS", urls)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_weights_are_downloaded_once_and_their_hash_is_noted(weights_server, weights_file, models_dir):
    seen = []
    folder = fetch_retinaface(lambda done, total: seen.append((done, total)))
    size = weights_file.stat().st_size
    assert seen[-1] == (size, size)
    assert len(seen) > 10 and all(before[0] < after[0] for before, after in itertools.pairwise(seen))
    card = load_model_folder(folder)[1]
    assert folder == models_dir / "retinaface"
    assert files_in(models_dir) == ["retinaface/model.json", "retinaface/model.safetensors"]
    assert card.data["source_sha256"] == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    assert card.data["source"].endswith("/retinaface.pth") and "non-commercial" in card.license_note
    assert (card.task, card.score_threshold, card.parameters) == ("detector", 0.9, 29_442_342)
    n_requests = weights_server.n_requests
    assert fetch_retinaface() == folder
    assert add_model("retinaface", folder) == folder  # as with a copy of the folder from another machine
    assert weights_server.n_requests == n_requests


def test_damaged_weights_are_downloaded_again_unless_the_file_has_changed(
    weights_server, weights_file, models_dir, tmp_path
):
    run = fervid("models", "fetch", "retinaface")
    assert run.exit_code == 0, run.output
    assert "available as retinaface" in run.output and "non-commercial" in run.output
    verified = fervid("models", "verify")
    assert (verified.exit_code, len(re.findall(r"retinaface +│ ok ", verified.output))) == (0, 1)

    path = models_dir / "retinaface" / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\1")
    run = fervid("models", "verify")
    assert run.exit_code == 1
    assert "damaged: retinaface" in run.output
    assert re.search(r"retinaface +│ damaged ", run.output)
    assert isinstance(check_models()["retinaface"], WeightsError)

    weights_server.file = tmp_path / "other.pth"
    weights_server.file.write_bytes(weights_file.read_bytes() + b"\0")
    run = fervid("models", "fetch", "retinaface")
    assert run.exit_code == 1
    assert "the file has changed" in run.output and str(path.parent) in run.output

    weights_server.file = weights_file
    assert fervid("models", "fetch", "retinaface").exit_code == 0
    assert fervid("models", "verify").exit_code == 0

    path.with_name("model.json").write_text("{}")
    run = fervid("models")
    assert run.exit_code == 0
    assert re.search(r"retinaface +│ damaged ", run.output) and "invalid model card" in re.sub(
        r"[│\s]+", " ", run.output
    )
    with pytest.raises(WeightsError, match="Known: compact; or"):
        find_model("nobody", "detector")


def test_an_interrupted_download_leaves_nothing(weights_server, models_dir):
    weights_server.max_bytes = 3_000_000
    with pytest.raises(WeightsError, match=r"ended after 3,000,000 of 1\d\d,\d{3},\d{3} bytes"):
        fetch_retinaface()
    assert files_in(models_dir) == []

    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_retinaface(interrupt)
    assert files_in(models_dir) == []


def test_without_a_network_the_address_and_an_alternative_are_named(monkeypatch, models_dir):
    with Server(("127.0.0.1", 0), Handler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/retinaface.pth"
    monkeypatch.setattr(network_module, "WEIGHTS_URLS", [url])
    run = fervid("models", "fetch", "retinaface")
    assert run.exit_code == 1
    line = re.sub(r"\s+", " ", run.output)
    assert f"cannot be downloaded from {url} ([Errno 111] Connection refused)" in line
    assert "`fervid models add retinaface FILE`" in line
    assert files_in(models_dir) == []


class Exploit:
    def __reduce__(self):
        return Path("exploited").touch, ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not weights", "not a file of PyTorch weights"),
        (b"start_s,end_s,label\n0,1,a\n", "not a file of PyTorch weights"),  # "s" is a command of pickle
        (b"", "not a file of PyTorch weights"),
        (pickle.dumps(Exploit(), 2), "not a file of PyTorch weights"),
        ([1, 2], "not a file of PyTorch weights: it must contain a dictionary of tensors"),
        (
            {"conv0.weight": torch.zeros(1)},
            "not the weights of retina-face's RetinaFace: bn_data.weight is missing and",
        ),
    ],
)
def test_a_file_with_something_else_is_refused(tmp_path, monkeypatch, models_dir, content, reason):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "file.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    run = fervid("models", "add", "retinaface", path)
    assert run.exit_code == 1
    assert f"error {path}: {reason}" in run.output
    assert not (tmp_path / "exploited").exists()
    assert files_in(models_dir) == []


def test_weights_of_other_shapes_are_refused(tmp_path, weights_file):
    weights = torch.load(weights_file, weights_only=True, mmap=True)
    weights["conv0.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(weights, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"conv0.weight is \(64, 3, 5, 5\) instead of \(64, 3, 7, 7\)$"):
        add_model("retinaface", tmp_path / "file.pth")


def test_missing_files_and_other_names_are_refused(tmp_path, weights_file):
    run = fervid("models", "add", "retinaface", tmp_path / "missing.pth")
    assert run.exit_code == 1 and "missing.pth: No such file" in run.output
    run = fervid("models", "add", "yolo", weights_file)
    assert run.exit_code == 1 and "a single file is accepted for retinaface only" in run.output
    assert fervid("models", "fetch", "yolo").exit_code == 2


def test_a_model_folder_made_elsewhere_is_added_under_a_name(models_dir):
    packaged = Path(load_model_folder.__code__.co_filename).parents[1] / "weights"
    run = fervid("models", "add", "theirs", packaged / "compact")
    assert run.exit_code == 0, run.output
    card = json.loads((models_dir / "theirs" / "model.json").read_text())
    assert card["name"] == "theirs" and not isinstance(check_models()["theirs"], WeightsError)
    assert fervid("models", "add", "theirs", packaged / "compact").exit_code == 0
    run = fervid("models", "add", "theirs", packaged / "default")
    assert run.exit_code == 1 and "another model has this name" in run.output
    assert fervid("models", "add", "../theirs", packaged / "compact").exit_code == 1


def test_without_weights_auto_is_the_detector_in_the_package(face_clip, tmp_path):
    for device in ("cpu", "cuda"):
        assert choose_detector("auto", torch.device(device)) == ("compact", "included in the package")
    assert retinaface().state == "optional" and "fervid models fetch retinaface" in retinaface().found
    run = fervid("analyze", face_clip, "--out", tmp_path / "out", "--detector", "retinaface", "--dry-run")
    assert run.exit_code == 1
    assert "fervid models fetch retinaface" in run.output and "fervid models add retinaface FILE" in run.output


def test_without_the_package_the_doctor_is_content(monkeypatch, tmp_path):
    hide_package(monkeypatch)
    finding = retinaface()
    assert (finding.state, finding.needed) == ("optional", False)
    assert finding.found == f"not installed (optional): {install_command('retinaface')}"
    (tmp_path / "a.mp4").write_bytes(b"0")
    analyze = ("analyze", tmp_path, "--out", tmp_path / "out", "--detector", "retinaface")
    for command in (("models", "fetch", "retinaface"), analyze):
        run = fervid(*command)
        assert run.exit_code == 1 and "pip install 'retina-face" in run.output


def test_videos_are_analyzed_with_weights_from_a_file(face_clip, server, tmp_path, models_dir):
    torch.save(lively_weights(), tmp_path / "lively.pth")
    assert fervid("models", "add", "retinaface", tmp_path / "lively.pth").exit_code == 0
    doctor = fervid("doctor")
    assert doctor.exit_code == 0 and "and weights for it" in doctor.output
    assert choose_detector("auto", torch.device("cpu"))[0] == "compact"
    assert choose_detector("auto", torch.device("cuda")) == ("retinaface", "its weights and a GPU are available")

    out = tmp_path / "results"
    options = ["--fps", 2, "--device", "cpu", "--detector", "retinaface"]
    environment = {"PREFECT_API_URL": server}
    run = fervid("analyze", face_clip, "--out", out, *options, "--detector-size", 96, env=environment)
    assert run.exit_code == 0, run.output
    assert "detector retinaface (requested) with frames of at most 96 px" in run.output
    (row,) = json.loads(fervid("query", out, "SELECT settings, weights FROM videos", "--format", "json").stdout)
    seen = json.loads(row["settings"])["observe"]
    assert (seen["detector"], seen["detector_size_px"], seen["detector_score_threshold"]) == ("retinaface", 96, 0.9)
    assert json.loads(row["weights"])["detector"] == load_model_folder(models_dir / "retinaface")[1].sha256
    (row,) = json.loads(fervid("query", out, "SELECT count(*) AS n FROM faces", "--format", "json").stdout)
    assert row["n"] > 0

    settings = AnalyzeSettings(fps=2, device="cpu", detector="retinaface", detector_size_px=64)
    assert analyze_clip(face_clip, out, settings).status == "done"  # other weights, so the video is analyzed again


def test_the_size_caps_the_compact_detector_too(face_clip, tmp_path):
    models = [load_models(AnalyzeSettings(device="cpu", detector_size_px=size_px)) for size_px in (None, 160)]
    assert [model.detector.max_side_px for model in models] == [640, 160]
    assert "with frames of at most 160 px" in models[1].describe()
    outcomes = [
        analyze_clip(face_clip, tmp_path / "out", AnalyzeSettings(device="cpu", fps=2, detector_size_px=size))
        for size in (None, 160, 160)
    ]
    assert [outcome.status for outcome in outcomes] == ["done", "done", "unchanged"]
