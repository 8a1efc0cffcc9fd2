import html
import os
import shutil
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import fervid
from scenes import Face, feeling, observe

from analytics import connect, queries, query
from analytics.errors import QueryError
from analytics.report import report_page
from analytics.results.ids import video_id
from analytics.results.replaced_files import mark_replaced_files, replaced_files_note
from analytics.results.status import status
from analytics.results.storage_paths import file_version
from analytics.results.store import Store, StoreError
from analytics.results.video_rows import MIN_ROWS_TO_CACHE, ROWS_CACHE
from analytics.results.videos import UnknownVideoError, all_videos
from analytics.tables.schema import TABLES, TIMELINE_TABLES, VIEWS
from analytics.timeline.build import TimelineConfig, build_timeline

ODD_NAME = 'o\'clock "a" [1] * ? ü %20 {x}'


def timeline(emotion: str = "happy", n_frames: int = 10):
    faces = [Face(i, p=feeling(emotion)) for i in range(n_frames)]
    return build_timeline(observe(np.arange(n_frames) / 10, faces), TimelineConfig())


def row(video: int = 1, analysis: int = 1, path: str = "a.mp4") -> dict[str, str]:
    return {"video_id": f"v{video:016}", "analysis_id": f"a{analysis:016}", "path": path}


def commit_file(store: Store, path: Path, content: bytes) -> tuple[str, str]:
    """Write a file and the row of its analysis; returns the ids."""
    path.write_bytes(content)
    ids = {"video_id": video_id(sha256(content).hexdigest()), "analysis_id": "a1"}
    file = {"path": str(path), "size_bytes": len(content), "object_version": file_version(path)}
    store.commit_analysis(ids | file | {"started_at": datetime.now(UTC)}, timeline())
    return ids["video_id"], ids["analysis_id"]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def results(tmp_path_factory):
    """A results folder with an odd name, two videos, and a secret beside it."""
    folder = tmp_path_factory.mktemp("sql")
    (folder / "secret.csv").write_text("word\nxyzzy\n")
    store = Store(folder / ODD_NAME)
    store.commit_analysis(row(1, 1, "a.mp4"), timeline("happy", 10))
    store.commit_analysis(row(2, 2, "b.mp4"), timeline("sad", 20))
    return store.root


def ask(store: Store, sql: str) -> list[tuple]:
    with connect(store.root) as connection:
        return connection.sql(sql).fetchall()


def test_views_have_the_columns_of_the_schema_even_without_rows(store):
    connection = connect(store.root)
    for name in (*TABLES, "movements", "people"):
        found = connection.sql(f"SELECT * FROM {name}")
        assert found.columns == VIEWS[name].names
        assert found.fetchall() == []


def test_views_give_the_tables_with_their_ids(results):
    with connect(results) as connection:
        faces = connection.sql(
            "SELECT * FROM faces WHERE video_id = 'v0000000000000001' ORDER BY pts_s"
        ).to_arrow_table()
        assert faces.schema.names == TABLES["faces"].names
        assert set(faces["analysis_id"].to_pylist()) == {"a0000000000000001"}
        assert faces["p_happy"].equals(timeline().faces["p_happy"])
        counts = "SELECT path, count(*) FROM faces JOIN videos USING (video_id) GROUP BY path ORDER BY path"
        assert connection.sql(counts).fetchall() == [("a.mp4", 10), ("b.mp4", 20)]
        assert connection.sql("SELECT max(finished_at) <= now() FROM videos").fetchall() == [(True,)]
        assert connection.sql("SELECT landmarks_px[1] FROM faces LIMIT 1").fetchall() == [(280.0,)]


def test_plain_tools_read_the_files(store, monkeypatch):
    store.commit_analysis(row(), timeline())
    monkeypatch.chdir(store.root.parent)
    sql = "SELECT DISTINCT video_id, smooth_emotion FROM 'results/faces/**/*.parquet'"
    assert duckdb.sql(sql).fetchall() == [("v0000000000000001", "happy")]
    assert len(pd.read_parquet("results/faces")) == 10


