"""Open video files with FFmpeg; its errors become a `VideoReadError` that names the file."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
from av.audio.stream import AudioStream
from av.codec.context import Flags

from fer_models.errors import FervidError
from fer_models.files import other_kind, valid_text
from fer_models.prefetch import heartbeat
from fer_models.video.signatures import HEAD_BYTES, other_content

logger = logging.getLogger(__name__)


# FFmpeg's demuxers that open other files or devices, which the content of a video file must not cause.
_REFERRING_FORMATS = frozenset(
    {"avisynth", "concat", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap", "sdp", "vapoursynth"}
    | {"vobsub", "webm_dash_manifest"}
)
SELF_CONTAINED_FORMATS = {"format_whitelist": ",".join(sorted(av.formats_available - _REFERRING_FORMATS))}
_OPEN_OPTIONS = {"protocol_whitelist": "file", **SELF_CONTAINED_FORMATS}
# Maximum number of pixels of a frame; larger frames are refused. This is twice 8K video, 200 MB as RGB.
MAX_FRAME_PX = 2**26
# Maximum number of pixels of a frame that FFmpeg decodes while it probes a file, to limit memory.
MAX_PROBED_PX = 2**28
# Limit in bytes on all frames that the threads of a decoder process at the same time, one frame per thread.
_MAX_DECODING_BYTES = 512 * 2**20
_GENPTS = 1  # FFmpeg's AVFMT_FLAG_GENPTS, which PyAV sets
# Codecs whose packets do not tell FFmpeg the order of presentation: it would take the decoding time of the next packet.
_UNORDERED_CODECS = frozenset({"h264", "hevc", "vvc"})
_HLS_MAGIC = b"#EXTM3U"
_HEIF_BRANDS = frozenset({"heic", "heix", "heim", "heis", "mif1"})

SUGGESTED_ACTIONS: dict[type[OSError], str] = {
    FileNotFoundError: "check its name",
    PermissionError: "make it readable for this user",
}


class VideoReadError(FervidError):
    """A file cannot be read as a video. The message names the file and the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{valid_text(self.path)}: {self.reason}".encode(errors="backslashreplace").decode()


def check_readable(path: Path) -> None:
    """Check that a path is a readable, non-empty regular file.

    Raises:
        VideoReadError: if it is not.
    """
    try:
        if path.is_dir():
            os.scandir(path).close()  # raises an error if the folder cannot be read
            raise VideoReadError(path, "is a folder: give a video, or a folder that contains one")
        if kind := other_kind(path):
            raise VideoReadError(path, f"is {kind}, and only regular files are read: fervid live reads pipes")
        with path.open("rb") as file:
            if not file.read(1):
                raise VideoReadError(path, "is empty (0 bytes): copy or record it again")
    except OSError as error:
        suggested_action = SUGGESTED_ACTIONS.get(type(error), "check the disk or network share that holds it")
        raise VideoReadError(path, f"{error.strerror or error}: {suggested_action}") from error


