"""The protocol of face detectors."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fer_models.frame_batch import FaceBatch
from fer_models.registry.model_card import ModelCard, WeightsError

if TYPE_CHECKING:
    import torch


class FaceDetector(Protocol):
    """The interface of every detector."""

    name: str
    sha256: str  # sha256 of the file of weights
    score_threshold: float
    max_side_px: int  # longest side of the frames that the network sees; larger frames are downscaled to it
    precision: str  # of most of its computation: "int8" or the name of a dtype

    def detect(self, pixels: np.ndarray) -> FaceBatch:
        """Faces in `(n, h, w, 3)` uint8 RGB frames, ordered by frame, then by descending score; n may be 0."""
        ...


def score_threshold_of(card: ModelCard) -> float:
    """Return the score threshold of a detector's card.

    Raises:
        WeightsError: if the card has none.
    """
    if card.score_threshold is None:
        raise WeightsError(f"{card.name}: the card of a detector needs a score_threshold")
    return card.score_threshold


class DetectorLoader(Protocol):
    """Loads a detector from its model folder."""

    def __call__(self, folder: Path, *, device: "torch.device") -> FaceDetector:
        """Load the detector onto `device`."""
        ...
