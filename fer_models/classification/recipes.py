"""How each architecture is trained, unless told otherwise."""

from dataclasses import dataclass

from fer_models.classification.architectures import ARCHITECTURES

AUGMENTATIONS = ("none", "standard", "strong")
LABELS = ("hard", "votes", "both")
OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    SGD runs with Nesterov momentum, one epoch of warm-up and half a cosine to zero; Adam at a constant rate. In the
    first `small_share` of the epochs faces are shown at `small_size_px`, which is quicker, then at `input_size_px`.
    """

    architecture: str = "face_resnet_se"
    epochs: int = 72
    batch_size: int = 128
    input_size_px: int = 40
    small_size_px: int = 32
    small_share: float = 0.6
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1  # of hard labels; votes say themselves how sure they are
    labels: str = "hard"  # "hard": the data set's labels; "votes": the annotators' shares; "both": a head for each
    augment: str = "strong"  # or "none", "standard"
    mixup: float = 0.3  # both parameters of the beta distribution of the share of the other picture; 0: no mixing
    mixup_share: float = 0.8  # of the epochs; the last ones see faces as they are
    ema_decay: float = 0.999  # of the moving average over weights; 0: none
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("architecture", self.architecture, tuple(ARCHITECTURES)),
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("labels", self.labels, LABELS),
            ("augment", self.augment, AUGMENTATIONS),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}; got {value!r}")
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"epochs must be at least 1 and batch_size at least 2: {self.epochs}, {self.batch_size}")
