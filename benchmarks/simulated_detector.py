"""A simulated face detector with typical errors: faces that it misses, false positives, and inexact boxes."""

import numpy as np

from fer_models.frame_batch import FaceBatch

# Landmarks as shares of the width and height of a face box.
LANDMARKS = np.array([(0.31, 0.42), (0.69, 0.42), (0.5, 0.62), (0.36, 0.78), (0.64, 0.78)])


class Misses:
    """Simulate faces that the detector misses for a short time without a visible reason."""

    def __init__(self, rng: np.random.Generator, fps: int, n: int) -> None:
        self.rng, self.fps = rng, fps
        self.left_s = np.zeros(n)

    def step(self) -> np.ndarray:
        """Which faces `(n,)` are missed in the next frame."""
        self.left_s -= 1 / self.fps
        begins = self.rng.random(len(self.left_s)) < 0.06 / self.fps
        self.left_s = np.where(begins, self.rng.uniform(0.2, 0.7, len(self.left_s)), self.left_s)
        return (self.left_s > 0) | (self.rng.random(len(self.left_s)) < 0.02)


class FalsePositives:
    """Simulate false positives: a part of the background that looks like a face for a moment."""

    def __init__(self, rng: np.random.Generator, fps: int) -> None:
        self.rng, self.fps = rng, fps
        self.left_s, self.box = 0.0, np.zeros(4)

    def step(self) -> np.ndarray:
        """The boxes `(0 or 1, 4)` of false positives in the next frame."""
        self.left_s -= 1 / self.fps
        if self.left_s <= 0 and self.rng.random() < 0.4 / self.fps:
            x, y, size = self.rng.uniform(40, 600), self.rng.uniform(40, 320), self.rng.uniform(25, 70)
            self.left_s, self.box = self.rng.uniform(0, 0.3), np.array([x, y, x + size, y + 1.2 * size])
        return self.box[None] if self.left_s > 0 else np.empty((0, 4))


def simulate_detections(
    boxes: np.ndarray, visible: np.ndarray, rng: np.random.Generator, false_positives: np.ndarray
) -> FaceBatch:
    """Simulate the detections in a frame: boxes `(n, 4)` of which these shares are visible, and false positives."""
    seen = rng.random(len(boxes)) < np.clip((visible - 0.25) / 0.15, 0, 1)
    score = np.clip(0.95 - 0.6 * (1 - visible[seen]) + rng.normal(0, 0.05, seen.sum()), 0.12, 0.99)
    score = np.concatenate([score, rng.uniform(0.2, 0.65, len(false_positives))])
    found = np.concatenate([boxes[seen], false_positives])
    size = (found[:, 2:] - found[:, :2]).repeat(2, axis=0).reshape(-1, 4)
    found = found + rng.normal(0, 0.04, found.shape) * size
    sides = found[:, 2:] - found[:, :2]
    landmarks = (
        found[:, None, :2] + LANDMARKS * sides[:, None] + rng.normal(0, 0.02, (len(found), 5, 2)) * sides[:, None]
    )
    order = rng.permutation(len(found))
    values = (found[order], landmarks[order], score[order])
    return FaceBatch(np.zeros(len(found), np.int64), *(v.astype(np.float32) for v in values))
