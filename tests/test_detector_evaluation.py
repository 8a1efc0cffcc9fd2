"""Detectors judged: thresholds at a precision, landmark errors, clips, the command and its page."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from fer_models.datasets.face_photos import FaceDataError
from fer_models.evaluation.clips import ClipCount, _count_frame, agreed_faces, find_clips
from fer_models.evaluation.detector_metrics import (
    Candidate,
    Matches,
    TruePhoto,
    detect_mirrored,
    landmark_errors,
    read_true_photos,
)
from fer_models.evaluation.references import ReferenceDetectorError, RetinaFaceReference, load_reference
from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_registry import WeightsError
from flows.cli.app import app


def faces(boxes: list[list[float]], score: list[float], landmarks: np.ndarray | None = None) -> FaceBatch:
    k = len(boxes)
    points = np.zeros((k, 5, 2), np.float32) if landmarks is None else landmarks
    return FaceBatch(np.zeros(k, np.int64), np.array(boxes, np.float32).reshape(-1, 4), points, np.array(score))


def test_the_threshold_at_a_precision_worked_out_by_hand():
    score, px = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.5]), np.array([30, 30, 30, 30, 30, 10])
    found = Matches(score, np.array([True, True, False, True, False, False]), px, np.array([0.9, 0.8, 0.7]))
    # From 0.9 on 1 of 1, from 0.8 on 2 of 3 (never between two hits of one score), from 0.7 on 3 of 4, 0.6: 3 of 5.
    assert found.threshold_at_precision(1.0) == 0.9
    assert found.threshold_at_precision(0.7) == 0.7
    assert found.threshold_at_precision(0.6) == 0.6
    assert found.threshold_at_precision(0.5) == 0.5 and found.threshold_at_precision(0.5, min_px=24) == 0.6
    assert found.precision(0.5) == 0.5 and found.precision(0.5, min_px=24) == 0.6
    none = Matches(np.empty(0), np.empty(0, bool), np.empty(0), np.empty(0))
    assert np.isnan(none.threshold_at_precision(0.9))


def test_average_precision_counts_equal_scores_as_one_point():
    """One hit of two is a face at 0.9, and the second face is found at 0.5: 0.5 * 2 / 3 + 0.5 * 2 / 3."""
    px, face_score = np.full(3, 30.0), np.array([0.9, 0.5])
    for is_face in ([True, False, True], [False, True, True]):
        found = Matches(np.array([0.9, 0.9, 0.5]), np.array(is_face), px, face_score)
        assert found.average_precision() == pytest.approx(2 / 3)
    apart = Matches(np.array([0.9, 0.8, 0.5]), np.array([True, False, True]), px, face_score)
    assert apart.average_precision() == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_landmark_errors_worked_out_by_hand():
    box = [10.0, 10, 50, 50]
    theirs = np.array([[[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]]], np.float32)
    photo = TruePhoto(np.zeros((60, 60, 3), np.uint8), np.array([box], np.float32), np.array(["bare"]))
    judged, teacher = faces([box], [0.9], theirs + np.array([3, 4])), faces([box], [0.9], theirs)
    assert landmark_errors([photo], [judged], [teacher], threshold=0.5).tolist() == [0.25]  # 5 px over 20 px
    weak = faces([box], [0.4], theirs)
    assert len(landmark_errors([photo], [judged], [weak], threshold=0.5)) == 0
    profile = faces([box], [0.9], theirs * np.array([0.3, 1]))  # eyes 6 px apart in a face of 40 px
    assert len(landmark_errors([photo], [judged], [profile], threshold=0.5)) == 0


def test_faces_of_a_mirror_image_are_mirrored_back():
    def detect(pixels: np.ndarray) -> FaceBatch:
        """Finds the bright pixels' box, with landmarks in its corners and its middle."""
        y, x = np.nonzero(pixels[0, ..., 0])
        x0, y0, x1, y1 = x.min(), y.min(), x.max() + 1, y.max() + 1
        points = [[x0, y0], [x1, y0], [x0 + 1, y1], [x0, y1], [x1, y1]]
        return faces([[x0, y0, x1, y1]], [0.9], np.array([points], np.float32))

    pixels = np.zeros((1, 20, 50, 3), np.uint8)
    pixels[:, 4:12, 5:15] = 255
    found, back = detect(pixels), detect_mirrored(detect, pixels)
    assert back.boxes_xyxy.tolist() == found.boxes_xyxy.tolist()
    assert back.landmarks_xy[0, [0, 1, 3, 4]].tolist() == found.landmarks_xy[0, [0, 1, 3, 4]].tolist()
    assert back.landmarks_xy[0, 2].tolist() == [14, 12]  # one pixel from the other side


