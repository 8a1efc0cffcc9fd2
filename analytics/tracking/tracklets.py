"""Find crossings of tracks, and split tracks into tracklets there."""

from dataclasses import dataclass

import numpy as np

from analytics.time_tolerance import is_longer, longest
from analytics.tracking.ranges import expand_ranges
from fer_models.boxes import box_center, face_size_px, paired_iou

# A track keeps its box for this long before its first and after its last face, because another track may have taken its
# faces there.
HOLD_S = 0.3
SAME_CROSSING_S = 0.5  # crossings that are separated by less time count as one
SPEED_WINDOW_S = 0.4  # speed is measured over this time at either end of a tracklet
# Prior that shrinks speeds measured from few points: positions vary by 5% of a box, heads move at 2 boxes/s.
SPEED_PRIOR_S2 = (0.05 / 2) ** 2
SIDE_FACES = 5  # the size of a face at either end of a tracklet is the median over this many faces
DESCRIPTORS = 4  # number of appearance descriptors of a tracklet, each the median over a quarter of its faces
DESCRIPTOR_FACES = 12  # maximum number of faces used for one descriptor
# Share of the differences in brightness that is attributed to the light; the rest is attributed to the person.
LIGHT_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Crossings:
    """The frames in which the boxes of two tracks overlap most, and all faces in such an overlap."""

    a: np.ndarray  # (k,) one of the two tracks that cross
    b: np.ndarray  # (k,) the other track
    frame: np.ndarray  # (k,) frame in which the two boxes overlap most
    is_covered: np.ndarray  # (m,) bool, True for faces that overlap with a face of another track


@dataclass(frozen=True, eq=False)
class Tracklets:
    """The n tracklets by time of their first face; arrays are (n,) or (n, 2) in pixels of the frame."""

    of_row: np.ndarray  # (m,)
    first: np.ndarray  # (n,) row of the first face
    tracklet: np.ndarray
    follows: np.ndarray  # (n,) the previous tracklet of the same track, -1 for the first
    shot: np.ndarray
    start_frame: np.ndarray
    end_frame: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray
    start_xy: np.ndarray
    end_xy: np.ndarray
    start_speed: np.ndarray  # px/s
    end_speed: np.ndarray
    start_size_px: np.ndarray
    end_size_px: np.ndarray
    appearances: np.ndarray  # (n, DESCRIPTORS, 60) float32 appearance, NaN where not known

    def __len__(self) -> int:
        return len(self.first)

    def before_crossing(self, crossings: Crossings) -> np.ndarray:
        """The two tracklets before each crossing, `(k', 2)`; crossings without a tracklet of both are left out."""
        order = np.lexsort((self.start_frame, self.tracklet))
        span = int(max(self.end_frame.max(), crossings.frame.max(initial=0))) + 2
        keys = self.tracklet[order] * span + self.start_frame[order]
        found = []
        for tracklet in (crossings.a, crossings.b):
            index = np.searchsorted(keys, tracklet * span + crossings.frame) - 1
            row = order[np.maximum(index, 0)]
            found.append(np.where((index >= 0) & (self.tracklet[row] == tracklet), row, -1))
        pairs = np.column_stack(found)
        return pairs[(pairs >= 0).all(axis=1)]


def find_crossings(
    tracklet: np.ndarray, frame: np.ndarray, pts_s: np.ndarray, boxes_xyxy: np.ndarray, shot: np.ndarray, min_iou: float
) -> Crossings:
    """Find where tracks overlap. Rows are faces, grouped by track and ordered by time."""
    frames, first = np.unique(frame, return_index=True)
    frame_s, frame_shot = pts_s[first], shot[first]
    row, index, boxes = _with_unseen(tracklet, np.searchsorted(frames, frame), pts_s, boxes_xyxy, frame_s)
    same_shot = frame_shot[index] == shot[row]
    row, index, boxes = row[same_shot], index[same_shot], boxes[same_shot]
    order = np.lexsort((tracklet[row], index))
    row, index, boxes = row[order], index[order], boxes[order]
    who, is_seen = tracklet[row], index == np.searchsorted(frames, frame[row])
    is_covered = np.zeros(len(frame), bool)
    found = [np.empty((4, 0))]
    for offset in range(1, int(np.bincount(index).max())):
        left = np.flatnonzero((index[offset:] == index[:-offset]) & (who[offset:] != who[:-offset]))
        overlap = paired_iou(boxes[left], boxes[left + offset])
        left, overlap = left[overlap >= min_iou], overlap[overlap >= min_iou]
        for side in (left, left + offset):
            is_covered[row[side[is_seen[side]]]] = True
        found.append(np.stack([who[left], who[left + offset], index[left], overlap]))
    pairs = np.concatenate(found, axis=1)
    pairs = pairs[:, np.lexsort(pairs[2::-1])]
    (a, b, index), overlap = pairs[:3].astype(np.int64), pairs[3]
    begins = np.ones(len(a), bool)
    begins[1:] = (np.diff(a) != 0) | (np.diff(b) != 0) | is_longer(np.diff(frame_s[index]), SAME_CROSSING_S)
    crossing = np.cumsum(begins) - 1
    order = np.lexsort((index, -overlap, crossing))  # by depth of the overlap, the deepest first, then by time
    deepest = order[np.flatnonzero(np.diff(crossing[order], prepend=-1))]
    return Crossings(a[deepest], b[deepest], frames[index[deepest]], is_covered)


