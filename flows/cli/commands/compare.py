"""`fervid evaluate` and `fervid compare`: what models are worth."""

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import Device, console, errors, fatal_errors
from flows.cli.display import table_of
from flows.cli.training_display import work_log

Data = Annotated[
    Path, typer.Option(help="FER-2013 as Parquet or CSV, or a folder with a folder of pictures per emotion.")
]


class Split(StrEnum):
    """A part of the data."""

    Training = "Training"
    PublicTest = "PublicTest"
    PrivateTest = "PrivateTest"


def evaluate(
    model: Annotated[str, typer.Argument(help="A name from `fervid models`, or a model folder.")],
    data: Data,
    split: Annotated[list[Split] | None, typer.Option(help="Only this part; can be given again.")] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Also average over mirrored and shifted pictures.")] = False,
    device: Annotated[Device, typer.Option()] = Device.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure how well a model reads labeled faces."""
    with fatal_errors():
        from flows.training.comparison import cell, evaluate_model

        asked = [part.value for part in dict.fromkeys(split or ())]
        figures = evaluate_model(model, data, asked, tta=tta, device=device.value)
        if as_json:
            print(json.dumps(figures, indent=2))
            return
        measured = {name: value for of_part in figures.values() for name, value in of_part.items()}  # in any of them
        plain = [name for name, value in measured.items() if not isinstance(value, dict | list)]
        rows = [[name, *(cell(of_part, name) for of_part in figures.values())] for name in plain]
        for kind in (name for name, value in measured.items() if isinstance(value, dict)):
            rows += [
                [f"{kind} {emotion}", *(cell(of_part.get(kind, {}), emotion) for of_part in figures.values())]
                for emotion in measured[kind]
            ]
        console.print(table_of(["figure", *figures], rows))


def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Names from `fervid models`, or folders.")],
    data: Data,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report here: .html, or .md, whose other parts stay.")
    ] = None,
    device: Annotated[Device, typer.Option()] = Device.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure models side by side: how well they read, how sure they may be, what they cost."""
    if out is not None and out.suffix not in (".md", ".html"):
        raise typer.BadParameter(f"{out}: must end in .md or .html", param_hint="--out")
    command = ["fervid", "compare", *models, "--data", str(data)]
    command += ["--out", str(out)] if out else []
    command += ["--device", device.value] if device != Device.auto else []
    with fatal_errors(), work_log():
        from flows.training.comparison import compare_models, tables_of

        compared = compare_models(models, data, device.value, out, shlex.join(command))
        if as_json:
            print(json.dumps([one.as_json() for one in compared], indent=2))
        else:
            for table in tables_of(compared):
                console.print(f"\n{table.title}", highlight=False)
                console.print(table_of(table.columns, table.rows))
    if out is not None:
        errors.print(f"report: {out}", highlight=False, markup=False, soft_wrap=True)
