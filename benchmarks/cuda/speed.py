"""Measure how fast a device is: each stage alone, at several batch sizes, and the whole pipeline."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cuda.checks import RANDOM_RETINAFACE, cut_faces, random_retinaface_weights
from benchmarks.cuda.gpu import GpuMonitor, synchronize
from benchmarks.cuda.report import Clock
from benchmarks.tables import Row
from fer_models import observe
from fer_models.classification.classifier import EmotionClassifier
from fer_models.crops import crop_faces, frame_crops
from fer_models.detection.compact import CompactDetector
from fer_models.detection.retinaface import RetinaFaceDetector
from fer_models.detection.retinaface_network import is_package_installed
from fer_models.landmarks.landmarker import Landmarker
from fer_models.video import VideoInfo, read_frames_at

DETECTOR_CHUNKS = {"cuda": (8, 16, 32, 64, 128), "cpu": (1, 2)}  # numbers of frames per forward pass
CLASSIFIER_CHUNKS = {"cuda": (256, 1024, 4096, 16384), "cpu": (32, 128)}  # numbers of crops per forward pass
RETINAFACE_CHUNKS = {"cuda": (4, 16, 64), "cpu": (1,)}
RETINAFACE_PX = {"cuda": (540, 960), "cpu": (96, 128)}
VIDEOS_AT_ONCE = {"cuda": (1, 8), "cpu": (1, 2)}
# Time of each stage as shares of a video's time, by the fields of `StageTimes`. Stages overlap, so that the sum may
# exceed 100 %.
TIME_SHARES = {
    "decoding %": "decode_wait_s",
    "detect %": "detect_s",
    "crop %": "crop_s",
    "classify %": "classify_s",
    "landmarks %": "landmarks_s",
}
# Number of frames in a large batch of the pipeline, and in a chunk of the detector.
LARGE_BATCH = {"cuda": 64, "cpu": 4}


def per_second(n_items: int, work: Callable[[], object], seconds: float, device: torch.device) -> float:
    """Items per second of `work`, which handles `n_items`; it is repeated for `seconds` after a warm-up."""
    work()
    synchronize(device)
    started_s = time.perf_counter()
    runs = 0
    while not runs or time.perf_counter() - started_s < seconds:
        work()
        synchronize(device)
        runs += 1
    return runs * n_items / (time.perf_counter() - started_s)


def measure_stages(
    info: VideoInfo, pixels: np.ndarray, detector: CompactDetector, classifier: EmotionClassifier, seconds: float
) -> list[Row]:
    """Time each stage of the pipeline alone, on the frames (n, h, w, 3) of one video.

    The stages overlap: "detect" includes "copy" and "detector's network", besides resizing and suppression; the
    pipeline copies frames a second time before it crops faces.
    """
    device, n = detector.device, len(pixels)
    faces = detector.detect(pixels)
    arrays = (pixels, faces.frame, faces.boxes_xyxy, faces.landmarks_xy)
    frames, frame, boxes_xyxy, landmarks_xy = (torch.from_numpy(array).to(device) for array in arrays)
    crops = cut_faces(pixels, faces, device)
    landmarker = Landmarker.load(device)
    chunk = pixels[: detector.chunk_frames]
    network_input = input_of(detector.network, lambda: detector.detect(chunk))
    stages: dict[str, tuple[int, Callable[[], object]]] = {
        "decode (CPU)": (n, lambda: list(read_frames_at(info, np.arange(n), batch_size=32))),
        "copy": (n, lambda: torch.from_numpy(pixels).to(device)),
        "detector's network": (len(chunk), torch.inference_mode()(lambda: detector.network(network_input))),
        "detect": (n, lambda: detector.detect(pixels)),
        "crop": (n, lambda: crop_faces(frames, frame, *frame_crops(boxes_xyxy, landmarks_xy))),
        "classify": (n, lambda: classifier.predict(crops)),
        "landmarks": (n, lambda: landmarker.predict(crops)),
    }
    if device.type == "cuda":
        pinned = torch.from_numpy(pixels).pin_memory()
        stages["copy from pinned memory"] = (n, lambda: pinned.to(device, non_blocking=True))
    rates = {stage: per_second(n_items, work, seconds, device) for stage, (n_items, work) in stages.items()}
    size = f"{info.width_px}x{info.height_px}"
    return [
        {"size": size, "stage": stage, "frames/s": rate, "ms per frame": 1000 / rate, "faces per frame": len(faces) / n}
        for stage, rate in rates.items()
    ]


def input_of(network: nn.Module, work: Callable[[], object]) -> Tensor:
    """The last input that a network receives during `work`."""
    seen: list[Tensor] = []
    hook = network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        work()
    finally:
        hook.remove()
    return seen[-1]


def measure_detector_chunks(
    frames: dict[str, np.ndarray], detector: CompactDetector, seconds: float, clock: Clock
) -> list[Row]:
    """Frames per second of the detector at several chunk sizes; the best of each frame size is marked."""
    sizes = DETECTOR_CHUNKS[detector.device.type]
    rows = []
    for clip, pixels in frames.items():
        rates = {}
        for size in sizes:
            if clock.is_over():
                break
            many = np.resize(pixels, (size, *pixels.shape[1:]))
            with chunk_of(detector, size):
                rates[size] = per_second(size, partial(detector.detect, many), seconds, detector.device)
        rows += marked_rows({"clip": clip}, "frames at a time", "frames/s", rates, sizes)
    return rows


def measure_classifier_chunks(crops: Tensor, classifier: EmotionClassifier, seconds: float, clock: Clock) -> list[Row]:
    """Faces per second of the classifier at several chunk sizes."""
    rates, before = {}, classifier.chunk_crops
    sizes = CLASSIFIER_CHUNKS[classifier.device.type]
    for size in sizes:
        if clock.is_over():
            break
        many = crops.repeat(-(-size // len(crops)), 1, 1, 1)[:size]
        classifier.chunk_crops = size
        rates[size] = per_second(size, partial(classifier.predict, many), seconds, classifier.device)
    classifier.chunk_crops = before
    return marked_rows({}, "faces at a time", "faces/s", rates, sizes)


def measure_retinaface(device: torch.device, seconds: float, clock: Clock) -> list[Row]:
    """Frames per second of RetinaFace's network alone, with random weights, in the device's default precision."""
    if not is_package_installed():
        return [{"frames at a time": "not run: the package retina-face is missing"}]
    detector = RetinaFaceDetector(random_retinaface_weights(), RANDOM_RETINAFACE, device=device)
    rates, sizes = {}, RETINAFACE_CHUNKS[device.type]
    for size in sizes:
        if clock.is_over():
            break
        pixels = torch.rand((size, *RETINAFACE_PX[device.type], 3), device=device) * 255

        @torch.inference_mode()
        def run(pixels: Tensor = pixels) -> None:
            with torch.autocast(device.type, detector.dtype, enabled=detector.dtype != torch.float32):
                detector.network(pixels)

        rates[size] = per_second(size, run, seconds, device)
    height_px, width_px = RETINAFACE_PX[device.type]
    return marked_rows({"size": f"{width_px}x{height_px}"}, "frames at a time", "frames/s", rates, sizes)


def marked_rows(first: Row, by: str, unit: str, rates: dict[int, float], sizes: Sequence[int]) -> list[Row]:
    """Make a row for each rate; the highest is marked as the best. A last row says if not all sizes were measured."""
    best = max(rates, key=lambda size: rates[size], default=0)
    rows: list[Row] = [{**first, by: size, unit: rate, "best": size == best} for size, rate in rates.items()]
    if len(rates) < len(sizes):
        rows.append({**first, by: "not run: time is over"})
    return rows


@contextlib.contextmanager
def chunk_of(detector: CompactDetector, size: int) -> Iterator[None]:
    """Let a detector process `size` frames per forward pass within the block."""
    before, detector.chunk_frames = detector.chunk_frames, size
    try:
        yield
    finally:
        detector.chunk_frames = before


@contextlib.contextmanager
def large_batches(detector: CompactDetector, size: int) -> Iterator[None]:
    """Let the pipeline process batches of `size` frames within the block, however large the frames are."""
    before, observe.MAX_BATCH_BYTES = observe.MAX_BATCH_BYTES, 2**40
    try:
        with chunk_of(detector, size):
            yield
    finally:
        observe.MAX_BATCH_BYTES = before


def measure_pipeline(
    infos: dict[str, VideoInfo],
    detector: CompactDetector,
    classifier: EmotionClassifier,
    monitor: GpuMonitor,
    *,
    n_frames: int,
    seconds: float,
    clock: Clock,
) -> list[Row]:
    """Frames per second from file to probabilities, at the default batch size and at a large one."""
    large = LARGE_BATCH[detector.device.type]
    rows: list[Row] = []
    for clip, info in infos.items():
        for batches, mode, size in (
            ("usual", contextlib.nullcontext(), 32),
            (f"of {large}", large_batches(detector, large), large),
        ):
            with mode:
                work = partial_pass(info, n_frames, detector, classifier, size)
                for n_videos in VIDEOS_AT_ONCE[detector.device.type]:
                    if clock.is_over():
                        return [*rows, {"clip": clip, "batches": "not run: time is over"}]
                    # The first pass also loads files and chooses GPU kernels, in each thread, so it is not counted.
                    run_videos(work, n_videos, 0, monitor)
                    figures = run_videos(work, n_videos, seconds, monitor)
                    rows.append({"clip": clip, "batches": batches, "videos at once": n_videos, **figures})
    return rows


def partial_pass(
    info: VideoInfo, n_frames: int, detector: CompactDetector, classifier: EmotionClassifier, batch_size: int
) -> Callable[[observe.StageTimes], int]:
    """Make a function that observes the first frames of a video and returns their number."""
    index = np.arange(min(n_frames, info.n_frames))
    landmarker = Landmarker.load(detector.device)

    def work(times: observe.StageTimes) -> int:
        models: dict[str, Any] = {"detector": detector, "classifier": classifier, "landmarker": landmarker}
        options = observe.ObserveOptions(batch_size=batch_size)
        for _ in observe.observe_segments(info, [index], **models, options=options, times=times):
            pass
        return len(index)

    return work


def run_videos(
    work: Callable[[observe.StageTimes], int], n_videos: int, seconds: float, monitor: GpuMonitor
) -> dict[str, float | None]:
    """Repeat `work` in a thread per video; return frames per second, shares of time and GPU utilization."""
    started_s = time.monotonic()

    def repeat(times: observe.StageTimes) -> int:
        n = work(times)
        while time.monotonic() - started_s < seconds:
            n += work(times)
        return n

    all_times = [observe.StageTimes() for _ in range(n_videos)]
    with ThreadPoolExecutor(n_videos) as threads:
        n_frames = sum(threads.map(repeat, all_times))
    elapsed_s = time.monotonic() - started_s
    total_s = elapsed_s * n_videos
    stages = {
        label: 100 * sum(getattr(times, name) for times in all_times) / total_s for label, name in TIME_SHARES.items()
    }
    return {"frames/s": n_frames / elapsed_s, **stages, **monitor.since(started_s)}
