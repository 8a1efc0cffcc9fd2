"""State of a training run that survives a restart: its settings and the metrics of each epoch."""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from fer_models.atomic_files import replaced_atomically
from fer_models.training.runs import RunError

BEST = "best.ckpt"
# File in the subfolder of checkpoints with the metrics of each epoch, readable without torch.
PROGRESS = "progress.json"
SELECTED_BY = "public_loss"  # name of the metric that is lowest in the best epoch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training run."""

    done_batches: int  # number of batches since the first epoch
    total_batches: int
    done_epochs: int
    total_epochs: int
    figures: dict[str, float]  # metric -> value in the last complete epoch


class RunHistory(Callback):
    """Store the run's settings and the metrics of each epoch in every checkpoint; log one line per epoch.

    Args:
        settings: must be the same whenever the run is resumed.
        patience: stop after this many epochs without improvement; 0: never.
        report: called after each batch with the progress; an exception that it raises ends the run.
    """

    state_key = "RunHistory"

    def __init__(
        self, settings: dict[str, object], patience: int, report: Callable[[TrainingProgress], None] | None
    ) -> None:
        self.settings, self.patience, self.report = settings, patience, report
        self.epochs: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """State for the checkpoint."""
        return {"settings": self.settings, "epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the epochs of a checkpoint."""
        self.epochs = state_dict["epochs"]

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start timing the epoch."""
        self.started_s = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Report the progress."""
        if self.report is not None:
            n_epochs, n_batches = int(trainer.max_epochs or 0), int(trainer.num_training_batches)
            done = len(self.epochs) * n_batches + batch_idx + 1
            figures = self.epochs[-1] if self.epochs else {}
            self.report(TrainingProgress(done, n_epochs * n_batches, len(self.epochs), n_epochs, figures))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record and log the epoch's metrics.

        Raises:
            RunError: if the training has diverged; the checkpoint of the previous epoch is kept.
        """
        seconds = time.monotonic() - self.started_s
        figures = {name: round(float(value), 5) for name, value in sorted(trainer.callback_metrics.items())}
        if wrong := [name for name, value in figures.items() if not math.isfinite(value)]:
            raise RunError(
                f"epoch {len(self.epochs) + 1}: the training diverged ({wrong[0]} is not finite). Try a lower learning "
                "rate (--set learning_rate=…) or --precision fp32"
            )
        self.epochs.append(figures | {"seconds": round(seconds, 1)})
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self.write_progress(trainer)
        left_min = ((trainer.max_epochs or 0) - len(self.epochs)) * seconds / 60
        done = f"{len(self.epochs)}/{trainer.max_epochs}"
        log.info("epoch %s  %s  %.0f s, %.0f min left", done, metrics, seconds, left_min)
        if ran_out_of_patience(self.epochs, self.patience):
            log.info("no improvement in %d epochs: training stops early", self.patience)
            trainer.should_stop = True

    def write_progress(self, trainer: lightning.Trainer) -> None:
        """Write the metrics so far to a JSON file for other programs, such as the dashboard."""
        checkpoint = trainer.checkpoint_callback
        if not trainer.is_global_zero or not isinstance(checkpoint, ModelCheckpoint) or checkpoint.dirpath is None:
            return
        target = Path(checkpoint.dirpath) / PROGRESS
        target.parent.mkdir(parents=True, exist_ok=True)
        with replaced_atomically(target) as part:
            part.write_text(json.dumps({"total_epochs": trainer.max_epochs, "epochs": self.epochs}), encoding="utf-8")


class BestCheckpoint(ModelCheckpoint):
    """Keep track of the best epoch even if the run's folder was moved, which Lightning does not."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best epoch so far."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        moved = {name: here(value) for name, value in state_dict.items() if name.endswith("_path")}
        scores = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state_dict | moved | {"dirpath": self.dirpath, "best_k_models": scores})


def ran_out_of_patience(epochs: list[dict[str, float]], patience: int) -> bool:
    """Whether none of the last `patience` epochs improved on the epochs before; False for a patience of 0."""
    selected = [figures[SELECTED_BY] for figures in epochs]
    return 0 < patience < len(selected) and min(selected[-patience:]) >= min(selected[:-patience])


class StoredHistory(NamedTuple):
    """The history of a training as `RunHistory` stores it in a checkpoint."""

    settings: dict[str, object]
    epochs: list[dict[str, float]]


def history_in(checkpoint: dict[str, Any]) -> StoredHistory:
    """Return settings and epochs of a checkpoint; empty if it has none."""
    return StoredHistory(**checkpoint.get("callbacks", {}).get(RunHistory.state_key, {"settings": {}, "epochs": []}))


def weights_in(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's weights in a checkpoint; the averaged ones if weights were averaged."""
    return {name.removeprefix("network."): tensor for name, tensor in checkpoint["state_dict"].items()}
