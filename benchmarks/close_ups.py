"""Compare close-ups between key frames with detection on every frame: the table of docs/performance.md.

python -m benchmarks.close_ups ../shared/data/videos/faces/*.mp4 --work FOLDER

Every clip is analyzed with default settings and with `--detect-every 0`, into two results folders in FOLDER, which
later runs use again. A face is found if a face of the same frame overlaps it with an IoU of at least 0.5. Labels are
compared on the found faces; smoothed labels only where at least one of the two analyses gives one. Changes are counted
between faces of a track in consecutive frames that both have a label. Pairs are full detection / default.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from analytics.queries.connection import connect
from analytics.results.same_tracks import BOX, MIN_IOU
from fer_models.boxes import box_iou

NO_LABEL, NO_TRACK = "", -1
_FACES = f"""
SELECT frame_index, coalesce(track_id, {NO_TRACK}) AS track, {", ".join(BOX)},
    coalesce(emotion, '{NO_LABEL}') AS raw, coalesce(smooth_emotion, '{NO_LABEL}') AS smoothed
FROM faces ORDER BY track, frame_index
"""
HEADER = (
    "| clip | faces | found | same label, raw | same label, smoothed | tracks | changes, raw | changes, smoothed |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
)


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of an analyzed video, ordered by track and frame."""

    frame: np.ndarray  # (n,)
    track: np.ndarray  # (n,) NO_TRACK for faces outside tracks
    boxes_xyxy: np.ndarray  # (n, 4)
    raw: np.ndarray  # (n,) str
    smoothed: np.ndarray  # (n,) str, NO_LABEL where there is none

    def n_tracks(self) -> int:
        """The number of tracks."""
        return len(np.unique(self.track[self.track != NO_TRACK]))

    def changes(self, label: np.ndarray) -> float:
        """The share of faces whose label `(n,)` differs from that of the previous frame of the track."""
        is_next = (np.diff(self.track) == 0) & (np.diff(self.frame) == 1) & (self.track[1:] != NO_TRACK)
        is_next &= (label[1:] != NO_LABEL) & (label[:-1] != NO_LABEL)
        return share((label[1:] != label[:-1])[is_next])


def share(values: np.ndarray) -> float:
    """The share of true values; NaN if there are none.

    >>> share(np.array([True, False]))
    0.5
    """
    return float(values.mean()) if len(values) else float("nan")


def read_faces(results: Path, clip: Path) -> Faces:
    """Read the faces of a clip from a results folder."""
    with connect(results, video=str(clip.resolve())) as connection:
        columns = connection.execute(_FACES).fetchnumpy()
    raw, smoothed = (np.array(columns[name], str) for name in ("raw", "smoothed"))
    frame, track = (np.array(columns[name], np.int64) for name in ("frame_index", "track"))
    boxes = np.stack([columns[name] for name in BOX], axis=1)
    return Faces(frame, track, boxes, raw, smoothed)


def match(a: Faces, b: Faces) -> tuple[np.ndarray, np.ndarray]:
    """Pair the faces of the same frames that overlap by MIN_IOU: rows `(k,)` of `a` and of `b`."""
    pairs = [(np.empty(0, int), np.empty(0, int))]
    for frame in np.unique(a.frame).tolist():
        in_a, in_b = np.flatnonzero(a.frame == frame), np.flatnonzero(b.frame == frame)
        iou = box_iou(a.boxes_xyxy[in_a], b.boxes_xyxy[in_b])
        rows, columns = linear_sum_assignment(np.where(iou >= MIN_IOU, iou, 0), maximize=True)
        is_found = iou[rows, columns] >= MIN_IOU
        pairs.append((in_a[rows[is_found]], in_b[columns[is_found]]))
    of_a, of_b = zip(*pairs, strict=True)
    return np.concatenate(of_a), np.concatenate(of_b)


def compare(name: str, full: Faces, default: Faces) -> str:
    """The row of a clip."""
    of_full, of_default = match(full, default)
    smoothed = full.smoothed[of_full], default.smoothed[of_default]
    is_labeled = (smoothed[0] != NO_LABEL) | (smoothed[1] != NO_LABEL)
    cells = [
        name,
        str(len(full.frame)),
        percent(len(of_full) / max(1, len(full.frame))),
        percent(share(full.raw[of_full] == default.raw[of_default])),
        percent(share((smoothed[0] == smoothed[1])[is_labeled])),
        f"{full.n_tracks()} / {default.n_tracks()}",
        percents(full.changes(full.raw), default.changes(default.raw)),
        percents(full.changes(full.smoothed), default.changes(default.smoothed)),
    ]
    return f"| {' | '.join(cells)} |"


def percent(value: float) -> str:
    """Format a share.

    >>> percent(0.9876)
    '98.8 %'
    """
    return f"{100 * value:.1f} %"


def percents(full: float, default: float) -> str:
    """Format two shares.

    >>> percents(0.1, 0.125)
    '10.0 / 12.5 %'
    """
    return f"{100 * full:.1f} / {percent(default)}"


def analyze(clips: Sequence[Path], results: Path, *options: str) -> Path:
    """Analyze the clips, unless that is done."""
    program = (sys.executable, "-c", "from flows.cli.app import main; main()")
    subprocess.run([*program, "analyze", *map(str, clips), "--out", str(results), "--quiet", *options], check=True)
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--work", type=Path, required=True, help="folder for the results")
    given = parser.parse_args()
    full = analyze(given.clips, given.work / "full", "--detect-every", "0")
    default = analyze(given.clips, given.work / "default")
    print(*HEADER, sep="\n")
    for clip in given.clips:
        print(compare(clip.name, read_faces(full, clip), read_faces(default, clip)))


if __name__ == "__main__":
    main()
