"""Evaluation of detectors: thresholds, landmark errors, clips, references, and the command."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import fervid
from PIL import Image

from fer_models.datasets.face_photos import FaceDataError, read_photos
from fer_models.evaluation.clips import ClipCount, _count_frame, agreed_faces, find_clips
from fer_models.evaluation.detector_comparison import photograph_table
from fer_models.evaluation.detector_metrics import (
    Candidate,
    Evaluation,
    Matches,
    TruePhoto,
    detect_mirrored,
    landmark_errors,
    read_true_photos,
)
from fer_models.evaluation.references import (
    REFERENCES,
    ReferenceDetectorError,
    RetinaFaceReference,
    decode_centerface,
    load_reference,
)
from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_registry import WeightsError
from flows.cli.commands.detectors import Reference

pytestmark = pytest.mark.slow


def faces(boxes: list[list[float]], score: list[float], landmarks: np.ndarray | None = None) -> FaceBatch:
    k = len(boxes)
    points = np.zeros((k, 5, 2), np.float32) if landmarks is None else landmarks
    return FaceBatch(np.zeros(k, np.int64), np.array(boxes, np.float32).reshape(-1, 4), points, np.array(score))


def test_the_threshold_at_a_precision():
    score, px = np.array([0.9, 0.8, 0.8, 0.7, 0.6, 0.5]), np.array([30, 30, 30, 30, 30, 10])
    found = Matches(score, np.array([True, True, False, True, False, False]), px, np.array([0.9, 0.8, 0.7]))
    # Correct at a threshold of 0.9: 1 of 1; 0.8: 2 of 3 (equal scores stay together); 0.7: 3 of 4; 0.6: 3 of 5.
    assert found.threshold_at_precision(1.0) == 0.9
    assert found.threshold_at_precision(0.7) == 0.7
    assert found.threshold_at_precision(0.6) == 0.6
    assert found.threshold_at_precision(0.5) == 0.5 and found.threshold_at_precision(0.5, min_px=24) == 0.6
    assert found.precision(0.5) == 0.5 and found.precision(0.5, min_px=24) == 0.6
    none = Matches(np.empty(0), np.empty(0, bool), np.empty(0), np.empty(0))
    assert np.isnan(none.threshold_at_precision(0.9))


def test_average_precision_counts_equal_scores_as_one_point():
    """At 0.9, one of two detections is a face; the other face is found at 0.5: 0.5 * 2 / 3 + 0.5 * 2 / 3."""
    px, face_score = np.full(3, 30.0), np.array([0.9, 0.5])
    for is_face in ([True, False, True], [False, True, True]):
        found = Matches(np.array([0.9, 0.9, 0.5]), np.array(is_face), px, face_score)
        assert found.average_precision() == pytest.approx(2 / 3)
    apart = Matches(np.array([0.9, 0.8, 0.5]), np.array([True, False, True]), px, face_score)
    assert apart.average_precision() == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_landmark_errors_are_relative_to_the_interocular_distance():
    box = [10.0, 10, 50, 50]
    theirs = np.array([[[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]]], np.float32)
    photo = TruePhoto(np.zeros((60, 60, 3), np.uint8), np.array([box], np.float32), np.array(["bare"]))
    judged, teacher = faces([box], [0.9], theirs + np.array([3, 4])), faces([box], [0.9], theirs)
    assert landmark_errors([photo], [judged], [teacher], threshold=0.5).tolist() == [0.25]  # 5 px over 20 px
    weak = faces([box], [0.4], theirs)
    assert len(landmark_errors([photo], [judged], [weak], threshold=0.5)) == 0
    profile = faces([box], [0.9], theirs * np.array([0.3, 1]))  # eyes 6 px apart in a face of 40 px
    assert len(landmark_errors([photo], [judged], [profile], threshold=0.5)) == 0


def test_faces_of_mirrored_frames_are_mirrored_back():
    def detect(pixels: np.ndarray) -> FaceBatch:
        """Return the box of the bright pixels, with landmarks at its corners and near its left bottom corner."""
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


def test_agreed_faces_and_unconfirmed_detections_are_counted():
    both, small, lone = [0.0, 0, 40, 40], [100.0, 0, 110, 10], [200.0, 0, 240, 40]
    assert agreed_faces(np.array([both, small, lone]), np.array([both, small])).tolist() == [both]
    hits = {
        "ours": faces([lone, [0, 0, 36, 40], [300, 0, 340, 40]], [0.9, 0.8, 0.3]),
        "first": faces([both, lone], [0.9, 0.1]),
        "second": faces([both, [300, 0, 340, 40]], [0.9, 0.6]),
    }
    candidates = {name: Candidate(lambda pixels: FaceBatch.empty(), 0.5) for name in hits}
    count = ClipCount("a", found=dict.fromkeys(hits, 0), unconfirmed=dict.fromkeys(hits, 0))
    _count_frame(count, hits, candidates, ("first", "second"))
    # `first` gives `lone` a score of 0.1 only, which does not confirm it; `ours` gives (300, 0) 0.3, which does.
    assert count.agreed == 1 and count.found == {"ours": 1, "first": 1, "second": 1}
    assert count.unconfirmed == {"ours": 1, "first": 0, "second": 0}


def test_outputs_of_centerface_are_decoded_and_overlapping_faces_suppressed():
    heat_map, log_size, offset = np.zeros((8, 8), np.float32), np.zeros((2, 8, 8)), np.zeros((2, 8, 8))
    landmarks = np.full((10, 8, 8), 0.5)
    heat_map[2, 4], heat_map[2, 5], heat_map[6, 1], heat_map[0, 0] = 0.9, 0.8, 0.6, 0.04
    log_size[0], log_size[1] = np.log(4), np.log(3)  # in strides of 4 px: 16 px high, 12 px wide
    offset[0, 2, 4], offset[1, 2, 4] = 0.25, -0.5
    landmarks[0, 2, 4], landmarks[1, 2, 4] = 0.25, 0.0
    faces = decode_centerface(heat_map, log_size, offset, landmarks)
    np.testing.assert_allclose(faces.det_score, [0.9, 0.6])
    # Centers: x = (4 - 0.5 + 0.5) * 4 = 16, y = (2 + 0.25 + 0.5) * 4 = 11; x = 6, y = 26.
    np.testing.assert_allclose(faces.boxes_xyxy, [[10, 3, 22, 19], [0, 18, 12, 34]], atol=1e-4)
    np.testing.assert_allclose(faces.landmarks_xy[0, :2], [[10, 7], [16, 11]], atol=1e-4)


def test_centerface_finds_a_portrait(shared_data):
    pytest.importorskip("cv2", reason="CenterFace runs in OpenCV")
    skimage_data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")
    faces = load_reference("centerface", shared_data / "detectors")(skimage_data.astronaut()[None, :230, 100:350])
    best = faces.select(faces.det_score >= 0.5)
    assert best.frame.tolist() == [0]
    np.testing.assert_allclose(best.boxes_xyxy[0], [80, 68, 165, 180], atol=25)
    by_eye = [[103, 110], [140, 111], [120, 130], [107, 150], [140, 150]]
    np.testing.assert_allclose(best.landmarks_xy[0], by_eye, atol=10)


def test_the_recall_at_a_precision_is_that_of_one_kind_of_large_faces():
    score = np.array([0.9, 0.8, 0.7, 0.6])
    found = Matches(score, np.array([True, True, False, True]), np.full(4, 30.0), np.array([0.9, 0.8, 0.6, 0.0, 0.6]))
    kind, px = np.array(["bare", "masked", "bare", "bare", "bare"]), np.array([30, 30, 30, 30, 20])
    evaluation = Evaluation(found, found, px, kind, [])
    assert evaluation.recall_at_precision("bare", 1.0) == pytest.approx(1 / 3)  # threshold 0.8
    assert evaluation.recall_at_precision("bare", 0.75) == pytest.approx(2 / 3)  # threshold 0.6
    assert evaluation.recall_at_precision("masked", 0.75) == 1
    assert np.isnan(evaluation.recall_at_precision("badly_masked", 0.75))
    rows = dict(photograph_table({"a": evaluation}, {"a": 0.65}, level_with=None).rows)
    assert rows["precision"] == "0.667" and rows["recall"] == "0.400"
    assert rows["precision: detections of 12 to 24 px"] == "-"  # there are none


def test_a_precision_that_a_detector_never_reaches_has_no_recall():
    score, kind, px = np.array([0.9, 0.8]), np.array(["bare", "bare"]), np.full(2, 30.0)
    right, half = (Matches(score, np.array(is_face), px, score) for is_face in ([True, True], [False, True]))
    evaluations = {"a": Evaluation(right, right, px, kind, []), "b": Evaluation(half, half, px, kind, [])}
    table = photograph_table(evaluations, {"a": 0.5, "b": 0.5}, level_with="a")
    assert table.columns == ["", "a at 0.50", "b at 0.50", "b at no threshold, precision of a"]
    rows = {name: cells for name, *cells in table.rows}
    assert rows["precision"] == ["1.000", "0.500", "-"]
    assert rows["recall"] == rows["recall: bare, 24 to 48 px (2 faces)"] == ["1.000", "1.000", "-"]


def test_the_command_offers_every_reference():
    assert {reference.value for reference in Reference} == REFERENCES.keys()


def test_missing_or_damaged_references_are_reported(tmp_path):
    with pytest.raises(ReferenceDetectorError, match="Known: yunet"):
        load_reference("nobody", tmp_path)
    with pytest.raises(WeightsError, match=r"retinaface_mobilenet025\.pth: no such file"):
        load_reference("retinaface_mobilenet025", tmp_path)
    torn = tmp_path / "retinaface_mobilenet025.pth"
    torn.write_bytes(b"torn")
    with pytest.raises(WeightsError, match="not the weights"):
        RetinaFaceReference(torn)


def test_files_without_photographs_or_clips_are_refused(tmp_path):
    path = tmp_path / "broken.parquet"
    pq.write_table(pa.table({"image": [b"not an image"], "faces": [[]]}), path)
    result = fervid("evaluate-detector", "--data", path)
    assert result.exit_code == 1 and "labeled faces" in result.output and "Traceback" not in result.output
    other = pa.table({"photo": [b""], "faces": [[]]})
    pq.write_table(other, path)
    with pytest.raises(FaceDataError, match=r"broken\.parquet: columns missing: image\. A file .* has image, faces$"):
        read_true_photos(path)
    pq.write_table(pa.table({"image": [b"not an image"], "faces": [[]]}).slice(0, 0), path)
    with pytest.raises(FaceDataError, match="contains no photographs"):
        read_true_photos(path)
    with pytest.raises(FaceDataError, match=r"none\.parquet: no such file"):
        read_true_photos(tmp_path / "none.parquet")
    with pytest.raises(FaceDataError, match="contains no videos"):
        find_clips(tmp_path)


def test_photographs_that_cannot_be_used_are_named_by_row(tmp_path):
    face = {"x1": 1.0, "y1": 2.0, "x2": 5.0, "y2": 6.0, "kind": "bare"}
    files = []
    for image in (Image.new("RGB", (8, 6), (10, 20, 30)), Image.fromarray(np.full((6, 8), 40_000, np.uint16))):
        with io.BytesIO() as file:
            image.save(file, "PNG")
            files.append(file.getvalue())
    path = tmp_path / "photos.parquet"
    pq.write_table(pa.table({"image": files[:1] * 2, "faces": [[face], None]}), path)
    first, without_faces = read_true_photos(path)
    assert first.pixels[0, 0].tolist() == [10, 20, 30] and first.boxes_xyxy.tolist() == [[1, 2, 5, 6]]
    assert without_faces.boxes_xyxy.shape == (0, 4) and len(without_faces.kind) == 0
    for content, reason in (
        (files[1], "more than 8 bits per pixel"),
        (b"text", "it cannot be read as an image. Save it as PNG or JPEG$"),
    ):
        pq.write_table(pa.table({"image": [files[0], content], "faces": [[face]] * 2}), path)
        with pytest.raises(FaceDataError, match=f"row 2 is not a photograph with labeled faces: {reason}"):
            read_true_photos(path)


def test_labels_that_cannot_be_used_are_named_by_row_and_face(tmp_path):
    with io.BytesIO() as file:
        Image.new("RGB", (8, 6)).save(file, "PNG")
        image = file.getvalue()
    path = tmp_path / "photos.parquet"
    right = {"x1": 1.0, "y1": 2.0, "x2": 5.0, "y2": 6.0}
    tested, learned = right | {"kind": "bare"}, right | {"score": 0.9, "landmarks": [1.0] * 10}
    for read, face, wrong, rule in (
        (read_true_photos, tested, {"x2": float("nan")}, "x1, y1, x2 and y2 must be finite numbers"),
        (read_true_photos, tested, {"y1": None}, "x1, y1, x2 and y2 must be finite numbers"),
        (read_true_photos, tested, {"x1": 5.0, "x2": 1.0}, "x1 must be less than x2, and y1 less than y2"),
        (read_true_photos, tested, {"kind": "Bare"}, "kind must be one of bare, masked, badly_masked"),
        (read_true_photos, tested, {"kind": None}, "kind must be one of bare, masked, badly_masked"),
        (read_photos, learned, {"y2": float("inf")}, "x1, y1, x2 and y2 must be finite numbers"),
        (read_photos, learned, {"score": None}, "score must be a number from 0 to 1"),
        (read_photos, learned, {"score": 95.0}, "score must be a number from 0 to 1"),
        (read_photos, learned, {"landmarks": [1.0] * 5}, "landmarks must be 10 numbers"),
        (read_photos, learned, {"landmarks": None}, "landmarks must be 10 numbers"),
        (read_photos, learned, {"landmarks": [1.0] * 9 + [None]}, "landmarks must be finite numbers"),
    ):
        rows = [{"image": image, "source": "a", "faces": faces} for faces in ([face], [face, face | wrong])]
        pq.write_table(pa.Table.from_pylist(rows), path)
        with pytest.raises(FaceDataError, match=rf"row 2 is not a photograph .*: face 2: {rule}$"):
            read(path)
    rows = [{"image": image, "source": "a", "faces": [learned, None]}]
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(FaceDataError, match=r"row 1 is .*: face 2: must be a box with labels$"):
        read_photos(path)


def test_photographs_are_upright_like_their_boxes(tmp_path):
    upright = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn counterclockwise, to be shown clockwise
    with io.BytesIO() as file:
        Image.fromarray(np.rot90(upright)).save(file, "PNG", exif=exif)
        image = file.getvalue()
    face = {"x1": 6.0, "y1": 1.0, "x2": 8.0, "y2": 4.0, "kind": "bare", "score": 0.9, "landmarks": [1.0] * 10}
    path = tmp_path / "turned.parquet"
    pq.write_table(pa.Table.from_pylist([{"image": image, "source": "a", "faces": [face]}]), path)
    for read in (read_true_photos, read_photos):
        (photo,) = read(path)
        np.testing.assert_array_equal(photo.pixels, upright)
        assert photo.boxes_xyxy.tolist() == [[6, 1, 8, 4]]


def test_options_that_require_others():
    lone = fervid("evaluate-detector", "--data", "x", "--against", "yunet")
    assert lone.exit_code == 2 and "--references" in lone.output
    blind = fervid("evaluate-detector", "--data", "x", "--clips", ".")
    assert blind.exit_code == 2 and "two references" in blind.output
    text = fervid("evaluate-detector", "--data", "x", "--out", "x.txt")
    assert text.exit_code == 2 and "x.txt: must end in .md" in text.output


def test_the_command_compares_detectors_and_writes_a_page(shared_data: Path, tmp_path):
    pytest.importorskip("cv2", reason="YuNet runs in OpenCV")
    some, clips, page = tmp_path / "some.parquet", tmp_path / "clips", tmp_path / "page.md"
    pq.write_table(pq.read_table(shared_data / "faces" / "eval.parquet")[:4], some)
    assert len(read_true_photos(some)) == 4
    clips.mkdir()
    (clips / "single_face.mp4").symlink_to(shared_data / "videos" / "faces" / "single_face.mp4")
    arguments = ["--against", "yunet", "--against", "retinaface_mobilenet025", "--seconds", "0.1"]
    arguments += ["--references", str(shared_data / "detectors"), "--clips", str(clips), "--out", str(page)]
    result = fervid("evaluate-detector", "--data", some, *arguments)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert f"--against yunet --against retinaface_mobilenet025 --references {shared_data / 'detectors'}" in text
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    rows = {row[0]: row[1:] for row in cells}
    assert float(rows["precision"][0]) > 0.5 and "compact at 0.50" in text
    frames, agreed, ours, first, second = rows["single_face.mp4"][:5]
    assert frames == "12" and int(agreed) > 9 and float(ours) > 0.9 and (first, second) == ("1.000", "1.000")
    assert all(float(speed) > 0 for speed in rows["yunet"][:2])
