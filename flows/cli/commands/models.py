"""`fervid models`: what models are at hand, and how others come to be."""

import contextlib
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from flows.cli.console import console, errors, fail, fatal_errors, usage_checked
from flows.cli.display import table_of

models_app = typer.Typer(
    add_completion=False, help="The models at hand; without a command, a list of them.", invoke_without_command=True
)
FIGURES_ARE_TOLD = (
    "votes_…: against the emotion that most annotators named, the others against the labels of the data; ece: the "
    "expected calibration error, against that of both which the model is calibrated on."
)


class Fetchable(StrEnum):
    """Models that can be downloaded."""

    retinaface = "retinaface"


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the models at hand."""
    if context.invoked_subcommand is None:
        from fer_models.registry.model_registry import ModelCard, list_cards

        with fatal_errors():
            cards = list_cards()
            rows = [
                [name, card.task, card.architecture, card.parameters, card.summary(), card.sha256[:12]]
                if isinstance(card, ModelCard)
                else [name, "damaged", None, None, str(card), None]
                for name, card in cards.items()
            ]
            console.print(table_of(["name", "task", "architecture", "parameters", "measured", "sha256"], rows))
            if any(isinstance(card, ModelCard) and card.task == "emotion" for card in cards.values()):
                console.print(FIGURES_ARE_TOLD, highlight=False)


@models_app.command("show")
def show_model(name: Annotated[str, typer.Argument(help="A name from `fervid models`, or a model folder.")]) -> None:
    """Print the card of a model."""
    from fer_models.registry.model_registry import find_model, read_card

    with fatal_errors():
        folder = find_model(name)
        console.print(f"{folder}", highlight=False, soft_wrap=True)
        console.print_json(data=read_card(folder).as_json())


@models_app.command("fetch")
def fetch_model(name: Annotated[Fetchable, typer.Argument(help="Whose weights to download.")]) -> None:
    """Download weights into the user's models, unless they are there."""
    from fer_models.registry.download import LICENCE_NOTE, fetch_retinaface

    with fatal_errors("run the same command again to start the download anew"), download_bar(name.value) as on_bytes:
        folder = fetch_retinaface(on_bytes)
    say_at_hand(folder)
    console.print(LICENCE_NOTE, highlight=False, soft_wrap=True)


@models_app.command("add")
def add_model(
    name: Annotated[str, typer.Argument(help="The model's name from then on.")],
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A model folder; for retinaface, its .pth file.")],
) -> None:
    """Take a model from a folder or a file into the user's models: for machines without a network."""
    from fer_models.registry.registration import add_model as add

    with fatal_errors():
        say_at_hand(add(name, path))


@models_app.command("ensemble")
def make_ensemble(
    name: Annotated[str, typer.Argument(help="The ensemble's name.")],
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Its members: names, or model folders.")],
) -> None:
    """Make a model that averages the probabilities of others."""
    from fer_models.registry import registration
    from fer_models.registry.model_registry import user_model_dir

    with fatal_errors():
        folder = usage_checked(registration.make_ensemble, folder=user_model_dir(name), name=name, models=models)
    say_at_hand(folder)


@models_app.command("verify")
def verify_models() -> None:
    """Hash all weights again, and say which are not those that their card speaks of."""
    from fer_models.registry.model_registry import ModelCard
    from fer_models.registry.verification import check_models

    with fatal_errors():
        checked = check_models()
    rows = [
        [name, "ok", card.sha256] if isinstance(card, ModelCard) else [name, "damaged", str(card)]
        for name, card in checked.items()
    ]
    console.print(table_of(["name", "", "sha256, or what is wrong"], rows))
    if wrong := [name for name, card in checked.items() if not isinstance(card, ModelCard)]:
        fail(f"damaged: {', '.join(wrong)}")


def say_at_hand(folder: Path) -> None:
    """Tell of a model that can be named now."""
    from fer_models.registry.model_registry import read_card

    line = f"at hand as {folder.name}: {folder}, sha256 {read_card(folder).sha256}"
    console.print(line, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def download_bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar that shows how much of a download is here, on a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bars:
        bar = bars.add_task(f"downloading {what}", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