def test_the_newest_analysis_of_a_video_wins(store):
    store.commit_analysis(row(analysis=2), timeline("sad", 20))
    store.commit_analysis(row(analysis=1), timeline("happy", 10))
    assert ask(store, "SELECT count(*), min(emotion) FROM faces") == [(10, "happy")]
    assert ask(store, "SELECT analysis_id FROM videos") == [("a0000000000000001",)]
    store.commit_analysis(row(analysis=2), timeline("sad", 20))
    assert ask(store, "SELECT count(*), min(emotion) FROM faces") == [(20, "sad")]


def test_a_failure_is_shown_until_a_newer_run(store):
    store.commit_failure(row(analysis=1), "damaged")
    assert ask(store, "SELECT status, error FROM videos") == [("failed", "damaged")]
    store.commit_analysis(row(analysis=2), timeline())
    assert ask(store, "SELECT status, error FROM videos") == [("done", None)]
    store.commit_failure(row(analysis=3), "out of memory")
    assert ask(store, "SELECT status, error FROM videos") == [("done", "a later run failed: out of memory")]
    assert ask(store, "SELECT count(*) FROM faces") == [(10,)]  # the rows of the earlier analysis are still shown


def test_a_failure_disappears_when_its_file_is_replaced(store):
    store.commit_failure(row(video=1, path="a.mp4"), "damaged")
    store.commit_failure(row(video=2, path="b.mp4"), "damaged")
    store.commit_analysis(row(video=3, path="a.mp4"), timeline())
    assert ask(store, "SELECT path, status FROM videos ORDER BY path") == [("a.mp4", "done"), ("b.mp4", "failed")]


def test_an_analyzed_file_that_is_replaced_counts_once_more_and_is_reported(store, tmp_path):
    """The results keep the earlier content, because cameras reuse names; but nothing may mix the two silently."""
    store.commit_analysis(row(video=1, path="/clips/a.mp4"), timeline("happy", 10))
    store.commit_analysis(row(video=2, path="/clips/a.mp4"), timeline("sad", 20))
    store.commit_analysis(row(video=3, path="/clips/b.mp4"), timeline("fear", 5))
    with connect(store.root) as connection:
        bins = queries.timeline(connection).select(["path", "n_faces", "happy", "sad"]).to_pylist()
        note = replaced_files_note(store.root, all_videos(connection))
    of_a = [(found["n_faces"], found["happy"] > 0.5, found["sad"] > 0.5) for found in bins if "a.mp4" in found["path"]]
    assert of_a == [(10, True, False), (10, False, True), (10, False, True)]
    assert note is not None and note.startswith("a.mp4: replaced") and note.endswith("--video v0000000000000001")
    said = fervid("summary", store.root, "shares").stdout
    assert note in said and "b.mp4: replaced" not in said


def test_a_file_that_is_replaced_by_a_copy_of_another_is_reported_until_its_content_is_back(store, tmp_path):
    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    of_a, of_b = commit_file(store, a, b"first"), commit_file(store, b, b"again")
    store.commit_failure({"video_id": of_a[0], "analysis_id": "a2", "path": str(a)}, "out of memory")
    shutil.copy2(b, a)
    assert ("a.mp4", "pending") in [(Path(one.path).name, one.state) for one in status(store.root, [a, b])]

    def note_after(found: str) -> str | None:
        mark_replaced_files(store, {str(a): found, str(b): of_b[0]})
        with connect(store.root) as connection:
            return replaced_files_note(store.root, all_videos(connection))

    note = note_after(of_b[0])
    assert note is not None and note.startswith("a.mp4: replaced") and note.endswith(f"--video {of_a[0]}")
    assert note in fervid("summary", store.root, "shares").stdout
    assert note.replace(str(store.root), "RESULTS") in html.unescape(report_page(store.root))
    # There is no file left on which the run that failed could be repeated.
    assert [(one.state, one.reason) for one in status(store.root, [a, b])] == [("done", "")] * 2
    a.write_bytes(b"first")
    assert store.mark_as_current(*of_a, str(a), object_version=file_version(a)) == str(a)
    assert note_after(of_a[0]) is None


