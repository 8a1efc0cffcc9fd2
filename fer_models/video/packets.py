"""Walking the packets of a video stream: when each of its pictures is shown, and where decoding can start."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.container
import numpy as np

from fer_models.video.container import (
    VideoReadError,
    decode_packet,
    decoding_stream,
    open_container,
    packets_until_damage,
)


@dataclass
class Packets:
    """What one walk over the packets of a video stream tells, packet by packet that is shown."""

    pts: list[int | None] = field(default_factory=list)
    duration: list[int] = field(default_factory=list)
    is_keyframe: list[bool] = field(default_factory=list)
    first_frame: av.VideoFrame | None = None


@dataclass(frozen=True, eq=False)
class Timing:
    """When the frames of a stream are shown; the fields mean the same as those of `VideoInfo`."""

    pts_s: np.ndarray
    keyframe_index: np.ndarray
    last_duration_s: float  # 0 where the container does not say
    is_counted: bool


def walk_packets(container: av.container.InputContainer, stream: av.VideoStream) -> Packets:
    """Read all packets of a stream, and decode up to the first frame."""
    walked = Packets()
    is_vp8 = stream.codec_context.name == "vp8"
    for packet in packets_until_damage(container, stream):
        if walked.first_frame is None:
            walked.first_frame = next(iter(decode_packet(packet)), None)
        if packet.size == 0:  # the flush at the end, or AVI's "same picture again"
            continue
        # Decoded, but never shown: what lies before an edit list's start, and reference pictures of VP8, in whose first
        # byte bit 4 is show_frame (RFC 6386, 9.1).
        if packet.is_discard or (is_vp8 and not bytes(packet)[0] & 0x10):
            continue
        walked.pts.append(packet.pts)
        walked.duration.append(packet.duration or 0)
        walked.is_keyframe.append(packet.is_keyframe)
    return walked


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
