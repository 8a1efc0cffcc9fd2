"""Opening video files and still pictures; the libraries' errors become a `VideoReadError` that names the file."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
from av.audio.stream import AudioStream
from PIL import Image, ImageOps

from fer_models.errors import FervidError
from fer_models.prefetch import heartbeat

logger = logging.getLogger(__name__)


# Demuxers that read other files, or no file at all: what a file contains must not lead to another one.
_REFERRING_FORMATS = frozenset(
    {"avisynth", "concat", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "vapoursynth"}
    | {"vobsub", "webm_dash_manifest"}
)
_ONLY_THIS_FILE = {
    "protocol_whitelist": "file",
    "format_whitelist": ",".join(sorted(av.formats_available - _REFERRING_FORMATS)),
}
_IMAGE_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # as Pillow calls them

SUGGESTED_ACTIONS: dict[type[OSError], str] = {
    FileNotFoundError: "check its name",
    PermissionError: "make it readable for this user",
}


class VideoReadError(FervidError):
    """A file cannot be read as a video; says which and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        # The bytes of a name that is not UTF-8 cannot be printed as they are.
        return f"{self.path}: {self.reason}".encode(errors="backslashreplace").decode()


def check_readable(path: Path) -> None:
    """Make sure that a path is a file with something in it that may be read.

    Raises:
        VideoReadError: if not.
    """
    try:
        if path.is_dir():
            raise VideoReadError(path, "is a folder: give a video, or a folder that holds one")
        with path.open("rb") as file:
            if not file.read(1):
                raise VideoReadError(path, "is empty (0 bytes): copy or record it again")
    except OSError as error:
        suggested_action = SUGGESTED_ACTIONS.get(type(error), "check the disk or the network share it is on")
        raise VideoReadError(path, f"{error.strerror or error}: {suggested_action}") from error


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a file with PyAV, and close it whatever happens.

    Raises:
        VideoReadError: if FFmpeg does not recognize the file.
    """
    try:
        # Absolute, as FFmpeg would take "a:b.mp4" for a protocol.
        container = av.open(str(path.absolute()), container_options=_ONLY_THIS_FILE, metadata_errors="replace")
    except av.ArgumentError as error:
        reason = "a playlist or a description of a stream, or no video at all: give the video files themselves"
        raise VideoReadError(path, reason) from error
    except av.FFmpegError as error:
        reason = f"not a video, or cut off before its index was written ({error.strerror}): if it is one, copy it again"
        raise VideoReadError(path, reason) from error
    with container:
        yield container


def decoding_stream(container: av.container.InputContainer, stream_index: int) -> av.VideoStream:
    """The video stream with this index among all streams of the file, set up to decode on all cores."""
    stream = next(stream for stream in container.streams.video if stream.index == stream_index)
    stream.thread_type = "AUTO"
    return stream


def read_packets(
    container: av.container.InputContainer, *streams: av.VideoStream | AudioStream
) -> Iterator[av.Packet[Any]]:
    """The packets of these streams, of all if none is named; the last one of each, empty, flushes.

    Raises:
        av.FFmpegError: where the container is broken.
    """
    try:
        for packet in container.demux(*streams):
            heartbeat()
            yield packet
    except IndexError:  # PyAV's, at the end of a file in which streams have turned up on the way
        return


def packets_until_damage(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet[av.VideoStream]]:
    """The packets of a stream, up to its end or to where the container is broken; the last one, empty, flushes."""
    try:
        yield from read_packets(container, stream)
    except av.FFmpegError as error:
        logger.warning("%s: nothing can be read from here on (%s)", container.name, error.strerror)
        assert stream.time_base is not None
        flush: av.Packet[Any] = av.Packet()
        flush.stream, flush.time_base = stream, stream.time_base
        yield flush


def decode_packet(packet: av.Packet[av.VideoStream]) -> list[av.VideoFrame]:
    """The frames that a packet completes; none where its data are damaged, for which each codec has its own error."""
    try:
        return packet.decode()
    except av.FFmpegError:
        return []


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open a still picture with Pillow, which reads its header; its pixels only when they are asked for.

    Raises:
        VideoReadError: if Pillow cannot read it, be it now or while the caller works with it.
    """
    try:
        with Image.open(path, formats=_IMAGE_FORMATS) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise VideoReadError(path, f"too large a picture ({error}): scale it down") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise VideoReadError(path, f"not a picture that can be read ({error}): save it as PNG or JPEG") from error


def read_image(path: Path) -> np.ndarray:
    """A still picture, turned as its EXIF orientation says: (h, w, 3) uint8 RGB.

    Raises:
        VideoReadError: if Pillow cannot read it.
    """
    with open_image(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):  # convert() would clip at 255
            upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
        return np.array(upright.convert("RGB"))
