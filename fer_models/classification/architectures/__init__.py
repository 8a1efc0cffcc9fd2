"""Networks that classify the emotion of a face crop, by the names that model cards and training use."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fer_models.classification.architectures.compact import FaceResNet
from fer_models.classification.architectures.residual import resnet18, resnet50
from fer_models.classification.architectures.seed import cnn4, cnn5, cnn_wide
from fer_models.classification.architectures.transfer import (
    efficientnet_b0_transfer,
    resnet50_transfer,
    vgg16_transfer,
)

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "face_resnet": FaceResNet,
    "face_resnet_se": functools.partial(FaceResNet, attention=True),
    "resnet18": resnet18,
    "resnet50": resnet50,
    "cnn4": cnn4,
    "cnn5": cnn5,
    "cnn_wide": cnn_wide,
    "vgg16_transfer": vgg16_transfer,
    "resnet50_transfer": resnet50_transfer,
    "efficientnet_b0_transfer": efficientnet_b0_transfer,
}
# Architectures whose first fully connected layer depends on the size of the input.
FIXED_SIZE_ARCHITECTURES = (
    "cnn4",
    "cnn5",
    "cnn_wide",
    "vgg16_transfer",
)
# Architectures some of whose layers have an L2 penalty, see `l2_penalty`.
PENALIZED_ARCHITECTURES = ("cnn5", "cnn_wide")
# Smallest input of the architectures whose feature maps are empty after the last pooling if it is smaller.
MIN_INPUT_PX = {"cnn4": 46, "cnn5": 16, "cnn_wide": 12, "vgg16_transfer": 32}


def architecture_options(architecture: str, *, input_size_px: int, outputs: int) -> dict[str, int]:
    """Return the `options` of `build_network`, which the model card stores."""
    options = {"outputs": outputs}
    return options | {"input_size_px": input_size_px} if architecture in FIXED_SIZE_ARCHITECTURES else options


def build_network(architecture: str, options: dict[str, Any] | None = None) -> nn.Module:
    """Build a network with random weights.

    Raises:
        ValueError: if there is no architecture of that name, or its input is too small.
    """
    if architecture not in ARCHITECTURES:
        raise ValueError(f"architecture must be one of {', '.join(ARCHITECTURES)}; got {architecture!r}")
    options, least_px = options or {}, MIN_INPUT_PX.get(architecture, 0)
    if (input_size_px := options.get("input_size_px", least_px)) < least_px:
        raise ValueError(f"input_size_px must be at least {least_px} for {architecture}; got {input_size_px}")
    return ARCHITECTURES[architecture](**options)


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters of the network, including frozen ones."""
    return sum(p.numel() for p in network.parameters())


def l2_penalty(network: nn.Module) -> Tensor:
    """Return the sum of the squared weights of the layers that the network lists in `l2_layers`; 0 without any."""
    names: tuple[str, ...] = getattr(network, "l2_layers", ())
    weights = [network.get_submodule(name).get_parameter("weight") for name in names]
    return torch.stack([weight.square().sum() for weight in weights]).sum() if weights else torch.zeros(())


def fuse_batch_norm(network: nn.Module) -> nn.Module:
    """Fold each batch norm into the convolution before it, in place, within every `Sequential`; for inference only."""
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            layers = list(module.children())
            for i in range(len(layers) - 1):
                conv, norm = layers[i], layers[i + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    module[i] = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
                    module[i + 1] = nn.Identity()
    return network
