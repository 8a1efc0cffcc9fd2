"""Plain convolutional networks that many public FER-2013 projects use, as baselines for the packaged models."""

from torch import Tensor, nn

from fer_models.labels import EMOTIONS


class PlainNetwork(nn.Module):
    """Convolutions followed by fully connected layers, each with a ReLU.

    Weights are initialized as in Glorot and Bengio 2010 ("Understanding the difficulty of training deep feedforward
    neural networks"): with smaller initial weights, the networks without batch norm do not learn.

    Args:
        features: layers that map (n, 1, h, w) to feature maps.
        head: fully connected layers.
        l2_layers: names of the layers with an L2 penalty, see `l2_penalty`.
    """

    def __init__(self, features: list[nn.Module], head: list[nn.Module], l2_layers: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.features = nn.Sequential(*features)
        self.head = nn.Sequential(nn.Flatten(), *head)
        self.l2_layers = l2_layers
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map normalized gray crops (n, 1, h, w) of the size it was built for to logits (n, outputs)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def conv(channels_in: int, channels_out: int, kernel: int = 3, *, same: bool = True) -> list[nn.Module]:
    """Return a convolution and its ReLU, with padding that keeps the size (`same`) or without padding."""
    return [nn.Conv2d(channels_in, channels_out, kernel, padding="same" if same else 0), nn.ReLU(inplace=True)]


def pool(dropout: float, norm: int = 0) -> list[nn.Module]:
    """Return the end of a block: batch norm (of `norm` channels; 0: none), 2x2 max-pooling and dropout."""
    return [*([nn.BatchNorm2d(norm)] if norm else []), nn.MaxPool2d(2), nn.Dropout(dropout)]


def dense(inputs: int, outputs: int, dropout: float, *, norm: bool = False) -> list[nn.Module]:
    """Return a fully connected layer, its ReLU, an optional batch norm, and dropout."""
    norms = [nn.BatchNorm1d(outputs)] if norm else []
    return [nn.Linear(inputs, outputs), nn.ReLU(inplace=True), *norms, nn.Dropout(dropout)]


def cnn4(input_size_px: int = 48, outputs: int = len(EMOTIONS)) -> PlainNetwork:
    """Four convolutions without batch norm, 4.2 M parameters.

    Layers: 3x3 convolutions without padding to 128, 256, 512 and 512 channels, each with 2x2 max-pooling and dropout
    0.4; fully connected 512 (dropout 0.4), 256 (0.3), `outputs`. Input (n, 1, 48, 48).

    Source: several public FER-2013 projects; no paper.
    """
    features: list[nn.Module] = []
    channels, size_px = 1, input_size_px
    for width in (128, 256, 512, 512):
        features += [*conv(channels, width, same=False), *pool(0.4)]
        channels, size_px = width, (size_px - 2) // 2
    head = [*dense(512 * size_px**2, 512, 0.4), *dense(512, 256, 0.3), nn.Linear(256, outputs)]
    return PlainNetwork(features, head)


def cnn5(input_size_px: int = 48, outputs: int = len(EMOTIONS)) -> PlainNetwork:
    """Five convolutions with batch norm, 4.5 M parameters.

    Layers: convolutions that keep the size, 3x3 to 32 and 64 channels, 5x5 to 128, 3x3 to 512 and 512 (L2); batch
    norm, 2x2 max-pooling and dropout 0.25 after all but the first; fully connected 256 and 512, each with batch norm
    and dropout 0.25; `outputs`. Input (n, 1, 48, 48).

    Source: several public FER-2013 projects; no paper.
    """
    features = [
        *(*conv(1, 32), *conv(32, 64), *pool(0.25, norm=64)),
        *(*conv(64, 128, 5), *pool(0.25, norm=128)),
        *(*conv(128, 512), *pool(0.25, norm=512)),
        *(*conv(512, 512), *pool(0.25, norm=512)),
    ]
    size_px = input_size_px // 16
    head = [
        *dense(512 * size_px**2, 256, 0.25, norm=True),
        *dense(256, 512, 0.25, norm=True),
        nn.Linear(512, outputs),
    ]
    return PlainNetwork(features, head, l2_layers=("features.12", "features.17"))


def cnn_wide(input_size_px: int = 48, outputs: int = len(EMOTIONS)) -> PlainNetwork:
    """Six convolutions and a wide fully connected layer, 17 M parameters, 13 M of them in that layer.

    Layers: 3x3 convolutions to 32, 64, 128, 256 (without padding, L2), 512 and 512 channels (L2), the others with
    padding; batch norm, 2x2 max-pooling and dropout 0.25 after every second; fully connected 1024 (dropout 0.5),
    `outputs`. Input (n, 1, 48, 48).

    Source: several public FER-2013 projects; no paper.
    """
    features = [
        *(*conv(1, 32), *conv(32, 64), *pool(0.25, norm=64)),
        *(*conv(64, 128), *conv(128, 256, same=False), *pool(0.25, norm=256)),
        *(*conv(256, 512), *conv(512, 512), *pool(0.25, norm=512)),
    ]
    size_px = (input_size_px // 2 - 2) // 2 // 2
    head = [*dense(512 * size_px**2, 1024, 0.5), nn.Linear(1024, outputs)]
    return PlainNetwork(features, head, l2_layers=("features.9", "features.14", "features.16"))
