"""Detect faces in chunks of images, small enough for the memory."""

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from fer_models.frame_batch import FaceBatch
from fer_models.oom import run_with_oom_backoff

log = logging.getLogger(__name__)

TILES_PER_FRAME = 8  # a detector processes this many times as many tiles at once as frames
# Images with a longer side count as frames.
MAX_TILE_PX = 128


class ChunkedDetector(Protocol):
    """The part of a detector that `detect_in_chunks` uses."""

    name: str
    device: torch.device
    chunk_frames: int  # number of frames processed at once


def tiles_per_frame(pixels: np.ndarray) -> int:
    """The number of these images `(n, h, w, 3)` to process in place of one frame: small ones need less memory.

    >>> tiles_per_frame(np.empty((1, 128, 128, 3))), tiles_per_frame(np.empty((1, 360, 640, 3)))
    (8, 1)
    """
    return TILES_PER_FRAME if max(pixels.shape[1:3]) <= MAX_TILE_PX else 1


def detect_in_chunks(
    detector: ChunkedDetector,
    n_images: int,
    images_per_frame: int,
    detect_chunk: Callable[[slice, int], tuple[np.ndarray, ...]],
) -> FaceBatch:
    """Detect faces chunk by chunk, with several chunks in parallel on a CPU, and join the results.

    Args:
        detector: its `chunk_frames` is halved permanently whenever memory runs out.
        n_images: number of images; may be 0.
        images_per_frame: see `tiles_per_frame`.
        detect_chunk: takes the range of images and the size of a full chunk; returns the arrays of a `FaceBatch`.
    """

    def use_smaller_chunks(chunk_images: int) -> None:
        detector.chunk_frames = max(1, chunk_images // images_per_frame)
        images = "frames" if images_per_frame == 1 else "tiles"
        log.warning("%s: out of memory, continuing with %d %s at a time", detector.name, chunk_images, images)

    chunks = run_with_oom_backoff(
        n_images,
        detector.chunk_frames * images_per_frame,
        detect_chunk,
        use_smaller_chunks,
        in_threads=detector.device.type == "cpu",
    )
    if not chunks:
        return FaceBatch.empty()
    return FaceBatch(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))
