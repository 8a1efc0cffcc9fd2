"""Ensembles average the probabilities of several classifiers, the members listed on the ensemble's card."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from fer_models.classification.classifier import EmotionClassifier
from fer_models.labels import EMOTIONS
from fer_models.registry.model_registry import (
    CARD_NAME,
    ModelCard,
    WeightsError,
    find_model,
    list_model_dirs,
    read_card,
)

ARCHITECTURE = "ensemble"
OTHER = len(EMOTIONS)  # index of the output for the probability of all other classes
MAX_MEMBERS = 32


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
        self.precision = " and ".join(sorted({member.precision for member in members}))
        self.input_px = max(member.input_px for member in members)
        self.chunk_crops = max(member.chunk_crops for member in members)
        if len({member.framing for member in members}) > 1:
            raise WeightsError(
                f"{card.name}: its members crop faces differently. Combine models with the same framing and box margin"
            )

    @property
    def framing(self) -> tuple[str, float]:
        """Framing of the face crops, the same for all members."""
        return self.members[0].framing

    def crop(
        self, aligned: Tensor, pixels: Tensor, frame: Tensor, boxes_xyxy: Tensor, side: Tensor, center: Tensor
    ) -> Tensor:
        """Crop faces for the member with the largest input, see `EmotionClassifier.crop`."""
        largest = max(self.members, key=lambda member: member.input_px)
        return largest.crop(aligned, pixels, frame, boxes_xyxy, side, center)

    def predict_all(self, crops: np.ndarray | Tensor) -> np.ndarray:
        """Average the outputs of the members, see `EmotionClassifier.predict_all`.

        Valence and arousal are averaged over the members that predict them. If any member has further classes, their
        probability is 0 for members without.
        """
        outputs = np.stack([member.predict_all(crops) for member in self.members])
        other = outputs[:, :, OTHER]
        other[:, ~np.isnan(other).all(axis=0)] = np.nan_to_num(other[:, ~np.isnan(other).all(axis=0)])
        n_known = (~np.isnan(outputs)).sum(axis=0)
        total = np.nansum(outputs, axis=0, dtype=np.float64)
        return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan).astype(np.float32)


def find_members(folder: Path) -> list[Path]:
    """Find the folders of the members of the ensemble in `folder`.

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
    if len(members) > MAX_MEMBERS:  # every member is loaded into memory, so a longer list could exhaust it
        raise WeightsError(f"{folder / CARD_NAME}: an ensemble has at most {MAX_MEMBERS} members, got {len(members)}")
    return [find_member(folder, member) for member in members]


def find_member(folder: Path, member: dict[str, str]) -> Path:
    """Find the folder of a member: relative to the folder of the ensemble, else by model name.

    Raises:
        WeightsError: if it does not exist, is an ensemble, or its weights have changed since the ensemble was made.
    """
    try:
        model, sha256 = member["model"], member["sha256"]
        relative = folder / model
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder / CARD_NAME}: a member needs its model and sha256: {member!r:.80}") from error
    try:
        found = relative if (relative / CARD_NAME).is_file() else find_model(model, "emotion")
    except WeightsError as error:
        raise WeightsError(f"{folder.name}: a member of this ensemble cannot be found: {error}") from error
    if read_card(found).sha256 != sha256:
        raise WeightsError(
            f"{found}: its weights have changed since {folder / CARD_NAME} was written. Make the ensemble again"
        )
    return found


def ensembles_with(model: Path) -> list[str]:
    """List the names of the registered ensembles of which the model in the folder `model` is a member."""
    return [name for name, folder in list_model_dirs().items() if model.resolve() in _available_members(folder)]


def _available_members(folder: Path) -> list[Path]:
    """The folders of those members that the ensemble in `folder` can use; empty if it is no ensemble or damaged."""
    found = []
    with contextlib.suppress(WeightsError):
        card = read_card(folder)
        members = card.architecture_options.get("members") if card.architecture == ARCHITECTURE else None
        for member in members if isinstance(members, list) else []:
            with contextlib.suppress(WeightsError):
                found.append(find_member(folder, member).resolve())
    return found


def combined_sha256(members: Sequence[Mapping[str, str]]) -> str:
    """Hash the sha256 of all members."""
    return hashlib.sha256("\n".join(member["sha256"] for member in members).encode()).hexdigest()
