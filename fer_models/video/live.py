"""Frames as they come in: read in a thread of their own, timed by a clock that only rises, dropped rather than late."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import av
import av.container
import numpy as np

from fer_models.frame_batch import FrameBatch
from fer_models.video.container import read_packets
from fer_models.video.geometry import Orientation, stored_orientation
from fer_models.video.live_source import OPEN_TIMEOUT_S, READ_TIMEOUT_S, LiveSource, LiveSourceError
from fer_models.video.sampling import ROUNDING_S

logger = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0  # before a lost source is opened again; each wait is twice the last
MAX_AHEAD_S = 1.0  # a stream whose time steps on by so much more than the clock has begun anew
MAX_BEHIND_S = 1.0  # decoding that is late by more jumps to the next keyframe
WAITED_S = 0.005  # who waited so long for a packet has no backlog

Missing = Literal["", "dropped", "decode_error", "no_signal"]


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame of a live source, or the word that there is none."""

    index: int  # 0-based place among all frames since the first
    pts_s: float  # since the first frame; see `SessionClock`
    arrived_s: float  # by time.monotonic()
    missing: Missing = ""  # why there is no picture: a status of table frames
    picture: av.VideoFrame | None = None

    def dropped(self) -> LiveFrame:
        """The same without its picture."""
        return replace(self, missing="dropped", picture=None)

    @property
    def shape(self) -> tuple[int, int, Orientation] | None:
        """Height and width in px as sent, and how it is to be turned and mirrored."""
        if self.picture is None:
            return None
        return self.picture.height, self.picture.width, stored_orientation(self.picture)


class SessionClock:
    """Turns the times of a stream, which may jump or begin anew, into seconds that rise at the pace of a wall clock."""

    def __init__(self) -> None:
        self.last_s = -np.inf  # given out last
        self.step_s = 0.04  # between the last two frames of one run of the stream
        self._offset_s = 0.0
        self._last: tuple[float, float] | None = None  # time in the stream and of arrival

    def time_of(self, stream_s: float | None, arrived_s: float) -> float:
        """The time of a frame: as far from the frame before it as the stream says, unless that makes no sense.

        Args:
            stream_s: its time in the stream; None if it has none.
            arrived_s: seconds since the first frame came in.
        """
        if stream_s is None:
            stream_s, self._last = arrived_s, None
        if self._last is not None:
            step_s, waited_s = stream_s - self._last[0], arrived_s - self._last[1]
        if self._last is None or not 0 < step_s <= waited_s + MAX_AHEAD_S:
            self._offset_s = max(arrived_s, self.last_s + ROUNDING_S) - stream_s
        else:
            self.step_s = step_s
        self._last = stream_s, arrived_s
        self.last_s = stream_s + self._offset_s
        return self.last_s

    def lose(self) -> float:
        """The time at which the stream broke off: a step after its last frame. What comes next begins anew."""
        self._last = None
        self.last_s += self.step_s
        return self.last_s


class LatestFrames:
    """Frames on their way to a consumer that may be slow: at most `limit` pictures wait, the oldest are dropped."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._passed: list[LiveFrame] = []  # without picture, all before those that wait
        self._waiting: deque[LiveFrame] = deque()
        self._n_pictures = 0
        self._changed = threading.Condition()

    def put(self, frame: LiveFrame) -> None:
        """Add a frame."""
        with self._changed:
            self._waiting.append(frame)
            self._n_pictures += frame.picture is not None
            self._drop(self.limit)
            self._changed.notify()

    def take(self, timeout_s: float) -> list[LiveFrame]:
        """All frames since the last call, in order, those that were dropped without picture; none after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), timeout_s)
            self._drop(self.limit)
            frames = [*self._passed, *self._waiting]
            self._passed, self._waiting, self._n_pictures = [], deque(), 0
            return frames

    def is_empty(self) -> bool:
        """Whether none waits."""
        return not self._waiting

    def _drop(self, limit: int) -> None:
        while self._n_pictures > limit:
            frame = self._waiting.popleft()
            self._n_pictures -= frame.picture is not None
            self._passed.append(frame if frame.picture is None else frame.dropped())


