"""The compact detector's network with random weights that give many detections."""

import torch
from torch import nn

from fer_models.detection.compact_network import CompactNet


def lively_network() -> CompactNet:
    """A network whose outputs vary between grid points, because the weights of its last layers are large."""
    torch.manual_seed(0)
    network = CompactNet()
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.weight, std=1.0)
            nn.init.zeros_(module.bias)
    return network
