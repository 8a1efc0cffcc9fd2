"""Identity of the models of users, whose cards can be corrected while their weights stay the same."""

import hashlib
import json
from pathlib import Path

from fer_models.registry.model_registry import PACKAGED_DIR, read_card

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

    None for a model included in the package, whose card changes only together with its weights.

    Raises:
        WeightsError: if a card cannot be read, or a member is missing.
    """
    if folder.parent == PACKAGED_DIR:
        return None
    card = read_card(folder)
    hashes: list[str | None] = []
    if card.architecture == "ensemble":
        from fer_models.classification.ensemble import find_members  # imported here because it loads torch

        hashes = [card_hash(member) for member in find_members(folder)]
    fields = {name: value for name, value in card.as_json().items() if name in _OUTPUT_FIELDS}
    return hashlib.sha256(json.dumps([fields, hashes], sort_keys=True).encode()).hexdigest()[:16]
