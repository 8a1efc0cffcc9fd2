"""Determine when the frames of a video are shown, from its packets or by decoding."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, count

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
from fer_models.video.damage import DamageTracker, damaged_packets
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
    AVI never stores presentation times. Otherwise the first frames are decoded: their times must increase.
    """
    path, container, stream = video
    codec = stream.codec_context
    is_increasing = bool((np.diff(pts) > 0).all())
    if codec.reorder_depth == 0 or not (is_increasing or codec.name == "mpeg4"):
        return False
    if is_increasing and container.format.name == "avi":
        return True
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
    known = packets.known_pts()
    if packets.duration and len(known) and known[-1] == known.max() and packets.duration[-1] > 0:
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
    times, damaged_index = _decode_times(video)
    timing = _timing_of_decoded(video, packets, times)
    return replace(timing, damaged_index=damaged_index, damaged_spans_s=_spans_s(timing, damaged_index))


def _timing_of_decoded(video: OpenVideo, packets: Packets, times: list[int | None]) -> Timing:
    path, container, stream = video
    pts = np.array([pts for pts in times if pts is not None], np.int64)
    back = np.diff(pts) < 0
    if len(pts) == len(times) and back.sum() <= 1 + len(pts) // 100:
        if (np.diff(pts) > 0).all():
            return _timing(container, stream, packets, pts=pts, keyframe_index=np.empty(0, np.int64))
        clock = repair_clock(pts, np.concatenate([[False], back]), np.zeros(len(pts)))
        return _repaired_timing(container, stream, packets, clock, clock.ticks)
    if len(np.unique(pts)) == len(times) and container.format.name != "avi":
        # These are decoding times, in the order of presentation except for a constant delay.
        clock = RepairedClock(np.sort(pts).astype(np.float64), n_jumps=0, n_repeated=0)
        return _repaired_timing(container, stream, packets, clock, clock.ticks)
    if not stream.guessed_rate:
        raise VideoReadError(path, "its frames carry no times, nor does it state a frame rate")
    step_s = 1 / float(stream.guessed_rate)
    start_s = float(_start_s(container, packets))
    first_s = float(pts.min() * _unit(stream)) - start_s if len(pts) else 0.0
    pts_s = first_s + np.arange(len(times)) * step_s
    return Timing(
        pts_s, np.arange(len(times)), np.empty(0, np.int64), start_s, float(pts_s[-1]) + step_s, is_counted=True
    )


def _decode_times(video: OpenVideo) -> tuple[list[int | None], np.ndarray]:
    """Decode all frames: their times, and the indices of those that are damaged or refer to damaged frames."""
    path, _, stream = video
    is_keyframe, is_corrupt, is_failed = [], [], []  # of each packet; the last one if decoding fails when it is sent
    received: list[list[tuple[object, bool]]] = []  # after each packet: the packet of each frame, and is_corrupt
    times: list[int | None] = []
    with open_container(path) as container:
        decoding = decoding_stream(container, stream.index)
        decoding.codec_context.copy_opaque = True
        for packet in packets_until_damage(container, decoding):
            packet.opaque = len(received)
            frames, failed = decode_packet(packet)
            is_keyframe.append(packet.is_keyframe)
            is_corrupt.append(packet.is_corrupt)
            is_failed.append(failed)
            received.append([(frame.opaque, frame.is_corrupt) for frame in frames])
            times += [frame.pts for frame in frames]
    # The order of presentation is known only now: it takes the place of times.
    index_of = dict(zip((own for own, _ in chain.from_iterable(received)), count(), strict=False))
    is_damaged = damaged_packets(np.array(is_corrupt, bool), np.array(is_keyframe, bool))
    tracker: DamageTracker[int] = DamageTracker()
    known: list[tuple[int, bool]] = []
    index, latest = count(), 0
    for position, own_frames in enumerate(received):
        latest = max(latest, index_of.get(position, 0))
        # A packet without a frame comes after the frames of all packets before it.
        time = index_of.get(position, latest + (position + 1) / (len(received) + 1))
        tracker.send(time, is_keyframe=is_keyframe[position], is_damaged=bool(is_damaged[position]))
        if is_failed[position]:
            tracker.fail()
        for (_, is_corrupt_frame), i in zip(own_frames, index, strict=False):
            known += tracker.receive(i, i, is_damaged=is_corrupt_frame)
    known += tracker.finish()
    return times, np.array([i for i, damaged in known if damaged], np.int64)
