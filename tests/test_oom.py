"""If memory runs out, networks continue with smaller chunks and give the same results."""

import logging
import threading

import numpy as np
import pytest
import torch
from torch import nn

from fer_models import load_classifier, load_detector
from fer_models.classification.classifier import EmotionClassifier
from fer_models.frame_batch import FaceBatch
from fer_models.observe import ObserveOptions, observe_segments
from fer_models.oom import is_out_of_memory, run_with_oom_backoff
from fer_models.registry.model_registry import find_model
from fer_models.video import probe

pytestmark = pytest.mark.slow


class LittleMemory(nn.Module):
    """A network that requests more memory than any machine has (64 TiB) for more than two items at a time."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        if len(x) > 2:
            torch.empty(2**46)
        return self.network(x)


def test_chunks_are_halved_from_where_memory_runs_out():
    sizes, seen = [], []

    def work(chunk, size):
        seen.append((chunk.start, chunk.stop, size))
        if size > 3 and chunk.start >= 4:
            torch.empty(2**46)
        return list(range(10))[chunk]

    assert run_with_oom_backoff(10, 4, work, sizes.append) == [[0, 1, 2, 3], [4, 5], [6, 7], [8, 9]]
    assert sizes == [2]
    assert seen == [(0, 4, 4), (4, 8, 4), (4, 6, 2), (6, 8, 2), (8, 10, 2)]
    assert run_with_oom_backoff(0, 4, work, sizes.append) == []


def test_chunks_are_halved_in_threads_too():
    def work(chunk, size):
        if size > 3 and chunk.start >= 4:
            torch.empty(2**46)
        return list(range(10))[chunk]

    sizes = []
    found = run_with_oom_backoff(10, 4, work, sizes.append, in_threads=True)
    assert found == [[0, 1, 2, 3], [4, 5], [6, 7], [8, 9]]
    assert sizes == [2]


def test_a_chunk_that_fits_alone_needs_no_smaller_one():
    n_parallel = min(2, torch.get_num_threads())
    together, seen = threading.Barrier(n_parallel), []

    def work(chunk, size):
        seen.append(chunk.start)
        if len(seen) <= n_parallel:
            together.wait(300)
            if n_parallel > 1:
                torch.empty(2**46)  # two chunks at the same time need too much memory
        return chunk.start

    sizes = []
    assert run_with_oom_backoff(2, 1, work, sizes.append, in_threads=True) == [0, 1]
    assert sizes == []
    assert sorted(seen) == ([0, 0, 1, 1] if n_parallel > 1 else [0, 1])


def test_other_errors_and_errors_for_one_item_are_raised():
    def broken(chunk, size):
        raise RuntimeError("shapes do not fit")

    def large(chunk, size):
        return torch.empty(2**46)

    with pytest.raises(RuntimeError, match="shapes"):
        run_with_oom_backoff(4, 4, broken, lambda size: None)
    with pytest.raises(RuntimeError) as error:
        run_with_oom_backoff(4, 4, large, lambda size: None)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))


@pytest.mark.parametrize(
    "message",
    [
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_messages_of_gpu_libraries_about_memory_are_recognized(message):
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"))


def test_the_compact_detector_continues_with_fewer_frames(face_clip, caplog):
    detector = load_detector("compact", "cpu")
    detector.chunk_frames = 2
    pixels = np.concatenate([pixels[8:13] for pixels in clip_pixels(face_clip)])
    expected = detector.detect(pixels)
    assert len(expected)
    detector.chunk_frames, detector.network = 8, LittleMemory(detector.network)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = detector.detect(pixels)
            np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
            np.testing.assert_array_equal(found.frame, expected.frame)
    said = [record.message for record in caplog.records]
    assert said == [f"compact: out of memory, continuing with {n} frames at a time" for n in (4, 2)]


def clip_pixels(path):
    """All frames of a video."""
    from fer_models import read_frames

    return (batch.pixels for batch in read_frames(path, batch_size=64))


def test_the_classifier_continues_with_fewer_faces(caplog):
    classifier = load_classifier("default", "cpu")
    crops = np.random.default_rng(0).integers(0, 256, (5, classifier.input_px, classifier.input_px, 3), np.uint8)
    classifier.chunk_crops = 2
    expected = classifier.predict(crops)
    classifier.chunk_crops, classifier.network = 4, LittleMemory(classifier.network)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            np.testing.assert_array_equal(classifier.predict(crops), expected)
    assert [record.message for record in caplog.records] == [
        "default: out of memory; continuing with 2 faces per batch"
    ]


class ThreeFramesAtMost:
    """A detector that finds the same face everywhere, and needs too much memory for more than three frames."""

    name, sha256, score_threshold = "three", "", 0.5

    def detect(self, pixels):
        n = len(pixels)
        if n > 3:
            torch.empty(2**46)
        box = np.float32([40, 30, 140, 150])
        landmarks = np.tile((box[:2] + box[2:]) / 2, (n, 5, 1)).astype(np.float32)
        return FaceBatch(np.arange(n), np.tile(box, (n, 1)), landmarks, np.full(n, 0.9, np.float32))


def test_a_batch_too_large_for_the_device_is_processed_in_parts(face_clip):
    info, classifier = probe(face_clip), load_classifier("default", "cpu")
    segments = np.split(np.arange(20), [7])
    seen = {
        size: list(
            observe_segments(
                info,
                segments,
                detector=ThreeFramesAtMost(),
                classifier=classifier,
                options=ObserveOptions(detect_every_s=0, batch_size=size),
            )
        )
        for size in (2, 16)
    }
    for few, many in zip(seen[2], seen[16], strict=True):
        assert len(many.faces) == len(many.frame_index)
        np.testing.assert_array_equal(many.probabilities, few.probabilities)
        np.testing.assert_array_equal(many.faces.frame, few.faces.frame)
        np.testing.assert_array_equal(many.appearance, few.appearance)


class CropsInMemory(EmotionClassifier):
    """A classifier that needs too much memory to crop more than `max_crops` faces."""

    max_crops = 1

    def crop(self, aligned, *args):
        if len(aligned) > self.max_crops:
            torch.empty(2**46)
        return super().crop(aligned, *args)


def test_faces_are_cropped_in_groups_if_memory_runs_out(face_clip, caplog):
    info, folder, cpu = probe(face_clip), find_model("default", "emotion"), torch.device("cpu")

    def observe(classifier):
        options = ObserveOptions(detect_every_s=0, batch_size=3)
        return observe_segments(
            info, [np.arange(7)], detector=ThreeFramesAtMost(), classifier=classifier, options=options
        )

    (expected,) = observe(EmotionClassifier.load(folder, cpu))
    few = CropsInMemory.load(folder, cpu)
    with caplog.at_level(logging.WARNING):
        (found,) = observe(few)
    assert "out of memory, cropping 1 faces at a time" in {record.message for record in caplog.records}
    assert len(found.faces) == 7
    np.testing.assert_array_equal(found.faces.frame, expected.faces.frame)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.appearance, expected.appearance)

    few.max_crops = 0
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        list(observe(few))
