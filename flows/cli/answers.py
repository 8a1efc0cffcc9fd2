"""Print rows, or write them to a file whose suffix selects the format."""

import io
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.console import STANDARD_OUTPUT, WIDE, console, usage_checked
from flows.cli.escaping import SafeConsole
from flows.cli.tables import table_of

if TYPE_CHECKING:
    import pyarrow as pa


class Format(StrEnum):
    """Format of rows."""

    table = "table"
    long = "long"
    csv = "csv"
    json = "json"
    parquet = "parquet"


FORMAT_OF_SUFFIX = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".txt": "table"}

FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="Format of the rows (long: one line per value). Default: a table, or by the suffix of --out.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="FILE", help="File to write (.csv, .json, .parquet or .txt); - for standard output."
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")]


def resolve_format(form: Format | None, output: Path | None, *, overwrite: bool) -> Format:
    """Choose the format of an answer, before any work is done.

    Raises:
        OutputError: if the file exists or must not be written.
        typer.BadParameter: if it has a suffix of another format, or Parquet would go to the terminal.
    """
    if output is None and form == Format.parquet:
        raise typer.BadParameter("Parquet is a binary format: name a file, or - for a pipe", param_hint="--out")
    if output is None or output == STANDARD_OUTPUT:
        return form or Format.table
    from analytics.results.output_files import check_output_file, format_of

    chosen = Format(usage_checked(format_of, path=output, formats=FORMAT_OF_SUFFIX, chosen=form and form.value))
    check_output_file(output, overwrite=overwrite)
    return chosen


def write_answer(rows: "pa.Table", form: Format, output: Path | None) -> None:
    """Print rows, or write them to a file atomically; in CSV files, no text runs as a formula in a spreadsheet."""
    if output is not None and output != STANDARD_OUTPUT:
        from analytics.results.atomic_write import write_atomic

        write_atomic(output, partial(_write_file, rows, form))
    elif form in (Format.table, Format.long):
        console.print(_table(rows, None if form == Format.table else 0))
    else:
        from analytics.tables.table_io import write_rows

        write_rows(rows, sys.stdout.buffer, form.value)


def _write_file(rows: "pa.Table", form: Format, path: Path) -> None:
    from analytics.tables.formulas import without_formulas
    from analytics.tables.table_io import write_rows

    with path.open("wb") as file:
        if form in (Format.table, Format.long):
            width = WIDE if form == Format.table else 0
            SafeConsole(file=io.TextIOWrapper(file, "utf-8"), width=WIDE).print(_table(rows, width))
        elif form == Format.csv:
            write_rows(without_formulas(rows), file, form.value)
        else:
            write_rows(rows, file, form.value)


def _table(rows: "pa.Table", width: int | None) -> object:
    return table_of(rows.column_names, list(zip(*(c.to_pylist() for c in rows.columns), strict=True)), width)
