"""Close-ups: which frames are key frames, where faces are expected between them, and what the tiles show."""

import numpy as np
import pytest
import torch

from fer_models import FaceBatch, FrameBatch, load_detector, read_frames
from fer_models.boxes import box_iou
from fer_models.detection.close_ups import (
    TILE_PX,
    ExpectedFaces,
    cut_tile,
    expect_faces,
    find_in_tiles,
    match_faces,
    nearest_faces,
    tile_squares,
    tiles_to_frame,
)
from fer_models.detection.key_frames import KeyFramePlan, detect_frames, has_scene_change

pytestmark = pytest.mark.slow

NONE = np.empty((0, 4), np.float32)
FACE = np.array([[100, 100, 150, 150]], np.float32)


def face_batch(frame: list[int], boxes: list[list[float]], score: list[float]) -> FaceBatch:
    return FaceBatch(
        np.array(frame, np.int64),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros((len(frame), 5, 2), np.float32),
        np.array(score, np.float32),
    )


@pytest.mark.parametrize(
    ("pts_s", "is_end", "expected"),
    [
        (np.arange(8) / 25, False, [0, 5]),
        (np.arange(8) / 25, True, [0, 5, 7]),
        (np.arange(8) / 5, False, range(8)),  # every frame is a key frame, because they are 0.2 s apart
        ([0.0, 0.333, 0.666, 0.7], False, [0, 1, 2]),
        # 0.199 s counts as 0.2 s, because times are rounded to milliseconds.
        ([0.04, 0.16, 0.199, 0.21], True, [0, 2, 3]),
        ([7.3], False, [0]),
        ([], True, []),
    ],
)
def test_key_frames_are_the_first_in_each_interval(pts_s, is_end, expected):
    is_key = KeyFramePlan(0.2).is_key_frame(np.asarray(pts_s, float), is_end=is_end)
    assert np.flatnonzero(is_key).tolist() == list(expected)


def test_key_frames_follow_the_time_of_the_first_frame():
    pts_s = np.array([0.15, 0.2, 0.25, 0.3, 0.35])
    assert KeyFramePlan(0.2, origin_s=0.15).is_key_frame(pts_s, is_end=False).tolist() == [1, 0, 0, 0, 1]


def test_few_frames_lie_between_key_frames_and_none_with_an_interval_of_0():
    pts_s = np.arange(7) / 1000
    assert KeyFramePlan(0.2, max_between=2).is_key_frame(pts_s, is_end=False).tolist() == [1, 0, 0, 1, 0, 0, 1]
    assert KeyFramePlan(0).is_key_frame(pts_s, is_end=False).all()


def test_faces_are_matched_with_the_nearest_of_their_size():
    a = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [100, 0, 110, 10], [200, 0, 210, 10]], float)
    b = np.array([[202, 0, 222, 20], [19, 0, 29, 10], [3, 0, 13, 10], [111, 0, 121, 10]], float)
    # The last face of a has doubled its size; the third one has moved by 11 px, more than its side.
    assert [rows.tolist() for rows in match_faces(a, b)] == [[0, 1], [2, 1]]
    for pair in ((NONE, a), (a, NONE), (NONE, NONE)):
        assert [rows.tolist() for rows in match_faces(*pair)] == [[], []]


def test_a_face_between_two_is_matched_with_the_nearer_one_only():
    a = np.array([[0, 0, 10, 10], [8, 0, 18, 10]], float)
    b = np.array([[6, 0, 16, 10]], float)
    assert [rows.tolist() for rows in match_faces(a, b)] == [[1], [0]]


def test_expected_boxes_by_hand():
    before = np.array([[0, 0, 10, 10], [100, 0, 110, 10]], float)
    after = np.array([[4, 8, 14, 20]], float)
    expected = expect_faces(before, after, np.array([0.25, 0.5]))
    assert expected is not None
    assert [faces.boxes_xyxy.tolist() for faces in expected] == [
        [[1, 2, 11, 12.5], [100, 0, 110, 10]],
        [[2, 4, 12, 15], [100, 0, 110, 10]],
    ]
    assert [faces.n_matched for faces in expected] == [1, 1]


