"""Write the rows of a query result in formats that other programs read."""

import json
import math
from decimal import Decimal
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

FORMATS = ("csv", "json", "parquet")


def write_rows(rows: pa.Table, file: BinaryIO, form: str) -> None:
    """Write a table as CSV (lists as JSON), JSON (a list of objects) or Parquet.

    In CSV and JSON, numbers that are not finite are missing: JSON cannot represent them, and to spreadsheets they are
    text.

    Raises:
        ValueError: if there is no such format.
    """
    if form == "csv":
        pyarrow.csv.write_csv(_flat(rows), file)
    elif form == "json":
        text = json.dumps([{name: plain(v) for name, v in row.items()} for row in rows.to_pylist()], indent=2)
        file.write(text.encode() + b"\n")
    elif form == "parquet":
        pq.write_table(rows, file)
    else:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {form!r}")


def plain(value: object) -> object:
    """Convert a value for JSON: numbers stay numbers, NaN and infinity become null, times and other types become text.

    >>> plain(Decimal("3")), plain(Decimal("0.5")), plain(float("nan")), plain([1.0, None])
    (3, 0.5, None, [1.0, None])
    """
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _flat(rows: pa.Table) -> pa.Table:
    """Lists and structs as JSON text, and time intervals as text; numbers that are not finite are missing."""
    for i, (field, column) in enumerate(zip(rows.schema, rows.columns, strict=True)):
        if pa.types.is_nested(field.type):
            text = [None if value is None else json.dumps(plain(value)) for value in column.to_pylist()]
            column = pa.array(text, pa.string())
        elif pa.types.is_interval(field.type) or pa.types.is_duration(field.type):
            column = pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
        elif pa.types.is_floating(field.type):
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, field.type))
        rows = rows.set_column(i, field.name, column)
    return rows
