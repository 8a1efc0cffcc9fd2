"""`fervid watch`: files are analyzed as they come into a folder."""

from typing import Annotated, Any

import typer

from flows.cli.commands.analyze import analyze
from flows.cli.commands.common_options import with_options_of
from flows.cli.console import errors, fatal_errors, settings_given, stop_on_interrupt
from flows.prefect.server import prefect_server, without_console_log


@with_options_of(analyze, leaving_out=("overwrite", "dry_run", "as_json"))
def watch(
    context: typer.Context,
    settle: Annotated[
        float, typer.Option(metavar="S", min=0.5, help="Take a file once it has not changed for so long.")
    ] = 3.0,
    poll: Annotated[
        bool, typer.Option("--poll", help="Look at all files again and again: for network drives, which tell nothing.")
    ] = False,
    **analyze_options: Any,
) -> None:
    """Analyze what is in folders, then each file that comes in, until Ctrl-C."""
    from analytics.results.storage_paths import is_remote
    from flows.settings import AnalyzeSettings, EngineSettings

    settings = settings_given(context, AnalyzeSettings)
    runs_on = settings_given(context, EngineSettings)
    folders, out = analyze_options["inputs"], analyze_options["out"]
    if addresses := [str(folder) for folder in folders if is_remote(folder)]:
        raise typer.BadParameter(f"{addresses[0]}: only folders on disk tell of new files: use `fervid schedule`")
    without_console_log()
    here = runs_on.engine == "threads"
    stopping = stop_on_interrupt(at_once=not here)
    with fatal_errors("the same command goes on"), prefect_server() as wait_for_server, stopping:
        from flows.analysis.flow import run_analyze
        from flows.analysis.inputs import InputError
        from flows.analysis.model_bundle import load_models
        from flows.analysis.progress import Stopped, VideoEnded, progress
        from flows.analysis.watch import stable_file_batches

        progress.listen(lambda event: _say_end(event) if isinstance(event, VideoEnded) else None)
        if here:
            load_models(settings)
        wait_for_server()
        errors.print(f"watching {', '.join(map(str, folders))}; Ctrl-C ends it", highlight=False, markup=False)
        recursive, pattern = analyze_options["recursive"], analyze_options["pattern"]
        for batch in stable_file_batches(
            folders,
            recursive=recursive,
            pattern=pattern,
            settle_s=settle,
            stop=progress.stop_requested,
            force_polling=poll or None,
        ):
            try:
                run_analyze(batch, out, False, "*", settings, runs_on)
            except InputError as error:  # all of them have gone meanwhile
                errors.print(str(error), highlight=False, markup=False, soft_wrap=True)
        raise Stopped


def _say_end(event: Any) -> None:
    errors.print(f"{event.status} {event.error or event.path}", highlight=False, markup=False, soft_wrap=True)
