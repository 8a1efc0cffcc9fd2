"""Detect truncated video files, and files to which another one is appended."""

import mmap
from pathlib import Path

import av
import numpy as np

from fer_models.video.packets import OpenVideo, Packets
from fer_models.video.timing import DURATION_TOLERANCE_S, Timing

_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_BOX_HEADER_BYTES = 8
_MAX_BOXES = 10_000  # limit on the boxes read at the top level of an MP4 file, which usually has about four
# Offset and signature of files in formats in which FFmpeg ignores a second file that is appended to the first.
_SIGNATURES = {
    _MP4: (4, b"ftyp"),
    "asf": (0, bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")),
    "flv": (0, b"FLV\x01"),
    "gif": (0, b"GIF8"),
    "matroska,webm": (0, b"\x1aE\xdf\xa3"),
}


def find_truncation(video: OpenVideo, packets: Packets, timing: Timing) -> str | None:
    """Explain why a file counts as truncated: it ends in an error, or long before the end in its header; else None."""
    path, container, stream = video
    units = {each.index: each.time_base for each in container.streams if each.time_base}
    end_s = {index: float(end * units[index]) for index, end in packets.ends.items()}
    first_s = float(packets.starts.get(stream.index, 0) * units[stream.index])
    found_s, promised_s = end_s.get(stream.index, 0.0) - first_s, None
    if container.format.name == _MP4 and stream.duration:
        # The number of frames is not used, because an edit list may exclude some.
        promised_s = float(stream.duration * units[stream.index])
    elif container.format.name == "avi" and stream.average_rate:
        # The duration is not used, because FFmpeg adapts it to the file size.
        promised_s = float(stream.frames / stream.average_rate)
    elif container.format.name in ("matroska,webm", "flv") and container.duration:
        # The header of these formats states one duration for all streams.
        found_s, promised_s = max(end_s.values(), default=0.0), container.duration / av.time_base
    if packets.damage:
        return f"the file cannot be read after its first {found_s:.1f} s ({packets.damage})"
    # The last frame may lack a duration, and a single frame may be shown the whole time.
    longest_step_s = float(timing.steps_s.max(initial=0.0))
    if len(timing.pts_s) == 1 and not any(packets.duration):
        longest_step_s = np.inf
    if promised_s is not None and promised_s - found_s > DURATION_TOLERANCE_S + longest_step_s:
        return f"the file ends after {found_s:.1f} of {promised_s:.1f} s"
    if container.format.name == _MP4 and _lacks_media_data(path):
        return f"the file ends after {found_s:.1f} s, in the middle of its media data"
    if container.format.name in _SIGNATURES and packets.end_byte:
        offset, signature = _SIGNATURES[container.format.name]
        if (appended := _find_after(path, packets.end_byte, signature)) is not None:
            return f"another file is appended at byte {appended - offset:,}, which players do not read"
    return None


def _lacks_media_data(path: Path) -> bool:
    """Whether an MP4 file ends before the box `mdat` does, as after an incomplete download.

    Not for fragmented files, whose recording may have been stopped at any time.
    """
    size_bytes, position = path.stat().st_size, 0
    with path.open("rb") as file:
        for _ in range(_MAX_BOXES):
            file.seek(position)
            length, kind = int.from_bytes(file.read(4)), file.read(4)
            if length == 1:
                length = int.from_bytes(file.read(8))
            position += length
            if length < _BOX_HEADER_BYTES or kind == b"moof" or position == size_bytes:
                return False
            if position > size_bytes:
                return kind == b"mdat"
    return False


def _find_after(path: Path, start_byte: int, signature: bytes) -> int | None:
    """The position of a signature after the last packet of a file; None if there is none."""
    if path.stat().st_size - start_byte < len(signature):
        return None
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = content.find(signature, start_byte)
    return None if found < 0 else found
