"""Rows of an answer, written in the formats that other programs read."""

import json
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

FORMATS = ("csv", "json", "parquet")


def write_rows(rows: pa.Table, file: BinaryIO, form: str) -> None:
    """Write a table as CSV (lists as JSON), JSON (a list of objects) or Parquet.

    Raises:
        ValueError: if there is no such format.
    """
    if form == "csv":
        pyarrow.csv.write_csv(_flat(rows), file)
    elif form == "json":
        file.write(json.dumps(rows.to_pylist(), indent=2, default=str).encode() + b"\n")
    elif form == "parquet":
        pq.write_table(rows, file)
    else:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {form!r}")


def _flat(rows: pa.Table) -> pa.Table:
    """Lists and structs as JSON text: CSV has no place for them."""
    for i, field in enumerate(rows.schema):
        if pa.types.is_nested(field.type):
            text = [None if value is None else json.dumps(value, default=str) for value in rows[i].to_pylist()]
            rows = rows.set_column(i, field.name, pa.array(text, pa.string()))
    return rows
