"""The networks that read an emotion from a face crop, each under a name that cards and the trainer use."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_models.labels import EMOTIONS


class SqueezeExcite(nn.Module):
    """Channel attention: weighs each channel by the means of all (Hu et al. 2018, arXiv:1709.01507)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of `x` (n, c, h, w)."""
        weights: Tensor = self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3)))))
        return x * weights.sigmoid()[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, arXiv:1512.03385), with channel attention if wanted."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, attention: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            SqueezeExcite(channels_out) if attention else nn.Identity(),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            projection = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        return F.relu(self.residual(x) + self.shortcut(x))


class SEResNet(nn.Module):
    """Fervid's compact family: a residual network for 48x48 grey faces that keeps full resolution in its first stage.

    Layers: a 3x3 stem without pooling; a stage of residual blocks per width, each but the first halving the
    resolution; global average pooling; dropout; one linear layer. Input (n, 1, 48, 48), output (n, 7) logits.
    With the default widths and one block each it has 1.25 M parameters.
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        blocks: int = 1,
        attention: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(ResidualBlock(channels, width, stride, attention))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, len(EMOTIONS))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, 7) of normalised grey crops (n, 1, 48, 48)."""
        features: Tensor = self.stages(self.stem(x)).mean(dim=(2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits


class FaceResNet(nn.Module):
    """Fervid's compact family: a residual network for small grey faces whose cost lies where the maps are small.

    Layers: a 3x3 convolution to `stem` channels and a 2x2 max-pooling; stages of residual blocks, each stage but the
    first halving the resolution; global average pooling; dropout; one linear layer. Input (n, 1, h, w), 40x40 in its
    recipe; output (n, outputs) logits. With the default widths and blocks it has 3.9 M parameters.
    """

    def __init__(
        self,
        stem: int = 32,
        widths: tuple[int, ...] = (64, 128, 320),
        blocks: tuple[int, ...] = (2, 2, 2),
        attention: bool = False,
        dropout: float = 0.3,
        outputs: int = len(EMOTIONS),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        stages: list[nn.Module] = []
        channels = stem
        for stage, (width, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
            for block in range(n_blocks):
                stages.append(ResidualBlock(channels, width, 2 if stage > 0 and block == 0 else 1, attention))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, outputs) of normalised grey crops (n, 1, h, w)."""
        features: Tensor = self.stages(self.stem(x)).mean(dim=(2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "se_resnet": SEResNet,
    "face_resnet": FaceResNet,
    "face_resnet_se": functools.partial(FaceResNet, attention=True),
}


def build_network(architecture: str, options: dict[str, Any] | None = None) -> nn.Module:
    """A network with fresh weights.

    Raises:
        ValueError: if there is no architecture of that name.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}; got {architecture!r}")
    return ARCHITECTURES[architecture](**(options or {}))


def count_parameters(network: nn.Module) -> int:
    """How many numbers training may change."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def fuse_batch_norm(network: nn.Module) -> nn.Module:
    """Fold every batch norm that follows a convolution in a `Sequential` into it, in place; for inference only."""
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            layers = list(module.children())
            for i in range(len(layers) - 1):
                conv, norm = layers[i], layers[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module[i] = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
                    module[i + 1] = nn.Identity()
    return network
