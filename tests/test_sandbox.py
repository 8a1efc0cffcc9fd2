"""Users' SQL runs in a separate process with limits on time and memory, and gives rows or one sentence."""

import os
import re
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pyarrow as pa
import pytest
from commands import fervid
from scenes import Face, feeling, observe

from analytics import query
from analytics.errors import QueryError
from analytics.results.store import Store
from analytics.sandbox.request import memory_bytes
from analytics.timeline.build import TimelineConfig, build_timeline

pytestmark = pytest.mark.slow

ENDLESS = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
TOO_MUCH = "needs more memory than it may use"
TOO_LONG = "was stopped after 1 s"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("sandbox") / "results")
    observed = observe(np.arange(20) / 10, [Face(i, p=feeling("happy")) for i in range(20)])
    store.commit_analysis(
        {"video_id": "v1", "analysis_id": "a1", "path": "a.mp4"}, build_timeline(observed, TimelineConfig())
    )
    return store.root


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT length(repeat('x', 1500000000))", TOO_MUCH),
        ("SELECT length(lpad('a', 2000000000, 'b'))", f"{TOO_MUCH}|{TOO_LONG}"),
        ("SELECT levenshtein(repeat('ab', 200000), repeat('ba', 200000))", TOO_LONG),
        ("SELECT list_value(range(100000000))", TOO_MUCH),
        ("SELECT list_aggregate(range(200000000), 'sum')", TOO_MUCH),
        (
            "SELECT * FROM faces a, faces b, faces c, faces d, faces e, faces f, faces g",
            f"{TOO_MUCH}|larger|{TOO_LONG}",
        ),
        (ENDLESS, TOO_LONG),
    ],
)
def test_no_function_takes_more_time_or_memory_than_allowed(results, sql, reason):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(QueryError, match=reason):
        query(results, sql, timeout_s=300 if reason == TOO_MUCH else 1, memory_limit="300MB")
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


def test_the_memory_limit_is_one_of_the_process(results):
    """A child that requests 8 GB uses at most the memory of its start, the limit of 300 MB, and a tolerance."""
    code = f"""
        import resource
        from analytics.errors import QueryError
        from analytics import query
        try:
            query({str(results)!r}, "SELECT list_value(range(1000000000))", memory_limit="300MB", timeout_s=300)
        except QueryError as error:
            print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, error)
    """
    # A separate process is used, because the measured peak is that of the largest child so far.
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    peak_kib, reason = done.stdout.split(maxsplit=1)
    assert re.search(TOO_MUCH, reason)
    assert int(peak_kib) < 1_500_000


def test_other_queries_continue_while_one_is_stuck(results):
    with pytest.raises(QueryError, match=r"stopped after 0\.5 s"):
        query(results, ENDLESS, timeout_s=0.5)
    assert query(results, "SELECT count(*) AS n FROM faces").to_pylist() == [{"n": 20}]


@pytest.mark.parametrize("sql", ["UPDATE EXTENSIONS", "CONNECT x", "PIVOT faces ON emotion USING count(*)", "VACUUM"])
def test_any_other_statement_is_refused_in_a_sentence(results, sql):
    with pytest.raises(QueryError, match=r"only (one )?SELECT"):
        query(results, sql)


@pytest.mark.parametrize("value", ["'infinity'::DATE", "['-infinity'::TIMESTAMP]", "{'a': DATE '20000-01-01'}"])
def test_dates_without_a_counterpart_are_refused_in_a_sentence(results, value):
    with pytest.raises(QueryError, match=r"column x has dates outside the years 1 to 9999.*VARCHAR"):
        query(results, f"SELECT {value} AS x")


def test_all_types_of_duckdb_end_in_a_sentence_or_in_rows(results, tmp_path):
    with pytest.raises(QueryError, match="column date has dates outside the years 1 to 9999"):
        query(results, "SELECT * FROM test_all_types()")
    dates = "date, timestamp, timestamp_s, timestamp_ms, timestamp_tz, date_array, timestamp_array, timestamptz_array"
    sql = f"SELECT * EXCLUDE ({dates}) FROM test_all_types()"
    assert len(query(results, sql).to_pylist()) == 3
    for suffix in ("csv", "json", "parquet", "txt"):
        arguments = ["query", str(results), sql, "--out", str(tmp_path / f"rows.{suffix}")]
        run = fervid(*arguments)
        assert run.exit_code == 0, run.output


def test_types_that_arrow_lacks_come_as_text(results):
    sql = "SELECT INTERVAL 3 DAY AS span, '101'::BIT AS bits, union_value(n := 1) AS one, 1 AS n, 2 AS n"
    rows = query(results, sql)
    assert rows.to_pylist() == [{"span": "3 days", "bits": "101", "one": "1", "n": 1, "n_1": 2}]
    assert rows.schema.field("n").type == pa.int32()


def test_text_that_is_not_unicode_is_refused(results):
    with pytest.raises(QueryError, match="not valid Unicode"):
        query(results, "SELECT '\ud83d'")


def test_sql_sees_neither_files_nor_the_process(results):
    for sql in ("SELECT * FROM read_text('/proc/self/environ')", "SELECT * FROM glob('/*')", "FROM '/etc/passwd'"):
        with pytest.raises(QueryError):
            query(results, sql)


def test_a_worker_writes_no_file(results):
    """The limit on the size of files holds even where DuckDB's own lock would not."""
    from analytics.sandbox.worker import limit_process

    folder = results.parent
    child = os.fork()
    if child == 0:
        limit_process(60, 2**30)
        try:
            (folder / "written").write_text("x")
        except OSError:
            os._exit(7)
        os._exit(0)
    # Exit code 7 if writing was rejected, -25 for SIGXFSZ.
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (7, -25)
    assert not (folder / "written").exists() or (folder / "written").stat().st_size == 0


def test_an_orphaned_worker_ends_by_itself(results, tmp_path):
    """The operating system's timer ends the worker without its parent."""
    import subprocess
    import sys

    code = f"from analytics import query; query({str(results)!r}, {ENDLESS!r}, timeout_s=3)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    children: list[psutil.Process] = []
    for _ in range(6000):
        children = psutil.Process(parent.pid).children()
        if children:
            break
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    (child,) = children
    psutil.wait_procs([child], timeout=300)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("size", "n_bytes"), [("300MB", 300_000_000), ("2 GiB", 2**31), ("1.5kb", 1500)])
def test_sizes_are_decimal_or_binary(size, n_bytes):
    assert memory_bytes(size) == n_bytes


@pytest.mark.parametrize("size", ["", "lots", "2", "-1GB", "0MB", "1e3MB"])
def test_what_is_no_size_is_refused(results, size):
    with pytest.raises(QueryError, match="500MB or 2GB"):
        query(results, "SELECT 1", memory_limit=size)
