"""Phase A of the CUDA kit: check the correctness of the device, and measure its speed. Started by `run.sh`."""

import argparse
import os
import platform
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.cuda import checks, speed
from benchmarks.cuda.gpu import GpuMonitor, device_name
from benchmarks.cuda.report import Clock, Report
from benchmarks.tables import Row
from fer_models import load_detector
from fer_models.classification.loading import load_classifier
from fer_models.detection.compact import CompactDetector
from fer_models.device import choose_device
from fer_models.video import VideoInfo, probe, read_frames_at

HEIGHTS_PX = (360, 720, 1080)
N_CHECKED = 16  # number of frames of each clip that are compared
N_STAGES = 64  # number of frames of each clip with which the stages are timed
# Duration of the phase for which the durations below are planned; in a shorter phase, they are reduced in proportion.
PLANNED_S = 120.0
# Seconds of each measurement of a stage, of a chunk size and of the whole pipeline.
STAGE_S, CHUNK_S, PIPELINE_S = 0.8, 0.5, 4.0


def describe_machine(device: torch.device) -> list[Row]:
    """Describe the machine on which the figures are measured."""
    rows: list[Row] = [
        {"what": "device", "value": device_name(device)},
        {"what": "torch", "value": torch.__version__},
        {"what": "CUDA", "value": torch.version.cuda or ""},
        {"what": "Python", "value": platform.python_version()},
        {"what": "CPU cores", "value": os.cpu_count()},
    ]
    if device.type == "cuda":
        gib = torch.cuda.get_device_properties(device).total_memory / 2**30
        rows.append({"what": "GPU memory", "value": f"{gib:.0f} GiB"})
    return rows


def read_pixels(infos: dict[str, VideoInfo], n_frames: int) -> dict[str, np.ndarray]:
    """The first frames (n, h, w, 3) of each clip."""
    pixels = {}
    for clip, info in infos.items():
        index = np.arange(min(n_frames, info.n_frames))
        pixels[clip] = np.concatenate([batch.pixels for batch in read_frames_at(info, index, batch_size=32)])
    return pixels


def run(pack: Path, report: Report, device: torch.device, n_frames: int, clock: Clock, *, quick: bool) -> None:
    """Fill the report: correctness first, then the speed of the whole pipeline, then that of its stages."""
    report.add("Machine", lambda: describe_machine(device))
    infos = {f"{height_px}p": probe(pack / f"{height_px}p.mp4") for height_px in HEIGHTS_PX}
    checked = read_pixels(infos, min(n_frames, N_CHECKED))
    report.add("Detector against the CPU", lambda: checks.check_detector(checked, device))
    report.add("Crops against the CPU", lambda: checks.check_crops(checked, device))
    report.add("Classifier against the CPU", lambda: checks.check_classifier(checked, device))
    report.add("Landmarks against the CPU", lambda: checks.check_landmarks(checked, device))
    report.add("Turned crops against the CPU", lambda: checks.check_turned_crops(checked, device))
    report.add("Batch sizes", lambda: checks.check_batch_sizes(infos["360p"], min(n_frames, N_STAGES), device))
    report.add("Out of memory", lambda: checks.check_little_memory(checked["360p"], device))
    report.add("RetinaFace's network against the CPU", lambda: checks.check_retinaface(device))

    unit = 0.0 if quick else min(1.0, max(clock.left_s(), 0.0) / PLANNED_S)
    detector, classifier = load_detector("compact", device.type), load_classifier("default", device.type)
    assert isinstance(detector, CompactDetector)
    timed = read_pixels(infos, min(n_frames, N_STAGES))
    with GpuMonitor(device) as monitor:
        report.add(
            "Whole pipeline",
            lambda: speed.measure_pipeline(
                infos, detector, classifier, monitor, n_frames=n_frames, seconds=PIPELINE_S * unit, clock=clock
            ),
        )
    for clip, info in infos.items():
        if not clock.is_over():
            measure = partial(speed.measure_stages, info, timed[clip], detector, classifier, STAGE_S * unit)
            report.add(f"Stages alone, {clip}", measure)
    seconds = CHUNK_S * unit
    report.add("Detector by batch", lambda: speed.measure_detector_chunks(timed, detector, seconds, clock))
    crops = checks.cut_faces(timed["360p"], detector.detect(timed["360p"]), device)
    report.add("Classifier by batch", lambda: speed.measure_classifier_chunks(crops, classifier, seconds, clock))
    report.add("RetinaFace's network by batch", lambda: speed.measure_retinaface(device, seconds, clock))


def main(arguments: list[str] | None = None) -> None:
    """Run the phase; exit code 1 if a check did not pass or a measurement failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", type=Path, required=True, help="folder made by benchmarks.cuda.pack")
    parser.add_argument("--out", type=Path, required=True, help="folder for phase_a.json")
    parser.add_argument("--until", type=float, required=True, help="when to be done, in Unix time")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--frames", type=int, default=256, help="most frames of each clip")
    parser.add_argument("--quick", action="store_true", help="measure once: for a rehearsal")
    given = parser.parse_args(arguments)
    report = Report(given.out / "phase_a.json")
    run(given.pack, report, choose_device(given.device), given.frames, Clock(given.until), quick=given.quick)
    if failures := report.failures():
        sys.exit(f"not passed: {', '.join(failures)}")


if __name__ == "__main__":
    main()
