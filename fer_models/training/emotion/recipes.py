"""Training recipes: the default hyperparameters of each architecture."""

import dataclasses
import math
from dataclasses import dataclass, replace
from typing import Any

from fer_models.classification.architectures import (
    ARCHITECTURES,
    FIXED_SIZE_ARCHITECTURES,
    MIN_INPUT_PX,
    PENALIZED_ARCHITECTURES,
)
from fer_models.registry.model_registry import NO_MODEL
from fer_models.training.emotion.augmentation import STRENGTHS
from fer_models.training.emotion.initialization import IMAGENET_FILES

AUGMENTATIONS = ("none", *STRENGTHS)
LABELS = ("hard", "votes", "both")
OPTIMIZERS = ("sgd", "adam")
# Lowest and highest value of each number in a recipe; both are allowed.
RANGES = {
    "epochs": (1, math.inf),
    "batch_size": (2, math.inf),
    "input_size_px": (16, 1024),
    "small_size_px": (16, 1024),
    "small_share": (0, 1),
    "learning_rate": (1e-9, math.inf),
    "weight_decay": (0, math.inf),
    "l2": (0, math.inf),
    "label_smoothing": (0, 1),
    "mixup": (0, math.inf),
    "mixup_share": (0, 1),
    "ema_decay": (0, 0.999999),
    "patience": (0, math.inf),
    "teacher_share": (0, 1),
    "teacher_temperature": (0.01, 100),
    "consistency": (0, math.inf),
}
# The options of `fervid train` for values of a recipe; --set sets all others.
OPTIONS = {
    "architecture": "ARCH",
    "epochs": "--epochs",
    "augment": "--augment",
    "labels": "--labels",
    "init": "--init",
    "init_labels": "--init-labels",
    "input_size_px": "--input-size",
    "teacher_labels": "--teacher-labels",
    "teacher_votes": "--teacher-votes",
    "consistency": "--consistency",
    "unlabeled": "--unlabeled",
    "patience": "--patience",
    "seed": "--seed",
}


