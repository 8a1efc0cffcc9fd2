"""The compact residual networks of the packaged emotion models."""

import functools

from torch import Tensor, nn

from fer_models.classification.architectures.residual import ResidualBlock, make_stages
from fer_models.labels import EMOTIONS


class FaceResNet(nn.Module):
    """A residual network for small gray faces that computes mostly at low resolution.

    Layers: a 3x3 convolution to `stem` channels and a 2x2 max-pooling; stages of residual blocks, each stage but the
    first halving the resolution; global average pooling; dropout; one linear layer. Input (n, 1, h, w), 40x40 in its
    recipe; output (n, outputs) logits. With the default widths and blocks it has 3.8 M parameters, 3.9 M with
    attention.
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
        self.stages = make_stages(functools.partial(ResidualBlock, attention=attention), stem, widths, blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized gray crops (n, 1, h, w) to logits (n, outputs)."""
        features: Tensor = self.stages(self.stem(x)).mean(dim=(2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits
