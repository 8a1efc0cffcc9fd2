"""The protocol of face detectors."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fer_models.frame_batch import FaceBatch

if TYPE_CHECKING:
    import torch


class FaceDetector(Protocol):
    """The interface of every detector."""

    name: str
    sha256: str  # hash of the file of weights
    score_threshold: float
    max_side_px: int  # larger frames are shrunk so that their long side is this
    dtype: "torch.dtype"  # precision of the network

    def detect(self, pixels: np.ndarray) -> FaceBatch:
        """Faces in `(n, h, w, 3)` uint8 RGB frames, ordered by frame, then by falling score; n may be 0."""
        ...


class DetectorLoader(Protocol):
    """Loads a detector from its model folder."""

    def __call__(self, folder: Path, *, device: "torch.device") -> FaceDetector:
        """Load the detector onto `device`."""
        ...
