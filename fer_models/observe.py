"""Pass 1: from the frames of a video to what each face in them looks like; stateless from frame to frame."""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from fer_models.classification.classifier import EmotionClassifier
from fer_models.crops import (
    SIGNATURE_BYTES,
    appearance_descriptors,
    crop_faces,
    frame_crops,
    measure_crops,
    out_of_frame_fraction,
)
from fer_models.detection import FaceDetector
from fer_models.frame_batch import FaceBatch, FrameBatch
from fer_models.labels import EMOTIONS
from fer_models.oom import run_with_oom_backoff
from fer_models.prefetch import STALLED_S, StallTimeout, prefetch
from fer_models.video import VideoInfo, VideoReadError, read_frames_at

log = logging.getLogger(__name__)


# A batch takes at most this much memory; four of them are alive at a time. Large frames may take more, up to 8 frames.
MAX_BATCH_BYTES = 64 * 2**20
MAX_LARGE_BATCH_BYTES = 256 * 2**20
MIN_BATCH_FRAMES = 8
LOOK_GRID = 4
LOOK_SAMPLES = 64  # pixels looked at along the short side of a frame
CLASSIFY_CROPS = 256  # crops are gathered over batches: most batches hold fewer than the classifier takes at once


@dataclass
class StageTimes:
    """Seconds spent waiting for each stage; decoding runs beside the others, so only its delay counts."""

    decode_wait_s: float = 0.0
    detect_s: float = 0.0
    crop_s: float = 0.0
    classify_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Observation:
    """What was seen in the n planned frames of one segment, with m faces in them."""

    frame_index: np.ndarray  # (n,) int64
    pts_s: np.ndarray  # (n,) float64
    decoded: np.ndarray  # (n,) bool, False where the decoder gave no picture
    look: np.ndarray  # (n, 48) uint8, see `frame_look`; zeros where not decoded
    faces: FaceBatch  # `frame` is the position among the n frames
    probabilities: np.ndarray  # (m, 7) float32
    blur: np.ndarray  # (m,) float32, variance of the Laplacian of the gray crop
    brightness: np.ndarray  # (m,) float32, mean gray level of the crop, 0 to 255
    cut_off: np.ndarray  # (m,) float32, share of the crop outside the frame
    signature: np.ndarray  # (m, 60) uint8, see `appearance_descriptors`


@dataclass(eq=False)
class _SegmentInProgress:
    """What has been seen so far in one segment; crops wait here until there are enough for the classifier."""

    frame_index: np.ndarray
    decoded: np.ndarray
    look: np.ndarray
    faces: list[FaceBatch] = field(default_factory=list)
    measures: list[np.ndarray] = field(default_factory=list)
    signatures: list[np.ndarray] = field(default_factory=list)
    probabilities: list[np.ndarray] = field(default_factory=list)
    crops: list[torch.Tensor] = field(default_factory=list)

    @classmethod
    def of(cls, frame_index: np.ndarray) -> "_SegmentInProgress":
        """A segment of which nothing has been seen yet."""
        n = len(frame_index)
        return cls(frame_index, np.zeros(n, bool), np.zeros((n, LOOK_GRID**2 * 3), np.uint8))

    def classify(self, classifier: EmotionClassifier, times: StageTimes) -> None:
        """Turn the waiting crops into probabilities."""
        started_s = time.perf_counter()
        if self.crops:
            self.probabilities.append(classifier.predict(torch.cat(self.crops)))
            self.crops.clear()
        times.classify_s += time.perf_counter() - started_s

    def finish(self, pts_s: np.ndarray) -> Observation:
        """Everything seen, as one."""
        faces = [FaceBatch.empty(), *self.faces]
        fields = (f.name for f in dataclasses.fields(FaceBatch))
        blur, brightness, cut_off = np.concatenate([np.empty((0, 3), np.float32), *self.measures]).T
        return Observation(
            self.frame_index,
            pts_s,
            self.decoded,
            self.look,
            FaceBatch(*(np.concatenate([getattr(batch, name) for batch in faces]) for name in fields)),
            np.concatenate([np.empty((0, len(EMOTIONS)), np.float32), *self.probabilities]),
            blur,
            brightness,
            cut_off,
            np.concatenate([np.empty((0, SIGNATURE_BYTES), np.uint8), *self.signatures]),
        )


