"""Register models under a name: from a folder or a file made elsewhere, or as an ensemble of others."""

import dataclasses
import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from fer_models.atomic_files import replaced_atomically
from fer_models.classification.ensemble import Ensemble
from fer_models.classification.loading import load_classifier, load_from_folder
from fer_models.classification.onnx_classifier import OnnxClassifier, onnx_card, read_spec
from fer_models.classification.onnx_spec import OnnxSpec
from fer_models.detection import load_detector
from fer_models.labels import EMOTIONS
from fer_models.landmarks.landmarker import Landmarker
from fer_models.model_installation.download import install_retinaface
from fer_models.registry.ensemble_members import MAX_MEMBERS, combined_sha256
from fer_models.registry.model_card import read_validated, sum_if_known
from fer_models.registry.model_registry import (
    CARD_NAME,
    CHECKPOINTS,
    ENSEMBLE_ARCHITECTURE,
    ONNX_ARCHITECTURE,
    ONNX_NAME,
    RETINAFACE,
    ModelCard,
    WeightsError,
    find_model,
    list_model_dirs,
    load_model_folder,
    read_card,
    read_weights,
    save_card,
    save_model_folder,
    user_model_dir,
    user_models_dir,
    weights_path,
)


def add_model(name: str, path: Path, card_file: Path | None = None) -> Path:
    """Register a model; return its folder among the user's models.

    Args:
        name: the name under which it is registered.
        path: a model folder, an ONNX file, or the file of weights that `retina-face` downloads.
        card_file: for an ONNX file, the JSON file that describes its input and outputs, see `OnnxSpec`.

    Raises:
        WeightsError: if the model is damaged, cannot be loaded, or another model has this name.
        OSError: if a file cannot be read.
    """
    if path.is_dir():
        return _add_folder(name, path)
    if path.suffix.lower() == ".onnx":
        if card_file is None:
            raise WeightsError(f"{path}: an ONNX model needs --card FILE, which describes its input and outputs")
        return add_onnx(name, path, read_validated(card_file, OnnxSpec), source=str(card_file))
    if name != RETINAFACE:
        raise WeightsError(
            f"{path}: a single file is accepted for {RETINAFACE} only. Give a model folder, or FILE.onnx"
        )
    with path.open("rb") as file:
        return install_retinaface(file, source=str(path))


def _add_folder(name: str, path: Path) -> Path:
    card = read_card(path)
    is_retinaface = name == card.architecture == RETINAFACE
    folder = user_models_dir() / RETINAFACE if is_retinaface else user_model_dir(name)
    if card.architecture == ONNX_ARCHITECTURE:
        read_weights(path, card)  # raises an error if its hash is not that of the card
        return add_onnx(name, weights_path(path, card), read_spec(path, card), source=str(path))
    if card.architecture == ENSEMBLE_ARCHITECTURE:
        raise WeightsError(
            f"{path}: an ensemble cannot be added; create it here: "
            f"{shlex.join(['fervid', 'models', 'ensemble', name])} MODEL MODEL"
        )
    card = dataclasses.replace(card, name=name)
    refuse_other_model(folder, card)
    _check_loads(path.absolute(), card)  # before anything is written
    weights, _ = load_model_folder(path)
    save_model_folder(folder, weights, card)
    return folder


def _check_loads(folder: Path, card: ModelCard) -> None:
    """Check that a model can be loaded.

    Raises:
        WeightsError: if it is damaged.
    """
    if card.task == "landmarks":
        Landmarker.load(torch.device("cpu"), folder)
    elif card.task == "emotion":
        load_classifier(str(folder), "cpu")
    else:
        load_detector(str(folder), "cpu")


def add_onnx(name: str, path: Path, spec: OnnxSpec, *, source: str) -> Path:
    """Register an ONNX emotion model after one prediction; return its folder.

    Args:
        name: the name of the model.
        path: the ONNX file; it must contain all of its weights.
        spec: its input and outputs.
        source: the file of the spec, for messages.

    Raises:
        WeightsError: if the model cannot be loaded or does not fit its spec, or another model has this name.
    """
    folder = user_model_dir(name)
    spec.check(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    card = onnx_card(name, spec, dataclasses.asdict(spec), hashlib.sha256(content).hexdigest())
    refuse_other_model(folder, card)
    OnnxClassifier(content, path, spec, card, torch.device("cpu"))
    folder.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(folder / ONNX_NAME) as part:
        part.write_bytes(content)
    save_card(folder, card)
    return folder


def refuse_other_model(folder: Path, card: ModelCard) -> None:
    """Refuse to replace a model by another one.

    Raises:
        WeightsError: if `folder` contains a model with other weights or another card, or an unfinished training.
    """
    if not (folder / CARD_NAME).is_file():
        if (folder / CHECKPOINTS).exists():
            raise WeightsError(f"{folder.name}: an unfinished training is in {folder}. Choose another name")
        return
    known = read_card(folder)
    if known.sha256 != card.sha256:
        raise WeightsError(
            f"{folder.name}: another model has this name, with sha256 {known.sha256}. Choose another name, or remove "
            f"{folder}"
        )
    if _as_stored(known) != _as_stored(card):
        raise WeightsError(
            f"{folder.name}: the same weights have this name, with another card. To replace the card, first run: "
            f"{shlex.join(['fervid', 'models', 'remove', folder.name])}"
        )


def _as_stored(card: ModelCard) -> object:
    return json.loads(json.dumps(card.as_json()))


def make_ensemble(folder: Path, name: str, models: Sequence[str]) -> Path:
    """Create the model folder of an ensemble, after loading its members.

    Args:
        folder: the folder to create.
        name: the name on the card.
        models: names from `fervid models`, or model folders; paths are stored relative to `folder`.

    Raises:
        ValueError: if there are fewer than two members or too many, or one is given twice.
        WeightsError: if the folder exists, or a member cannot be loaded.
    """
    if folder.exists():
        raise WeightsError(f"{folder}: the folder exists already. Choose another name")
    cpu = torch.device("cpu")
    members = [load_from_folder(find_model(model, "emotion"), cpu, depth=1) for model in models]
    cards = [member.card for member in members]
    if len(cards) < 2 or len({card.sha256 for card in cards}) < len(cards):
        raise ValueError(f"an ensemble needs two or more different models, got {', '.join(models) or 'none'}")
    if len(cards) > MAX_MEMBERS:
        raise ValueError(f"an ensemble has at most {MAX_MEMBERS} members, got {len(cards)}")
    known = list_model_dirs()
    paths = [model if model in known else Path(os.path.relpath(model, folder)).as_posix() for model in models]
    named = [{"model": path, "sha256": card.sha256} for path, card in zip(paths, cards, strict=True)]
    card = ModelCard(
        name=name,
        task="emotion",
        architecture=ENSEMBLE_ARCHITECTURE,
        architecture_options={"members": named},
        classes=EMOTIONS,
        input_size_px=max(member.input_px for member in members),
        input_channels=max(card.input_channels for card in cards),
        parameters=sum_if_known([card.parameters for card in cards]),
        training_s=sum_if_known([card.training_s for card in cards]),
        protocol="Not measured; see its members.",
        license_note=" ".join(dict.fromkeys(card.license_note for card in cards if card.license_note)),
        sha256=combined_sha256(named),
    )
    Ensemble(members, card)  # raises an error if the members cannot be combined
    folder.mkdir(parents=True)
    save_card(folder, card)
    return folder
