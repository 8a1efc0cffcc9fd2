"""Convolutions in 8-bit integers, for CPUs with instructions that multiply them faster than other numbers (VNNI).

Weights are rounded to 255 levels per output channel, and the inputs of a convolution to 256 levels between 0 and the
largest one that was measured when the model was saved. docs/models.md has the effect on the results.
"""

from collections.abc import Callable, Mapping
from typing import TypeGuard

import torch
from torch import Tensor, nn

from fer_models.device import autocast_dtype
from fer_models.registry.model_card import MAX_CONV_INPUT, ModelCard

INPUT_LEVELS, WEIGHT_LEVELS = 255, 127
MAX_SHAPES = 16  # shapes of inputs for which a convolution keeps its weights arranged


def has_int8() -> bool:
    """Whether this CPU and this build of PyTorch compute convolutions of 8-bit integers faster than others."""
    return torch.cpu._is_vnni_supported() and torch.backends.mkldnn.is_available()


def choose_precision(card: ModelCard, device: torch.device, dtype: torch.dtype | None) -> tuple[torch.dtype, str]:
    """Choose the dtype of a network, and name the precision of most of its computation.

    Args:
        card: of the model.
        device: where to compute.
        dtype: the one to use; None: 8-bit integers if the device is a CPU that multiplies them faster, and the card has
            the largest inputs of the convolutions; otherwise a fast dtype for the device.

    Returns:
        The dtype, which is float32 beside integers; and "int8" or the name of the dtype.
    """
    if dtype is None and device.type == "cpu" and card.largest_inputs and has_int8():
        return torch.float32, "int8"
    dtype = dtype or autocast_dtype(device)
    return dtype, str(dtype).removeprefix("torch.")


class Int8Conv(nn.Module):
    """A convolution whose inputs (b, channels, h, w) and weights are rounded to 8-bit integers.

    It calls PyTorch's operators for oneDNN directly: the module of `torch.ao.nn.quantized` rounds its outputs, too, and
    is to be removed from PyTorch.

    Args:
        conv: the convolution to replace.
        step: difference between two levels of the inputs.
        zero: the level of inputs that are 0. It need not be whole; the padding then differs from 0 by half a step.
        output_step: if set, the outputs are rectified (ReLU) and rounded to levels with this difference, as uint8.
    """

    def __init__(self, conv: nn.Conv2d, step: float, *, zero: float = 0.0, output_step: float | None = None) -> None:
        super().__init__()
        self.step, self.zero, self.output_step = step, round(zero), output_step
        weight = conv.weight.detach().float()
        self.weight_step = weight.abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / WEIGHT_LEVELS
        self.levels = (weight / self.weight_step[:, None, None, None]).round().to(torch.int8)
        self.weight_zero = torch.zeros(len(weight), dtype=torch.int64)
        self.bias = (self.zero - zero) * step * weight.sum(dim=(1, 2, 3))
        if conv.bias is not None:
            self.bias += conv.bias.detach().float()
        self.geometry = list(conv.stride), list(conv.padding), list(conv.dilation), conv.groups
        self.one_half = torch.tensor(0.5)
        self.arranged: dict[torch.Size, Tensor] = {}  # weights in the order that is fastest for a shape of inputs

    def forward(self, x: Tensor, skip: Tensor | None = None, skip_step: float = 0.0) -> Tensor:
        """Convolve.

        Args:
            x: float32 inputs that are at least 0, or their levels as uint8.
            skip: levels as uint8, channels last, added before the outputs are rectified and rounded; overwritten.
            skip_step: difference between two levels of `skip`.
        """
        if x.dtype != torch.uint8:
            shifted = torch.add(self.one_half, x, alpha=1 / self.step)
            x = shifted.clamp_(0, INPUT_LEVELS + 0.5).to(torch.uint8)  # cuts off the fraction
        inputs = x, self.step, self.zero, self._weights(x.shape), self.weight_step, self.weight_zero
        is_rounded = self.output_step is not None
        outputs = self.output_step or 1.0, 0, torch.uint8 if is_rounded else torch.float32
        activation: tuple[str, list[float], str] = ("relu" if is_rounded else "none", [], "")
        convolved: Tensor
        if skip is None:
            convolved = torch.ops.onednn.qconv2d_pointwise(*inputs, self.bias, *self.geometry, *outputs, *activation)
        else:
            addition = skip_step, 0, "sum", 1.0
            convolved = torch.ops.onednn.qconv2d_pointwise.binary(
                *inputs, skip, self.bias, *self.geometry, *outputs, *addition, *activation
            )
        return convolved

    def _weights(self, shape: torch.Size) -> Tensor:
        # Weights that are arranged for another shape would be rearranged in each call, which can take 20 times as long.
        arranged = self.arranged.get(shape)
        if arranged is None:
            arranged = torch.ops.onednn.qconv_prepack(
                self.levels, self.weight_step, self.step, self.zero, *self.geometry, list(shape)
            )
            if len(self.arranged) >= MAX_SHAPES:
                self.arranged = {}
            self.arranged[shape] = arranged
        return arranged


def measure_inputs(network: nn.Module, run: Callable[[], object]) -> dict[str, float]:
    """Measure the largest input of each convolution that can be an `Int8Conv`.

    Args:
        network: in evaluation mode.
        run: computes the network for some images.

    Returns:
        Name of the convolution -> largest input; without those that had negative or huge inputs, several groups, or a
        padding that is not given in pixels.
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
        ValueError: as `replaceable_conv`.
    """
    modules = dict(network.named_modules())
    for name, largest in largest_inputs.items():
        network.set_submodule(name, Int8Conv(replaceable_conv(network, name), largest / INPUT_LEVELS))
    for module in modules.values():
        if isinstance(module, nn.Sequential):
            _pass_integers(module)


def replaceable_conv(network: nn.Module, name: str) -> nn.Conv2d:
    """Return the convolution of a network that has this name.

    Raises:
        ValueError: if the name is not that of a convolution that `measure_inputs` measures, or a weight is NaN or
            infinite, which rounding would hide.
    """
    conv = dict(network.named_modules()).get(name)
    if not _is_replaceable(conv):
        raise ValueError(f"largest_inputs: {name} is not a convolution of the network that can use integers")
    if not all(parameter.isfinite().all() for parameter in conv.parameters()):
        raise ValueError(f"the weights of {name} are NaN or infinite")
    return conv


def _is_replaceable(module: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a convolution that an `Int8Conv` computes faster."""
    return (
        isinstance(module, nn.Conv2d)
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
