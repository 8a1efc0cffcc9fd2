"""What a network's training starts from: fresh weights, ImageNet's, or those of another model."""

import urllib.error
from pathlib import Path

import torch
from torch import Tensor, nn

from fer_models.classification.architectures.transfer import TransferNetwork
from fer_models.registry.model_registry import WeightsError, find_model, load_model_folder, sha256_of, user_models_dir

# Where torchvision publishes them; the end of a name is the beginning of the file's sha256.
IMAGENET_URL = "https://download.pytorch.org/models/"
IMAGENET_FILES = {
    "vgg16_transfer": "vgg16-397923af.pth",
    "resnet50_transfer": "resnet50-11ad3fa6.pth",
    "efficientnet_b0_transfer": "efficientnet_b0_rwightman-7f5810bc.pth",
}


def start_from(network: nn.Module, architecture: str, init: str) -> None:
    """Give a fresh network the weights its training starts from, in place.

    Args:
        network: fresh.
        architecture: its name.
        init: "scratch" (as it is), "imagenet" (a backbone trained on ImageNet, frozen but for its last layers), or a
            model of the same architecture, by its name or folder.

    Raises:
        WeightsError: if these weights cannot be had, or are for another architecture.
    """
    if init == "imagenet":
        weights = imagenet_weights(architecture)
        assert isinstance(network, TransferNetwork)  # no other architecture has such weights
        network.take_backbone(weights)
    elif init != "scratch":
        weights, card = load_model_folder(find_model(init, "emotion"))
        own = network.state_dict()
        for name, tensor in weights.items():
            if name in own and len(own[name].shape) and own[name].shape[0] == 2 * tensor.shape[0]:
                weights[name] = torch.cat([tensor, tensor])  # a model has one head; of two, both begin with it
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise WeightsError(
                f"{init}: a {card.architecture}, which cannot start this {architecture}: the weights do not fit"
            ) from error


def imagenet_weights(architecture: str) -> dict[str, Tensor]:
    """The ImageNet weights for an architecture, from the user's models or torchvision's cache, or else downloaded.

    Raises:
        WeightsError: if the architecture has none, or the file is neither there nor to be had, or is another one.
    """
    if architecture not in IMAGENET_FILES:
        raise WeightsError(f"{architecture}: no ImageNet weights; there are some for {', '.join(IMAGENET_FILES)}")
    name = IMAGENET_FILES[architecture]
    path = user_models_dir() / "imagenet" / name
    of_torchvision = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.exists() and of_torchvision.exists():
        return read_imagenet(of_torchvision)
    if not path.exists():
        download(IMAGENET_URL + name, path)
    return read_imagenet(path)


def download(url: str, path: Path) -> None:
    """Fetch a file of torchvision's; it appears only when it is whole.

    Raises:
        WeightsError: if it cannot be had.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = path.stem.rpartition("-")[2]
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=False)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: not there, and {url} cannot be had ({error}): bring that file there, or train from scratch "
            "(--from-scratch)"
        ) from error


def read_imagenet(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of torchvision's, once its sha256 is the one in its name.

    Raises:
        WeightsError: if it is another file or damaged.
    """
    prefix = path.stem.rpartition("-")[2]
    found = sha256_of(path)
    if not found.startswith(prefix):
        raise WeightsError(f"{path}: sha256 {found}, but it must begin with {prefix}: bring the file again")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights
