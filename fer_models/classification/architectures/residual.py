"""ResNet-18 and ResNet-50 for 48x48 faces, and the blocks that the compact networks share with them."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from fer_models.labels import EMOTIONS


class SqueezeExcite(nn.Module):
    """Channel attention: scale channels by weights computed from their means (Hu et al. 2018, arXiv:1709.01507)."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of `x` (n, c, h, w)."""
        weights: Tensor = self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3)))))
        return x * weights.sigmoid()[:, :, None, None]


class Block(nn.Module):
    """Residual layers plus a shortcut, followed by a ReLU.

    The shortcut is a 1x1 convolution where the number of channels or the resolution changes.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, residual: nn.Sequential) -> None:
        super().__init__()
        self.residual = residual
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            projection = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels_in, h, w) to (n, channels_out, h / stride, w / stride)."""
        return F.relu(self.residual(x) + self.shortcut(x))


class ResidualBlock(Block):
    """Two 3x3 convolutions with a shortcut (He et al. 2016, arXiv:1512.03385); optional channel attention."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, attention: bool = False) -> None:
        residual = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels_out),
            SqueezeExcite(channels_out) if attention else nn.Identity(),
        )
        super().__init__(channels_in, channels_out, stride, residual)


class BottleneckBlock(Block):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; the 3x3 has a quarter of the channels (He et al. 2016)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        width = channels_out // 4
        residual = nn.Sequential(
            nn.Conv2d(channels_in, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        super().__init__(channels_in, channels_out, stride, residual)


def make_stages(
    block: Callable[[int, int, int], nn.Module], channels: int, widths: tuple[int, ...], blocks: tuple[int, ...]
) -> nn.Sequential:
    """Build the stages of a residual network; each stage but the first halves the resolution.

    Args:
        block: makes a block, given input channels, output channels and stride.
        channels: input channels of the first block.
        widths: channels of each stage.
        blocks: number of blocks of each stage.
    """
    stages: list[nn.Module] = []
    for stage, (width, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
        for i in range(n_blocks):
            stages.append(block(channels, width, 2 if stage > 0 and i == 0 else 1))
            channels = width
    return nn.Sequential(*stages)


class ResNet(nn.Module):
    """The residual networks of He et al. 2016 (arXiv:1512.03385), with the stem for small images.

    Layers: a 3x3 convolution to 64 channels, no pooling; four stages of blocks at 48, 24, 12 and 6 px; global average
    pooling; one linear layer. Input (n, 1, h, w), 48x48 in their recipes; output (n, outputs) logits. `resnet18` has
    11.2 M parameters, `resnet50` 23.5 M.
    """

    def __init__(self, block: type[Block], widths: tuple[int, ...], blocks: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
        self.stages = make_stages(block, 64, widths, blocks)
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized gray crops (n, 1, h, w) to logits (n, outputs)."""
        logits: Tensor = self.head(self.stages(self.stem(x)).mean(dim=(2, 3)))
        return logits


def resnet18(outputs: int = len(EMOTIONS)) -> ResNet:
    """Build ResNet-18 with the stem for small images."""
    return ResNet(ResidualBlock, (64, 128, 256, 512), (2, 2, 2, 2), outputs)


def resnet50(outputs: int = len(EMOTIONS)) -> ResNet:
    """Build ResNet-50 with the stem for small images."""
    return ResNet(BottleneckBlock, (256, 512, 1024, 2048), (3, 4, 6, 3), outputs)
