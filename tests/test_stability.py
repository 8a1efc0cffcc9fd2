"""Stability in video: manually computed values of adjacent frames, and those of a real clip."""

import json

import numpy as np
import pytest
from commands import fervid
from conftest import write_clip

from fer_models.evaluation.stability import Stability, measure_stability
from flows.training.stability import evaluate_on_videos

A, B, C = [0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.8, 0.1]


def test_only_adjacent_frames_of_one_person_are_compared():
    # Person 1: A B in frames 3 4, then C in frame 6 after a gap. Person 2: C A in frames 4 5. The rows are unordered.
    rows = [(2, 5, A), (1, 6, C), (1, 3, A), (2, 4, C), (1, 4, B)]
    track, frame, probabilities = (np.array(column) for column in zip(*rows, strict=True))
    # A to B: half of |0.2| + |0.2| = 0.2, no change of label. C to A: half of 0.6 + 0.6 = 0.6, another label.
    assert measure_stability(track, frame, probabilities) == Stability(pairs=2, label_changes=0.5, total_variation=0.4)


def test_without_pairs_the_values_are_none():
    for rows in ([], [(1, 0, A)], [(1, 0, A), (2, 1, A)], [(1, 0, A), (1, 2, A)]):
        track, frame = (np.array([row[i] for row in rows], int) for i in (0, 1))
        found = measure_stability(track, frame, np.array([row[2] for row in rows]).reshape(-1, 3))
        assert found == Stability(pairs=0, label_changes=None, total_variation=None)


@pytest.mark.slow
def test_a_model_is_evaluated_on_a_clip(shared_data):
    clip = shared_data / "videos" / "faces" / "single_face.mp4"
    run = fervid("evaluate", "default", "--video", clip, "--device", "cpu", "--json")
    assert run.exit_code == 0, run.output
    figures = json.loads(run.stdout)["videos"][str(clip)]
    assert figures["pairs"] == 71  # 72 frames, each with one face, give 71 pairs
    changes = figures["label_changes"] * 71
    assert changes == pytest.approx(round(changes), abs=0.01)
    assert 0 < figures["total_variation"] < 0.2


@pytest.mark.slow
def test_videos_of_the_same_name_in_two_folders_are_both_measured(tmp_path):
    # A photograph without change for 6 and for 9 frames: 5 and 8 pairs of adjacent frames. The last file is a copy.
    photo = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image").astronaut()
    clips = {tmp_path / name / "face.mp4": n_frames for name, n_frames in (("a", 6), ("b", 9), ("c", 6))}
    for clip, n_frames in clips.items():
        clip.parent.mkdir()
        write_clip(clip, [photo[:240, 60:380]] * n_frames)
    videos = [argument for clip in clips for argument in ("--video", clip)]
    run = fervid("evaluate", "default", *videos, "--device", "cpu", "--json")
    assert run.exit_code == 0, run.output
    measured = json.loads(run.stdout)["videos"]
    assert {path: figures["pairs"] for path, figures in measured.items()} == {
        str(clip): n_frames - 1 for clip, n_frames in clips.items()
    }


@pytest.mark.slow
def test_the_environment_does_not_change_the_figures(tmp_path, monkeypatch):
    photo = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image").astronaut()
    clip = write_clip(tmp_path / "face.mp4", [photo[:240, 60:380]] * 6)
    for name, value in (("FPS", "5"), ("MIN_FACE_PX", "500"), ("BATCH_SIZE", "4"), ("SPEECH", "only")):
        monkeypatch.setenv(f"FERVID_{name}", value)
    assert evaluate_on_videos("default", [clip], "cpu")[clip].pairs == 5


def test_missing_videos_are_named_before_the_images_are_read(tmp_path):
    missing, data = tmp_path / "nix.mp4", tmp_path / "no_data"
    run = fervid("evaluate", "default", "--video", missing, "--data", data)
    assert (run.exit_code, run.output) == (1, f"error {missing}: no such file: check its name\n")
    run = fervid("evaluate", "default", "--video", tmp_path, "--data", data)
    assert (run.exit_code, run.output) == (1, f"error {tmp_path}: is a folder: give a regular file\n")


def test_evaluate_needs_images_or_videos():
    run = fervid("evaluate", "default")
    assert run.exit_code == 2
    assert "--data" in run.output and "--video" in run.output


@pytest.mark.parametrize("option", [["--tta"], ["--split", "PublicTest"]])
def test_options_about_labeled_faces_need_them(option):
    run = fervid("evaluate", "default", "--video", "x.mp4", *option)
    assert run.exit_code == 2
    assert "need --data" in " ".join(run.output.split())


@pytest.mark.slow
def test_a_video_that_cannot_be_analyzed_is_reported(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    run = fervid("evaluate", "default", "--video", broken, "--device", "cpu")
    assert run.exit_code == 1
    assert "broken.mp4" in run.output
