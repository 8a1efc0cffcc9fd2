"""`fervid doctor` and `fervid demo`: check the installation and create demo clips."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.console import console, fail, fatal_errors, say
from flows.cli.tables import table_of


def doctor() -> None:
    """Check the installation: versions, devices, codecs, model weights and their hashes."""
    with fatal_errors():
        from flows.cli.doctor import examine

        findings = examine()
    rows = [[finding.what, finding.found, finding.state] for finding in findings]
    console.print(table_of(["", "found", ""], rows))
    if wrong := [finding for finding in findings if finding.needed and not finding.ok]:
        fail("; ".join(f"{finding.what}: {finding.found}" for finding in wrong))


def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the clips; created if missing.")],
) -> None:
    """Create short demo clips from public-domain photographs."""
    from flows.cli.demo import make_demo_videos

    with fatal_errors():
        make_demo_videos(folder, on_clip=lambda path: say(str(path)))
