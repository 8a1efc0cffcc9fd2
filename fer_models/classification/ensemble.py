"""Several classifiers as one: a model folder that names its members and averages their probabilities."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fer_models.classification.classifier import EmotionClassifier, load_classifier
from fer_models.labels import EMOTIONS
from fer_models.registry.model_registry import (
    CARD_NAME,
    ModelCard,
    WeightsError,
    find_model,
    list_model_dirs,
    read_card,
    save_card,
)

ARCHITECTURE = "ensemble"


class Ensemble(EmotionClassifier):
    """The mean of the calibrated probabilities of several classifiers.

    Args:
        members: at least one, on one device; each takes crops of any size.
        card: of the ensemble.
    """

    def __init__(self, members: Sequence[EmotionClassifier], card: ModelCard) -> None:
        self.members = tuple(members)
        self.card = card
        self.device, self.dtype = members[0].device, members[0].dtype
        self.size_px = max(member.size_px for member in members)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> "Ensemble":
        """The ensemble in a model folder, with its members, which are found beside it or by their names.

        Raises:
            WeightsError: if a member is missing, or is not the one that the card names.
        """
        card = read_card(folder)
        try:
            members = card.architecture_options["members"]
            whole = card.sha256 == combined_sha256(members) and len(members) > 0
        except (KeyError, TypeError) as error:
            raise WeightsError(f"{folder / CARD_NAME}: an ensemble must name its members: {error}") from error
        if not whole:
            raise WeightsError(f"{folder / CARD_NAME}: its sha256 is not that of the members it names")
        return cls([load_classifier(str(find_member(folder, member)), device.type) for member in members], card)

    def predict(self, crops: np.ndarray | Tensor) -> np.ndarray:
        """Probabilities (m, 7) float32 as those of a single classifier, see `EmotionClassifier.predict`."""
        scores = np.stack([member.predict(crops) for member in self.members])
        return np.asarray(scores.mean(axis=0), np.float32)


def find_member(folder: Path, member: dict[str, str]) -> Path:
    """The folder of a member: beside the ensemble's own, or of that name.

    Raises:
        WeightsError: if there is none, or its weights are others than when the ensemble was made.
    """
    beside = folder / member["model"]
    found = beside if (beside / CARD_NAME).is_file() else find_model(member["model"], "emotion")
    if read_card(found).sha256 != member["sha256"]:
        raise WeightsError(f"{found}: not the weights that {folder / CARD_NAME} names: make the ensemble again")
    return found


def combined_sha256(members: Sequence[dict[str, Any]]) -> str:
    """A hash that changes when a member does."""
    return hashlib.sha256("\n".join(member["sha256"] for member in members).encode()).hexdigest()


def make_ensemble(folder: Path, name: str, models: Sequence[str]) -> Path:
    """Write the model folder of an ensemble, once its members have been found to work.

    Args:
        folder: to make; nothing may be there.
        name: on the card.
        models: names from `fervid models`, or model folders, whose places are kept as seen from `folder`.

    Raises:
        ValueError: if there are fewer than two members, or one twice.
        WeightsError: if there is something in the folder, or a member cannot be loaded.
    """
    if folder.exists():
        raise WeightsError(f"{folder}: there is something already: choose another name")
    members = [load_classifier(model, "cpu") for model in models]
    cards = [member.card for member in members]
    if len(cards) < 2 or len({card.sha256 for card in cards}) < len(cards):
        raise ValueError(f"an ensemble needs two or more different models, got {', '.join(models) or 'none'}")
    known = list_model_dirs()
    places = [model if model in known else Path(os.path.relpath(model, folder)).as_posix() for model in models]
    named = [{"model": place, "sha256": card.sha256} for place, card in zip(places, cards, strict=True)]
    card = ModelCard(
        name=name,
        task="emotion",
        architecture=ARCHITECTURE,
        architecture_options={"members": named},
        classes=EMOTIONS,
        input_size_px=max(member.size_px for member in members),
        input_channels=max(card.input_channels for card in cards),
        parameters=sum(card.parameters for card in cards),
        training_s=sum(card.training_s for card in cards),
        protocol="Not measured: its members were.",
        licence_note=" ".join(dict.fromkeys(card.licence_note for card in cards if card.licence_note)),
        sha256=combined_sha256(named),
    )
    folder.mkdir(parents=True)
    save_card(folder, card)
    return folder
