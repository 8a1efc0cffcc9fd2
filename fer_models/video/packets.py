"""Read the packets of a video stream: presentation times of its frames, and the keyframes where decoding can start."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

import mmap
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.container
import numpy as np

from fer_models.video.clock import MAX_STEP_S, RepairedClock, find_jumps, repair_clock, to_seconds
from fer_models.video.container import (
    VideoReadError,
    container_start_s,
    decode_packet,
    decoding_stream,
    is_shown,
    open_container,
    packets_until_damage,
    read_packets,
)

# Seconds by which the duration in a header may exceed that of the packets, beyond one frame, without being wrong.
_PROMISE_TOLERANCE_S = 0.5
# Reading stops if this many packets yield at most one frame, because the others would fail as well.
_MAX_FAILED_PACKETS = 10_000
_TIMED_STREAMS = ("audio", "video")
# Formats whose header states one duration for all streams, counted from 0 or from the start time.
_STATE_WHOLE_DURATION = ("asf", "flv", "matroska,webm")
_TS_DISCONT = 0x0200  # FFmpeg's AVFMT_TS_DISCONT: a flag of formats whose timestamps may jump
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_BOX_HEADER_BYTES = 8
_MAX_BOXES = 10_000  # most boxes read at the top level of an MP4 file, which usually has about four
# Offset and signature of files in formats in which FFmpeg ignores a second file that is appended to the first.
_SIGNATURES = {
    _MP4: (4, b"ftyp"),
    "asf": (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),
    "flv": (0, b"FLV\x01"),
    "gif": (0, b"GIF8"),
    "matroska,webm": (0, b"\x1aE\xdf\xa3"),
}


@dataclass
class Packets:
    """The packets of a video stream; the lists have one entry per shown packet, in the order of the file."""

    pts: list[int | None] = field(default_factory=list)
    dts: list[int | None] = field(default_factory=list)
    duration: list[int] = field(default_factory=list)
    is_keyframe: list[bool] = field(default_factory=list)
    is_gap: list[bool] = field(default_factory=list)  # True where the timestamps of all streams jump ahead
    first_frame: av.VideoFrame | None = None
    n_decoded: int = 0  # number of frames decoded so far; decoding stops at the second one
    # First timestamp of every stream by its index, in the time base of the stream.
    starts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    end_byte: int = 0  # position in the file at which the last packet ends
    damage: str = ""  # error message if reading the packets failed, else empty


@dataclass(frozen=True, eq=False)
class Timing:
    """Presentation times of the frames of a stream; the fields are those of `VideoInfo`."""

    pts_s: np.ndarray
    pts: np.ndarray
    keyframe_index: np.ndarray
    start_time_s: float
    end_s: float  # end of the last frame
    is_counted: bool
    packet_frame: np.ndarray | None = None
    n_clock_jumps: int = 0
    n_repeated: int = 0


class _GapFinder:
    """Detect jumps ahead that all streams share; a pause of a single stream is not a jump."""

    def __init__(self) -> None:
        self._last_s: dict[int, float] = {}
        self._after_gap_s: dict[int, float] = {}

    def add(self, stream: int, time_s: float) -> bool:
        """Add the time of a packet; True if this and all other streams have jumped ahead to it."""
        is_step = time_s - self._last_s.get(stream, time_s) > MAX_STEP_S
        if is_step:
            self._after_gap_s[stream] = time_s
        self._last_s[stream] = time_s
        near_s = time_s - MAX_STEP_S
        return is_step and all(
            last_s < near_s or self._after_gap_s.get(other, -np.inf) > near_s
            for other, last_s in self._last_s.items()
            if other != stream
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
    may_jump = bool(container.format.flags & _TS_DISCONT)
    try:
        for packet in read_packets(container):
            start = packet.dts if packet.pts is None else packet.pts
            if start is not None:
                _take_extent(walked, packet, start)
            if packet.pos is not None and packet.pos >= 0:
                walked.end_byte = max(walked.end_byte, packet.pos + packet.size)
            is_gap = False
            if may_jump and packet.dts is not None and packet.time_base and packet.stream.type in _TIMED_STREAMS:
                is_gap = gaps.add(packet.stream.index, float(packet.dts * packet.time_base))
            if packet.stream.index == stream.index:
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
    return walked


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
        frames = decode_packet(packet)
        walked.n_decoded += len(frames)
        walked.first_frame = walked.first_frame or next(iter(frames), None)
    if is_shown(packet):
        walked.pts.append(packet.pts)
        walked.dts.append(packet.dts)
        walked.duration.append(packet.duration or 0)
        walked.is_keyframe.append(packet.is_keyframe)
        walked.is_gap.append(is_gap and packet.is_keyframe)


def find_timing(video: OpenVideo, packets: Packets) -> Timing:
    """Determine when the frames are shown: from the packets, or by decoding if these have no usable times.

    Raises:
        VideoReadError: if the file has neither times nor a frame rate.
    """
    _, container, stream = video
    unit = _unit(stream)
    known = np.array([pts for pts in packets.pts if pts is not None], np.int64)
    # AVI stores no presentation times. If frames are reordered but packet times increase, they are decoding times.
    is_decoding_order = (
        container.format.name == "avi" and stream.codec_context.reorder_depth > 0 and bool((np.diff(known) > 0).all())
    )
    if len(known) < len(packets.pts) or is_decoding_order:
        return _timing_by_decoding(video, packets)
    is_keyframe, duration = np.array(packets.is_keyframe, bool), np.array(packets.duration, np.int64)
    dts = np.array([np.nan if dts is None else dts for dts in packets.dts], np.float64)
    jumps = find_jumps(known, dts, is_keyframe, np.array(packets.is_gap, bool), float(1 / unit))
    if not jumps.any():
        order = np.argsort(known, kind="stable")
        pts = known[order]
        if (np.diff(pts) == 0).any():
            return _timing_by_decoding(video, packets)
        return _timing(container, stream, packets, pts=pts, keyframe_index=np.flatnonzero(is_keyframe[order]))
    clock = repair_clock(known, jumps, duration)
    if clock.n_repeated:
        return _timing_by_decoding(video, packets)
    order = np.argsort(clock.ticks)
    packet_frame = np.empty(len(order), np.int64)
    packet_frame[order] = np.arange(len(order))
    return _repaired_timing(container, stream, packets, clock, clock.ticks[order], packet_frame=packet_frame)


def _timing(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    packets: Packets,
    *,
    pts: np.ndarray,
    keyframe_index: np.ndarray,
) -> Timing:
    """The timing of a stream whose packets have presentation times."""
    unit, start_s = _unit(stream), _start_s(container, packets)
    pts_s = to_seconds(pts, unit, start_s)
    return Timing(
        pts_s=pts_s,
        pts=pts,
        keyframe_index=keyframe_index.astype(np.int64),
        start_time_s=float(start_s),
        end_s=_end_s(container, stream, packets, pts_s, start_s),
        is_counted=False,
    )


def _repaired_timing(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    packets: Packets,
    clock: RepairedClock,
    ticks: np.ndarray,
    *,
    packet_frame: np.ndarray | None = None,
) -> Timing:
    """The timing of a stream whose clock had to be repaired; it can only be decoded from the beginning."""
    unit, start_s = _unit(stream), _start_s(container, packets)
    pts_s = to_seconds(ticks, unit, start_s)
    return Timing(
        pts_s=pts_s,
        pts=np.arange(len(ticks)),
        keyframe_index=np.empty(0, np.int64),
        start_time_s=float(start_s),
        end_s=float(pts_s[-1]) + _last_duration_s(packets, pts_s, unit),
        is_counted=packet_frame is None,
        packet_frame=packet_frame,
        n_clock_jumps=clock.n_jumps,
        n_repeated=clock.n_repeated,
    )


def _unit(stream: av.VideoStream) -> Fraction:
    assert stream.time_base is not None  # every stream that FFmpeg demuxes has one
    return stream.time_base


def _start_s(container: av.container.InputContainer, packets: Packets) -> Fraction:
    """The timestamp at which playback starts."""
    stated_s = container_start_s(container)
    if stated_s is not None:
        return stated_s
    units = {s.index: s.time_base for s in container.streams if s.type in _TIMED_STREAMS and s.time_base}
    return min((start * units[index] for index, start in packets.starts.items() if index in units), default=Fraction(0))


def _end_s(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    packets: Packets,
    pts_s: np.ndarray,
    start_s: Fraction,
) -> float:
    """The end of the last frame: as stated by the container if plausible, otherwise from its own duration."""
    unit, last_s = _unit(stream), float(pts_s[-1])
    own_s = last_s + _last_duration_s(packets, pts_s, unit)
    stated_s = None
    if container.format.name in _STATE_WHOLE_DURATION:
        if container.duration and start_s == 0 and len(container.streams) == 1:
            stated_s = container.duration / av.time_base
    elif stream.duration and container.format.name != "avi":
        first = stream.start_time if stream.start_time is not None else packets.starts.get(stream.index, 0)
        stated_s = float((first + stream.duration) * unit - start_s)
    if stated_s is None or stated_s <= last_s or packets.damage:
        return own_s
    longest_step_s = max(float(np.diff(pts_s).max(initial=0.0)), own_s - last_s)
    return stated_s if stated_s - own_s <= _PROMISE_TOLERANCE_S + longest_step_s else own_s


def _last_duration_s(packets: Packets, pts_s: np.ndarray, unit: Fraction) -> float:
    """The duration of the last frame: that of its packet if it is the last in the file, otherwise the median step."""
    known = [pts for pts in packets.pts if pts is not None]
    if packets.duration and known and known[-1] == max(known) and packets.duration[-1] > 0:
        return float(packets.duration[-1] * unit)
    return float(np.median(np.diff(pts_s))) if len(pts_s) > 1 else float(max(packets.duration, default=0) * unit)


def media_end_s(container: av.container.InputContainer, packets: Packets, timing: Timing) -> float:
    """The end of the audio and video that lasts longest, in player time."""
    end_s = timing.end_s
    if timing.n_clock_jumps:
        return end_s  # the timestamps of the audio jump as well
    start_s = _start_s(container, packets)
    for other in container.streams.audio:
        if not other.time_base:
            continue
        if other.duration and other.start_time is not None and not packets.damage:
            end = other.start_time + other.duration
        else:
            end = packets.ends.get(other.index, 0)
        end_s = max(end_s, float(end * other.time_base - start_s))
    return end_s


def find_truncation(video: OpenVideo, packets: Packets, timing: Timing) -> str | None:
    """Why a file counts as truncated: it ends in an error, or clearly before the end that its header states."""
    path, container, stream = video
    units = {each.index: each.time_base for each in container.streams if each.time_base}
    end_s = {index: float(end * units[index]) for index, end in packets.ends.items()}
    first_s = float(packets.starts.get(stream.index, 0) * units[stream.index])
    found_s, promised_s = end_s.get(stream.index, 0.0) - first_s, None
    if container.format.name == _MP4 and stream.duration:
        # The number of frames is not used, because an edit list may exclude some.
        promised_s = float(stream.duration * units[stream.index])
    elif container.format.name == "avi" and stream.average_rate:
        # The duration is not used, because FFmpeg adapts it to the file size.
        promised_s = float(stream.frames / stream.average_rate)
    elif container.format.name in ("matroska,webm", "flv") and container.duration:
        # The header of these formats states one duration for all streams.
        found_s, promised_s = max(end_s.values(), default=0.0), container.duration / av.time_base
    if packets.damage:
        return f"the file cannot be read after its first {found_s:.1f} s ({packets.damage})"
    # The last frame may lack a duration, and a single frame may be shown the whole time.
    longest_step_s = float(np.diff(timing.pts_s).max(initial=0.0))
    if len(timing.pts_s) == 1 and not any(packets.duration):
        longest_step_s = np.inf
    if promised_s is not None and promised_s - found_s > _PROMISE_TOLERANCE_S + longest_step_s:
        return f"the file ends after {found_s:.1f} of {promised_s:.1f} s"
    if container.format.name == _MP4 and _lacks_media_data(path):
        return f"the file ends after {found_s:.1f} s, in the middle of its media data"
    if container.format.name in _SIGNATURES and packets.end_byte:
        offset, signature = _SIGNATURES[container.format.name]
        if (appended := _find_after(path, packets.end_byte, signature)) is not None:
            return f"another file is appended at byte {appended - offset:,}, which players do not read"
    return None


def _lacks_media_data(path: Path) -> bool:
    """Whether an MP4 file ends before the box `mdat` does, as after an incomplete download.

    Not for fragmented files, whose recording may have been stopped at any time.
    """
    size_bytes, position = path.stat().st_size, 0
    with path.open("rb") as file:
        for _ in range(_MAX_BOXES):
            file.seek(position)
            length, kind = int.from_bytes(file.read(4)), file.read(4)
            if length == 1:
                length = int.from_bytes(file.read(8))
            position += length
            if length < _BOX_HEADER_BYTES or kind == b"moof" or position == size_bytes:
                return False
            if position > size_bytes:
                return kind == b"mdat"
    return False


def _find_after(path: Path, start_byte: int, signature: bytes) -> int | None:
    """The position of a signature after the last packet of a file; None if there is none."""
    if path.stat().st_size - start_byte < len(signature):
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = content.find(signature, start_byte)
    return None if found < 0 else found


def has_leading_frames(packets: Packets) -> bool:
    """Whether frames stored after a keyframe are shown before it: they need frames from before the keyframe."""
    pts = np.array([pts for pts in packets.pts if pts is not None], np.int64)
    if len(pts) < len(packets.pts):
        return False  # without timestamps, the order is unknown
    earliest_from_here_on = np.minimum.accumulate(pts[::-1])[::-1]
    return bool((earliest_from_here_on < pts)[np.array(packets.is_keyframe, bool)].any())


def _timing_by_decoding(video: OpenVideo, packets: Packets) -> Timing:
    """Get times by decoding all frames; if the decoder gives none, count frames at the rate that the stream states."""
    path, container, stream = video
    with open_container(path) as again:
        coming = packets_until_damage(again, decoding_stream(again, stream.index))
        frames = [frame.pts for packet in coming for frame in decode_packet(packet)]
    pts = np.array([pts for pts in frames if pts is not None], np.int64)
    back = np.diff(pts) < 0
    if len(pts) == len(frames) and back.sum() <= 1 + len(pts) // 100:
        if (np.diff(pts) > 0).all():
            return _timing(container, stream, packets, pts=pts, keyframe_index=np.empty(0, np.int64))
        clock = repair_clock(pts, np.concatenate([[False], back]), np.zeros(len(pts)))
        return _repaired_timing(container, stream, packets, clock, clock.ticks)
    if not stream.guessed_rate:
        raise VideoReadError(path, "its frames carry no times, nor does it state a frame rate")
    step_s = 1 / float(stream.guessed_rate)
    start_s = float(_start_s(container, packets))
    first_s = float(pts.min() * _unit(stream)) - start_s if len(pts) else 0.0
    pts_s = first_s + np.arange(len(frames)) * step_s
    return Timing(
        pts_s, np.arange(len(frames)), np.empty(0, np.int64), start_s, float(pts_s[-1]) + step_s, is_counted=True
    )