def _with_unseen(
    tracklet: np.ndarray, index: np.ndarray, pts_s: np.ndarray, boxes_xyxy: np.ndarray, frame_s: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Add the estimated boxes of faces while they are not detected; return row, frame index and box of each face.

    Boxes are interpolated in gaps, and constant for `HOLD_S` before and after a track.
    """
    rows = np.arange(len(index))
    is_last = np.append(tracklet[1:] != tracklet[:-1], True)
    is_first = np.append(True, is_last[:-1])
    until = np.searchsorted(frame_s, pts_s + longest(HOLD_S), side="right")
    n_after = np.where(is_last, until - index - 1, np.append(index[1:], 0) - index - 1)
    n_before = np.where(is_first, index - np.searchsorted(frame_s, pts_s - longest(HOLD_S)), 0)
    seen_or_after, index_after = expand_ranges(index, index + n_after + 1)
    before, index_before = expand_ranges(index - n_before, index)
    next_row = np.where(is_last, rows, np.minimum(rows + 1, len(rows) - 1))[seen_or_after]
    gap_s = pts_s[next_row] - pts_s[seen_or_after]
    share = (frame_s[index_after] - pts_s[seen_or_after]) / np.where(gap_s > 0, gap_s, 1) * (gap_s > 0)
    boxes = boxes_xyxy[seen_or_after] * (1 - share)[:, None] + boxes_xyxy[next_row] * share[:, None]
    return (
        np.concatenate([seen_or_after, before]),
        np.concatenate([index_after, index_before]),
        np.concatenate([boxes, boxes_xyxy[before]]),
    )


def split_tracks(
    crossings: Crossings,
    tracklet: np.ndarray,
    frame: np.ndarray,
    pts_s: np.ndarray,
    boxes_xyxy: np.ndarray,
    shot: np.ndarray,
    appearance: np.ndarray | None,
) -> Tracklets:
    """Split tracks in the middle of each crossing. Rows are faces, as in `find_crossings`."""
    span = int(frame.max()) + 2
    cuts = np.unique(np.concatenate([crossings.a, crossings.b]) * span + np.tile(crossings.frame, 2))
    n_cuts = np.searchsorted(cuts, tracklet * span + frame, side="right")
    begins = np.ones(len(frame), bool)
    begins[1:] = (tracklet[1:] != tracklet[:-1]) | (n_cuts[1:] != n_cuts[:-1])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(frame)) - 1
    order = np.lexsort((tracklet[first], frame[first], pts_s[first]))
    number = np.argsort(order)
    of_row = number[np.cumsum(begins) - 1]
    follows = np.full(len(first), -1)
    continues_track = np.flatnonzero(tracklet[first[1:]] == tracklet[first[:-1]])
    follows[number[continues_track + 1]] = number[continues_track]
    first, last = first[order], last[order]
    center, size_px = box_center(boxes_xyxy), np.maximum(face_size_px(boxes_xyxy), 1)
    ends = list(zip(first.tolist(), last.tolist(), strict=True))
    start = np.array([_side(low, high, pts_s, center, size_px) for low, high in ends])
    end = np.array([_side(high, low, pts_s, center, size_px) for low, high in ends])
    return Tracklets(
        of_row=of_row,
        first=first,
        tracklet=tracklet[first],
        follows=follows,
        shot=shot[first],
        start_frame=frame[first],
        end_frame=frame[last],
        start_s=pts_s[first],
        end_s=pts_s[last],
        start_xy=start[:, :2],
        end_xy=end[:, :2],
        start_speed=start[:, 2:4],
        end_speed=end[:, 2:4],
        start_size_px=start[:, 4],
        end_size_px=end[:, 4],
        appearances=_appearances(first, last, appearance, crossings.is_covered),
    )


def _side(
    row: int, far: int, pts_s: np.ndarray, center: np.ndarray, size_px: np.ndarray
) -> tuple[float, float, float, float, float]:
    """Center x, y, speed x, y and size at the end `row` of a tracklet whose other end is `far`."""
    low, high = min(row, far), max(row, far) + 1
    near = np.flatnonzero(~is_longer(np.abs(pts_s[low:high] - pts_s[row]), SPEED_WINDOW_S)) + low
    t, xy = pts_s[near] - pts_s[near].mean(), center[near]
    speed = (t[:, None] * (xy - xy.mean(axis=0))).sum(axis=0) / ((t**2).sum() + SPEED_PRIOR_S2)
    some = near[np.argsort(np.abs(near - row))[:SIDE_FACES]]
    return (*center[row], *speed, float(np.median(size_px[some])))


def _appearances(
    first: np.ndarray, last: np.ndarray, appearance: np.ndarray | None, is_covered: np.ndarray
) -> np.ndarray:
    """Appearance descriptors of each tracklet, `(n, DESCRIPTORS, 60)`, corrected for light, from unoccluded faces."""
    appearances = np.full((len(first), DESCRIPTORS, 60), np.nan, np.float32)
    if appearance is None:
        return appearances
    clear = ~is_covered & ~np.isnan(appearance[:, 0])
    for row, (low, high) in enumerate(zip(first.tolist(), (last + 1).tolist(), strict=True)):
        rows = np.flatnonzero(clear[low:high]) + low
        for k, part in enumerate(np.array_split(rows, DESCRIPTORS) if len(rows) else ()):
            if len(part):
                some = part[:: -(-len(part) // DESCRIPTOR_FACES)]
                descriptor = np.median(appearance[some], axis=0)
                appearances[row, k] = descriptor / np.maximum(descriptor.mean() / 100, 0.1) ** LIGHT_SHARE
    return appearances
