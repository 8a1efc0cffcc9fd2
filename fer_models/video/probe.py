"""Describe a video file by reading all its packets once, because headers may be wrong."""

import dataclasses
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import av
import av.container
import numpy as np

from fer_models.frame_batch import ROUNDING_S
from fer_models.video.color import hdr_transfer, is_known_matrix
from fer_models.video.container import VideoReadError, check_readable, open_container
from fer_models.video.decord_backend import open_decord
from fer_models.video.frame_formats import FrameFormat, FrameShape
from fer_models.video.geometry import GeometryError, Orientation, square_pixel_size, stored_orientation
from fer_models.video.limits import check_frame_size
from fer_models.video.notes import hdr_notes, video_notes
from fer_models.video.packets import NO_TIME, OpenVideo, Packets, has_leading_frames, walk_packets
from fer_models.video.signatures import is_image
from fer_models.video.still_images import probe_image
from fer_models.video.stream_choice import choose_stream
from fer_models.video.timing import Timing, find_timing, media_end_s
from fer_models.video.truncation import find_truncation

T = TypeVar("T")
DECODERS = ("auto", "decord", "pyav")

# Codecs that decord reads as fast as PyAV and bit-identically, also after seeks. For H.264, VP8 and MPEG-4, decord is
# slower and returns damaged frames without an error.
_DECORD_CODECS = frozenset({"hevc", "vp9"})
_DECORD_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"})
_DECORD_PIXEL_FORMAT = "yuv420p"
# Limit on the decoded size of a file read with decord, which decodes ahead to the end and keeps every frame.
_DECORD_MAX_DECODED_BYTES = 256 * 2**20
_ALIGNED_BYTES = 32  # without `crop_exactly`, FFmpeg crops at a multiple of this many bytes of each row of a plane
_SMALL_BYTES = 2**20  # files below this size are never split, so their duration is not needed


@dataclass(frozen=True, eq=False)
class VideoInfo:
    """Description of a video file, and which decoder reads it."""

    path: Path
    container: str  # FFmpeg's name, such as "mov,mp4,m4a,3gp,3g2,mj2"
    codec: str
    pixel_format: str  # format of the stored pixels: FFmpeg's name, such as "yuv420p"; Pillow's mode for an image
    width_px: int  # width of a frame as a player shows it: rotated, mirrored, with square pixels
    height_px: int
    orientation: Orientation  # rotation and mirroring from the stored to the shown frame
    duration_s: float  # duration of the file, as a player shows it; 0 for a still image
    start_time_s: float  # timestamp at which playback starts; `pts_s` is 0 there
    pts_s: np.ndarray  # (n_frames,) float64, strictly increasing: presentation times in player time
    end_s: float  # when the last frame ends, in player time
    pts: np.ndarray  # (n_frames,) int64, increasing: timestamps that identify decoded frames, in the stream's time base
    avg_fps: float | None  # frames per second on average; None for a still image
    is_vfr: bool  # True if frame intervals vary by more than rounding to 1 ms or to the time base
    decoder: str  # "decord", "pyav" or "image"
    decoder_reason: str
    stream_index: int  # index of the video stream among all streams of the file
    video_stream: int | None  # index of the stream among the video streams; None for an image
    keyframe_index: np.ndarray  # (k,) int64, increasing: the frames at which decoding can start
    is_counted: bool  # True if timestamps are missing or unusable: frames are identified by their position
    truncation: str | None  # where the file is truncated, as a part of a sentence; None if it is complete
    # (k,) int64: frames whose data are damaged; if the stream is counted, also those that refer to them
    damaged_index: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    # (h,) float64, increasing: when the frame before each interval ends whose frames are lost with their data
    lost_from_s: np.ndarray = field(default_factory=lambda: np.empty(0))
    # Number of restarts and jumps of the clock, after which the time continues from the last frame.
    n_clock_jumps: int = 0
    # (n,) int64: the frame that each packet holds, -1 for one that is left out; None unless the clock jumps
    packet_frame: np.ndarray | None = None
    # The shape of the stored frames, from the frame with each index on; empty for images.
    shapes: tuple[tuple[int, FrameShape], ...] = ()
    # Transfer characteristics as numbered by FFmpeg if HDR, else 0, from the frame with each index on.
    transfers: tuple[tuple[int, int], ...] = ((0, 0),)
    notes: tuple[str, ...] = ()  # sentences for the user: choices, repairs and omissions

    @property
    def n_frames(self) -> int:
        """Number of shown frames."""
        return len(self.pts_s)

    @property
    def is_still(self) -> bool:
        """Whether it is an image without animation."""
        return self.decoder == "image" and self.n_frames == 1

    @property
    def rotation_deg(self) -> int:
        """Clockwise rotation of the stored frames: 0, 90, 180 or 270."""
        return self.orientation.rotation_deg

    def pixel_aspect(self, frame_index: int) -> Fraction | None:
        """Width of a stored pixel over its height in a frame; None counts as square."""
        return _value_at(self.shapes, frame_index).pixel_aspect

    def transfer(self, frame_index: int) -> int:
        """Transfer characteristics of a frame as numbered by FFmpeg if it is HDR, else 0.

        The header decides, because FFmpeg's decoder keeps those of HLG for all later frames.
        """
        return _value_at(self.transfers, frame_index)

    @property
    def is_mirrored(self) -> bool:
        """Whether stored frames are mirrored left to right before the rotation."""
        return self.orientation.is_mirrored