def test_what_references_agree_on_and_what_a_detector_sees_alone():
    both, small, lone = [0.0, 0, 40, 40], [100.0, 0, 110, 10], [200.0, 0, 240, 40]
    assert agreed_faces(np.array([both, small, lone]), np.array([both, small])).tolist() == [both]
    hits = {
        "ours": faces([lone, [0, 0, 36, 40], [300, 0, 340, 40]], [0.9, 0.8, 0.3]),
        "first": faces([both, lone], [0.9, 0.1]),
        "second": faces([both, [300, 0, 340, 40]], [0.9, 0.6]),
    }
    candidates = {name: Candidate(lambda pixels: FaceBatch.empty(), 0.5) for name in hits}
    count = ClipCount("a", found=dict.fromkeys(hits, 0), alone=dict.fromkeys(hits, 0))
    _count_frame(count, hits, candidates, ("first", "second"))
    # Ours alone sees what the first gives 0.1; what the second sees at (300, 0), ours sees weakly.
    assert count.agreed == 1 and count.found == {"ours": 1, "first": 1, "second": 1}
    assert count.alone == {"ours": 1, "first": 0, "second": 0}


def test_references_that_cannot_be_had_are_named(tmp_path):
    with pytest.raises(ReferenceDetectorError, match="known: yunet"):
        load_reference("nobody", tmp_path)
    with pytest.raises(WeightsError, match=r"retinaface_mobilenet025\.pth: no such file"):
        load_reference("retinaface_mobilenet025", tmp_path)
    torn = tmp_path / "retinaface_mobilenet025.pth"
    torn.write_bytes(b"torn")
    with pytest.raises(WeightsError, match="not the weights"):
        RetinaFaceReference(torn)


def test_photographs_that_are_none_are_named(tmp_path):
    path = tmp_path / "broken.parquet"
    pq.write_table(pa.table({"image": [b"no picture"], "faces": [[]]}), path)
    result = CliRunner().invoke(app, ["evaluate-detector", "--data", str(path)])
    assert result.exit_code == 1 and "known faces" in result.output and "Traceback" not in result.output
    pq.write_table(pa.table({"image": [b"no picture"], "faces": [[]]}).slice(0, 0), path)
    with pytest.raises(FaceDataError, match="holds no photograph"):
        read_true_photos(path)
    with pytest.raises(FaceDataError, match="holds no clip"):
        find_clips(tmp_path)


def test_options_that_need_others():
    run = CliRunner().invoke
    lone = run(app, ["evaluate-detector", "--data", "x", "--against", "yunet"])
    assert lone.exit_code == 2 and "--references" in lone.output
    blind = run(app, ["evaluate-detector", "--data", "x", "--clips", "."])
    assert blind.exit_code == 2 and "both references" in blind.output


def test_the_command_compares_and_writes_a_page(shared_data: Path, tmp_path):
    pytest.importorskip("cv2", reason="YuNet runs in OpenCV")
    some, clips, page = tmp_path / "some.parquet", tmp_path / "clips", tmp_path / "page.md"
    pq.write_table(pq.read_table(shared_data / "faces" / "eval.parquet")[:10], some)
    assert len(read_true_photos(some)) == 10
    clips.mkdir()
    (clips / "single_face.mp4").symlink_to(shared_data / "videos" / "faces" / "single_face.mp4")
    arguments = ["--against", "yunet", "--against", "retinaface_mobilenet025", "--seconds", "0.1"]
    arguments += ["--references", str(shared_data / "detectors"), "--clips", str(clips), "--out", str(page)]
    result = CliRunner().invoke(app, ["evaluate-detector", "--data", str(some), *arguments])
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert f"--against yunet --against retinaface_mobilenet025 --references {shared_data / 'detectors'}" in text
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    rows = {row[0]: row[1:] for row in cells}
    assert float(rows["precision"][0]) > 0.5 and "compact at 0.50" in text
    frames, agreed, ours, first, second = rows["single_face.mp4"][:5]
    assert frames == "12" and int(agreed) > 9 and float(ours) > 0.9 and (first, second) == ("1.000", "1.000")
    assert all(float(speed) > 0 for speed in rows["yunet"][:2])
