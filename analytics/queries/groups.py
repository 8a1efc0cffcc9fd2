"""Groups of videos compared: whether one shows more of an emotion than another, by how much, and how sure that is."""

import csv
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from analytics.results.videos import UnknownVideoError, choose_videos
from analytics.tables.result_schemas import COMPARISON
from fer_models.errors import FervidError
from fer_models.labels import EMOTIONS

RESAMPLES = 2000
MEASURES = ("mean_a", "mean_b", "difference", "low", "high", "cliffs_delta", "delta_low", "delta_high")
INTERVAL = (2.5, 97.5)  # percent: the middle 95 % of the resamples


class GroupError(FervidError):
    """The groups cannot be read, name a video that is not in the results, or are fewer than two."""


def find_groups(groups: Mapping[str, str] | Path, videos: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The group of each video, by the path it has in the results.

    Args:
        groups: group by path, file name or video_id, or a CSV file with the columns path (any of these) and group.
        videos: `video_id` and `path` of those in the results.

    Raises:
        GroupError: see there.
    """
    source = "the groups"
    if isinstance(groups, Path):
        source, groups = str(groups), _read_groups(groups)
    if len(set(groups.values())) < 2:
        raise GroupError(f"{source}: at least two groups are needed to compare, got {len(set(groups.values()))}")
    path_of = {video["video_id"]: video["path"] for video in videos}
    found: dict[str, str] = {}
    for name, group in groups.items():
        try:
            paths = [path_of[video] for video in choose_videos(videos, [name])]
        except UnknownVideoError as error:
            raise GroupError(f"{source}: {error}") from error
        for path in paths:
            if found.setdefault(path, group) != group:
                raise GroupError(f"{source}: {path}: is named twice, in the groups {found[path]} and {group}")
    return found


def _read_groups(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not {"path", "group"} <= set(reader.fieldnames):
                raise GroupError(f"{path}: needs the columns path and group in its first line, comma separated")
            rows = [(row["path"], row["group"]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise GroupError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if any(not name or not group for name, group in rows):
        raise GroupError(f"{path}: a line has no path or no group")
    if len(dict(rows)) < len(rows):
        raise GroupError(f"{path}: a path comes twice")
    return dict(rows)


def compare_groups(shares: pa.Table, group_of: Mapping[str, str]) -> pa.Table:
    """How each two groups differ in the share of time of each emotion: the rows of `answers.COMPARISON`.

    A video counts once, however long it is or many people it shows: its share is over the labeled time of all its
    tracks; videos without any are left out. `difference` is mean_a - mean_b, `cliffs_delta` how much oftener a video
    of a has more than one of b than the other way round: 1 always, 0 as often, -1 never (Cliff 1993,
    doi:10.1037/0033-2909.114.3.494). Their low and high bound 95 % of 2,000 percentile bootstraps over the videos
    (Efron & Tibshirani 1993, ch. 13), NULL if a group has one video only.

    Args:
        shares: as `queries.shares` gives them.
        group_of: group of each path; other paths are left out.
    """
    videos: dict[str, dict[str, _Video]] = {group: {} for group in sorted(set(group_of.values()))}
    for row in shares.to_pylist():
        if row["path"] in group_of and row["labelled_s"]:
            videos[group_of[row["path"]]].setdefault(row["path"], _Video()).add(row)
    pairs = combinations(videos.items(), 2)
    return pa.Table.from_pylist([row for a, b in pairs for row in _compare(a, b)], schema=COMPARISON)


class _Video:
    """What the tracks of a video add up to."""

    def __init__(self) -> None:
        self.label_s = np.zeros(len(EMOTIONS))
        self.n_tracks = self.n_faces = self.n_gated = 0

    def add(self, track: Mapping[str, Any]) -> None:
        self.label_s += track["labelled_s"] * np.array([track[name] for name in EMOTIONS])
        self.n_tracks += 1
        self.n_faces += track["n_faces"]
        self.n_gated += track["n_gated"]


def _compare(group_a: tuple[str, dict[str, _Video]], group_b: tuple[str, dict[str, _Video]]) -> list[dict[str, Any]]:
    (name_a, a), (name_b, b) = group_a, group_b
    both = [*a.values(), *b.values()]
    common = {
        "group_a": name_a,
        "group_b": name_b,
        "n_videos_a": len(a),
        "n_videos_b": len(b),
        "n_tracks_a": sum(video.n_tracks for video in a.values()),
        "n_tracks_b": sum(video.n_tracks for video in b.values()),
        "gated_share": sum(video.n_gated for video in both) / max(sum(video.n_faces for video in both), 1),
    }
    share_a, share_b = (
        np.array([video.label_s / video.label_s.sum() for video in group.values()]).reshape(-1, len(EMOTIONS))
        for group in (a, b)
    )
    return [
        {**common, "emotion": emotion, **difference(share_a[:, place], share_b[:, place])}
        for place, emotion in enumerate(EMOTIONS)
    ]


def difference(a: np.ndarray, b: np.ndarray) -> dict[str, float | None]:
    """Means, their difference, Cliff's delta and the bootstrap intervals of both, of values `(n_a,)` and `(n_b,)`.

    >>> found = difference(np.array([0.5, 0.7]), np.array([0.1, 0.6]))
    >>> round(found["difference"], 3), found["cliffs_delta"]
    (0.25, 0.5)
    """
    found: dict[str, float | None] = dict.fromkeys(MEASURES)
    if len(a):
        found["mean_a"] = float(a.mean())
    if len(b):
        found["mean_b"] = float(b.mean())
    if not len(a) or not len(b):
        return found
    more_often = np.sign(a[:, None] - b)  # (n_a, n_b)
    found |= {"difference": float(a.mean() - b.mean()), "cliffs_delta": float(more_often.mean())}
    if min(len(a), len(b)) > 1:
        drawn = np.random.default_rng(0)  # the same answer each time
        times_a, times_b = (drawn.multinomial(len(x), np.full(len(x), 1 / len(x)), RESAMPLES) / len(x) for x in (a, b))
        found["low"], found["high"] = np.percentile(times_a @ a - times_b @ b, INTERVAL).tolist()
        deltas = ((times_a @ more_often) * times_b).sum(1)
        found["delta_low"], found["delta_high"] = np.percentile(deltas, INTERVAL).tolist()
    return found
