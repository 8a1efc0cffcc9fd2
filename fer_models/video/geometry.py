"""Geometry of frames as a player shows them: rotation, mirroring, and square pixels."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import av
import av.filter
import numpy as np

from fer_models.errors import FervidError

_EXIF_SIDE_DATA = 31  # AV_FRAME_DATA_EXIF of FFmpeg 8
# Pixel aspect ratios above this mean a damaged header: the largest in use, 2:1 anamorphic on CIF, is below 4.
MAX_PIXEL_ASPECT = 10
_EQUAL_ASPECT = 1.02


class GeometryError(FervidError, ValueError):
    """A file asks for a rotation or pixel aspect ratio that is not supported."""


@dataclass(frozen=True)
class Orientation:
    """One of the eight combinations of rotation and mirroring: swap the axes, then flip columns and rows."""

    swaps_axes: bool = False
    flips_x: bool = False
    flips_y: bool = False

    @classmethod
    def from_display_matrix(cls, matrix: bytes) -> Orientation:
        """The orientation of a display matrix (nine int32, 16.16 fixed point, row by row).

        Raises:
            GeometryError: if its angle is not a multiple of 90 degrees.
        """
        a, b, _, c, d = struct.unpack_from("=5i", matrix)
        if max(abs(a), abs(d)) * 100 < min(abs(b), abs(c)):
            return cls(swaps_axes=True, flips_x=c < 0, flips_y=b < 0)
        if max(abs(b), abs(c)) * 100 <= min(abs(a), abs(d)):
            return cls(flips_x=a < 0, flips_y=d < 0)
        raise _unsupported_rotation(round(float(np.degrees(np.arctan2(b, a))), 1) % 360)

    @classmethod
    def from_rotation(cls, clockwise_deg: int) -> Orientation:
        """A rotation by 0, 90, 180 or 270 degrees clockwise."""
        return {
            0: cls(),
            90: cls(swaps_axes=True, flips_x=True),
            180: cls(flips_x=True, flips_y=True),
            270: cls(swaps_axes=True, flips_y=True),
        }[clockwise_deg]

    @classmethod
    def from_exif(cls, orientation: int) -> Orientation:
        """The orientation of the EXIF tag Orientation (1 to 8); other values are ignored, as by other programs."""
        return {
            2: cls(flips_x=True),
            3: cls(flips_x=True, flips_y=True),
            4: cls(flips_y=True),
            5: cls(swaps_axes=True),
            6: cls(swaps_axes=True, flips_x=True),
            7: cls(swaps_axes=True, flips_x=True, flips_y=True),
            8: cls(swaps_axes=True, flips_y=True),
        }.get(orientation, cls())

    def then(self, other: Orientation) -> Orientation:
        """Combine with an orientation that is applied after this one."""
        flips = (self.flips_y, self.flips_x) if other.swaps_axes else (self.flips_x, self.flips_y)
        return Orientation(self.swaps_axes != other.swaps_axes, flips[0] != other.flips_x, flips[1] != other.flips_y)

    @property
    def is_mirrored(self) -> bool:
        """Whether the stored frame is mirrored when it is shown."""
        return (self.swaps_axes + self.flips_x + self.flips_y) % 2 == 1

    @property
    def rotation_deg(self) -> int:
        """Clockwise rotation of the stored frame, applied after mirroring it left to right if `is_mirrored`."""
        turned = Orientation(flips_x=True).then(self) if self.is_mirrored else self
        return next(deg for deg in (0, 90, 180, 270) if Orientation.from_rotation(deg) == turned)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Rotate and mirror a stored frame `(h, w, …)`; returns a view."""
        if self.swaps_axes:
            pixels = pixels.swapaxes(0, 1)
        return pixels[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1]

    def shown_size(self, width_px: int, height_px: int) -> tuple[int, int]:
        """Width and height of the frame as it is shown."""
        return (height_px, width_px) if self.swaps_axes else (width_px, height_px)


def _unsupported_rotation(angle_deg: float) -> GeometryError:
    return GeometryError(
        f"is rotated by {angle_deg:g} degrees, and only multiples of 90 are supported: "
        "write it upright first: ffmpeg -i VIDEO UPRIGHT.mp4"
    )


def stored_orientation(frame: av.VideoFrame) -> Orientation:
    """The orientation of a decoded frame, from its display matrix.

    Raises:
        GeometryError: see `Orientation.from_display_matrix`.
    """
    side_data = _side_data(frame)
    if "DISPLAYMATRIX" not in side_data:
        return Orientation()
    return Orientation.from_display_matrix(bytes(side_data["DISPLAYMATRIX"]))


def _side_data(frame: av.VideoFrame) -> Mapping[str, Any]:
    """The side data of a frame by kind, without EXIF data.

    FFmpeg turns the orientation in EXIF data into a display matrix. PyAV lists no side data at all if a frame has a
    kind that PyAV does not know, which EXIF is, so that a filter of FFmpeg removes it first.

    Raises:
        GeometryError: if PyAV does not know another kind, either.
    """
    # The casts are needed because PyAV's type stubs know no names of side data.
    with contextlib.suppress(ValueError):
        return cast(Mapping[str, Any], frame.side_data)
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))
    remove = graph.add("sidedata", f"mode=delete:type={_EXIF_SIDE_DATA}")
    graph.link_nodes(source, remove, graph.add("buffersink")).configure()
    graph.push(frame)
    try:
        return cast(Mapping[str, Any], cast(av.VideoFrame, graph.pull()).side_data)
    except ValueError as error:
        raise GeometryError(
            "has data beside its frames that cannot be read, so that their rotation is unknown: "
            "write it again: ffmpeg -i VIDEO UPRIGHT.mp4"
        ) from error


def fitted_size(width_px: int, height_px: int, into_px: tuple[int, int]) -> tuple[int, int]:
    """The largest size with the aspect of a frame that fits into another size.

    Streams that only change their resolution round it to multiples of up to 16 pixels, so that aspects within 2 % count
    as equal.

    >>> fitted_size(360, 640, (640, 360)), fitted_size(424, 240, (640, 360))
    ((202, 360), (640, 360))
    """
    scale_x, scale_y = into_px[0] / width_px, into_px[1] / height_px
    if max(scale_x, scale_y) <= _EQUAL_ASPECT * min(scale_x, scale_y):
        return into_px
    scale = min(scale_x, scale_y)
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))


def square_pixel_size(width_px: int, height_px: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Frame size with square pixels: the side that is too short grows, as in players.

    Args:
        width_px: stored width.
        height_px: stored height.
        pixel_aspect: width of a pixel over its height; None or 0 if unknown, which counts as square.

    Raises:
        GeometryError: if the ratio is so large or small that it must be damage.

    >>> square_pixel_size(720, 576, Fraction(64, 45)), square_pixel_size(720, 480, Fraction(8, 9))
    ((1024, 576), (720, 540))
    """
    if not pixel_aspect:
        return width_px, height_px
    if not Fraction(1, MAX_PIXEL_ASPECT) <= pixel_aspect <= MAX_PIXEL_ASPECT:
        raise GeometryError(
            f"has a damaged header, which states pixels of {pixel_aspect.numerator}:{pixel_aspect.denominator}: "
            "write the header again: ffmpeg -i VIDEO -aspect 16:9 -c copy FIXED.mp4"
        )
    if pixel_aspect >= 1:
        return round(width_px * pixel_aspect), height_px
    return width_px, round(height_px / pixel_aspect)
