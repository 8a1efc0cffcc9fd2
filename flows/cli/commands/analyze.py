"""`fervid analyze`: videos and images into a results folder."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from analytics.results.storage_paths import translate_client_errors
from analytics.text import counted
from flows.analysis.context import AnalysisContext
from flows.analysis.flow_process import flow_runner
from flows.analysis.outcomes import RunSummary
from flows.analysis.progress import progress
from flows.analysis.run import AnalysisRun, Inputs, find, prepare_run
from flows.cli.commands.common_options import AsJson, InputPaths, Out, Pattern, Recursive
from flows.cli.config_file import write_config
from flows.cli.console import (
    DONE,
    RESUME_HINT,
    SOME_FAILED,
    console,
    errors,
    fatal_errors,
    note,
    refuse_standard_output,
    say,
    stop_on_interrupt,
)
from flows.cli.display import RunDisplay, print_plan, print_summary
from flows.cli.options import tables_of, with_settings
from flows.prefect.environment import without_console_log
from flows.settings import AnalyzeSettings, EngineSettings

NOTHING_TO_DO = "every file is analyzed already: nothing to do, and no run is recorded in Prefect"


@with_settings(settings=AnalyzeSettings, engine=EngineSettings)
def analyze(
    inputs: InputPaths,
    out: Out,
    settings: AnalyzeSettings,
    engine: EngineSettings,
    recursive: Recursive = True,
    pattern: Pattern = "*",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and the settings; do nothing.")] = False,
    as_json: AsJson = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            callback=refuse_standard_output,
            metavar="FILE",
            help="Also write one tidy CSV file: one row per person and frame.",
        ),
    ] = None,
) -> None:
    """Analyze videos and images into a results folder. Finished videos are skipped; interrupted ones are resumed."""
    with fatal_errors(RESUME_HINT), contextlib.ExitStack() as stack:
        if csv is not None:
            from analytics.results.output_files import check_output_file

            check_output_file(csv, overwrite=False, new_results=out)
        named = Inputs(inputs, recursive, pattern)
        if dry_run:
            _print_plan(named, out, settings, as_json)
            if not as_json:
                _print_settings(settings, engine)
            return
        without_console_log()
        context = AnalysisContext(out, settings, progress)
        context.check_models()  # before Prefect is started
        found = find(named)
        note(f"{counted(len(found.videos), 'file')} to process, results in {out}")
        for line in found.skipped_lines():
            note(line)
        runner = flow_runner(engine.engine == "threads", once=True)
        # A new results folder has no finished videos to look for, so Prefect starts at once, while PyArrow is imported.
        with translate_client_errors(out):
            is_new = not out.exists()
        run_flow = stack.enter_context(runner) if is_new else None
        run = prepare_run(named, context, engine, found)
        from flows.analysis.skipping import skip_all  # imported here because it loads PyArrow

        summary = skip_all(run)
        if summary is None:
            summary = run_analysis(run, run_flow or stack.enter_context(runner))
        else:
            note(NOTHING_TO_DO)
        if as_json:
            print(json.dumps(summary.as_json() | {"skipped": found.skipped_json()}, indent=2))
        else:
            print_summary(console, summary)
        if csv is not None:
            _write_csv(out, csv)
    raise typer.Exit(SOME_FAILED if summary.failures else DONE)


def _print_settings(settings: AnalyzeSettings, engine: EngineSettings) -> None:
    for line in ("", "# settings, for --config FILE", *write_config(tables_of(settings, engine)).splitlines()):
        say(line)


def _write_csv(out: Path, csv: Path) -> None:
    from analytics.exports.folder_tables import export_table

    note(f"{export_table(out, 'frames', csv)}: one row per person and frame")


def run_analysis(run: AnalysisRun, run_flow: Callable[[AnalysisRun], RunSummary]) -> RunSummary:
    """Run the flow with progress bars, until it ends or the user stops it."""
    display = RunDisplay(errors, len(run.videos))
    progress.listen(display.show)
    with display, stop_on_interrupt(at_once=not run.is_local):
        return run_flow(run)


def _print_plan(inputs: Inputs, out: Path, settings: AnalyzeSettings, as_json: bool) -> None:
    from flows.analysis.work_plan import VideoPlan, plan_videos

    found = find(inputs)
    plans = plan_videos(found.videos, out, settings)
    plans += [VideoPlan(file.path, f"skip: {file.reason}") for file in found.skipped]
    for line in found.skipped_lines():
        note(line)
    if as_json:
        print(json.dumps([plan.as_json() for plan in plans], indent=2))
    else:
        print_plan(console, plans, out)