def test_a_newer_timeline_of_a_replaced_file_is_still_that_of_the_earlier_content(store):
    for video in (1, 2):
        store.commit_analysis(row(video=video), timeline())
    replaced = row(video=1)["video_id"]
    mark_replaced_files(store, {row()["path"]: row(video=2)["video_id"]})
    store.commit_analysis(row(video=1, analysis=2) | {"is_replaced": True}, timeline())
    with connect(store.root) as connection:
        note = replaced_files_note(store.root, all_videos(connection))
    assert note is not None and note.endswith(f"results --video {replaced}")


def test_another_timeline_of_a_replaced_file_is_shown_as_replaced(store):
    """As by `fervid timeline` and the dashboard, which do not read the file."""
    for analysis in (1, 2):
        store.commit_analysis(row(video=1, analysis=analysis) | {"object_version": "1"}, timeline())
    first, second = (row(video=1, analysis=analysis)["analysis_id"] for analysis in (1, 2))
    store.mark_as_replaced(video := row(video=1)["video_id"], second)
    for analysis_id in (first, second):
        store.show_analysis(store.shown_analysis(video), analysis_id)
        assert ask(store, "SELECT analysis_id, is_replaced FROM videos") == [(analysis_id, True)]


def test_a_failure_disappears_when_its_file_is_replaced_by_a_copy_of_another(store):
    store.commit_failure(row(video=1, path="a.mp4"), "damaged")
    store.commit_failure(row(video=2, path="b.mp4"), "damaged")
    store.commit_analysis(row(video=3, path="c.mp4"), timeline())
    mark_replaced_files(store, {"a.mp4": row(video=3)["video_id"]})
    assert ask(store, "SELECT path, status FROM videos ORDER BY path") == [("b.mp4", "failed"), ("c.mp4", "done")]
    store.commit_failure(row(video=1, path="a.mp4"), "damaged")
    assert ask(store, "SELECT path FROM videos WHERE status = 'failed' ORDER BY path") == [("a.mp4",), ("b.mp4",)]


@pytest.mark.parametrize("second", [b"the second recording", b"again"], ids=["other size", "equal size"])
def test_a_renamed_file_keeps_its_results_when_another_takes_its_name(store, tmp_path, second):
    old, new = tmp_path / "cam.mp4", tmp_path / "cam.1.mp4"
    first = commit_file(store, old, b"first")
    old.rename(new)
    old.write_bytes(second)
    assert store.mark_as_current(*first, str(new), object_version=file_version(new)) == str(new)
    (copy := tmp_path / "copy.mp4").write_bytes(b"first")
    assert store.mark_as_current(*first, str(copy)) == str(new)  # the file is still there
    os.utime(new, (0, 0))
    assert store.mark_as_current(*first, str(copy)) == str(new)  # touched, with the same content


def test_a_file_whose_former_address_cannot_be_reached_has_moved(store, tmp_path):
    """For example, the package that reads such addresses is not installed on this machine."""
    ids = {"video_id": video_id(sha256(b"first").hexdigest()), "analysis_id": "a1"}
    store.commit_analysis(ids | {"path": "unknown://bucket/a.mp4", "size_bytes": 5}, timeline())
    (copy := tmp_path / "a.mp4").write_bytes(b"first")
    assert store.mark_as_current(*ids.values(), str(copy), object_version=file_version(copy)) == str(copy)


