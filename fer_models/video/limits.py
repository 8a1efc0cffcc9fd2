"""Limits on the frame size, checked before anything is decoded."""

from pathlib import Path

from fer_models.video.container import MAX_FRAME_PX, VideoReadError

MAX_SIDE_PX = 65_535  # longest side of a frame: the limit of JPEG


def check_frame_size(path: Path, width_px: int, height_px: int) -> None:
    """Refuse frames that would take too much memory.

    Raises:
        VideoReadError: if the frames are larger than the limits.
    """
    if width_px < 1 or height_px < 1:
        raise VideoReadError(path, "has no valid frame size: convert it again")
    if width_px * height_px > MAX_FRAME_PX:
        size = f"its frames of {width_px} x {height_px} are {width_px * height_px / 1e6:,.0f} million pixels"
        raise VideoReadError(path, f"{size}, and at most {MAX_FRAME_PX / 1e6:,.0f} million are read: scale it down")
    if max(width_px, height_px) > MAX_SIDE_PX:
        size = f"its frames of {width_px} x {height_px} are too long"
        raise VideoReadError(path, f"{size}, and at most {MAX_SIDE_PX:,} pixels a side are read: cut or scale it")
