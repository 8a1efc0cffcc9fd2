"""`fervid analyze`: videos and pictures into a results folder."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.commands.common_options import (
    ComputesOn,
    Detector,
    DetectorSize,
    DoneAsJson,
    FindsFaces,
    Fps,
    MinFace,
    Out,
    ReadsEmotions,
)
from flows.cli.console import (
    DONE,
    SOME_FAILED,
    Device,
    console,
    counted,
    errors,
    fatal_errors,
    place_given,
    settings_given,
    stop_on_interrupt,
)
from flows.cli.display import RunDisplay, print_plan, print_summary
from flows.prefect.server import prefect_server, without_console_log


class Engine(StrEnum):
    """What runs tasks."""

    threads = "threads"
    ray = "ray"
    dask = "dask"


class Decoder(StrEnum):
    """Which library reads videos."""

    auto = "auto"
    decord = "decord"
    pyav = "pyav"


def analyze(
    context: typer.Context,
    inputs: Annotated[
        list[Path],
        typer.Argument(
            parser=place_given,
            metavar="INPUT",
            help="Videos, pictures, or folders of them, also at addresses such as s3://bucket/videos.",
        ),
    ],
    out: Out,
    fps: Fps = None,
    start: Annotated[float | None, typer.Option(metavar="S", help="Begin at this second of each video.")] = None,
    end: Annotated[float | None, typer.Option(metavar="S", help="Stop before this second of each video.")] = None,
    recursive: Annotated[bool, typer.Option(help="Look into folders in folders.")] = True,
    pattern: Annotated[str, typer.Option(metavar="GLOB", help="Of a folder, only files whose name fits.")] = "*",
    detector: FindsFaces = Detector.auto,
    detector_size: DetectorSize = None,
    model: ReadsEmotions = "default",
    device: ComputesOn = Device.auto,
    decoder: Annotated[Decoder, typer.Option(help="What reads videos.")] = Decoder.auto,
    batch_size: Annotated[int, typer.Option(min=1, help="At most this many frames at a time.")] = 32,
    min_face: MinFace = 12.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Analyze again what is done.")] = False,
    keep_appearance: Annotated[
        bool,
        typer.Option(
            "--keep-appearance", help="Keep the signatures of faces once tracks are joined, until a run without this."
        ),
    ] = False,
    engine: Annotated[Engine, typer.Option(help="What runs the tasks: threads here, or a cluster.")] = Engine.threads,
    address: Annotated[
        str | None, typer.Option(help="The cluster's address; without one, a cluster is made on this machine.")
    ] = None,
    gpus_per_task: Annotated[
        float, typer.Option(metavar="SHARE", min=0, help="GPUs that each task asks Ray for, such as 0.25.")
    ] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    as_json: DoneAsJson = False,
) -> None:
    """Analyze videos and pictures into a results folder; what is done already is left alone."""
    from flows.analysis.inputs import find_videos
    from flows.settings import AnalyzeSettings, EngineSettings

    settings = settings_given(context, AnalyzeSettings)
    runs_on = settings_given(context, EngineSettings)
    with fatal_errors():
        videos = find_videos(inputs, recursive=recursive, pattern=pattern)
        errors.print(
            f"{counted(len(videos), 'file')} to go through, results in {out}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
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
        here = runs_on.engine == "threads"
        with display, prefect_server() as wait_for_server, stop_on_interrupt(at_once=not here):
            from flows.analysis.flow import run_analyze
            from flows.analysis.model_bundle import load_models
            from flows.analysis.progress import progress

            progress.listen(display.show)
            if here:
                load_models(settings)
            wait_for_server()
            progress.check()
            summary = run_analyze(inputs, out, recursive, pattern, settings, runs_on)
        if as_json:
            print(json.dumps(summary.as_json(), indent=2))
        else:
            print_summary(console, summary)
    raise typer.Exit(SOME_FAILED if summary.failures else DONE)