def test_files_of_equal_size_keep_their_results_when_their_names_are_swapped(store, tmp_path):
    a, b = tmp_path / "a.avi", tmp_path / "b.avi"
    first, second = commit_file(store, a, b"first"), commit_file(store, b, b"other")
    a.rename(tmp_path / "c.avi")
    b.rename(a)
    (tmp_path / "c.avi").rename(b)
    assert {found.path: found.state for found in status(store.root, [a, b])} == {str(a): "pending", str(b): "pending"}
    assert store.mark_as_current(*second, str(a), object_version=file_version(a)) == str(a)
    assert store.mark_as_current(*first, str(b), object_version=file_version(b)) == str(b)
    rows = ask(store, "SELECT video_id, path FROM videos ORDER BY path")
    assert rows == [(video_id(sha256(path.read_bytes()).hexdigest()), str(path)) for path in (a, b)]
    assert {found.path: found.state for found in status(store.root, [a, b])} == {str(a): "done", str(b): "done"}


def test_all_analyses_warn_about_joins_that_count_rows_twice(store):
    store.commit_analysis(row(analysis=1), timeline())
    store.commit_analysis(row(analysis=2), timeline())
    joined = "SELECT count(*) AS n FROM faces JOIN videos USING (video_id"
    wrong = fervid("query", store.root, f"{joined})", "--all-analyses", "--format", "csv")
    right = fervid("query", store.root, f"{joined}, analysis_id)", "--all-analyses", "--format", "csv")
    assert wrong.stdout.split() == ['"n"', "40"] and "join USING (video_id, analysis_id)" in wrong.stderr
    assert right.stdout.split() == ['"n"', "20"] and "join USING" not in right.stderr


@pytest.mark.parametrize("table", TIMELINE_TABLES)
def test_an_analysis_without_one_of_its_tables_is_not_left_out_silently(store, table):
    """Neither may an earlier analysis take its place."""
    store.commit_analysis(row(analysis=1), timeline("happy", 10))
    store.commit_analysis(row(analysis=2), timeline("sad", 20))
    store.commit_analysis(row(video=2, path="b.mp4"), timeline("sad", 20))
    path = store.root / table / "video_id=v0000000000000001/a0000000000000002.parquet"
    path.unlink()
    with pytest.raises(StoreError, match=rf"{path.name} is damaged \(missing\): `fervid analyze"):
        ask(store, "SELECT DISTINCT emotion FROM faces")
    assert query(store.root, "SELECT count(*) AS n FROM faces", video="b.mp4").to_pylist() == [{"n": 20}]


def test_tables_of_an_unfinished_analysis_are_not_shown(store):
    store.commit_analysis(row(), timeline())
    shutil.rmtree(store.root / "videos")
    assert ask(store, "SELECT count(*) FROM faces") == [(0,)]


def test_a_damaged_row_of_videos_is_named(store):
    store.commit_analysis(row(), timeline())
    path = store.root / "videos/video_id=v0000000000000001/a0000000000000001.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"a0000000000000001\.parquet"):
        connect(store.root)
    assert not store.is_done("v0000000000000001", "a0000000000000001")


def test_only_results_can_be_connected_to(tmp_path):
    with pytest.raises(StoreError, match="not a results folder"):
        connect(tmp_path)


def test_query_answers_a_select(results):
    answer = query(results, "SELECT smooth_emotion, count(*) AS n FROM faces GROUP BY ALL ORDER BY n;")
    assert answer.to_pylist() == [{"smooth_emotion": "happy", "n": 10}, {"smooth_emotion": "sad", "n": 20}]
    assert query(results, "WITH f AS (FROM faces) SELECT p_happy FROM f WHERE false").num_rows == 0


BREAK_OUTS = [
    "COPY faces TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{results}/faces/out.parquet'",
    "ATTACH '{folder}/out.db'",
    "EXPORT DATABASE '{folder}/out'",
    "CREATE TABLE t AS SELECT 1",
    "CREATE VIEW faces AS SELECT 1",
    "DROP VIEW faces",
    "INSERT INTO videos SELECT * FROM videos",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "CHECKPOINT",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY faces TO '{folder}/out.csv'",
    "",
    "-- nothing",
    "SELEC 1",
    "SELECT * FROM no_such_table",
    "SELECT * FROM '{folder}/secret.csv'",
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM read_text('{folder}/secret.csv')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM parquet_metadata('{results}/**/*.parquet')",
    "SELECT * FROM read_parquet('{results}/**/*.parquet')",
    "SELECT * FROM read_csv('https://example.com/a.csv')",
    "SELECT * FROM secret",  # the name of a variable in this process
    "SELECT getenv('HOME')",
]


