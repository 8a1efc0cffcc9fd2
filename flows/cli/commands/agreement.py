"""`fervid agreement`: agreement of labels with human codes, or of two coders."""

import contextlib
import csv
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fer_models.labels import EMOTIONS
from flows.cli.answers import Format, FormatOption, OutputOption, OverwriteOption, resolve_format, write_answer
from flows.cli.commands.query import Video
from flows.cli.console import Results, fatal_errors, note, say

if TYPE_CHECKING:
    from analytics.queries.codes import Code


class Part(StrEnum):
    """One of the tables of the answer."""

    summary = "summary"
    emotions = "emotions"
    confusion = "confusion"


def agreement(
    results: Results,
    codes: Annotated[
        Path,
        typer.Option(
            help="Codes of a human coder: an ELAN file (one tier per person), tabular or aggregated events of BORIS, "
            "or a CSV file with the columns start_s, end_s, code, and optionally person and video."
        ),
    ],
    second: Annotated[
        Path | None, typer.Option(help="Codes of a second coder, compared instead of the labels.")
    ] = None,
    code_map: Annotated[
        Path | None,
        typer.Option(
            "--map",
            help="CSV file with the columns code and emotion; codes with an empty emotion are ignored, and their time "
            "is not uncoded.",
        ),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns person and track_id, if codes name people differently."),
    ] = None,
    participants: Annotated[
        Path | None,
        typer.Option(help="CSV file with the columns path and participant, the units of the confidence interval."),
    ] = None,
    uncoded: Annotated[
        str | None,
        typer.Option(
            metavar="EMOTION",
            help="Emotion of time without a code, in videos in which the person has one (default: ignore such time).",
        ),
    ] = None,
    tolerance_s: Annotated[
        float,
        typer.Option(
            "--tolerance", min=0, metavar="SECONDS", help="Events match if their onsets are at most this far apart."
        ),
    ] = 0.5,
    video: Video = None,
    show: Annotated[
        Part | None, typer.Option(help="Table to write (default: all in the terminal, the summary in a file).")
    ] = None,
    form: FormatOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Measure agreement with human codes: kappa, precision and recall, matched events, confusion."""
    from analytics.queries.agreement import compare_with_codes
    from analytics.queries.codes import read_code_map
    from analytics.queries.connection import connect
    from analytics.queries.groups import resolve_participants

    if uncoded is not None and uncoded not in EMOTIONS:
        raise typer.BadParameter(f"must be one of {', '.join(EMOTIONS)}, got {uncoded!r}", param_hint="--uncoded")
    with fatal_errors():
        chosen = resolve_format(form, output, overwrite=overwrite)
        names = read_code_map(code_map) if code_map is not None else {}
        with contextlib.closing(connect(results, video=video, observations=False)) as connection:
            found = compare_with_codes(
                connection,
                _codes(codes, names),
                second=None if second is None else _codes(second, names),
                people=None if people is None else _people(people),
                participants=resolve_participants(connection, participants),
                uncoded=uncoded,
                tolerance_s=tolerance_s,
            )
        everything = chosen == Format.table and output is None and show is None
        for part in Part if everything else [show or Part.summary]:
            write_answer(getattr(found, part), chosen, output)
    explanation = (
        "Rows are codes, columns labels (or codes of the second coder), in seconds; only time that both cover counts. "
        f"Events match if their onsets are at most {tolerance_s:g} s apart. docs/statistics.md explains each figure."
    )
    for line in (*found.notes, explanation):
        (say if everything else note)(line)


def _codes(path: Path, names: dict[str, str | None]) -> "list[Code]":
    from analytics.queries.codes import offset_note, read_codes, translate_codes

    codes = read_codes(path)
    if text := offset_note(codes):
        note(f"{path}: {text}")
    return translate_codes(codes, names, str(path))


def _people(path: Path) -> dict[str, int]:
    from analytics.queries.codes import CodesError

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {row["person"]: int(row["track_id"]) for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise CodesError(f"{path}: needs the columns person and track_id, a whole number") from error
