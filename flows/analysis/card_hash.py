"""Identity of the models of users, whose cards can be corrected while their weights stay the same."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fer_models.registry.ensemble_members import find_members
from fer_models.registry.model_registry import CARD_NAME, ENSEMBLE_ARCHITECTURE, PACKAGED_DIR, ModelCard, read_card

# Fields of a model card that change the outputs of the model.
_OUTPUT_FIELDS = {
    "architecture",
    "architecture_options",
    "classes",
    "input_size_px",
    "input_channels",
    "mean",
    "std",
    "temperature",
    "largest_inputs",
    "score_threshold",
    "sha256",
}


def card_hash(folder: Path) -> str | None:
    """Hash of what a model's card says about its outputs, and the cards of the members of an ensemble.

    None for a model included in the package or a copy of one, whose card changes only together with its weights.

    Raises:
        WeightsError: if a card cannot be read, or a member is missing.
    """
    card = read_card(folder)
    fields = _output_fields(card)
    if any(fields == _output_fields(read_card(file.parent)) for file in PACKAGED_DIR.glob(f"*/{CARD_NAME}")):
        return None
    members = find_members(folder) if card.architecture == ENSEMBLE_ARCHITECTURE else []
    hashes = [card_hash(member) for member in members]
    return hashlib.sha256(json.dumps([fields, hashes], sort_keys=True).encode()).hexdigest()[:16]


def _output_fields(card: ModelCard) -> dict[str, Any]:
    return {name: value for name, value in card.as_json().items() if name in _OUTPUT_FIELDS}
