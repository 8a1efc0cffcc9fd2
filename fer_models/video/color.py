"""Convert decoded frames to 8-bit RGB; HDR frames (PQ, HLG) are tone-mapped, as the models were trained on SDR."""

from __future__ import annotations

from functools import lru_cache

import av
import numpy as np
from av.video.reformatter import VideoReformatter

# Transfer characteristics of HDR video, and where they are unknown, as FFmpeg numbers them (ITU-T H.273).
PQ, HLG = 16, 18
UNSPECIFIED_TRANSFER = 2
TRANSFER_NAMES = {PQ: "PQ", HLG: "HLG"}
_REFERENCE_WHITE_NITS = 203.0  # luminance of a white surface in HDR video (ITU-R BT.2408)
# Peak luminance of the display for which HLG is defined.
_HLG_PEAK_NITS = 1000.0
# Brightest light that is kept, relative to reference white; brighter highlights are clipped.
_PEAK = 1000.0 / _REFERENCE_WHITE_NITS
_KNEE = 0.6  # light below this share of reference white, such as skin, is not compressed

_BT601, _BT2020, _BT2020_CONSTANT = 5, 9, 10
# Color matrices from which swscale converts, as FFmpeg numbers them (ITU-T H.273).
_KNOWN_MATRICES = frozenset({*range(8), _BT2020})


def is_known_matrix(frame: av.VideoFrame) -> bool:
    """Whether the color matrix of a frame is converted exactly; others are replaced as in FFmpeg 5."""
    return frame.colorspace in _KNOWN_MATRICES


def _matrix(frame: av.VideoFrame) -> int | None:
    """The color matrix in place of one from which swscale does not convert; None keeps that of the frame."""
    if is_known_matrix(frame):
        return None
    return _BT2020 if frame.colorspace == _BT2020_CONSTANT else _BT601


def hdr_transfer(frame: av.VideoFrame) -> int:
    """The transfer characteristics of a frame as numbered by FFmpeg if it is HDR, else 0."""
    return frame.color_trc if frame.color_trc in TRANSFER_NAMES else 0


def to_rgb(
    frame: av.VideoFrame, width_px: int, height_px: int, transfer: int, reformatter: VideoReformatter
) -> np.ndarray:
    """Convert a decoded frame, scaled to the given size: (height_px, width_px, 3) uint8 RGB.

    Args:
        frame: the frame as decoded.
        width_px: width of the result.
        height_px: height of the result.
        transfer: transfer characteristics as numbered by FFmpeg; those in `TRANSFER_NAMES` are tone-mapped.
        reformatter: converts the frames of a stream; may be reused.

    Raises:
        av.FFmpegError: if FFmpeg cannot convert the pixel format.
    """
    size = {"width": width_px, "height": height_px, "src_colorspace": _matrix(frame)}
    if transfer not in TRANSFER_NAMES:
        plane = reformatter.reformat(frame, format="rgb24", **size).planes[0]
        # A view of FFmpeg's memory, because callers copy the pixels into a batch anyway.
        return np.ndarray((height_px, width_px, 3), np.uint8, memoryview(plane), strides=(plane.line_size, 3, 1))
    rgb = reformatter.reformat(frame, format="rgb48le", **size).to_ndarray()
    return tone_map(rgb, transfer)


def tone_map(rgb48: np.ndarray, transfer: int) -> np.ndarray:
    """Map 16-bit HDR values to 8-bit SDR values, channel by channel: `(…,)` uint16 to `(…,)` uint8.

    Light up to 60 % of reference white keeps its level; brighter light is compressed (Reinhard's extended curve). The
    primaries remain those of BT.2020, so colors are slightly paler than in a player.
    """
    return np.take(_table(transfer), rgb48)


@lru_cache(maxsize=2)
def _table(transfer: int) -> np.ndarray:
    signal = np.arange(65536) / 65535
    light = (_pq_nits(signal) if transfer == PQ else _hlg_nits(signal)) / _REFERENCE_WHITE_NITS
    headroom, peak = 1 - _KNEE, (_PEAK - _KNEE) / (1 - _KNEE)
    above = np.clip((light - _KNEE) / headroom, 0, peak)
    shown = np.minimum(light, _KNEE) + headroom * above * (1 + above / peak**2) / (1 + above)
    srgb = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * np.maximum(shown, 1e-9) ** (1 / 2.4) - 0.055)
    table: np.ndarray = np.rint(255 * srgb).astype(np.uint8)
    return table


def _pq_nits(signal: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084: signal in [0, 1] to light in cd/m²."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    nits: np.ndarray = 10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return nits


def _hlg_nits(signal: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100 HLG: signal in [0, 1] to light of a 1000 cd/m² display, with the system gamma per channel."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    nits: np.ndarray = _HLG_PEAK_NITS * scene**1.2
    return nits
