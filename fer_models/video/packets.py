"""Walking the packets of a video stream: when each of its pictures is shown, and where decoding can start."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np

from fer_models.video.container import (
    VideoReadError,
    decode_packet,
    decoding_stream,
    open_container,
    packets_until_damage,
    read_packets,
)

# Headers are up to some frames off the truth.
_PROMISE_TOLERANCE_S = 0.5


@dataclass
class Packets:
    """What one walk over the packets of a video stream tells, packet by packet that is shown."""

    pts: list[int | None] = field(default_factory=list)
    duration: list[int] = field(default_factory=list)
    is_keyframe: list[bool] = field(default_factory=list)
    first_frame: av.VideoFrame | None = None
    ends: dict[int, int] = field(default_factory=dict)  # of all streams of the file, by index, in each one's unit
    damage: str = ""  # why nothing can be read from some place on


@dataclass(frozen=True, eq=False)
class Timing:
    """When the frames of a stream are shown; the fields mean the same as those of `VideoInfo`."""

    pts_s: np.ndarray
    keyframe_index: np.ndarray
    last_duration_s: float  # 0 where the container does not say
    is_counted: bool


def walk_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Packets:
    """Read all packets of a file, up to where it is broken; of the stream, decode up to the first frame."""
    walked = Packets()
    try:
        for packet in read_packets(container):
            start = packet.dts if packet.pts is None else packet.pts
            if start is not None:
                end = start + (packet.duration or 0)
                walked.ends[packet.stream.index] = max(end, walked.ends.get(packet.stream.index, end))
            if packet.stream.index == stream.index:
                _take(walked, packet)
    except av.FFmpegError as error:
        walked.damage = error.strerror or str(error)
    return walked


def _take(walked: Packets, packet: av.Packet[Any]) -> None:
    if walked.first_frame is None:
        walked.first_frame = next(iter(decode_packet(packet)), None)
    if packet.size == 0:  # the flush at the end, or AVI's "same picture again"
        return
    # Decoded, but never shown: what lies before an edit list's start, and reference pictures of VP8, in whose first
    # byte bit 4 is show_frame (RFC 6386, 9.1).
    if packet.is_discard or (packet.stream.codec_context.name == "vp8" and not bytes(packet)[0] & 0x10):
        return
    walked.pts.append(packet.pts)
    walked.duration.append(packet.duration or 0)
    walked.is_keyframe.append(packet.is_keyframe)


def find_timing(path: Path, container: av.container.InputContainer, stream: av.VideoStream, packets: Packets) -> Timing:
    """Work out the times of the frames that are shown, from their packets where these carry usable times.

    Raises:
        VideoReadError: if there are neither times nor a frame rate.
    """
    unit = stream.time_base
    assert unit is not None  # every stream that FFmpeg demuxes has one
    known = np.array([pts for pts in packets.pts if pts is not None], np.int64)
    # AVI stores no presentation times. With reordered frames, times that rise from packet to packet are decoding times.
    is_decoding_order = (
        container.format.name == "avi" and stream.codec_context.reorder_depth > 0 and bool((np.diff(known) > 0).all())
    )
    if len(known) < len(packets.pts) or is_decoding_order:
        return _timing_by_decoding(path, stream, known)
    pts, first = np.unique(known, return_index=True)
    return Timing(
        pts_s=_seconds(pts, unit),
        keyframe_index=np.flatnonzero(np.array(packets.is_keyframe, bool)[first]).astype(np.int64),
        last_duration_s=float(packets.duration[first[-1]] * unit),
        is_counted=False,
    )


def find_truncation(
    container: av.container.InputContainer, stream: av.VideoStream, packets: Packets, timing: Timing
) -> str | None:
    """Where the file breaks off, if its packets end clearly before what its header promises, or in an error."""
    units = {each.index: each.time_base for each in container.streams if each.time_base}
    end_s = {index: float(end * units[index]) for index, end in packets.ends.items()}
    found_s, promised_s = end_s.get(stream.index, 0.0) - float(timing.pts_s[0]), None
    if container.format.name == "mov,mp4,m4a,3gp,3g2,mj2" and stream.duration:
        # Not its number of frames, of which an edit list may leave some out.
        promised_s = float(stream.duration * units[stream.index])
    elif container.format.name == "avi" and stream.average_rate:
        # Not its duration, which FFmpeg fits to the size of the file.
        promised_s = float(stream.frames / stream.average_rate)
    elif container.format.name in ("matroska,webm", "flv") and container.duration:
        # These promise a duration for all streams together.
        found_s, promised_s = max(end_s.values(), default=0.0), container.duration / av.time_base
    if packets.damage:
        return f"the file cannot be read after its first {found_s:.1f} s ({packets.damage})"
    # The last frame need not say how long it is shown; an only frame may be shown all the time.
    longest_step_s = float(np.diff(timing.pts_s).max(initial=0.0))
    if len(timing.pts_s) == 1 and timing.last_duration_s == 0:
        longest_step_s = np.inf
    if promised_s is not None and promised_s - found_s > _PROMISE_TOLERANCE_S + longest_step_s:
        return f"the file ends after {found_s:.1f} of {promised_s:.1f} s"
    return None


def has_leading_frames(packets: Packets) -> bool:
    """Whether frames stored after a keyframe are shown before it: they need pictures from before the keyframe."""
    pts = np.array([pts for pts in packets.pts if pts is not None], np.int64)
    if len(pts) < len(packets.pts):
        return False  # without times nothing is known
    earliest_from_here_on = np.minimum.accumulate(pts[::-1])[::-1]
    return bool((earliest_from_here_on < pts)[np.array(packets.is_keyframe, bool)].any())


def _timing_by_decoding(path: Path, stream: av.VideoStream, known: np.ndarray) -> Timing:
    """Times as the decoder works them out; failing that, of frames counted at the rate the stream states."""
    with open_container(path) as container:
        packets = packets_until_damage(container, decoding_stream(container, stream.index))
        frames = [frame.pts for packet in packets for frame in decode_packet(packet)]
    unit = stream.time_base
    assert unit is not None
    pts = np.array([pts for pts in frames if pts is not None], np.int64)
    is_counted = len(pts) < len(frames) or not (np.diff(pts) > 0).all()
    if not is_counted:
        pts_s = _seconds(pts, unit)
    elif stream.guessed_rate:
        start_s = float(known.min() * unit) if len(known) else 0.0
        pts_s = start_s + np.arange(len(frames)) / float(stream.guessed_rate)
    else:
        raise VideoReadError(path, "its pictures carry no times, nor does it state a frame rate")
    return Timing(pts_s, np.empty(0, np.int64), 0.0, is_counted)


def _seconds(pts: np.ndarray, unit: Fraction) -> np.ndarray:
    """Ticks as seconds, rounded in the same way as PyAV's `frame.time`, so that both are equal."""
    return pts.astype(np.float64) * unit.numerator / unit.denominator
