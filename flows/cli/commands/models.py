"""`fervid models`: list, inspect, download, add and remove models."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from flows.cli.console import confirm_removal, console, errors, fail, fatal_errors, say, usage_checked
from flows.cli.tables import cell_text, table_of

if TYPE_CHECKING:
    from fer_models.registry.model_registry import ModelCard, WeightsError

models_app = typer.Typer(
    add_completion=False,
    help="List the available models; its commands show, download, add and remove models.",
    invoke_without_command=True,
)
FIGURES_NOTE = (
    "votes_…: against the majority vote of the annotators; other metrics: against the labels of the data; ece: "
    "expected calibration error, against the labels or votes that the model is calibrated on. Choose between models by "
    "PublicTest: PrivateTest is the final figure, and choosing by it would bias it."
)


class Fetchable(StrEnum):
    """Models that can be downloaded."""

    retinaface = "retinaface"


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the available models."""
    if context.invoked_subcommand is None:
        from fer_models.registry.model_registry import ModelCard, list_cards

        with fatal_errors():
            cards = list_cards()
            rows = [_row(name, card) for name, card in cards.items()]
            columns = ["name", "task", "source", "architecture", "parameters", "measured", "sha256"]
            console.print(table_of(columns, rows))
            if any(isinstance(card, ModelCard) and card.task == "emotion" for card in cards.values()):
                console.print(FIGURES_NOTE, highlight=False)


def _row(name: str, card: "ModelCard | WeightsError") -> list[object]:
    from fer_models.registry.model_registry import WeightsError, model_source

    source = model_source(name)
    if isinstance(card, WeightsError):
        return [name, "damaged", source, None, None, str(card), None]
    parameters = "unknown" if card.parameters is None else card.parameters
    return [name, card.task, source, card.architecture, parameters, card.summary(), card.sha256[:12]]


@models_app.command("show")
def show_model(
    name: Annotated[str, typer.Argument(help="A name from `fervid models`, or a model folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Show the card of a model."""
    from fer_models.registry.model_registry import find_model, read_card

    with fatal_errors():
        folder = find_model(name)
        card = read_card(folder).as_json()
        if as_json:
            print(json.dumps(card, indent=2))
            return
        say(str(folder))
        console.print(table_of(["field", "value"], [[field, _plain(value)] for field, value in _flat(card)]))


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield nested values by dotted names, such as `metrics.PublicTest.accuracy`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else cell_text(value)


@models_app.command("remove")
def remove_model(
    name: Annotated[str, typer.Argument(help="One of your models.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove a model that was trained, added or downloaded here."""
    from fer_models.registry.ensemble_members import ensembles_with
    from fer_models.registry.model_registry import list_model_dirs, user_models_dir

    with fatal_errors("nothing was removed"):
        folder = list_model_dirs().get(name)
        if folder is None or folder.parent != user_models_dir():
            known = sorted(name for name, of in list_model_dirs().items() if of.parent == user_models_dir())
            fail(f"{name}: not one of your models, which are: {', '.join(known) or 'none'}")
        if ensembles := ensembles_with(folder):
            fail(f"{name}: a member of registered ensembles: {', '.join(ensembles)}. Remove these first")
        if not yes:
            confirm_removal(f"Delete {folder} permanently?")
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
        say(f"removed {folder}")


@models_app.command("fetch")
def fetch_model(name: Annotated[Fetchable, typer.Argument(help="Model whose weights to download.")]) -> None:
    """Download weights into the user's models, unless they exist."""
    from fer_models.model_installation.download import LICENSE_NOTE, fetch_retinaface

    with fatal_errors("run the same command again to restart the download"), download_bar(name.value) as on_bytes:
        folder = fetch_retinaface(on_bytes)
    report_model(folder)
    console.print(LICENSE_NOTE, highlight=False, soft_wrap=True)


@models_app.command("add")
def add_model(
    name: Annotated[str, typer.Argument(help="Name of the new model.")],
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="ONNX file, model folder, or the .pth file of retinaface.")
    ],
    card: Annotated[
        Path | None, typer.Option(help="For an ONNX file: JSON with its classes and its input; see docs/models.md.")
    ] = None,
) -> None:
    """Register a model from a file or folder, after one prediction with it."""
    from fer_models.model_installation.registration import add_model as add

    with fatal_errors():
        folder = add(name, path, card)
        report_model(folder)
        show_prediction(folder)


@models_app.command("ensemble")
def make_ensemble(
    name: Annotated[str, typer.Argument(help="Name of the ensemble.")],
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Members: model names or folders.")],
) -> None:
    """Create a model that averages the probabilities of other models."""
    from fer_models.model_installation import registration
    from fer_models.registry.model_registry import user_model_dir

    with fatal_errors():
        folder = usage_checked(registration.make_ensemble, folder=user_model_dir(name), name=name, models=models)
    report_model(folder)


@models_app.command("verify")
def verify_models() -> None:
    """Check the sha256 of all weights against their model cards."""
    from fer_models.model_installation.verification import check_models
    from fer_models.registry.model_registry import ModelCard, model_source

    with fatal_errors():
        checked = check_models()
    rows = [
        [name, "ok", model_source(name), card.sha256]
        if isinstance(card, ModelCard)
        else [name, "damaged", model_source(name), str(card)]
        for name, card in checked.items()
    ]
    console.print(table_of(["name", "status", "source", "sha256 or problem"], rows))
    if wrong := [name for name, card in checked.items() if not isinstance(card, ModelCard)]:
        fail(f"damaged: {', '.join(wrong)}")


def report_model(folder: Path) -> None:
    """Print name, folder and sha256 of a new model."""
    from fer_models.registry.model_registry import read_card

    line = f"available as {folder.name}: {folder}, sha256 {read_card(folder).sha256}"
    console.print(line, highlight=False, soft_wrap=True)


def show_prediction(folder: Path) -> None:
    """Print the predictions of a new emotion model for the photographs of the demo."""
    from fer_models.registry.model_registry import read_card

    if read_card(folder).task == "emotion":
        from flows.cli.model_preview import HEADINGS, preview_rows

        console.print(table_of(list(HEADINGS), preview_rows(str(folder))))


@contextlib.contextmanager
def download_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar for a download if standard error is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bars:
        bar = bars.add_task(f"downloading {what}", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
