"""`fervid render`: write a video with its results drawn into it, or with its faces hidden."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import Progress

from flows.cli.answers import OverwriteOption
from flows.cli.console import errors, fail, fatal_errors, note, parse_path, say

if TYPE_CHECKING:
    from analytics.results.storage_paths import StoragePath


def video_given(text: str) -> "StoragePath":
    """Parse a path or an address, but keep the name of a live session, which is not an address, unchanged."""
    return Path(text) if text.endswith(".live") else parse_path(text)


def render(
    video: Annotated[Path, typer.Argument(parser=video_given, metavar="VIDEO", help="An analyzed video.")],
    results: Annotated[
        Path, typer.Option(parser=parse_path, metavar="RESULTS", help="Results folder of its analysis.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="MP4 file to write.")],
    blur: Annotated[bool, typer.Option("--blur", help="Blur every detected face.")] = False,
    pixelate: Annotated[bool, typer.Option("--pixelate", help="Pixelate every detected face.")] = False,
    only: Annotated[
        int | None, typer.Option(metavar="ID", help="Draw only this person, such as 3 for P3; --blur still hides all.")
    ] = None,
    annotate: Annotated[
        bool, typer.Option("--annotations/--no-annotations", help="Draw boxes, labels and the timeline.")
    ] = True,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a video with boxes, labels and a running timeline, or with its faces hidden.

    Only detected faces can be hidden: most faces that are upside down or strongly tilted, some in profile or masked,
    faces under 12 px and small faces in large frames are missed. To detect more of them, first run: fervid analyze
    VIDEO --out RESULTS --min-face 0 --detector-size PX --detect-every 0, where PX is the longer side of the video.
    """
    if blur and pixelate:
        raise typer.BadParameter("give one of --blur and --pixelate")
    if not annotate and (only is not None or not (blur or pixelate)):
        raise typer.BadParameter("--no-annotations needs --blur or --pixelate, and excludes --only")
    if out.suffix.lower() != ".mp4":
        raise typer.BadParameter(f"{out}: only MP4 can be written: give a name that ends in .mp4", param_hint="--out")
    if out.exists() and isinstance(video, Path) and video.exists() and out.samefile(video):
        fail(f"{out}: is the input video itself: choose another --out")
    hiding: Literal["blur", "pixelate"] | None = "blur" if blur else "pixelate" if pixelate else None
    from analytics.results.verification import name_damaged_file

    with fatal_errors("nothing was written"), name_damaged_file(results):
        from analytics.results.output_files import check_output_file
        from flows.render.run import render_video

        check_output_file(out, overwrite=overwrite)

        with Progress(console=errors, disable=not errors.is_terminal) as bars:
            bar = bars.add_task("rendering", total=None)
            notes = render_video(
                video,
                results,
                out,
                hiding=hiding,
                only=only,
                annotate=annotate,
                on_frame=lambda done, total: bars.update(bar, completed=done, total=total),
            )
        say(str(out))
        for line in notes:
            note(line)
