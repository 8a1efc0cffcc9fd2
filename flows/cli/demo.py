"""Demo clips with camera motion, made from photographs that dependencies include.

The photographs hang side by side on a painted wall. A clip is a list of shots; a shot is a list of keyframes of a
camera that films the wall. Nothing is downloaded. The portraits are in the public domain: Grace Hopper (US Navy, with
matplotlib) and Eileen Collins (NASA, with scikit-image). So is the rocket (SpaceX); the coffee is CC0 (Rachel
Michetti, Pikolo Espresso Bar). Both also come with scikit-image.

The positions of the faces are known: `face_boxes` and `visible_spans` give the expected result for each clip.
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from analytics.results.output_files import check_output_folder
from fer_models.errors import FervidError
from fer_models.extras import install_command

WIDTH_PX, HEIGHT_PX = 640, 360
WALL_SIZE_PX = (3300, 900)
EYE_LINE_PX = 450
MAT_PX, FRAME_PX = 26, 9  # width of the white mat around a photograph, and of the wooden frame around the mat
EXPOSURE_STEP_PX = 4  # motion of the camera during the exposure that exceeds this many pixels is blurred


class DemoError(FervidError, RuntimeError):
    """The demo clips cannot be created."""


@dataclass(frozen=True)
class Print:
    """A photograph on the wall, vertically centered on the eye line."""

    photo: str
    middle_px: int  # position of the center along the wall
    width_px: int
    height_px: int
    face_xyxy: tuple[float, float, float, float] | None = None  # box of the face in pixels of the photograph

    @property
    def corner_px(self) -> tuple[int, int]:
        """Position of the upper left corner of the photograph on the wall, x y."""
        return self.middle_px - self.width_px // 2, EYE_LINE_PX - self.height_px // 2

    def outline(self, margin_px: int, *, drop_px: int = 0) -> tuple[int, int, int, int]:
        """The rectangle of the photograph with a margin, lowered by `drop_px`: x1 y1 x2 y2 on the wall, inclusive."""
        x, y = self.corner_px
        return (
            x - margin_px,
            y - margin_px + drop_px,
            x + self.width_px + margin_px - 1,
            y + self.height_px + margin_px - 1 + drop_px,
        )


PRINTS = (
    Print("coffee", 620, 600, 400),
    Print("hopper", 1290, 436, 512, face_xyxy=(156, 103, 301, 284)),
    Print("collins", 1880, 512, 512, face_xyxy=(178, 63, 268, 176)),
    Print("rocket", 2660, 640, 428),
)


class Keyframe(NamedTuple):
    """The view of the camera at one moment of a shot; between keyframes it moves smoothly."""

    at_s: float
    x_px: float  # point of the wall that appears in the center of the frame
    y_px: float
    width_px: float  # width of the visible part of the wall; at most 900, so that no pixel of it is skipped
    roll_deg: float  # clockwise rotation of the camera


@dataclass(frozen=True)
class Clip:
    """A demo video: shots joined by hard cuts. The first keyframe of a shot is at 0 s, the last one ends it."""

    name: str
    fps: int
    shots: tuple[tuple[Keyframe, ...], ...]

    @property
    def n_frames(self) -> int:
        """Number of frames of the clip."""
        return sum(self.shot_frames(shot) for shot in self.shots)

    def shot_frames(self, shot: tuple[Keyframe, ...]) -> int:
        """Number of frames of a shot."""
        return round(shot[-1].at_s * self.fps)


CLIPS = (
    Clip(
        "collins_zoom.mp4",
        25,
        ((Keyframe(0, 1880, 400, 880, -1), Keyframe(3, 1862, 334, 470, 0.8), Keyframe(5, 1850, 323, 412, 0.2)),),
    ),
    Clip(
        "two_people_pan.mp4",
        25,
        ((Keyframe(0, 1290, 396, 720, 0.8), Keyframe(2.5, 1515, 415, 850, 0), Keyframe(6, 1585, 425, 890, -0.8)),),
    ),
    Clip(
        "leaves_and_returns.mp4",
        25,
        (
            (
                Keyframe(0, 1850, 348, 560, 0.3),
                Keyframe(2, 1872, 346, 540, 0),
                Keyframe(3.6, 2640, 430, 640, -0.6),
                Keyframe(5, 2675, 435, 620, -0.4),
                Keyframe(6.4, 1868, 343, 500, 0.4),
                Keyframe(8, 1850, 337, 480, 0.2),
            ),
        ),
    ),
    Clip(
        "hopper_cut.mp4",
        24,
        (
            (Keyframe(0, 1292, 386, 700, -0.4), Keyframe(3, 1298, 379, 640, 0.3)),
            (Keyframe(0, 1884, 342, 520, 0.5), Keyframe(3, 1862, 331, 450, -0.5)),
        ),
    ),
    Clip(
        "no_face.mp4",
        24,
        (
            (Keyframe(0, 600, 412, 560, 0.6), Keyframe(2.5, 640, 418, 490, -0.5)),
            (Keyframe(0, 2660, 500, 520, 0), Keyframe(2.5, 2655, 410, 560, 0.6)),
        ),
    ),
)


def make_demo_videos(folder: Path, on_clip: Callable[[Path], None] = lambda path: None) -> list[Path]:
    """Write every clip of `CLIPS` into `folder`: H.264, 640x360, the same bytes each time.

    An existing demo clip is replaced once the new one is complete; other files are never replaced.

    Args:
        folder: created if missing.
        on_clip: called after each clip with its path.

    Raises:
        DemoError: if a clip would replace another file, or if Matplotlib or scikit-image, which include the
            photographs, is not installed.
        OutputError: if the folder is inside a results folder, or not a folder.
    """
    check_output_folder(folder)
    for clip in CLIPS:
        path = folder / clip.name
        if os.path.lexists(path) and not is_clip(path, clip):
            raise DemoError(f"{path} already exists and is not a demo clip: move it, or give another folder")
    wall = paint_wall()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # Pillow and FFmpeg release the GIL while they compute
        for path in threads.map(lambda clip: write_clip(clip, wall, folder / clip.name), CLIPS):
            paths.append(path)
            on_clip(path)
    return paths


def is_clip(path: Path, clip: Clip) -> bool:
    """Whether a file has the codec, frame size, frame rate and length of a demo clip, as those of earlier versions."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            found = (stream.codec_context.name, stream.width, stream.height, stream.frames)
            return stream.average_rate == clip.fps and found == ("h264", WIDTH_PX, HEIGHT_PX, clip.n_frames)
    except (OSError, av.error.FFmpegError, IndexError):
        return False


