"""Recognize video and image files, and some others, by their first bytes."""

import codecs
import re
from pathlib import Path

from fer_models.suffixes import IMAGE_SUFFIXES

HEAD_BYTES = 512

_AUDIO_BRANDS = (b"M4A ", b"M4B ", b"M4P ")
_STARTS = re.compile(
    rb"\x1aE\xdf\xa3"  # Matroska, WebM
    rb"|RIFF....(AVI |WEBP)"
    rb"|FLV\x01|GIF8[79]a|YUV4MPEG2|DKIF|\.RMF"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # ASF, WMV
    rb"|\x00\x00\x01[\xba\xb3]"  # MPEG program and video stream
    rb"|\x06\x0e\x2b\x34\x02\x05\x01"  # MXF
    rb"|\x89PNG|\xff\xd8\xff|II\*\x00|MM\x00\*"  # the last two are TIFF and raw photographs
    rb"|....(moov|mdat|wide)",  # old QuickTime
    re.DOTALL,
)
# Videos, including animations that FFmpeg reads and Pillow does not.
_VIDEO_STARTS = re.compile(rb"\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|GIF8[79]a|....(moov|mdat|wide)", re.DOTALL)
_HTML_START = re.compile(r"\s*<(!doctype html|html)", re.IGNORECASE)
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # characters that no text has
_IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heim", b"heis", b"heix", b"hevc", b"hevx", b"mif1", b"msf1")


def is_image(path: Path) -> bool:
    """Whether Pillow reads a file: by its suffix, unless its content belongs to the other reader.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(12)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return head[:4] == b"RIFF" and head[8:] == b"WEBP"  # FFmpeg does not read animated WebP
    if head[4:8] == b"ftyp":
        return head[8:] in _IMAGE_BRANDS
    return _VIDEO_STARTS.match(head) is None


def is_media(head: bytes) -> bool:
    """Whether the first `HEAD_BYTES` bytes of a file look like a video or an image.

    >>> is_media(b"GIF89a..."), is_media(b"start_s,end_s,label")
    (True, False)
    """
    if head[4:8] == b"ftyp":
        return head[8:12] not in _AUDIO_BRANDS
    if head[:4] == b"OggS":
        return b"theora" in head
    # MPEG-TS: each packet of 188 bytes starts with a sync byte, in M2TS after a timestamp of 4 bytes.
    is_ts = any(len(head) > start + 188 and head[start] == head[start + 188] == 0x47 for start in (0, 4))
    return is_ts or _STARTS.match(head) is not None


def other_content(head: bytes) -> str | None:
    """What a document that is named like a video is, by its first `HEAD_BYTES` bytes; None if it is no document.

    >>> other_content(b"%PDF-1.7"), other_content(b"path,group"), other_content(bytes(8))
    ('a PDF document', 'a text file', None)
    """
    if head.startswith(b"%PDF-"):
        return "a PDF document"
    if head.startswith(b"PK\x03\x04"):
        return "a ZIP archive"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be incomplete
    except UnicodeDecodeError:
        return None
    if _CONTROLS.search(text):
        return None
    return "a web page (HTML)" if _HTML_START.match(text) else "a text file"
