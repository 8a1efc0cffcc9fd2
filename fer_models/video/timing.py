"""Determine when the frames of a video are shown, from its packets or by decoding."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import av.container
import numpy as np

from fer_models.video.clock import MAX_STEP_S, RepairedClock, find_jumps, repair_clock, to_seconds
from fer_models.video.container import (
    VideoReadError,
    container_start_s,
    decode_packet,
    decoding_stream,
    open_container,
    packets_until_damage,
)
from fer_models.video.damage import damaged_packets
from fer_models.video.decoded_times import decode_times, fill_unknown, known_ticks
from fer_models.video.packets import NO_TIME, TIMED_STREAMS, OpenVideo, Packets

# Seconds by which the duration in a header may exceed that of the packets, beyond one frame, without being wrong.
DURATION_TOLERANCE_S = 0.5
# Shown frames that are decoded to check the order of the timestamps.
_N_CHECKED_FRAMES = 50
# Formats with at most this many bytes between their packets, apart from indices and other data that are rarely there:
# more are damaged, if frames are missing as well.
_MAX_UNREAD_BYTES = 4096
_HAVE_ONLY_PACKETS = ("flv", "matroska,webm")
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
    n_untimed: int = 0  # number of frames whose time neither the file nor the order of decoding gives
    damaged_index: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    lost_from_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    damaged_spans_s: tuple[tuple[float, float], ...] = ()  # intervals without frames because data are missing

    @property
    def steps_s(self) -> np.ndarray:
        """The times from one frame to the next, without those in which data are missing."""
        steps_s: np.ndarray = np.diff(self.pts_s)
        for start_s, end_s in self.damaged_spans_s:
            steps_s[(self.pts_s[:-1] < end_s) & (self.pts_s[1:] > start_s)] = 0
        return steps_s


def find_timing(video: OpenVideo, packets: Packets) -> Timing:
    """Determine when the frames are shown: from the packets, or by decoding if these have no usable times.

    Raises:
        VideoReadError: if the file has neither times nor a frame rate.
    """
    _, container, stream = video
    unit = _unit(stream)
    known = packets.known_pts()
    if len(known) < len(packets.pts) or _are_decoding_times(video, known):
        return _timing_by_decoding(video, packets)
    is_keyframe, duration = np.array(packets.is_keyframe, bool), np.array(packets.duration, np.int64)
    dts = np.array(packets.dts, np.float64)
    dts[dts == NO_TIME] = np.nan
    jumps = find_jumps(known, dts, is_keyframe, np.array(packets.is_gap, bool), float(1 / unit))
    if not jumps.any():
        order = np.argsort(known, kind="stable")
        pts = known[order]
        if (np.diff(pts) == 0).any():
            return _timing_by_decoding(video, packets)
        timing = _timing(container, stream, packets, pts=pts, keyframe_index=np.flatnonzero(is_keyframe[order]))
        return _with_damage(timing, container, packets, order)
    clock = repair_clock(known, jumps, duration)
    if clock.n_repeated:
        return _timing_by_decoding(video, packets)
    order = np.argsort(clock.ticks)
    packet_frame = np.empty(len(order), np.int64)
    packet_frame[order] = np.arange(len(order))
    packet_frame = np.insert(packet_frame, 1, np.full(packets.n_left_out, -1))
    timing = _repaired_timing(container, stream, packets, clock, clock.ticks[order], packet_frame=packet_frame)
    return _with_damage(timing, container, packets, order)


def _with_damage(timing: Timing, container: av.container.InputContainer, packets: Packets, order: np.ndarray) -> Timing:
    """Add the damage that the packets show; `order` gives the packet of each frame."""
    is_keyframe, is_corrupt = np.array(packets.is_keyframe, bool), np.array(packets.is_corrupt, bool)
    is_damaged = damaged_packets(is_corrupt, is_keyframe)
    position = np.arange(len(order))
    packet_s = np.empty(len(order))
    packet_s[order] = timing.pts_s
    lost = np.flatnonzero(is_corrupt[:-2]) + 2
    if container.format.name in _HAVE_ONLY_PACKETS:
        unread_bytes = np.array(packets.unread_before_bytes)
        # What packets regularly lack, such as those of a track that FFmpeg does not know, is not lost.
        lost = np.union1d(lost, np.flatnonzero(unread_bytes > _MAX_UNREAD_BYTES + 4 * np.median(unread_bytes)))
    holes = _holes_s(packet_s, lost)
    is_damaged[list(holes)] |= ~is_keyframe[list(holes)]
    last_keyframe, last_damage = (np.maximum.accumulate(np.where(x, position, -1)) for x in (is_keyframe, is_damaged))
    left_out = (last_damage >= 0) & (last_damage >= last_keyframe)
    spans_s: list[tuple[float, float]] = []
    for start_s, end_s in sorted([*holes.values(), *_spans_s(timing, np.flatnonzero(left_out[order]))]):
        if spans_s and start_s <= spans_s[-1][1]:
            start_s, end_s = spans_s[-1][0], max(end_s, spans_s.pop()[1])
        spans_s.append((start_s, end_s))
    return replace(
        timing,
        damaged_index=np.flatnonzero(is_damaged[order]),
        lost_from_s=np.sort([start_s for start_s, _ in holes.values()]),
        damaged_spans_s=tuple(spans_s),
    )


def _holes_s(packet_s: np.ndarray, lost: np.ndarray) -> dict[int, tuple[float, float]]:
    """The intervals without frames before the packets `lost`, before which data are lost.

    Args:
        packet_s: (n,) the times of all packets, in the order of the file.
        lost: positions of packets.
    """
    if len(packet_s) < 2:
        return {}
    step_s = float(np.median(np.diff(np.sort(packet_s))))
    latest_s, earliest_s = np.maximum.accumulate(packet_s), np.minimum.accumulate(packet_s[::-1])[::-1]
    return {
        n: (float(latest_s[n - 1]) + step_s, float(earliest_s[n]))
        for n in lost.tolist()
        if n > 0 and earliest_s[n] - latest_s[n - 1] > 1.5 * step_s
    }


def _spans_s(timing: Timing, index: np.ndarray) -> tuple[tuple[float, float], ...]:
    """The intervals in which these frames are shown."""
    ends_s = np.append(timing.pts_s[1:], timing.end_s)
    runs = np.split(index, np.flatnonzero(np.diff(index) > 1) + 1) if len(index) else []
    return tuple((float(timing.pts_s[run[0]]), float(ends_s[run[-1]])) for run in runs)


def _are_decoding_times(video: OpenVideo, pts: np.ndarray) -> bool:
    """Whether the times of the packets are those of decoding, as in containers that store no presentation times.

    If frames are reordered but their times increase, this is likely; in packed MPEG-4, FFmpeg guesses wrong times.
    The first frames are decoded then: their times must increase.
    """
    path, _, stream = video
    codec = stream.codec_context
    if codec.reorder_depth == 0 or not ((np.diff(pts) > 0).all() or codec.name == "mpeg4"):
        return False
    times: list[int] = []
    with open_container(path) as again:
        for packet in packets_until_damage(again, decoding_stream(again, stream.index)):
            times += [frame.pts for frame in decode_packet(packet)[0] if frame.pts is not None]
            if len(times) >= _N_CHECKED_FRAMES:
                break
    return bool((np.diff(times) < 0).any())


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
    """The timing of a stream whose times had to be repaired; it can only be decoded from the beginning."""
    unit = _unit(stream)
    # The container states the first known time; frames without a time may come before.
    start_s = min(_start_s(container, packets), Fraction(float(ticks[0])) * unit)
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
    known = packets.known_pts()
    if packets.duration and len(known) and known[-1] == known.max() and packets.duration[-1] > 0:
        return float(packets.duration[-1] * unit)
    return float(np.median(np.diff(pts_s))) if len(pts_s) > 1 else float(max(packets.duration, default=0) * unit)


def media_end_s(container: av.container.InputContainer, packets: Packets, timing: Timing) -> float:
    """The end of the audio and video that lasts longest, in player time."""
    end_s = timing.end_s
    if timing.n_clock_jumps:
        return end_s  # the timestamps of the audio jump as well
    for other in container.streams.audio:
        if not other.time_base:
            continue
        if other.duration and other.start_time is not None and not packets.damage:
            end = other.start_time + other.duration
        else:
            end = packets.ends.get(other.index, 0)
        end_s = max(end_s, float(end * other.time_base) - timing.start_time_s)
    return end_s


def _timing_by_decoding(video: OpenVideo, packets: Packets) -> Timing:
    """Get times by decoding all frames; those of frames without a time follow from the others and the frame rate."""
    pts, dts, damaged_index = decode_times(video, leave_out_repeated=len(packets.known_pts()) < len(packets.pts))
    timing = _timing_of_decoded(video, packets, pts, dts)
    return replace(timing, damaged_index=damaged_index, damaged_spans_s=_spans_s(timing, damaged_index))


def _timing_of_decoded(video: OpenVideo, packets: Packets, pts: np.ndarray, dts: np.ndarray) -> Timing:
    """The timing of decoded frames; `pts` and `dts` as in `known_ticks`."""
    path, container, stream = video
    unit, depth = _unit(stream), stream.codec_context.reorder_depth
    known = known_ticks(pts, dts, depth)
    is_unknown = np.isnan(known)
    step = _usual_step(path, stream, packets, known) if is_unknown.any() else 0.0
    ticks = fill_unknown(known, step, start=float(_start_s(container, packets) / unit))
    is_jump = _jumps_of_decoded(ticks, packets, float(MAX_STEP_S / unit))
    if not np.isnan(pts).any() and (np.diff(pts) > 0).all() and not is_jump.any():
        return _timing(container, stream, packets, pts=pts.astype(np.int64), keyframe_index=np.empty(0, np.int64))
    clock = repair_clock(ticks, is_jump, np.zeros(len(ticks)))
    timing = _repaired_timing(container, stream, packets, clock, clock.ticks)
    # The decoder returns the last frames after the last packet, so that these have no decoding time.
    n_untimed = len(ticks) if is_unknown.all() else int(is_unknown[: max(0, len(ticks) - depth)].sum())
    return replace(timing, n_untimed=n_untimed)


def _usual_step(path: Path, stream: av.VideoStream, packets: Packets, ticks: np.ndarray) -> float:
    """The usual time between frames in ticks, from their times if most are known, otherwise from those of packets."""
    steps, durations = np.diff(ticks), np.array(packets.duration, np.int64)
    for found in (steps[steps > 0], durations[durations > 0]):
        if 2 * len(found) > len(ticks):
            return float(np.median(found))
    rate = stream.average_rate or stream.guessed_rate
    if not rate:
        raise VideoReadError(path, "its frames carry no times, nor does it state a frame rate")
    return float(1 / (rate * _unit(stream)))


def _jumps_of_decoded(ticks: np.ndarray, packets: Packets, max_step: float) -> np.ndarray:
    """The frames before which the clock restarts, or jumps ahead as the packets show: (n,) bool."""
    steps = np.diff(ticks, prepend=ticks[:1])
    gaps = np.sort(np.array(packets.dts)[np.array(packets.is_gap, bool)])
    has_gap = np.searchsorted(gaps, ticks - steps, side="right") < np.searchsorted(gaps, ticks, side="right")
    is_jump: np.ndarray = (steps < 0) | ((steps > max_step) & has_gap)
    return is_jump
