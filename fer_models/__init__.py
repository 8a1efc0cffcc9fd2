"""Read videos, detect faces and classify their emotions; train the models that do so.

The main names are loaded on first use, because importing torch takes seconds:

>>> from fer_models import EMOTIONS
>>> EMOTIONS[3]
'happy'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fer_models.labels import EMOTIONS

if TYPE_CHECKING:
    from fer_models.classification.loading import load_classifier as load_classifier
    from fer_models.detection import load_detector as load_detector
    from fer_models.frame_batch import FaceBatch as FaceBatch
    from fer_models.frame_batch import FrameBatch as FrameBatch
    from fer_models.video import read_frames as read_frames

_HOME = {
    "FaceBatch": "fer_models.frame_batch",
    "FrameBatch": "fer_models.frame_batch",
    "load_classifier": "fer_models.classification.loading",
    "load_detector": "fer_models.detection",
    "read_frames": "fer_models.video",
}
__all__ = ["EMOTIONS", "FaceBatch", "FrameBatch", "load_classifier", "load_detector", "read_frames"]


def __getattr__(name: str) -> Any:
    """Import a name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
