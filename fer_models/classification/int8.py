"""Convolutions in 8-bit integers, for CPUs with instructions that multiply them faster than other numbers (VNNI).

Weights are rounded to 255 levels per output channel, and the inputs of a convolution to 256 levels between 0 and the
largest one that was measured when the model was calibrated. docs/models.md has the effect on probabilities.
"""

from collections.abc import Callable, Mapping
from typing import TypeGuard

import torch
from torch import Tensor, nn

from fer_models.registry.model_card import MAX_CONV_INPUT

# Convolutions whose channels are not multiples of these are not replaced: oneDNN computes some of them very slowly.
INPUT_CHANNELS, OUTPUT_CHANNELS = 32, 64
INPUT_LEVELS, WEIGHT_LEVELS = 255, 127


def has_int8() -> bool:
    """Whether this CPU and this build of PyTorch compute convolutions of 8-bit integers faster than others."""
    return torch.cpu._is_vnni_supported() and torch.backends.mkldnn.is_available()


class Int8Conv(nn.Module):
    """A convolution whose inputs (b, channels, h, w), all at least 0, and weights are rounded to 8-bit integers.

    It calls PyTorch's operators for oneDNN directly: the module of `torch.ao.nn.quantized` rounds its outputs, too, and
    is to be removed from PyTorch.

    Args:
        conv: the convolution to replace.
        largest_input: larger inputs are reduced to this one.
    """

    def __init__(self, conv: nn.Conv2d, largest_input: float) -> None:
        super().__init__()
        self.step = largest_input / INPUT_LEVELS
        weight = conv.weight.detach().float()
        self.weight_step = weight.abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / WEIGHT_LEVELS
        levels = (weight / self.weight_step[:, None, None, None]).round().to(torch.int8)
        self.geometry = list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups
        self.weight = torch.ops.onednn.qconv_prepack(levels, self.weight_step, self.step, 0, *self.geometry)
        self.weight_zero = torch.zeros(len(levels), dtype=torch.int64)
        self.bias = None if conv.bias is None else conv.bias.detach().float()
        self.one_half = torch.tensor(0.5)
        self.output_step: float | None = None  # if set, outputs are a ReLU's, in 8-bit steps of this size

    def forward(self, x: Tensor) -> Tensor:
        """Convolve float32 inputs, or uint8 steps of another `Int8Conv`."""
        if x.dtype != torch.uint8:
            shifted = torch.add(self.one_half, x, alpha=1 / self.step)
            x = shifted.clamp_(0, INPUT_LEVELS + 0.5).to(torch.uint8)  # cuts off the fraction
        is_rounded = self.output_step is not None
        convolved: Tensor = torch.ops.onednn.qconv2d_pointwise(
            x,
            self.step,
            0,
            self.weight,
            self.weight_step,
            self.weight_zero,
            self.bias,
            *self.geometry,
            self.output_step or 1.0,
            0,
            torch.uint8 if is_rounded else torch.float32,
            "relu" if is_rounded else "none",
            [],
            "",
        )
        return convolved


def measure_inputs(network: nn.Module, run: Callable[[], object]) -> dict[str, float]:
    """Measure the largest input of each convolution that can be an `Int8Conv`.

    Args:
        network: in evaluation mode.
        run: computes the network for some images.

    Returns:
        Name of the convolution -> largest input; without those that had negative or huge inputs, other numbers of
        channels, several groups, or a padding that is not given in pixels.
    """
    least: dict[str, float] = {}
    largest: dict[str, float] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            least[name] = min(least.get(name, 0.0), inputs[0].min().item())
            largest[name] = max(largest.get(name, 0.0), inputs[0].max().item())

        return note

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in network.named_modules()
        if _is_replaceable(module)
    ]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: value for name, value in largest.items() if 0 < value <= MAX_CONV_INPUT and least[name] == 0}


def use_int8(network: nn.Module, largest_inputs: Mapping[str, float]) -> None:
    """Replace convolutions of a float32 network by `Int8Conv`, in place.

    Args:
        network: in evaluation mode, with batch norms folded into the convolutions.
        largest_inputs: from `measure_inputs`.

    Raises:
        ValueError: if a name is not that of a convolution that `measure_inputs` measures, or a weight is NaN or
            infinite, which rounding would hide.
    """
    modules = dict(network.named_modules())
    for name, largest in largest_inputs.items():
        conv = modules.get(name)
        if not _is_replaceable(conv):
            raise ValueError(f"largest_inputs: {name} is not a convolution of the network that can use integers")
        if not all(parameter.isfinite().all() for parameter in conv.parameters()):
            raise ValueError(f"the weights of {name} are NaN or infinite")
        network.set_submodule(name, Int8Conv(conv, largest))
    for module in modules.values():
        if isinstance(module, nn.Sequential):
            _pass_integers(module)


def _is_replaceable(module: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a convolution that an `Int8Conv` computes faster."""
    return (
        isinstance(module, nn.Conv2d)
        and module.in_channels % INPUT_CHANNELS == 0
        and module.out_channels % OUTPUT_CHANNELS == 0
        and module.groups == 1
        and not isinstance(module.padding, str)
        and module.padding_mode == "zeros"
    )


def _pass_integers(layers: nn.Sequential) -> None:
    """Let a convolution that is followed by a ReLU and another one pass 8-bit integers to it."""
    used = [i for i, layer in enumerate(layers) if not isinstance(layer, nn.Identity)]
    for first, between, second in zip(used, used[1:], used[2:], strict=False):
        conv, follower = layers[first], layers[second]
        if isinstance(conv, Int8Conv) and isinstance(layers[between], nn.ReLU) and isinstance(follower, Int8Conv):
            conv.output_step = follower.step
            layers[between] = nn.Identity()
