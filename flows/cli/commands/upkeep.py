"""`fervid status`, `fervid retry` and `fervid gc`: show progress, retry failed videos, remove unused files."""

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analytics.text import counted
from flows.cli.commands.common_options import AsJson, Pattern, Recursive
from flows.cli.console import (
    DONE,
    RESUME_HINT,
    SOME_FAILED,
    Results,
    console,
    errors,
    fatal_errors,
    parse_path,
    say,
    stop_on_interrupt,
)
from flows.cli.display import RunDisplay, print_summary
from flows.cli.durations import parse_duration
from flows.cli.tables import table_of
from flows.cli.validation import explain
from flows.prefect.environment import without_console_log

if TYPE_CHECKING:
    from pydantic import ValidationError

    from analytics.results.storage_paths import StoragePath
    from analytics.results.vacuum import Garbage
    from flows.settings import AnalyzeSettings, EngineSettings

MIN_AGE_S = 3600.0


def status(
    results: Results,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=parse_path, metavar="INPUT", help="Inputs to compare with the results, as for `fervid analyze`."
        ),
    ] = None,
    recursive: Recursive = True,
    pattern: Pattern = "*",
    as_json: AsJson = False,
) -> None:
    """Show which videos are done, running, failed, damaged or pending, with reasons and suggested actions."""
    from analytics.results.status import count, n_later_runs_failed
    from analytics.results.status import status as status_of
    from flows.analysis.inputs import FoundFiles, find_files

    with fatal_errors():
        files = find_files(inputs, recursive=recursive, pattern=pattern) if inputs else FoundFiles([], [], [])
        without_media = {file.path for file in files.empty}
        found = status_of(results, [path for path in files.videos if path not in without_media])
    if as_json:
        videos = [dataclasses.asdict(video) for video in found]
        skipped = [*files.skipped_json(), *(file.as_json() for file in files.empty)]
        content = {"count": count(found), "videos": videos, "skipped": skipped}
        print(json.dumps(content, indent=2, default=str))
        return
    if explained := [video for video in found if video.state != "done" or video.reason]:
        rows = [
            [video.path or video.video_id, video.state, video.reason, video.suggested_action] for video in explained
        ]
        console.print(table_of(["video", "state", "reason", "suggested action"], rows))
    for line in [*(f"{file.path}: {file.reason}" for file in files.empty), *files.skipped_lines()]:
        say(line)
    counts = {state: f"{n} {state}" for state, n in count(found).items()}
    if n_later := n_later_runs_failed(found):
        counts["done"] += f" (a later run of {n_later} of them failed)"
    say(", ".join(counts.values()))


def retry(results: Results) -> None:
    """Analyze failed videos again, with the settings of their last failed run.

    Also repeats a failed later run of a finished video, unless its results cover only a part of it (--start, --end).
    """
    from analytics.results.status import may_exist
    from analytics.results.status import status as status_of
    from flows.analysis.stored_settings import missing_model, settings_of
    from flows.cli.options import load_settings
    from flows.settings import EngineSettings

    engine = load_settings(EngineSettings)
    with fatal_errors(RESUME_HINT):
        videos = status_of(results)
        failed = [video for video in videos if video.can_retry]
        missing = [video for video in failed if not may_exist(video.path)]
        again, refused = settings_of(results, [video.video_id or "" for video in failed if video not in missing])
        without_model = {settings: found for settings in again if (found := missing_model(settings))}
        for video in missing:
            say(f"{video.path}: {video.suggested_action}")
        for path, error in refused.items():
            command = shlex.join(["fervid", "analyze", str(path), "--out", str(results)])
            say(f"{path}: its settings are refused ({_refusal(error)}): analyze it with others: {command}")
        for settings, (option, name) in without_model.items():
            for path in again.pop(settings):
                command = shlex.join(["fervid", "analyze", str(path), "--out", str(results), option, "NAME"])
                say(f"{path}: its model {name} does not exist: restore it, or use another with {command}")
        for video in videos:
            if video.state == "done" and video.reason and not video.can_retry:
                say(f"{video.path}: {video.suggested_action}")
        if not again:
            has_failed = any(video.state == "failed" or video.reason for video in videos)
            say("no failed video can be retried" if has_failed else "no video has failed: there is nothing to retry")
        all_done = not (missing or refused or without_model)
        if again:
            all_done &= _analyze_again(results, again, engine)
    raise typer.Exit(DONE if all_done else SOME_FAILED)


