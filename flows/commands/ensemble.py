"""`fervid models ensemble`: several emotion models as one."""

from typing import Annotated

import typer

from flows.console import console, fatal_errors, usage_checked


def make_ensemble(
    name: Annotated[str, typer.Argument(help="The ensemble's name.")],
    members: Annotated[list[str], typer.Argument(help="Two or more names from `fervid models`, or model folders.")],
) -> None:
    """Make a model of several emotion models: the mean of their probabilities."""
    from fer_models.classification.ensemble import make_ensemble as make
    from fer_models.weights import user_models_dir

    with fatal_errors():
        folder = usage_checked(make, folder=user_models_dir() / name, name=name, models=members)
    console.print(f"model saved: {folder}", highlight=False, soft_wrap=True)
