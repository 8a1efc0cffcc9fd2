"""What is being analysed at this moment, read off the results folder."""

import time
from dataclasses import dataclass
from pathlib import Path

from analytics.places import is_remote

RECENT_S = 120.0  # a segment takes less to observe than this, else the run is taken for dead


@dataclass(frozen=True)
class Running:
    """A video of which segments are there, but no finished analysis of them."""

    video_id: str
    n_segments: int


def running(root: Path) -> list[Running]:
    """Videos whose newest segment is younger than both `RECENT_S` and their newest row in videos.

    None at an address, where that would take a listing of every segment of every video.
    """
    if is_remote(root):
        return []
    found = []
    for folder in (root / "observations").glob("video_id=*"):
        segments = [(path.parent, path.stat().st_mtime) for path in folder.glob("*/segment-*.parquet")]
        if not segments:
            continue
        newest_folder, newest_s = max(segments, key=lambda segment: segment[1])
        rows = (root / "videos" / folder.name).glob("a*.parquet")
        done_s = max((row.stat().st_mtime for row in rows), default=0.0)
        if done_s < newest_s and time.time() - newest_s < RECENT_S:
            n_segments = sum(parent == newest_folder for parent, _ in segments)
            found.append(Running(folder.name.removeprefix("video_id="), n_segments))
    return found
