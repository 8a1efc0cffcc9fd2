"""The file that the player shows: the original where browsers can show it, else a preview copy made on demand."""

import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from PIL import Image

from analytics.results.ids import content_id
from analytics.results.notes import point_to, read_notes
from analytics.results.storage_paths import StoragePath, is_file, is_remote
from analytics.results.store import StoreError
from dashboard.data.results import Results
from fer_models.observe_version import OBSERVE_VERSION
from fer_models.video.container import VideoReadError, open_container
from fer_models.video.decode import read_frames
from fer_models.video.notes import CHANGES_SHAPE

MEDIA_FOLDERS_ENVIRONMENT = "FERVID_DASHBOARD_MEDIA_FOLDERS"
PREVIEW_HEIGHT_PX = 720
PREVIEW_BATCH = 8
# Other versions may have read other times, sizes or colors of the frames.
_PREVIEW_SUFFIX = f"-v{OBSERVE_VERSION}.mp4"
# Formats that Chromium, Firefox and Safari all play. HEVC plays in some of them only, so a preview is made.
PLAYABLE = {"mp4": ("h264", "av1"), "webm": ("vp8", "vp9", "av1")}
# Still images that browsers show, by their format as `fer_models.video.still_images` names it.
IMAGE_MIME = {
    "avif": "image/avif",
    "bmp": "image/bmp",
    "jpeg": "image/jpeg",
    "mpo": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}
MIME = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm"}
VIDEO_SQL = "SELECT * FROM videos WHERE video_id = $video_id"
PATHS_SQL = "SELECT DISTINCT path FROM videos"


@dataclass(frozen=True)
class Media:
    """The file behind a video, if it is still there, and whether a browser can show it."""

    video_id: str
    path: Path
    exists: bool
    playable: bool
    preview: StoragePath
    start_s: float = 0.0  # time of the first frame of the file in the times of the tables
    is_live: bool = False  # True for a live session, whose frames were not kept
    video_stream: int | None = None  # the video stream that the analysis read, and below the rotation of its frames
    rotate: int = 0
    image_mime: str | None = None  # the MIME type of a still image in a format that browsers show

    @property
    def shown(self) -> Path | None:
        """The file that the player gets; None if there is none that a browser can show."""
        if self.exists and self.playable:
            return self.path
        if is_remote(self.preview) or not self.preview.is_file() or self.preview.is_symlink():
            return None
        return self.preview

    @property
    def mime(self) -> str:
        """The MIME type of the shown file."""
        if self.shown != self.path:
            return MIME[".mp4"]
        return self.image_mime or MIME.get(self.path.suffix.lower(), "application/octet-stream")

    def has_analyzed_content(self) -> bool:
        """Whether the shown file is the analyzed video, byte for byte, or a preview in the results folder."""
        if self.shown is None or self.shown == self.preview:
            return self.shown is not None
        return content_id(self.path) == self.video_id


def find_media(results: Results, video_id: str) -> Media | None:
    """The media of a video; None if there is no such video."""
    rows = results.ask(VIDEO_SQL, video_id=video_id).to_pylist()
    if not rows:
        return None
    (row,) = rows
    if row["live_since"] is not None:
        return Media(video_id, Path(row["path"]), exists=False, playable=False, preview=Path(), is_live=True)
    # A file may have moved back since the user said where it is.
    paths = [Path(path) for path in (read_notes(results.root, video_id).moved_to, row["path"]) if path]
    path = next(filter(is_file, paths), paths[0])
    observe = json.loads(row["settings"] or "{}").get("observe", {})
    read_as = observe.get("video_stream"), observe.get("rotate", 0)
    # A browser would show another stream, frames that are not rotated, or stretched ones.
    is_as_stored = read_as == (None, 0) and not row.get("is_mirrored") and not row.get("n_clock_jumps")
    is_as_stored = is_as_stored and CHANGES_SHAPE not in (row.get("notes") or "")
    # Version 0.1 did not store which stream the default was.
    stream = read_as[0] if row["video_stream"] is None else row["video_stream"]
    name = "preview" if read_as == (None, 0) else f"preview-{'default' if stream is None else stream}-{read_as[1]}"
    preview = results.root / "previews" / f"video_id={video_id}" / f"{name}{_PREVIEW_SUFFIX}"
    media = Media(
        video_id,
        path,
        exists=is_file(path),
        playable=False,
        preview=preview,
        video_stream=read_as[0],
        rotate=read_as[1],
    )
    if not media.exists:
        return media
    container, codec = row["container"] or "", row["codec"] or ""
    if (image_mime := IMAGE_MIME.get(container)) and row["n_frames"] == 1 and not row["duration_s"]:
        # All browsers rotate JPEG as its EXIF data says, but not the other formats.
        playable = is_as_stored and (image_mime == "image/jpeg" or not row["rotation_deg"])
        return replace(media, playable=playable, image_mime=image_mime)
    family = "mp4" if "mp4" in container else "webm" if path.suffix.lower() == ".webm" else ""
    try:
        with open_container(path) as file:
            pixel_format = _pixel_format(file.streams.video, stream or 0)
            is_known = codec in PLAYABLE.get(family, ()) and pixel_format in ("yuv420p", "yuvj420p")
            playable = is_known and is_as_stored
            file_start_s = (file.start_time or 0) / av.time_base
    except VideoReadError:
        return media
    # Times in tables of version 0.1 are the container's; later ones are player time.
    start_s = file_start_s if row.get("start_time_s") is None else 0.0
    return replace(media, playable=playable, start_s=max(0.0, start_s))


