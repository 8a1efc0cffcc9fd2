"""The child process of `process.query`: one request on standard input, an Arrow IPC stream on standard output.

An expected failure is one line of JSON on standard error and exit code 1. Only DuckDB, Arrow and what they need are
imported: the process starts once for each query.
"""

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from analytics.errors import QueryError
from analytics.queries.connection import connect
from analytics.queries.query_errors import query_error
from analytics.sandbox.request import QueryRequest, memory_bytes
from analytics.tables.schema import VIEWS
from fer_models.errors import FervidError

MAX_RESULT_BYTES = 256 * 1024**2
SLACK_BYTES = 128 * 1024**2  # memory for buffers and threads of DuckDB and Arrow that `memory_limit` does not count
STACK_BYTES = 8 * 1024**2  # size of the stack of a thread
# DuckDB types that Arrow, Parquet or Python lack; their values are shown as text, as in DuckDB's own shell.
_AS_TEXT = re.compile(
    r"UNION|BIGNUM|VARINT|BIT\b|INTERVAL|TIME_?TZ|TIME WITH TIME ZONE|TIMESTAMP_?TZ_NS|GEOMETRY|VARIANT"
)
_EMPTY_STRUCT = re.compile(r"\bSTRUCT(?!\()")
_FIRST_DAY, _LAST_DAY = ((day - date(1970, 1, 1)).days for day in (date.min, date.max))


def main() -> None:
    """Answer one request."""
    try:
        _write(answer(QueryRequest.from_json(sys.stdin.buffer.read())))
    except BrokenPipeError:
        os._exit(1)  # the parent process no longer exists
    except FervidError as error:
        _fail(type(error).__name__, str(error))
    except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
        _fail("QueryError", str(query_error(error)))
    sys.stdout.flush()
    os._exit(0)  # exit immediately: nothing has to be saved, and freeing the memory of DuckDB takes time


def answer(request: QueryRequest) -> Iterator[pa.RecordBatch | pa.Schema]:
    """Run the query: yields the schema of the rows, then their batches.

    Raises:
        QueryError: if the SQL is not one SELECT or has an error, or the result is too large or cannot be shown.
        FervidError: as `connect`.
    """
    opened = connect(
        request.results,
        video=request.video,
        all_analyses=request.all_analyses,
        events=None if request.events is None else Path(request.events),
        observations="observations" in request.sql.lower(),
        memory_limit=request.memory_limit,
    )
    limit_process(request.timeout_s, memory_bytes(request.memory_limit))
    with contextlib.closing(opened) as connection:
        statement = _only_select(connection, request.sql)
        if request.events is not None:
            _check_events_are_joined(request.sql)
        batches = _showable(connection.sql(statement)).to_arrow_reader()
        schema = _unique_names(batches.schema)
        yield schema
        size_bytes = 0
        for batch in batches:
            size_bytes += batch.nbytes
            if size_bytes > MAX_RESULT_BYTES:
                size = f"{MAX_RESULT_BYTES >> 20} MiB"
                raise QueryError(f"the result is larger than {size}: aggregate it or add a LIMIT")
            _check_dates(batch)
            yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)


def limit_process(timeout_s: float, memory_bytes: int) -> None:
    """Have the operating system end this process after `timeout_s`, limit its memory, and forbid writing files."""
    if hasattr(signal, "setitimer"):
        # At the deadline, SIGALRM ends the process whatever code is running.
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        import resource
    except ImportError:  # Windows has no module `resource`
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(FileNotFoundError):  # only Linux reports the address space in use
        used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        threads_bytes = 2 * (os.cpu_count() or 1) * STACK_BYTES
        limit_bytes = used_bytes + memory_bytes + SLACK_BYTES + threads_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    try:
        statements = connection.extract_statements(sql)
        kinds = [statement.type for statement in statements]
    except ValueError as error:  # DuckDB's Python client does not know this kind of statement
        raise QueryError("only SELECT can be run here, and this is another kind of statement") from error
    if not kinds:
        raise QueryError("there is no query: enter one SELECT")
    if kinds != [duckdb.StatementType.SELECT]:
        raise QueryError("only one SELECT at a time can be run here")
    return statements[0]


def _check_events_are_joined(sql: str) -> None:
    """Refuse joins with events by time alone, which silently match each event with every video."""
    words = set(re.findall(r"\w+", sql.lower()))
    if "events" in words and words & (VIEWS.keys() - {"events"}) and not words & {"video_id", "natural"}:
        raise QueryError(
            "the view events has a row per event and video, so a join by time alone counts every moment several times: "
            "join it USING (video_id)"
        )


def _showable(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Cast columns to text whose types do not exist in Arrow, Parquet or Python."""
    kinds = [str(kind) for kind in relation.types]
    as_text = [bool(_AS_TEXT.search(kind.upper()) or _EMPTY_STRUCT.search(kind)) for kind in kinds]
    if not any(as_text):
        return relation
    names = ['"' + name.replace('"', '""') + '"' for name in relation.columns]
    columns = [
        f"CAST(#{i} AS VARCHAR) AS {name}" if convert else f"#{i} AS {name}"
        for i, (name, convert) in enumerate(zip(names, as_text, strict=True), 1)
    ]
    return relation.project(", ".join(columns))


def _check_dates(batch: pa.RecordBatch) -> None:
    """Refuse dates that Python cannot represent: outside the years 1 to 9999, or infinite."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if not _fits_python(column):
            raise QueryError(
                f"column {field.name} has dates outside the years 1 to 9999, or infinite ones: cast it to VARCHAR"
            )


def _fits_python(column: pa.Array) -> bool:
    if pa.types.is_nested(column.type):
        try:
            column.to_pylist()
        except (OverflowError, ValueError):
            return False
        return True
    if pa.types.is_date32(column.type):
        bounds = pc.min_max(column.cast(pa.int32())).as_py()
    elif pa.types.is_timestamp(column.type):
        per_day = {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}[column.type.unit] * 86_400
        bounds = pc.min_max(pc.divide(column.cast(pa.int64()), per_day)).as_py()
    else:
        return True
    return bounds["min"] is None or _FIRST_DAY <= bounds["min"] <= bounds["max"] <= _LAST_DAY


def _unique_names(schema: pa.Schema) -> pa.Schema:
    """Append a number to repeated column names, as from `SELECT * FROM a JOIN b ON …`."""
    names: list[str] = []
    for name in schema.names:
        unique, number = name, 1
        while unique in names:
            unique, number = f"{name}_{number}", number + 1
        names.append(unique)
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


def _write(rows: Iterator[pa.RecordBatch | pa.Schema]) -> None:
    with pa.ipc.new_stream(sys.stdout.buffer, next(rows)) as writer:
        for batch in rows:
            writer.write_batch(batch)
    sys.stdout.buffer.flush()


def _fail(kind: str, message: str) -> None:
    sys.stderr.write("\n" + json.dumps({"error": kind, "message": message}) + "\n")
    sys.stderr.flush()
    os._exit(1)
