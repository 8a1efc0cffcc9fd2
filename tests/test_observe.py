"""Pass 1: results depend on the video and its segments, not on batches, and no frame or face is lost."""

import dataclasses
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fer_models import EMOTIONS, FaceBatch, load_classifier, load_detector
from fer_models.boxes import paired_iou
from fer_models.classification.architectures import architecture_options, build_network
from fer_models.classification.classifier import EmotionClassifier
from fer_models.crops import TEMPLATE_XY
from fer_models.frame_batch import FrameBatch
from fer_models.landmarks.landmarker import LandmarkBatch, Landmarker
from fer_models.model_installation.registration import make_ensemble
from fer_models.observation import Observation
from fer_models.observe import ObserveOptions, observe_frames, observe_segments
from fer_models.registry.model_registry import ModelCard
from fer_models.thumbnails import frame_thumbnail
from fer_models.video import VideoReadError, probe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models():
    return {
        "detector": load_detector("compact", "cpu"),
        "classifier": load_classifier("default", "cpu"),
        "landmarker": Landmarker.load(torch.device("cpu")),
    }


class TwoFaces:
    """A detector that finds a large and a small face in the same places of every frame."""

    name, sha256, score_threshold = "two faces", "", 0.5
    boxes = np.array([[40, 30, 140, 150], [200, 100, 210, 111]], np.float32)

    def detect(self, pixels):
        n = len(pixels)
        middle = (self.boxes[:, None, :2] + self.boxes[:, None, 2:]) / 2
        return FaceBatch(
            np.repeat(np.arange(n), 2),
            np.tile(self.boxes, (n, 1)),
            np.tile(np.repeat(middle, 5, axis=1), (n, 1, 1)).astype(np.float32),
            np.tile(np.float32([0.9, 0.8]), n),
        )


def observe(path, models, spans=None, on_frames=lambda n_frames: None, **options):
    info = probe(path)
    frame_index = np.arange(info.n_frames)
    segments = np.split(frame_index, spans or [])
    return list(observe_segments(info, segments, **models, options=ObserveOptions(**options), on_frames=on_frames))


def flat(seen: list[Observation]) -> dict[str, np.ndarray]:
    """Join all segments, with faces by the index of their frame in the video."""
    faces = [dataclasses.replace(s.faces, frame=s.frame_index[s.faces.frame]) for s in seen]
    landmarks = [vars(s.landmarks) for s in seen if s.landmarks is not None]
    return {
        **{name: np.concatenate([part[name] for part in landmarks]) for name in landmarks[0] if name != "points_px"},
        **{f.name: np.concatenate([getattr(b, f.name) for b in faces]) for f in dataclasses.fields(FaceBatch)},
        **{
            name: np.concatenate([getattr(s, name) for s in seen])
            for name in (f.name for f in dataclasses.fields(Observation) if f.name not in ("faces", "landmarks"))
        },
    }


def test_the_face_is_found_in_every_frame_and_smiles(face_clip, models):
    (seen,) = observe(face_clip, models)
    assert seen.decoded.all()
    np.testing.assert_allclose(seen.pts_s, np.arange(50) / 25, atol=1e-6)
    assert np.bincount(seen.faces.frame, minlength=50).tolist() == [1] * 50
    assert (seen.probabilities.argmax(axis=1) == 3).mean() > 0.9  # happy
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1, atol=1e-5)


class TemplateLandmarks:
    """A landmark network that finds eyes, nose and mouth where crops are aligned to have them."""

    groups = (range(36, 42), range(42, 48), (30,), (48,), (54,))

    def predict(self, crops):
        points = np.full((len(crops), 70, 2), 0.5, np.float32)
        for group, xy in zip(self.groups, TEMPLATE_XY, strict=True):
            points[:, group] = xy
        return LandmarkBatch(points, np.ones(len(crops), np.float32), np.zeros((len(crops), 3), np.float32))


