"""Stability in video: how much a model's predictions for a person change between adjacent frames."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stability:
    """Changes between adjacent frames of the same person."""

    pairs: int  # number of pairs of adjacent frames
    label_changes: float | None  # share of the pairs whose most likely emotions differ; None without pairs
    # Mean over the pairs of half the sum of |p - q| over the emotions; None without pairs.
    total_variation: float | None


def measure_stability(track_id: np.ndarray, frame_index: np.ndarray, probabilities: np.ndarray) -> Stability:
    """Compare each face with the face of the same person in the next frame, where there is one.

    Real changes of expression count as well, so only models on the same video can be compared.

    >>> sure, unsure = [0.9, 0.1], [0.4, 0.6]
    >>> measure_stability(np.array([1, 1, 1]), np.array([0, 1, 2]), np.array([sure, sure, unsure]))
    Stability(pairs=2, label_changes=0.5, total_variation=0.25)

    Args:
        track_id: (m,) the person of each face.
        frame_index: (m,) the frame of each face, 0-based.
        probabilities: (m, classes), rows sum to 1.
    """
    order = np.lexsort((frame_index, track_id))
    track, frame, p = track_id[order], frame_index[order], probabilities[order]
    first = np.flatnonzero((track[1:] == track[:-1]) & (frame[1:] == frame[:-1] + 1))
    if not len(first):
        return Stability(0, None, None)
    before, after = p[first], p[first + 1]
    return Stability(
        pairs=len(first),
        label_changes=round(float((before.argmax(axis=1) != after.argmax(axis=1)).mean()), 4),
        total_variation=round(float(np.abs(before - after).sum(axis=1).mean() / 2), 4),
    )
