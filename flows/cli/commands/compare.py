"""`fervid evaluate` and `fervid compare`: metrics of emotion models."""

import dataclasses
import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.commands.common_options import LABELED_FACES, AsJson, ComputeDevice
from flows.cli.console import Device, console, errors, fatal_errors
from flows.cli.tables import table_of
from flows.cli.training_display import work_log

if TYPE_CHECKING:
    from rich.console import Group

    from fer_models.evaluation.metrics import Figures


class Split(StrEnum):
    """A split of the data."""

    Training = "Training"
    PublicTest = "PublicTest"
    PrivateTest = "PrivateTest"


def evaluate(
    model: Annotated[str, typer.Argument(help="A name from `fervid models`, or a model folder.")],
    data: Annotated[Path | None, LABELED_FACES] = None,
    split: Annotated[list[Split] | None, typer.Option(help="Only this split; may be repeated.")] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Also average over mirrored and shifted images.")] = False,
    video: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Also measure how much predictions change between frames; may be repeated."),
    ] = None,
    device: ComputeDevice = Device.auto,
    as_json: AsJson = False,
) -> None:
    """Evaluate an emotion model on labeled faces and on videos."""
    if data is None and not video:
        raise typer.BadParameter("give labeled faces with --data, videos with --video, or both")
    if data is None and (tta or split):
        raise typer.BadParameter("--tta and --split need --data: they are about labeled faces")
    with fatal_errors():
        from flows.training.comparison import evaluate_model
        from flows.training.stability import check_videos

        check_videos(video or [])  # before the labeled faces, which may take minutes
        figures: dict[str, Figures] = {}
        notes: list[str] = []
        if data is not None:
            splits = [part.value for part in dict.fromkeys(split or ())]
            figures, notes = evaluate_model(model, data, splits, tta=tta, device=device.value)
        stability = stability_on(model, video or [], device)
        if as_json:
            further = {"notes": notes, "videos": stability}
            print(json.dumps(figures | {name: value for name, value in further.items() if value}, indent=2))
            return
        if figures:
            console.print(figures_table(figures))
        if stability:
            rows = [[path, *of_video.values()] for path, of_video in stability.items()]
            console.print(table_of(["video", "adjacent frames", "label changes", "total variation"], rows))


def stability_on(model: str, videos: list[Path], device: Device) -> dict[str, dict[str, float | None]]:
    """Measure the stability on each video, by path."""
    if not videos:
        return {}
    from flows.training.stability import evaluate_on_videos

    measured = evaluate_on_videos(model, list(dict.fromkeys(videos)), device.value)
    return {str(path): dataclasses.asdict(stability) for path, stability in measured.items()}


def figures_table(figures: "dict[str, Figures]") -> "Group":
    """Create a table with a row per metric and a column per split."""
    from flows.training.comparison_report import cell

    # Metrics that were measured in any split.
    measured = {name: value for of_part in figures.values() for name, value in of_part.items()}
    plain = [name for name, value in measured.items() if not isinstance(value, dict | list)]
    rows = [[name, *(cell(of_part, name) for of_part in figures.values())] for name in plain]
    for kind, of_emotions in measured.items():
        if isinstance(of_emotions, dict):
            of_parts = [of_part.get(kind) for of_part in figures.values()]
            rows += [
                [f"{kind} {emotion}", *(cell(part if isinstance(part, dict) else {}, emotion) for part in of_parts)]
                for emotion in of_emotions
            ]
    return table_of(["metric", *figures], rows)


def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Names from `fervid models`, or folders.")],
    data: Annotated[Path, LABELED_FACES],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write a report: .html, or a section of an .md file. Plots and model cards are written to a folder "
            "beside it, of the same name.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace existing files. A section of an .md file is always replaced, with the plots and cards that "
            "it links.",
        ),
    ] = False,
    no_speed: Annotated[
        bool, typer.Option("--no-speed", help="Do not measure speed, which needs a machine without other work.")
    ] = False,
    device: ComputeDevice = Device.auto,
    as_json: AsJson = False,
) -> None:
    """Compare emotion models: accuracy, calibration, size and speed."""
    if out is not None and out.suffix not in (".md", ".html"):
        raise typer.BadParameter(f"{out}: must end in .md or .html", param_hint="--out")
    command = ["fervid", "compare", *models, "--data", str(data)]
    command += ["--out", str(out)] if out else []
    command += ["--no-speed"] if no_speed else []
    command += ["--device", device.value] if device != Device.auto else []
    with fatal_errors(), work_log():
        from flows.training.comparison import compare_models
        from flows.training.comparison_report import tables_of

        compared = compare_models(
            models, data, device.value, out, shlex.join(command), with_speed=not no_speed, overwrite=overwrite
        )
        if as_json:
            print(json.dumps([one.as_json() for one in compared], indent=2))
        else:
            for table in tables_of(compared):
                console.print(f"\n{table.title}", highlight=False)
                console.print(table_of(table.columns, table.rows))
    if out is not None:
        errors.print(f"report: {out}", highlight=False, markup=False, soft_wrap=True)
