"""Pass 1: detect, crop and classify the faces in the frames of a video.

What is found in a frame depends on the frames from the key frame before it to the next one (see
`fer_models.detection.key_frames`), never on the size of batches.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from fer_models.boxes import face_size_px
from fer_models.classification.classifier import N_FURTHER, EmotionClassifier
from fer_models.crop_stage import CroppedFaces, crop_in_groups
from fer_models.crops import APPEARANCE_BYTES
from fer_models.detection.key_frames import DetectedFrames, KeyFramePlan, WaitingFrames, detect_frames
from fer_models.detection.protocol import FaceDetector
from fer_models.frame_batch import FaceBatch, FaceLandmarks, FrameBatch
from fer_models.labels import EMOTIONS
from fer_models.landmarks.in_frame import landmarks_in_frame
from fer_models.landmarks.landmarker import LandmarkBatch, Landmarker
from fer_models.observation import Observation
from fer_models.oom import run_with_oom_backoff
from fer_models.prefetch import STALLED_S, StallTimeout, prefetch
from fer_models.threads import run_stage
from fer_models.thumbnails import THUMBNAIL_GRID, frame_thumbnail
from fer_models.video import VideoInfo, VideoReadError, read_frames_at

log = logging.getLogger(__name__)

# Memory limit of a batch of frames; up to six batches exist at a time. Batches of large frames hold up to 8 frames
# even if these take more, up to the second limit.
MAX_BATCH_BYTES = 64 * 2**20
MAX_LARGE_BATCH_BYTES = 256 * 2**20
MIN_BATCH_FRAMES = 8
# At least this many crops are collected before they are classified: most batches hold fewer than the classifier takes.
CLASSIFY_CROPS = 256
DETECT_EVERY_S = 0.2


@dataclass
class StageTimes:
    """Seconds spent in each stage.

    Decoding runs in parallel, so that only the time waiting for it counts. Cropping, classifying and locating landmarks
    run in parallel with detecting.
    """

    decode_wait_s: float = 0.0
    detect_s: float = 0.0
    crop_s: float = 0.0
    classify_s: float = 0.0
    landmarks_s: float = 0.0


@dataclass(frozen=True)
class ObserveOptions:
    """Options of pass 1."""

    min_face_px: float = 12.0  # faces whose box has a smaller geometric mean of width and height are dropped
    # Seconds between key frames, on which faces are detected in full; 0 makes every frame a key frame.
    detect_every_s: float = DETECT_EVERY_S
    batch_size: int = 32  # maximum number of frames per batch; fewer if frames are large or memory runs out
    keep_landmarks: bool = False  # keep the landmarks themselves, not only what is measured on them
    timeout_s: float = STALLED_S  # decoding is abandoned after this many seconds without progress


DEFAULT_OPTIONS = ObserveOptions()


@dataclass(eq=False)
class _SegmentInProgress:
    """The results of one segment so far; crops are collected until there are enough for the classifier."""

    frame_index: np.ndarray
    decoded: np.ndarray
    is_full: np.ndarray
    thumbnail_rgb: np.ndarray
    waiting: WaitingFrames | None = None
    cropping: Future[list[CroppedFaces]] | None = None  # the faces of the last frames, not yet in the lists below
    faces: list[FaceBatch] = field(default_factory=list)
    measures: list[np.ndarray] = field(default_factory=list)
    appearances: list[np.ndarray] = field(default_factory=list)
    landmarks: list[LandmarkBatch] = field(default_factory=list)
    outputs: list[Future[np.ndarray]] = field(default_factory=list)  # (…, 10) each, see `EmotionClassifier.predict_all`
    crops: list[torch.Tensor] = field(default_factory=list)
    crop_sides: list[np.ndarray] = field(default_factory=list)  # (…, 2) complex128 each, see `CroppedFaces`

    @classmethod
    def of(cls, frame_index: np.ndarray) -> "_SegmentInProgress":
        """A segment of which no frame has been processed yet."""
        n = len(frame_index)
        return cls(frame_index, np.zeros(n, bool), np.zeros(n, bool), np.zeros((n, THUMBNAIL_GRID**2 * 3), np.uint8))

    def collect_crops(self) -> None:
        """Wait until the faces of the last frames are cropped, and add them."""
        if self.cropping is None:
            return
        for group in self.cropping.result():
            self.faces.append(group.faces)
            self.measures.append(group.measures)
            self.appearances.append(group.appearances)
            self.crops.append(group.crops)
            self.crop_sides.append(group.crop_sides)
            if group.landmarks is not None:
                self.landmarks.append(group.landmarks)
        self.cropping = None

    def classify(self, stages: "_Stages", *, is_end: bool = False) -> None:
        """Start to classify collected crops, after those collected before.

        Before the end of the segment, only as many as the classifier computes without padding.
        """
        chunk = stages.classifier.chunk_crops
        n_collected = sum(map(len, self.crops))
        n_ready = n_collected if is_end else n_collected // chunk * chunk
        if n_ready < (1 if is_end else CLASSIFY_CROPS):
            return
        if self.outputs:
            self.outputs[-1].result()  # at most one group waits, so that memory stays bounded
        crops, self.crops = _split(self.crops, n_ready)
        self.outputs.append(run_stage(_classify, crops, stages))

    def finish(self, pts_s: np.ndarray, stages: "_Stages") -> Observation:
        """Combine the results of all batches."""
        faces = [FaceBatch.empty(), *self.faces]
        fields = (f.name for f in dataclasses.fields(FaceBatch))
        no_outputs = np.empty((0, len(EMOTIONS) + N_FURTHER), np.float32)
        outputs = np.concatenate([no_outputs, *(group.result() for group in self.outputs)])
        blur, brightness, cut_off = np.concatenate([np.empty((0, 3), np.float32), *self.measures]).T
        return Observation(
            frame_index=self.frame_index,
            pts_s=pts_s,
            decoded=self.decoded,
            thumbnail_rgb=self.thumbnail_rgb,
            faces=FaceBatch(*(np.concatenate([getattr(batch, name) for batch in faces]) for name in fields)),
            probabilities=outputs[:, : len(EMOTIONS)],
            blur=blur,
            brightness=brightness,
            cut_off=cut_off,
            is_full=self.is_full,
            appearance=np.concatenate([np.empty((0, APPEARANCE_BYTES), np.uint8), *self.appearances]),
            further=outputs[:, len(EMOTIONS) :],
            landmarks=None if stages.landmarker is None else self._landmarks(keep_points=stages.keep_landmarks),
        )

    def _landmarks(self, *, keep_points: bool) -> FaceLandmarks:
        batch = LandmarkBatch.join(self.landmarks)
        side, center = np.concatenate([np.empty((0, 2), np.complex128), *self.crop_sides]).T
        return landmarks_in_frame(batch.points_xy, batch.score, batch.pose_deg, side, center, keep_points=keep_points)


@dataclass(frozen=True, eq=False)
class _Stages:
    """The stages of pass 1, and their settings."""

    detector: FaceDetector
    classifier: EmotionClassifier
    min_face_px: float
    key_frames: KeyFramePlan
    times: StageTimes
    landmarker: Landmarker | None
    keep_landmarks: bool


# Each network is an argument of its own, because benchmarks/throughput.py also calls older versions, which lack some.
def observe_segments(  # noqa: PLR0913
    info: VideoInfo,
    segments: list[np.ndarray],
    *,
    detector: FaceDetector,
    classifier: EmotionClassifier,
    landmarker: Landmarker | None = None,
    options: ObserveOptions = DEFAULT_OPTIONS,
    on_frames: Callable[[int], None] = lambda n_frames: None,
    times: StageTimes | None = None,
) -> Generator[Observation, None, None]:
    """Observe the sampled frames of a video, and yield each segment as soon as it is complete.

    The video is read once from start to end. A segment begins and ends with a key frame; apart from that, segments
    change no result.

    Args:
        info: from `probe`.
        segments: indices of the sampled frames, ascending within and across segments.
        detector: finds faces.
        classifier: reads emotions.
        landmarker: locates landmarks; None: they stay unknown.
        options: which faces are kept, where key frames are, and how much is processed at once.
        on_frames: called with the number of frames just processed.
        times: accumulates the time of each stage.

    Raises:
        VideoReadError: if the file can no longer be opened, or decoding stalls.
    """
    times = times or StageTimes()
    plan = np.concatenate([np.empty(0, np.int64), *segments])
    most = max_batch_frames(info)
    key_frames = KeyFramePlan(options.detect_every_s, float(info.pts_s[0]), max_between=most)
    networks = landmarker, options.keep_landmarks
    stages = _Stages(detector, classifier, options.min_face_px, key_frames, times, *networks)
    batch_size = min(options.batch_size, most)
    last_frames = [segment[-1] for segment in segments]
    frames = _decode_prefetched(info, read_frames_at(info, plan, batch_size=batch_size), options.timeout_s)

    def use_smaller_batches(n_frames: int) -> None:
        nonlocal batch_size
        batch_size = n_frames
        log.warning("%s: out of memory, continuing with %d frames at a time", info.path, n_frames)

    with contextlib.closing(frames), contextlib.closing(_split_at_segments(frames, last_frames, times)) as batches:
        batch = next(batches, None)
        for frame_index in segments:
            segment = _SegmentInProgress.of(frame_index)
            while batch is not None and batch.frame_index[0] <= frame_index[-1]:
                work = partial(_process_part, segment, batch, stages)
                run_with_oom_backoff(len(batch), batch_size, work, use_smaller_batches)
                segment.classify(stages)
                on_frames(len(batch))
                batch = next(batches, None)
            # The last frames of the segment could not be decoded.
            if segment.waiting is not None and len(segment.waiting.frames):
                _find_faces(segment, segment.waiting.frames.part(slice(0, 0)), stages, is_end=True)
            segment.collect_crops()
            segment.classify(stages, is_end=True)
            if n_missing := int((~segment.decoded).sum()):
                on_frames(n_missing)
            yield segment.finish(info.pts_s[frame_index], stages)


def max_batch_frames(info: VideoInfo) -> int:
    """The largest number of frames of a video in one batch."""
    frame_bytes = info.width_px * info.height_px * 3
    least = min(MIN_BATCH_FRAMES, MAX_LARGE_BATCH_BYTES // frame_bytes)
    return max(1, least, MAX_BATCH_BYTES // frame_bytes)


def observe_frames(
    frames: FrameBatch,
    *,
    detector: FaceDetector,
    classifier: EmotionClassifier,
    landmarker: Landmarker | None = None,
    options: ObserveOptions = DEFAULT_OPTIONS,
) -> Observation:
    """Observe these frames, with detection on every one of them, as `observe_segments` does."""
    segment = _SegmentInProgress.of(frames.frame_index)
    networks = landmarker, options.keep_landmarks
    stages = _Stages(detector, classifier, options.min_face_px, KeyFramePlan(0), StageTimes(), *networks)
    _find_faces(segment, frames, stages, is_end=True)
    segment.collect_crops()
    segment.classify(stages, is_end=True)
    return segment.finish(frames.pts_s, stages)


def _process_part(segment: _SegmentInProgress, batch: FrameBatch, stages: _Stages, part: slice, n_frames: int) -> None:
    frames = batch.part(part)
    _find_faces(segment, frames, stages, is_end=bool(frames.frame_index[-1] == segment.frame_index[-1]))


def _split(parts: list[torch.Tensor], n: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Concatenate tensors; return the first `n` rows, and the remaining rows as a list of tensors."""
    joined = torch.cat(parts)
    return joined[:n], [joined[n:]] if n < len(joined) else []


