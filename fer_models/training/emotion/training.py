"""Training of emotion classifiers: a resumable run that writes checkpoints."""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging

from fer_models.datasets.face_photos import check_photos
from fer_models.datasets.labeled_faces import FaceImages, class_weights, fingerprint, votes_fingerprint
from fer_models.device import autocast_dtype, choose_device
from fer_models.registry.model_registry import CHECKPOINTS, sha256_of
from fer_models.training.emotion.consistency import read_unlabeled_faces
from fer_models.training.emotion.history import (
    BEST,
    SELECTED_BY,
    BestCheckpoint,
    RunHistory,
    TrainingProgress,
    history_in,
    ran_out_of_patience,
)
from fer_models.training.emotion.initialization import start_from
from fer_models.training.emotion.lightning_module import EmotionTrainer, heads_of, targets_of, untrained_network
from fer_models.training.emotion.loading import EpochShuffle, loader
from fer_models.training.emotion.processes import Processes
from fer_models.training.emotion.recipes import Recipe
from fer_models.training.emotion.teachers import load_teachers
from fer_models.training.runs import (
    LAST,
    RunError,
    check_can_start,
    check_same_settings,
    moving_average,
    read_checkpoint,
)

log = logging.getLogger(__name__)


def check_inputs(recipe: Recipe, device: str) -> None:
    """Check the device and the files that a recipe names, before the data are prepared, which takes longer.

    Raises:
        DeviceError: if the device is not available.
        FaceDataError: if the file of unlabeled faces is missing or has other columns.
        RunError: if the batches cannot be divided evenly among the processes.
        WeightsError: if the weights to start from, or a teacher, are not available.
    """
    processes_for(recipe)
    choose_device(device)
    load_teachers(recipe, heads_of(recipe), device)
    if recipe.unlabeled:
        check_photos(Path(recipe.unlabeled))
    if recipe.init != "scratch":
        start_from(untrained_network(recipe), recipe.architecture, recipe.init, recipe.init_labels)


def processes_for(recipe: Recipe) -> Processes:
    """Return the processes of this training.

    Raises:
        RunError: if the batches cannot be divided evenly among them.
    """
    processes = Processes.started()
    if recipe.batch_size % processes.n:
        raise RunError(
            f"{processes.n} processes cannot share batches of {recipe.batch_size}: start a number that divides it"
        )
    return processes


def train_network(
    splits: dict[str, FaceImages],
    run: Path,
    recipe: Recipe,
    *,
    device: str = "auto",
    precision: str = "auto",
    resume: bool = False,
    report: Callable[[TrainingProgress], None] | None = None,
) -> Path:
    """Train on Training; return the checkpoint of the epoch with the lowest cross entropy on PublicTest.

    A checkpoint is written every epoch to `run/checkpoints`; with `resume`, training continues from the last one and
    ends with the same weights as an uninterrupted run. Under `torchrun`, each process trains on a part of every batch.

    Args:
        splits: the data.
        run: the folder of the run.
        recipe: hyperparameters.
        device: "auto", "cpu" or "cuda".
        precision: "auto" (bfloat16 where the device trains the network faster in it), "fp32" or "bf16".
        resume: continue from the last checkpoint, if there is one.
        report: called after each batch with the progress; an exception that it raises ends the run.

    Raises:
        DataError: if the recipe needs votes and the data have none.
        DeviceError: if the device is not available.
        FaceDataError, OSError: if the file of unlabeled faces cannot be used.
        RunError: if the folder has a run and `resume` is False or the settings differ; if the batches cannot be
            divided evenly among the processes.
        WeightsError: if the weights to start from, or a teacher, are not available.
    """
    training, public, processes = splits["Training"], splits["PublicTest"], processes_for(recipe)
    target_device = choose_device(device)
    if target_device.type == "cuda":
        torch.cuda.set_device(processes.device_index)
    number_format = resolve_precision(precision, target_device, recipe)
    teachers = load_teachers(recipe, heads_of(recipe), device)
    settings = dataclasses.asdict(recipe)
    settings |= {"teacher_weights": {head: teacher.card.sha256 for head, teacher in teachers.items()}}
    settings |= {"precision": number_format, "data": fingerprint(training), "public_test": fingerprint(public)}
    settings |= {"votes": votes_fingerprint(training, public)}
    if recipe.unlabeled:
        settings |= {"unlabeled_faces": sha256_of(Path(recipe.unlabeled))}
    last, best = (run / CHECKPOINTS / name for name in (LAST, BEST))
    check_can_start(last, resume)
    if last.exists():
        history = history_in(read_checkpoint(last))
        if any(SELECTED_BY not in figures for figures in history.epochs):
            raise RunError(
                f"{last}: an earlier version began this run and selected its epochs otherwise. Use another --name"
            )
        check_same_settings(last, history.settings, settings)
        if ran_out_of_patience(history.epochs, recipe.patience):
            return best
    lightning.seed_everything(recipe.seed, verbose=False)
    batches = EpochShuffle(len(training), recipe.batch_size, recipe.seed, processes)
    weight = class_weights(training.label) if recipe.class_weights else None
    unlabeled = read_unlabeled_faces(Path(recipe.unlabeled)) if recipe.unlabeled else None
    module = EmotionTrainer(recipe, len(batches), weight, teachers, unlabeled)
    start_from(module.network, recipe.architecture, recipe.init, recipe.init_labels)
    module.network.to(memory_format=torch.channels_last)
    module.to(target_device)  # before Lightning copies its weights, so that the average is on the same device
    callbacks = _callbacks(recipe, settings, last, best, report)
    in_order = [rows.tolist() for rows in torch.arange(len(public)).split(512)]
    trainer_for(recipe.epochs, number_format, target_device, processes, callbacks).fit(
        module,
        loader(training.pixels, targets_of(training, recipe.labels), batches),
        loader(public.pixels, targets_of(public, recipe.labels), in_order),
        ckpt_path=last if last.exists() else None,
        weights_only=True,
    )
    return best


