"""`fervid schedule` and `fervid schedule-training`: run analyses and trainings on a schedule."""

import dataclasses
import signal
import zoneinfo
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.commands.common_options import InputPaths, Out, Pattern, Recursive, with_options_of
from flows.cli.commands.train import RecipeOptions, drop_given, train
from flows.cli.console import fatal_errors, say, usage_checked
from flows.cli.options import refuse_overwrite, with_settings
from flows.settings import AnalyzeSettings, EngineSettings

if TYPE_CHECKING:
    from prefect import Flow

Cron = Annotated[
    str | None, typer.Option(metavar="FIELDS", help="Cron schedule, such as `0 2 * * *`: every night at two.")
]
Every = Annotated[float | None, typer.Option(metavar="MINUTES", min=0.1, help="Interval, instead of --cron.")]
Timezone = Annotated[str, typer.Option(metavar="NAME", help="Time zone of --cron, such as Europe/Berlin.")]


class WhenBusy(StrEnum):
    """Policy for a run that is due while another one writes to the same folder."""

    skip = "skip"
    wait = "wait"


Busy = Annotated[WhenBusy, typer.Option(help="Skip a run that is due while another is active, or let it wait.")]


@with_settings(settings=AnalyzeSettings, engine=EngineSettings, without=("overwrite",))
def schedule(
    inputs: InputPaths,
    out: Out,
    settings: AnalyzeSettings,
    engine: EngineSettings,
    recursive: Recursive = True,
    pattern: Pattern = "*",
    cron: Cron = None,
    every: Every = None,
    timezone: Timezone = "UTC",
    when_busy: Busy = WhenBusy.skip,
) -> None:
    """Analyze folders on a Prefect schedule; each run skips finished videos."""
    from analytics.results.storage_paths import absolute
    from flows.analysis.context import AnalysisContext, portable

    refuse_overwrite(settings)
    out = absolute(out)
    with fatal_errors():
        AnalysisContext(out, settings).check_models()
    parameters = {
        "inputs": [str(absolute(path)) for path in inputs],
        "out": str(out),
        "recursive": recursive,
        "pattern": pattern,
        "settings": portable(settings).model_dump(mode="json"),
        "engine": engine.model_dump(mode="json"),
    }
    with fatal_errors():
        from flows.analysis.flow import analyze as analyze_flow

        serve_when_due(analyze_flow, out, parameters, cron, every, timezone, when_busy)


@with_options_of(train, leaving_out=("resume",))
def schedule_training(
    cron: Cron = None,
    every: Every = None,
    timezone: Timezone = "UTC",
    when_busy: Busy = WhenBusy.skip,
    **train_options: Any,
) -> None:
    """Train a new model on a Prefect schedule whenever the data or the models that it uses have changed."""
    recipe, drop = RecipeOptions.among(train_options).recipe(), drop_given(train_options["drop"])
    name = train_options["name"] or recipe.architecture
    parameters = {
        "data": str(train_options["data"].absolute()),
        "name": name,
        "recipe": dataclasses.asdict(recipe),
        "drop": list(drop),
        "device": train_options["device"].value,
        "precision": train_options["precision"].value,
    }
    with fatal_errors():
        from fer_models.registry.model_registry import user_models_dir
        from flows.training.retrain import retrain

        serve_when_due(retrain, user_models_dir() / name, parameters, cron, every, timezone, when_busy)


def serve_when_due(
    flow: "Flow[Any, Any]",
    target: Path,
    parameters: dict[str, object],
    cron: str | None,
    every_min: float | None,
    timezone: str,
    when_busy: WhenBusy,
) -> None:
    """Serve a flow on the given schedule until Ctrl-C."""
    from flows.prefect.schedule import changed_parameters, check_server, deployment_name, schedule_of, serve

    if (cron is None) == (every_min is None):
        raise typer.BadParameter("give either --cron or --every")
    if timezone not in zoneinfo.available_timezones():
        raise typer.BadParameter(
            f"no time zone {timezone!r}: use a name such as Europe/Berlin", param_hint="--timezone"
        )
    schedule = usage_checked(schedule_of, cron=cron, every_min=every_min, timezone=timezone)
    check_server()
    due = f"every {every_min:g} min" if cron is None else f"at {cron} ({timezone})"
    name = f"{flow.name}/{deployment_name(target)}"
    if changes := changed_parameters(name, parameters):
        say(f"{name} is active: changes {', '.join(changes)}")
    say(f"{name} writes to {target}, {due}. Ctrl-C stops and pauses it.")
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a script that ignores SIGINT passes this on to its children, and Ctrl-C would have no effect
    serve(flow, target, parameters, schedule, when_busy.value)