@contextmanager
def open_container(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a file with PyAV; close it on exit.

    Raises:
        VideoReadError: if FFmpeg does not recognize the file.
    """
    try:
        container = av.open(
            str(path.absolute()),  # an absolute path, because FFmpeg would take "a:" in "a:b.mp4" for a protocol
            container_options=_OPEN_OPTIONS,
            options={"max_pixels": str(MAX_PROBED_PX)},
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        if isinstance(error, av.ArgumentError) or (path.is_file() and _is_hls_playlist(path)):
            reason = "is a playlist or a stream description, or not a video: give the video files themselves"
            raise VideoReadError(path, reason) from error
        if content := _other_content(path):
            raise VideoReadError(path, f"not a video, but {content}: copy or download the video again") from error
        reason = f"not a video, or truncated before its index was written ({error.strerror}): copy or export it again"
        raise VideoReadError(path, reason) from error
    with container:
        if container.metadata.get("major_brand") in _HEIF_BRANDS:
            raise VideoReadError(path, "is a HEIC image: rename it so that its name ends in .heic")
        for stream in container.streams.video:
            if stream.codec_context is None:
                continue
            crop_exactly(stream.codec_context)
            if stream.codec_context.name in _UNORDERED_CODECS:
                disable_generated_times(container)
        yield container


def crop_exactly(codec: av.VideoCodecContext) -> None:
    """Make a decoder crop frames at the column that the stream states, not at an aligned one to the left of it."""
    codec.flags |= Flags.unaligned


def disable_generated_times(container: av.container.InputContainer) -> None:
    """From here on, leave packets without a presentation time if the file stores none."""
    container.flags &= ~_GENPTS


def _other_content(path: Path) -> str | None:
    """What a file is if it is a document, such as a web page that was saved in place of a video; else None."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return other_content(file.read(HEAD_BYTES))


def _is_hls_playlist(path: Path) -> bool:
    """Whether a file is an HLS playlist, which FFmpeg does not recognize under the suffix of a video."""
    with path.open("rb") as file:
        return file.read(len(_HLS_MAGIC)) == _HLS_MAGIC


def container_start_s(container: av.container.InputContainer) -> Fraction | None:
    """The time at which playback starts: the earliest start of any stream; None if the file does not specify it."""
    if container.start_time is None:
        return None
    # FFmpeg rounds this time to microseconds: use the exact start of the stream that it comes from.
    rounded_s = Fraction(container.start_time, av.time_base)
    starts_s = [s.start_time * s.time_base for s in container.streams if s.start_time is not None and s.time_base]
    exact_s = min(starts_s, key=lambda start_s: abs(start_s - rounded_s), default=rounded_s)
    return exact_s if abs(exact_s - rounded_s) * av.time_base <= 1 else rounded_s


def decoding_stream(container: av.container.InputContainer, stream_index: int) -> av.VideoStream:
    """The video stream with this index among all streams of the file, set up to decode on all cores."""
    stream = next(stream for stream in container.streams.video if stream.index == stream_index)
    codec = stream.codec_context
    stream.thread_type = "AUTO"
    # Limits the frame size here too, because a stream may change its size.
    codec.options = {"max_pixels": str(MAX_FRAME_PX)}
    if codec.name == "mjpeg":
        # FFmpeg would conceal damage with pixels of the frames decoded before, and report no error.
        codec.options |= {"err_detect": "explode"}
    n_frames = _MAX_DECODING_BYTES // max(1, codec.width * codec.height * 4)
    if n_frames < (os.cpu_count() or 1):
        codec.thread_count = max(1, n_frames)
    return stream


def read_packets(
    container: av.container.InputContainer, *streams: av.VideoStream | AudioStream
) -> Iterator[av.Packet[Any]]:
    """The packets of these streams, or of all streams if none is given; the last one of each is an empty flush packet.

    In a video stream without reordering, a packet without a presentation time, as in AVI, gets its decoding time.

    Raises:
        av.FFmpegError: where the container is damaged.
    """
    try:
        for packet in container.demux(*streams):
            heartbeat()
            if packet.pts is None and isinstance(packet.stream, av.VideoStream):
                codec = packet.stream.codec_context  # None if FFmpeg has no decoder
                if codec and codec.reorder_depth == 0:
                    packet.pts = packet.dts
            yield packet
    except IndexError:  # raised by PyAV at the end of a file that gained streams while it was read
        return


def packets_until_damage(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet[av.VideoStream]]:
    """The packets of a stream up to its end or the first damage; the last one is an empty flush packet."""
    try:
        yield from read_packets(container, stream)
    except av.FFmpegError as error:
        logger.warning("%s: the rest of the file cannot be read (%s)", container.name, error.strerror)
        yield flush_packet(stream)


def flush_packet(stream: av.VideoStream) -> av.Packet[av.VideoStream]:
    """An empty packet, for which the decoder returns the frames that it holds back."""
    assert stream.time_base is not None
    flush: av.Packet[Any] = av.Packet()
    flush.stream, flush.time_base = stream, stream.time_base
    return flush


def is_shown(packet: av.Packet[Any]) -> bool:
    """Whether a player shows the frame of a packet.

    Frames before the start of an edit list are decoded but not shown, and neither are VP8 frames without show_frame,
    bit 4 of the first byte (RFC 6386, 9.1). Theora headers, which concatenated files repeat, have bit 7 of the first
    byte set. Empty packets are the flush at the end, or "same frame again" in AVI.
    """
    if packet.size == 0 or packet.is_discard:
        return False
    match packet.stream.codec_context.name:
        case "vp8":
            return bool(bytes(packet)[0] & 0x10)
        case "theora":
            return not bytes(packet)[0] & 0x80
    return True


def decode_packet(packet: av.Packet[av.VideoStream]) -> tuple[list[av.VideoFrame], bool]:
    """The frames that a packet completes, and whether the decoder reported damage, of this or of an earlier packet."""
    try:
        return packet.decode(), False
    except av.FFmpegError:
        return [], True
