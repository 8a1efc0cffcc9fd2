"""Read a live source in a background thread: monotonic timestamps, and frames are dropped rather than delayed."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Any

import av
import av.container
import numpy as np

from fer_models.frame_batch import ROUNDING_S
from fer_models.video.container import decode_packet, flush_packet, read_packets
from fer_models.video.damage import DamageTracker, flag_damaged_packets
from fer_models.video.frame_formats import TransferCorrection
from fer_models.video.geometry import GeometryError
from fer_models.video.live_frames import FrameGeometry, LatestFrames, LiveFrame, Missing
from fer_models.video.live_source import OPEN_TIMEOUT_S, READ_TIMEOUT_S, LiveSource, LiveSourceError

logger = logging.getLogger(__name__)

# Seconds before reconnecting to a lost source; each wait is twice the previous one, up to the second number.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
MAX_AHEAD_S = 1.0  # a stream whose timestamps jump ahead of the wall clock by more than this has restarted
MAX_BEHIND_S = 1.0  # when decoding is late by more than this, it skips to the next keyframe
WAITED_S = 0.005  # a packet that took this many seconds to arrive shows that there is no backlog
MAX_REORDERED_S = 1.0  # if a packet is earlier than one before it by more than this, the clock has restarted
MAX_WITHHELD_S = 2.0  # a missing frame waits for the decoder to return the earlier frames for at most this long


class SessionClock:
    """Convert stream timestamps, which may jump or restart, into strictly increasing seconds at wall-clock pace."""

    def __init__(self) -> None:
        self.last_s = -np.inf  # the latest time returned
        self.step_s = 0.04  # seconds between the last two frames without a restart in between
        self._offset_s = 0.0
        self._last: tuple[float, float] | None = None  # stream timestamp and arrival time of the latest frame

    def time_of(self, stream_s: float | None, arrived_s: float) -> float:
        """The time of a frame: spaced from the previous frame as in the stream, unless the stream has restarted.

        Args:
            stream_s: its timestamp in the stream; None if it has none.
            arrived_s: its arrival time, in seconds since the first frame arrived.
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
        """Mark the stream as lost and return the time of the loss: one step after its last frame."""
        self._last = None
        self.last_s += self.step_s
        return self.last_s


class PacketTimes:
    """Give packets times for `DamageTracker`: presentation times, which continue where the stream's clock restarts."""

    def __init__(self) -> None:
        self.latest_s = self._offset_s = 0.0

    def time_of(self, packet_s: float | None) -> float:
        """The time of the next packet; packets without presentation time are in the order of the stream.

        >>> times = PacketTimes()
        >>> [round(times.time_of(packet_s), 3) for packet_s in (5.0, 5.12, 5.04, 5.08, 1.4, 1.44, None)]
        [5.0, 5.12, 5.04, 5.08, 5.121, 5.161, 5.162]
        """
        next_s = self.latest_s + ROUNDING_S
        if packet_s is None:
            time_s = next_s
        else:
            if packet_s + self._offset_s < self.latest_s - MAX_REORDERED_S:
                self._offset_s = next_s - packet_s
            time_s = packet_s + self._offset_s
        self.latest_s = max(self.latest_s, time_s)
        return time_s


class FrameSampler:
    """Select evenly spaced frames; `fps`, the number per second or None for all, may be changed at any time."""

    def __init__(self, fps: float | None) -> None:
        self.fps = fps
        self._last_s = -np.inf  # time of the last selected frame

    def selects(self, pts_s: float) -> bool:
        """Whether to analyze the frame of this time: the first of each interval of `1 / fps` seconds.

        >>> sampler = FrameSampler(fps=5)
        >>> [sampler.selects(time_s) for time_s in (0.0, 0.1, 0.2, 0.39, 0.4)]
        [True, False, True, False, True]
        """
        fps = self.fps
        if fps is not None and not np.floor((pts_s + ROUNDING_S) * fps) > np.floor((self._last_s + ROUNDING_S) * fps):
            return False
        self._last_s = pts_s
        return True


