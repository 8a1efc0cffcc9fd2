"""Non-maximum suppression: torchvision's operator, without the seconds that importing torchvision takes.

The package brings torch.compile along (3 s on two cores); the operator itself is one compiled library.
"""

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

FRAME_OFFSET_PX = 2.0**15  # further than any box reaches


def _load_operator() -> None:
    spec = importlib.util.find_spec("torchvision")
    package = Path(spec.origin).parent if spec and spec.origin else Path()
    library = next((path for path in package.glob("_C*") if path.suffix in (".so", ".pyd", ".dylib")), None)
    if library is None:
        import torchvision  # noqa: F401  (a build with another layout: let it load its operators itself)
    else:
        torch.ops.load_library(library)


_load_operator()


def nms(boxes_xyxy: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    """Which boxes `(m, 4)` stay, by falling score, once each has removed those that overlap it by more than `max_iou`.

    Returns:
        (k,) int64 indices.
    """
    kept: Tensor = torch.ops.torchvision.nms(boxes_xyxy, scores, max_iou)
    return kept


def nms_by_frame(boxes_xyxy: Tensor, scores: Tensor, frame: Tensor, max_iou: float) -> Tensor:
    """The same for boxes of several frames, `frame` (m,) saying which; by frame, then by falling score.

    Returns:
        (k,) int64 indices.
    """
    # Each frame's boxes are moved to a place of their own, in float64: there the sum is exact, so that the overlaps do
    # not depend on the frame's place in the batch (as they do in torchvision's `batched_nms`).
    keep = nms(boxes_xyxy.double() + frame[:, None] * FRAME_OFFSET_PX, scores.double(), max_iou)
    # A stable sort keeps the order by score.
    return keep[torch.argsort(frame[keep], stable=True)]
