"""Find where the frames of a stream change their size, pixel aspect or HDR, from the headers in its keyframes."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

import contextlib
from collections import deque
from fractions import Fraction
from typing import Any, NamedTuple, cast

import av
import av.container
from av.bitstream import BitStreamFilterContext

from fer_models.video.color import UNSPECIFIED_TRANSFER, hdr_transfer
from fer_models.video.container import MAX_FRAME_PX, crop_exactly

# FFmpeg's filters that leave only the headers with the frame size in a packet, by codec.
_HEADER_FILTERS = {
    "av1": "filter_units=pass_types=1",
    "h264": "filter_units=pass_types=7",
    "hevc": "filter_units=pass_types=33",
    "mjpeg": "filter_units=pass_types=192-194",
    "mpeg2video": "filter_units=pass_types=179",
    "vvc": "filter_units=pass_types=15",
}
# Formats that state no pixel aspect, so that players follow that of the stream; others state one for all frames.
_WITHOUT_PIXEL_ASPECT = frozenset({"flv", "h264", "hevc", "mpeg", "mpegts", "mpegvideo", "vvc"})


class FrameShape(NamedTuple):
    """Size of stored frames, and the width of a pixel over its height; None counts as square."""

    width_px: int
    height_px: int
    pixel_aspect: Fraction | None


class FrameFormat(NamedTuple):
    """The shape of stored frames, and their transfer characteristics as numbered by FFmpeg if HDR, else 0."""

    shape: FrameShape
    transfer: int


class FormatFinder:
    """Detect changes of the frame format from packet to packet; only keyframes with another header are decoded."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        self._codec = stream.codec_context
        self._name = self._codec.codec.canonical_name
        self._stated_aspect = stream.sample_aspect_ratio
        self._has_own_aspect = (
            container.format.name in _WITHOUT_PIXEL_ASPECT and self._stated_aspect == self._codec.sample_aspect_ratio
        )
        self._extradata = self._codec.extradata
        self._filter = None
        if self._name in _HEADER_FILTERS:
            with contextlib.suppress(av.FFmpegError):  # a damaged header of the container
                self._filter = BitStreamFilterContext(_HEADER_FILTERS[self._name], stream)
        self._header = b""
        self._formats: dict[bytes, FrameFormat | None] = {}

    def add(self, packet: av.Packet[Any]) -> FrameFormat | None:
        """The format of the frames from this packet on if its header differs from the previous one, else None."""
        try:
            header = self._header_of(packet)
        except av.FFmpegError:
            return None  # damaged data, or a variant that the filter does not know
        if not header or header == self._header:
            return None
        is_first, self._header = not self._header, header
        if is_first:
            return None
        if header not in self._formats:
            self._formats[header] = self._decode(packet)
        return self._formats[header]

    def _header_of(self, packet: av.Packet[Any]) -> bytes:
        if packet.has_sidedata("new_extradata"):
            self._extradata = bytes(packet.get_sidedata("new_extradata"))
            return self._extradata
        if not packet.size or not packet.is_keyframe:
            return b""
        match self._name:
            case "vp8":
                return bytes(packet)[3:10]
            case "vp9":
                return bytes(packet)[:9]
        if self._filter is None:
            return b""
        return b"".join(bytes(unit) for unit in self._filter.filter(av.Packet(bytes(packet))))

    def _decode(self, packet: av.Packet[Any]) -> FrameFormat | None:
        codec = cast(av.VideoCodecContext, av.CodecContext.create(self._codec.name, "r"))
        codec.options = {"max_pixels": str(MAX_FRAME_PX)}
        codec.extradata = self._extradata
        codec.color_trc = self._codec.color_trc  # where the header states none
        crop_exactly(codec)
        try:
            frames = [*codec.decode(av.Packet(bytes(packet))), *codec.decode(None)]
        except av.FFmpegError:
            return None
        if not frames:
            return None
        aspect = codec.sample_aspect_ratio if self._has_own_aspect else self._stated_aspect
        return FrameFormat(FrameShape(frames[0].width, frames[0].height, aspect), hdr_transfer(frames[0]))


class TransferCorrection:
    """Give frames the transfer characteristics that the headers state: FFmpeg's decoder keeps those of HLG."""

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        self._formats = FormatFinder(container, stream)
        self._changes: deque[tuple[float, int]] = deque()  # from which time on, and the transfer characteristics
        self._transfer: int | None = None  # None before the first frame

    def add(self, packet: av.Packet[Any], time_s: float) -> None:
        """Note a change of the header in a packet before it is decoded."""
        if changed := self._formats.add(packet):
            self._changes.append((time_s, changed.transfer))

    def apply(self, frame: av.VideoFrame, time_s: float) -> None:
        """Correct a decoded frame; `time_s` is the time of its packet."""
        if self._transfer is None:
            self._transfer = hdr_transfer(frame)
        while self._changes and self._changes[0][0] <= time_s:
            self._transfer = self._changes.popleft()[1]
        if hdr_transfer(frame) != self._transfer:
            frame.color_trc = self._transfer or UNSPECIFIED_TRANSFER