def observe_segments(
    info: VideoInfo,
    segments: list[np.ndarray],
    *,
    detector: FaceDetector,
    classifier: EmotionClassifier,
    min_face_px: float = 12.0,
    batch_size: int = 32,
    timeout_s: float = STALLED_S,
    on_frames: Callable[[int], None] = lambda n_frames: None,
    times: StageTimes | None = None,
) -> Generator[Observation, None, None]:
    """See what is in the planned frames, one `Observation` for each segment as soon as it is complete.

    The video is read straight through: segments only say where to cut, and change no number.

    Args:
        info: from `probe`.
        segments: the indices of the frames to look at, rising within and across segments.
        detector: finds faces.
        classifier: reads emotions.
        min_face_px: faces whose box has a smaller geometric mean side are dropped.
        batch_size: at most this many frames at a time; large frames come in smaller batches, and so do those for which
            memory runs out.
        timeout_s: how long decoding may give no sign of life.
        on_frames: called with the number of frames just seen.
        times: where to add up the time per stage.

    Raises:
        VideoReadError: if the file cannot be opened any more, or decoding comes to a stand.
    """
    times = times or StageTimes()
    plan = np.concatenate([np.empty(0, np.int64), *segments])
    frame_bytes = info.width_px * info.height_px * 3
    least = min(MIN_BATCH_FRAMES, MAX_LARGE_BATCH_BYTES // frame_bytes)
    batch_size = min(batch_size, max(1, least, MAX_BATCH_BYTES // frame_bytes))
    last_frames = [segment[-1] for segment in segments]
    frames = _decode_prefetched(info, read_frames_at(info, plan, batch_size=batch_size), timeout_s)

    def take_fewer(n_frames: int) -> None:
        nonlocal batch_size
        batch_size = n_frames
        log.warning("%s: out of memory: goes on with %d frames at a time", info.path, n_frames)

    with contextlib.closing(frames), contextlib.closing(_split_at_segments(frames, last_frames, times)) as batches:
        batch = next(batches, None)
        for frame_index in segments:
            segment = _SegmentInProgress.of(frame_index)
            while batch is not None and batch.frame_index[0] <= frame_index[-1]:
                look = partial(_process_frames, segment, batch, detector, classifier, min_face_px, times)
                run_with_oom_backoff(len(batch), batch_size, look, take_fewer)
                if sum(map(len, segment.crops)) >= CLASSIFY_CROPS:
                    segment.classify(classifier, times)
                on_frames(len(batch))
                batch = next(batches, None)
            segment.classify(classifier, times)
            if n_missing := int((~segment.decoded).sum()):
                on_frames(n_missing)
            yield segment.finish(info.pts_s[frame_index])


def observe_frames(
    frames: FrameBatch, *, detector: FaceDetector, classifier: EmotionClassifier, min_face_px: float = 12.0
) -> Observation:
    """See what is in these frames, all of them; the same numbers as `observe_segments` has for them."""
    segment, times = _SegmentInProgress.of(frames.frame_index), StageTimes()
    _process_frames(segment, frames, detector, classifier, min_face_px, times, slice(None), len(frames))
    segment.classify(classifier, times)
    return segment.finish(frames.pts_s)


@torch.inference_mode()
def _process_frames(
    segment: _SegmentInProgress,
    batch: FrameBatch,
    detector: FaceDetector,
    classifier: EmotionClassifier,
    min_face_px: float,
    times: StageTimes,
    part: slice,
    n_frames: int,
) -> None:
    """Detect and crop the faces in a part of a batch; the segment has all of them afterwards or, on an error, none."""
    frames = _part_of(batch, part)
    place = np.searchsorted(segment.frame_index, frames.frame_index)
    segment.decoded[place] = True
    segment.look[place] = frame_thumbnail(frames.pixels)
    started_s = time.perf_counter()
    faces = detector.detect(frames.pixels)
    sides_px = faces.boxes_xyxy[:, 2:] - faces.boxes_xyxy[:, :2]
    faces = faces.select(np.sqrt(np.maximum(sides_px.prod(axis=1), 0)) >= min_face_px)
    detected_s = time.perf_counter()
    times.detect_s += detected_s - started_s
    if not len(faces):
        return
    pixels, frame, boxes_xyxy, landmarks_xy = (
        torch.from_numpy(array).to(classifier.device)
        for array in (frames.pixels, faces.frame, faces.boxes_xyxy, faces.landmarks_xy)
    )
    height_px, width_px = pixels.shape[1:3]
    side, center = frame_crops(boxes_xyxy, landmarks_xy)
    crops = crop_faces(pixels, frame, side, center, size_px=classifier.size_px)
    measures = (*measure_crops(crops), out_of_frame_fraction(side, center, width_px, height_px))
    measured = torch.stack(measures, dim=1).cpu().numpy()
    signatures = appearance_descriptors(pixels, frame, side, center, crops).cpu().numpy()
    segment.measures.append(measured)
    segment.signatures.append(signatures)
    segment.faces.append(dataclasses.replace(faces, frame=place[faces.frame]))
    segment.crops.append(crops)
    times.crop_s += time.perf_counter() - detected_s


def _part_of(batch: FrameBatch, part: slice) -> FrameBatch:
    return FrameBatch(batch.pixels[part], batch.frame_index[part], batch.pts_s[part])


def frame_thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Mean red, green, blue of the cells of a 4x4 grid: tells a cut from a movement, and shows nobody.

    Args:
        pixels: (n, h, w, 3) uint8.

    Returns:
        (n, 48) uint8, the cells row by row.
    """
    step = max(1, min(pixels.shape[1:3]) // LOOK_SAMPLES)
    few = pixels[:, ::step, ::step].astype(np.float32)
    rows, columns = (np.arange(LOOK_GRID) * size // LOOK_GRID for size in few.shape[1:3])
    sums = np.add.reduceat(np.add.reduceat(few, rows, axis=1), columns, axis=2)
    heights, widths = np.diff(rows, append=few.shape[1]), np.diff(columns, append=few.shape[2])
    cells: np.ndarray = sums / np.maximum(heights[:, None] * widths, 1)[..., None]
    return cells.round().astype(np.uint8).reshape(len(pixels), -1)


def _split_at_segments(
    batches: Iterator[FrameBatch], last_frames: list[int], times: StageTimes
) -> Generator[FrameBatch, None, None]:
    """Batches cut where a segment ends; `last_frames` holds each segment's last frame index."""
    while True:
        started_s = time.perf_counter()
        batch = next(batches, None)
        times.decode_wait_s += time.perf_counter() - started_s
        if batch is None:
            return
        segment = np.searchsorted(last_frames, batch.frame_index)
        for value in np.unique(segment):
            yield _part_of(batch, slice(*np.searchsorted(segment, [value, value + 1])))


def _decode_prefetched(
    info: VideoInfo, batches: Iterator[FrameBatch], timeout_s: float
) -> Generator[FrameBatch, None, None]:
    """The same batches, decoded in another thread while the last one is being worked on."""
    seen_s = None
    with contextlib.closing(prefetch(batches, timeout_s)) as ahead:
        try:
            for batch in ahead:
                yield batch
                seen_s = float(batch.pts_s[-1])
        except StallTimeout as error:
            place = "before the first picture" if seen_s is None else f"behind {seen_s:.2f} s"
            part = "" if seen_s is None else f"give --end {seen_s:.2f} to analyze what comes before, or "
            reason = f"decoding stood still for {timeout_s:g} s {place}: check the disk or the network share it is on, "
            raise VideoReadError(info.path, f"{reason}{part}allow it more with FERVID_DECODE_TIMEOUT_S") from error
