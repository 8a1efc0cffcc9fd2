"""Losses of the compact network for score, box and landmarks."""

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import generalized_box_iou_loss

from fer_models.detection.compact import decode_boxes, decode_landmarks


def detection_losses(
    outputs: Tensor, target: dict[str, Tensor], points_xy: Tensor, stride_px: Tensor
) -> dict[str, Tensor]:
    """Compute the three losses of `(b, points, 15)` raw outputs: scalars, divided by the number of positive points.

    `score`: quality focal loss (https://arxiv.org/abs/2006.04388), with the IoU of the point's box as target.
    `box`: 1 - GIoU. `landmarks`: smooth L1 of the distances, relative to the size of the face.
    """
    state = target["state"]
    positive = state == 1
    n_positive = positive.sum().clamp(min=1)
    points, strides = points_xy.expand(len(state), -1, -1)[positive], stride_px.expand(len(state), -1)[positive]
    true_box = target["box"][positive]
    box = decode_boxes(outputs[positive], points, strides)
    landmarks = decode_landmarks(outputs[positive], points, strides)

    quality = torch.zeros_like(outputs[..., 0])
    quality[positive] = _paired_iou(box.detach(), true_box)
    logit = outputs[..., 0]
    off = (quality - logit.sigmoid()).abs().square()
    score = off * functional.binary_cross_entropy_with_logits(logit, quality, reduction="none")

    size = (true_box[:, 2:] - true_box[:, :2]).clamp(min=1).prod(-1).sqrt()[:, None, None]
    distance = functional.smooth_l1_loss(
        landmarks / size, target["landmarks"][positive] / size, beta=0.02, reduction="sum"
    )
    return {
        "score": (score * (state >= 0)).sum() / n_positive,
        "box": generalized_box_iou_loss(box, true_box, reduction="sum") / n_positive,
        "landmarks": distance / (10 * n_positive),
    }


def _paired_iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """IoU of the boxes in corresponding rows, `(k,)`."""
    sides = torch.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - torch.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    shared = sides.clamp(min=0).prod(-1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).prod(-1) for box in (a_xyxy, b_xyxy))
    return shared / (area_a + area_b - shared).clamp(min=1e-6)
