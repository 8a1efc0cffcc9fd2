"""`fervid purge`: remove videos from the results permanently."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analytics.text import counted
from flows.cli.console import Results, confirm_removal, fail, fatal_errors, note, say

if TYPE_CHECKING:
    from analytics.results.purge import Purge


def purge(
    results: Results,
    video: Annotated[
        list[str] | None, typer.Option(help="Remove this video, by path, name or id; may be repeated.")
    ] = None,
    participant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Remove all videos in which a person has this name, or that --participants assigns to it.",
        ),
    ] = None,
    participants: Annotated[
        Path | None, typer.Option(help="CSV with the columns path and participant, for --participant.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Remove videos whose last analysis is older, such as 30d or 12h."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")] = False,
) -> None:
    """Remove all results of videos: tables, observations, appearance data, identities, failures. Video files stay."""
    from analytics.queries.groups import videos_of_participant
    from analytics.results.purge import is_unfinished, plan_purge
    from analytics.results.purge import purge as remove
    from flows.cli.durations import parse_duration

    if sum(option is not None for option in (video, participant, older_than)) != 1:
        raise typer.BadParameter("give one of --video, --participant and --older-than")
    if participants is not None and participant is None:
        raise typer.BadParameter("only used with --participant", param_hint="--participants")

    with fatal_errors("run the same command again to finish"):
        if not dry_run and results.is_dir() and is_unfinished(results):
            kept = remove(results, [])
            note("an interrupted purge has been completed")
            if kept:
                note(
                    f"except for videos that were analyzed again since then: {', '.join(kept)}. Older data of them may "
                    "remain: remove them with --video"
                )
        before = None if older_than is None else datetime.now(UTC) - parse_duration(older_than)
        if participant is not None:
            video, missing = videos_of_participant(results, participant, participants)
            for name in missing:
                note(f"{participants}: {name} is not in the results")
            if not video:
                fail(f"no video of {participant}: nothing was removed")
        plan = plan_purge(results, wanted=video or (), finished_before=before)
        if not plan.video_ids:
            say("no video matches: nothing was removed")
            return
        if dry_run:
            _print_plan(plan, "would be removed")
            return
        if not yes:
            _print_plan(plan, "to be removed")
            confirm_removal("Remove them permanently?")
        remove(results, plan.video_ids)
        _print_plan(plan, "removed")
        note("exported and rendered files, and the run history of Prefect, are not removed")
        note(
            "the video files are not removed, either: delete or move them, or the next analysis of their folder adds "
            "them again. Remove their lines from groups, events and other files"
        )


def _print_plan(plan: "Purge", outcome: str) -> None:
    """Print which videos, files and rows a purge removes; `outcome` says whether it has."""
    for path, n in plan.paths.items():
        say(path if n == 1 else f"{path}: {n} videos, of which {n - 1} had this path earlier")
    size = f"{counted(plan.n_files, 'file')} of {counted(plan.size_bytes, 'byte')}"
    say(f"{counted(plan.n_videos, 'video')} {outcome}: {size}")
    if plan.n_rows:
        rows = ", ".join(f"{n} in {table}" for table, n in plan.n_rows.items() if n)
        say(f"rows, over all analyses and failures: {rows}")
