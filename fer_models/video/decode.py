"""Read selected frames in batches; frames that cannot be decoded are skipped, never replaced."""

from __future__ import annotations  # av.Packet takes a parameter in its type stubs only

import logging
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import av
import av.container
import numpy as np
from av.video.reformatter import VideoReformatter

from fer_models.frame_batch import FrameBatch
from fer_models.video.color import to_rgb
from fer_models.video.container import (
    VideoReadError,
    decode_packet,
    decoding_stream,
    is_shown,
    open_container,
    packets_until_damage,
)
from fer_models.video.damage import DamageTracker
from fer_models.video.decord_backend import decord_batches
from fer_models.video.geometry import GeometryError, fitted_size, square_pixel_size
from fer_models.video.probe import VideoInfo, probe
from fer_models.video.sampling import frames_to_sample, keyframe_before, split_at_seeks
from fer_models.video.still_images import read_images

logger = logging.getLogger(__name__)

# Decoded frames that a seek costs, because the frames in the decoder's threads are discarded.
_MIN_SKIP_FRAMES = 16
# Codecs whose packets reliably tell which frames no other frame needs; those are skipped unless they are requested.
_UNREFERENCED_CAN_BE_SKIPPED = frozenset({"h264"})


# One call in place of `probe`, `frames_to_sample` and `read_frames_at`, with the arguments of all three.
def read_frames(  # noqa: PLR0913
    path: str | Path,
    *,
    fps: float | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    batch_size: int = 32,
    decoder: str = "auto",
    video_stream: int | None = None,
    rotate: int = 0,
) -> Iterator[FrameBatch]:
    """Read the frames of a video or image as a player shows them; the last batch may be shorter.

    `fps`, `start_s` and `end_s` select frames as in `frames_to_sample`; `decoder`, `video_stream` and `rotate` are
    those of `probe`.

    Raises:
        VideoReadError: if the file cannot be read, has no video, or the requested decoder cannot read it.
        ValueError: if an argument is out of range.
    """
    info = probe(path, decoder, video_stream=video_stream, rotate=rotate)
    frame_index = frames_to_sample(info.pts_s, info.end_s, fps=fps, start_s=start_s, end_s=end_s)
    return read_frames_at(info, frame_index, batch_size=batch_size)


def read_frames_at(info: VideoInfo, frame_index: np.ndarray, *, batch_size: int = 32) -> Iterator[FrameBatch]:
    """Read the frames at these indices, in order. Frames that cannot be decoded are missing from the batches.

    Memory holds at most one batch and the few frames being decoded (with decord: all frames of the file, which is why
    "auto" uses it for short clips only). Closing the iterator closes the file.

    Args:
        info: from `probe`.
        frame_index: (n,) increasing, each in `[0, info.n_frames)`.
        batch_size: frames per batch.

    Raises:
        ValueError: if `frame_index` does not increase or is out of range, or `batch_size` is less than 1.
        VideoReadError: (while reading) if the file can no longer be opened.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    frame_index = np.asarray(frame_index, np.int64)
    if len(frame_index) == 0:
        return iter(())
    if frame_index[0] < 0 or frame_index[-1] >= info.n_frames or (np.diff(frame_index) <= 0).any():
        raise ValueError(f"frame_index must increase within [0, {info.n_frames}), got {frame_index}")
    read = {"decord": _read_with_decord, "pyav": _read_with_pyav, "image": _read_image}[info.decoder]
    return read(info, frame_index, batch_size)


def _read_image(info: VideoInfo, frame_index: np.ndarray, batch_size: int) -> Iterator[FrameBatch]:
    frames = read_images(info.path, info.orientation, info.transfer(0), frame_index)
    for start in range(0, len(frame_index), batch_size):
        index = frame_index[start : start + batch_size]
        yield FrameBatch(np.stack(list(islice(frames, len(index)))), index, info.pts_s[index])


def _read_with_decord(info: VideoInfo, frame_index: np.ndarray, batch_size: int) -> Iterator[FrameBatch]:
    """Read with decord; PyAV takes over at the first damaged frame, which decord cannot skip."""
    done = 0
    try:
        for pixels in decord_batches(info.path, info.n_frames, frame_index, batch_size):
            index = frame_index[done : done + len(pixels)]
            done += len(pixels)
            yield FrameBatch(pixels, index, info.pts_s[index])
    except VideoReadError as error:
        logger.warning("%s; PyAV takes over", error)
        yield from _read_with_pyav(info, frame_index[done:], batch_size)


def _read_with_pyav(info: VideoInfo, frame_index: np.ndarray, batch_size: int) -> Iterator[FrameBatch]:
    shape = (min(batch_size, len(frame_index)), info.height_px, info.width_px, 3)
    pixels = np.empty(shape, np.uint8)
    index: list[int] = []
    for i, frame in _rgb_frames(info, frame_index):
        pixels[len(index)] = frame
        index.append(i)
        if len(index) == len(pixels):
            yield FrameBatch(pixels, np.array(index, np.int64), info.pts_s[index])
            pixels, index = np.empty(shape, np.uint8), []
    if index:
        yield FrameBatch(pixels[: len(index)], np.array(index, np.int64), info.pts_s[index])


def _rgb_frames(info: VideoInfo, frame_index: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each undamaged frame with its index: (height_px, width_px, 3) uint8 RGB, as shown."""
    reformatter = VideoReformatter()
    # The size before rotation, with square pixels. Frames of another shape are fitted into it.
    size = info.orientation.shown_size(info.width_px, info.height_px)
    for i, frame in _decode(info, frame_index):
        if frame is None:
            continue
        try:
            square_px = square_pixel_size(frame.width, frame.height, info.pixel_aspect(i))
            rgb = to_rgb(frame, *fitted_size(*square_px, size), info.transfer(i), reformatter)
        except (av.FFmpegError, GeometryError) as error:
            logger.warning("%s: frame %d cannot be converted to RGB (%s)", info.path, i, error)
            continue
        yield i, info.orientation.apply(_with_borders(rgb, *size))


def _with_borders(rgb: np.ndarray, width_px: int, height_px: int) -> np.ndarray:
    """Center a frame on black of the given size."""
    height, width = rgb.shape[:2]
    if (width, height) == (width_px, height_px):
        return rgb
    canvas = np.zeros((height_px, width_px, 3), np.uint8)
    top, left = (height_px - height) // 2, (width_px - width) // 2
    canvas[top : top + height, left : left + width] = rgb
    return canvas


def _decode(info: VideoInfo, frame_index: np.ndarray) -> Iterator[tuple[int, av.VideoFrame | None]]:
    """Decode the frames at these indices, None if damaged, seeking to a keyframe where that saves decoding."""
    # If all frames are requested, none is skipped, so that error concealment does not depend on where a segment starts.
    is_sparse = len(frame_index) <= frame_index[-1] - frame_index[0]
    skips = is_sparse and info.codec in _UNREFERENCED_CAN_BE_SKIPPED
    with open_container(info.path) as container:
        stream = decoding_stream(container, info.stream_index)
        for start, end in split_at_seeks(frame_index, info.keyframe_index, min_skip=_MIN_SKIP_FRAMES):
            keyframe = int(keyframe_before(frame_index[start : start + 1], info.keyframe_index)[0])
            if keyframe > 0:
                packets = _packets_from(container, stream, int(info.pts[keyframe]))
            else:
                packets = packets_until_damage(container, stream)
            frames = _decode_packets(info, stream, packets, frame_index[start:end], skips)
            first = next(frames, None)
            if keyframe > 0 and (first is None or first[0] > frame_index[start]):
                break  # the seek failed, or the target is not a true keyframe: the first frames after it do not decode
            if first is not None:
                yield from _select(chain([first], frames), frame_index[start:end])
        else:
            return
    logger.info("%s: cannot seek to frame %d, reading from the beginning", info.path, frame_index[start])
    with open_container(info.path) as container:
        stream = decoding_stream(container, info.stream_index)
        packets = packets_until_damage(container, stream)
        yield from _select(_decode_packets(info, stream, packets, frame_index[start:], skips), frame_index[start:])


def _packets_from(
    container: av.container.InputContainer, stream: av.VideoStream, keyframe_pts: int
) -> Iterator[av.Packet[av.VideoStream]]:
    """The packets starting at exactly this keyframe; none if no seek reaches it."""
    assert stream.time_base is not None
    # Some containers seek by decoding time, which is earlier than presentation time: try again from 2 s before.
    for early_s in (0, 2):
        try:
            container.seek(keyframe_pts - round(early_s / stream.time_base), stream=stream)
        except av.FFmpegError:
            return
        packets = packets_until_damage(container, stream)
        for packet in packets:
            if packet.pts == keyframe_pts:
                yield packet
                yield from packets
                return
            if packet.is_keyframe and packet.pts is not None and packet.pts > keyframe_pts:
                break


def _decode_packets(
    info: VideoInfo,
    stream: av.VideoStream,
    packets: Iterator[av.Packet[av.VideoStream]],
    frame_index: np.ndarray,
    skip_unreferenced: bool,
) -> Iterator[tuple[int, av.VideoFrame | None]]:
    """Decode all packets: each frame with its index, None if it is damaged or refers to a damaged frame.

    Frames not in `frame_index` may be skipped.
    """
    if info.is_counted:
        damaged = set(info.damaged_index.tolist())
        counted = enumerate(frame for packet in packets for frame in decode_packet(packet)[0])
        yield from ((i, None if i in damaged else frame) for i, frame in counted)
        return
    if info.packet_frame is not None:
        packets = _renumbered(packets, info.packet_frame)
    wanted_pts, damaged_pts = (set(info.pts[index].tolist()) for index in (frame_index, info.damaged_index))
    tracker: DamageTracker[tuple[int, av.VideoFrame]] = DamageTracker()
    last = -1
    for packet in packets:
        can_skip = skip_unreferenced and packet.pts is not None and packet.pts not in wanted_pts
        stream.codec_context.skip_frame = "NONREF" if can_skip else "DEFAULT"
        if packet.size:
            tracker.send(packet.pts, is_keyframe=packet.is_keyframe, is_damaged=packet.pts in damaged_pts)
        frames, is_failed = decode_packet(packet)
        if is_failed:
            tracker.fail()
        for frame in frames:
            if frame.pts is None:
                continue
            i = int(np.searchsorted(info.pts, frame.pts))
            if last < i < info.n_frames and info.pts[i] == frame.pts:
                last = i
                yield from map(_without_damaged, tracker.receive(frame.pts, (i, frame), is_damaged=frame.is_corrupt))
    yield from map(_without_damaged, tracker.finish())


def _without_damaged(known: tuple[tuple[int, av.VideoFrame], bool]) -> tuple[int, av.VideoFrame | None]:
    (i, frame), is_damaged = known
    return i, None if is_damaged else frame


def _renumbered(
    packets: Iterator[av.Packet[av.VideoStream]], packet_frame: np.ndarray
) -> Iterator[av.Packet[av.VideoStream]]:
    """Replace the time of each packet by the index of its frame, because times are ambiguous if the clock jumps."""
    n_shown = 0
    for packet in packets:
        if is_shown(packet) and n_shown < len(packet_frame):
            packet.pts, n_shown = int(packet_frame[n_shown]), n_shown + 1
        elif packet.size:
            packet.pts = None
        if packet.size:
            packet.dts = None
        yield packet


def _select(
    frames: Iterator[tuple[int, av.VideoFrame | None]], frame_index: np.ndarray
) -> Iterator[tuple[int, av.VideoFrame | None]]:
    wanted = set(frame_index.tolist())
    for i, frame in frames:
        if i in wanted:
            yield i, frame
        if i >= frame_index[-1]:
            return
