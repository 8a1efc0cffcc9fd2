"""Choose the frames to read and split them into segments, from presentation times alone."""

from itertools import pairwise

import numpy as np

from fer_models.frame_batch import ROUNDING_S


def frames_to_sample(
    pts_s: np.ndarray,
    shown_until_s: float,
    *,
    fps: float | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
) -> np.ndarray:
    """Indices (int64, ascending) of the frames to read among those in `[start_s, end_s)`.

    With `fps`, a grid of that many ticks per second starts at the first frame of the video, so that reading by segments
    takes the same frames as reading straight through. Each tick takes the first frame that begins between it and the
    next tick, or if none does, the frame that is shown then. A frame is never taken twice. Without `fps`, every frame
    is taken. A frame up to 1 ms early counts as on time, for ticks, `start_s` and `end_s`.

    Args:
        pts_s: (n,) presentation times of all frames of the video, ascending, in seconds.
        shown_until_s: when the last frame ends.
        fps: frames to take per second of video.
        start_s: start of the interval, in the video's own time; None is the beginning.
        end_s: end of the interval (exclusive); None is the end of the video.

    Raises:
        ValueError: if `fps` is not a positive number, or `end_s` lies before `start_s`.

    >>> frames_to_sample(np.array([0.0, 0.04, 0.08, 0.12, 0.16, 0.20]), 0.24, fps=10)
    array([0, 3, 5])
    >>> frames_to_sample(np.array([0.0, 0.04, 0.48]), 0.52, fps=10)
    array([0, 1, 2])
    >>> frames_to_sample(np.array([0.0, 0.04, 0.08, 0.12, 0.16, 0.20]), 0.24, fps=10, start_s=0.1)
    array([3, 5])
    >>> frames_to_sample(np.arange(4) / 3, 4 / 3, start_s=0.333334, end_s=0.666667)
    array([1])
    """
    if fps is not None and not 0 < fps < np.inf:
        raise ValueError(f"fps must be a positive number, got {fps}")
    if start_s is not None and end_s is not None and end_s < start_s:
        raise ValueError(f"end_s must not lie before start_s, got [{start_s}, {end_s})")
    take = np.ones(len(pts_s), bool)
    if fps is not None and len(pts_s):
        last_tick = np.floor((np.append(pts_s, shown_until_s) - pts_s[0] + ROUNDING_S) * fps)
        ticks = np.diff(last_tick)  # from the beginning of each frame to that of the next one
        take = (np.insert(ticks[:-1], 0, 1) > 0) | (ticks > 1)
    if start_s is not None:
        take &= pts_s >= start_s - ROUNDING_S
    if end_s is not None:
        take &= pts_s < end_s - ROUNDING_S
    return np.flatnonzero(take).astype(np.int64)


def split_segments(pts_s: np.ndarray, segment_s: float) -> list[tuple[int, int]]:
    """Split times into segments `[k * segment_s, (k + 1) * segment_s)`: a `(start, end)` slice for each with frames.

    Raises:
        ValueError: if `segment_s` is under a millisecond.

    >>> split_segments(np.array([0.0, 0.5, 1.0, 3.2]), 1.0)
    [(0, 2), (2, 3), (3, 4)]
    """
    if not segment_s >= 1e-3:
        raise ValueError(f"segment_s must be at least 0.001, got {segment_s}")
    # Compute in whole microseconds, because in floating point 0.6 // 0.2 is 2.
    segment = np.rint(pts_s * 1e6).astype(np.int64) // round(segment_s * 1e6)
    edges = [0, *(np.flatnonzero(np.diff(segment)) + 1).tolist(), len(pts_s)]
    return [(start, end) for start, end in pairwise(edges) if start < end]


def split_at_seeks(frame_index: np.ndarray, keyframe_index: np.ndarray, *, min_skip: int) -> list[tuple[int, int]]:
    """Split the frames to read where seeking to a keyframe saves decoding at least `min_skip` frames.

    Args:
        frame_index: (n,) ascending indices of the frames to read.
        keyframe_index: (k,) ascending indices of the frames at which decoding can start.
        min_skip: cost of a seek, counted in decoded frames.

    Returns:
        `(start, end)` slices of `frame_index`, in order.

    >>> split_at_seeks(np.array([3, 5, 250, 251]), np.array([0, 100, 200]), min_skip=30)
    [(0, 2), (2, 4)]
    """
    keyframe = keyframe_before(frame_index[1:], keyframe_index)
    cuts = (np.flatnonzero(keyframe - frame_index[:-1] > min_skip) + 1).tolist()
    return list(zip([0, *cuts], [*cuts, len(frame_index)], strict=True))


def keyframe_before(frame_index: np.ndarray, keyframe_index: np.ndarray) -> np.ndarray:
    """The last keyframe at or before each frame; -1 where decoding must start at the beginning of the file."""
    return np.concatenate([[-1], keyframe_index])[np.searchsorted(keyframe_index, frame_index, side="right")]
