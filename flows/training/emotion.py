"""The flow that trains an emotion model: prepare, train, calibrate, evaluate, register."""

import base64
import functools
import logging
import re
import shutil
from collections.abc import Callable
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
from fer_models.registry.model_registry import read_card, user_model_dir, user_models_dir
from fer_models.training.emotion import registration
from fer_models.training.emotion.history import CHECKPOINTS, LAST, TrainingProgress, history_in
from fer_models.training.emotion.recipes import Recipe
from fer_models.training.emotion.training import train_network
from fer_models.training.runs import RunError, read_checkpoint
from flows.analysis.progress import progress

log = logging.getLogger(__name__)
listeners: list[Callable[[TrainingProgress], None]] = []  # called with the progress of the training in this process
MADE = "made"  # folder of a run for models that are not evaluated yet


def load_splits(data: Path, drop: tuple[str, ...]) -> dict[str, FaceImages]:
    """Load the splits of the data without the dropped images."""
    return load_and_check(data, drop)[0].splits


@functools.lru_cache(maxsize=1)
def load_and_check(data: Path, drop: tuple[str, ...]) -> tuple[FaceData, Preparation]:
    """Load the data, find its defects, and drop the given kinds of images.

    The result is cached in the process until `load_and_check.cache_clear()`, as tasks receive paths, not pixels.
    """
    read = read_data(data)
    found = preparation.examine(read)
    return preparation.drop(read, found, drop), found


def log_notes(event: TrainingProgress) -> None:
    """Report the progress, and end the training if the user asked for that."""
    for listener in listeners:
        listener(event)
    progress.check()


@task(cache_policy=NO_CACHE, persist_result=False)
def prepare(data: Path, drop: tuple[str, ...]) -> None:
    """Read the data, drop the named kinds of images, and report defects."""
    read, found = load_and_check(data, drop)
    lines = [f"## {data.name}", "", *(f"- {note}" for note in read.notes), "", "| class | emotion |", "| --- | --- |"]
    lines += [f"| {name} | {emotion} |" for name, emotion in read.class_map.items()]
    lines += ["", "| split | " + " | ".join(EMOTIONS) + " |", "| --- |" + " ---: |" * len(EMOTIONS)]
    lines += [f"| {split} | " + " | ".join(map(str, n.values())) + " |" for split, n in found.images.items()]
    lines += ["", *(f"- {said}" for said in findings(found))]
    create_markdown_artifact("\n".join(lines), key="training-data", description=f"What is in {data.name}")
    classes = ", ".join(f"{name} is {emotion}" for name, emotion in read.class_map.items())
    for said in (f"classes: {classes}", *read.notes, *findings(found)):
        log.info("%s: %s", data.name, said)


def findings(found: Preparation) -> list[str]:
    """Defects of the data, as sentences."""
    in_splits = {
        name: ", ".join(f"{n} in {split}" for split, n in counts.items())
        for name, counts in vars(found).items()
        if name in ("copies", "leaks", "near_leaks", "blanks")
    }
    totals = ", ".join(f"{sum(counts.values())} in {split}" for split, counts in found.images.items())
    return [
        f"pictures: {totals}",
        f"pictures whose pixels also stand earlier: {in_splits['copies']}; {found.copy_groups} sets of copies",
        f"sets of copies with more than one label: {found.conflict_groups}",
        f"test pictures that also stand in Training: {in_splits['leaks']}; nearly so: {in_splits['near_leaks']}",
        f"pictures that show nothing: {in_splits['blanks']}",
    ]


@task(task_run_name="train {name}", cache_policy=NO_CACHE, persist_result=False)
def train_epochs(
    data: Path, drop: tuple[str, ...], name: str, recipe: Recipe, device: str, precision: str, resume: bool
) -> Path:
    """Train by the recipe; return the checkpoint of the best epoch."""
    return train_network(
        load_splits(data, drop),
        user_model_dir(name),
        recipe,
        device=device,
        precision=precision,
        resume=resume,
        report=log_notes,
    )


