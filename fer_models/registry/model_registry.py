"""Model folders: `model.safetensors` with a card, `model.json`, beside it; found by name or by path."""

import dataclasses
import hashlib
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from fer_models.errors import FervidError

if TYPE_CHECKING:
    from torch import Tensor

PACKAGED_DIR = Path(__file__).parents[1] / "weights"
CARD_NAME = "model.json"
WEIGHTS_NAME = "model.safetensors"


class WeightsError(FervidError):
    """A model cannot be found, or its weights and its card do not agree."""


@dataclass(frozen=True)
class ModelCard:
    """What a model is, what it takes and gives, how it was made and how well it does."""

    name: str
    task: str  # "emotion" or "detector"
    architecture: str  # a name in the registry of architectures
    architecture_options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()  # in the order of the outputs; empty for a detector
    input_size_px: int | None = None  # height and width of a crop; None: any size
    input_channels: int = 3
    mean: float = 0.0  # inputs are (value / 255 - mean) / std
    std: float = 1.0
    temperature: float = 1.0  # logits are divided by it before the softmax
    score_threshold: float | None = None  # detectors: the score from which a hit counts as a face
    parameters: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)  # split -> figure -> value
    protocol: str = ""  # how the metrics were measured
    data: dict[str, Any] = field(default_factory=dict)  # what it was trained on, with a fingerprint
    settings: dict[str, Any] = field(default_factory=dict)  # the recipe
    versions: dict[str, str] = field(default_factory=dict)
    training_s: float = 0.0
    licence_note: str = ""
    sha256: str = ""  # of the weights file

    def as_json(self) -> dict[str, Any]:
        """The card as `model.json` holds it."""
        return dataclasses.asdict(self)

    @property
    def reads_votes(self) -> bool:
        """Whether it is to say what most annotators saw, and not the label of the data."""
        return bool(self.settings.get("temperature_fitted_on") == "votes")

    def measured(self) -> tuple[str, dict[str, Any]]:
        """The split that chose nothing, else the first one, and its figures; none if there is none."""
        splits = {split: figures for split, figures in self.metrics.items() if isinstance(figures, dict)}
        split = "PrivateTest" if "PrivateTest" in splits else next(iter(splits), "")
        return split, splits.get(split, {})

    def summary(self) -> str:
        """Its first shares in a few words, such as `PrivateTest: accuracy 0.690`, then those against votes, if any.

        Its calibration error is that against what it is calibrated on.
        """
        split, figures = self.measured()
        shares = [figure for figure, value in figures.items() if isinstance(value, float)]
        by_votes = [figure for figure in shares if figure.startswith("votes_")]
        others = [figure for figure in shares if figure not in by_votes]
        left_out = "ece" if self.reads_votes else "votes_ece"
        said = [f"{figure} {figures[figure]}" for figure in (*others[:3], *by_votes[:3]) if figure != left_out]
        return f"{split}: {', '.join(said)}" if said else ""


def user_models_dir() -> Path:
    """Where models that a user trained or added are kept: `$XDG_DATA_HOME/fervid/models`."""
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data_home) / "fervid" / "models"


def user_model_dir(name: str) -> Path:
    """Where a model of the user's is kept under its name.

    Raises:
        WeightsError: if it is no name for a folder.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise WeightsError(f"{name!r}: not a name for a model: it becomes the name of a folder")
    return user_models_dir() / name


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_model_dirs() -> dict[str, Path]:
    """Every model that can be named: those of the user first, then those in the package."""
    folders: dict[str, Path] = {}
    for parent in (PACKAGED_DIR, user_models_dir()):
        for card in sorted(parent.glob(f"*/{CARD_NAME}")):
            folders[card.parent.name] = card.parent
    return folders


def list_cards() -> dict[str, ModelCard | WeightsError]:
    """The card of every model that can be named, or what is wrong with it."""
    cards: dict[str, ModelCard | WeightsError] = {}
    for name, folder in list_model_dirs().items():
        try:
            cards[name] = read_card(folder)
        except WeightsError as error:
            cards[name] = error
    return cards


def find_model(name: str, task: str | None = None) -> Path:
    """The folder of a model (for `task`, if given), by its name or its folder.

    Raises:
        WeightsError: if there is no such model, or it is for something else.
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
    """A model's name, or its folder from the root: what finds it again from another working folder."""
    return name if name in list_model_dirs() else str(Path(name).absolute())


def read_card(folder: Path) -> ModelCard:
    """The card of the model in `folder`.

    Raises:
        WeightsError: if the card is not readable, has unknown or missing fields, or numbers that cannot be.
    """
    path = folder / CARD_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        card = ModelCard(**{**values, "classes": tuple(values.get("classes", ()))})
        if not (math.isfinite(card.mean) and 0 < card.std < math.inf and 0 < card.temperature < math.inf):
            raise ValueError("mean, std and temperature must be numbers, the last two above 0")
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: not a readable model card: {error}") from error
    return card


def load_model_folder(folder: Path) -> tuple[dict[str, "Tensor"], ModelCard]:
    """The weights (on the CPU) and the card of a model.

    Raises:
        WeightsError: if a file is missing or damaged, or the weights are not those the card speaks of.
    """
    from safetensors.torch import load_file  # loads torch, which those who only read cards do without

    card = read_card(folder)
    path = folder / WEIGHTS_NAME
    try:
        found = sha256_of(path)
        if found != card.sha256:
            raise WeightsError(f"{path}: sha256 {found}, but {CARD_NAME} says {card.sha256}: restore the pair")
        return load_file(path), card
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: weights cannot be read: {error}") from error


def check_models() -> dict[str, ModelCard | WeightsError]:
    """Hash the weights of every model that can be named: its card, or what is wrong with it.

    An ensemble has no weights but those of its members, which are hashed wherever they lie.
    """
    import torch

    from fer_models.classification.ensemble import Ensemble  # which imports this module

    checked: dict[str, ModelCard | WeightsError] = {}
    for name, folder in list_model_dirs().items():
        try:
            card = read_card(folder)
            if "members" in card.architecture_options:
                checked[name] = Ensemble.load(folder, torch.device("cpu")).card
            else:
                checked[name] = load_model_folder(folder)[1]
        except WeightsError as error:
            checked[name] = error
    return checked


def save_model_folder(folder: Path, weights: dict[str, "Tensor"], card: ModelCard) -> ModelCard:
    """Write weights and card into `folder`; gives back the card with the hash of the weights filled in."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{WEIGHTS_NAME}.{os.getpid()}.part"
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, part)
        part.chmod(0o644)  # safetensors makes files that only their owner may read
        card = dataclasses.replace(card, sha256=sha256_of(part))
        part.replace(folder / WEIGHTS_NAME)
    finally:
        part.unlink(missing_ok=True)
    save_card(folder, card)
    return card


def save_card(folder: Path, card: ModelCard) -> None:
    """Write a card into `folder`, whose weights are there."""
    part = folder / f".{CARD_NAME}.{os.getpid()}.part"
    part.write_text(json.dumps(card.as_json(), indent=2) + "\n", encoding="utf-8")
    part.replace(folder / CARD_NAME)
