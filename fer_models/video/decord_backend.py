"""Read frames with decord 0.6; its errors become a `VideoReadError`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fer_models.video.container import VideoReadError


def decord_module() -> Any:
    """The decord package, or None if it is not installed: it has wheels for 64-bit x86 Linux and Windows only."""
    try:
        import decord
    except (ImportError, OSError):  # OSError: decord's own libraries do not load
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def open_decord(path: Path, n_frames: int) -> Any:
    """Open a `decord.VideoReader` and check that it counts as many frames as `probe` does.

    Raises:
        VideoReadError: if decord is missing, cannot open the file or counts a different number of frames.
    """
    decord = decord_module()
    if decord is None:
        raise VideoReadError(path, "decord is not installed")
    try:
        # Without fault_tol, decord returns the last good frame in place of one that does not decode.
        reader = decord.VideoReader(str(path.absolute()), fault_tol=1e-9)
    except (decord.DECORDError, RuntimeError, UnicodeEncodeError) as error:  # decord accepts UTF-8 paths only
        raise VideoReadError(path, "decord cannot open it") from error
    if len(reader) != n_frames:
        raise VideoReadError(path, f"decord counts {len(reader)} frames where {n_frames} are shown")
    return reader


def decord_batches(path: Path, n_frames: int, frame_index: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Read the frames at these indices, batch by batch: (b, h, w, 3) uint8 RGB.

    Raises:
        VideoReadError: if decord cannot read the file, or reaches damaged data, which it cannot skip.
    """
    reader = open_decord(path, n_frames)
    decord = decord_module()
    for start in range(0, len(frame_index), batch_size):
        index = frame_index[start : start + batch_size]
        try:
            pixels: np.ndarray = reader.get_batch(index).asnumpy()
        except (decord.DECORDError, decord.DECORDLimitReachedError) as error:
            raise VideoReadError(path, f"decord cannot read frames {index[0]} to {index[-1]}") from error
        yield pixels