def option_of(name: str) -> str:
    """The option of `fervid train` that sets a value of a recipe, for messages.

    >>> option_of("input_size_px"), option_of("small_size_px")
    ('--input-size', '--set small_size_px=…')
    """
    return OPTIONS.get(name, f"--set {name}=…")


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training.

    SGD uses Nesterov momentum, one epoch of warm-up, then a cosine schedule to zero; Adam uses a constant learning
    rate. The first `small_share` of the epochs train at `small_size_px`, which is faster, the rest at `input_size_px`.
    """

    architecture: str = "face_resnet_se"
    init: str = "scratch"  # "scratch", "imagenet", or the name or folder of the model to start from
    init_labels: str = ""  # the model that the head for labels starts from; the same as `init` if empty
    epochs: int = 72
    batch_size: int = 128
    input_size_px: int = 40
    small_size_px: int = 32
    small_share: float = 0.6
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    l2: float = 0.0  # weight of the sum of squared weights, see `l2_penalty`
    # Smoothing of hard labels; votes are not smoothed because they already express uncertainty.
    label_smoothing: float = 0.1
    # "hard": the data set's labels; "votes": shares of the annotators' votes; "both": a head for each
    labels: str = "hard"
    class_weights: bool = False  # weight the loss so that rare emotions count as much as frequent ones
    augment: str = "strong"  # strength of augmentation: "none", "standard", "strong" or "wide"
    mixup: float = 0.3  # both parameters of the beta distribution from which mixup draws its shares; 0: no mixup
    mixup_share: float = 0.8  # mixup is used in this share of the epochs, from the first one on
    ema_decay: float = 0.999  # decay of the moving average of the weights; 0: no averaging
    patience: int = 0  # stop after this many epochs without a lower loss on PublicTest; 0: never
    teacher_labels: str = ""  # the model whose probabilities are mixed into the targets of the head for labels
    teacher_votes: str = ""  # the model whose probabilities are mixed into the targets of the head for votes
    teacher_share: float = 0.5  # share of the teacher's probabilities in the targets
    teacher_temperature: float = 1.0  # softens (above 1) or sharpens (below 1) the teacher's probabilities
    consistency: float = 0.0  # weight of the consistency loss; 0: no consistency training
    # Parquet file of photographs whose faces the consistency loss uses, in addition to the labeled ones
    unlabeled: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("architecture", self.architecture, tuple(ARCHITECTURES)),
            ("optimizer", self.optimizer, OPTIMIZERS),
            ("labels", self.labels, LABELS),
            ("augment", self.augment, AUGMENTATIONS),
        ):
            if value not in allowed:
                raise ValueError(f"{option_of(name)} must be one of {', '.join(allowed)}; got {value!r}")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not (low <= value <= high and math.isfinite(value)):
                limits = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
                raise ValueError(f"{option_of(name)} must be {limits}; got {value}")
        least_px = MIN_INPUT_PX.get(self.architecture, 0)
        if self.input_size_px < least_px:
            raise ValueError(
                f"--input-size must be at least {least_px} for {self.architecture}; got {self.input_size_px}"
            )
        if self.small_share and self.architecture in FIXED_SIZE_ARCHITECTURES:
            raise ValueError(
                f"--set small_share=… must be 0 for {self.architecture}, which has inputs of one size; got "
                f"{self.small_share}"
            )
        if self.small_share and self.small_size_px > self.input_size_px:
            object.__setattr__(self, "small_size_px", self.input_size_px)
        if self.weight_decay and self.optimizer == "adam":
            raise ValueError(
                f"--set weight_decay=… must be 0 with optimizer=adam, which is used without it; got {self.weight_decay}"
            )
        if self.l2 and self.architecture not in PENALIZED_ARCHITECTURES:
            raise ValueError(
                f"--set l2=… must be 0 for {self.architecture}: only layers of "
                f"{' and '.join(PENALIZED_ARCHITECTURES)} have this penalty; got {self.l2}"
            )
        for name, head in (("teacher_labels", "hard"), ("teacher_votes", "votes")):
            if getattr(self, name) and self.labels not in (head, "both"):
                raise ValueError(f"{option_of(name)} needs --labels {head} or both, got {self.labels}")
        if self.init_labels and self.labels != "both":
            raise ValueError(
                f"--init-labels needs --labels both (a head for labels and one for votes), got {self.labels}"
            )
        if self.init_labels and self.init in NO_MODEL:
            raise ValueError("--init-labels needs --init MODEL, the other model of the same training")
        if self.unlabeled and not self.consistency:
            raise ValueError("--unlabeled is used by the consistency loss only: give --consistency above 0")
        if self.init == "imagenet" and self.architecture not in IMAGENET_FILES:
            raise ValueError(f"--init imagenet: weights exist for {', '.join(IMAGENET_FILES)} only")


# As many FER-2013 projects train: Adam at a constant learning rate, no label smoothing, no augmentation.
PLAIN = Recipe(
    optimizer="adam",
    learning_rate=1e-4,
    weight_decay=0.0,
    label_smoothing=0.0,
    epochs=60,
    patience=12,
    input_size_px=48,
    small_share=0.0,
    augment="none",
    mixup=0.0,
    ema_decay=0.0,
)
TRANSFER = replace(PLAIN, input_size_px=224, batch_size=32, epochs=30, patience=5, augment="standard")
RESIDUAL = Recipe(input_size_px=48, small_size_px=40)
# The recipe of each architecture; `recipe_for` adds its name.
RECIPES = {
    "face_resnet": Recipe(),
    "face_resnet_se": Recipe(),
    "resnet18": RESIDUAL,
    "resnet50": RESIDUAL,
    "cnn4": replace(PLAIN, learning_rate=1e-3),
    "cnn5": replace(PLAIN, architecture="cnn5", l2=0.01),
    "cnn_wide": replace(PLAIN, architecture="cnn_wide", l2=0.01),
    "vgg16_transfer": TRANSFER,
    "resnet50_transfer": replace(TRANSFER, class_weights=True),
    "efficientnet_b0_transfer": replace(TRANSFER, learning_rate=1e-3),
}


def recipe_for(architecture: str, **given: Any) -> Recipe:
    """Return the recipe of an architecture with some values replaced; None keeps the architecture's default.

    Raises:
        ValueError: if there is no such architecture, a value is not allowed, or `init` is missing for an architecture
            with ImageNet weights.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if architecture in IMAGENET_FILES and "init" not in given:
        raise ValueError(
            f"{architecture} can start from ImageNet weights (--init imagenet; {IMAGENET_FILES[architecture]} is "
            "downloaded if missing) or from scratch (--from-scratch): choose one"
        )
    return replace(RECIPES.get(architecture, Recipe()), architecture=architecture, **given)


def parse_recipe_values(assignments: list[str]) -> dict[str, str | int | float | bool]:
    """Parse texts such as "learning_rate=0.05" into values of `Recipe`, by name.

    >>> parse_recipe_values(["learning_rate=0.05", "epochs=3", "class_weights=true"])
    {'learning_rate': 0.05, 'epochs': 3, 'class_weights': True}

    Raises:
        ValueError: if a text has no "=", its name is not a field of `Recipe`, or its value has the wrong type.
    """
    types = {name: type(value) for name, value in dataclasses.asdict(Recipe()).items()}
    values: dict[str, str | int | float | bool] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or name not in types:
            raise ValueError(f"--set {assignment}: not NAME=VALUE with one of the names {', '.join(types)}")
        if types[name] is bool and text not in ("true", "false"):
            raise ValueError(f"--set {name}=… must be true or false, got {text!r}")
        try:
            values[name] = text == "true" if types[name] is bool else types[name](text)
        except ValueError as error:
            number = "a whole number" if types[name] is int else "a number"
            raise ValueError(f"--set {name}=… must be {number}, got {text!r}") from error
    return values
