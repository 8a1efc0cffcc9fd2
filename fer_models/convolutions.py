"""Convolutional layers that the face detector and the landmark network share."""

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


class ConvNorm(nn.Module):
    """A convolution, its batch norm and, unless `active` is False, a ReLU; stride 1 keeps the size."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, active: bool = True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU(inplace=True) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`(b, inputs, h, w)` to `(b, outputs, h / stride, w / stride)`."""
        return self.activation(self.norm(self.conv(x)))  # type: ignore[no-any-return]

    def fuse(self) -> None:
        """Fold the batch norm into the convolution; the results in evaluation mode stay the same."""
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)
            self.norm = nn.Identity()


class Residual(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(b, channels, h, w)` to the same shape."""
        return functional.relu(x + self.second(self.first(x)))


def fuse_layers(network: nn.Module) -> None:
    """Fold the batch norm of every `ConvNorm` of a network into its convolution; for evaluation only."""
    for module in list(network.modules()):
        if isinstance(module, ConvNorm):
            module.fuse()
