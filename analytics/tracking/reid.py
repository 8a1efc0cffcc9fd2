"""Pieces of tracks joined into people, once the whole video is known.

The tracker decides frame by frame and sees only boxes. Here its tracks are first taken apart wherever two of them met
(there they may have been exchanged), then all pieces are linked anew, in one assignment that weighs place, speed, size
and look together. Evidence is counted in nats: the log of how much more often one person's pieces than two people's
would be found like this.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

from analytics.tracking.tracklets import Crossings, Tracklets, find_crossings, split_tracks

LOOK_PAIRS_AT_ONCE = 200_000  # 50 MB each


@dataclass(frozen=True)
class ReidConfig:
    """How much speaks for two pieces being one person. The figures are from benchmarks/identities.py and our clips.

    Raises:
        ValueError: if a value is out of its range.
    """

    # Boxes that overlap this much may have been exchanged (0.15 gave more switches; 0.25 and 0.3 are about as good).
    meet_iou: float = 0.2
    # That a face stays in its track: the tracker was wrong in about one meeting of ten.
    same_track_bonus: float = 2.0
    # That a face just lost goes on, if its look is known: without this, pieces of few faces are passed over. Out of
    # sight for longer than `goes_on_s`, the look must speak against it by 2 nats at most: another person may come from
    # where the first one went.
    continuation_bonus: float = 1.5
    goes_on_s: float = 1.5
    # Place: a face is where its last 0.4 s lead to, within this many box sizes, and this many more per second.
    place_sigma: float = 0.15
    place_sigma_per_s: float = 0.8
    # Over how long that says anything: people turn round behind a pillar.
    place_reach_s: float = 3.0
    speed_sigma: float = 4.0  # box sizes per second: a head's speed before and after a meeting
    size_sigma: float = 0.15  # of the log of the size, and this much more per second
    size_sigma_per_s: float = 0.1
    # Looks this far apart speak neither for nor against one person; each step of `look_scale` nearer is one nat.
    appearance_neutral_distance: float = 21.0
    look_scale: float = 2.5
    max_appearance_evidence: float = 4.0  # nats that a look gives beside place, at most: two people may look alike
    # Where place says nothing (after a cut, or longer than `place_reach_s`), the look alone must give this much, and
    # the more people it may have been, the more: the log of their number is added. Both pieces must have four clear
    # faces or more.
    min_evidence_away: float = 2.0
    max_away_s: float = 30.0  # nobody is looked for longer
    min_margin: float = 2.0  # less evidence than this against an exchange: `suspected_switch`

    def __post_init__(self) -> None:
        if not 0 < self.meet_iou < 1:
            raise ValueError(f"meet_iou must be between 0 and 1, got {self.meet_iou}")
        for name, value in vars(self).items():
            if not 0 <= value < np.inf:
                raise ValueError(f"{name} must be 0 or more, got {value}")
        for name in ("place_sigma", "place_reach_s", "speed_sigma", "size_sigma", "look_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Association:
    """Who each of the m faces is."""

    track: np.ndarray  # (m,) int64, -1 for faces in no track; not yet dense
    is_switch: np.ndarray  # (m,) bool: here the track may have gone on as another person; at most once in a track


def associate_tracklets(
    tracklet: np.ndarray,
    *,
    frame: np.ndarray,
    pts_s: np.ndarray,
    boxes_xyxy: np.ndarray,
    shot: np.ndarray,
    signature: np.ndarray | None,
    config: ReidConfig,
) -> Association:
    """Put tracks together that are one person, and part those that are two.

    Args:
        tracklet: (m,) track of each face as the tracker found it, -1 for none.
        frame: (m,) number of each face's frame, not falling.
        pts_s: (m,) time of that frame, not falling.
        boxes_xyxy: (m, 4) in pixels.
        shot: (m,) number of the shot that the frame is in, not falling.
        signature: (m, 60) look of each face, a row of NaN where not known; None if no look is known.
        config: the settings.
    """
    joined = Association(np.full(len(tracklet), -1, np.int64), np.zeros(len(tracklet), bool))
    row = np.lexsort((frame, tracklet))
    row = row[tracklet[row] >= 0]
    if not len(row):
        return joined
    meetings = find_crossings(tracklet[row], frame[row], pts_s[row], boxes_xyxy[row], shot[row], config.meet_iou)
    looks = None if signature is None else signature[row]
    pieces = split_tracks(
        meetings, tracklet[row], frame[row], pts_s[row], boxes_xyxy[row].astype(np.float64), shot[row], looks
    )
    before, after, evidence = _candidates(pieces, config)
    following = _best_links(len(pieces), before, after, evidence)
    joined.track[row] = _chains(following)[pieces.piece_of_row]
    switched = _doubtful_pieces(pieces, meetings, following, before, after, evidence, config)
    joined.is_switch[row[pieces.first[switched]]] = True
    return joined


def _candidates(pieces: Tracklets, config: ReidConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of pieces that may be one person, the second after the first, and the evidence that they are."""
    begin = np.searchsorted(pieces.start_s, pieces.end_s)
    end = np.searchsorted(pieces.start_s, pieces.end_s + config.max_away_s, side="right")
    count = end - begin
    before = np.repeat(np.arange(len(pieces)), count)
    after = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + begin[before]
    in_order = pieces.start_frame[after] > pieces.end_frame[before]
    before, after = before[in_order], after[in_order]
    look = _look_distance(pieces.looks, before, after)
    gap_s = pieces.start_s[after] - pieces.end_s[before]
    stays = pieces.follows[after] == before
    near = stays | ((gap_s <= config.place_reach_s) & (pieces.shot[before] == pieces.shot[after]))
    evidence = np.where(np.isnan(look), 0, (config.appearance_neutral_distance - look) / config.look_scale)
    is_solid = ~np.isnan(pieces.looks[:, -1, 0])
    away = ~near & is_solid[before] & is_solid[after]
    n_away = np.bincount(after[away], minlength=len(pieces))
    # A few faces, seen between two meetings, may be half hidden: their look speaks less against a link.
    least = -config.max_appearance_evidence * (1 + (is_solid[before] & is_solid[after]))
    evidence[near] = np.clip(evidence[near], least[near], config.max_appearance_evidence)
    evidence[near] += _evidence_of_place(pieces, before[near], after[near], config)
    most = np.where(gap_s <= config.goes_on_s, np.inf, config.appearance_neutral_distance + 2 * config.look_scale)
    continues_track = near & (look < most)  # never if the look is not known
    evidence[continues_track] += config.continuation_bonus
    evidence[stays] += config.same_track_bonus
    evidence[away] -= config.min_evidence_away + np.log(n_away[after[away]])
    possible = near | (away & (evidence > 0))
    return before[possible], after[possible], evidence[possible]


def _evidence_of_place(pieces: Tracklets, before: np.ndarray, after: np.ndarray, config: ReidConfig) -> np.ndarray:
    """What place, speed and size say; the farther apart in time, the less."""
    gap_s = pieces.start_s[after] - pieces.end_s[before]
    size_px = np.sqrt(pieces.end_size_px[before] * pieces.start_size_px[after])
    # Both are led on to the middle of the gap.
    end_xy = pieces.end_xy[before] + pieces.end_speed[before] * gap_s[:, None] / 2
    start_xy = pieces.start_xy[after] - pieces.start_speed[after] * gap_s[:, None] / 2
    distance = np.hypot(*(start_xy - end_xy).T) / size_px
    speed = np.hypot(*(pieces.start_speed[after] - pieces.end_speed[before]).T) / size_px
    size = np.log(pieces.start_size_px[after] / pieces.end_size_px[before])
    fades = np.maximum(1 - gap_s / config.place_reach_s, 0)
    sigma = config.place_sigma + config.place_sigma_per_s * gap_s
    # Against a face anywhere in a picture of 8 by 8 faces.
    place = np.log(64 / (2 * np.pi * sigma**2)) - (distance / sigma) ** 2 / 2
    size_sigma = config.size_sigma + config.size_sigma_per_s * gap_s
    evidence: np.ndarray = (
        np.maximum(place, -10 * fades)
        - np.minimum((speed / config.speed_sigma) ** 2 / 2, 3) * fades
        - np.minimum((size / size_sigma) ** 2 / 2, 6)
    )
    return evidence


def _look_distance(looks: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Mean difference of the two most alike looks of each pair of pieces; NaN where one has none."""
    distance = np.full(len(before), np.nan)
    for start in range(0, len(before), LOOK_PAIRS_AT_ONCE):
        part = slice(start, start + LOOK_PAIRS_AT_ONCE)
        for i in range(looks.shape[1]):
            for j in range(looks.shape[1]):
                one = np.abs(looks[before[part], i] - looks[after[part], j]).mean(axis=1)
                distance[part] = np.fmin(distance[part], one)
    return distance


def _best_links(n: int, before: np.ndarray, after: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """The piece that follows each of `n` pieces, -1 for none: each follows one at most, all evidence together most."""
    good = evidence > 0
    before, after, evidence = before[good], after[good], evidence[good]
    # Each piece may also have an end of its own (columns from n on), which counts as no evidence.
    most = evidence.max(initial=0) + 1
    cost = np.concatenate([most - evidence, np.full(n, most)])
    rows, columns = np.concatenate([before, np.arange(n)]), np.concatenate([after, n + np.arange(n)])
    row, column = min_weight_full_bipartite_matching(csr_array((cost, (rows, columns)), shape=(n, 2 * n)))
    following = np.full(n, -1)
    following[row] = np.where(column < n, column, -1)
    return following


def _chains(following: np.ndarray) -> np.ndarray:
    """A number for each chain of pieces that follow one another, `(n,)`."""
    n = len(following)
    linked = np.flatnonzero(following >= 0)
    links = csr_array((np.ones(len(linked)), (linked, following[linked])), shape=(n, n))
    chain: np.ndarray = connected_components(links, directed=False)[1]
    return chain


def _doubtful_pieces(
    pieces: Tracklets,
    meetings: Crossings,
    following: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    evidence: np.ndarray,
    config: ReidConfig,
) -> np.ndarray:
    """Pieces that begin where two people met and were perhaps exchanged; of each chain only the most doubtful one.

    The evidence for what was linked is compared with that for the exchange. Where no look is known, any meeting is
    doubtful: place and speed do not tell people from people who turn back.
    """
    known = dict(zip(zip(before.tolist(), after.tolist(), strict=True), evidence.tolist(), strict=True))
    has_look = ~np.isnan(pieces.looks[:, :, 0]).all(axis=1)
    doubts: list[tuple[int, float]] = []
    for a, b in pieces.before_meeting(meetings).tolist():
        one, other = following[a], following[b]
        keep = sum(max(known.get(pair, 0.0), 0.0) for pair in ((a, one), (b, other)))
        swap = sum(max(known.get(pair, 0.0), 0.0) for pair in ((a, other), (b, one)))
        lead = keep - swap if has_look[[a, b]].all() else 0.0
        doubts += [(piece, lead) for piece in (one, other) if piece >= 0 and lead < config.min_margin]
    chain = _chains(following)
    worst: dict[int, tuple[float, int]] = {}
    for piece, lead in doubts:
        worst[chain[piece]] = min(worst.get(chain[piece], (np.inf, 0)), (lead, piece))
    return np.array(sorted(piece for _, piece in worst.values()), np.int64)
