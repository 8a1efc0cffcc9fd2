"""`fervid purge`: remove videos from the results permanently."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from flows.cli.console import Results, console, counted, errors, fatal_errors


def purge(
    results: Results,
    video: Annotated[
        list[str] | None, typer.Option(help="Remove this video, by path, name or id; can be repeated.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Remove videos last analyzed longer ago than this, such as 30d or 12h."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; remove nothing.")] = False,
) -> None:
    """Remove all results of videos: tables, observations, appearance data, identities, failures; video files stay."""
    from analytics.results.purge import Purge, is_unfinished, plan_purge
    from analytics.results.purge import purge as remove
    from flows.cli.durations import parse_duration

    if (video is None) == (older_than is None):
        raise typer.BadParameter("give either --video or --older-than")

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    def report(plan: Purge, word: str) -> None:
        for path in plan.paths:
            say(path)
        size = f"{counted(plan.n_files, 'file')} of {counted(plan.size_bytes, 'byte')}"
        say(f"{counted(plan.n_videos, 'video')} {word}: {size}")
        if plan.n_rows:
            named = {"identities": "of who is who", "videos": "of table videos"}
            rows = ", ".join(f"{n} {named.get(table, table)}" for table, n in plan.n_rows.items() if n)
            say(f"rows, over all analyses and failures: {rows}")

    with fatal_errors("run the same command again to finish"):
        if not dry_run and results.is_dir() and is_unfinished(results):
            remove(results, [])
            errors.print("an earlier purge had been cut short: it is finished now", highlight=False)
        before = None if older_than is None else datetime.now(UTC) - parse_duration(older_than)
        plan = plan_purge(results, wanted=video or (), finished_before=before)
        if not plan.video_ids:
            say("no video matches: nothing is removed")
            return
        if dry_run:
            report(plan, "would be removed")
            return
        if not yes:
            report(plan, "to be removed")
            typer.confirm("Remove them permanently?", abort=True)
        remove(results, plan.video_ids)
        report(plan, "removed")
        errors.print(
            "exported and rendered files and Prefect's run history are not removed",
            highlight=False,
        )