def face_boxes(clip: Clip) -> dict[str, np.ndarray]:
    """The box of each person's face in each frame.

    Returns:
        For each person `(n, 4)` float64, x1 y1 x2 y2 in pixels of the frame, also where the face is outside the frame.
    """
    views = np.concatenate([_camera(shot, np.arange(clip.shot_frames(shot)) / clip.fps) for shot in clip.shots])
    return {p.photo: _project(views, np.add(p.face_xyxy, p.corner_px * 2)) for p in PRINTS if p.face_xyxy is not None}


def visible_spans(clip: Clip) -> dict[str, list[tuple[float, float]]]:
    """For each person who appears, the spans `[start_s, end_s)` in which the whole face is in the frame."""
    spans = {}
    for person, boxes in face_boxes(clip).items():
        inside = (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] <= (WIDTH_PX, HEIGHT_PX)).all(axis=1)
        edges_s = np.flatnonzero(np.diff(inside, prepend=False, append=False)) / clip.fps
        if len(edges_s):
            spans[person] = [(start_s, end_s) for start_s, end_s in edges_s.reshape(-1, 2).tolist()]
    return spans


def paint_wall() -> Image.Image:
    """Paint the wall, lit from above, with its framed photographs and their shadows.

    Raises:
        DemoError: if Matplotlib or scikit-image, which include the photographs, is not installed.
    """
    width_px, height_px = WALL_SIZE_PX
    light = np.linspace(1.0, 0.78, height_px)[:, None, None] * (1 + 0.05 * np.cos(np.arange(width_px) / 110))[:, None]
    wall = Image.fromarray((light * (196, 190, 180)).astype(np.uint8))
    shadow = Image.new("L", WALL_SIZE_PX)
    for p in PRINTS:
        ImageDraw.Draw(shadow).rectangle(p.outline(MAT_PX + FRAME_PX, drop_px=12), fill=150)
    wall.paste((30, 28, 25), mask=shadow.filter(ImageFilter.GaussianBlur(9)))
    photos = load_photographs()
    for p in PRINTS:
        ImageDraw.Draw(wall).rectangle(p.outline(MAT_PX + FRAME_PX), fill=(58, 44, 34))
        ImageDraw.Draw(wall).rectangle(p.outline(MAT_PX), fill=(240, 238, 232))
        photo = photos[p.photo].resize((p.width_px, p.height_px), Image.Resampling.LANCZOS)
        wall.paste(photo, p.corner_px)
    return wall


