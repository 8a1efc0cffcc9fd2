"""Model folders (weights and a card, `model.json`): found by name or path, loaded, verified and written."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path
from safetensors import SafetensorError

from fer_models.atomic_files import replaced_atomically
from fer_models.registry.model_card import CARD_NAME as CARD_NAME
from fer_models.registry.model_card import ModelCard as ModelCard
from fer_models.registry.model_card import WeightsError as WeightsError
from fer_models.registry.model_card import read_card as read_card

if TYPE_CHECKING:
    from torch import Tensor

PACKAGED_DIR = Path(__file__).parents[1] / "weights"
WEIGHTS_NAME, ONNX_NAME = "model.safetensors", "model.onnx"
ONNX_ARCHITECTURE, ENSEMBLE_ARCHITECTURE = "onnx", "ensemble"
NO_MODEL = ("scratch", "imagenet")  # values of `train --init` that are not models
RETINAFACE = "retinaface"  # name and architecture of the detector that `models fetch` downloads
RESERVED_NAMES = {"--init": NO_MODEL, "--detector": ("auto", RETINAFACE)}
CHECKPOINTS = "checkpoints"  # subfolder of a training that contains its checkpoints


def user_models_dir() -> Path:
    """Return the folder of the user's models; by default `~/.local/share/fervid/models` on Linux."""
    return user_data_path("fervid", appauthor=False) / "models"


def user_model_dir(name: str) -> Path:
    """Return the folder of a model that the user trains or registers under this name.

    Raises:
        WeightsError: if the name cannot be the name of a folder, is that of a model included in the package, or has
            another meaning.
    """
    if not name.strip() or Path(name).name != name or name.startswith(".") or not name.isprintable():
        raise WeightsError(f"{name!r}: not a valid model name. It becomes the name of a folder")
    for option, names in RESERVED_NAMES.items():
        if name in names:
            raise WeightsError(
                f"{name!r}: not a model name, because {option} gives it another meaning. Choose another name"
            )
    if is_packaged_name(name):
        raise WeightsError(f"{name}: the name of a model included in the package. Choose another name")
    return user_models_dir() / name


def is_packaged_name(name: str) -> bool:
    """Whether a model of this name is included in the package."""
    return (PACKAGED_DIR / name / CARD_NAME).is_file()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_model_dirs() -> dict[str, Path]:
    """Map the name of every model to its folder; a user's model hides a packaged one of the same name."""
    folders: dict[str, Path] = {}
    for parent in (PACKAGED_DIR, user_models_dir()):
        for card in sorted(parent.glob(f"*/{CARD_NAME}")):
            folders[card.parent.name] = card.parent
    return folders


def model_source(name: str) -> str:
    """Say where the model of this name comes from: the package or the user.

    Earlier versions let a model of the user replace a packaged one of the same name.
    """
    if list_model_dirs()[name].parent == PACKAGED_DIR:
        return "package"
    return "user, replaces package" if is_packaged_name(name) else "user"


def list_cards(read: Callable[[Path], ModelCard] = read_card) -> dict[str, ModelCard | WeightsError]:
    """Map the name of every model to its card, or to the error if `read` fails for its folder."""
    cards: dict[str, ModelCard | WeightsError] = {}
    for name, folder in list_model_dirs().items():
        try:
            cards[name] = read(folder)
        except WeightsError as error:
            cards[name] = error
    return cards


def find_model(name: str, task: str | None = None) -> Path:
    """Return the folder of a model, given its name or its folder.

    Raises:
        WeightsError: if there is no such model, or its task is not `task`.
    """
    folders = list_model_dirs()
    folder = folders.get(name) or Path(name)
    if not (folder / CARD_NAME).is_file():
        cards = list_cards().items()
        known = ", ".join(sorted(name for name, card in cards if task is None or getattr(card, "task", None) == task))
        raise WeightsError(f"{name}: no such model. Known: {known}; or give a model folder (one with a {CARD_NAME})")
    if task is not None and (found := read_card(folder).task) != task:
        raise WeightsError(f"{name}: a model for task {found!r}, but one for {task!r} is needed")
    return folder


def portable_model_ref(name: str) -> str:
    """Return the model's name, or the absolute path of its folder, which are valid in any working directory."""
    return name if name in list_model_dirs() else str(Path(name).absolute())


def weights_path(folder: Path, card: ModelCard) -> Path:
    """Return the path of the weights file of a model."""
    return folder / (ONNX_NAME if card.architecture == ONNX_ARCHITECTURE else WEIGHTS_NAME)


def read_weights(folder: Path, card: ModelCard) -> bytes:
    """Read the weights file of a model, and check that it has the sha256 on its card.

    Raises:
        WeightsError: if the file cannot be read or has another hash.
    """
    path = weights_path(folder, card)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: weights cannot be read: {error.strerror or error}") from error
    if (found := hashlib.sha256(content).hexdigest()) != card.sha256:
        raise WeightsError(
            f"{path}: its sha256 is {found}, but {CARD_NAME} has {card.sha256}. Restore both files from one source"
        )
    return content


def load_model_folder(folder: Path) -> tuple[dict[str, "Tensor"], ModelCard]:
    """Load the weights (on the CPU) and the card of a model.

    Raises:
        WeightsError: if a file is missing or damaged, a weight is not finite, or the weights and the card do not belong
            together.
    """
    from safetensors.torch import load  # imported here because it loads torch, which is not needed to read cards

    card = read_card(folder)
    path, content = weights_path(folder, card), read_weights(folder, card)
    try:
        weights = load(content)
    except SafetensorError as error:
        raise WeightsError(f"{path}: weights cannot be read: {error}") from error
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise WeightsError(f"{path}: tensor {name} has values that are NaN or infinite")
    return weights, card


def save_model_folder(folder: Path, weights: dict[str, "Tensor"], card: ModelCard) -> ModelCard:
    """Write weights and card into `folder`; return the card with the hash of the weights filled in."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with replaced_atomically(folder / WEIGHTS_NAME) as part:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, part)
        part.chmod(0o644)  # safetensors creates files that only their owner can read
        card = dataclasses.replace(card, sha256=sha256_of(part))
    save_card(folder, card)
    return card


def save_card(folder: Path, card: ModelCard) -> None:
    """Write the card of a model into its folder."""
    with replaced_atomically(folder / CARD_NAME) as part:
        part.write_text(json.dumps(card.as_json(), indent=2) + "\n", encoding="utf-8")
