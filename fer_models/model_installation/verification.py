"""Verify the weights of every model that can be found by its name."""

from pathlib import Path

from fer_models.registry.ensemble_members import find_members
from fer_models.registry.model_registry import (
    ENSEMBLE_ARCHITECTURE,
    ONNX_ARCHITECTURE,
    ModelCard,
    WeightsError,
    list_cards,
    load_model_folder,
    read_card,
    read_weights,
)


def check_models() -> dict[str, ModelCard | WeightsError]:
    """Hash the weights of every model; return its card, or the error if it is damaged, by model name."""
    return list_cards(check_model)


def check_model(folder: Path) -> ModelCard:
    """Hash the weights of a model, or those of all members of an ensemble.

    Raises:
        WeightsError: if a file is missing or damaged.
    """
    card = read_card(folder)
    if card.architecture == ENSEMBLE_ARCHITECTURE:
        for member in find_members(folder):
            check_model(member)
        return card
    if card.architecture == ONNX_ARCHITECTURE:
        read_weights(folder, card)
        return card
    return load_model_folder(folder)[1]
