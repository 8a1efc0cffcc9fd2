"""The flow that trains an emotion model: prepare, train, calibrate, evaluate, register."""

import base64
import dataclasses
import functools
import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from fer_models.datasets import preparation
from fer_models.datasets.labeled_faces import FaceData, FaceImages
from fer_models.datasets.preparation import Preparation
from fer_models.datasets.reading import read_data
from fer_models.device import choose_device
from fer_models.evaluation.plots import draw_all
from fer_models.labels import EMOTIONS
from fer_models.registry.model_registry import (
    CARD_NAME,
    CHECKPOINTS,
    read_card,
    user_model_dir,
    user_models_dir,
)
from fer_models.training.emotion import registration
from fer_models.training.emotion.history import TrainingProgress, history_in
from fer_models.training.emotion.recipes import Recipe
from fer_models.training.emotion.training import check_inputs, train_network
from fer_models.training.runs import LAST, RunError, check_can_start, read_checkpoint, report_fresh_start, train_alone
from flows.analysis.progress import progress

log = logging.getLogger(__name__)
# Functions called with the progress of the training in this process.
listeners: list[Callable[[TrainingProgress], None]] = []
UNEVALUATED = "unevaluated"  # subfolder of a run for models that are not evaluated yet


@dataclass(frozen=True)
class TrainingJob:
    """Inputs of a training, by reference: Prefect's tasks receive paths and names, not images."""

    data: Path
    # Names of defects in `preparation.DROPPABLE`; images with one of them are dropped from Training.
    drop: tuple[str, ...]
    name: str
    recipe: Recipe
    device: str

    @property
    def folder(self) -> Path:
        """The folder of the run and, later, of the model."""
        return user_model_dir(self.name)

    def load_splits(self) -> dict[str, FaceImages]:
        """Load the splits of the data without the dropped images."""
        return load_and_check(self.data, self.drop)[0].splits

    def epochs(self) -> list[dict[str, float]]:
        """Return the metrics of each epoch so far."""
        return history_in(read_checkpoint(self.folder / CHECKPOINTS / LAST)).epochs


@functools.lru_cache(maxsize=1)
def load_and_check(data: Path, drop: tuple[str, ...]) -> tuple[FaceData, Preparation]:
    """Load the data, find its defects, and drop the images with one of the defects `drop`.

    The result is cached in this process until `load_and_check.cache_clear()`, because tasks receive paths, not images.
    """
    read = read_data(data)
    found = preparation.examine(read)
    return preparation.drop(read, found, drop), found


def report_progress(training: TrainingProgress) -> None:
    """Call the listeners; raise if the user has interrupted the training."""
    for listener in listeners:
        listener(training)
    progress.check()


@task(cache_policy=NO_CACHE, persist_result=False)
def prepare(job: TrainingJob) -> None:
    """Load the data and publish counts and defects as an artifact."""
    read, found = load_and_check(job.data, job.drop)
    name = job.data.name
    lines = [f"## {name}", "", "| class | emotion |", "| --- | --- |"]
    lines += [f"| {label} | {emotion} |" for label, emotion in read.class_map.items()]
    lines += ["", "| split | " + " | ".join(EMOTIONS) + " |", "| --- |" + " ---: |" * len(EMOTIONS)]
    lines += [f"| {split} | " + " | ".join(map(str, n.values())) + " |" for split, n in found.images.items()]
    lines += ["", *(f"- {finding}" for finding in (*findings(found), *read.notes))]
    create_markdown_artifact("\n".join(lines), key="training-data", description=f"Images and defects of {name}")
    classes = ", ".join(f"{label} is {emotion}" for label, emotion in read.class_map.items())
    for note in (f"classes: {classes}", *findings(found), *read.notes):
        log.info("%s: %s", name, note)


def findings(found: Preparation) -> list[str]:
    """Format the defects of the data, one line each."""
    in_splits = {
        name: ", ".join(f"{n} in {split}" for split, n in counts.items())
        for name, counts in vars(found).items()
        if name in ("copies", "leaks", "near_leaks", "blanks")
    }
    totals = ", ".join(f"{sum(counts.values())} in {split}" for split, counts in found.images.items())
    return [
        f"images: {totals}",
        f"copies of earlier images: {in_splits['copies']}; {found.copy_groups} groups of identical images",
        f"groups of identical images with different labels: {found.conflict_groups}",
        f"test images that are also in Training: {in_splits['leaks']}; near-duplicates: {in_splits['near_leaks']}",
        f"blank images: {in_splits['blanks']}",
    ]


@task(task_run_name="train {job.name}", cache_policy=NO_CACHE, persist_result=False)
def train_epochs(job: TrainingJob, precision: str, resume: bool) -> Path:
    """Train by the recipe; return the checkpoint of the best epoch."""
    return train_network(
        job.load_splits(),
        job.folder,
        job.recipe,
        device=job.device,
        precision=precision,
        resume=resume,
        report=report_progress,
    )