class LiveReader:
    """Reads a source in a thread until it is told to stop, and opens it again whenever it is lost."""

    def __init__(self, source: LiveSource, fps: float | None, tell: Callable[[str], None] = logger.info) -> None:
        self.source = source
        self.fps = fps  # frames to look at per second; None is all
        self.frames = LatestFrames(limit=1)
        self.since: datetime | None = None  # when the first frame came in
        self.error: LiveSourceError | None = None  # why there was never a frame
        self.n_losses = 0
        self.codec = self.container = ""
        self._tell = tell
        self._stop = threading.Event()
        self._started_s = 0.0
        self._clock = SessionClock()
        self._n_frames = 0
        self._is_lost = False
        self._last_tick = -1.0
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def __enter__(self) -> LiveReader:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def is_over(self) -> bool:
        """Whether nothing will come any more."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End reading; a pipe in which nothing moves is left behind."""
        self._stop.set()
        self._thread.join(READ_TIMEOUT_S + 1)

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        if self.source.listens:
            self._tell(f"{self.source.shown}: listening; waits {OPEN_TIMEOUT_S:g} s at most for the stream to begin")
        while not self._stop.is_set():
            n_before = self._n_frames
            reason = "it ended"
            try:
                with self.source.open() as (container, stream):
                    self.codec, self.container = stream.codec_context.codec.canonical_name, container.format.name
                    self._read(container, stream)
            except LiveSourceError as error:
                reason = error.reason
                if self.since is None:
                    self.error = error
                    return
            except av.FFmpegError as error:
                reason = error.strerror or str(error)
                if isinstance(error, av.error.ExitError):
                    reason = f"nothing came for {READ_TIMEOUT_S:g} s"
            if self.since is None:
                self.error = LiveSourceError(self.source.shown, f"not a single picture came ({reason}): check it")
                return
            if self.source.ends or self._stop.is_set():
                return
            if self._n_frames > n_before:
                wait_s = FIRST_WAIT_S
                self._lose()
            self._tell(f"{self.source.shown}: lost ({reason}); trying again in {wait_s:g} s")
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _read(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        """Pass on what comes until the source is lost or reading is to stop."""
        for packet in self._in_time(read_packets(container, stream)):
            if self._stop.is_set():
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._pass_on(_time_s(packet), "decode_error")
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._pass_on(frame.time, "decode_error")
                else:
                    self._pass_on(frame.time, "", frame)

    def _in_time(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        """The packets to decode: where decoding has fallen behind, it goes on at the next keyframe.

        How late a packet is shows in the clock less its time, compared with what that was when there was no backlog.
        """
        usual_s, skipped_s, asked_s = np.inf, list[float](), time.monotonic()
        for packet in packets:
            now_s, packet_s = time.monotonic(), _time_s(packet)
            if packet_s is not None:
                late_s = now_s - packet_s
                usual_s = late_s if now_s - asked_s > WAITED_S else min(usual_s, late_s)
                if not packet.is_keyframe and (skipped_s or late_s - usual_s > MAX_BEHIND_S):
                    skipped_s.append(packet_s)
                    asked_s = time.monotonic()
                    continue
            for stream_s in sorted(skipped_s):
                self._pass_on(stream_s, "dropped")
            skipped_s.clear()
            yield packet
            asked_s = time.monotonic()

    def _pass_on(self, stream_s: float | None, missing: Missing, picture: av.VideoFrame | None = None) -> None:
        now_s = time.monotonic()
        if self._is_lost:
            self._is_lost = False
            self._tell(f"{self.source.shown}: back")
        if self.since is None:
            self.since, self._started_s = datetime.now(UTC), now_s
        pts_s = self._clock.time_of(stream_s, now_s - self._started_s)
        index, self._n_frames = self._n_frames, self._n_frames + 1
        if self.fps is not None:
            tick = np.floor((pts_s + ROUNDING_S) * self.fps)
            if tick <= self._last_tick:
                return
            self._last_tick = tick
        self.frames.put(LiveFrame(index, pts_s, now_s, missing, picture))

    def _lose(self) -> None:
        self._is_lost = True
        self.n_losses += 1
        self.frames.put(LiveFrame(self._n_frames, self._clock.lose(), time.monotonic(), "no_signal"))
        self._n_frames += 1


def _time_s(packet: av.Packet[Any]) -> float | None:
    """When the frame of a packet is to be shown; None if it does not say."""
    return None if packet.pts is None or packet.time_base is None else float(packet.pts * packet.time_base)


def frame_batch(frames: list[LiveFrame]) -> FrameBatch:
    """The images of these frames as a player shows them; all must have one shape."""
    pixels = [
        stored_orientation(frame.picture).apply(frame.picture.to_ndarray(format="rgb24"))
        for frame in frames
        if frame.picture is not None
    ]
    index = np.array([frame.index for frame in frames], np.int64)
    return FrameBatch(np.stack(pixels), index, np.array([frame.pts_s for frame in frames]))
