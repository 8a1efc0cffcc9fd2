"""Player time: the time that a player displays for a frame, even if the clock of the recording restarts."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

# A step in time larger than this is a jump of the clock: FFmpeg's threshold for formats such as MPEG-TS.
MAX_STEP_S = 10.0
# If decoding times step back by more than this, the clock has restarted; smaller steps are jitter of the muxer.
MAX_BACKWARD_S = 0.5


@dataclass(frozen=True, eq=False)
class RepairedClock:
    """Increasing times, computed from times that may restart or repeat."""

    ticks: np.ndarray  # (n,) float64, all different; whole numbers except where times were repeated
    n_jumps: int  # number of restarts and jumps of the clock
    n_repeated: int  # number of frames with the same timestamp as the frame before


def find_jumps(
    pts: np.ndarray, dts: np.ndarray, is_keyframe: np.ndarray, is_gap: np.ndarray, ticks_per_s: float
) -> np.ndarray:
    """Find restarts and jumps of a stream's clock: (n,) bool, True for the first packet after each jump.

    Frames decoded before a keyframe are shown before it, so the clock has restarted at a keyframe that is not later
    than all earlier packets. Within a GOP, a restart shows in decoding timestamps that decrease.

    Args:
        pts: (n,) presentation times in ticks, in the order of the file.
        dts: (n,) decoding times in ticks, NaN where unknown.
        is_keyframe: (n,) bool.
        is_gap: (n,) bool, True where all streams of the file jump ahead by more than `MAX_STEP_S`.
        ticks_per_s: ticks per second.

    >>> t = np.array([0, 2, 1, 3, 0, 2, 1, 3])
    >>> find_jumps(t, t * np.nan, t == 0, t < 0, 25).nonzero()[0]
    array([4])
    """
    jumps = is_gap.copy()
    if len(pts) < 2:
        return jumps
    with np.errstate(invalid="ignore"):
        jumps[1:] |= np.diff(dts) < -MAX_BACKWARD_S * ticks_per_s
    highest = np.maximum.accumulate(pts)
    if not (is_keyframe[1:] & (pts[1:] < highest[:-1])).any():
        return jumps
    # The latest time starts again at each jump, so jumps must be found in order.
    latest = pts[0]
    for i in range(1, len(pts)):
        jumps[i] |= is_keyframe[i] and pts[i] < latest
        latest = pts[i] if jumps[i] else max(latest, pts[i])
    return jumps


def repair_clock(pts: np.ndarray, is_jump: np.ndarray, duration: np.ndarray) -> RepairedClock:
    """Continue the time from the last frame wherever the clock restarts or jumps.

    Args:
        pts: (n,) presentation times in ticks, in the order of the file.
        is_jump: (n,) bool, from `find_jumps`.
        duration: (n,) duration of each frame in ticks; 0 where unknown.

    >>> pts = np.array([50, 52, 54, 50, 52])
    >>> repair_clock(pts, np.array([0, 0, 0, 1, 0], bool), np.full(5, 2)).ticks
    array([50., 52., 54., 56., 58.])
    """
    ticks = pts.astype(np.float64)
    edges = [0, *np.flatnonzero(is_jump).tolist(), len(pts)]
    end = float(pts.min()) if len(pts) else 0.0
    for start, stop in pairwise(edges):
        if start == stop:
            continue
        run = pts[start:stop]
        if start > 0:
            ticks[start:stop] += end - run.min()
        last = start + int(np.argmax(run))
        end = ticks[last] + (duration[last] or _usual_step(run))
    n_repeated = _spread_repeated(ticks)
    return RepairedClock(ticks, int(is_jump.sum()), n_repeated)


def _usual_step(pts: np.ndarray) -> float:
    steps = np.diff(np.unique(pts))
    return float(np.median(steps)) if len(steps) else 1.0


def _spread_repeated(ticks: np.ndarray) -> int:
    """Space equal times evenly up to the next time, in place; the last ones over the median step."""
    order = np.argsort(ticks, kind="stable")
    times, first, counts = np.unique(ticks[order], return_index=True, return_counts=True)
    if len(times) == len(ticks):
        return 0
    ends = np.append(times[1:], times[-1] + _usual_step(times))
    position = np.arange(len(ticks)) - np.repeat(first, counts)
    ticks[order] = np.repeat(times, counts) + np.repeat((ends - times) / counts, counts) * position
    return int(len(ticks) - len(times))


def to_seconds(ticks: np.ndarray, unit: Fraction, start_s: Fraction) -> np.ndarray:
    """Seconds since `start_s`; exact if the start is a whole number of ticks."""
    start = round(start_s / unit)
    rest_s = float(start * unit - start_s)
    return (ticks.astype(np.float64) - start) * unit.numerator / unit.denominator + rest_s
