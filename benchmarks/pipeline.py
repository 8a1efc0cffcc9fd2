"""Where the time of pass 1 goes: each stage alone, then all together, on one video in one process.

    .venv/bin/python benchmarks/pipeline.py VIDEO

The last line is the share of the possible that the pipeline reaches: were decoding free to run beside the rest without
taking anything from it, the rate would be 1 / (detect + crop + classify); were nothing to overlap, 1 / (sum of all).
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fer_models import load_classifier, load_detector
from fer_models.crops import crop_faces, frame_crops
from fer_models.observe import observe_segments
from fer_models.video import probe, read_frames_at

REPEATS = 3


def frames_per_s(n_frames: int, work: Callable[[], object]) -> float:
    """The best of some repeats, after one that does not count."""
    work()
    seconds = []
    for _ in range(REPEATS):
        started_s = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started_s)
    return n_frames / min(seconds)


def main(path: Path) -> None:
    """Print the rates for one video."""
    info = probe(path)
    index = np.arange(min(info.n_frames, 512))
    detector, classifier = load_detector(), load_classifier()
    batches = list(read_frames_at(info, index, batch_size=32))
    pixels = np.concatenate([batch.pixels for batch in batches])
    faces = detector.detect(pixels)
    where = torch.from_numpy(pixels), torch.from_numpy(faces.frame)
    boxes_xyxy, landmarks_xy = torch.from_numpy(faces.boxes_xyxy), torch.from_numpy(faces.landmarks_xy)

    def crop() -> torch.Tensor:
        return crop_faces(*where, *frame_crops(boxes_xyxy, landmarks_xy))

    crops = crop()
    n = len(pixels)
    alone = {
        "decode": frames_per_s(n, lambda: list(read_frames_at(info, index, batch_size=32))),
        "detect": frames_per_s(n, lambda: detector.detect(pixels)),
        "crop": frames_per_s(n, crop),
        "classify": frames_per_s(n, lambda: classifier.predict(crops)),
    }
    together = frames_per_s(n, lambda: list(observe_segments(info, [index], detector=detector, classifier=classifier)))
    print(f"{path.name}: {n} frames of {info.width_px}x{info.height_px}, {len(faces)} faces, {info.decoder}")
    for stage, rate in alone.items():
        print(f"{stage:10} {rate:8.0f} frames/s alone")
    print(f"{'together':10} {together:8.0f} frames/s")
    in_turn = 1 / sum(1 / rate for rate in alone.values())
    overlapped = 1 / sum(1 / rate for stage, rate in alone.items() if stage != "decode")
    print(f"together / in turn {together / in_turn:.2f}, together / decoding for free {together / overlapped:.2f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
