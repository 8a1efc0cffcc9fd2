"""Knowledge distillation: teachers, whose probabilities are mixed into the training targets."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.loading import load_classifier
from fer_models.classification.normalization import MEAN, STD
from fer_models.training.emotion.recipes import Recipe

TEACHER_SIZE_PX = 48  # side of the crops that teachers get: the full resolution of FER-2013


class Teachers(dict[str, EmotionClassifier]):
    """The teacher of each head ("hard" or "votes") that has one.

    Copies of a training module, such as its moving average, share its teachers: weights in 8-bit integers cannot be
    copied.
    """

    def __deepcopy__(self, memo: object) -> "Teachers":
        return self


def load_teachers(recipe: Recipe, heads: Sequence[str], device: str) -> Teachers:
    """Load the teachers of a recipe.

    Raises:
        DeviceError: if the device is not available.
        WeightsError: if there is no such model, or it is damaged.
    """
    names = {"hard": recipe.teacher_labels, "votes": recipe.teacher_votes}
    loaded = {name: load_classifier(name, device) for name in {names[head] for head in heads} if name}
    return Teachers({head: loaded[names[head]] for head in heads if names[head]})


def teacher_probabilities(teacher: EmotionClassifier, crops: Tensor, temperature: float) -> Tensor:
    """Predict probabilities (n, 7) for normalized gray crops (n, 1, h, w) (Hinton et al. 2015, arXiv:1503.02531).

    The crops are the augmented and mixed ones of the student (Beyer et al. 2022, arXiv:2106.05237).
    """
    pixels = ((crops[:, 0] * STD + MEAN) * 255).round().clamp(0, 255).to(torch.uint8)
    scores = torch.from_numpy(teacher.predict(pixels)).to(crops.device)
    return (scores.log() / temperature).softmax(dim=1)
