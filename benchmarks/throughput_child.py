"""Measure pass 1 in this process, with the packages of the checkout in PYTHONPATH; started by `throughput.py`.

python benchmarks/throughput_child.py analysis CLIP REPEATS
python benchmarks/throughput_child.py stages CLIP
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def measure_analysis(path: Path, repeats: int) -> Row:
    """Run pass 1 on a clip in this process: frames, faces, and the time of the best of some repeats."""
    import numpy as np

    from fer_models import load_classifier, load_detector
    from fer_models.observe import StageTimes, observe_segments
    from fer_models.video import probe

    networks = {"detector": load_detector(device="cpu"), "classifier": load_classifier(device="cpu"), **_landmarker()}
    info = probe(path)
    index = np.arange(info.n_frames)
    best: Row = {"wall_s": float("inf")}
    for _ in range(repeats):
        times = StageTimes()
        started_s, cpu_s = time.perf_counter(), time.process_time()
        seen = list(observe_segments(info, [index], **networks, times=times))
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        if wall_s < best["wall_s"]:
            best = {"wall_s": wall_s, "cpu_s": cpu_s, "stages": vars(times)}
    return {**best, "frames": len(index), "faces": sum(len(segment.faces) for segment in seen)}


def _landmarker() -> Row:
    """The landmark network, unless the measured checkout is older than it."""
    import inspect

    import torch

    from fer_models.observe import observe_segments

    if "landmarker" not in inspect.signature(observe_segments).parameters:
        return {}
    from fer_models.landmarks.landmarker import Landmarker

    return {"landmarker": Landmarker.load(torch.device("cpu"))}


def measure_stages(path: Path) -> Row:
    """Milliseconds of CPU time per frame of each stage alone, in this process."""
    import numpy as np
    import torch

    from fer_models import load_classifier, load_detector
    from fer_models.crops import appearance_descriptors, crop_faces, frame_crops, measure_crops
    from fer_models.detection.key_frames import KeyFramePlan, detect_frames
    from fer_models.landmarks.landmarker import Landmarker
    from fer_models.landmarks.upright import DetectedInFrames, turn_upright
    from fer_models.observe import DETECT_EVERY_S, frame_thumbnail
    from fer_models.video import probe, read_frames_at

    detector, classifier = load_detector(device="cpu"), load_classifier(device="cpu")
    info = probe(path)
    index = np.arange(min(info.n_frames, 64))

    def decode() -> list[Any]:
        return list(read_frames_at(info, index, batch_size=len(index)))

    (frames,) = decode()
    thumbnails = frame_thumbnail(frames.pixels)

    def detect(every_s: float) -> Any:
        plan = KeyFramePlan(every_s, float(frames.pts_s[0]))
        return detect_frames(detector, plan, None, frames, thumbnails, is_end=True)[0][0].faces

    faces = detect(0)
    pixels, frame = torch.from_numpy(frames.pixels), torch.from_numpy(faces.frame)
    boxes, landmarks = torch.from_numpy(faces.boxes_xyxy), torch.from_numpy(faces.landmarks_xy)

    @torch.inference_mode()
    def crop() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        side, center = frame_crops(boxes, landmarks)
        crops = crop_faces(pixels, frame, side, center)
        measure_crops(crops)
        appearance_descriptors(pixels, frame, side, center, crops)
        return side, center, crops

    stages: dict[str, Callable[[], object]] = {"decode": decode, "detect, every frame": lambda: detect(0)}
    stages["detect, close-ups"] = lambda: detect(DETECT_EVERY_S)
    if len(faces):
        side, center, crops = crop()
        detected = DetectedInFrames(pixels, frame, boxes)
        landmarker = Landmarker.load(torch.device("cpu"))
        stages |= {
            "crop and appearance": crop,
            "classify": lambda: classifier.predict(crops),
            "landmarks and turning": lambda: turn_upright(detected, side, center, crops, landmarker),
        }
    return {name: _cpu_ms(work) / len(index) for name, work in stages.items()} | {"faces": len(faces) / len(index)}


def _cpu_ms(work: Callable[[], object], repeats: int = 3) -> float:
    best_s = float("inf")
    for _ in range(repeats):
        started_s = time.process_time()
        work()
        best_s = min(best_s, time.process_time() - started_s)
    return best_s * 1000


if __name__ == "__main__":
    # Import the packages of the checkout, not those beside this file.
    beside = str(Path(__file__).resolve().parent)
    sys.path[:] = [os.environ["PYTHONPATH"], *(entry for entry in sys.path if entry != beside)]
    what, clip, *rest = sys.argv[1:]
    found = measure_stages(Path(clip)) if what == "stages" else measure_analysis(Path(clip), int(rest[0]))
    print(json.dumps(found))
