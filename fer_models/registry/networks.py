"""Build the network of a model card and load its weights, without trusting either file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from fer_models.registry.model_card import ModelCard, WeightsError

# Limits on the items of a list in the options of a card, and on blocks per stage: far above those of all
# architectures. Each block is a Python object, so building a network with a huge number of blocks would take hours.
MAX_LIST_LENGTH, MAX_BLOCKS = 16, 64

# Errors that a network's constructor can raise if the options of a card are invalid.
BUILD_ERRORS = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def build_with_weights(
    folder: Path, weights: dict[str, Tensor], card: ModelCard, build: Callable[[], NetworkT]
) -> NetworkT:
    """Build the network of a card with the weights of its folder.

    The network is first built on the "meta" device, which allocates no memory: the options of a damaged or malicious
    card can describe a network of any size.

    Args:
        folder: the model folder, for messages.
        weights: the tensors of the weights file.
        card: the card of the folder.
        build: makes the network of the card, with random weights.

    Raises:
        WeightsError: if the options of the card are invalid, or the weights are those of another network.
    """
    reason = f"{folder}: weights do not fit architecture {card.architecture!r}"
    try:
        check_options(card.architecture_options)
        with torch.device("meta"):
            outline = build()
        expected = {name: tensor.shape for name, tensor in outline.state_dict().items()}
        if different := sorted(
            name
            for name in expected.keys() | weights.keys()
            if name not in weights or weights[name].shape != expected.get(name)
        ):
            raise WeightsError(
                f"{reason}: {len(different)} tensors are missing, unknown or of another shape, first {different[0]}"
            )
        network = build()
        network.load_state_dict(weights)
    except BUILD_ERRORS as error:
        raise WeightsError(f"{reason}: {error}") from error
    return network


def check_options(options: Mapping[str, object]) -> None:
    """Check that building a network with these options ends soon.

    >>> check_options({"widths": [64, 128], "blocks": [2, 10**9]})
    Traceback (most recent call last):
    ...
    ValueError: architecture_options: blocks must be at most 64 per stage, got 1000000000

    Raises:
        ValueError: if a list is too long, or a stage has too many blocks.
    """
    lists = {name: value for name, value in options.items() if isinstance(value, list | tuple)}
    for name, values in lists.items():
        if len(values) > MAX_LIST_LENGTH:
            raise ValueError(
                f"architecture_options: {name} must have at most {MAX_LIST_LENGTH} entries, got {len(values)}"
            )
    for blocks in lists.get("blocks", ()):
        if isinstance(blocks, int) and blocks > MAX_BLOCKS:
            raise ValueError(f"architecture_options: blocks must be at most {MAX_BLOCKS} per stage, got {blocks!r:.40}")
