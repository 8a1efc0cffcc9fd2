"""Ensembles: the mean of the probabilities of several classifiers, which a model folder names as its members."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from fer_models.classification.classifier import EmotionClassifier
from fer_models.labels import EMOTIONS
from fer_models.registry.model_registry import CARD_NAME, ModelCard, WeightsError, find_model, read_card

ARCHITECTURE = "ensemble"
OTHER = len(EMOTIONS)  # the column of other classes


class Ensemble(EmotionClassifier):
    """The mean of the calibrated probabilities of several classifiers.

    Args:
        members: at least one, all on one device; each resamples crops to its own input size.
        card: of the ensemble.
    """

    def __init__(self, members: Sequence[EmotionClassifier], card: ModelCard) -> None:
        self.members = tuple(members)
        self.card = card
        self.device, self.dtype = members[0].device, members[0].dtype
        self.size_px = max(member.size_px for member in members)
        self.input_px = max(member.input_px for member in members)
        if len({member.framing for member in members}) > 1:
            raise WeightsError(f"{card.name}: its members frame faces differently, so one crop does not serve them all")

    @property
    def framing(self) -> tuple[str, float]:
        """The framing of all members."""
        return self.members[0].framing

    def crop(
        self, aligned: Tensor, pixels: Tensor, frame: Tensor, boxes_xyxy: Tensor, side: Tensor, center: Tensor
    ) -> Tensor:
        """The crops of the member with the largest input, see `EmotionClassifier.crop`."""
        largest = max(self.members, key=lambda member: member.input_px)
        return largest.crop(aligned, pixels, frame, boxes_xyxy, side, center)

    def predict_all(self, crops: np.ndarray | Tensor) -> np.ndarray:
        """The mean of all outputs, see `EmotionClassifier.predict_all`; of valence and arousal over those that know it.

        A member without other classes gives them the probability 0 if another member has some.
        """
        outputs = np.stack([member.predict_all(crops) for member in self.members])
        other = outputs[:, :, OTHER]
        other[:, ~np.isnan(other).all(axis=0)] = np.nan_to_num(other[:, ~np.isnan(other).all(axis=0)])
        n_known = (~np.isnan(outputs)).sum(axis=0)
        total = np.nansum(outputs, axis=0, dtype=np.float64)
        return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan).astype(np.float32)


def find_members(folder: Path) -> list[Path]:
    """The folders of the members of the ensemble in `folder`.

    Raises:
        WeightsError: if the card does not name its members, or a member is missing or has other weights.
    """
    card = read_card(folder)
    try:
        members = card.architecture_options["members"]
        whole = card.sha256 == combined_sha256(members) and len(members) > 0
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{folder / CARD_NAME}: an ensemble must name its members: {error}") from error
    if not whole:
        raise WeightsError(f"{folder / CARD_NAME}: its sha256 is not that of the members it names")
    return [find_member(folder, member) for member in members]


def find_member(folder: Path, member: dict[str, str]) -> Path:
    """The folder of a member: relative to the folder of the ensemble, else by its name.

    Raises:
        WeightsError: if it does not exist, is an ensemble, or its weights have changed since the ensemble was made.
    """
    try:
        model, sha256 = member["model"], member["sha256"]
        beside = folder / model
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder / CARD_NAME}: a member needs its model and sha256: {member!r:.80}") from error
    found = beside if (beside / CARD_NAME).is_file() else find_model(model, "emotion")
    if read_card(found).sha256 != sha256:
        raise WeightsError(
            f"{found}: its weights have changed since {folder / CARD_NAME} was written. Make the ensemble again"
        )
    return found


def combined_sha256(members: Sequence[dict[str, Any]]) -> str:
    """A hash that changes when a member does."""
    return hashlib.sha256("\n".join(member["sha256"] for member in members).encode()).hexdigest()