def _classify(crops: torch.Tensor, stages: _Stages) -> np.ndarray:
    started_s = time.perf_counter()
    outputs = stages.classifier.predict_all(crops)
    stages.times.classify_s += time.perf_counter() - started_s
    return outputs


def _find_faces(segment: _SegmentInProgress, frames: FrameBatch, stages: _Stages, *, is_end: bool) -> None:
    """Detect the faces of frames, while those of the frames before are cropped and earlier ones classified."""
    detected = run_stage(_detect, segment, frames, stages, is_end=is_end).result()
    segment.collect_crops()
    segment.cropping = run_stage(_crop_parts, segment.frame_index, detected, stages)


@torch.inference_mode()
def _detect(segment: _SegmentInProgress, frames: FrameBatch, stages: _Stages, *, is_end: bool) -> list[DetectedFrames]:
    """Detect the faces of frames; after an error, the segment is unchanged."""
    started_s = time.perf_counter()
    thumbnails = frame_thumbnail(frames.pixels)
    detected, waiting = detect_frames(
        stages.detector, stages.key_frames, segment.waiting, frames, thumbnails, is_end=is_end
    )
    position = np.searchsorted(segment.frame_index, frames.frame_index)
    segment.decoded[position] = True
    segment.thumbnail_rgb[position] = thumbnails
    segment.waiting = waiting
    for part in detected:
        segment.is_full[np.searchsorted(segment.frame_index, part.frames.frame_index)] = part.is_full
    stages.times.detect_s += time.perf_counter() - started_s
    return detected