def _refusal(error: "ValidationError") -> str:
    return "; ".join(f"{'.'.join(map(str, problem['loc']))} {explain(problem)}" for problem in error.errors())


def _analyze_again(results: Path, failed: "dict[AnalyzeSettings, list[StoragePath]]", engine: "EngineSettings") -> bool:
    """Run the flow once for all videos with the same settings; returns whether all succeeded."""
    from flows.analysis.context import AnalysisContext
    from flows.analysis.flow_process import flow_runner
    from flows.analysis.progress import progress
    from flows.analysis.run import Inputs, prepare_run

    runs = [
        prepare_run(Inputs(paths), AnalysisContext(results, settings, progress), engine)
        for settings, paths in failed.items()
    ]
    display = RunDisplay(errors, sum(map(len, failed.values())))
    progress.listen(display.show)
    without_console_log()
    summaries = []
    is_local = engine.engine == "threads"
    with display, flow_runner(is_local) as run_flow, stop_on_interrupt(at_once=not is_local):
        for run in runs:
            progress.check()
            summaries.append(run_flow(run))
    for summary in summaries:
        print_summary(console, summary)
    return not any(summary.failures for summary in summaries)


def gc(
    results: Results,
    superseded: Annotated[
        bool,
        typer.Option(
            "--superseded",
            help="Also remove all but the latest analysis of each video, and failures followed by a success.",
        ),
    ] = False,
    older_than: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="Keep files changed within this time, such as 24h or 7d: a run may use them.",
        ),
    ] = "24h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")] = False,
) -> None:
    """Remove unused files: partial files, incomplete tables, and observations without an analysis."""
    from analytics.results.storage_paths import path_below
    from analytics.results.vacuum import find_garbage, find_kept, remove_garbage

    min_age_s = parse_duration(older_than).total_seconds()
    if min_age_s < MIN_AGE_S:
        raise typer.BadParameter(f"at least 1h, got {older_than}: a run may still use younger files")
    with fatal_errors("run the same command again to finish"):
        found = find_garbage(results, superseded=superseded, older_than_s=min_age_s)
        kept = find_kept(results, found, superseded=superseded)
        size_of(found)  # the sizes of the files before they are deleted
        removed = found if dry_run else remove_garbage(results, found)
    for item in removed:
        of_shards = [f"{analysis} of {video}, in a shard" for video, analysis in item.in_shards]
        say(f"{item.what}: {', '.join([*(path_below(results, file) for file in item.files), *of_shards])}")
    say(f"{size_of(removed)} {'would be removed' if dry_run else 'removed'}")
    if kept.too_young:
        say(f"kept: {size_of(kept.too_young)}, changed less than {older_than} ago, because a run may still use them")
    if kept.superseded:
        say(f"kept: {size_of(kept.superseded)} of superseded analyses; to remove them, add --superseded")


def size_of(garbage: "Sequence[Garbage]") -> str:
    """Number and size of files, and the number of analyses in shards if there are any."""
    size_bytes = sum(item.size_bytes for item in garbage)
    n_in_shards = sum(len(item.in_shards) for item in garbage)
    in_shards = f" and {counted(n_in_shards, 'analysis', 'analyses')} in shards" if n_in_shards else ""
    return f"{counted(sum(len(item.files) for item in garbage), 'file')} of {counted(size_bytes, 'byte')}{in_shards}"
