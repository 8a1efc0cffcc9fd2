"""Read the packets of a video stream: their timestamps, and the keyframes where decoding can start."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.container
import numpy as np

from fer_models.video.clock import MAX_STEP_S
from fer_models.video.container import VideoReadError, decode_packet, is_shown, read_packets
from fer_models.video.frame_formats import FormatFinder, FrameFormat

# Reading stops if this many packets yield at most one frame, because the others would fail as well.
_MAX_FAILED_PACKETS = 10_000
TIMED_STREAMS = ("audio", "video")
NO_TIME = -(2**63)  # FFmpeg's AV_NOPTS_VALUE: an unknown timestamp
TS_DISCONT = 0x0200  # FFmpeg's AVFMT_TS_DISCONT: a flag of formats whose timestamps may jump


def _numbers() -> array[int]:
    return array("q")


@dataclass
class Packets:
    """The packets of a video stream; the arrays have one entry per shown packet, in the order of the file.

    They are compact, because a video of a day has two million packets.
    """

    pts: array[int] = field(default_factory=_numbers)  # `NO_TIME` where unknown
    dts: array[int] = field(default_factory=_numbers)  # `NO_TIME` where unknown
    duration: array[int] = field(default_factory=_numbers)
    is_keyframe: bytearray = field(default_factory=bytearray)
    is_corrupt: bytearray = field(default_factory=bytearray)
    # Number of bytes before it from which FFmpeg read no packet, of any stream.
    unread_before_bytes: array[int] = field(default_factory=_numbers)
    is_gap: bytearray = field(default_factory=bytearray)  # True where the timestamps of all streams jump ahead
    # Where a keyframe states another frame format: the position of its packet in the arrays, and the format.
    formats: list[tuple[int, FrameFormat]] = field(default_factory=list)
    first_frame: av.VideoFrame | None = None
    n_left_out: int = 0  # number of packets after the first one that are left out, because they cannot be decoded
    n_decoded: int = 0  # number of frames decoded so far; decoding stops at the second one
    # First timestamp of every stream by its index, in the time base of the stream.
    starts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    unread_bytes: int = 0  # most bytes between two packets of any stream since the last shown packet
    end_byte: int = 0  # position in the file at which the last packet ends
    damage: str = ""  # error message if reading the packets failed, else empty

    def known_pts(self) -> np.ndarray:
        """The presentation times that are known, int64."""
        pts = np.array(self.pts, np.int64)
        known: np.ndarray = pts[pts != NO_TIME]
        return known


class _GapFinder:
    """Detect jumps ahead that all streams share; a pause of a single stream is not a jump.

    In a file with one stream, a jump is recognized at keyframes only: elsewhere it is more likely a pause.
    """

    def __init__(self) -> None:
        self._last_s: dict[int, float] = {}
        self._after_gap_s: dict[int, float] = {}

    def add(self, stream: int, time_s: float, *, is_keyframe: bool) -> bool:
        """Add the time of a packet; True if this and all other streams have jumped ahead to it."""
        is_step = time_s - self._last_s.get(stream, time_s) > MAX_STEP_S
        if is_step:
            self._after_gap_s[stream] = time_s
        self._last_s[stream] = time_s
        near_s = time_s - MAX_STEP_S
        can_jump = is_keyframe or len(self._last_s) > 1
        return (
            is_step
            and can_jump
            and all(
                last_s < near_s or self._after_gap_s.get(other, -np.inf) > near_s
                for other, last_s in self._last_s.items()
                if other != stream
            )
        )


class OpenVideo(NamedTuple):
    """An open file, and the video stream to read."""

    path: Path
    container: av.container.InputContainer
    stream: av.VideoStream


def walk_packets(video: OpenVideo) -> Packets:
    """Read all packets of a file, or those before the first damage; decode the first two frames of the stream.

    Raises:
        VideoReadError: if the header claims more frames than the file can hold, no frame decodes, or only one of very
            many does.
    """
    path, container, stream = video
    walked, gaps, size_bytes = Packets(), _GapFinder(), path.stat().st_size
    _check_claim(path, stream.frames, size_bytes)
    formats = FormatFinder(container, stream)
    may_jump = bool(container.format.flags & TS_DISCONT)
    last_pos = -1
    try:
        for packet in read_packets(container):
            start = packet.dts if packet.pts is None else packet.pts
            if start is not None:
                _take_extent(walked, packet, start)
            if packet.pos is not None and packet.pos >= 0:
                if walked.end_byte:
                    walked.unread_bytes = max(walked.unread_bytes, packet.pos - walked.end_byte)
                # Matroska laces short packets: they follow one another, but have one position.
                begin = walked.end_byte if packet.pos == last_pos else packet.pos
                walked.end_byte = max(walked.end_byte, begin + packet.size + _additional_bytes(packet))
                last_pos = packet.pos
            is_gap = False
            if may_jump and packet.dts is not None and packet.time_base and packet.stream.type in TIMED_STREAMS:
                time_s = float(packet.dts * packet.time_base)
                is_gap = gaps.add(packet.stream.index, time_s, is_keyframe=packet.is_keyframe)
            if packet.stream.index == stream.index:
                if changed := formats.add(packet):
                    walked.formats.append((len(walked.pts), changed))
                _take(walked, packet, is_gap)
                _check_claim(path, len(walked.pts), size_bytes)
                if walked.n_decoded < 2 and len(walked.pts) >= _MAX_FAILED_PACKETS:
                    break
    except av.FFmpegError as error:
        walked.damage = error.strerror or str(error)
    n_packets, codec = len(walked.pts), stream.codec_context.name
    if walked.first_frame is None or not n_packets:
        raise VideoReadError(path, f"none of its {n_packets:,} {codec} frames decodes: copy or export it again")
    if walked.n_decoded < 2 and n_packets >= _MAX_FAILED_PACKETS:
        reason = f"of its first {n_packets:,} {codec} frames only one decodes"
        raise VideoReadError(path, f"{reason}: the file is damaged, copy or export it again")
    _leave_out_leading(walked, walked.first_frame.pts)
    return walked


def _additional_bytes(packet: av.Packet[Any]) -> int:
    """The size of the additional data of a packet in Matroska, such as the alpha plane in WebM."""
    if not packet.has_sidedata("matroska_block_additional"):
        return 0
    return packet.get_sidedata("matroska_block_additional").data_size


def _check_claim(path: Path, n_frames: int, size_bytes: int) -> None:
    """Refuse a header that claims more frames than bytes: a frame takes at least one byte."""
    if n_frames > size_bytes:
        reason = f"claims {n_frames:,} frames or more, but has only {size_bytes:,} bytes"
        raise VideoReadError(path, f"{reason}: its header is damaged, copy it again")


def _take_extent(walked: Packets, packet: av.Packet[Any], start: int) -> None:
    index, end = packet.stream.index, start + (packet.duration or 0)
    walked.ends[index] = max(end, walked.ends.get(index, end))
    if not packet.is_discard:
        walked.starts[index] = min(start, walked.starts.get(index, start))


def _take(walked: Packets, packet: av.Packet[Any], is_gap: bool) -> None:
    if walked.n_decoded < 2:
        frames, _ = decode_packet(packet)
        walked.n_decoded += len(frames)
        walked.first_frame = walked.first_frame or next(iter(frames), None)
    if is_shown(packet):
        walked.pts.append(NO_TIME if packet.pts is None else packet.pts)
        walked.dts.append(NO_TIME if packet.dts is None else packet.dts)
        walked.duration.append(packet.duration or 0)
        walked.is_keyframe.append(packet.is_keyframe)
        walked.is_corrupt.append(packet.is_corrupt)
        walked.unread_before_bytes.append(walked.unread_bytes)
        walked.is_gap.append(is_gap)
        walked.unread_bytes = 0


def _leave_out_leading(walked: Packets, first_pts: int | None) -> None:
    """Leave out frames stored after the first keyframe but shown before it, unless they are decoded.

    They refer to frames before a lossless cut, and players do not show them.
    """
    pts, n = walked.pts, 1
    start = pts[0]
    if start == NO_TIME or first_pts is None or first_pts < start or not walked.is_keyframe[0]:
        return
    while n < len(pts) and NO_TIME < pts[n] < start:
        n += 1
    walked.n_left_out = n - 1
    numbers = (pts, walked.dts, walked.duration, walked.unread_before_bytes)
    for values in (*numbers, walked.is_keyframe, walked.is_corrupt, walked.is_gap):
        del values[1:n]


def has_leading_frames(packets: Packets) -> bool:
    """Whether frames stored after a keyframe are shown before it: they need frames from before the keyframe."""
    pts = packets.known_pts()
    if len(pts) < len(packets.pts):
        return False  # without timestamps, the order is unknown
    earliest_from_here_on = np.minimum.accumulate(pts[::-1])[::-1]
    return bool((earliest_from_here_on < pts)[np.array(packets.is_keyframe, bool)].any())
