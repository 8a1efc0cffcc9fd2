"""`fervid watch`: analyze files as they arrive in a folder."""

from typing import Annotated, Any

import typer

from flows.cli.commands.common_options import Inputs, Out, Pattern, Recursive
from flows.cli.console import errors, fatal_errors, stop_on_interrupt
from flows.cli.options import with_settings
from flows.prefect.environment import without_console_log
from flows.prefect.server import prefect_server
from flows.settings import AnalyzeSettings, EngineSettings


@with_settings(settings=AnalyzeSettings, engine=EngineSettings, without=("overwrite",))
def watch(
    inputs: Inputs,
    out: Out,
    settings: AnalyzeSettings,
    engine: EngineSettings,
    recursive: Recursive = True,
    pattern: Pattern = "*",
    settle: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.5, help="Process a file once it has not changed for this long.")
    ] = 3.0,
    poll: Annotated[
        bool, typer.Option("--poll", help="Poll all files: for network drives, which report no changes.")
    ] = False,
) -> None:
    """Analyze existing files, then new files as they arrive, until Ctrl-C."""
    from analytics.results.storage_paths import is_remote

    if addresses := [str(folder) for folder in inputs if is_remote(folder)]:
        raise typer.BadParameter(f"{addresses[0]}: only local folders can be watched: use `fervid schedule`")
    without_console_log()
    here = engine.engine == "threads"
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
        errors.print(f"watching {', '.join(map(str, inputs))}; Ctrl-C ends it", highlight=False, markup=False)
        for batch in stable_file_batches(
            inputs,
            recursive=recursive,
            pattern=pattern,
            settle_s=settle,
            stop=progress.stop_requested,
            force_polling=poll or None,
        ):
            try:
                run_analyze(batch, out, False, "*", settings, engine)
            except InputError as error:  # all of them were removed meanwhile
                errors.print(str(error), highlight=False, markup=False, soft_wrap=True)
        raise Stopped


def _say_end(event: Any) -> None:
    errors.print(f"{event.status} {event.error or event.path}", highlight=False, markup=False, soft_wrap=True)