def test_nothing_is_expected_of_faces_that_moved_too_fast_to_be_matched():
    assert expect_faces(FACE, FACE + 60, np.array([0.5])) is None
    appeared = expect_faces(NONE, FACE, np.array([0.5]))
    assert appeared is not None and appeared[0].n_matched == 0
    assert appeared[0].boxes_xyxy.tolist() == FACE.tolist()
    nobody = expect_faces(NONE, NONE, np.array([0.5]))
    assert nobody is not None and nobody[0].boxes_xyxy.shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ([100, 100, 200, 200], [55, 55, 190]),  # a square of 1.9 sides around the center
        ([0, 0, 100, 100], [0, 0, 190]),  # the square is moved into the frame
        # The square has at least the size of a tile, so that small faces are not enlarged.
        ([600, 320, 640, 360], [512, 232, 128]),
        ([200, 0, 500, 300], [65, 0, 570]),  # a square that is higher than the frame is not moved vertically
    ],
)
def test_squares_of_tiles_by_hand(box, square):
    assert tile_squares(np.array([box], float), 640, 360).tolist() == [square]


def test_a_tile_shows_its_square_at_scale():
    image = np.zeros((400, 600, 3), np.uint8)
    image[100:356, 200:328] = (10, 20, 30)
    image[100:356, 328:456] = (110, 120, 130)
    tile = cut_tile(image, np.array([200, 100, 256]))
    assert tile.shape == (TILE_PX, TILE_PX, 3)
    assert (tile[:, :62] == (10, 20, 30)).all() and (tile[:, 66:] == (110, 120, 130)).all()


def test_a_tile_is_gray_outside_the_image():
    tile = cut_tile(np.full((64, 300, 3), 200, np.uint8), np.array([100, 0, 128]))
    assert (tile[:64] == 200).all() and (tile[64:] == 127).all()


def test_faces_in_tiles_come_back_to_the_frame():
    faces = face_batch([0, 1], [[32, 32, 96, 96], [0, 64, 128, 128]], [0.9, 0.8])
    found = tiles_to_frame(faces, np.array([[55, 55, 190], [512, 232, 128]]), 640, 350)
    scale = 190 / 128
    np.testing.assert_allclose(found.boxes_xyxy[0], 2 * [55 + 32 * scale] + 2 * [55 + 96 * scale], atol=1e-4)
    assert found.boxes_xyxy[1].tolist() == [512, 296, 640, 350]  # the box is clipped to the frame


def test_of_several_faces_in_a_tile_the_nearest_one_counts():
    boxes = np.array([[0, 0, 20, 20], [100, 100, 120, 120], [50, 50, 60, 60]], float)
    faces = face_batch(
        [0, 0, 1, 1], [[8, 8, 28, 28], [2, 0, 22, 20], [111, 100, 131, 120], [140, 100, 160, 120]], 4 * [0.9]
    )
    # The faces of the other tiles lie 11 px off, more than half a side.
    assert nearest_faces(faces, boxes).tolist() == [1, -1, -1]
    assert nearest_faces(FaceBatch.empty(), boxes).tolist() == [-1, -1, -1]


class BrightSpots:
    """A detector that finds the bounding box of all bright pixels of an image; counts the images it was given."""

    name, sha256, score_threshold, max_side_px, dtype = "bright spots", "", 0.5, 640, torch.float32

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def detect(self, pixels):
        self.sizes += [pixels.shape[1:3]] * len(pixels)
        found = []
        for i, image in enumerate(pixels):
            y, x = np.nonzero(image[..., 0] > 128)
            if len(x):
                found.append((i, [x.min(), y.min(), x.max() + 1, y.max() + 1]))
        return face_batch([i for i, _ in found], [box for _, box in found], len(found) * [0.9])


def spots(x_px: list[int | None]) -> tuple[FrameBatch, np.ndarray]:
    """Frames 40 ms apart, each with a bright square of 40 px at its x or without one; all thumbnails are equal."""
    pixels = np.zeros((len(x_px), 240, 320, 3), np.uint8)
    for image, x in zip(pixels, x_px, strict=True):
        if x is not None:
            image[100:140, x : x + 40] = 255
    return FrameBatch(pixels, np.arange(len(x_px)), np.arange(len(x_px)) * 0.04), np.zeros((len(x_px), 48), np.uint8)


def detect(frames: FrameBatch, thumbnails: np.ndarray) -> tuple[list, list[bool], list[tuple[int, ...]]]:
    """Detect faces; return their left edges, which frames were searched in full, and the sizes of searched images."""
    detector = BrightSpots()
    (done,), waiting = detect_frames(detector, KeyFramePlan(0.2), None, frames, thumbnails, is_end=True)
    assert waiting is not None and not len(waiting.frames)
    left = [[round(x) for x in done.faces.boxes_xyxy[done.faces.frame == i, 0]] for i in range(len(frames))]
    return left, done.is_full.tolist(), detector.sizes


