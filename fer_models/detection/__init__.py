"""Finding faces: one protocol, and the detectors that keep it."""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from fer_models.frame_batch import FaceBatch

if TYPE_CHECKING:
    import torch


class FaceDetector(Protocol):
    """What every detector has and does."""

    name: str
    sha256: str  # of the weights
    score_threshold: float
    max_side_px: int  # larger frames are shrunk so that their long side is this
    dtype: "torch.dtype"  # what the network computes in

    def detect(self, pixels: np.ndarray) -> FaceBatch:
        """Faces of `(n, h, w, 3)` uint8 RGB frames, ordered by frame, then by falling score; n may be 0."""
        ...


def load_detector(name: str = "compact", device: str = "auto", max_side_px: int | None = None) -> FaceDetector:
    """The detector called `name`, or the one in a model folder, ready on `device` ("auto", "cpu" or "cuda").

    Args:
        max_side_px: larger frames are shrunk so that their long side is this; the detector's own default if None.

    Raises:
        WeightsError: if there is no such detector, its weights are damaged, or it needs a package that is not here.
        DeviceError: if the device is not there.
    """
    # The networks load torch: only when one is wanted.
    from fer_models.detection.compact import CompactDetector
    from fer_models.detection.retinaface import RetinaFaceDetector
    from fer_models.device import choose_device
    from fer_models.registry.model_registry import WeightsError, find_model, list_model_dirs, read_card

    if name == "retinaface" and name not in list_model_dirs():
        raise WeightsError(
            "retinaface: no weights for it here: `fervid models fetch retinaface` downloads them, "
            "`fervid models add retinaface FILE` takes them from a file"
        )
    folder = find_model(name, "detector")
    kind = RetinaFaceDetector if read_card(folder).architecture == "retinaface" else CompactDetector
    detector: FaceDetector = kind.load(folder, device=choose_device(device))
    if max_side_px is not None:
        detector.max_side_px = max_side_px
    return detector
