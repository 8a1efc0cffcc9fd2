"""The members of ensembles: model folders that the card of an ensemble lists, with the hashes of their weights."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from fer_models.registry.model_registry import (
    CARD_NAME,
    ENSEMBLE_ARCHITECTURE,
    WeightsError,
    find_model,
    list_model_dirs,
    read_card,
)

MAX_MEMBERS = 32


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
        members = card.architecture_options.get("members") if card.architecture == ENSEMBLE_ARCHITECTURE else None
        for member in members if isinstance(members, list) else []:
            with contextlib.suppress(WeightsError):
                found.append(find_member(folder, member).resolve())
    return found


def combined_sha256(members: Sequence[Mapping[str, str]]) -> str:
    """Hash the sha256 of all members."""
    return hashlib.sha256("\n".join(member["sha256"] for member in members).encode()).hexdigest()
