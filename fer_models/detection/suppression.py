"""Non-maximum suppression with torchvision's operator, loaded without importing torchvision.

The package imports torch.compile, which takes 3 s on two cores; the operator itself is one compiled library.
"""

import importlib.metadata
import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from fer_models.errors import InstallationError

# Offset between the boxes of consecutive frames: larger than any coordinate, so that they cannot overlap.
FRAME_OFFSET_PX = 2.0**15


def load_operator() -> None:
    """Load torchvision's operators.

    Raises:
        InstallationError: if they were built for another build of torch.
    """
    spec = importlib.util.find_spec("torchvision")
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    library = next((path for path in package.glob("_C*") if path.suffix in (".so", ".pyd", ".dylib")), None)
    if library is None:
        import torchvision  # noqa: F401  (imported for its operators, where the compiled library is not found)

        return
    try:
        torch.ops.load_library(library)
    except OSError as error:
        raise InstallationError(
            f"torchvision {importlib.metadata.version('torchvision')} does not work with torch {torch.__version__}: "
            "install both from the same package index (docs/install.md, Without a GPU)"
        ) from error


load_operator()


def nms(boxes_xyxy: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    """Suppress boxes `(m, 4)` that overlap a box of higher score by more than `max_iou`.

    Returns:
        (k,) int64 indices of the remaining boxes, by descending score.
    """
    kept: Tensor = torch.ops.torchvision.nms(boxes_xyxy, scores, max_iou)
    return kept


def nms_by_frame(boxes_xyxy: Tensor, scores: Tensor, frame: Tensor, max_iou: float) -> Tensor:
    """Suppress overlapping boxes within each frame; `frame` (m,) is the frame of each box.

    Returns:
        (k,) int64 indices of the remaining boxes, by frame, then by descending score.
    """
    # The boxes of each frame are offset in float64, where the sum is exact, so that overlaps do not depend on the
    # frame's position in the batch (as they do in torchvision's `batched_nms`).
    keep = nms(boxes_xyxy.double() + frame[:, None] * FRAME_OFFSET_PX, scores.double(), max_iou)
    # A stable sort keeps the order by score.
    return keep[torch.argsort(frame[keep], stable=True)]