@torch.inference_mode()
def _crop_parts(frame_index: np.ndarray, detected: list[DetectedFrames], stages: _Stages) -> list[CroppedFaces]:
    """Crop the faces of frames, whose `frame` then refers to the frames of the segment, `frame_index`."""
    started_s, landmarks_s = time.perf_counter(), 0.0
    cropped = []
    for part in detected:
        position = np.searchsorted(frame_index, part.frames.frame_index)
        large = part.faces.select(face_size_px(part.faces.boxes_xyxy) >= stages.min_face_px)
        for group in crop_in_groups(part.frames, large, stages.classifier, stages.landmarker):
            landmarks_s += group.landmarks_s
            faces = dataclasses.replace(group.faces, frame=position[group.faces.frame])
            cropped.append(dataclasses.replace(group, faces=faces))
    stages.times.landmarks_s += landmarks_s
    stages.times.crop_s += time.perf_counter() - started_s - landmarks_s
    return cropped


def _split_at_segments(
    batches: Iterator[FrameBatch], last_frames: list[int], times: StageTimes
) -> Generator[FrameBatch, None, None]:
    """Split batches where a segment ends; `last_frames` holds each segment's last frame index."""
    while True:
        started_s = time.perf_counter()
        batch = next(batches, None)
        times.decode_wait_s += time.perf_counter() - started_s
        if batch is None:
            return
        segment = np.searchsorted(last_frames, batch.frame_index)
        for value in np.unique(segment):
            yield batch.part(slice(*np.searchsorted(segment, [value, value + 1])))


def _decode_prefetched(
    info: VideoInfo, batches: Iterator[FrameBatch], timeout_s: float
) -> Generator[FrameBatch, None, None]:
    """Decode batches in a background thread while the last one is being processed."""
    seen_s = None
    with contextlib.closing(prefetch(batches, timeout_s)) as prefetched:
        try:
            for batch in prefetched:
                yield batch
                seen_s = float(batch.pts_s[-1])
        except StallTimeout as error:
            position = "before the first frame" if seen_s is None else f"after {seen_s:.2f} s"
            part = "" if seen_s is None else f"use --end {seen_s:.2f} to analyze what comes before, or "
            reason = f"decoding stalled for {timeout_s:g} s {position}: check its disk or network share, "
            raise VideoReadError(info.path, f"{reason}{part}raise FERVID_DECODE_TIMEOUT_S") from error
