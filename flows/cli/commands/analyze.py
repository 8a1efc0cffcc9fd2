"""`fervid analyze`: videos and images into a results folder."""

import json
from typing import Annotated

import typer

from flows.cli.commands.common_options import AsJson, Inputs, Out, Pattern, Recursive
from flows.cli.console import (
    DONE,
    SOME_FAILED,
    console,
    counted,
    errors,
    fatal_errors,
    note,
    stop_on_interrupt,
)
from flows.cli.display import RunDisplay, print_plan, print_summary
from flows.cli.options import with_settings
from flows.prefect.environment import without_console_log
from flows.prefect.server import prefect_server
from flows.settings import AnalyzeSettings, EngineSettings


@with_settings(settings=AnalyzeSettings, engine=EngineSettings)
def analyze(
    inputs: Inputs,
    out: Out,
    settings: AnalyzeSettings,
    engine: EngineSettings,
    recursive: Recursive = True,
    pattern: Pattern = "*",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and the settings; do nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Analyze videos and images into a results folder. Finished videos are skipped; interrupted ones are resumed."""
    from flows.analysis.inputs import find_videos

    with fatal_errors():
        videos = find_videos(inputs, recursive=recursive, pattern=pattern)
        note(f"{counted(len(videos), 'file')} to process, results in {out}")
        if dry_run:
            from flows.analysis.work_plan import plan_videos

            plans = plan_videos(videos, out, settings)
            if as_json:
                print(json.dumps([plan.as_json() for plan in plans], indent=2))
            else:
                print_plan(console, plans, out)
            return
        display = RunDisplay(errors, len(videos))
        without_console_log()
        here = engine.engine == "threads"
        with display, prefect_server() as wait_for_server, stop_on_interrupt(at_once=not here):
            from flows.analysis.flow import run_analyze
            from flows.analysis.model_bundle import load_models
            from flows.analysis.progress import progress

            progress.listen(display.show)
            if here:
                load_models(settings)
            wait_for_server()
            progress.check()
            summary = run_analyze(inputs, out, recursive, pattern, settings, engine)
        if as_json:
            print(json.dumps(summary.as_json(), indent=2))
        else:
            print_summary(console, summary)
    raise typer.Exit(SOME_FAILED if summary.failures else DONE)
