"""Frames of a live source: their geometry, a queue that drops the oldest, and batches."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from fer_models.frame_batch import FrameBatch
from fer_models.video.color import to_rgb
from fer_models.video.geometry import Orientation, square_pixel_size, stored_orientation

Missing = Literal["", "dropped", "decode_error", "no_signal"]


@dataclass(frozen=True)
class FrameGeometry:
    """Size with square pixels, rotation and mirroring with which a player shows a frame."""

    width_px: int  # width with square pixels, before rotation
    height_px: int
    orientation: Orientation

    @classmethod
    def of(cls, image: av.VideoFrame, pixel_aspect: Fraction | None) -> FrameGeometry:
        """The geometry of a decoded frame; `pixel_aspect` is the width of a pixel over its height, None for square.

        Raises:
            GeometryError: if the stream asks for a rotation or a pixel aspect ratio that is not supported.
        """
        width_px, height_px = square_pixel_size(image.width, image.height, pixel_aspect)
        return cls(width_px, height_px, stored_orientation(image))


@dataclass(frozen=True, eq=False)
class LiveFrame:
    """A frame of a live source, or the reason why it has no image."""

    index: int  # 0-based index among all frames since the first
    pts_s: float  # seconds since the first frame; see `live.SessionClock`
    arrived_s: float  # arrival time by time.monotonic()
    missing: Missing = ""  # why there is no image: a value of `status` in the table `frames`; empty if there is one
    image: av.VideoFrame | None = None
    geometry: FrameGeometry | None = None  # how a player shows the image

    def dropped(self) -> LiveFrame:
        """The same frame without its image, marked as dropped."""
        return replace(self, missing="dropped", image=None, geometry=None)


class LatestFrames:
    """Queue for a consumer that may be slow: at most `limit` images wait, and the oldest are dropped."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._passed: list[LiveFrame] = []  # frames without image, all older than those in `_waiting`
        self._waiting: deque[LiveFrame] = deque()
        self._n_images = 0
        self._changed = threading.Condition()

    def put(self, frame: LiveFrame) -> None:
        """Add a frame."""
        with self._changed:
            self._waiting.append(frame)
            self._n_images += frame.image is not None
            self._drop(self.limit)
            self._changed.notify()

    def take(self, timeout_s: float) -> list[LiveFrame]:
        """All frames since the last call, in order, dropped ones without image; empty after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), timeout_s)
            self._drop(self.limit)
            frames = [*self._passed, *self._waiting]
            self._passed, self._waiting, self._n_images = [], deque(), 0
            return frames

    def is_empty(self) -> bool:
        """Whether no frame is waiting."""
        return not self._waiting

    def _drop(self, limit: int) -> None:
        while self._n_images > limit:
            frame = self._waiting.popleft()
            self._n_images -= frame.image is not None
            self._passed.append(frame if frame.image is None else frame.dropped())


def frame_batch(frames: list[LiveFrame]) -> FrameBatch:
    """Combine frames of one geometry into a batch, as a player shows them."""
    reformatter, pixels = VideoReformatter(), []
    for frame in frames:
        if frame.image is not None and frame.geometry is not None:
            size = frame.geometry.width_px, frame.geometry.height_px
            rgb = to_rgb(frame.image, *size, frame.image.color_trc, reformatter)
            pixels.append(frame.geometry.orientation.apply(rgb))
    index = np.array([frame.index for frame in frames], np.int64)
    return FrameBatch(np.stack(pixels), index, np.array([frame.pts_s for frame in frames]))
