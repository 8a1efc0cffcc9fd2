"""`fervid train-landmarks` and `fervid evaluate-landmarks`: the network of facial landmarks."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analytics.text import counted
from flows.cli.commands.common_options import ComputeDevice, Resume, Seed
from flows.cli.commands.detectors import MarkdownFile, as_markdown, check_is_markdown, show
from flows.cli.commands.train import RESUME
from flows.cli.console import Device, console, errors, fatal_errors, stop_on_interrupt
from flows.cli.training_display import training_log
from flows.prefect.environment import without_console_log
from flows.prefect.server import prefect_server
from flows.training.markdown import write_part

if TYPE_CHECKING:
    from fer_models.evaluation.tables import Table

HEADING = "Facial landmarks"
Crops = Annotated[list[Path], typer.Option(metavar="FILE", help="Face crops, as Parquet; may be repeated.")]
Labels = Annotated[
    list[Path], typer.Option(metavar="DIR", help="The landmarks of each file of crops, in the same order.")
]


def train_landmarks(
    crops: Crops,
    labels: Labels,
    name: Annotated[str, typer.Option(help="The network's name.")] = "my_landmarks",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the data.")] = 60,
    device: ComputeDevice = Device.auto,
    seed: Seed = 0,
    resume: Resume = False,
) -> None:
    """Train a facial landmark network and register it as --name."""
    data = _pairs(crops, labels)
    without_console_log()
    with fatal_errors(RESUME), training_log(), prefect_server() as wait_for_server:
        from fer_models.training.landmarks.training import LandmarkRecipe
        from flows.training.landmarks import train_landmarks as train_flow

        wait_for_server()
        with stop_on_interrupt():
            folder = train_flow(data, name, LandmarkRecipe(epochs=epochs, seed=seed), device.value, resume)
    console.print(f"model saved: {folder}", highlight=False, soft_wrap=True)


def evaluate_landmarks(
    crops: Crops,
    labels: Labels,
    model: Annotated[str, typer.Option(help="A landmark network, by name or folder.")] = "landmarks",
    clips: Annotated[Path | None, typer.Option(metavar="FILE", help="Face crops of videos, as Parquet.")] = None,
    clip_labels: Annotated[Path | None, typer.Option(metavar="DIR", help="The landmarks of --clips.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Duration of the speed measurement; 0: none.")] = 3.0,
    device: Annotated[Device, typer.Option(help="Device of the network.")] = Device.auto,
    out: MarkdownFile = None,
) -> None:
    """Measure the accuracy of a network of facial landmarks against its teacher."""
    data = _pairs(crops, labels)
    if (clips is None) != (clip_labels is None):
        raise typer.BadParameter("--clips and --clip-labels belong together")
    check_is_markdown(out)
    videos = (clips, clip_labels) if clips is not None and clip_labels is not None else None
    with fatal_errors():
        tables = _measure(data, model, videos, seconds, device)
        for table in tables:
            show(table)
        if out is not None:
            command = command_line(data, model, videos, seconds, device, out)
            write_part(out, as_markdown(HEADING, tables, command))
            console.print(f"written: {out}", highlight=False, soft_wrap=True)


def _pairs(crops: list[Path], labels: list[Path]) -> list[tuple[Path, Path]]:
    if len(crops) != len(labels):
        raise typer.BadParameter(f"each --crops needs its --labels: got {len(crops)} and {len(labels)}")
    return list(zip(crops, labels, strict=True))


def _measure(
    data: list[tuple[Path, Path]], model: str, videos: tuple[Path, Path] | None, seconds: float, device: Device
) -> "list[Table]":
    from fer_models.datasets.landmark_labels import LabeledCrops, read_labeled_crops
    from fer_models.device import choose_device
    from fer_models.evaluation.landmark_tables import accuracy_tables, clip_table, speed_table
    from fer_models.landmarks.landmarker import Landmarker

    landmarker = Landmarker.load(choose_device(device), model)
    crops = LabeledCrops.join([read_labeled_crops(*files) for files in data])
    errors.print(f"evaluating on {counted(len(crops.pixels), 'crop')}")
    tables = accuracy_tables(crops, landmarker)
    if videos is not None:
        tables.append(clip_table(*videos, landmarker))
    if seconds:
        tables.append(speed_table(landmarker, seconds=seconds))
    return tables


def command_line(
    data: list[tuple[Path, Path]],
    model: str,
    videos: tuple[Path, Path] | None,
    seconds: float,
    device: Device,
    out: Path,
) -> str:
    """Format the command that was run."""
    words = ["fervid", "evaluate-landmarks"]
    words += [word for crops, labels in data for word in ("--crops", str(crops), "--labels", str(labels))]
    words += ["--model", model] if model != "landmarks" else []
    words += ["--clips", str(videos[0]), "--clip-labels", str(videos[1])] if videos else []
    words += ["--device", device] if device != Device.auto else []
    return shlex.join([*words, "--seconds", f"{seconds:g}", "--out", str(out)])
