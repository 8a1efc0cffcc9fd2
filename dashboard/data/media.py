"""Which file the player shows: the video itself where a browser can play it, else a preview copy made on demand."""

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np

from analytics.results.notes import read_notes
from analytics.results.storage_paths import is_remote
from analytics.results.store import StoreError
from dashboard.data.results import Results

PREVIEW_HEIGHT_PX = 720
# What Chromium, Firefox and Safari have in common. HEVC plays in some, in others not: a preview is safer.
PLAYABLE = {"mp4": ("h264", "av1"), "webm": ("vp8", "vp9", "av1")}
MIME = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}
VIDEO_SQL = "SELECT path, container, codec, duration_s, live_since FROM videos WHERE video_id = $video_id"


@dataclass(frozen=True)
class Media:
    """The file behind a video, if it is still there, and whether a browser can play it."""

    path: Path
    is_there: bool
    playable: bool
    preview: Path
    start_s: float = 0.0  # a browser counts from the first frame of a file, the rows from the container's zero
    is_live: bool = False  # a session whose pictures were not kept

    @property
    def shown(self) -> Path | None:
        """What the player is given."""
        if self.is_there and self.playable:
            return self.path
        return self.preview if self.preview.is_file() else None


def find_media(results: Results, video_id: str) -> Media | None:
    """The media of a video; None if there is no such video."""
    rows = results.ask(VIDEO_SQL, video_id=video_id).to_pylist()
    if not rows:
        return None
    if rows[0]["live_since"] is not None:
        return Media(Path(rows[0]["path"]), False, False, Path(), is_live=True)
    path = Path(read_notes(results.root, video_id).moved_to or rows[0]["path"])
    preview = results.root / "previews" / f"video_id={video_id}" / "preview.mp4"
    if not path.is_file():
        return Media(path, False, False, preview)
    container, codec = rows[0]["container"] or "", rows[0]["codec"] or ""
    family = "mp4" if "mp4" in container else "webm" if path.suffix.lower() == ".webm" else ""
    try:
        with av.open(str(path), metadata_errors="replace") as file:
            stream = file.streams.video[0]
            playable = codec in PLAYABLE.get(family, ()) and stream.pix_fmt in ("yuv420p", "yuvj420p")
            first = (file.start_time, av.time_base) if playable else (stream.start_time, 1 / (stream.time_base or 1))
    except (av.error.FFmpegError, IndexError, OSError):
        return Media(path, True, False, preview)
    return Media(path, True, playable, preview, max(0.0, float((first[0] or 0) / first[1])))


def make_preview(media: Media) -> Path:
    """Write an H.264 copy, at most 720 lines high and without sound, that every browser plays; times stay as they are.

    Raises:
        StoreError: if the video cannot be read or written again.
    """
    if is_remote(media.preview):
        raise StoreError("no preview can be kept at an address: point to a copy that browsers play")
    media.preview.parent.mkdir(parents=True, exist_ok=True)
    part = media.preview.with_name(f".preview.{os.getpid()}.part")
    try:
        _transcode(media.path, part)
        part.replace(media.preview)
    except (av.error.FFmpegError, IndexError, OSError) as error:
        raise StoreError(f"{media.path}: no preview could be made: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return media.preview


def _transcode(source: Path, target: Path) -> None:
    with av.open(str(source), metadata_errors="replace") as reader, av.open(str(target), "w", "mp4") as writer:
        stream = reader.streams.video[0]
        stream.thread_type = "AUTO"
        out = None
        start_s = None
        last = -1
        for frame in reader.decode(stream):
            frame = _upright(frame)
            if out is None:
                scale = min(1.0, PREVIEW_HEIGHT_PX / frame.height)
                out = writer.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "24"})
                out.width, out.height = (round(side * scale / 2) * 2 for side in (frame.width, frame.height))
                out.pix_fmt, out.codec_context.time_base = "yuv420p", Fraction(1, 1000)
                start_s = frame.time or 0.0
            picture = frame.reformat(out.width, out.height, "yuv420p")
            ms = round(1000 * ((frame.time or 0.0) - (start_s or 0.0)))
            last = max(ms, last + 1)
            picture.pts, picture.time_base = last, Fraction(1, 1000)
            writer.mux(out.encode(picture))
        if out is None:
            raise OSError("it has no frame")
        writer.mux(out.encode(None))


def _upright(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame as it is shown: turned as the container says."""
    if not frame.rotation:
        return frame
    turned = av.VideoFrame.from_ndarray(
        np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90).copy(), "rgb24"
    )
    turned.pts, turned.time_base = frame.pts, frame.time_base
    return turned
