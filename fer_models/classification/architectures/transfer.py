"""Torchvision backbones with a classification head for emotions; the backbone can start from ImageNet weights."""

from typing import Self

import torch
from torch import Tensor, nn

from fer_models.classification.normalization import MEAN, STD
from fer_models.labels import EMOTIONS

# Mean and standard deviation of red, green and blue with which torchvision normalizes the input of its weights.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TransferNetwork(nn.Module):
    """A torchvision backbone and a head; gray crops are repeated over three channels and normalized as for ImageNet.

    Args:
        backbone: maps (n, 3, h, w) to features; its parameters are named as in torchvision's weights, after `prefix`.
        head: maps features to logits.
        prefix: prefix of the backbone's parameters in torchvision's weights.
        unfrozen: modules of the backbone that are trained even if it starts from ImageNet weights.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module, prefix: str, unfrozen: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.prefix, self.unfrozen = prefix, unfrozen
        mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("scale", STD / std, persistent=False)
        self.register_buffer("shift", (MEAN - mean) / std, persistent=False)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized crops (n, 1 or 3, h, w) to logits (n, outputs)."""
        logits: Tensor = self.head(self.backbone(x * self.scale + self.shift))
        return logits

    def train(self, mode: bool = True) -> Self:
        """Set training mode; batch norms of frozen layers stay in evaluation mode and keep their statistics."""
        super().train(mode)
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
                module.eval()
        return self

    def take_backbone(self, weights: dict[str, Tensor]) -> None:
        """Load the backbone from torchvision's weights and freeze all of its layers but the last ones."""
        own = {name.removeprefix(self.prefix): value for name, value in weights.items() if name.startswith(self.prefix)}
        wanted = self.backbone.state_dict().keys()
        self.backbone.load_state_dict({name: value for name, value in own.items() if name in wanted})
        self.backbone.requires_grad_(False)
        for name in self.unfrozen:
            self.backbone.get_submodule(name).requires_grad_(True)


def vgg16_transfer(input_size_px: int = 224, outputs: int = len(EMOTIONS)) -> TransferNetwork:
    """VGG-16 (Simonyan and Zisserman 2015, arXiv:1409.1556), 41 M parameters at 224 px.

    Layers: its 13 convolutions, the last three of which stay trainable; fully connected 1024 and 512, each with
    dropout 0.5; `outputs`. Input (n, 1 or 3, 224, 224), or another multiple of 32 px.
    """
    from torchvision.models.vgg import cfgs, make_layers

    features = make_layers(cfgs["D"])
    for module in features:
        # Networks without batch norm do not learn from smaller initial weights (He et al. 2015).
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    size_px = input_size_px // 32
    head = nn.Sequential(
        *(nn.Flatten(), nn.Linear(512 * size_px**2, 1024), nn.ReLU(inplace=True), nn.Dropout(0.5)),
        *(nn.Linear(1024, 512), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(512, outputs)),
    )
    return TransferNetwork(features, head, "features.", ("24", "26", "28"))


def resnet50_transfer(outputs: int = len(EMOTIONS)) -> TransferNetwork:
    """ResNet-50 (He et al. 2016, arXiv:1512.03385), 23.6 M parameters.

    Layers: its convolutions, the last stage of which stays trainable; global average pooling; batch norm, fully
    connected 64, batch norm, dropout 0.5; `outputs`. Input (n, 1 or 3, 224, 224), or another size.
    """
    from torchvision.models import resnet50

    backbone = resnet50(weights=None)
    backbone.fc = nn.Identity()
    head = nn.Sequential(
        *(nn.BatchNorm1d(2048), nn.Linear(2048, 64), nn.ReLU(inplace=True)),
        *(nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, outputs)),
    )
    return TransferNetwork(backbone, head, "", ("layer4",))


def efficientnet_b0_transfer(outputs: int = len(EMOTIONS)) -> TransferNetwork:
    """EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946), 4.0 M parameters.

    Layers: its convolutions, the last stage of which and the 1x1 convolution after it stay trainable; global
    max-pooling; `outputs`. Input (n, 1 or 3, 224, 224), or another size.
    """
    from torchvision.models import efficientnet_b0

    backbone = efficientnet_b0(weights=None).features
    head = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(1280, outputs))
    return TransferNetwork(backbone, head, "features.", ("7", "8"))
