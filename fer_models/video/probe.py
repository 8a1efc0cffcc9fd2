"""What a video file holds, found by walking its packets once: metadata may lie, packets do not."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import av
import av.container
import numpy as np
from av.stream import Disposition
from PIL import ExifTags

from fer_models.video.container import VideoReadError, check_readable, open_container, open_image
from fer_models.video.decord_backend import open_decord
from fer_models.video.packets import Packets, Timing, find_timing, find_truncation, has_leading_frames, walk_packets
from fer_models.video.sampling import ROUNDING_S

# fmt: off
VIDEO_SUFFIXES = frozenset({".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
                            ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"})
# fmt: on
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
DECODERS = ("auto", "decord", "pyav")

# Where decord's pictures were found equal to PyAV's bit for bit, read straight through and after seeks, and as fast.
# Not H.264, VP8 and MPEG-4: there decord is slower, and shows damaged pictures without a word.
_DECORD_CODECS = frozenset({"hevc", "vp9"})
_DECORD_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
_DECORD_PIXEL_FORMAT = "yuv420p"
# While its reader idles, decord decodes on to the end of the file and keeps every picture.
_DECORD_MAX_DECODED_BYTES = 256 * 2**20
_SMALL_BYTES = 2**20  # not worth a look at how long it is


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """What a video file holds, and which decoder will read it."""

    path: Path
    container: str  # FFmpeg's name, such as "mov,mp4,m4a,3gp,3g2,mj2"
    codec: str
    pixel_format: str  # as stored: FFmpeg's name, such as "yuv420p"; Pillow's mode for a still picture
    width_px: int  # as shown: after rotation
    height_px: int
    rotation_deg: int  # 0, 90, 180 or 270: how far the stored picture is turned clockwise to be shown
    duration_s: float  # from the first frame's time to the end of the last frame; 0 for a still picture
    pts_s: np.ndarray  # (n_frames,) float64, strictly rising: when each frame is shown, in the container's time
    avg_fps: float | None  # None for a still picture
    is_vfr: bool  # the steps between frames differ by more than rounding to 1 ms, or to the time base, explains
    decoder: str  # "decord", "pyav" or "image"
    decoder_reason: str
    stream_index: int  # of the video among the file's streams
    keyframe_index: np.ndarray  # (k,) int64, rising: the frames at which decoding can start
    is_counted: bool  # the pictures carry no usable times: a frame is known by its place in the stream
    truncation: str | None  # part of a sentence: where the file breaks off; None where nothing tells that it does

    @property
    def n_frames(self) -> int:
        """How many frames the file shows."""
        return len(self.pts_s)


def probe(path: str | Path, decoder: str = "auto") -> VideoInfo:
    """Walk the packets of a video and decode its first frame; a still picture counts as a video of one frame at 0 s.

    Args:
        path: the file.
        decoder: "decord", "pyav", or "auto": decord for short plain clips in HEVC or VP9, which it decodes in the
            background while the reader is busy, PyAV for everything else. PyAV leaves out pictures that decode with
            damage; decord may deliver them.

    Raises:
        VideoReadError: if the file cannot be read, holds no video, or the decoder asked for cannot read it.
        ValueError: if there is no such decoder.
    """
    path = Path(path)
    if decoder not in DECODERS:
        raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}")
    check_readable(path)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _probe_image(path)
    with open_container(path) as container:
        stream = _video_stream(path, container)
        packets = walk_packets(container, stream)
        if packets.first_frame is None or not packets.pts:
            raise VideoReadError(path, f"none of its {len(packets.pts)} {stream.codec_context.name} pictures decodes")
        timing = find_timing(path, container, stream, packets)
        truncation = find_truncation(container, stream, packets, timing)
        info = _describe(path, container, stream, packets.first_frame, timing, truncation)
        doubt = _doubt_about_decord(info, packets, len(container.streams.video))
    if decoder == "pyav" or (decoder == "auto" and doubt):
        return dataclasses.replace(info, decoder_reason=doubt if decoder == "auto" else "asked for")
    try:
        open_decord(path, info.n_frames)
    except VideoReadError as error:
        if decoder == "decord":
            raise VideoReadError(path, f"{error.reason}; use --decoder pyav") from error
        return dataclasses.replace(info, decoder_reason=error.reason)
    reason = "a short, plain clip: decord works ahead" if decoder == "auto" else "asked for"
    return dataclasses.replace(info, decoder="decord", decoder_reason=reason)


def stated_duration_s(path: Path) -> float:
    """How long a video is by its header, at a glance; 0 where that does not say, and for small files and pictures.

    Raises:
        VideoReadError: if it has no header.
    """
    is_small = not path.is_file() or path.stat().st_size < _SMALL_BYTES
    if is_small or path.suffix.lower() in IMAGE_SUFFIXES:
        return 0.0
    with open_container(path) as container:
        return (container.duration or 0) / av.time_base


def _probe_image(path: Path) -> VideoInfo:
    """From its header alone; that its pixels decode shows when they are read."""
    with open_image(path) as image:
        image_format, mode = (image.format or "").lower(), image.mode
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        if image_format == "tiff":
            image.load()  # Pillow itself turns TIFF, here at the latest
        size_px = image.size
    width_px, height_px = size_px[::-1] if orientation >= 5 and image_format != "tiff" else size_px
    return VideoInfo(
        path=path,
        container=image_format,
        codec=image_format,
        pixel_format=mode,
        width_px=width_px,
        height_px=height_px,
        rotation_deg={3: 180, 6: 90, 8: 270}.get(orientation, 0),
        duration_s=0.0,
        pts_s=np.zeros(1),
        avg_fps=None,
        is_vfr=False,
        decoder="image",
        decoder_reason="a still picture",
        stream_index=0,
        keyframe_index=np.zeros(1, np.int64),
        is_counted=False,
        truncation=None,
    )


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The video stream with the largest picture; the cover of a piece of music is none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise VideoReadError(path, "has no video stream")
    stream = max(streams, key=lambda s: s.codec_context.width * s.codec_context.height if s.codec_context else -1)
    if stream.codec_context is None:
        raise VideoReadError(path, "its video is in a format that FFmpeg has no decoder for")
    return stream


def _describe(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    first_frame: av.VideoFrame,
    timing: Timing,
    truncation: str | None,
) -> VideoInfo:
    assert stream.time_base is not None
    steps_s = np.diff(timing.pts_s)
    usual_step_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    duration_s = float(timing.pts_s[-1] - timing.pts_s[0]) + (timing.last_duration_s or usual_step_s)
    rotation_deg = round(-first_frame.rotation / 90) * 90 % 360  # FFmpeg counts anticlockwise
    size_px = (first_frame.width, first_frame.height)
    width_px, height_px = size_px if rotation_deg % 180 == 0 else size_px[::-1]
    # Times rounded to a unit make equal steps differ by up to one unit.
    rounding_s = max(ROUNDING_S, float(stream.time_base))
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=first_frame.format.name,
        width_px=width_px,
        height_px=height_px,
        rotation_deg=rotation_deg,
        duration_s=duration_s,
        pts_s=timing.pts_s,
        avg_fps=len(timing.pts_s) / duration_s if duration_s > 0 else None,
        is_vfr=bool(len(steps_s)) and bool(np.ptp(steps_s) > 1.5 * rounding_s),
        decoder="pyav",
        decoder_reason="",
        stream_index=stream.index,
        keyframe_index=timing.keyframe_index,
        is_counted=timing.is_counted,
        truncation=truncation,
    )


def _doubt_about_decord(info: VideoInfo, packets: Packets, n_video_streams: int) -> str:
    """Why decord 0.6 should not read this video; empty where its pictures are right and fit in memory."""
    decoded_bytes = info.n_frames * info.width_px * info.height_px * 3
    doubts = {
        f"decord was not found right in {info.container}": info.container not in _DECORD_CONTAINERS,
        f"decord is slower with {info.codec}, or hides damage": info.codec not in _DECORD_CODECS,
        f"decord was not found right with {info.pixel_format} pictures": info.pixel_format != _DECORD_PIXEL_FORMAT,
        "decord rounds the colors of odd-sized pictures": info.width_px % 2 == 1 or info.height_px % 2 == 1,
        "decord does not turn pictures in every container": info.rotation_deg != 0,
        "decord may read another of the video streams": n_video_streams > 1,
        "the pictures carry no times of their own": info.is_counted,
        "decord gives wrong frames after a seek into open groups of pictures": has_leading_frames(packets),
        "decord may keep every picture it has decoded, too many here": decoded_bytes > _DECORD_MAX_DECODED_BYTES,
    }
    return next((doubt for doubt, holds in doubts.items() if holds), "")
