"""Finding faces: one protocol, and the detectors that keep it."""

from typing import Protocol

import numpy as np

from fer_models.batches import FaceBatch


class FaceDetector(Protocol):
    """What every detector has and does."""

    name: str
    sha256: str  # of the weights
    score_threshold: float

    def detect(self, pixels: np.ndarray) -> FaceBatch:
        """Faces of `(n, h, w, 3)` uint8 RGB frames, ordered by frame, then by falling score; n may be 0."""
        ...


def load_detector(name: str = "compact", device: str = "auto") -> FaceDetector:
    """The detector called `name`, or the one in a model folder, ready on `device` ("auto", "cpu" or "cuda").

    Raises:
        WeightsError: if there is no such detector, or its weights are damaged.
        DeviceError: if the device is not there.
    """
    # The networks load torch: only when one is wanted.
    from fer_models.detection.compact import CompactDetector
    from fer_models.device import choose_device
    from fer_models.weights import find_model

    return CompactDetector.load(find_model(name, "detector"), device=choose_device(device))
