"""The compact detector in 8-bit integers, from the pixels to the last convolution of each head.

The levels of one convolution's outputs are those of the next one's inputs, so that no values in between are converted.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from fer_models.detection.compact_network import CompactNet
from fer_models.int8 import INPUT_LEVELS, Int8Conv, replaceable_conv

FIRST_CONV = "stem.0.conv"  # its inputs are the pixels


class Int8Residual(nn.Module):
    """A `Residual` in 8-bit integers.

    Args:
        first: its first convolution.
        second: its second convolution; the skip connection is added to its outputs.
    """

    def __init__(self, first: Int8Conv, second: Int8Conv) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Tensor) -> Tensor:
        """`(b, channels, h, w)` uint8 to the same shape; overwrites `x`."""
        inner = self.first(x)
        convolved: Tensor = self.second(inner, skip=x, skip_step=self.first.step)
        return convolved


def convs_with_levels(network: nn.Module) -> set[str]:
    """The convolutions of a `CompactNet` whose largest input must be known: all but the first."""
    return {name for name, module in network.named_modules() if isinstance(module, nn.Conv2d)} - {FIRST_CONV}


def use_int8(network: CompactNet, largest_inputs: Mapping[str, float], mean: float, std: float) -> None:
    """Replace the convolutions of a `CompactNet` by ones in 8-bit integers, in place; it then takes uint8 pixels.

    Args:
        network: in float32, fused.
        largest_inputs: of every convolution but the first, from `measure_inputs`.
        mean: of the pixels from 0 to 1.
        std: standard deviation of the pixels from 0 to 1.

    Raises:
        ValueError: if `largest_inputs` lacks a convolution or has others, or if a weight is NaN or infinite.
    """
    if largest_inputs.keys() != convs_with_levels(network):
        raise ValueError(f"largest_inputs must list every convolution but {FIRST_CONV}")
    converter = _Converter(network, largest_inputs)
    converter.convert_stem(mean, std)
    for level in range(len(network.stages)):
        converter.convert_stage(level)
        converter.convert_head(level)


class _Converter:
    """Replaces the convolutions of a network; each output gets the step with which the next convolution reads it."""

    def __init__(self, network: CompactNet, largest_inputs: Mapping[str, float]) -> None:
        self.network = network
        self.steps = {name: largest / INPUT_LEVELS for name, largest in largest_inputs.items()}
        self.convs = {name: replaceable_conv(network, name) for name in [FIRST_CONV, *largest_inputs]}

    def convert(self, layer: str, step: float, output_step: float) -> None:
        """Replace a `ConvNorm`."""
        self.network.set_submodule(layer, Int8Conv(self.convs[f"{layer}.conv"], step, output_step=output_step))

    def convert_stem(self, mean: float, std: float) -> None:
        """Replace the two layers of the stem; the first reads pixels."""
        between = self.steps["stem.1.conv"]
        pixel_step, gray = 1 / INPUT_LEVELS / std, INPUT_LEVELS * mean
        first = Int8Conv(self.convs[FIRST_CONV], pixel_step, zero=gray, output_step=between)
        self.network.set_submodule("stem.0", first)
        self.convert("stem.1", between, self.steps["stages.0.0.conv"])

    def convert_stage(self, level: int) -> None:
        """Replace the layers of a stage, whose outputs the head and the next stage read."""
        n_blocks = sum(name.startswith(f"stages.{level}.") and name.endswith(".first.conv") for name in self.steps)
        blocks = [f"stages.{level}.{i}" for i in range(1, n_blocks + 1)]
        steps = [*(self.steps[f"{block}.first.conv"] for block in blocks), self.steps[f"lateral.{level}.conv"]]
        entry = self.steps[f"lateral.{level - 1}.conv" if level else "stages.0.0.conv"]
        self.convert(f"stages.{level}.0", entry, steps[0])
        for block, before, after in zip(blocks, steps, steps[1:], strict=False):
            inner = self.steps[f"{block}.second.conv"]
            first = Int8Conv(self.convs[f"{block}.first.conv"], before, output_step=inner)
            second = Int8Conv(self.convs[f"{block}.second.conv"], inner, output_step=after)
            self.network.set_submodule(block, Int8Residual(first, second))

    def convert_head(self, level: int) -> None:
        """Replace the layers from a stage's outputs to those of the network.

        The outputs of `smooth` go to the head and, added to those of `lateral`, to `smooth` at the next finer level.
        """
        total = self.steps[f"smooth.{level}.conv"]
        smooth = self.steps[f"smooth.{level - 1}.conv" if level else "head.0.0.conv"]
        last = f"head.{level}.1"
        self.convert(f"lateral.{level}", self.steps[f"lateral.{level}.conv"], total)
        self.convert(f"smooth.{level}", total, smooth)
        self.convert(f"head.{level}.0", smooth, self.steps[last])
        self.network.set_submodule(last, Int8Conv(self.convs[last], self.steps[last]))
