"""Knowledge distillation: classifiers whose probabilities are part of the training targets."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fer_models.classification.classifier import EmotionClassifier
from fer_models.classification.loading import load_classifier
from fer_models.classification.normalization import MEAN, STD
from fer_models.training.emotion.recipes import Recipe

TEACHER_SIZE_PX = 48  # teachers see crops at the full resolution of FER-2013


def load_teachers(recipe: Recipe, heads: Sequence[str], device: str) -> dict[str, EmotionClassifier]:
    """Load the teacher of each head that the recipe names one for.

    Raises:
        DeviceError: if the device is not available.
        WeightsError: if there is no such model, or it is damaged.
    """
    names = {"hard": recipe.teacher_labels, "votes": recipe.teacher_votes}
    loaded = {name: load_classifier(name, device) for name in {names[head] for head in heads} if name}
    return {head: loaded[names[head]] for head in heads if names[head]}


def ask(teacher: EmotionClassifier, crops: Tensor, temperature: float) -> Tensor:
    """Probabilities (n, 7) of a teacher for normalized gray crops (n, 1, h, w) (Hinton et al. 2015, arXiv:1503.02531).

    The teacher sees the crops as they were augmented and mixed (Beyer et al. 2022, arXiv:2106.05237).
    """
    pixels = ((crops[:, 0] * STD + MEAN) * 255).round().clamp(0, 255).to(torch.uint8)
    scores = torch.from_numpy(teacher.predict(pixels)).to(crops.device)
    return (scores.log() / temperature).softmax(dim=1)
