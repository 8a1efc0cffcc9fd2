"""Choose the video stream of a file to read."""

from pathlib import Path

import av
import av.container
from av.stream import Disposition

from fer_models.video.container import VideoReadError


def choose_stream(
    path: Path, container: av.container.InputContainer, video_stream: int | None
) -> tuple[av.VideoStream, tuple[str, ...]]:
    """The video stream to read, and a sentence for the user if the file has several.

    By default, it is the stream marked as default; if several or none are, the one with the largest frames. A cover
    image is not a video stream.

    Raises:
        VideoReadError: if there is no such stream, or it cannot be decoded.
    """
    streams = container.streams.video
    if video_stream is not None:
        if not 0 <= video_stream < len(streams):
            count = f"it has {len(streams)}, counted from 0" if streams else "it has none"
            raise VideoReadError(path, f"has no video stream {video_stream}: {count}")
        return _decodable(path, streams[video_stream]), ()
    videos = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not videos:
        raise VideoReadError(path, "has no video stream")
    candidates = [stream for stream in videos if stream.codec_context is not None] or videos
    candidates = [stream for stream in candidates if stream.disposition & Disposition.default] or candidates
    chosen = max(candidates, key=lambda s: s.codec_context.width * s.codec_context.height if s.codec_context else -1)
    notes: tuple[str, ...] = ()
    if len(videos) > 1:
        sizes = ", ".join(f"{streams.index(stream)}: {_size_text(stream)}" for stream in videos)
        number = streams.index(chosen)
        notes = (f"has {len(videos)} video streams ({sizes}): {number} was read; --video-stream chooses another",)
    return _decodable(path, chosen), notes


def _decodable(path: Path, stream: av.VideoStream) -> av.VideoStream:
    if stream.codec_context is None:
        raise VideoReadError(path, "FFmpeg has no decoder for its video format: convert it to H.264")
    return stream


def _size_text(stream: av.VideoStream) -> str:
    codec = stream.codec_context
    if codec is None:
        return "no decoder"
    return f"{codec.width}x{codec.height}" if codec.width else "begins later, size unknown"
