"""`fervid train` and `fervid train-detector`: new models."""

import importlib
import logging
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.console import Device, console, fatal_errors, usage_checked
from flows.prefect_server import prefect_server, without_console_log

RESUME = "run the same command with --resume to go on after the last epoch"


class Precision(StrEnum):
    """What training computes in."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


def train(
    architecture: Annotated[str, typer.Argument(metavar="ARCH", help="An architecture, such as se_resnet.")],
    data: Annotated[Path, typer.Option(help="FER-2013 as Parquet.")],
    name: Annotated[str | None, typer.Option(help="The model's name (default: that of the architecture).")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 60,
    augment: Annotated[str, typer.Option(help="none or standard")] = "standard",
    labels: Annotated[str, typer.Option(help="hard: the data set's; votes: the annotators' shares")] = "hard",
    device: Annotated[Device, typer.Option()] = Device.auto,
    precision: Annotated[Precision, typer.Option(help="What to compute in; auto: what the device is fast in.")] = (
        Precision.auto
    ),
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train an emotion model; it is then at hand under its name."""
    show_training_log()
    from fer_models.classification.training import Recipe

    recipe = usage_checked(Recipe, architecture=architecture, epochs=epochs, augment=augment, labels=labels, seed=seed)
    with fatal_errors(RESUME), prefect_server() as wait_for_server:
        from flows.train import train as train_flow

        wait_for_server()
        folder = train_flow(data, name or architecture, recipe, device.value, precision.value, resume)
    console.print(f"model saved: {folder}", highlight=False, soft_wrap=True)


def train_detector(
    data: Annotated[Path, typer.Option(help="Photographs with boxes, as Parquet.")],
    name: Annotated[str, typer.Option(help="The detector's name.")] = "my_compact",
    epochs: Annotated[int, typer.Option(min=1)] = 100,
    second_teacher: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of RetinaFace-MobileNet-0.25: it votes where a label is doubtful."),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Start from this detector; what fools it is shown more often."),
    ] = None,
    device: Annotated[Device, typer.Option()] = Device.auto,
    seed: Annotated[int, typer.Option()] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a compact face detector; it is then at hand under its name."""
    show_training_log()
    with fatal_errors(RESUME), prefect_server() as wait_for_server:
        from flows.train_detector import train_detector as train_flow

        wait_for_server()
        folder = train_flow(data, name, epochs, seed, device.value, resume, second_teacher, init)
    console.print(f"model saved: {folder}", highlight=False, soft_wrap=True)


def show_training_log() -> None:
    """A line an epoch on the console, and nothing of what Prefect and Lightning have to say beside it."""
    without_console_log()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logging.getLogger("fer_models").addHandler(handler)
    logging.getLogger("fer_models").setLevel(logging.INFO)
    importlib.import_module("lightning.pytorch")  # sets the levels of its loggers when it is imported
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
