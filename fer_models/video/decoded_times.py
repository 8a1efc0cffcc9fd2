"""Times of the frames of a video by decoding all of them, for videos in which times are missing or repeated."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

from itertools import chain, count, pairwise

import numpy as np

from fer_models.video.container import (
    decode_packet,
    decoding_stream,
    disable_generated_times,
    flush_packet,
    open_container,
    packets_until_damage,
)
from fer_models.video.damage import DamageTracker, damaged_packets
from fer_models.video.packets import OpenVideo


def decode_times(video: OpenVideo, *, leave_out_repeated: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decode all frames: `pts` and `dts` as in `known_ticks`, and the indices of those that depend on damaged data.

    With `leave_out_repeated`, a packet with the times of the packet after it counts as one without times: in MPEG-PS,
    FFmpeg gives stored times also to a frame that ends where that to which they belong begins.
    """
    is_keyframe, is_corrupt, is_failed = [], [], []  # of each packet; the last one if decoding fails when it is sent
    received: list[list[tuple[object, bool]]] = []  # after each packet: the packet of each frame, and is_corrupt
    times: list[tuple[int | None, int | None]] = []
    with open_container(video.path) as container:
        disable_generated_times(container)
        decoding = decoding_stream(container, video.stream.index)
        decoding.codec_context.copy_opaque = True
        for packet, after in pairwise(chain(packets_until_damage(container, decoding), [flush_packet(decoding)])):
            packet.opaque = len(received)
            if leave_out_repeated and (packet.pts, packet.dts) == (after.pts, after.dts):
                packet.pts = packet.dts = None
            frames, failed = decode_packet(packet)
            is_keyframe.append(packet.is_keyframe)
            is_corrupt.append(packet.is_corrupt)
            is_failed.append(failed)
            received.append([(frame.opaque, frame.is_corrupt) for frame in frames])
            times += [(frame.pts, frame.dts) for frame in frames]
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
    pts, dts = np.array(times, np.float64).reshape(-1, 2).T  # None becomes NaN
    return pts, dts, np.array([i for i, damaged in known if damaged], np.int64)


def known_ticks(pts: np.ndarray, dts: np.ndarray, reorder_depth: int) -> np.ndarray:
    """The times of frames, as far as they are known: (n,) float64 in ticks, NaN where unknown.

    Where the presentation time is unknown, the frame is shown when the packet for which the decoder returned it is
    decoded: `reorder_depth` packets after that of its own position. If the two times of frames usually differ, so do
    those of this frame.

    Args:
        pts: (n,) presentation times in ticks, in the order of presentation, NaN where unknown.
        dts: (n,) decoding times of the packets for which the decoder returned the frames, NaN where unknown.
        reorder_depth: number of frames that the decoder holds back.

    >>> known_ticks(np.array([2, np.nan, 4]), np.array([2, 3, np.nan]), 2)
    array([2., 3., 4.])
    >>> known_ticks(np.array([12, np.nan, np.nan, 15]), np.array([2, 3, 4, np.nan]), 1)
    array([12., 13., 14., 15.])
    """
    known = pts[~np.isnan(pts)]
    if (np.diff(known) < 0).sum() > 1 + len(known) // 100:
        if len(np.unique(known)) < len(pts):
            return _increasing(dts)
        # These are times of decoding: a longer step between packets is one between the frames returned for them.
        ordered, n = np.sort(pts), min(reorder_depth, len(pts) - 1)
        return np.append(ordered[n:] - (ordered[n] - ordered[0]), np.full(n, np.nan))
    offset = (pts - dts)[~np.isnan(pts + dts)]
    merged = np.where(np.isnan(pts), _increasing(dts) + (np.median(offset) if len(offset) else 0), pts)
    is_consistent = (np.diff(merged[~np.isnan(merged)]) < 0).sum() <= (np.diff(known) < 0).sum()
    return merged if is_consistent else pts


def _increasing(times: np.ndarray) -> np.ndarray:
    """The times that are later than all before them, NaN elsewhere: several frames returned for a packet share one."""
    latest = np.fmax.accumulate(times)
    before = np.append(-np.inf, np.where(np.isnan(latest), -np.inf, latest)[:-1])
    return np.where(times > before, times, np.nan)


def fill_unknown(ticks: np.ndarray, step: float, start: float) -> np.ndarray:
    """Space frames of unknown time by `step`, or closer if the next known time comes earlier.

    Args:
        ticks: (n,) times in ticks, NaN where unknown.
        step: the usual step in ticks.
        start: time of the first frame if none is known.

    >>> fill_unknown(np.array([np.nan, 3, np.nan, np.nan, 9, np.nan, 10]), 1, 0)
    array([ 2. ,  3. ,  4. ,  5. ,  9. ,  9.5, 10. ])
    """
    known = np.flatnonzero(~np.isnan(ticks))
    if not len(known):
        filled: np.ndarray = start + step * np.arange(len(ticks))
        return filled
    filled, first = ticks.copy(), int(known[0])
    filled[:first] = ticks[first] - step * np.arange(first, 0, -1)
    for left, right in pairwise([*known.tolist(), len(ticks)]):
        even = (ticks[right] - ticks[left]) / (right - left) if right < len(ticks) else step
        filled[left:right] = ticks[left] + np.arange(right - left) * (min(step, even) if even >= 0 else step)
    return filled
