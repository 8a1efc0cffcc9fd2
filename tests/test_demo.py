"""The demo clips: faces, intervals and format are as `flows.cli.demo` describes them."""

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from commands import fervid
from PIL import Image

from analytics.results.store import Store
from flows.cli.demo import (
    CLIPS,
    HEIGHT_PX,
    PRINTS,
    WALL_SIZE_PX,
    WIDTH_PX,
    Clip,
    DemoError,
    face_boxes,
    is_clip,
    make_demo_videos,
    paint_wall,
    render,
    visible_spans,
    write_clip,
)

pytestmark = pytest.mark.slow

YUNET = Path(__file__).parents[1].parent / "shared/data/detectors/face_detection_yunet_2023mar.onnx"
every_clip = pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)


@pytest.fixture
def folder(demo_videos: Path) -> Path:
    return demo_videos


@pytest.fixture(scope="module")
def find_faces() -> Callable[[np.ndarray], np.ndarray]:
    """Detect faces in an image (360, 640, 3) with YuNet at its default size: boxes (m, 4), x1 y1 x2 y2."""
    if not YUNET.exists():
        pytest.skip("the reference face detector (shared/data/detectors) is not here")
    import cv2

    detector = cv2.FaceDetectorYN.create(str(YUNET), "", (WIDTH_PX, HEIGHT_PX), score_threshold=0.6)

    def find(pixels: np.ndarray) -> np.ndarray:
        _, rows = detector.detect(np.ascontiguousarray(pixels[..., ::-1]))
        boxes = np.empty((0, 4)) if rows is None else rows[:, :4].astype(np.float64)
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)

    return find


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@every_clip
def test_format(folder: Path, clip: Clip) -> None:
    with av.open(str(folder / clip.name)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 640, 360)
        assert stream.average_rate == clip.fps
        pts_s = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose(pts_s, np.arange(clip.n_frames) / clip.fps, atol=1e-3)
    assert 4 <= clip.n_frames / clip.fps <= 8
    assert (folder / clip.name).stat().st_size < 1_500_000


def test_same_bytes_again_and_nothing_left_behind(folder: Path, tmp_path: Path) -> None:
    (clip,) = (clip for clip in CLIPS if clip.name == "no_face.mp4")  # the clip that is rendered fastest
    again = write_clip(clip, paint_wall(), tmp_path / clip.name)
    assert again.read_bytes() == (folder / clip.name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [clip.name]
    assert {path.name for path in folder.iterdir()} == {clip.name for clip in CLIPS}


@every_clip
def test_camera_never_looks_past_the_wall(clip: Clip) -> None:
    white = Image.new("L", WALL_SIZE_PX, 255)  # beyond the wall, the renderer gives black
    slow = dataclasses.replace(clip, fps=5)  # the motion is smooth, so that every fifth frame shows its extremes
    assert min(pixels.min() for pixels in render(slow, white)) == 255


def test_face_boxes_follow_the_pixels() -> None:
    clip = CLIPS[0]
    collins = next(p for p in PRINTS if p.photo == "collins")
    x, y = collins.corner_px
    x1, y1, x2, y2 = collins.face_xyxy
    wall = Image.new("L", WALL_SIZE_PX, 0)
    wall.paste(255, (x + x1, y + y1, x + x2, y + y2))
    for pixels, box in zip(render(clip, wall), face_boxes(clip)["collins"], strict=True):
        rows, columns = (pixels > 127).nonzero()
        bounds = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(bounds, box, atol=1.5)


@pytest.mark.parametrize(
    ("name", "people"),
    [
        ("collins_zoom.mp4", {"collins": 1}),
        ("two_people_pan.mp4", {"hopper": 1, "collins": 1}),
        ("leaves_and_returns.mp4", {"collins": 2}),
        ("hopper_cut.mp4", {"hopper": 1, "collins": 1}),
        ("no_face.mp4", {}),
    ],
)
def test_who_appears_how_often(name: str, people: dict[str, int]) -> None:
    (clip,) = (clip for clip in CLIPS if clip.name == name)
    assert {person: len(spans) for person, spans in visible_spans(clip).items()} == people


def test_face_is_away_for_longer_than_one_and_a_half_seconds() -> None:
    (clip,) = (clip for clip in CLIPS if clip.name == "leaves_and_returns.mp4")
    outside = np.flatnonzero(~partly_visible(face_boxes(clip)["collins"]))
    assert np.all(np.diff(outside) == 1)
    assert len(outside) / clip.fps > 1.5


def test_cut_swaps_the_person_from_one_frame_to_the_next(folder: Path) -> None:
    (clip,) = (clip for clip in CLIPS if clip.name == "hopper_cut.mp4")
    assert visible_spans(clip) == {"hopper": [(0, 3)], "collins": [(3, 6)]}
    pixels = decode(folder / clip.name).astype(np.int16)
    change = np.abs(np.diff(pixels, axis=0)).mean(axis=(1, 2, 3))
    assert change.argmax() == 3 * clip.fps - 1
    assert change.max() > 4 * np.delete(change, change.argmax()).max()


@every_clip
def test_a_detector_finds_the_faces_where_they_are_promised(
    folder: Path, clip: Clip, find_faces: Callable[[np.ndarray], np.ndarray]
) -> None:
    promised = face_boxes(clip)
    for index, pixels in list(enumerate(decode(folder / clip.name)))[::5]:
        found = find_faces(pixels)
        boxes = np.stack([boxes[index] for boxes in promised.values()])
        whole = boxes[(boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= (WIDTH_PX, HEIGHT_PX)).all(axis=1)]
        assert len(whole) <= len(found) <= partly_visible(boxes).sum(), f"frame {index}"
        for box in whole:
            assert np.abs(found - box).max(axis=1).min() < 0.2 * (box[2] - box[0]), f"frame {index}: {box}, {found}"


def test_other_files_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    """Demo clips of an earlier run, or of a version that encoded them differently, are replaced."""
    paths = [Path(shutil.copy(folder / clip.name, tmp_path)) for clip in CLIPS]
    assert all(map(is_clip, paths, CLIPS)) and not is_clip(paths[0], CLIPS[1])
    for content in (b"mine", paths[0].read_bytes(), b""):  # the second one is another demo clip
        paths[-1].write_bytes(content)
        with pytest.raises(DemoError, match=r"no_face\.mp4 already exists and is not a demo clip"):
            make_demo_videos(tmp_path)
        assert paths[-1].read_bytes() == content
        assert paths[0].read_bytes() == (folder / paths[0].name).read_bytes()
    Store(tmp_path / "results")
    run = fervid("demo", tmp_path / "results" / "demo")
    assert (run.exit_code, "inside the results folder" in run.output) == (1, True)


def test_without_scikit_image_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)  # makes `import` fail as if the package were not installed
    with pytest.raises(DemoError, match=r"pip install 'matplotlib.*' 'scikit-image"):
        make_demo_videos(tmp_path / "demo")
    assert not (tmp_path / "demo").exists()


def partly_visible(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, :2] < (WIDTH_PX, HEIGHT_PX)).all(axis=1)
