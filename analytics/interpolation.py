"""Boxes of tracked faces at any time, also between the frames in which they were seen.

The tables hold only what was seen. A row for every guess would have to be left out by every count anyone makes, and
would still lack the frames that were never looked at, as with `--fps 5`; who draws or blurs every frame asks here.
"""

from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, eq=False)
class PlacedBoxes:
    """Where the faces of tracks are at some times, one entry of each `(k,)` array per box, by time, then track."""

    at: np.ndarray  # (k,) int64, which of the times
    track: np.ndarray  # (k,) int64
    boxes_xyxy: np.ndarray  # (k, 4) float64, pixels
    interpolated: np.ndarray  # (k,) bool: not seen at this time but placed from the times around it

    @classmethod
    def joined(cls, parts: list["PlacedBoxes"]) -> "PlacedBoxes":
        """The boxes of several tracks as one."""
        empty = cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4)), np.empty(0, bool))
        columns = {f.name: np.concatenate([getattr(part, f.name) for part in (empty, *parts)]) for f in fields(cls)}
        order = np.lexsort((columns["track"], columns["at"]))
        return cls(**{name: values[order] for name, values in columns.items()})


def interpolate_boxes(
    track: np.ndarray, pts_s: np.ndarray, boxes_xyxy: np.ndarray, at_s: np.ndarray, *, max_gap_s: float, hold_s: float
) -> PlacedBoxes:
    """The box of every track at every time of `at_s` at which it was seen or can be placed.

    Between two faces of a track no farther apart than `max_gap_s`, the box moves and grows evenly. Before its first
    face, after its last, and at both ends of a longer gap, it stands still for `hold_s`.

    Args:
        track: (m,) whole numbers; a track has one face at a time.
        pts_s: (m,) seconds.
        boxes_xyxy: (m, 4) in pixels.
        at_s: (n,) seconds, rising; of all frames of the video, say.
        max_gap_s: 0 or more.
        hold_s: 0 or more.
    """
    row = np.lexsort((pts_s, track))
    track, pts_s, boxes_xyxy = track[row], pts_s[row], boxes_xyxy[row].astype(np.float64)
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(track)), bool), track[1:] != track[:-1]]))
    spans = [slice(first, stop) for first, stop in pairwise([*starts.tolist(), len(track)])]
    return PlacedBoxes.joined([_place(track[s.start], pts_s[s], boxes_xyxy[s], at_s, max_gap_s, hold_s) for s in spans])


def _place(
    track: int, pts_s: np.ndarray, boxes_xyxy: np.ndarray, at_s: np.ndarray, max_gap_s: float, hold_s: float
) -> PlacedBoxes:
    """The boxes of one track, whose rows are in order of time."""
    begin, end = np.searchsorted(at_s, pts_s[0] - hold_s), np.searchsorted(at_s, pts_s[-1] + hold_s, side="right")
    time_s = at_s[begin:end]
    earlier = np.maximum(np.searchsorted(pts_s, time_s, side="right") - 1, 0)
    later = np.minimum(np.searchsorted(pts_s, time_s), len(pts_s) - 1)
    gap_s = pts_s[later] - pts_s[earlier]
    share = np.where(gap_s > 0, (time_s - pts_s[earlier]) / np.where(gap_s > 0, gap_s, 1), 0)
    bridged = (gap_s > 0) & (gap_s <= max_gap_s)
    share = np.where(bridged, share, share.round())
    away_s = np.abs(time_s - pts_s[np.where(share > 0.5, later, earlier)])
    known = bridged | (away_s <= hold_s)
    boxes = boxes_xyxy[earlier] + (boxes_xyxy[later] - boxes_xyxy[earlier]) * share[:, None]
    return PlacedBoxes(
        at=np.arange(begin, end)[known],
        track=np.full(known.sum(), track),
        boxes_xyxy=boxes[known],
        interpolated=(time_s != pts_s[earlier])[known],
    )
