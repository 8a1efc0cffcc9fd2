"""The recipe of a training of the compact detector."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LEARNING_RATE, LEARNING_RATE_FROM_INIT = 2e-3, 1e-3


@dataclass(frozen=True)
class DetectorRecipe:
    """Settings of the training of a detector."""

    epochs: int = 100  # number of passes over the samples, over which the learning rate falls to 1 %
    seed: int = 0
    init: str | None = None  # name or folder of the compact detector to start from
    # Folder with the weights of RetinaFace-MobileNet-0.25 and CenterFace, whose detections are merged with the labels.
    references: Path | None = None
    batch_size: int = 32
    learning_rate: float | None = None  # maximum learning rate; None: 2e-3, or 1e-3 with `init`
    # Number of augmented inputs per epoch; None: the number of training photographs.
    samples_per_epoch: int | None = None
    network_options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of `CompactNet`

    @property
    def max_learning_rate(self) -> float:
        """The learning rate after the warm-up."""
        return self.learning_rate or (LEARNING_RATE_FROM_INIT if self.init else LEARNING_RATE)
