"""Find the frames that refer to damaged or lost frames: FFmpeg returns them as if they were undamaged."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import av
import numpy as np

T = TypeVar("T")

_MAX_HELD_FRAMES = 32  # more than a decoder reorders; limits the memory if a damaged packet has a wrong time
_MAX_WAITING = 64  # more packets than a decoder with many threads and reordering has sent without a frame
_N_KEYFRAMES = 4  # keyframes that are remembered: frames refer to the last one or, before it in time, to an earlier one


def damaged_packets(is_corrupt: np.ndarray, is_keyframe: np.ndarray) -> np.ndarray:
    """Find the packets with missing data: (n,) bool, from the flags of all packets in the order of the file.

    Parsers pass the flag of a packet to the one before it, and packets may be lost after either. If a keyframe comes
    next, nothing refers to what is lost: recordings in MPEG-TS were joined there.

    >>> damaged_packets(np.array([0, 1, 0, 0, 0], bool), np.array([1, 0, 0, 0, 0], bool)).nonzero()[0]
    array([1, 2])
    >>> damaged_packets(np.array([0, 1, 0, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)).nonzero()[0]
    array([], dtype=int64)
    """
    damaged = np.zeros(len(is_corrupt), bool)
    first = np.flatnonzero(is_corrupt[:-2] & ~is_keyframe[2:])
    damaged[first] = damaged[first + 1] = True
    return damaged


def flag_damaged_packets(packets: Iterable[av.Packet[Any]]) -> Iterator[tuple[av.Packet[Any], bool]]:
    """Each packet of a stream, and whether data are missing in it, by the rule of `damaged_packets`.

    A packet waits for the next two only if it, or the one before it, is flagged.

    Raises:
        av.FFmpegError: as `packets` does, after the packets that wait.
    """
    waiting: deque[av.Packet[Any]] = deque()
    is_flagged = False  # whether the packet before those that wait is flagged
    try:
        for packet in packets:
            waiting.append(packet)
            while packet.size and len(waiting) > (2 if waiting and waiting[0].is_corrupt else int(is_flagged)):
                first = waiting.popleft()
                is_damaged = is_flagged and not waiting[0].is_keyframe
                is_flagged = first.is_corrupt
                yield first, is_damaged or (is_flagged and not waiting[1].is_keyframe)
    except av.FFmpegError:
        yield from ((packet, False) for packet in waiting)
        raise
    yield from ((packet, False) for packet in waiting)


@dataclass(frozen=True)
class _Sent:
    """A packet that was sent to the decoder."""

    position: int  # in the order of the file
    key_position: int  # position of the keyframe at which its references start; -1 if unknown
    key_time: float
    latest: float  # latest time of this and all earlier packets


class DamageTracker(Generic[T]):
    """Hold back decoded frames until it is known whether a frame that they may refer to is damaged or lost.

    Damage spreads to all frames that are stored after it, up to the next keyframe, and to those after the keyframe that
    are shown before it. Damage to the latter spreads to no frame that is shown after the keyframe. All times are
    presentation times in any unit.
    """

    def __init__(self) -> None:
        self._n_sent = 0
        self._latest = self._received = float("-inf")
        self._keyframes: deque[tuple[int, float]] = deque([(-1, float("-inf"))], maxlen=_N_KEYFRAMES)
        self._waiting: dict[float, _Sent] = {}  # packets whose frame may still come, by time
        self._suspects: dict[float, int] = {}  # positions of the packets that may have failed to decode
        self._damage: list[tuple[int, float]] = []  # position and time
        self._held: deque[tuple[T, _Sent]] = deque()

    def send(self, time: float | None, *, is_keyframe: bool, is_damaged: bool) -> None:
        """Note a packet before it is decoded; `time` is None if it is unknown."""
        known = float("inf") if time is None else time
        if is_damaged:
            self._damage.append((self._n_sent, known))
        if is_keyframe:
            first = self._keyframes[0][0]
            self._damage = [damage for damage in self._damage if damage[0] >= first]
            self._waiting = {t: sent for t, sent in self._waiting.items() if t > self._received}
            self._keyframes.append((self._n_sent, known))
        if time is not None:
            self._latest = max(self._latest, known)
            start = next((key for key in reversed(self._keyframes) if key[1] <= known), (-1, float("-inf")))
            self._waiting[known] = _Sent(self._n_sent, *start, self._latest)
        if len(self._waiting) > _MAX_WAITING:  # the frame of the oldest one does not come any more
            oldest = next(iter(self._waiting))
            sent = self._waiting.pop(oldest)
            if self._suspects.pop(oldest, None) is not None:
                self._damage.append((sent.position, oldest))
        self._n_sent += 1

    def fail(self) -> None:
        """Note that one of the packets sent so far does not decode: one of those whose frame will never come."""
        self._suspects |= {t: sent.position for t, sent in self._waiting.items() if t > self._received}

    def receive(self, time: float, item: T, *, is_damaged: bool) -> list[tuple[T, bool]]:
        """Add a decoded frame; return the frames whose state is final, and whether each of them is damaged."""
        self._received = time
        self._suspects.pop(time, None)
        sent = self._waiting.pop(time, None) or _Sent(self._n_sent - 1, -1, float("-inf"), time)
        if is_damaged:
            self._damage.append((sent.position, time))
        self._held.append((item, sent))
        is_full = len(self._held) > _MAX_HELD_FRAMES
        lost = [t for t in self._suspects if t < time or is_full]
        self._damage += [(self._suspects.pop(t), t) for t in lost]
        released = []
        while self._held and (self._held[0][1].latest <= time or len(self._held) > _MAX_HELD_FRAMES):
            released.append(self._release())
        return released

    def finish(self) -> list[tuple[T, bool]]:
        """Return the remaining frames, when the decoder holds back none."""
        self._damage += [(position, t) for t, position in self._suspects.items()]
        return [self._release() for _ in range(len(self._held))]

    def _release(self) -> tuple[T, bool]:
        item, sent = self._held.popleft()
        is_damaged = any(
            sent.key_position <= position <= sent.position and time >= sent.key_time for position, time in self._damage
        )
        return item, is_damaged
