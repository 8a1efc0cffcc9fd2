"""The RetinaFace network of the `retina-face` package, adapted to batches of frames of different sizes.

The package is optional and is imported only when its network is needed.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fer_models.extras import install_command
from fer_models.registry.model_registry import WeightsError

STRIDES_PX = (32, 16, 8)  # strides of the feature maps, in the order of the network's outputs
# Maps a convolution to the batch norm after it, where the name does not follow from that of the convolution.
NORM_AFTER = {"conv0": "bn0", "conv1": "bn2", "conv2": "bn3"}


def is_package_installed() -> bool:
    """Whether the `retina-face` package is installed."""
    return importlib.util.find_spec("retinaface") is not None


def _package_module() -> Any:
    try:
        # Import the network's module only: the rest of the package would choose a deep-learning backend.
        from retinaface.model import retinaface_pth_model
    except ImportError as error:
        raise WeightsError(
            f"retinaface: the package retina-face is needed ({error}). Run: {install_command('retinaface')}"
        ) from error
    return retinaface_pth_model


def weights_urls() -> list[str]:
    """URLs of the package's weights, in order of preference.

    Raises:
        WeightsError: if the package is not installed.
    """
    return list(_package_module().WEIGHTS_URLS)


def check_weights(weights: Mapping[str, Tensor]) -> None:
    """Check names and shapes of the network's weights.

    Raises:
        WeightsError: if they are those of another network, or the package is not installed.
    """
    with torch.device("meta"):
        expected = _package_module().RetinaFace().state_dict()
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in expected]
    problems += [
        f"{name} is {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise WeightsError(f"not the weights of retina-face's RetinaFace: {problems[0]}{more}")


def build_network(weights: Mapping[str, Tensor]) -> nn.Module:
    """Build the package's network for inference: batch norms are folded, and padding is masked.

    Raises:
        WeightsError: if the weights are not the network's, or the package is not installed.
    """
    check_weights(weights)
    with torch.device("meta"):  # on this device, PyTorch spends no time on initial weights
        network: nn.Module = _package_module().RetinaFace()
    network.load_state_dict(dict(weights), assign=True)
    network = network.float().eval()
    _fold_norms(network)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
            module.register_forward_pre_hook(lambda module, inputs: (_without_padding(inputs[0]),))
    # The padding is also cleared before the max-pooling, which follows this batch norm.
    network.get_submodule("bn0").register_forward_hook(lambda module, inputs, output: _without_padding(output))
    return network


def _fold_norms(network: nn.Module) -> None:
    """Fold each batch norm that follows a convolution into it; the results stay the same."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            norm_name = f"{name}_bn" if hasattr(parent, f"{name}_bn") else NORM_AFTER.get(name, "")
            norm = getattr(parent, norm_name, None)
            if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(child, norm))
                setattr(parent, norm_name, nn.Identity())


# Maps the height and width of a feature map to the masks of its frames; None if the frames fill their canvas.
_inside: ContextVar[dict[tuple[int, ...], Tensor] | None] = ContextVar("_inside", default=None)


def _without_padding(features: Tensor) -> Tensor:
    inside = _inside.get()
    return features if inside is None else features * inside[tuple(features.shape[-2:])]


@contextmanager
def frames_of_sizes(
    sizes_px: Sequence[tuple[int, int]], canvas_px: tuple[int, int], device: torch.device
) -> Iterator[None]:
    """Make the results for frames that fill only the top left of their canvas independent of the padding.

    Every convolution treats what lies outside its input as 0. In a padded batch the padding is no longer 0 once a
    layer has added its bias, which changes the scores of faces hundreds of pixels away from the edge. So padding is
    set to 0 again before each layer whose kernel is larger than one point.

    Args:
        sizes_px: height and width of each frame of the batch.
        canvas_px: height and width of the canvas.
        device: where the network runs.
    """
    inside: dict[tuple[int, ...], Tensor] | None = None
    if any(size != canvas_px for size in sizes_px):
        inside = {}
        sizes = torch.tensor(sizes_px, device=device)[:, :, None]
        for stride in (1, 2, 4, 8, 16, 32):  # each layer of stride 2 halves the size, rounded up
            rows, columns = (torch.arange(0, side_px, stride, device=device) for side_px in canvas_px)
            mask = (rows < sizes[:, 0])[:, None, :, None] & (columns < sizes[:, 1])[:, None, None, :]
            inside[len(rows), len(columns)] = mask
    token = _inside.set(inside)
    try:
        yield
    finally:
        _inside.reset(token)