class LiveReader:
    """Read a source in a background thread until stopped; reconnect whenever the source is lost."""

    def __init__(self, source: LiveSource, fps: float | None, on_message: Callable[[str], None] = logger.info) -> None:
        self.source = source
        self.sampler = FrameSampler(fps)
        self.frames = LatestFrames(limit=1)
        self.since: datetime | None = None  # arrival time of the first frame
        self.error: LiveSourceError | None = None  # why no frame ever arrived
        self.n_losses = 0
        self.codec = self.container = ""
        self._report = on_message
        self._stop = threading.Event()
        self._started_s = 0.0
        self._clock = SessionClock()
        self._n_frames = 0
        # Stream timestamps of frames without image, as a heap: the decoder may still hold back earlier frames.
        self._missing: list[tuple[float, Missing]] = []
        self._last_stream_s = -np.inf  # stream timestamp of the latest frame
        self._is_lost = False
        self._tracker: DamageTracker[av.VideoFrame] = DamageTracker()  # both are replaced when the source is opened
        self._packet_times = PacketTimes()
        self._transfers: TransferCorrection  # set when the source is opened
        self._thread = threading.Thread(target=self._run, name="live", daemon=True)

    def __enter__(self) -> LiveReader:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def is_over(self) -> bool:
        """Whether no more frames will arrive."""
        return not self._thread.is_alive()

    @property
    def stream_fps(self) -> float:
        """The rate at which the stream sends frames, from its latest timestamps."""
        return 1 / max(self._clock.step_s, ROUNDING_S)

    def stop(self) -> None:
        """Stop reading. A thread that is blocked on a silent pipe is abandoned."""
        self._stop.set()
        self._thread.join(READ_TIMEOUT_S + 1)

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        if self.source.listens:
            self._report(f"{self.source.shown}: listening; waiting up to {OPEN_TIMEOUT_S:g} s for the stream to start")
        while not self._stop.is_set():
            n_before = self._n_frames
            reason = self._read_until_lost()
            if reason is None or self.source.ends or self._stop.is_set():
                return
            if self._n_frames > n_before:
                wait_s = FIRST_WAIT_S
                self._lose()
            self._report(f"{self.source.shown}: lost ({reason}); reconnecting in {wait_s:g} s")
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _read_until_lost(self) -> str | None:
        """Connect and queue frames; return why the source was lost, None if connecting again would not help."""
        try:
            with self.source.open() as (container, stream):
                self.codec, self.container = stream.codec_context.codec.canonical_name, container.format.name
                self._read(container, stream)
            reason = "the stream ended"
        except GeometryError as error:
            if self.since is None:
                self.error = LiveSourceError(self.source.shown, str(error))
            else:
                self._report(f"{self.source.shown}: ended: it {error}")
            return None
        except LiveSourceError as error:
            if self.since is None:
                self.error = error
                return None
            reason = error.reason
        except av.FFmpegError as error:
            is_silent = isinstance(error, av.error.ExitError)
            reason = f"no data for {READ_TIMEOUT_S:g} s" if is_silent else error.strerror or str(error)
        if self.since is None:
            message = f"no frame was received ({reason}): check that the sender transmits video"
            self.error = LiveSourceError(self.source.shown, message)
            return None
        return reason

    def _read(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        """Queue frames until the source is lost or reading is stopped.

        Raises:
            av.FFmpegError: if the source is lost.
            GeometryError: if the stream asks for a rotation or a pixel aspect ratio that is not supported.
        """
        self._tracker, self._packet_times = DamageTracker(), PacketTimes()
        self._transfers = TransferCorrection(container, stream)
        try:
            for packet, is_damaged in self._skip_backlog(flag_damaged_packets(read_packets(container, stream))):
                if self._stop.is_set():
                    return
                packet_s = _time_s(packet)
                if packet_s is not None and self._missing and packet_s - self._missing[0][0] > MAX_WITHHELD_S:
                    self._drain(stream, packet_s)
                self._track(packet, is_damaged=is_damaged)
                frames, has_failed = decode_packet(packet)
                if has_failed:
                    self._tracker.fail()
                self._emit_decoded(frames, stream)
                if has_failed:
                    self._add_missing(packet, "decode_error")
        finally:
            self._drain(stream)

    def _track(self, packet: av.Packet[Any], *, is_damaged: bool) -> None:
        """Note a packet for the damage and colors of frames; the decoder passes its time there on to its frame."""
        if packet.size:
            pts_s = None if packet.pts is None else _time_s(packet)
            packet.opaque = time_s = self._packet_times.time_of(pts_s)
            self._tracker.send(time_s, is_keyframe=packet.is_keyframe, is_damaged=is_damaged)
            self._transfers.add(packet, time_s)

    def _skip_backlog(self, packets: Iterator[tuple[av.Packet[Any], bool]]) -> Iterator[tuple[av.Packet[Any], bool]]:
        """The packets to decode: when decoding has fallen behind, skip to the next keyframe.

        The lag of a packet is the wall clock minus its timestamp, compared with that difference without a backlog.
        """
        usual_s, is_skipping, asked_s = np.inf, False, time.monotonic()
        for packet, is_damaged in packets:
            now_s, packet_s, is_late = time.monotonic(), _time_s(packet), False
            if packet_s is not None:
                late_s = now_s - packet_s
                usual_s = late_s if now_s - asked_s > WAITED_S else min(usual_s, late_s)
                is_late = late_s - usual_s > MAX_BEHIND_S
            # The packet at the end of the stream is empty.
            is_skipping = not packet.is_keyframe and (is_late or (is_skipping and packet.size > 0))
            if is_skipping:
                self._track(packet, is_damaged=True)  # frames after the keyframe may refer to it
                self._add_missing(packet, "dropped")
            else:
                yield packet, is_damaged
            asked_s = time.monotonic()

    def _add_missing(self, packet: av.Packet[Any], reason: Missing) -> None:
        """Queue a frame without image behind the earlier frames that the decoder holds back.

        Without presentation times, frames get the times of the packets for which they are returned: none is earlier.
        """
        stream_s = _time_s(packet)
        if packet.pts is None or stream_s is None:
            self._emit(stream_s, reason)
        else:
            heappush(self._missing, (stream_s, reason))

    def _drain(self, stream: av.VideoStream, end_s: float = np.inf) -> None:
        """Emit what the decoder holds back and the missing frames before `end_s`; decoding resumes at a keyframe."""
        self._emit_decoded(decode_packet(flush_packet(stream))[0], stream)
        self._emit_known(self._tracker.finish(), stream)
        stream.codec_context.flush_buffers()
        self._emit_missing(end_s)

    def _emit_missing(self, end_s: float) -> None:
        while self._missing and self._missing[0][0] < end_s:
            self._emit(*heappop(self._missing))

    def _emit_decoded(self, frames: list[av.VideoFrame], stream: av.VideoStream) -> None:
        """Emit decoded frames once it is known whether they refer to damage."""
        for frame in frames:
            # A frame that the decoder returns without its packet's time belongs to the latest packet.
            time_s = frame.opaque if isinstance(frame.opaque, float) else self._packet_times.latest_s
            self._transfers.apply(frame, time_s)
            self._emit_known(self._tracker.receive(time_s, frame, is_damaged=frame.is_corrupt), stream)

    def _emit_known(self, known: list[tuple[av.VideoFrame, bool]], stream: av.VideoStream) -> None:
        """Emit frames, each with whether it is damaged, after the missing frames that precede it."""
        for frame, is_damaged in known:
            stream_s = _time_s(frame)
            if stream_s is None or stream_s <= self._last_stream_s:
                self._emit_missing(np.inf)  # the stream has restarted
            else:
                self._emit_missing(stream_s)
            if is_damaged:
                self._emit(stream_s, "decode_error")
            else:
                self._emit(stream_s, "", frame, FrameGeometry.of(frame, stream.sample_aspect_ratio))

    def _emit(
        self,
        stream_s: float | None,
        missing: Missing,
        image: av.VideoFrame | None = None,
        geometry: FrameGeometry | None = None,
    ) -> None:
        now_s = time.monotonic()
        if self._is_lost:
            self._is_lost = False
            self._report(f"{self.source.shown}: back online")
        if self.since is None:
            self.since, self._started_s = datetime.now(UTC), now_s
        pts_s = self._clock.time_of(stream_s, now_s - self._started_s)
        self._last_stream_s = -np.inf if stream_s is None else stream_s
        index, self._n_frames = self._n_frames, self._n_frames + 1
        if self.sampler.selects(pts_s):
            self.frames.put(LiveFrame(index, pts_s, now_s, missing, image, geometry))

    def _lose(self) -> None:
        self._is_lost = True
        self.n_losses += 1
        self.frames.put(LiveFrame(self._n_frames, self._clock.lose(), time.monotonic(), "no_signal"))
        self._n_frames += 1


def _time_s(data: av.Packet[Any] | av.VideoFrame) -> float | None:
    """Presentation time of a packet or frame; where it has none, the time of decoding, None if that is unknown, too.

    The time of decoding of a frame is that of the packet for which the decoder returned it.
    """
    ticks = data.dts if data.pts is None else data.pts
    return None if ticks is None or data.time_base is None else float(ticks * data.time_base)