def test_landmarks_are_placed_in_the_frame_by_the_crop(face_clip, models):
    """Landmarks lie within a tenth of the interocular distance of the detector's: the alignment is a best fit."""
    (seen,) = observe(face_clip, models | {"landmarker": TemplateLandmarks()}, keep_landmarks=True)
    assert seen.landmarks is not None and seen.landmarks.points_px is not None
    found = np.stack([seen.landmarks.points_px[:, group].mean(1) for group in TemplateLandmarks.groups], axis=1)
    detected = seen.faces.landmarks_xy
    apart_px = np.linalg.norm(detected[:, 1] - detected[:, 0], axis=1)
    assert (np.linalg.norm(found - detected, axis=2).mean(1) / apart_px).max() < 0.1
    across = detected[:, 1] - detected[:, 0]
    slope_deg = np.rad2deg(np.arctan2(across[:, 1], across[:, 0]))
    np.testing.assert_allclose(seen.landmarks.head_roll_deg, slope_deg, atol=5)  # the head is upright in the crop


class TemplateFace:
    """A detector that finds the face of an aligned crop of 96 px around (100, 80)."""

    name, sha256, score_threshold = "template face", "", 0.5

    def detect(self, pixels):
        landmarks = 96 * (np.array(TEMPLATE_XY) - 0.5) + (100, 80)
        box = np.array([[57, 37, 143, 123]], np.float32)
        return FaceBatch(np.zeros(1, np.int64), box, landmarks[None].astype(np.float32), np.ones(1, np.float32))


class UprightFace:
    """A detector that finds one face, with landmarks as in an upright face however the image is rotated."""

    name, sha256, score_threshold = "upright face", "", 0.5

    def __init__(self, face: FaceBatch, center_xy: np.ndarray):
        shift = (center_xy - (face.boxes_xyxy[0, :2] + face.boxes_xyxy[0, 2:]) / 2).astype(np.float32)
        self.face = dataclasses.replace(
            face, boxes_xyxy=face.boxes_xyxy + np.tile(shift, 2), landmarks_xy=face.landmarks_xy + shift
        )

    def detect(self, pixels):
        return self.face


@pytest.mark.parametrize("roll_deg", [0, 8, 25, -50, 180, 160])
def test_tilted_and_upside_down_faces_are_read_upright(models, roll_deg):
    """The photograph of a face is rotated clockwise around its middle: landmarks, pose and emotion rotate with it."""
    photo = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image").astronaut()
    face = models["detector"].detect(photo[None])
    middle = (face.boxes_xyxy[0, :2] + face.boxes_xyxy[0, 2:]) / 2
    rotated = np.array(Image.fromarray(photo).rotate(-roll_deg, Image.Resampling.BICUBIC, center=tuple(middle)))

    def seen_in(pixels):
        frames = FrameBatch(pixels[None], np.zeros(1, np.int64), np.zeros(1))
        return observe_frames(frames, **models | {"detector": UprightFace(face, middle)})

    upright, seen = seen_in(photo), seen_in(rotated)
    turn = np.exp(1j * np.deg2rad(roll_deg))
    turned_deg = np.rad2deg(np.angle(turn * np.exp(1j * np.deg2rad(upright.landmarks.head_roll_deg))))
    off_deg = (seen.landmarks.head_roll_deg - turned_deg + 180) % 360 - 180
    assert abs(off_deg) < 4
    assert seen.landmarks.landmark_score > 0.9
    assert (seen.probabilities.argmax(), upright.probabilities.argmax()) == (3, 3)  # happy
    np.testing.assert_allclose(seen.probabilities, upright.probabilities, atol=0.15)
    np.testing.assert_allclose(seen.landmarks.head_yaw_deg, upright.landmarks.head_yaw_deg, atol=4)
    if abs(roll_deg) > 15:  # the landmarks of the detector are replaced
        points = (upright.faces.landmarks_xy[0] - middle) @ (1, 1j) * turn
        expected = np.stack([points.real, points.imag], axis=1) + middle
        eyes_px = np.hypot(*(upright.faces.landmarks_xy[0, 1] - upright.faces.landmarks_xy[0, 0]))
        assert np.linalg.norm(seen.faces.landmarks_xy[0] - expected, axis=1).mean() < 0.15 * eyes_px