def _value_at(runs: Sequence[tuple[int, T]], frame_index: int) -> T:
    """The value for a frame, of values from the frame with each index on."""
    return runs[bisect_right(runs, frame_index, key=lambda run: run[0]) - 1][1]


def probe(path: str | Path, decoder: str = "auto", *, video_stream: int | None = None, rotate: int = 0) -> VideoInfo:
    """Read the packets of a video and decode its first frame; a still image is a video of one frame at 0 s.

    Args:
        path: the file.
        decoder: "decord", "pyav", or "auto": decord for short, plain clips in HEVC or VP9, which it decodes in
            the background, and PyAV for everything else. PyAV skips damaged frames; decord may return them.
        video_stream: index of the video stream to read, from 0; None: see `choose_stream`.
        rotate: additional clockwise rotation of the frames: 0, 90, 180 or 270 degrees.

    Raises:
        VideoReadError: if the file cannot be read, has no video, or the requested decoder cannot read it.
        ValueError: if an argument is out of range.
    """
    path = Path(path)
    if decoder not in DECODERS:
        raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, got {decoder!r}")
    if rotate not in (0, 90, 180, 270):
        raise ValueError(f"rotate must be 0, 90, 180 or 270, got {rotate}")
    check_readable(path)
    if is_image(path):
        return _describe_image(path, rotate)
    with open_container(path) as container:
        stream, notes = choose_stream(path, container, video_stream)
        if stream.codec_context.width:  # if unknown here, the width is checked with the first frame
            check_frame_size(path, stream.codec_context.width, stream.codec_context.height)
        video = OpenVideo(path, container, stream)
        packets = walk_packets(video)
        timing = find_timing(video, packets)
        info = _describe(video, packets, timing, rotate=rotate, notes=notes)
        wrong, slow = _doubts_about_decord(info, packets, len(container.streams.video))
    if decoder == "pyav" or (decoder == "auto" and (wrong or slow)):
        return dataclasses.replace(info, decoder_reason=(wrong or slow) if decoder == "auto" else "requested")
    try:
        if wrong:
            raise VideoReadError(path, wrong)
        open_decord(path, info.n_frames)
    except VideoReadError as error:
        if decoder == "decord":
            raise VideoReadError(path, f"{error.reason}; use --decoder pyav") from error
        return dataclasses.replace(info, decoder_reason=error.reason)
    reason = "a short, plain clip: decord decodes ahead" if decoder == "auto" else "requested"
    return dataclasses.replace(info, decoder="decord", decoder_reason=reason)


def stated_duration_s(path: Path) -> float:
    """The duration in the header of a video; 0 if it states none, and for small files and images.

    Raises:
        VideoReadError: if the file cannot be opened.
    """
    is_small = not path.is_file() or path.stat().st_size < _SMALL_BYTES
    if is_small:
        return 0.0
    check_readable(path)
    if is_image(path):
        return 0.0
    with open_container(path) as container:
        return (container.duration or 0) / av.time_base


def _describe_image(path: Path, rotate: int) -> VideoInfo:
    image = probe_image(path)
    orientation = image.orientation.then(Orientation.from_rotation(rotate))
    width_px, height_px = orientation.shown_size(image.width_px, image.height_px)
    is_animated = len(image.start_s) > 1
    return VideoInfo(
        path=path,
        container=image.format,
        codec=image.format,
        pixel_format=image.mode,
        width_px=width_px,
        height_px=height_px,
        orientation=orientation,
        duration_s=image.end_s,
        start_time_s=0.0,
        pts_s=image.start_s,
        end_s=image.end_s,
        pts=np.arange(len(image.start_s)),
        avg_fps=len(image.start_s) / image.end_s if is_animated else None,
        is_vfr=_is_vfr(image.start_s, ROUNDING_S),
        decoder="image",
        decoder_reason="an animated image" if is_animated else "a still image",
        stream_index=0,
        video_stream=None,
        keyframe_index=np.zeros(1, np.int64),
        is_counted=False,
        truncation=None,
        transfers=((0, image.transfer),),
        notes=(*image.notes, *hdr_notes(image.transfer)),
    )


