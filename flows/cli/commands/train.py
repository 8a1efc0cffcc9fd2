"""`fervid train` and `fervid train-detector`."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.commands.common_options import LABELED_FACES, ComputeDevice, Resume, Seed
from flows.cli.console import Device, console, errors, fatal_errors, stop_on_interrupt, usage_checked
from flows.cli.training_display import TrainingDisplay, training_log
from flows.imports import without_gc
from flows.prefect.environment import without_console_log
from flows.prefect.server import prefect_server

if TYPE_CHECKING:
    from fer_models.training.emotion.recipes import Recipe

RESUME = "run the same command with --resume to continue after the last epoch"


class Precision(StrEnum):
    """The floating-point format of training."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Labels(StrEnum):
    """Labels to train on."""

    hard = "hard"
    votes = "votes"
    both = "both"


def train(
    architecture: Annotated[
        str,
        typer.Argument(
            metavar="ARCH", help="An architecture, such as face_resnet_se or cnn4; docs/training.md has them all."
        ),
    ],
    data: Annotated[Path, LABELED_FACES],
    name: Annotated[str | None, typer.Option(help="The model's name (default: the architecture's).")] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data. Default, here and below: the architecture's own."),
    ] = None,
    augment: Annotated[str | None, typer.Option(help="Augmentation of faces: none, standard, strong or wide.")] = None,
    labels: Annotated[
        Labels | None,
        typer.Option(
            help="Targets: the data set's labels (hard), the shares of the annotators' votes (votes), or both with a "
            "head each."
        ),
    ] = None,
    init: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Start from this model, or from `imagenet` weights.")
    ] = None,
    init_labels: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="With --labels both: start the head for labels from this model."),
    ] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Start from random weights.")] = False,
    input_size: Annotated[int | None, typer.Option(metavar="PX", help="Side of the network's input.")] = None,
    teacher: Annotated[str | None, typer.Option(metavar="MODEL", help="Distill this model into every head.")] = None,
    teacher_labels: Annotated[str | None, typer.Option(metavar="MODEL", help="Teacher of the head for labels.")] = None,
    teacher_votes: Annotated[str | None, typer.Option(metavar="MODEL", help="Teacher of the head for votes.")] = None,
    consistency: Annotated[
        float | None,
        typer.Option(min=0, metavar="WEIGHT", help="Weight of the consistency loss, for stability in video."),
    ] = None,
    unlabeled: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Photographs with face boxes, as Parquet, for --consistency."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Stop after N epochs without a lower loss on PublicTest; 0: never."),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set any other value of the recipe; may be repeated."),
    ] = None,
    drop: Annotated[
        str,
        typer.Option(
            metavar="KINDS",
            help="Drop from Training, separated by commas: leaks, near_leaks, copies, conflicts, blanks.",
        ),
    ] = "",
    device: ComputeDevice = Device.auto,
    precision: Annotated[Precision, typer.Option(help="Number format; auto: bf16 where it is fast.")] = (
        Precision.auto
    ),
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Train an emotion model and register it as --name."""
    without_console_log()
    options = RecipeOptions(
        architecture=architecture,
        epochs=epochs,
        augment=augment,
        labels=labels,
        init=init,
        init_labels=init_labels,
        from_scratch=from_scratch,
        input_size=input_size,
        teacher=teacher,
        teacher_labels=teacher_labels,
        teacher_votes=teacher_votes,
        consistency=consistency,
        unlabeled=unlabeled,
        patience=patience,
        values=values,
        seed=seed,
    )
    recipe = options.recipe()
    kinds = drop_given(drop)
    from fer_models.training.emotion.processes import Processes

    if not Processes.started().is_first:  # of several processes, only the first one evaluates, writes files and reports
        with fatal_errors(RESUME):
            with without_gc():
                from flows.training.emotion import TrainingJob, train_epochs

            job = TrainingJob(data, kinds, name or architecture, recipe, device.value)
            train_epochs.fn(job, precision.value, resume)
        return
    with fatal_errors(RESUME), TrainingDisplay(errors) as display, prefect_server() as wait_for_server:
        with without_gc():
            from flows.training.emotion import listeners
            from flows.training.emotion import train as train_flow

        listeners.append(display.show)
        wait_for_server()
        with stop_on_interrupt():
            folders = train_flow(data, name or architecture, recipe, kinds, device.value, precision.value, resume)
    from fer_models.registry.model_registry import read_card

    for folder in folders:
        console.print(f"model saved: {folder}", highlight=False, soft_wrap=True)
        more = shlex.join(["fervid", "models", "show", folder.name])
        console.print(f"{read_card(folder).summary()}; more: {more}", highlight=False)


@dataclass(frozen=True)
class RecipeOptions:
    """The options of `fervid train` that decide the recipe; None: the architecture's own value."""

    architecture: str
    epochs: int | None = None
    augment: str | None = None
    labels: Labels | None = None
    init: str | None = None
    init_labels: str | None = None
    from_scratch: bool = False
    input_size: int | None = None
    teacher: str | None = None
    teacher_labels: str | None = None
    teacher_votes: str | None = None
    consistency: float | None = None
    unlabeled: Path | None = None
    patience: int | None = None
    values: list[str] | None = None  # NAME=VALUE
    seed: int = 0

    @classmethod
    def among(cls, options: Mapping[str, Any]) -> "RecipeOptions":
        """Select these from all options of `fervid train`."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})

    def recipe(self) -> "Recipe":
        """Build the recipe.

        Raises:
            typer.BadParameter: if options exclude each other, or a value is not allowed.
        """
        if self.init is not None and self.from_scratch:
            raise typer.BadParameter("--init and --from-scratch cannot be combined", param_hint="--init")
        from fer_models.training.emotion.recipes import parse_recipe_values, recipe_for

        by_name = usage_checked(parse_recipe_values, assignments=self.values or [])
        labels = self.labels.value if self.labels else by_name.get("labels", "hard")
        by_option: dict[str, object] = {
            "epochs": self.epochs,
            "augment": self.augment,
            "labels": None if self.labels is None else self.labels.value,
            "init": "scratch" if self.from_scratch else self.init,
            "init_labels": self.init_labels,
            "input_size_px": self.input_size,
            "teacher_labels": self.teacher_labels or (self.teacher if labels != "votes" else None),
            "teacher_votes": self.teacher_votes or (self.teacher if labels != "hard" else None),
            "consistency": self.consistency,
            "unlabeled": None if self.unlabeled is None else str(self.unlabeled.absolute()),
            "patience": self.patience,
            "seed": self.seed or None,  # 0 is the default of the option and of every recipe
        }
        if repeated := [name for name in by_name if name == "architecture" or by_option.get(name) is not None]:
            raise typer.BadParameter(f"{repeated[0]} is also given as an option or argument", param_hint="--set")
        return usage_checked(recipe_for, architecture=self.architecture, **{**by_option, **by_name})


def drop_given(text: str) -> tuple[str, ...]:
    """Parse `--drop`: names of defects."""
    from fer_models.datasets.preparation import DROPPABLE

    kinds = tuple(kind.strip() for kind in text.split(",") if kind.strip())
    if unknown := set(kinds) - set(DROPPABLE):
        raise typer.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(DROPPABLE)}", param_hint="--drop")
    return kinds


def train_detector(
    data: Annotated[Path, typer.Option(help="Photographs with boxes, as Parquet.")],
    name: Annotated[str, typer.Option(help="The detector's name.")] = "my_compact",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 100,
    references: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder with the weights of RetinaFace-MobileNet-0.25 and CenterFace, whose faces are merged with the "
            "labels.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Start from this detector; its false positives are sampled more often."),
    ] = None,
    device: ComputeDevice = Device.auto,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Train a compact face detector and register it as --name."""
    without_console_log()
    with fatal_errors(RESUME), training_log(), prefect_server() as wait_for_server:
        from fer_models.training.detector.recipe import DetectorRecipe
        from flows.training.detector import train_detector as train_flow

        recipe = DetectorRecipe(epochs=epochs, seed=seed, init=init, references=references)
        wait_for_server()
        with stop_on_interrupt():
            folder = train_flow(data, name, recipe, device.value, resume)
    console.print(f"model saved: {folder}", highlight=False, soft_wrap=True)
