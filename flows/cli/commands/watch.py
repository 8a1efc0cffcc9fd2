"""`fervid watch`: analyze files as they arrive in a folder."""

from pathlib import Path
from typing import Annotated

import typer

from flows.analysis.context import AnalysisContext
from flows.analysis.flow_process import flow_runner
from flows.analysis.inputs import InputError
from flows.analysis.progress import Stopped, VideoEnded, progress
from flows.analysis.run import Inputs, prepare_run
from flows.cli.commands.common_options import Out, Pattern, Recursive
from flows.cli.console import RESUME_HINT, fatal_errors, note, parse_path, stop_on_interrupt
from flows.cli.display import event_line
from flows.cli.options import refuse_overwrite, with_settings
from flows.prefect.environment import without_console_log
from flows.settings import AnalyzeSettings, EngineSettings


@with_settings(settings=AnalyzeSettings, engine=EngineSettings, without=("overwrite",))
def watch(
    inputs: Annotated[
        list[Path], typer.Argument(parser=parse_path, metavar="FOLDER", help="Folders on this machine to watch.")
    ],
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

    refuse_overwrite(settings)
    if addresses := [str(folder) for folder in inputs if is_remote(folder)]:
        raise typer.BadParameter(f"{addresses[0]}: only local folders can be watched: use `fervid schedule`")
    without_console_log()
    progress.listen(lambda event: note(event_line(event)) if isinstance(event, VideoEnded) else None)
    context = AnalysisContext(out, settings, progress)
    is_local = engine.engine == "threads"
    stopping = stop_on_interrupt(at_once=not is_local)
    with fatal_errors(RESUME_HINT), flow_runner(is_local) as run_flow, stopping:
        from flows.analysis.watch import stable_file_batches

        if is_local:
            _ = context.models  # models are loaded once, while Prefect starts
        note(f"watching {', '.join(map(str, inputs))}; press Ctrl-C to stop")
        for batch in stable_file_batches(
            inputs,
            recursive=recursive,
            pattern=pattern,
            settle_s=settle,
            stop=progress.stop_requested,
            force_polling=poll or None,
        ):
            try:
                run_flow(prepare_run(Inputs(batch, recursive=False), context, engine))
            except InputError as error:  # the files have been removed meanwhile
                note(str(error))
        raise Stopped