def render(clip: Clip, wall: Image.Image) -> Iterator[np.ndarray]:
    """The frames of a clip: `(360, 640)` or `(360, 640, 3)` uint8, as `wall` is, with motion blur in fast pans."""
    for shot in clip.shots:
        at_s = np.arange(clip.shot_frames(shot)) / clip.fps
        # The shutter is open for half the duration of a frame, which blurs motion.
        opened = _camera(shot, at_s - 0.25 / clip.fps)
        closed = _camera(shot, at_s + 0.25 / clip.fps)
        for view, change in zip(opened, closed - opened, strict=True):
            moved_px = np.hypot(change[0], change[1]) * WIDTH_PX / view[2]
            n_exposures = 1 + int(moved_px / EXPOSURE_STEP_PX)
            exposures = [_expose(wall, view + change * (i + 0.5) / n_exposures) for i in range(n_exposures)]
            yield np.stack(exposures).mean(axis=0, dtype=np.float32).round().astype(np.uint8)


def _expose(wall: Image.Image, view: np.ndarray) -> np.ndarray:
    x_px, y_px, width_px, roll_deg = view.tolist()
    scale = width_px / WIDTH_PX
    cos, sin = scale * math.cos(math.radians(roll_deg)), scale * math.sin(math.radians(roll_deg))
    left_px = x_px - cos * WIDTH_PX / 2 + sin * HEIGHT_PX / 2
    top_px = y_px - sin * WIDTH_PX / 2 - cos * HEIGHT_PX / 2
    matrix = (cos, -sin, left_px, sin, cos, top_px)  # affine map from the frame to the wall
    return np.asarray(wall.transform((WIDTH_PX, HEIGHT_PX), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC))


def _camera(shot: tuple[Keyframe, ...], at_s: np.ndarray) -> np.ndarray:
    """The view at each time of a shot, `(n, 4)`: the columns of `Keyframe` without the time, with camera shake."""
    # Imported here because SciPy takes time to load; interpolates without overshooting the keyframes.
    from scipy.interpolate import PchipInterpolator

    keyframes = np.array(shot, np.float64)
    views: np.ndarray = PchipInterpolator(keyframes[:, 0], keyframes[:, 1:])(at_s)
    swing = 2 * np.pi * at_s
    views[:, 0] += views[:, 2] * (0.003 * np.sin(0.43 * swing + 1) + 0.0012 * np.sin(1.31 * swing))
    views[:, 1] += views[:, 2] * (0.002 * np.sin(0.57 * swing) + 0.0010 * np.sin(1.73 * swing + 2))
    views[:, 3] += 0.2 * np.sin(0.37 * swing + 4)
    return views


def _project(views: np.ndarray, box_xyxy: np.ndarray) -> np.ndarray:
    """Bounds of a box on the wall in the frame of each view: `(n, 4)`, x1 y1 x2 y2 in pixels."""
    x1, y1, x2, y2 = box_xyxy
    # (n, 4, 2): x and y of the four corners in each frame
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) - views[:, None, :2]
    turn = np.radians(views[:, 3])
    to_frame = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).transpose(2, 0, 1)
    points = corners @ to_frame * (WIDTH_PX / views[:, 2])[:, None, None] + (WIDTH_PX / 2, HEIGHT_PX / 2)
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def load_photographs() -> dict[str, Image.Image]:
    """Load the photographs of the demo, by name.

    Raises:
        DemoError: if Matplotlib or scikit-image is not installed.
    """
    try:
        from matplotlib.cbook import get_sample_data
        from skimage import data
    except ImportError as error:
        raise DemoError(
            f"the demo photographs come with Matplotlib and scikit-image. Run: {install_command('demo')}"
        ) from error

    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as hopper:
        photos = {"hopper": hopper.convert("RGB")}
    for photo, function in (("collins", "astronaut"), ("coffee", "coffee"), ("rocket", "rocket")):
        photos[photo] = Image.fromarray(getattr(data, function)())
    return photos


def write_clip(clip: Clip, wall: Image.Image, target: Path) -> Path:
    """Encode a clip as H.264; the target is replaced once the file is complete."""
    import av

    part = target.with_name(f".{target.name}.part")
    try:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=clip.fps, options={"crf": "20", "preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
            stream.codec_context.thread_count = 1  # with more threads, the encoded bytes would depend on the machine
            for pixels in render(clip, wall):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
            container.mux(stream.encode())
        return part.replace(target)
    finally:
        part.unlink(missing_ok=True)
