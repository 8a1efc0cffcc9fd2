"""Write H.264 video in MP4, with a timestamp for each frame and the audio of another file."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

import heapq
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
from av.audio.stream import AudioStream
from av.codec import Codec
from av.video.reformatter import Colorspace

from fer_models.video.container import VideoReadError, open_container, read_packets
from fer_models.video.probe import VideoInfo

logger = logging.getLogger(__name__)

_TIME_BASE = Fraction(1, 90_000)  # unit of the timestamps, fine enough for any frame rate
_BT709 = 1  # number of the color space ITU-R BT.709 in FFmpeg
# Audio codecs that players accept in MP4; all others are converted to AAC.
_AUDIO_CODECS_IN_MP4 = frozenset({"aac", "ac3", "alac", "eac3", "mp3", "opus"})
_OPTIONS = {"crf": "20", "preset": "veryfast"}


def write_video(target: Path, frames: Iterable[tuple[np.ndarray, float]], source: VideoInfo) -> None:
    """Write frames as MP4 in player time, with all audio tracks of `source`.

    No metadata of the source is copied: no title, no location, and no rotation, as the frames are upright. Audio is
    left out if the timestamps of the source jump, as it would not stay in sync.

    Args:
        target: the file, overwritten if it exists.
        frames: (height, width, 3) uint8 RGB, all of one size, each with its player time, ascending. Each frame is
            copied at once, so the caller may reuse the array.
        source: the video that provides the audio, the frame rate and the end time of the last frame.

    Raises:
        VideoReadError: if the source can no longer be opened, or there are no frames.
    """
    with (
        _open_source(source) as original,
        av.open(str(target), "w", format="mp4", container_options={"movflags": "+faststart"}) as container,
    ):
        # Some phones add a proprietary audio track that FFmpeg cannot decode next to a standard one.
        audio_streams = [stream for stream in original.streams.audio if stream.codec_context] if original else []
        tracks = {stream.index: _add_audio_stream(container, stream) for stream in audio_streams}
        streams: list[Iterator[av.Packet[Any]]] = [_encoded(container, frames, source)]
        if original and tracks:
            streams.append(_audio_packets(original, tracks, source.start_time_s))
        for packet in heapq.merge(*streams, key=_time_s):
            container.mux(packet)


@contextmanager
def _open_source(source: VideoInfo) -> Iterator[av.container.InputContainer | None]:
    """Open the file that provides the audio; None if it has none, or none that would stay in sync."""
    if source.decoder == "image":
        yield None
        return
    with open_container(source.path) as original:
        if source.n_clock_jumps and original.streams.audio:
            logger.warning(
                "%s: the audio is left out, because timestamps jump and it would not stay in sync", source.path
            )
        yield None if source.n_clock_jumps else original


def _encoded(
    container: av.container.OutputContainer, frames: Iterable[tuple[np.ndarray, float]], source: VideoInfo
) -> Iterator[av.Packet[av.VideoStream]]:
    """The packets of the video; each frame lasts until the next one, the last one until its end in the source."""
    rate = Fraction(source.avg_fps or 25).limit_denominator(60_000)
    stream = container.add_stream("libx264", rate=rate, options=_OPTIONS)
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = stream.time_base = _TIME_BASE
    for name in ("colorspace", "color_primaries", "color_trc"):
        setattr(stream.codec_context, name, _BT709)
    stream.codec_context.color_range = 1  # 1: limited range, values from 16 to 235
    shown_until: dict[int, int] = {}  # maps the start of each frame in the encoder to its end
    before: int | None = None
    for pixels, pts_s in frames:
        if before is None:
            stream.height, stream.width = (size + size % 2 for size in pixels.shape[:2])
            container.start_encoding()
        frame = _frame(pixels, stream.width, stream.height)
        frame.pts, frame.time_base = round(pts_s / _TIME_BASE), _TIME_BASE
        if before is not None:
            shown_until[before] = frame.pts
        before = frame.pts
        yield from _timed(stream.encode(frame), shown_until, rate)
    if before is None:
        raise VideoReadError(source.path, "none of its frames can be decoded")
    if (end := round(source.end_s / _TIME_BASE)) > before:
        shown_until[before] = end
    yield from _timed(stream.encode(), shown_until, rate)


def _timed(
    packets: list[av.Packet[av.VideoStream]], shown_until: dict[int, int], rate: Fraction
) -> Iterator[av.Packet[av.VideoStream]]:
    for packet in packets:
        assert packet.pts is not None
        end = shown_until.pop(packet.pts, packet.pts + round(1 / rate / _TIME_BASE))
        packet.duration = end - packet.pts
        yield packet


def _frame(pixels: np.ndarray, width_px: int, height_px: int) -> av.VideoFrame:
    """Convert a frame for the encoder; odd sizes repeat the last row or column, as H.264 subsamples colors by two."""
    missing = (height_px - pixels.shape[0], width_px - pixels.shape[1])
    if any(missing):
        pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
    frame.colorspace = _BT709
    return frame


def _add_audio_stream(container: av.container.OutputContainer, stream: AudioStream) -> AudioStream:
    if _is_copied(stream):
        return container.add_stream_from_template(stream)
    rate = stream.rate if stream.rate in (Codec("aac", "w").audio_rates or ()) else 48_000
    return container.add_stream("aac", rate=rate, layout="mono" if stream.channels == 1 else "stereo")


def _audio_packets(
    container: av.container.InputContainer, tracks: dict[int, AudioStream], start_s: float
) -> Iterator[av.Packet[AudioStream]]:
    """The packets of all audio tracks in player time, copied or re-encoded as AAC; ends at the first read error."""
    audio_streams = [stream for stream in container.streams.audio if stream.index in tracks]
    encoders = {stream.index: _AudioEncoder(tracks[stream.index]) for stream in audio_streams if not _is_copied(stream)}
    packets: Iterator[av.Packet[AudioStream]] = read_packets(container, *audio_streams)
    try:
        for packet in packets:
            track = tracks[packet.stream.index]
            if _is_copied(packet.stream):
                if packet.dts is not None and packet.time_base:  # the last packet is empty: it only flushes decoders
                    start = round(start_s / packet.time_base)
                    packet.pts, packet.dts = (
                        (packet.dts if packet.pts is None else packet.pts) - start,
                        packet.dts - start,
                    )
                    packet.stream = track
                    yield packet
                continue
            for frame in packet.decode():
                if frame.pts is not None and frame.time_base:
                    frame.pts -= round(start_s / frame.time_base)
                yield from encoders[packet.stream.index].encode(frame)
    except av.FFmpegError as error:
        logger.warning("%s: the rest of the audio cannot be read (%s)", container.name, error.strerror)
    for encoder in encoders.values():
        yield from encoder.encode(None)


class _AudioEncoder:
    """Encode the frames of an audio track, whose sample format, channels and sample rate may change."""

    def __init__(self, track: AudioStream) -> None:
        self._track = track
        self._input: tuple[str, str, int] | None = None  # format, layout and rate of the frames before
        self._resampler = av.AudioResampler()

    def encode(self, frame: av.AudioFrame | None) -> Iterator[av.Packet[AudioStream]]:
        """Encode a frame; None ends the track."""
        for resampled in self._resample(frame):
            # PyAV's encoder expects one time base.
            if resampled.pts is not None and resampled.time_base:
                resampled.pts = round(resampled.pts * resampled.time_base * self._track.rate)
                resampled.time_base = Fraction(1, self._track.rate)
            yield from self._track.encode(resampled)
        if frame is None:
            yield from self._track.encode(None)

    def _resample(self, frame: av.AudioFrame | None) -> Iterator[av.AudioFrame]:
        own = None if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        if own != self._input:
            yield from self._resampler.resample(None)
            self._resampler = av.AudioResampler(self._track.format, self._track.layout, self._track.rate)
            self._input = own
        if frame is not None:
            yield from self._resampler.resample(frame)


def _is_copied(stream: AudioStream) -> bool:
    return stream.codec_context.codec.canonical_name in _AUDIO_CODECS_IN_MP4


def _time_s(packet: av.Packet[Any]) -> float:
    """Decoding time of a packet, by which the packets of all streams are interleaved."""
    assert packet.time_base is not None
    ticks = packet.pts if packet.dts is None else packet.dts
    return float((ticks or 0) * packet.time_base)
