"""Initial weights of a network: random, pretrained on ImageNet, or from another model."""

import urllib.error
from collections.abc import Mapping, Set
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_models.classification.architectures.transfer import TransferNetwork
from fer_models.registry.model_registry import (
    WeightsError,
    find_model,
    load_model_folder,
    read_card,
    sha256_of,
    user_models_dir,
)

# Weights published by torchvision; each file name ends with the first digits of the file's sha256.
IMAGENET_URL = "https://download.pytorch.org/models/"
IMAGENET_FILES = {
    "vgg16_transfer": "vgg16-397923af.pth",
    "resnet50_transfer": "resnet50-11ad3fa6.pth",
    "efficientnet_b0_transfer": "efficientnet_b0_rwightman-7f5810bc.pth",
}


def start_from(network: nn.Module, architecture: str, init: str, init_labels: str = "") -> None:
    """Load the initial weights of a training into a new network.

    A model has one head. If the network has a head for labels and one for votes, both start from the head of `init`,
    unless `init_labels` names another model for the head for labels.

    Args:
        network: a network with random weights; modified in place.
        architecture: the name of its architecture.
        init: "scratch" (random weights), "imagenet" (a backbone trained on ImageNet, frozen except for its last
            layers), or a model of the same architecture, by its name or folder.
        init_labels: the model of the same training for the head for labels; the same as `init` if empty.

    Raises:
        WeightsError: if these weights are not available or do not fit the architecture, or if `init` and `init_labels`
            differ in more than the head.
    """
    if init == "imagenet":
        weights = imagenet_weights(architecture)
        assert isinstance(network, TransferNetwork)  # only `TransferNetwork` architectures have ImageNet weights
        network.take_backbone(weights)
    elif init != "scratch":
        card = read_card(find_model(init, "emotion"))
        if card.architecture != architecture:
            raise WeightsError(
                f"{init}: its architecture is {card.architecture}; start a {architecture} from a model of the same one"
            )
        weights, _ = load_model_folder(find_model(init, "emotion"))
        of_labels = load_model_folder(find_model(init_labels, "emotion"))[0] if init_labels else weights
        own = network.state_dict()
        of_head = {
            name
            for name, tensor in weights.items()
            if name in own and tensor.ndim and own[name].ndim and own[name].shape[0] == 2 * tensor.shape[0]
        }
        if not have_same_body(weights, of_labels, of_head):
            raise WeightsError(
                f"{init_labels} and {init} differ in more than the head, which fits only the network that it was "
                "trained with: use --init NAME and --init-labels NAME-labels of one training"
            )
        for name in of_head:
            weights[name] = torch.cat([of_labels[name], weights[name]])
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise WeightsError(
                f"{init}: its weights do not fit this {architecture}; start from a model with the same --input-size"
            ) from error


def have_same_body(weights: Mapping[str, Tensor], others: Mapping[str, Tensor], of_head: Set[str]) -> bool:
    """Whether two models have the same weights, apart from the values of those named in `of_head`.

    Compared in half precision, because one of the two models may be stored in it.
    """
    return weights.keys() == others.keys() and all(
        tensor.shape == others[name].shape if name in of_head else torch.equal(tensor.half(), others[name].half())
        for name, tensor in weights.items()
    )


def imagenet_weights(architecture: str) -> dict[str, Tensor]:
    """Load the ImageNet weights of an architecture from the user's models or torchvision's cache, or download them.

    Raises:
        WeightsError: if the architecture has none, the download fails, or the file has another sha256.
    """
    if architecture not in IMAGENET_FILES:
        raise WeightsError(f"{architecture}: no ImageNet weights; available for {', '.join(IMAGENET_FILES)}")
    name = IMAGENET_FILES[architecture]
    path = user_models_dir() / "imagenet" / name
    of_torchvision = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists() and of_torchvision.exists():
        return read_imagenet(of_torchvision)
    if not path.exists():
        download(IMAGENET_URL + name, path)
    return read_imagenet(path)


def download(url: str, path: Path) -> None:
    """Download a weights file of torchvision; it appears under its name only when complete.

    Raises:
        WeightsError: if the download fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = path.stem.rpartition("-")[2]
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"{path} is missing and {url} could not be downloaded ({error}): copy the file there, or train from "
            "scratch (--from-scratch)"
        ) from error


def read_imagenet(path: Path) -> dict[str, Tensor]:
    """Load a weights file of torchvision, after comparing its sha256 with the digits in its name.

    Raises:
        WeightsError: if the sha256 differs.
    """
    prefix = path.stem.rpartition("-")[2]
    found = sha256_of(path)
    if not found.startswith(prefix):
        raise WeightsError(f"{path}: sha256 {found}, but it must begin with {prefix}: download the file again")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights
