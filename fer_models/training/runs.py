"""Common to all training runs: moving average of weights, checkpoints, and checks before resuming."""

import contextlib
import logging
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fer_models.errors import FervidError
from fer_models.file_lock import hold_lock
from fer_models.registry.model_registry import CARD_NAME

log = logging.getLogger(__name__)

LAST = "last.ckpt"  # the checkpoint of the last epoch
VALIDATE_EVERY_EPOCHS = 5  # where a validation takes long
# How to report a difference in settings that are checksums.
DIFFERENT_CONTENTS = {
    "data": "the training data differ",
    "public_test": "the images or labels of PublicTest differ",
    "votes": "the votes differ",
    "unlabeled_faces": "the file of unlabeled faces differs",
    "teacher_weights": "a teacher differs",
    "init": "the initial model differs",
}


class RunError(FervidError):
    """A training run cannot be resumed, or would overwrite another model."""


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Create an exponential moving average of weights with a shorter window at first, to forget the initial weights."""

    def average(averaged: Tensor, current: Tensor, n_averaged: Tensor | int) -> Tensor:
        return averaged + (current - averaged) * max(1 - decay, 10 / (10 + int(n_averaged)))

    return average


def cosine_factor(share: float) -> float:
    """Return the factor of the learning rate after a `share` of the steps: half a cosine from 1 to 0.01.

    >>> cosine_factor(0.0), cosine_factor(0.5), round(cosine_factor(1.0), 6)
    (1.0, 0.505, 0.01)
    """
    return 0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint to the CPU.

    Raises:
        RunError: if it does not exist or is not a readable checkpoint.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, LookupError, EOFError, pickle.UnpicklingError) as error:
        raise RunError(f"{path}: not a readable checkpoint: {error}") from error
    return state


@contextlib.contextmanager
def train_alone(run: Path) -> Iterator[None]:
    """Keep other processes from training in the folder `run`.

    Raises:
        RunError: if one is training in it, or the folder cannot be written to.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(hold_lock(run.parent / f".{run.name}.lock"))
        except TimeoutError as error:
            raise RunError(
                f"{run}: another process is training this model. Wait for it, or choose another --name"
            ) from error
        except OSError as error:
            raise RunError(f"{run.parent}: cannot be written to ({error.strerror or error})") from error
        yield


def check_can_start(checkpoint: Path, resume: bool) -> None:
    """Check that an existing run is resumed explicitly, and that a new run does not overwrite a model.

    Raises:
        RunError: if one of the two would happen.
    """
    run = checkpoint.parent.parent
    if checkpoint.exists() and not resume and (run / CARD_NAME).exists():
        raise RunError(
            f"{run}: a model has been trained here. Choose another --name, remove the folder, or continue with --resume"
        )
    if checkpoint.exists() and not resume:
        raise RunError(
            f"{run}: an unfinished training is in this folder. Continue it with --resume, or choose another --name"
        )
    if not checkpoint.exists() and (run / CARD_NAME).exists():
        raise RunError(f"{run}: an added model has this name. Choose another --name")


def report_fresh_start(checkpoint: Path, resume: bool) -> None:
    """Log that there is nothing to resume, because the name may be misspelled."""
    if resume and not checkpoint.exists():
        log.info("%s does not exist: training starts from the beginning", checkpoint)


def check_same_settings(checkpoint: Path, started_with: Mapping[str, object], settings: Mapping[str, object]) -> None:
    """Check that a run is resumed with the settings it was started with.

    Raises:
        RunError: if they differ.
    """
    changed = [
        DIFFERENT_CONTENTS.get(name, f"{name} was {started_with.get(name)!r} and is now {value!r}")
        for name, value in settings.items()
        if started_with.get(name) != value
    ]
    if changed:
        raise RunError(
            f"{checkpoint}: the run was started with other settings: {'; '.join(changed)}. "
            "Use the same options, or another --name"
        )
