"""`fervid models`: what models are at hand."""

from typing import Annotated

import typer

from flows.console import console, fatal_errors
from flows.display import table_of

models_app = typer.Typer(help="The models at hand; `show NAME` for one of them.", invoke_without_command=True)


@models_app.callback()
def list_models(context: typer.Context) -> None:
    """List the models at hand."""
    if context.invoked_subcommand is None:
        from fer_models.weights import model_folders, read_card

        with fatal_errors():
            cards = {name: read_card(folder) for name, folder in model_folders().items()}
            rows = [
                [name, card.task, card.architecture, card.parameters, card.summary(), card.sha256[:12]]
                for name, card in cards.items()
            ]
            console.print(table_of(["name", "task", "architecture", "parameters", "measured", "sha256"], rows))


@models_app.command("show")
def show_model(name: Annotated[str, typer.Argument(help="A name from `fervid models`, or a model folder.")]) -> None:
    """Print the card of a model."""
    from fer_models.weights import find_model, read_card

    with fatal_errors():
        folder = find_model(name)
        console.print(f"{folder}", highlight=False, soft_wrap=True)
        console.print_json(data=read_card(folder).as_json())
