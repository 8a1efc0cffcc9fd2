"""How each architecture is trained, unless told otherwise."""

from dataclasses import dataclass
from typing import Any

from fer_models.classification.architectures import ARCHITECTURES
from fer_models.training.emotion.augmentation import STRENGTHS
from fer_models.training.emotion.initialization import IMAGENET_FILES

AUGMENTATIONS = ("none", *STRENGTHS)
LABELS = ("hard", "votes", "both")
OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained.

    SGD runs with Nesterov momentum, one epoch of warm-up and half a cosine to zero; Adam at a constant rate. In the
    first `small_share` of the epochs faces are shown at `small_size_px`, which is quicker, then at `input_size_px`.
    """

    architecture: str = "face_resnet_se"
    init: str = "scratch"  # or "imagenet", or a model to go on from
    epochs: int = 72
    batch_size: int = 128
    input_size_px: int = 40
    small_size_px: int = 32
    small_share: float = 0.6
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    l2: float = 0.0  # of the squared weights of the layers that the architecture names, added to the loss
    label_smoothing: float = 0.1  # of hard labels; votes say themselves how sure they are
    labels: str = "hard"  # "hard": the data set's labels; "votes": the annotators' shares; "both": a head for each
    class_weights: bool = False  # every emotion counts as much as any other, however rare
    augment: str = "strong"  # or "none", "standard", "wide"
    mixup: float = 0.3  # both parameters of the beta distribution of the share of the other picture; 0: no mixing
    mixup_share: float = 0.8  # of the epochs; the last ones see faces as they are
    ema_decay: float = 0.999  # of the moving average over weights; 0: none
    patience: int = 0  # end after so many epochs without a better one; 0: never
    teacher: str = ""  # a model whose probabilities are part of the targets; none if empty
    teacher_share: float = 0.5  # of the teacher's probabilities in the targets
    teacher_temperature: float = 1.0  # softens (above 1) or sharpens what the teacher says
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
        if self.small_share and self.small_size_px > self.input_size_px:
            object.__setattr__(self, "small_size_px", self.input_size_px)
        if self.input_size_px < 16:
            raise ValueError(f"input_size must be at least 16 px, got {self.input_size_px}")
        if self.init == "imagenet" and self.architecture not in IMAGENET_FILES:
            raise ValueError(f"init: there are ImageNet weights for {', '.join(IMAGENET_FILES)} only")


# As many FER-2013 projects train: Adam at a constant rate, the labels as they are, faces as they are.
PLAIN: dict[str, Any] = {
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "label_smoothing": 0.0,
    "epochs": 60,
    "patience": 12,
    "input_size_px": 48,
    "small_share": 0.0,
    "augment": "none",
    "mixup": 0.0,
    "ema_decay": 0.0,
}
TRANSFER = PLAIN | {"input_size_px": 224, "batch_size": 32, "epochs": 30, "patience": 5, "augment": "standard"}
RESIDUAL = {"input_size_px": 48, "small_size_px": 40}
RECIPES: dict[str, dict[str, Any]] = {
    "face_resnet": {},
    "face_resnet_se": {},
    "resnet18": RESIDUAL,
    "resnet50": RESIDUAL,
    "cnn4": PLAIN | {"learning_rate": 1e-3},
    "cnn5": PLAIN | {"l2": 0.01},
    "cnn_wide": PLAIN | {"l2": 0.01},
    "vgg16_transfer": TRANSFER,
    "resnet50_transfer": TRANSFER | {"class_weights": True},
    "efficientnet_b0_transfer": TRANSFER | {"learning_rate": 1e-3},
}


def recipe_for(architecture: str, **given: Any) -> Recipe:
    """The recipe of an architecture, with what is given in place of its own; None counts as not given.

    Raises:
        ValueError: if there is no such architecture, a value is not allowed, or the start of a transfer is left open.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if architecture in IMAGENET_FILES and "init" not in given:
        raise ValueError(
            f"{architecture} can start from ImageNet weights (--init imagenet; {IMAGENET_FILES[architecture]} is "
            "downloaded if it is not there) or from scratch (--from-scratch): choose one"
        )
    return Recipe(**{"architecture": architecture, **RECIPES.get(architecture, {}), **given})