@task(task_run_name="calibrate {job.name}", cache_policy=NO_CACHE, persist_result=False)
def calibrate(job: TrainingJob, checkpoint: Path) -> list[Path]:
    """Create the models of a checkpoint; mixture and temperature are chosen on PublicTest."""
    folder = job.folder / UNEVALUATED
    shutil.rmtree(folder, ignore_errors=True)
    log.info("%s: choosing temperature and number format on PublicTest", job.name)
    notes = load_and_check(job.data, job.drop)[0].notes
    training_s = sum(metrics["seconds"] for metrics in job.epochs())
    return registration.calibrate(
        registration.FinishedTraining(checkpoint, job.recipe, training_s),
        folder,
        job.load_splits(),
        name=job.name,
        about_data={"set": job.data.name, "dropped": job.drop, "notes": notes},
        device=choose_device(job.device),
    )


@task(task_run_name="evaluate {folder.name}", cache_policy=NO_CACHE, persist_result=False)
def evaluate(job: TrainingJob, folder: Path) -> None:
    """Evaluate the model in `folder` on both test splits and draw its plots."""
    splits = job.load_splits()
    log.info("%s: measuring PublicTest and PrivateTest and drawing plots, which may take minutes", folder.name)
    scores = registration.measure_model(folder, splits, choose_device(job.device))
    draw_all(folder, job.epochs(), splits, scores)


@task(task_run_name="register {folder.name}", cache_policy=NO_CACHE, persist_result=False)
def register(folder: Path) -> Path:
    """Register an evaluated model, and publish its metrics and plots as artifacts of the run."""
    home = registration.register(folder, user_models_dir())
    card = read_card(home)
    key = re.sub("[^a-z0-9]", "-", card.name.lower())  # Prefect accepts only these characters
    lines = [f"## {card.name}", "", card.protocol, "", "| split | metric | value |", "| --- | --- | --- |"]
    lines += [f"| {split} | {k} | {v} |" for split, figures in card.metrics.items() for k, v in figures.items()]
    lines += ["", f"Settings: `{card.settings}`", "", f"Faces with labels and probabilities: `{home / 'faces.png'}`"]
    create_markdown_artifact("\n".join(lines), key=f"{key}-summary", description="Metrics of the trained model")
    for plot in sorted(home.glob("*.png")):
        if plot.stem != "faces":  # images of people stay local, because the Prefect server may be remote
            url = f"data:image/png;base64,{base64.b64encode(plot.read_bytes()).decode()}"
            create_image_artifact(url, key=f"{key}-{plot.stem}", description=f"{card.name}: {plot.stem}")
    return home


def check_names(job: TrainingJob, resume: bool) -> None:
    """Check the names of the models that a training creates.

    Raises:
        RunError: if a training of that name cannot be resumed, or another model would be overwritten.
        WeightsError: if the name is not a valid model name.
    """
    last = job.folder / CHECKPOINTS / LAST
    check_can_start(last, resume)
    report_fresh_start(last, resume)
    if job.recipe.labels == "both":
        home = user_model_dir(f"{job.name}{registration.LABELS_SUFFIX}")
        if home.exists() and not (last.exists() and is_second_model(home, job.recipe)):
            raise RunError(
                f"{home}: this training also creates a model of this name. Choose another --name, or remove the folder"
            )


def is_second_model(home: Path, recipe: Recipe) -> bool:
    """Whether the folder `home` has the second model of a training by this recipe, perhaps without its card yet.

    Raises:
        WeightsError: if its card is damaged.
    """
    if (home / CHECKPOINTS).exists():
        return False
    if not (home / CARD_NAME).is_file():
        return True
    settings = read_card(home).settings
    return settings.get("head") == "labels" and settings.items() >= dataclasses.asdict(recipe).items()


@flow(name="train", flow_run_name="train {name}", persist_result=False)
def train(
    data: Path,
    name: str,
    recipe: Recipe,
    drop: tuple[str, ...] = (),
    device: str = "auto",
    precision: str = "auto",
    resume: bool = False,
) -> list[Path]:
    """Train on Training, choose the epoch and the temperature on PublicTest, measure PrivateTest once.

    Images of Training with one of the defects `drop` (see `preparation.DROPPABLE`) are dropped.

    Returns the model folders: one, or two for a network with a head for labels and one for votes.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not available.
        FaceDataError: if the file of unlabeled faces cannot be used.
        RunError: if a training of that name runs or cannot be resumed, or another model would be overwritten.
        WeightsError: if the name is not a valid model name, or initial weights or a teacher are not available.
    """
    job = TrainingJob(data, drop, name, recipe, device)
    with train_alone(job.folder):
        check_names(job, resume)
        check_inputs(recipe, device)
        prepare(job)
        folders = calibrate(job, train_epochs(job, precision, resume))
        for folder in folders:
            evaluate(job, folder)
        homes = [register(folder) for folder in folders]
        (job.folder / UNEVALUATED).rmdir()
    return homes