@pytest.mark.slow
@pytest.mark.parametrize("sql", BREAK_OUTS)
def test_sql_of_others_reaches_nothing_but_the_views(results, sql):
    secret = pd.DataFrame({"word": ["xyzzy"]})
    quoted = {"folder": str(results.parent), "results": str(results).replace("'", "''")}
    before = {path: path.stat().st_mtime_ns for path in results.parent.rglob("*")}
    with pytest.raises(QueryError):
        print(query(results, sql.replace("{folder}", quoted["folder"]).replace("{results}", quoted["results"])), secret)
    assert {path: path.stat().st_mtime_ns for path in results.parent.rglob("*")} == before


@pytest.mark.parametrize(
    "sql",
    ["COPY faces TO '{folder}/out.csv'", "ATTACH '{folder}/out.db'", "SELECT * FROM read_text('{folder}/secret.csv')"],
)
def test_a_connection_reaches_no_file_either(results, sql):
    with connect(results) as connection, pytest.raises(duckdb.PermissionException):
        connection.execute(sql.replace("{folder}", str(results.parent)))


def test_a_query_that_takes_too_long_is_stopped(results):
    endless = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
    with pytest.raises(QueryError, match=r"stopped after 0\.2 s"):
        query(results, endless, timeout_s=0.2)


@pytest.mark.slow
def test_a_query_cannot_fill_the_memory(results):
    with pytest.raises(QueryError, match="larger than 256 MiB"):
        query(results, "SELECT * FROM range(1_000_000_000)")
    with pytest.raises(QueryError, match="needs more memory than it may use: select less"):
        query(results, "SELECT * FROM range(100_000_000) AS t(n) ORDER BY hash(n)", memory_limit="50MB")


def test_a_connection_sees_what_is_there_when_it_is_made(store):
    store.commit_analysis(row(1, 1, "a.mp4"), timeline())
    with connect(store.root) as connection:
        store.commit_analysis(row(2, 2, "b.mp4"), timeline())
        assert connection.sql("SELECT count(*) FROM videos").fetchall() == [(1,)]
    assert ask(store, "SELECT count(*) FROM videos") == [(2,)]


def test_rows_are_stored_in_order_of_time(store):
    store.commit_analysis(row(), timeline("happy", 30))
    path = store.root / "faces/video_id=v0000000000000001/a0000000000000001.parquet"
    assert pq.read_table(path, partitioning=None)["pts_s"].to_pylist() == sorted(i / 10 for i in range(30))


def test_a_connection_outlives_a_change_of_the_working_directory(store, monkeypatch, tmp_path):
    store.commit_analysis(row(), timeline())
    monkeypatch.chdir(tmp_path)
    with connect("results") as connection:
        monkeypatch.chdir("/")
        assert connection.sql("SELECT count(*) FROM faces").fetchall() == [(10,)]


# --- which rows are shown ------------------------------------------------------------------------------------------


def test_one_video_can_be_chosen_by_path_name_or_id(results):
    for name in ("b.mp4", f"v{2:016}"):
        with connect(results, video=name) as connection:
            assert connection.sql("SELECT count(*), min(emotion) FROM faces").fetchall() == [(20, "sad")]
            assert connection.sql("SELECT path FROM videos").fetchall() == [("b.mp4",)]
    with pytest.raises(UnknownVideoError, match=r"c\.mp4: no such video"):
        connect(results, video="c.mp4")


def test_a_name_that_two_videos_have_is_not_enough(store):
    store.commit_analysis(row(1, 1, "x/a.mp4"), timeline())
    store.commit_analysis(row(2, 2, "y/a.mp4"), timeline("sad"))
    with pytest.raises(UnknownVideoError, match=r"a\.mp4: 2 videos have this name.*x/a\.mp4"):
        connect(store.root, video="a.mp4")
    assert query(store.root, "SELECT DISTINCT emotion FROM faces", video="y/a.mp4").to_pylist() == [{"emotion": "sad"}]


