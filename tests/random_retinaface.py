"""RetinaFace with random weights that give many detections, for tests of the code around the network."""

import sys
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn


@cache
def lively_weights() -> dict[str, Tensor]:
    """Random weights of the package's network with which about one anchor in 300 is a face, in varying positions.

    Batch norms get the statistics of noise, so that no layer's output dies out or explodes; the last layers give
    scores on both sides of the threshold and boxes near their anchors.
    """
    from retinaface.model.retinaface_pth_model import RetinaFace

    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = RetinaFace()
    network.to_empty(device="cpu")
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            module.momentum = 1.0
            # With a bias, padding does not remain 0 unless it is masked.
            nn.init.uniform_(module.bias, -0.3, 0.3, generator=generator)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if name.endswith(("bbox_pred", "landmark_pred")):
            nn.init.normal_(module.weight, std=0.015, generator=generator)
        if name.endswith("cls_score"):
            nn.init.normal_(module.weight, std=0.04, generator=generator)
            module.bias = nn.Parameter(torch.tensor([0.6, 0.6, -0.6, -0.6]))
    noise = torch.rand((1, 6, 8, 3), generator=generator).permute(0, 3, 1, 2)
    with torch.no_grad():
        pixels = nn.functional.interpolate(noise, (96, 128), mode="bicubic").clamp(0, 1) * 255
        network.train()(pixels.permute(0, 2, 3, 1))
    return network.eval().state_dict()


def hide_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the package appear not to be installed."""
    for name in [name for name in sys.modules if name.startswith("retinaface.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "retinaface", None)


def random_image(seed: int, height_px: int, width_px: int) -> np.ndarray:
    """An image of soft colored blotches, `(h, w, 3)` uint8."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand((1, 3, max(2, height_px // 20), max(2, width_px // 20)), generator=generator)
    pixels = nn.functional.interpolate(noise, (height_px, width_px), mode="bicubic")[0].clamp(0, 1) * 255
    return pixels.permute(1, 2, 0).byte().numpy()
