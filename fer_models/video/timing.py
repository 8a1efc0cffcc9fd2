"""Determine when the frames of a video are shown, from its packets or by decoding."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

from dataclasses import dataclass
from fractions import Fraction

import av
import av.container
import numpy as np

from fer_models.video.clock import RepairedClock, find_jumps, repair_clock, to_seconds
from fer_models.video.container import (
    VideoReadError,
    container_start_s,
    decode_packet,
    decoding_stream,
    open_container,
    packets_until_damage,
)
from fer_models.video.packets import TIMED_STREAMS, OpenVideo, Packets

# Seconds by which the duration in a header may exceed that of the packets, beyond one frame, without being wrong.
DURATION_TOLERANCE_S = 0.5
# Formats whose header states one duration for all streams, counted from 0 or from the start time.
_STATE_WHOLE_DURATION = ("asf", "flv", "matroska,webm")


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
    units = {s.index: s.time_base for s in container.streams if s.type in TIMED_STREAMS and s.time_base}
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
    return stated_s if stated_s - own_s <= DURATION_TOLERANCE_S + longest_step_s else own_s


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