@pytest.mark.slow
def test_all_analyses_can_be_seen(store):
    store.commit_analysis(row(analysis=1), timeline("happy"))
    store.commit_analysis(row(analysis=2), timeline("sad"))
    store.commit_failure(row(analysis=3), "out of memory")
    sql = "SELECT count(*) AS n, count(DISTINCT analysis_id) AS analyses FROM faces"
    assert query(store.root, sql).to_pylist() == [{"n": 10, "analyses": 1}]
    assert query(store.root, sql, all_analyses=True).to_pylist() == [{"n": 20, "analyses": 2}]
    assert query(store.root, "SELECT status FROM videos ORDER BY 1", all_analyses=True)["status"].to_pylist() == [
        "done",
        "done",
        "failed",
    ]


def test_observations_of_the_newest_analysis_can_be_asked(store):
    observed = observe(np.arange(3) / 10, [Face(0)])
    for observation in ("o1", "o2"):
        store.write_segment(row()["video_id"], observation, 0, observed)
    store.commit_analysis(row() | {"observation_id": "o2"}, timeline())
    assert ask(store, "SELECT observation_id, count(*), count(face_index) FROM observations GROUP BY 1") == [
        ("o2", 3, 1)
    ]


def test_text_can_be_searched_in_every_way(results):
    with connect(results) as connection:
        for condition in (
            "= 'sad'",
            "IN ('sad', 'fear')",
            "LIKE 's%'",
            "> 'happy'",
            "<> 'happy'",
            "IS NOT NULL AND true",
        ):
            sql = f"SELECT DISTINCT emotion FROM faces WHERE emotion {condition} ORDER BY 1"
            assert ("sad",) in connection.sql(sql).fetchall(), condition
        assert connection.sql("SELECT count(*) FROM faces WHERE quality_reason IS NULL").fetchall() == [(30,)]
        assert connection.sql("SELECT max(emotion || '!') FROM faces").to_arrow_table().column(0).type == "string"


# --- the catalog ---------------------------------------------------------------------------------------------------


def many_failures(store: Store) -> None:
    for video in range(MIN_ROWS_TO_CACHE):
        store.commit_failure(row(video, path=f"{video}.mp4"), "damaged")


def test_rows_of_many_videos_are_cached_and_updated(store):
    many_failures(store)
    catalog = store.root / ROWS_CACHE
    assert not catalog.exists()
    assert ask(store, "SELECT count(*) FROM videos") == [(MIN_ROWS_TO_CACHE,)]
    assert catalog.exists()
    store.commit_failure(row(0, path="0.mp4"), "mended, then damaged again")
    store.commit_failure(row(1000, path="new.mp4"), "damaged")
    rows = dict(ask(store, "SELECT path, error FROM videos"))
    assert len(rows) == MIN_ROWS_TO_CACHE + 1
    assert rows["0.mp4"] == "mended, then damaged again"
    assert rows["1.mp4"] == "damaged"


def test_the_cache_keeps_nothing_of_a_deleted_video(store):
    many_failures(store)
    ask(store, "SELECT 1")
    shutil.rmtree(store.root / f"videos/video_id={row(7)['video_id']}")
    assert ask(store, "SELECT count(*) FROM videos WHERE path = '7.mp4'") == [(0,)]
    assert row(7)["video_id"].encode() not in (store.root / ROWS_CACHE).read_bytes()


@pytest.mark.parametrize("content", [b"", b"not a table", b"ARROW1\0\0cut off"])
def test_a_damaged_cache_does_no_harm(store, content):
    many_failures(store)
    (store.root / ROWS_CACHE).write_bytes(content)
    assert ask(store, "SELECT count(*) FROM videos") == [(MIN_ROWS_TO_CACHE,)]
    assert (store.root / ROWS_CACHE).read_bytes() != content