def _describe(video: OpenVideo, packets: Packets, timing: Timing, *, rotate: int, notes: Sequence[str]) -> VideoInfo:
    path, container, stream = video
    frame = packets.first_frame
    assert frame is not None and stream.time_base is not None
    try:
        orientation = stored_orientation(frame).then(Orientation.from_rotation(rotate))
        square_px = square_pixel_size(frame.width, frame.height, stream.sample_aspect_ratio)
    except GeometryError as error:
        raise VideoReadError(path, str(error)) from error
    check_frame_size(path, *square_px)
    width_px, height_px = orientation.shown_size(*square_px)
    shown_s = timing.end_s - float(timing.pts_s[0])
    first = FrameFormat(FrameShape(frame.width, frame.height, stream.sample_aspect_ratio), hdr_transfer(frame))
    formats = _formats(first, packets, timing)
    shapes = _changes((index, changed.shape) for index, changed in formats)
    transfers = _changes((index, changed.transfer) for index, changed in formats)
    return VideoInfo(
        path=path,
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=frame.format.name,
        width_px=width_px,
        height_px=height_px,
        orientation=orientation,
        duration_s=media_end_s(container, packets, timing),
        start_time_s=timing.start_time_s,
        pts_s=timing.pts_s,
        end_s=timing.end_s,
        pts=timing.pts,
        avg_fps=len(timing.pts_s) / shown_s if shown_s > 0 else None,
        # Rounding to the time base makes equal steps differ by up to one unit.
        is_vfr=_is_vfr(timing.pts_s, max(ROUNDING_S, float(stream.time_base))),
        decoder="pyav",
        decoder_reason="",
        stream_index=stream.index,
        video_stream=container.streams.video.index(stream),
        keyframe_index=timing.keyframe_index,
        is_counted=timing.is_counted,
        truncation=find_truncation(video, packets, timing),
        damaged_index=timing.damaged_index,
        lost_from_s=timing.lost_from_s,
        n_clock_jumps=timing.n_clock_jumps,
        packet_frame=timing.packet_frame,
        shapes=shapes,
        transfers=transfers,
        notes=(*notes, *video_notes(video, frame, timing, shapes, transfers)),
    )


def _formats(first: FrameFormat, packets: Packets, timing: Timing) -> list[tuple[int, FrameFormat]]:
    """The format of the stored frames, from the frame with each index on."""
    formats = [(0, first)]
    for packet, changed in packets.formats:
        kept = max(packet - packets.n_left_out, 0)  # its position without the packets that are left out
        pts = packets.pts[kept] if kept < len(packets.pts) else NO_TIME
        if timing.packet_frame is not None and packet < len(timing.packet_frame):
            frame = int(timing.packet_frame[packet])
        elif timing.is_counted or pts == NO_TIME:
            frame = kept  # approximately: the time of the packet is not known
        else:
            frame = int(np.searchsorted(timing.pts, pts))
        if formats[-1][0] < frame < len(timing.pts):
            formats.append((frame, changed))
    return formats


def _changes(runs: Iterable[tuple[int, T]]) -> tuple[tuple[int, T], ...]:
    """Join consecutive runs of the same value."""
    return tuple(next(run) for _, run in groupby(runs, key=lambda run: run[1]))


def _is_vfr(pts_s: np.ndarray, rounding_s: float) -> bool:
    steps_s = np.diff(pts_s)
    return bool(len(steps_s)) and bool(np.ptp(steps_s) > 1.5 * rounding_s)


def _is_aligned(frame: av.VideoFrame) -> bool:
    """Whether the decoder would have cropped a frame at the same column without `crop_exactly`, as in decord."""
    return all(plane.buffer_ptr % _ALIGNED_BYTES == 0 for plane in frame.planes)


def _doubts_about_decord(info: VideoInfo, packets: Packets, n_video_streams: int) -> tuple[str, str]:
    """Return why decord 0.6 would read this video wrongly, and why it would be the worse choice; empty if not so."""
    decoded_bytes = info.n_frames * info.width_px * info.height_px * 3
    stored = packets.first_frame
    wrong = {
        "decord does not rotate frames in every container": info.orientation != Orientation(),
        "decord does not make pixels square": stored is not None
        and {stored.width, stored.height} != {info.width_px, info.height_px},
        "decord scales frames that are cropped at the left": stored is not None and not _is_aligned(stored),
        "decord may read another of the video streams": n_video_streams > 1,
        "frames lack timestamps": info.is_counted,
        "the clock of the video jumps": info.n_clock_jumps > 0,
        "decord returns frames that refer to lost data": len(info.damaged_index) > 0,
        "the frame size changes, which decord ignores": len(info.shapes) > 1,
        "decord does not know the color matrix": stored is not None and not is_known_matrix(stored),
        "decord does not map HDR colors": info.transfers != ((0, 0),),
    }
    slow = {
        f"decord was not tested with {info.container}": info.container not in _DECORD_CONTAINERS,
        f"decord is slower with {info.codec}, or hides damage": info.codec not in _DECORD_CODECS,
        f"decord was not tested with {info.pixel_format} frames": info.pixel_format != _DECORD_PIXEL_FORMAT,
        "decord rounds the colors of odd-sized frames": info.width_px % 2 == 1 or info.height_px % 2 == 1,
        "decord returns wrong frames after a seek into an open GOP": has_leading_frames(packets),
        "decord may keep every decoded frame in memory, too much here": decoded_bytes > _DECORD_MAX_DECODED_BYTES,
    }
    first = (next((doubt for doubt, holds in doubts.items() if holds), "") for doubts in (wrong, slow))
    return next(first), next(first)
