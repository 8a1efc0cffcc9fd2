"""Re-identify people over the whole video: associate tracklets by position, speed, size and appearance.

The tracker decides frame by frame and sees only boxes. Here its tracks are first split wherever two of them crossed,
where identities may have been exchanged. Then all tracklets are linked in one global assignment. Evidence is measured
in nats: the log-likelihood ratio of one person against two people.
"""

from dataclasses import dataclass

import numpy as np

from analytics.time_tolerance import is_longer, longest
from analytics.tracking.ranges import expand_ranges
from analytics.tracking.tracklets import Crossings, Tracklets, find_crossings, split_tracks

MAX_PAIRS_AT_ONCE = 200_000  # pairs of tracklets compared at once, which take 50 MB


@dataclass(frozen=True)
class ReidConfig:
    """Weights of the evidence that two tracklets are one person, tuned on benchmarks/identities.py and real videos.

    Raises:
        ValueError: if a value is out of its range.
    """

    # Two boxes that overlap at least this much (IoU) may have been exchanged. With 0.15 there were more switches; 0.25
    # and 0.3 are about as good.
    crossing_iou: float = 0.2
    # Evidence in nats for staying in the same track. The tracker was wrong in about one of ten crossings.
    same_track_bonus: float = 2.0
    # Evidence in nats for continuing a face that was just lost, if its appearance is known; without it, short tracklets
    # are skipped. After a gap longer than `max_continuation_gap_s`, appearance may weaken the link by at most 2 nats,
    # because another person may enter where the first one left.
    continuation_bonus: float = 1.5
    max_continuation_gap_s: float = 1.5
    # Standard deviation of the position extrapolated from the last 0.4 s, in box sizes, and its growth per second.
    position_sigma: float = 0.15
    position_sigma_per_s: float = 0.8
    # Longest gap over which position is evidence, because people may turn around while occluded.
    max_position_gap_s: float = 3.0
    speed_sigma: float = 4.0  # standard deviation of the change of speed across a crossing, in box sizes per second
    # Standard deviation of the change of the logarithm of the size; below, its growth per second.
    size_sigma: float = 0.15
    size_sigma_per_s: float = 0.1
    # Appearance distance that favors neither one person nor two; each `appearance_scale` less adds one nat for one.
    appearance_neutral_distance: float = 21.0
    appearance_scale: float = 2.5
    # Maximum evidence in nats that appearance adds to position, because two people may look alike.
    max_appearance_evidence: float = 4.0
    # If position is no evidence (after a cut, or beyond `max_position_gap_s`), appearance alone must give at least this
    # many nats plus the logarithm of the number of candidates. Both tracklets must have at least four unoccluded faces.
    min_evidence_away: float = 2.0
    max_away_s: float = 30.0  # longest gap that is bridged
    min_margin: float = 2.0  # `suspected_switch` is set if fewer nats than this speak against an exchange of two people

    def __post_init__(self) -> None:
        if not 0 < self.crossing_iou < 1:
            raise ValueError(f"crossing_iou must be between 0 and 1, got {self.crossing_iou}")
        for name, value in vars(self).items():
            if not 0 <= value < np.inf:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        for name in ("position_sigma", "max_position_gap_s", "speed_sigma", "size_sigma", "appearance_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Association:
    """The track of each of the m faces."""

    track: np.ndarray  # (m,) int64 track of each face, -1 for faces in no track; numbers may have gaps
    is_switch: np.ndarray  # (m,) bool, True where the track may have switched to another person; at most once per track


def associate_tracklets(
    tracklet: np.ndarray,
    *,
    frame: np.ndarray,
    pts_s: np.ndarray,
    boxes_xyxy: np.ndarray,
    shot: np.ndarray,
    appearance: np.ndarray | None,
    config: ReidConfig,
) -> Association:
    """Merge tracks of the same person, and split tracks of two people.

    Args:
        tracklet: (m,) track of each face from the tracker, -1 for none.
        frame: (m,) number of each face's frame, non-decreasing.
        pts_s: (m,) time of that frame, non-decreasing.
        boxes_xyxy: (m, 4) in pixels.
        shot: (m,) number of the shot that the frame is in, non-decreasing.
        appearance: (m, 60) appearance of each face, a row of NaN if unknown; None if none is known.
        config: the settings.
    """
    association = Association(np.full(len(tracklet), -1, np.int64), np.zeros(len(tracklet), bool))
    row = np.lexsort((frame, tracklet))
    row = row[tracklet[row] >= 0]
    if not len(row):
        return association
    crossings = find_crossings(tracklet[row], frame[row], pts_s[row], boxes_xyxy[row], shot[row], config.crossing_iou)
    appearances = None if appearance is None else appearance[row]
    tracklets = split_tracks(
        crossings, tracklet[row], frame[row], pts_s[row], boxes_xyxy[row].astype(np.float64), shot[row], appearances
    )
    before, after, evidence = _candidates(tracklets, config)
    successor = _best_links(len(tracklets), before, after, evidence)
    association.track[row] = _chains(successor)[tracklets.of_row]
    switched = _uncertain_tracklets(tracklets, crossings, successor, before, after, evidence, config)
    association.is_switch[row[tracklets.first[switched]]] = True
    return association


def _candidates(tracklets: Tracklets, config: ReidConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of consecutive tracklets that may be one person, and the evidence for it."""
    begin = np.searchsorted(tracklets.start_s, tracklets.end_s)
    end = np.searchsorted(tracklets.start_s, tracklets.end_s + longest(config.max_away_s), side="right")
    before, after = expand_ranges(begin, end)
    in_order = tracklets.start_frame[after] > tracklets.end_frame[before]
    before, after = before[in_order], after[in_order]
    distance = _appearance_distance(tracklets.appearances, before, after)
    gap_s = tracklets.start_s[after] - tracklets.end_s[before]
    same_track = tracklets.follows[after] == before
    in_shot = tracklets.shot[before] == tracklets.shot[after]
    near = same_track | (in_shot & ~is_longer(gap_s, config.max_position_gap_s))
    evidence = np.where(
        np.isnan(distance), 0, (config.appearance_neutral_distance - distance) / config.appearance_scale
    )
    is_solid = ~np.isnan(tracklets.appearances[:, -1, 0])
    away = ~near & is_solid[before] & is_solid[after]
    n_away = np.bincount(after[away], minlength=len(tracklets))
    # A few faces between two crossings may be partly occluded, so their appearance is weaker evidence against a link.
    least = -config.max_appearance_evidence * (1 + (is_solid[before] & is_solid[after]))
    evidence[near] = np.clip(evidence[near], least[near], config.max_appearance_evidence)
    evidence[near] += _position_evidence(tracklets, before[near], after[near], config)
    most = np.where(
        is_longer(gap_s, config.max_continuation_gap_s),
        config.appearance_neutral_distance + 2 * config.appearance_scale,
        np.inf,
    )
    continues_track = near & (distance < most)  # False if the appearance is unknown
    evidence[continues_track] += config.continuation_bonus
    evidence[same_track] += config.same_track_bonus
    evidence[away] -= config.min_evidence_away + np.log(n_away[after[away]])
    possible = near | (away & (evidence > 0))
    return before[possible], after[possible], evidence[possible]


def _position_evidence(tracklets: Tracklets, before: np.ndarray, after: np.ndarray, config: ReidConfig) -> np.ndarray:
    """The evidence from position, speed and size, which decreases with the gap."""
    gap_s = tracklets.start_s[after] - tracklets.end_s[before]
    size_px = np.sqrt(tracklets.end_size_px[before] * tracklets.start_size_px[after])
    # Both positions are extrapolated to the middle of the gap.
    end_xy = tracklets.end_xy[before] + tracklets.end_speed[before] * gap_s[:, None] / 2
    start_xy = tracklets.start_xy[after] - tracklets.start_speed[after] * gap_s[:, None] / 2
    distance = np.hypot(*(start_xy - end_xy).T) / size_px
    speed = np.hypot(*(tracklets.start_speed[after] - tracklets.end_speed[before]).T) / size_px
    size = np.log(tracklets.start_size_px[after] / tracklets.end_size_px[before])
    fades = np.maximum(1 - gap_s / config.max_position_gap_s, 0)
    sigma = config.position_sigma + config.position_sigma_per_s * gap_s
    # The alternative to one person is a uniform position in an area of 8 by 8 face sizes.
    position = np.log(64 / (2 * np.pi * sigma**2)) - (distance / sigma) ** 2 / 2
    size_sigma = config.size_sigma + config.size_sigma_per_s * gap_s
    evidence: np.ndarray = (
        np.maximum(position, -10 * fades)
        - np.minimum((speed / config.speed_sigma) ** 2 / 2, 3) * fades
        - np.minimum((size / size_sigma) ** 2 / 2, 6)
    )
    return evidence


def _appearance_distance(appearances: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The smallest mean difference between appearance descriptors of each pair of tracklets; NaN if one has none."""
    distance = np.full(len(before), np.nan)
    for start in range(0, len(before), MAX_PAIRS_AT_ONCE):
        part = slice(start, start + MAX_PAIRS_AT_ONCE)
        for i in range(appearances.shape[1]):
            for j in range(appearances.shape[1]):
                one = np.abs(appearances[before[part], i] - appearances[after[part], j]).mean(axis=1)
                distance[part] = np.fmin(distance[part], one)
    return distance


def _best_links(n: int, before: np.ndarray, after: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """The successor of each of `n` tracklets, -1 for none: the matching with the largest total evidence."""
    good = evidence > 0
    before, after, evidence = before[good], after[good], evidence[good]
    successor = np.full(n, -1)
    if not len(evidence):
        return successor
    from scipy.sparse import csr_array  # imported here because SciPy takes most of a second
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    # A tracklet may also have no successor (columns from n on), which has zero evidence.
    most = evidence.max(initial=0) + 1
    cost = np.concatenate([most - evidence, np.full(n, most)])
    rows, columns = np.concatenate([before, np.arange(n)]), np.concatenate([after, n + np.arange(n)])
    row, column = min_weight_full_bipartite_matching(csr_array((cost, (rows, columns)), shape=(n, 2 * n)))
    successor[row] = np.where(column < n, column, -1)
    return successor


def _chains(successor: np.ndarray) -> np.ndarray:
    """The number of the chain of successors that each tracklet belongs to, `(n,)`."""
    first = np.arange(len(successor))  # the smallest tracklet number in the chain of each tracklet
    for start in np.setdiff1d(first, successor).tolist():  # tracklets without a predecessor
        chain = [start]
        while (following := int(successor[chain[-1]])) >= 0:
            chain.append(following)
        first[chain] = min(chain)
    return np.unique(first, return_inverse=True)[1]


def _uncertain_tracklets(
    tracklets: Tracklets,
    crossings: Crossings,
    successor: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    evidence: np.ndarray,
    config: ReidConfig,
) -> np.ndarray:
    """Tracklets that start where identities may have been exchanged; the most uncertain one of each chain.

    The evidence for the chosen links is compared with that for the exchange. Without appearance, every crossing is
    uncertain, because position and speed cannot distinguish passing from turning back.
    """
    known = dict(zip(zip(before.tolist(), after.tolist(), strict=True), evidence.tolist(), strict=True))
    has_appearance = ~np.isnan(tracklets.appearances[:, :, 0]).all(axis=1)
    uncertain: list[tuple[int, float]] = []
    for a, b in tracklets.before_crossing(crossings).tolist():
        one, other = successor[a], successor[b]
        keep = sum(max(known.get(pair, 0.0), 0.0) for pair in ((a, one), (b, other)))
        swap = sum(max(known.get(pair, 0.0), 0.0) for pair in ((a, other), (b, one)))
        margin = keep - swap if has_appearance[[a, b]].all() else 0.0
        uncertain += [(index, margin) for index in (one, other) if index >= 0 and margin < config.min_margin]
    chain = _chains(successor)
    worst: dict[int, tuple[float, int]] = {}
    for index, margin in uncertain:
        worst[chain[index]] = min(worst.get(chain[index], (np.inf, 0)), (margin, index))
    return np.array(sorted(index for _, index in worst.values()), np.int64)