@task(task_run_name="calibrate {name}", cache_policy=NO_CACHE, persist_result=False)
def calibrate(
    data: Path, drop: tuple[str, ...], name: str, recipe: Recipe, checkpoint: Path, device: str
) -> list[Path]:
    """Make the models of a checkpoint; mixture and temperature are chosen on PublicTest."""
    made = user_model_dir(name) / MADE
    shutil.rmtree(made, ignore_errors=True)
    training_s = sum(figures["seconds"] for figures in epochs_of(name))
    notes = load_and_check(data, drop)[0].notes
    return registration.calibrate(
        checkpoint,
        made,
        load_splits(data, drop),
        recipe,
        name=name,
        about_data={"set": data.name, "dropped": drop, "notes": notes},
        device=choose_device(device),
        training_s=training_s,
    )


@task(task_run_name="evaluate {folder.name}", cache_policy=NO_CACHE, persist_result=False)
def evaluate(data: Path, drop: tuple[str, ...], name: str, folder: Path, device: str) -> None:
    """Evaluate a model on both test splits, as it is served, and draw its plots."""
    splits = load_splits(data, drop)
    scores = registration.measure_model(folder, splits, choose_device(device))
    draw_all(folder, epochs_of(name), splits, scores)


@task(task_run_name="register {folder.name}", cache_policy=NO_CACHE, persist_result=False)
def register(folder: Path) -> Path:
    """Register an evaluated model, and publish its metrics and plots as artifacts of the run."""
    home = registration.register(folder, user_models_dir())
    card = read_card(home)
    key = re.sub("[^a-z0-9]", "-", card.name.lower())  # the only characters that Prefect accepts
    lines = [f"## {card.name}", "", card.protocol, "", "| split | figure | value |", "| --- | --- | --- |"]
    lines += [f"| {split} | {k} | {v} |" for split, figures in card.metrics.items() for k, v in figures.items()]
    lines += ["", f"Settings: `{card.settings}`", "", f"Faces with labels and probabilities: `{home / 'faces.png'}`"]
    create_markdown_artifact("\n".join(lines), key=f"{key}-summary", description="What the trained model is worth")
    for picture in sorted(home.glob("*.png")):
        if picture.stem != "faces":  # images of people stay local: the Prefect server may be remote
            url = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
            create_image_artifact(url, key=f"{key}-{picture.stem}", description=f"{card.name}: {picture.stem}")
    return home


def check_free(name: str) -> None:
    """Check that a training does not overwrite another model.

    Raises:
        RunError: if there is a model, or a training, of that name.
    """
    if (home := user_model_dir(name)).exists():
        raise RunError(f"{home}: this training would make a model there, too: choose another --name, or remove it")


def epochs_of(name: str) -> list[dict[str, float]]:
    """The metrics of each epoch of a training."""
    epochs: list[dict[str, float]] = history_in(read_checkpoint(user_model_dir(name) / CHECKPOINTS / LAST))["epochs"]
    return epochs


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

    Images of Training with one of the defects `drop` (see `preparation.DROPPABLE`) are left out.

    Returns the model folders: one, or two for a network with a head for labels and one for votes.

    Raises:
        DataError: if the data cannot be used.
        DeviceError: if the device is not there.
        RunError: if a training of that name cannot be resumed, or another model would be overwritten.
        WeightsError: if the name is not a valid model name, or initial weights or a teacher are not available.
    """
    home = user_model_dir(name)
    if recipe.labels == "both" and not (home / CHECKPOINTS / LAST).exists():
        check_free(f"{name}{registration.LABELS_SUFFIX}")
    prepare(data, drop)
    checkpoint = train_epochs(data, drop, name, recipe, device, precision, resume)
    folders = calibrate(data, drop, name, recipe, checkpoint, device)
    for folder in folders:
        evaluate(data, drop, name, folder, device)
    homes = [register(folder) for folder in folders]
    (home / MADE).rmdir()
    return homes