def _pixel_format(streams: Sequence[av.VideoStream], index: int) -> str | None:
    """The pixel format of a stream; None if it does not exist, or FFmpeg has no decoder for it."""
    codec = streams[index].codec_context if index < len(streams) else None
    return codec.pix_fmt if codec else None


def media_folders(results: Results) -> list[Path]:
    """The folders in which a moved video may be: those of the videos, the results, and those given to the command."""
    known = (Path(path).parent for path in results.ask(PATHS_SQL)["path"].to_pylist() if "://" not in path)
    given = filter(None, os.environ.get(MEDIA_FOLDERS_ENVIRONMENT, "").split(os.pathsep))
    own = () if is_remote(results.root) else (results.root,)
    return [folder.resolve() for folder in (*known, *own, *map(Path, given)) if folder.is_absolute()]


def is_within(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path, with all links resolved, lies in one of the folders."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder) for folder in folders)


def relocate(results: Results, video_id: str, path: str) -> None:
    """Record where the file of a video is now.

    Raises:
        StoreError: if the path is outside `media_folders` (whether there is a file or not), if there is no such file,
            it cannot be read, or its content is that of another video.
    """
    # Leaves `~` and the name of an unknown user as they are, where `Path.expanduser` raises an error.
    moved = Path(os.path.expanduser(path))  # noqa: PTH111
    if not is_within(moved, media_folders(results)):
        raise StoreError(
            f"{path}: not in a folder that this dashboard may read. Start it with --media-folder FOLDER to allow one."
        )
    point_to(results.root, video_id, moved)


def make_preview(media: Media) -> Path:
    """Write an H.264 copy, at most 720 lines high and without sound, that every browser plays; times are kept.

    Raises:
        StoreError: if the video cannot be read, or no copy can be written.
    """
    if is_remote(media.preview):
        raise StoreError("a preview cannot be kept in an object store: point to a copy that browsers play")
    media.preview.parent.mkdir(parents=True, exist_ok=True)
    part = media.preview.with_name(f".preview.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        _transcode(media, part)
        part.replace(media.preview)
        for copy in media.preview.parent.glob("preview*.mp4"):
            if not copy.name.endswith(_PREVIEW_SUFFIX):
                copy.unlink()
    except (av.error.FFmpegError, VideoReadError, OSError) as error:
        raise StoreError(f"{media.path}: the preview failed: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return media.preview


def _transcode(media: Media, target: Path) -> None:
    """Encode the frames that the analysis reads, at their times."""
    with av.open(str(target), "w", "mp4") as writer:
        out = writer.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "24"})
        out.pix_fmt, out.codec_context.time_base = "yuv420p", Fraction(1, 1000)
        last_ms = -1
        stream, rotate = media.video_stream, media.rotate
        for batch in read_frames(media.path, batch_size=PREVIEW_BATCH, video_stream=stream, rotate=rotate):
            for pixels, pts_s in zip(batch.pixels, batch.pts_s, strict=True):
                if last_ms < 0:
                    out.width, out.height = preview_size(pixels.shape[1], pixels.shape[0])
                # The first frame is shown from 0 s on, so that a player begins with it.
                times_ms = {0, max(0, round(1000 * pts_s))} if last_ms < 0 else {round(1000 * pts_s)}
                for time_ms in sorted(times_ms):
                    last_ms = max(time_ms, last_ms + 1)
                    frame = _resize(pixels, out.width, out.height)
                    frame.pts, frame.time_base = last_ms, Fraction(1, 1000)
                    writer.mux(out.encode(frame))
        if last_ms < 0:
            raise OSError("the video has no frame")
        writer.mux(out.encode(None))


def preview_size(width_px: int, height_px: int) -> tuple[int, int]:
    """The size of a preview: even numbers, as H.264 needs, and at most `PREVIEW_HEIGHT_PX` high.

    >>> preview_size(1921, 1081)
    (1280, 720)
    """
    scale = min(1.0, PREVIEW_HEIGHT_PX / height_px)
    return max(2, round(width_px * scale / 2) * 2), max(2, round(height_px * scale / 2) * 2)


def _resize(pixels: np.ndarray, width_px: int, height_px: int) -> av.VideoFrame:
    if pixels.shape[:2] != (height_px, width_px):
        pixels = np.asarray(Image.fromarray(pixels).resize((width_px, height_px), Image.Resampling.BILINEAR))
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
