"""`fervid plot`: static timelines for papers."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from analytics.text import counted
from flows.cli.answers import OverwriteOption
from flows.cli.commands.query import note_on_people
from flows.cli.console import DONE, SOME_FAILED, failures, fatal_errors, note, parse_path, refuse_standard_output, say

FORMATS = ("png", "svg")


def plot(
    source: Annotated[
        Path,
        typer.Argument(
            parser=parse_path,
            metavar="RESULTS|VIDEO",
            help="A results folder, or a video or folder of videos, which is analyzed first.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            callback=refuse_standard_output,
            help="Folder for the figures; created if missing, never inside the results.",
        ),
    ],
    video: Annotated[
        list[str] | None, typer.Option(help="Plot only this video, by path, name or id; may be repeated.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Draw the timeline of each video as PNG and SVG: the smoothed probabilities of each person over time.

    Given a video, Fervid first analyzes it with the defaults and the settings of FERVID_ variables; the results are in
    the folder `results` beside the figures. For other settings, run `fervid analyze`, and give its results folder.
    """
    with fatal_errors():
        from analytics.results.output_files import check_output_folder

        importlib.import_module("matplotlib")  # fail before the analysis, not after it
        check_output_folder(out)
        if video and not is_results(source):
            raise typer.BadParameter("chooses videos of a results folder: give the video itself", param_hint="--video")
        results, wanted, all_done = (source, video or [], True) if is_results(source) else _analyze(source, out)
        # This import must follow that of PyTorch, because DuckDB otherwise reports leaked objects at exit.
        from analytics.exports import export_videos

        written = [
            path for form in FORMATS for path in export_videos(results, out, form, wanted=wanted, overwrite=overwrite)
        ]
        for path in written:
            say(str(path))
        note_on_people(results, wanted or None)
        note(f"{counted(len(written), 'figure')} in {out}")
    raise typer.Exit(DONE if all_done else SOME_FAILED)


def is_results(source: Path) -> bool:
    """Whether a path is a results folder; addresses always are, as videos there are analyzed by `fervid analyze`."""
    from analytics.results.results_folder import MARKER_NAME
    from analytics.results.storage_paths import is_remote

    return is_remote(source) or (source / MARKER_NAME).is_file()


def _analyze(source: Path, out: Path) -> tuple[Path, list[str], bool]:
    """Analyze videos with the default settings: the results folder, the ids, and whether all succeeded."""
    from flows.analysis.context import AnalysisContext
    from flows.analysis.flow_process import flow_runner
    from flows.analysis.progress import progress
    from flows.analysis.run import Inputs, prepare_run
    from flows.analysis.skipping import skip_all
    from flows.cli.commands.analyze import run_analysis
    from flows.cli.options import load_settings
    from flows.prefect.environment import without_console_log
    from flows.settings import AnalyzeSettings, EngineSettings

    without_console_log()
    results = out / "results"
    context = AnalysisContext(results, load_settings(AnalyzeSettings), progress)
    run = prepare_run(Inputs([source]), context, load_settings(EngineSettings))
    note(f"{counted(len(run.videos), 'file')} to analyze, results in {results}")
    summary = skip_all(run)
    if summary is None:
        with flow_runner(run.is_local, once=True) as run_flow:
            summary = run_analysis(run, run_flow)
    for failure in summary.failures:
        failures.print(f"failed {failure.reason}", highlight=False, markup=False, soft_wrap=True)
    if not summary.outcomes:
        raise typer.Exit(SOME_FAILED)
    return results, [outcome.video_id for outcome in summary.outcomes], not summary.failures
