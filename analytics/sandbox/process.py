"""Run SQL written by users in a separate process, limited in time and memory.

DuckDB can neither interrupt nor account for a single call of a scalar function: `SELECT repeat('x', 9999999999)` would
take all memory of the process it runs in. The child process (`worker`) therefore has an address-space limit, cannot
write files, and is killed at the deadline; the rows come back as an Arrow IPC stream.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa

from analytics.errors import TOO_LARGE, TOO_SLOW, QueryError
from analytics.results.storage_paths import StoragePath, resolve_path
from analytics.sandbox.request import QueryRequest, memory_bytes
from fer_models.errors import FervidError

STARTUP_S = 120.0  # seconds allowed for importing DuckDB and opening the results, which may be in an object store
_START = """
import json, sys

class NoPandas:
    # Arrow imports pandas if it can, which takes longer than everything else here.
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError("not needed here", name=name)

sys.meta_path.insert(0, NoPandas)
sys.path[:] = json.loads(sys.argv[1])
from analytics.sandbox.worker import main
main()
"""
_ALARM = getattr(signal, "SIGALRM", None)


def query(
    results: str | StoragePath,
    sql: str,
    *,
    video: str | None = None,
    all_analyses: bool = False,
    events: Path | None = None,
    timeout_s: float = 30.0,
    memory_limit: str = "2GB",
) -> pa.Table:
    """Run one SELECT of a user over the views of `connect`.

    Args:
        results: the results folder.
        sql: one SELECT.
        video: show only this video: its path, name or id, or a file with the same content.
        all_analyses: show every finished analysis and every failure, not only the newest.
        events: a CSV file of stimuli or markers, shown as the view `events`.
        timeout_s: time after which the query is killed.
        memory_limit: memory that the query may use, such as `500MB`.

    Raises:
        QueryError: if `sql` is anything but one SELECT, is wrong, takes longer than `timeout_s`, needs more memory than
            `memory_limit`, returns more than 256 MiB or a type that cannot be shown, or joins events without the video.
        StoreError: if `results` is not a results folder of this version, or a file in it is damaged.
        UnknownVideoError: if there is no such video.
        EventsError: if the events cannot be read.
    """
    request = QueryRequest(
        results=str(results),
        sql=sql,
        video=video,
        all_analyses=all_analyses,
        events=None if events is None else str(events),
        timeout_s=timeout_s,
        memory_limit=memory_limit,
    )
    memory_bytes(memory_limit)  # raise an error about a wrong size before a process is started
    if not sql.isprintable() and any("\ud800" <= character <= "\udfff" for character in sql):
        raise QueryError("the SQL has characters that are not valid Unicode: type it again")
    output, message, code = _run_worker(request)
    if code == 0:
        with pa.ipc.open_stream(output) as reader:
            return reader.read_all()
    from analytics.results.verification import name_damaged_file

    with name_damaged_file(resolve_path(results)):
        raise _error_of(code, message, timeout_s)


def _run_worker(request: QueryRequest) -> tuple[bytes, str, int | None]:
    """The standard output, standard error and exit code of the child; None as the code if it had to be killed."""
    command = [sys.executable, "-P", "-c", _START, json.dumps(sys.path)]
    # Memory that Arrow and glibc reserve in advance would count towards the limit on address space.
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as child:
        try:
            # The child ends itself at the deadline; this time limit is for systems without such timers.
            allowed_s = request.timeout_s + STARTUP_S
            output, message = child.communicate(request.to_json().encode(), timeout=allowed_s)
        except subprocess.TimeoutExpired:
            child.kill()
            return b"", "", None
        except BaseException:
            child.kill()
            raise
    return output, message.decode(errors="replace"), child.returncode


def _error_of(code: int | None, message: str, timeout_s: float) -> FervidError:
    """The error of a failed child process: the one that it reports, or the meaning of its exit code."""
    from analytics.queries.event_files import EventsError
    from analytics.results.damage import DamagedFileError
    from analytics.results.storage_paths import StorageError
    from analytics.results.store import StoreError
    from analytics.results.videos import UnknownVideoError

    if code is None or (_ALARM is not None and code == -_ALARM):
        return QueryError(TOO_SLOW.format(timeout_s))
    expected = (QueryError, DamagedFileError, EventsError, StorageError, StoreError, UnknownVideoError)
    kinds = {kind.__name__: kind for kind in expected}
    last_line = message.rstrip().rpartition("\n")[2]
    try:
        report = json.loads(last_line)
        return kinds.get(report["error"], QueryError)(report["message"])
    except (ValueError, KeyError, TypeError):
        pass
    if "MemoryError" in last_line or "bad_alloc" in message or (code < 0 and not last_line):
        return QueryError(TOO_LARGE)
    return QueryError(f"the query ended its process (exit code {code}): {last_line}: select less, or allow more memory")
