"""Compare Fervid's tracks with those of two other trackers, on synthetic scenes with known identities.

    uv venv peers && uv pip install --python peers/bin/python trackers trackeval   # they bring an OpenCV of their own
    .venv/bin/python -m benchmarks.identities ../shared/data/faces/train.parquet --peers peers/bin/python --work FOLDER

Scenes (see identity_scenes.py) are composed from the photographs of the parquet file (as for `fervid train-detector`).
In most scenes, detections are simulated with typical errors (boxes 4 % off, misses, false positives). In every fourth
scene they are those of the compact detector, which was trained on these photographs: the benchmark measures tracks, not
detections. With `--detect-every S`, they are those of the detector in every scene; it searches the whole frame every S
seconds and close-ups in between (0: whole frames only). Appearance comes from the real crops. All trackers get the same
detections and times and the thresholds of the detector, and keep lost faces for one second. FOLDER keeps the scenes for
the next run with the same options.

trackeval counts a face as found if the boxes overlap by half. A person keeps one identity over the whole scene, also
behind a pillar, outside the frame and across cuts. `perfect` has the true person of each detection, and is therefore
the limit for any tracker.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np

from analytics.tracking.reid import ReidConfig, associate_tracklets
from analytics.tracking.shot_detection import ShotDetectionConfig, find_shot_boundaries
from analytics.tracking.tracker import TrackerConfig, confirm, link_faces
from benchmarks.identity_scenes import KINDS, Detection, make_scene, read_people
from fer_models import load_detector

SIMULATED_THRESHOLD = 0.5  # lowest score of a simulated detection that counts as a face
N_PEOPLE = 60


def write_scenes(photos: Path, folder: Path, per_kind: int, detect_every_s: float | None) -> list[Path]:
    """Write a file for each scene; existing files are kept."""
    paths = [folder / f"{kind.replace(' ', '_')}-{seed}.npz" for seed in range(per_kind) for kind in KINDS]
    missing = [path for path in paths if not path.exists()]
    if not missing:
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    people, places = read_people(photos, N_PEOPLE, seed=0)
    detector = load_detector()
    detection = Detection(detector, detect_every_s or 0.0)
    for path in missing:
        kind, seed = path.stem.replace("_", " ").rsplit("-", 1)
        uses_detector = detect_every_s is not None or int(seed) % 4 == 3
        scene = make_scene(kind, people, places, int(seed), detection if uses_detector else None)
        arrays = {name: values for name, values in vars(scene).items() if isinstance(values, np.ndarray)}
        threshold = detector.score_threshold if uses_detector else SIMULATED_THRESHOLD
        np.savez(path, fps=scene.fps, threshold=threshold, **arrays, **vars(scene.faces))
        print(f"{path.name}: {len(scene.pts_s)} frames, {len(scene.faces)} faces", flush=True)
    return paths


def our_tracks(scene: dict[str, np.ndarray], variant: str) -> np.ndarray:
    """The track of each face by a variant of Fervid's tracking: without appearance, or without association."""
    config = TrackerConfig(high_score=float(scene["threshold"]))
    frame, pts_s = scene["frame"], scene["pts_s"]
    shot = np.cumsum(find_shot_boundaries(scene["thumbnail_rgb"].astype(float), ShotDetectionConfig()))
    faces = {"frame": frame, "pts_s": pts_s[frame], "boxes_xyxy": scene["boxes_xyxy"], "shot": shot[frame]}
    step_s = float(np.median(np.diff(pts_s)))
    track = link_faces(**faces, det_score=scene["det_score"], config=config, step_s=step_s)
    if variant != "tracker only":
        appearance = None if variant == "fervid by motion" else scene["appearance"].astype(np.float32)
        track = associate_tracklets(track, **faces, appearance=appearance, config=ReidConfig()).track
    return confirm(track, faces["pts_s"], config)


def print_table(scores: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print a row per tracker: scores over all scenes, then IDF1 by kind of scene."""
    print(f"{'':18}{'HOTA':>7}{'IDF1':>7}{'switches':>10}" + "".join(f"{kind:>14}" for kind in KINDS))
    for name, by_kind in scores.items():
        total = by_kind["all"]
        print(
            f"{name:18}{total['HOTA']:7.3f}{total['IDF1']:7.3f}{total['IDSW']:10.0f}"
            + "".join(f"{by_kind[kind]['IDF1']:8.3f} ({by_kind[kind]['IDSW']:3.0f})" for kind in KINDS)
        )


def main() -> None:
    """Print a table of scores, over all scenes and by kind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--peers", type=Path, required=True, help="Python with trackers and trackeval")
    parser.add_argument("--work", type=Path, required=True, help="folder for the scenes")
    parser.add_argument(
        "--scenes",
        type=int,
        default=5,
        help="scenes of each kind, at 5, 10, 15, 25, 30, 5, … fps",
    )
    parser.add_argument("--detect-every", type=float, metavar="S", help="use the detector in every scene, as described")
    given = parser.parse_args()
    paths = write_scenes(given.photos, given.work, given.scenes, given.detect_every)
    for path in paths:
        with np.load(path) as scene:
            tracks = {name: our_tracks(dict(scene), name) for name in ("fervid", "fervid by motion", "tracker only")}
        np.savez(path.with_suffix(".tracks"), **tracks)
    script = Path(__file__).with_name("identities_peers.py")
    found = subprocess.run([given.peers, script, *paths], check=True, stdout=subprocess.PIPE, text=True)
    print_table(json.loads(found.stdout))


if __name__ == "__main__":
    main()