def test_upright_masked_faces_are_not_turned_upside_down(models, shared_data):
    """One face in each of two photographs has landmarks with a score of 0.6 to 0.7 upside down."""
    photos = pq.read_table(shared_data / "faces" / "eval.parquet")["image"]
    for row, n_faces in ((124, 8), (164, 7)):
        photo = Image.open(io.BytesIO(photos[row].as_py())).convert("RGB")
        frames = FrameBatch(np.array(photo)[None], np.zeros(1, np.int64), np.zeros(1))
        seen = observe_frames(frames, **models)
        assert len(seen.faces) >= n_faces
        assert np.abs(seen.landmarks.head_roll_deg).max() < 90


@pytest.mark.parametrize("input_px", [40, 48, 96])
def test_quality_is_measured_at_48_px_and_larger_networks_see_sharper_crops(models, input_px):
    """A crop of 96 px shows the pixels of the frame, one of 48 px their means over 2x2 pixels."""
    options = architecture_options("face_resnet", input_size_px=input_px, outputs=7)
    card = ModelCard("random", "emotion", "face_resnet", options, EMOTIONS, input_px, 1)
    classifier = EmotionClassifier(build_network("face_resnet", options), card, torch.device("cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 160, 200, 3), dtype=np.uint8)
    frames = FrameBatch(pixels, np.zeros(1, np.int64), np.zeros(1))
    landmarker = models["landmarker"]
    seen = observe_frames(frames, detector=TemplateFace(), classifier=classifier, landmarker=landmarker)

    face = pixels[:, 32:128, 52:148]
    half = (face.reshape(48, 2, 48, 2, 3).sum(axis=(1, 3)) + 2) // 4
    gray = half @ [0.299, 0.587, 0.114]
    neighbors = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    assert seen.blur[0] == pytest.approx((neighbors - 4 * gray[1:-1, 1:-1]).var(ddof=1), rel=1e-4)
    assert seen.brightness[0] == pytest.approx(gray.mean(), rel=1e-5)
    crop = torch.from_numpy(half.astype(np.uint8))[None]
    assert seen.landmarks is not None
    np.testing.assert_array_equal(seen.landmarks.landmark_score, landmarker.predict(crop).score)
    np.testing.assert_array_equal(seen.probabilities, classifier.predict(face if input_px == 96 else crop))


def test_landmarks_stay_unknown_without_their_network(face_clip, models):
    (seen,) = observe(face_clip, models | {"landmarker": None}, keep_landmarks=True)
    assert seen.landmarks is None
    (kept,) = observe(face_clip, models)
    assert kept.landmarks is not None and kept.landmarks.points_px is None


def test_an_ensemble_averages_its_members_in_a_video(face_clip, models, tmp_path):
    names = ["default", "fer2013"]
    make_ensemble(tmp_path / "both", "both", names)
    networks = [load_classifier(name, "cpu") for name in (*names, str(tmp_path / "both"))]
    first, second, both = (observe(face_clip, models | {"classifier": network})[0] for network in networks)
    np.testing.assert_allclose(both.probabilities, (first.probabilities + second.probabilities) / 2, atol=1e-5)


@pytest.mark.parametrize(("spans", "batch_size"), [([7, 8, 30], 32), ([25], 5), ([], 13)])
def test_segments_and_batches_change_no_bit_with_detection_on_every_frame(face_clip, models, spans, batch_size):
    whole = flat(observe(face_clip, models, detect_every_s=0))
    cut = flat(observe(face_clip, models, spans, batch_size=batch_size, detect_every_s=0))
    for name, values in whole.items():
        np.testing.assert_array_equal(cut[name], values, err_msg=name)


@pytest.mark.parametrize("batch_size", [1, 5, 7])
def test_batches_change_no_bit_with_close_ups(face_clip, models, batch_size):
    spans = [23, 24, 26]
    whole = flat(observe(face_clip, models, spans, batch_size=32))
    small = flat(observe(face_clip, models, spans, batch_size=batch_size))
    for name, values in whole.items():
        np.testing.assert_array_equal(small[name], values, err_msg=name)
    # 25 frames/s: every 5th frame, and the first and last of each of the segments 0-22, 23, 24-25 and 26-49.
    assert np.flatnonzero(whole["is_full"]).tolist() == [0, 5, 10, 15, 20, 22, 23, 24, 25, 26, 30, 35, 40, 45, 49]


def test_close_ups_find_the_faces_of_full_detection(face_clip, models):
    (full,) = observe(face_clip, models, detect_every_s=0)
    (close,) = observe(face_clip, models)
    assert full.is_full.all() and not close.is_full.all()
    np.testing.assert_array_equal(close.faces.frame, full.faces.frame)
    assert paired_iou(close.faces.boxes_xyxy, full.faces.boxes_xyxy).min() > 0.7
    assert (close.probabilities.argmax(axis=1) == full.probabilities.argmax(axis=1)).mean() > 0.9


def test_an_undecodable_last_frame_leaves_its_predecessor_as_key_frame(face_clip, models):
    info = probe(face_clip)
    beyond = dataclasses.replace(
        info, pts_s=np.append(info.pts_s, 2.0), pts=np.append(info.pts, 2 * info.pts[-1] - info.pts[-2])
    )
    (seen,) = observe_segments(beyond, [np.arange(51)], **models)
    assert np.flatnonzero(~seen.decoded).tolist() == [50]
    assert np.bincount(seen.faces.frame, minlength=51).tolist() == 50 * [1] + [0]
    assert seen.is_full[49] and not seen.is_full[48]


def test_small_faces_are_left_out(face_clip, models):
    models = models | {"detector": TwoFaces()}
    (all_sizes,) = observe(face_clip, models, min_face_px=5, detect_every_s=0)
    (large,) = observe(face_clip, models, min_face_px=12, detect_every_s=0)
    assert (len(all_sizes.faces), len(large.faces)) == (100, 50)
    assert (large.faces.boxes_xyxy == TwoFaces.boxes[0]).all()


def test_no_face_is_no_row(empty_clip, models):
    (seen,) = observe(empty_clip, models)
    assert len(seen.faces) == 0
    assert seen.decoded.all()
    assert seen.probabilities.shape == (0, 7)


def test_frames_that_cannot_be_decoded_are_reported(shared_data, models):
    counts = []
    info = probe(shared_data / "videos" / "formats" / "corrupted.mp4")
    segments = np.array_split(np.arange(info.n_frames), 2)
    seen = list(observe_segments(info, segments, **models, on_frames=counts.append))
    decoded = np.concatenate([s.decoded for s in seen])
    # The file has a single keyframe: all frames after the first damaged one refer to it.
    first = int(np.argmin(decoded))
    assert 0 < first < info.n_frames
    assert not decoded[first:].any()
    assert sum(counts) == info.n_frames


def test_an_error_while_decoding_reaches_the_caller(face_clip, models, tmp_path):
    path = tmp_path / "gone.mp4"
    path.write_bytes(face_clip.read_bytes())
    info = probe(path)
    path.unlink()
    with pytest.raises(VideoReadError, match=r"gone\.mp4"):
        list(observe_segments(info, [np.arange(info.n_frames)], **models))


def test_progress_counts_every_frame(face_clip, models):
    counts = []
    observe(face_clip, models, [20], on_frames=counts.append)
    assert sum(counts) == 50


def test_a_thumbnail_holds_the_mean_color_of_each_cell():
    pixels = np.zeros((2, 256, 512, 3), np.uint8)
    pixels[1, 64:128, 128:256] = (200, 100, 50)  # fills the cell in the second row and column
    thumbnails = frame_thumbnail(pixels).reshape(2, 4, 4, 3)
    assert (thumbnails[0] == 0).all()
    assert thumbnails[1, 1, 1].tolist() == [200, 100, 50]
    assert thumbnails[1].sum() == 350
    for height, width in ((1, 1), (2, 3), (3, 100), (100, 2)):
        assert (frame_thumbnail(np.full((1, height, width, 3), 200, np.uint8)) == np.full((1, 48), 200)).all()