def test_between_key_frames_only_tiles_are_searched():
    left, is_full, sizes = detect(*spots([50, 52, 54, 56, 58, 60]))
    assert left == [[50], [52], [54], [56], [58], [60]]
    assert is_full == [1, 0, 0, 0, 0, 1]
    assert sizes == 2 * [(240, 320)] + 4 * [(128, 128)]


def test_a_face_that_is_not_in_its_tile_is_searched_for_in_the_whole_frame():
    left, is_full, sizes = detect(*spots([50, 50, 250, 50, 50, 50]))
    assert left == [[50], [50], [250], [50], [50], [50]]
    assert is_full == [1, 0, 1, 0, 0, 1]
    assert sizes == 2 * [(240, 320)] + 4 * [(128, 128)] + [(240, 320)]


def test_fast_motion_and_scene_changes_are_detected_in_full():
    left, is_full, _ = detect(*spots([0, 50, 100, 150, 200, 250]))
    assert left == [[0], [50], [100], [150], [200], [250]] and all(is_full)
    frames, thumbnails = spots(6 * [50])
    thumbnails[3:] = 20
    assert detect(frames, thumbnails)[1] == 6 * [True]


def test_a_face_of_one_key_frame_may_be_missing_between_and_nobody_costs_nothing():
    left, is_full, _ = detect(*spots([50, 50, None, None, None, None]))
    assert left == [[50], [50], [], [], [], []] and is_full == [1, 0, 0, 0, 0, 1]
    _, _, sizes = detect(*spots(6 * [None]))
    assert sizes == 2 * [(240, 320)]


def test_two_expected_faces_found_at_one_position_need_the_whole_frame():
    frames, _ = spots([50])
    near = ExpectedFaces(np.array([[45, 100, 85, 140], [55, 100, 95, 140]], float), 2)
    one = ExpectedFaces(np.array([[45, 100, 85, 140]], float), 1)
    images = [frames.pixels[0]] * 2
    both, alone = find_in_tiles(BrightSpots(), images, [near, one])
    assert both is None
    assert alone is not None and alone.boxes_xyxy.tolist() == [[50, 100, 90, 140]]


@pytest.mark.parametrize("cuts", [[1], [4, 5], [5], [6], [3, 9], list(range(1, 11))])
def test_batches_do_not_change_what_is_found(cuts):
    frames, thumbnails = spots([50, 52, 54, 56, None, 58, 60, 160, 64, 66, 68])
    plan = KeyFramePlan(0.2)
    (whole,), _ = detect_frames(BrightSpots(), plan, None, frames, thumbnails, is_end=True)
    parts, waiting = [], None
    for start, end in zip([0, *cuts], [*cuts, len(frames)], strict=True):
        batch = frames.part(slice(start, end))
        is_end = end == len(frames)
        done, waiting = detect_frames(BrightSpots(), plan, waiting, batch, thumbnails[start:end], is_end=is_end)
        parts += done
    np.testing.assert_array_equal(np.concatenate([part.frames.frame_index for part in parts]), frames.frame_index)
    np.testing.assert_array_equal(np.concatenate([part.is_full for part in parts]), whole.is_full)
    index = np.concatenate([part.frames.frame_index[part.faces.frame] for part in parts])
    np.testing.assert_array_equal(index, whole.faces.frame)
    np.testing.assert_array_equal(np.concatenate([part.faces.boxes_xyxy for part in parts]), whole.faces.boxes_xyxy)


def test_scene_changes_by_hand():
    still = np.full((3, 48), 100, np.uint8)
    assert not has_scene_change(still) and not has_scene_change(still[:1])
    assert has_scene_change(np.concatenate([still, still + 20]))


@pytest.mark.parametrize(
    ("clip", "min_found"),
    [("single_face.mp4", 0.99), ("three_people_walking.gif", 0.99), ("street_crowd_1080p.mp4", 0.97)],
)
def test_close_ups_find_nearly_all_faces_of_full_detection(shared_data, clip, min_found):
    detector = load_detector("compact", "cpu")
    thumbnails = np.zeros((1, 48), np.uint8)
    n_full, n_found = 0, 0
    for frames in read_frames(shared_data / "videos" / "faces" / clip, end_s=1.6):
        expected = detector.detect(frames.pixels).by_frame(len(frames))
        (done,), _ = detect_frames(
            detector, KeyFramePlan(0.2), None, frames, np.repeat(thumbnails, len(frames), 0), is_end=True
        )
        for faces, found in zip(expected, done.faces.by_frame(len(frames)), strict=True):
            n_full += len(faces)
            if len(faces) and len(found):
                n_found += int((box_iou(faces.boxes_xyxy, found.boxes_xyxy).max(axis=1) >= 0.5).sum())
    assert n_full and n_found >= min_found * n_full
