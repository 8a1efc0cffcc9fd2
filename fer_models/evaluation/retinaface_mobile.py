"""The network of RetinaFace on MobileNet-0.25 (https://arxiv.org/abs/1905.00641)."""

from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias and its batch norm."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


def _block(inputs: int, outputs: int, stride: int = 1, *, depthwise: bool = True, kernel: int = 3) -> nn.Sequential:
    """A convolution, or a depthwise and a 1x1 convolution, with ReLUs; numbered as in the public weights."""
    first = [*_conv(inputs, inputs, 3, stride, inputs), nn.ReLU()] if depthwise else []
    last = _conv(inputs, outputs, 1) if depthwise else _conv(inputs, outputs, kernel, stride)
    return nn.Sequential(*first, *last, nn.ReLU())


class Context(nn.Module):
    """RetinaFace's context module: receptive fields of 3x3, 5x5 and 7x7, built from 3x3 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv3X3 = nn.Sequential(*_conv(64, 32))
        self.conv5X5_1 = _block(64, 16, depthwise=False)
        self.conv5X5_2 = nn.Sequential(*_conv(16, 16))
        self.conv7X7_2 = _block(16, 16, depthwise=False)
        self.conv7x7_3 = nn.Sequential(*_conv(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, 64, h, w)` to the same shape."""
        middle = self.conv5X5_1(x)
        parts = [self.conv3X3(x), self.conv5X5_2(middle), self.conv7x7_3(self.conv7X7_2(middle))]
        return functional.relu(torch.cat(parts, 1))


class RetinaFaceMobile(nn.Module):
    """RetinaFace on MobileNet-0.25; modules are named as in the public weights."""

    def __init__(self) -> None:
        super().__init__()
        plan = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        stage1 = [_block(3, 8, 2, depthwise=False), *(_block(i, o, s) for i, o, s in plan)]
        stage2 = [_block(64, 128, 2), *(_block(128, 128) for _ in range(5))]
        stage3 = [_block(128, 256, 2), _block(256, 256)]
        stages = {f"stage{n}": nn.Sequential(*s) for n, s in enumerate((stage1, stage2, stage3), 1)}
        self.body = nn.ModuleDict(stages)
        outputs = {f"output{n}": _block(c, 64, depthwise=False, kernel=1) for n, c in enumerate((64, 128, 256), 1)}
        merges = {f"merge{n}": _block(64, 64, depthwise=False) for n in (1, 2)}
        self.fpn = nn.ModuleDict({**outputs, **merges})
        self.ssh1, self.ssh2, self.ssh3 = Context(), Context(), Context()
        self.ClassHead, self.BboxHead, self.LandmarkHead = (
            nn.ModuleList(nn.Sequential(OrderedDict(conv1x1=nn.Conv2d(64, width, 1))) for _ in range(3))
            for width in (4, 8, 20)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map `(1, 3, h, w)` to logits `(a, 2)`, box `(a, 4)` and landmark `(a, 10)` offsets per anchor."""
        features = []
        for n in (1, 2, 3):
            x = self.body[f"stage{n}"](x)
            features.append(self.fpn[f"output{n}"](x))
        for n in (1, 0):
            above = functional.interpolate(features[n + 1], size=features[n].shape[2:], mode="nearest")
            features[n] = self.fpn[f"merge{n + 1}"](features[n] + above)
        features = [ssh(f) for ssh, f in zip((self.ssh1, self.ssh2, self.ssh3), features, strict=True)]

        def run(heads: nn.ModuleList, width: int) -> Tensor:
            maps = [head(f) for head, f in zip(heads, features, strict=True)]
            return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, width) for m in maps])

        return run(self.ClassHead, 2), run(self.BboxHead, 4), run(self.LandmarkHead, 10)


def anchors(height_px: int, width_px: int) -> Tensor:
    """Return the anchors of these weights: center x, center y and side, `(a, 3)` pixels."""
    levels = []
    for stride, sides in ((8, (10, 20)), (16, (32, 64)), (32, (128, 256))):
        shape = (-(-height_px // stride), -(-width_px // stride), 2)
        y, x, which = np.mgrid[: shape[0], : shape[1], :2]
        side = np.array(sides)[which]
        levels.append(np.stack([(x + 0.5) * stride, (y + 0.5) * stride, side], -1).reshape(-1, 3))
    return torch.from_numpy(np.concatenate(levels)).float()
