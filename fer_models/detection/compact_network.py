"""The network of the compact face detector: small, dense convolutions, anchor-free.

Every point of three feature maps (strides 8, 16 and 32 px) predicts the probability that it lies near the center of a
face, the distances to the four sides of the face (as in FCOS, https://arxiv.org/abs/1904.01355), and five landmarks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fer_models.convolutions import ConvNorm, Residual, fuse_layers

STRIDES_PX = (8, 16, 32)
# Number of outputs per grid point: the logit of the score, the logarithms of four distances, five landmarks (x, y).
OUTPUTS = 1 + 4 + 10


def output_layer(channels: int) -> nn.Conv2d:
    """The last convolution, initialized to a score of 1 % and a box four strides wide at every point."""
    layer = nn.Conv2d(channels, OUTPUTS, 1)
    if not layer.weight.is_meta:  # without memory, there is nothing to initialize, and torch would import its compiler
        nn.init.normal_(layer.weight, std=0.01)
    layer.bias = nn.Parameter(torch.tensor([-4.6] + 4 * [0.7] + 10 * [0.0]))
    return layer


class CompactNet(nn.Module):
    """Small dense convolutions (faster on a CPU than depthwise ones), a feature pyramid, and a head per stride.

    Args:
        stem: channels after the first and the second halving of the image.
        stages: channels at strides 8, 16 and 32.
        blocks: residual blocks at strides 8, 16 and 32.
        pyramid: channels of the feature pyramid and of the heads.
    """

    def __init__(
        self,
        stem: tuple[int, int] = (16, 24),
        stages: tuple[int, int, int] = (48, 64, 96),
        blocks: tuple[int, int, int] = (1, 2, 2),
        pyramid: int = 48,
    ):
        super().__init__()
        self.stem = nn.Sequential(ConvNorm(3, stem[0], stride=2), ConvNorm(stem[0], stem[1], stride=2))
        inputs = (stem[1], *stages[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(ConvNorm(into, channels, stride=2), *(Residual(channels) for _ in range(n_blocks)))
            for into, channels, n_blocks in zip(inputs, stages, blocks, strict=True)
        )
        self.lateral = nn.ModuleList(ConvNorm(channels, pyramid, kernel=1) for channels in stages)
        self.smooth = nn.ModuleList(ConvNorm(pyramid, pyramid) for _ in stages)
        self.head = nn.ModuleList(nn.Sequential(ConvNorm(pyramid, pyramid), output_layer(pyramid)) for _ in stages)

    def forward(self, pixels: Tensor) -> Tensor:
        """`(b, 3, h, w)` normalized, h and w multiples of 32, to `(b, points, 15)`; points as in `grid_points`."""
        x = self.stem(pixels)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        outputs: list[Tensor] = []
        above: Tensor | None = None
        for level in reversed(range(len(features))):
            feature = self.lateral[level](features[level])
            if above is not None:
                feature = add_saturating(feature, functional.interpolate(above, scale_factor=2.0, mode="nearest"))
            above = self.smooth[level](feature)
            outputs.insert(0, self.head[level](above).permute(0, 2, 3, 1).flatten(1, 2))
        return torch.cat(outputs, 1)

    def fuse(self) -> "CompactNet":
        """Fold every batch norm into its convolution; for evaluation only."""
        fuse_layers(self)
        return self


def add_saturating(a: Tensor, b: Tensor) -> Tensor:
    """Add two tensors; uint8 sums are limited to 255.

    >>> add_saturating(torch.tensor([200], dtype=torch.uint8), torch.tensor([100], dtype=torch.uint8)).tolist()
    [255]
    """
    return (a.to(torch.int16) + b).clamp_(max=255).to(torch.uint8) if a.dtype == torch.uint8 else a + b