def _callbacks(
    recipe: Recipe,
    settings: dict[str, object],
    last: Path,
    best: Path,
    report: Callable[[TrainingProgress], None] | None,
) -> list[Callback]:
    """The weight averaging, the history and the checkpoints of a training; `last` and `best` are the checkpoints."""
    averaging = [WeightAveraging(avg_fn=moving_average(recipe.ema_decay))] if recipe.ema_decay else []
    return [
        *averaging,
        RunHistory(settings, recipe.patience, report),
        BestCheckpoint(best.parent, best.stem, monitor=SELECTED_BY, mode="min", enable_version_counter=False),
        # Without a metric to monitor, the newest checkpoint is kept.
        ModelCheckpoint(last.parent, last.stem, enable_version_counter=False),
    ]


def resolve_precision(requested: str, device: torch.device, recipe: Recipe) -> str:
    """Resolve "auto" to "bf16" where the device trains the network of a recipe faster in it, else to "fp32".

    Raises:
        ValueError: if `requested` is not one of "auto", "fp32" and "bf16".
    """
    if requested not in ("auto", "fp32", "bf16"):
        raise ValueError(f"precision must be auto, fp32 or bf16; got {requested!r}")
    if requested != "auto":
        return requested
    # On CPUs, oneDNN computes the input gradients of depthwise convolutions in bfloat16 with a kernel for other layers:
    # 110 instead of 2 ms for 144 channels, so that EfficientNet-B0 trains half as fast as in float32.
    slow_bf16 = device.type == "cpu" and has_grouped_convolutions(recipe)
    return "bf16" if autocast_dtype(device) == torch.bfloat16 and not slow_bf16 else "fp32"


def has_grouped_convolutions(recipe: Recipe) -> bool:
    """Whether the network of a recipe has convolutions in groups of channels, such as depthwise ones."""
    with torch.device("meta"):  # without weights
        layers = untrained_network(recipe).modules()
    return any(isinstance(layer, torch.nn.Conv2d) and layer.groups > 1 for layer in layers)


def trainer_for(
    epochs: int, precision: str, device: torch.device, processes: Processes, callbacks: list[Callback]
) -> lightning.Trainer:
    """Create Lightning's trainer for this process, in "fp32" or "bf16"."""
    return lightning.Trainer(
        **processes.trainer_options(),
        accelerator="gpu" if device.type == "cuda" else "cpu",
        sync_batchnorm=processes.n > 1 and device.type == "cuda",  # synchronized batch norm is not implemented for CPUs
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        # The fastest GPU kernels are not deterministic: a resumed run would differ from an uninterrupted one.
        deterministic="warn" if device.type == "cuda" else None,
        max_epochs=epochs,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
