"""Ensembles average the probabilities of several classifiers, the members listed on the ensemble's card."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fer_models.classification.classifier import EmotionClassifier
from fer_models.labels import EMOTIONS
from fer_models.registry.model_registry import ModelCard, WeightsError

OTHER = len(EMOTIONS)  # index of the output for the probability of all other classes


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
        self.channels = max(member.channels for member in members)
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
