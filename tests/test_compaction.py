"""Compaction: each row is read exactly once at any time, and other commands continue to work."""

import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import fervid
from scenes import Face, feeling, observe

from analytics import connect, query
from analytics.results import compaction
from analytics.results.catalog import read_catalog
from analytics.results.compaction import Compaction, compact, delete_replaced_files, write_shard
from analytics.results.damage import DamagedFileError
from analytics.results.purge import is_unfinished, plan_purge, purge
from analytics.results.shards import FOLDER, read_shards
from analytics.results.store import Store, StoreError
from analytics.results.vacuum import Garbage, find_garbage, remove_garbage
from analytics.results.verification import find_damage
from analytics.results.video_lock import hold_video
from analytics.results.video_rows import ROWS_CACHE
from analytics.tables.schema import TABLES, TIMELINE_TABLES
from analytics.timeline.build import TimelineConfig, build_timeline

pytestmark = pytest.mark.slow

FEELINGS = ("happy", "sad", "neutral")


def timeline(video: int, n_frames: int):
    faces = [Face(i, p=feeling(FEELINGS[video % 3])) for i in range(n_frames)]
    return build_timeline(observe(np.arange(max(n_frames, 1)) / 10, faces), TimelineConfig())


def row(video: int, analysis: int | None = None, path: str | None = None) -> dict[str, str]:
    analysis = video if analysis is None else analysis
    return {"video_id": f"v{video:016}", "analysis_id": f"a{analysis:016}", "path": path or f"/clips/{video}.mp4"}


@pytest.fixture
def store(tmp_path) -> Store:
    """Six videos, one without a face, one analyzed twice; and a failure."""
    store = Store(tmp_path / "results")
    for video in range(6):
        store.write_segment(f"v{video:016}", "o0000000000000001", 0, observe([0.0], []))
        store.commit_analysis(row(video), timeline(video, 10 * video))
    store.commit_analysis(row(3, 33), timeline(3, 7))
    store.commit_failure(row(9), "broken")
    return store


def rows_of(root: Path, *, all_analyses: bool) -> list:
    """The number of rows of each view, and a hash of their values."""
    each = (f"SELECT '{name}', count(*), bit_xor(hash({name})) FROM {name}" for name in TABLES)
    with connect(root, all_analyses=all_analyses, observations=False) as connection:
        return connection.sql(" UNION ALL ".join(each) + " ORDER BY 1").fetchall()


def all_rows(root: Path) -> list:
    return rows_of(root, all_analyses=True) + rows_of(root, all_analyses=False)


def files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and p.name != ROWS_CACHE.name)


def test_many_files_become_few_and_every_row_stays(store):
    before = all_rows(store.root)
    n_before = len(files(store.root))
    done = compact(store.root, wait_s=0, delete_originals=True)
    assert (done.n_analyses, done.n_shards, done.n_removed) == (7, 1, 7 * 6)
    assert all_rows(store.root) == before
    assert len(files(store.root)) == n_before - 7 * 6 + 6
    assert compact(store.root, wait_s=0, delete_originals=True) == compaction.Compaction(0, 0, 0)


def test_a_question_about_one_video_reads_its_row_group_alone(store):
    compact(store.root, wait_s=0, delete_originals=True)
    (shard,) = (store.root / FOLDER).iterdir()
    file = pq.ParquetFile(shard / "faces.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [0, 10, 20, 30, 7, 40, 50]
    # All other row groups are damaged, so the query can only have read the requested one.
    rows = connect(store.root).sql("SELECT count(*), min(video_id) FROM faces WHERE video_id = 'v0000000000000005'")
    group = file.metadata.row_group(6)
    start = min(
        group.column(i).dictionary_page_offset or group.column(i).data_page_offset for i in range(group.num_columns)
    )
    content = bytearray((shard / "faces.parquet").read_bytes())
    content[4:start] = b"\xff" * (start - 4)
    (shard / "faces.parquet").write_bytes(content)
    assert rows.fetchall() == [(50, "v0000000000000005")]


def test_readers_see_every_row_once_at_every_step_and_wherever_it_is_killed(store, monkeypatch):
    """Query after each written or deleted file, through a new connection and one opened earlier."""
    before = rows_of(store.root, all_analyses=True)
    looked = 0

    def look() -> None:
        nonlocal looked
        looked += 1
        assert rows_of(store.root, all_analyses=True) == before

    def then_look(function):
        def both(*args, **kwargs):
            result = function(*args, **kwargs)
            look()
            return result

        return both

    def one_by_one(paths):
        for path in paths:
            path.unlink(missing_ok=True)
            look()

    monkeypatch.setattr(compaction, "write_atomic", then_look(compaction.write_atomic))
    monkeypatch.setattr(compaction, "remove", one_by_one)
    old = connect(store.root, observations=False)

    def old_reader(seconds):
        assert old.sql("SELECT count(*) FROM faces").fetchall() == [(10 + 20 + 7 + 40 + 50,)]

    monkeypatch.setattr(compaction.time, "sleep", old_reader)
    compact(store.root, delete_originals=True)
    assert looked == 6 + 7 * 6
    for video in (7, 8):  # the next shard is combined with the first one
        store.commit_analysis(row(video), timeline(video, 5))
    before = rows_of(store.root, all_analyses=True)
    monkeypatch.setattr(compaction.time, "sleep", lambda seconds: None)
    done = compact(store.root, delete_originals=True)
    assert (done.n_analyses, done.n_removed) == (9, 2 * 6 + 6)
    assert len(list((store.root / FOLDER).iterdir())) == 1


@pytest.mark.parametrize("n_files", range(1, 6))
def test_an_unfinished_shard_is_ignored_and_removed(store, n_files):
    before = all_rows(store.root)
    shard = store.root / FOLDER / write_shard(read_catalog(store.root), [(row(1)["video_id"], row(1)["analysis_id"])])
    for name in ["videos", *TIMELINE_TABLES][:n_files]:
        (shard / f"{name}.parquet").unlink()
    assert all_rows(store.root) == before
    compact(store.root, wait_s=0, delete_originals=True)
    assert not shard.exists()
    assert all_rows(store.root) == before


def test_a_compaction_that_was_killed_before_it_deleted_is_finished_by_the_next(store):
    before = all_rows(store.root)
    ids = [(row(video)["video_id"], row(video)["analysis_id"]) for video in range(5)]
    write_shard(read_catalog(store.root), ids)
    assert all_rows(store.root) == before
    compact(store.root, wait_s=0, delete_originals=True)
    assert all_rows(store.root) == before
    assert not any(name.startswith("faces/") for name in files(store.root))


def test_analyses_continue_after_a_compaction(store):
    ids = row(2)["video_id"], row(2)["analysis_id"]
    sizes = store.table_rows(*ids)
    compact(store.root, wait_s=0, delete_originals=True)
    again = Store(store.root)
    assert again.is_done(*ids) and again.table_rows(*ids) == sizes
    assert again.video_row(*ids).path == "/clips/2.mp4"
    assert not again.is_done(ids[0], "a0000000000000077")
    # The older of two analyses becomes the newest again, without writing its tables again.
    assert again.mark_as_current(row(3)["video_id"], row(3)["analysis_id"], "/clips/3.mp4") == "/clips/3.mp4"
    assert query(store.root, "SELECT count(*) AS n FROM faces WHERE video_id LIKE '%3'").to_pylist() == [{"n": 30}]
    assert all(not name.startswith("faces/") for name in files(store.root))
    compact(store.root, wait_s=0, delete_originals=True)
    assert query(store.root, "SELECT count(*) AS n FROM faces WHERE video_id LIKE '%3'").to_pylist() == [{"n": 30}]
    # The video is analyzed again, as with --overwrite: the tables written last are shown.
    again.commit_analysis(row(2), timeline(2, 4))
    assert query(store.root, "SELECT count(*) AS n FROM faces WHERE video_id LIKE '%2'").to_pylist() == [{"n": 4}]
    compact(store.root, wait_s=0, delete_originals=True)
    assert query(store.root, "SELECT count(*) AS n FROM faces WHERE video_id LIKE '%2'").to_pylist() == [{"n": 4}]


def test_a_purge_leaves_nothing_of_the_video_in_any_shard(store):
    compact(store.root, wait_s=0, delete_originals=True)
    store.commit_analysis(row(3, 34), timeline(3, 9))  # a second analysis lies outside the shard
    others = "SELECT * FROM faces WHERE video_id NOT LIKE '%3' ORDER BY ALL"
    before = query(store.root, others)
    plan = plan_purge(store.root, wanted=["3.mp4"])
    assert plan.n_rows == {
        "videos": 3,
        "frames": 30 + 7 + 9,
        "faces": 30 + 7 + 9,
        "tracks": 3,
        "episodes": plan.n_rows["episodes"],
        "transitions": 0,
        "observations": 1,
    }
    purge(store.root, plan.video_ids)
    for path in store.root.rglob("*"):
        assert "v0000000000000003" not in path.name
        assert not path.is_file() or b"v0000000000000003" not in path.read_bytes(), path
    for path in (store.root / FOLDER).rglob("*.parquet"):
        assert "v0000000000000003" not in pq.read_table(path, columns=["video_id"])["video_id"].to_pylist()
    assert query(store.root, others).equals(before)
    purge(store.root, plan_purge(store.root, wanted=[f"/clips/{video}.mp4" for video in (0, 1, 2, 4, 5, 9)]).video_ids)
    assert not list((store.root / FOLDER).glob("*"))


def test_a_purge_that_was_killed_between_two_shards_is_finished(store):
    compact(store.root, wait_s=0, delete_originals=True)
    (shard,) = (store.root / FOLDER).iterdir()
    kept = store.root.parent / "kept"
    shutil.copytree(shard, kept)
    plan = plan_purge(store.root, wanted=["3.mp4"])
    begun_at = datetime.now(UTC).isoformat()
    purge(store.root, plan.video_ids)
    kept.rename(shard)  # as if the purge had been killed between writing the new shard and deleting the old one
    (store.root / ".purging").mkdir()
    (store.root / ".purging" / f"begun.video_id={plan.video_ids[0]}").write_text(begun_at)
    with pytest.raises(StoreError, match="run `fervid purge` again"):
        compact(store.root, wait_s=0, delete_originals=True)
    purge(store.root, [])
    assert query(store.root, "SELECT video_id FROM videos WHERE video_id LIKE '%3'").num_rows == 0
    assert not shard.exists()


def test_a_purge_that_was_killed_while_it_deleted_a_shard_is_finished(store):
    compact(store.root, wait_s=0, delete_originals=True)
    (shard,) = (store.root / FOLDER).iterdir()
    kept = shutil.copytree(shard, store.root.parent / "kept")
    begun_at = datetime.now(UTC).isoformat()
    purge(store.root, [row(3)["video_id"]])
    kept.rename(shard)
    (shard / "videos.parquet").unlink()
    (store.root / ".purging").mkdir(exist_ok=True)
    (store.root / ".purging" / f"begun.video_id={row(3)['video_id']}").write_text(begun_at)
    purge(store.root, [])
    assert not shard.exists()


def test_a_purge_counts_rows_once_that_are_in_a_shard_and_in_their_own_files(store):
    before = plan_purge(store.root, wanted=["3.mp4"]).n_rows
    assert before["faces"] == 30 + 7
    compact(store.root, wait_s=0)
    assert plan_purge(store.root, wanted=["3.mp4"]).n_rows == before
    delete_replaced_files(store.root, originals=True)
    assert plan_purge(store.root, wanted=["3.mp4"]).n_rows == before


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("delete_originals", [True, False])
def test_nothing_is_deleted_that_a_damaged_shard_replaces(store, delete_originals):
    """Originals, or a smaller shard."""
    compact(store.root, wait_s=0, delete_originals=not delete_originals)
    (shard,) = read_shards(store.root).rows
    if not delete_originals:
        store.commit_analysis(row(8), timeline(8, 5))
        ids = [*read_shards(store.root).where, (row(8)["video_id"], row(8)["analysis_id"])]
        shard = write_shard(read_catalog(store.root), ids)
    path = store.root / FOLDER / shard / "faces.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    before = files(store.root)
    with pytest.raises(DamagedFileError, match=r"faces\.parquet is damaged \(its content has changed"):
        compact(store.root, wait_s=0, delete_originals=delete_originals)
    assert files(store.root) == before


def test_a_purge_removes_temporary_files_of_a_killed_compaction(store):
    (store.root / FOLDER / "s0123456789abcdef").mkdir(parents=True)
    (store.root / FOLDER / "s0123456789abcdef" / ".frames.parquet.1-abcd.part").write_bytes(b"rows")
    purge(store.root, plan_purge(store.root, wanted=["3.mp4"]).video_ids)
    assert not list((store.root / FOLDER).rglob("*"))


def test_damage_in_another_video_does_not_block_a_purge(store):
    compact(store.root, wait_s=0, delete_originals=True)
    store.commit_analysis(row(8), timeline(8, 5))
    truncate(store.root / "faces" / "video_id=v0000000000000008" / "a0000000000000008.parquet")
    purge(store.root, plan_purge(store.root, wanted=["3.mp4"]).video_ids)
    (shard,) = (store.root / FOLDER).iterdir()
    videos = pq.read_table(shard / "videos.parquet")["video_id"].to_pylist()
    assert videos == [f"v{video:016}" for video in (0, 1, 2, 4, 5)]
    assert not is_unfinished(store.root)


def test_a_purge_names_a_damaged_analysis_of_the_same_shard_and_can_be_finished(store):
    compact(store.root, wait_s=0, delete_originals=True)
    store.commit_analysis(row(2), timeline(2, 5))
    truncate(store.root / "faces" / "video_id=v0000000000000002" / "a0000000000000002.parquet")
    with pytest.raises(StoreError, match=r"a0000000000000002\.parquet is damaged"):
        purge(store.root, plan_purge(store.root, wanted=["3.mp4"]).video_ids)
    store.commit_analysis(row(2), timeline(2, 5))
    purge(store.root, [])
    assert query(store.root, "SELECT DISTINCT video_id FROM faces ORDER BY 1").to_pylist() == [
        {"video_id": f"v{video:016}"} for video in (1, 2, 4, 5)
    ]


def test_a_damaged_shard_that_may_contain_a_purged_video_is_named(store):
    compact(store.root, wait_s=0)
    (shard,) = (store.root / FOLDER).iterdir()
    truncate(shard / "videos.parquet")
    with pytest.raises(StoreError, match=r"delete the folder .*It may contain rows of the removed videos"):
        purge(store.root, plan_purge(store.root, wanted=["3.mp4"]).video_ids)
    assert not list(store.root.glob("*/video_id=v0000000000000003"))


def test_a_moved_video_whose_tables_are_in_a_shard_is_not_damaged(store):
    compact(store.root, wait_s=0, delete_originals=True)
    store.mark_as_current("v0000000000000001", "a0000000000000001", "/moved/1.mp4")
    assert store.is_done("v0000000000000001", "a0000000000000001")
    assert find_damage(store.root) == []
    (shard,) = (store.root / FOLDER).iterdir()
    (shard / "faces.parquet").write_bytes(b"")
    assert "v0000000000000001" in {damage.video_id for damage in find_damage(store.root)}


def test_originals_that_a_compaction_keeps_are_verified(store):
    compact(store.root, wait_s=0)
    path = store.root / "faces" / "video_id=v0000000000000001" / "a0000000000000001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert [(damage.path, damage.video_id) for damage in find_damage(store.root)] == [(path, "v0000000000000001")]


def test_analyses_that_change_meanwhile_are_not_compacted(store, monkeypatch):
    catalog = read_catalog(store.root)
    store.commit_analysis(row(4), timeline(4, 3))
    with pytest.raises(StoreError, match="changed while it was compacted"):
        write_shard(catalog, [(row(4)["video_id"], row(4)["analysis_id"])])
    assert not list((store.root / FOLDER).glob("*"))
    assert delete_replaced_files(store.root, originals=True) == 0


def test_a_shard_that_another_compaction_removes_meanwhile_is_not_completed(store, monkeypatch):
    def begin_another(root, **options):
        compaction.remove_broken_shards(root)
        return read_catalog(root, **options)

    catalog = read_catalog(store.root)
    monkeypatch.setattr(compaction, "read_catalog", begin_another)
    with pytest.raises(StoreError, match="changed while it was compacted"):
        write_shard(catalog, [(row(1)["video_id"], row(1)["analysis_id"])])
    assert not list((store.root / FOLDER).glob("*"))
    assert find_damage(store.root) == []


def test_an_existing_shard_of_the_same_name_is_not_replaced(store):
    ids = [(row(video)["video_id"], row(video)["analysis_id"]) for video in range(5)]
    catalog = read_catalog(store.root)
    other = store.root / FOLDER / write_shard(read_catalog(store.root), ids)
    store.commit_analysis(row(4), timeline(4, 3))
    with pytest.raises(StoreError, match="changed while it was compacted"):
        write_shard(catalog, ids)
    assert [path.name for path in (store.root / FOLDER).iterdir()] == [other.name]
    assert len(list(other.iterdir())) == len(TABLES)


# --- gc ----------------------------------------------------------------------------------------------------------


def garbage(root: Path, **options) -> list[Garbage]:
    """The files that can be deleted if all files are old; observations are left out, because no analysis uses them."""
    found = find_garbage(root, older_than_s=0.0, **options)
    return [one for one in found if not one.what.startswith("observations")]


def clean(root: Path, **options) -> set[str]:
    """Delete these files, and return their paths."""
    before = set(files(root))
    remove_garbage(root, garbage(root, **options))
    return before - set(files(root))


def test_files_of_an_interrupted_compaction_are_garbage(store):
    before = all_rows(store.root)
    ids = [(row(video)["video_id"], row(video)["analysis_id"]) for video in range(5)]
    half = write_shard(read_catalog(store.root), ids[:2])
    (store.root / FOLDER / half / "videos.parquet").unlink()
    part = write_shard(read_catalog(store.root), ids[2:])
    assert find_garbage(store.root) == []  # a compaction may be running
    gone = clean(store.root)
    assert {name.split("/")[1] for name in gone if name.startswith(FOLDER)} == {half}
    assert len(gone) == 5
    whole = write_shard(read_catalog(store.root), ids)
    assert {name.split("/")[1] for name in clean(store.root)} == {part}
    assert [path.name for path in (store.root / FOLDER).iterdir()] == [whole]
    assert all_rows(store.root) == before
    assert clean(store.root) == set()


def test_superseded_analyses_are_removed_from_shards_on_request(store):
    compact(store.root, wait_s=0, delete_originals=True)
    shown = rows_of(store.root, all_analyses=False)
    old = (row(3)["video_id"], row(3)["analysis_id"])
    assert clean(store.root) == set()
    (found,) = garbage(store.root, superseded=True)
    assert (found.files, found.in_shards) == ((), (old,))
    clean(store.root, superseded=True)
    assert old not in read_shards(store.root).where
    assert rows_of(store.root, all_analyses=False) == shown
    assert garbage(store.root, superseded=True) == []


@pytest.mark.parametrize("compacted", [False, True])
def test_an_analysis_that_is_shown_again_while_garbage_is_removed_is_kept(store, compacted):
    if compacted:
        compact(store.root, wait_s=0, delete_originals=True)
    video, old = row(3)["video_id"], row(3)["analysis_id"]
    found = garbage(store.root, superseded=True)
    store.show_analysis(store.shown_analysis(video), old)
    before = all_rows(store.root)
    assert remove_garbage(store.root, found) == []
    assert store.shown_analysis(video).analysis_id == old
    assert all_rows(store.root) == before
    assert find_damage(store.root) == []


def test_files_that_an_analysis_uses_while_garbage_is_removed_are_kept(store):
    store.write_segment(row(8)["video_id"], "o8", 0, observe([0.0], []))
    store.commit_analysis(row(8), timeline(8, 5))
    (store.root / "videos" / "video_id=v0000000000000008" / "a0000000000000008.parquet").unlink()
    found = [one for one in find_garbage(store.root, older_than_s=0.0) if one.video_id == row(8)["video_id"]]
    assert sum(len(one.files) for one in found) == 5 + 1
    store.commit_analysis(row(8) | {"observation_id": "o8"}, timeline(8, 5))
    assert remove_garbage(store.root, found) == []
    assert find_damage(store.root) == [] and store.n_segments(row(8)["video_id"], "o8") == 1


# --- beside others -----------------------------------------------------------------------------------------------


def test_a_running_live_session_is_not_compacted(store):
    store.commit_analysis(row(7) | {"is_running": True}, timeline(7, 10))
    compact(store.root, wait_s=0, delete_originals=True)
    assert [file for file in files(store.root) if file.startswith("faces/")] == [
        f"faces/video_id=v{7:016}/a{7:016}.parquet"
    ]


def test_large_analyses_keep_their_files_and_shards_stay_of_a_size(store, monkeypatch):
    monkeypatch.setattr(compaction, "MAX_ANALYSES", 3)
    before = all_rows(store.root)
    assert compact(store.root, wait_s=0, delete_originals=True).n_shards == 3
    assert all_rows(store.root) == before
    monkeypatch.setattr(compaction, "SMALL_BYTES", 1)
    store.commit_analysis(row(8), timeline(8, 5))
    compact(store.root, wait_s=0, delete_originals=True)
    assert any(name.startswith("faces/video_id=v0000000000000008") for name in files(store.root))


def test_analyses_written_while_originals_are_deleted_are_kept(store, monkeypatch):
    """One analysis is shown again, and one made again, while the shards are read completely."""
    check_content = compaction._check_content

    def write_meanwhile(*args):
        check_content(*args)
        store.show_analysis(store.shown_analysis(row(3)["video_id"]), row(3)["analysis_id"])
        store.commit_analysis(row(2, path="/clips/moved.mp4"), timeline(2, 4))

    monkeypatch.setattr(compaction, "_check_content", write_meanwhile)
    assert compact(store.root, wait_s=0, delete_originals=True).n_removed == (7 - 2) * 6
    assert store.shown_analysis(row(3)["video_id"]).analysis_id == row(3)["analysis_id"]
    ids = row(2)["video_id"], row(2)["analysis_id"]
    assert store.video_row(*ids).path == "/clips/moved.mp4"
    assert store.table_rows(*ids)["faces"] == 4
    sql = "SELECT count(*) AS n FROM faces WHERE video_id = 'v0000000000000002'"
    assert query(store.root, sql).to_pylist() == [{"n": 4}]
    assert find_damage(store.root) == []


def test_an_analysis_is_not_written_while_its_files_are_deleted(store):
    ids = row(2)["video_id"], row(2)["analysis_id"]
    path = store.root / "faces" / f"video_id={ids[0]}" / f"{ids[1]}.parquet"
    before = path.read_bytes()
    with hold_video(store.root, ids[0]):
        writer = threading.Thread(target=store.commit_analysis, args=(row(2), timeline(2, 4)))
        writer.start()
        writer.join(0.5)
        assert writer.is_alive() and path.read_bytes() == before
    writer.join()
    assert store.table_rows(*ids)["faces"] == 4


def test_the_command(store):
    result = fervid("compact", store.root, "--wait", "0")
    assert "7 analyses in 1 new shard, 0 files deleted" in result.output and "waiting" not in result.output
    for video in (7, 8):  # the new shard replaces the first one, which is deleted
        store.commit_analysis(row(video), timeline(video, 5))
    result = fervid("compact", store.root, "--wait", "0")
    assert "waiting 0 s for running queries before the replaced files are deleted" in result.output
    assert "9 analyses in 1 new shard, 6 files deleted" in result.output
    result = fervid("compact", store.root, "--delete-originals", "--wait", "0")
    assert result.exit_code == 0, result.output
    assert "0 analyses in 0 new shards, 54 files deleted" in result.output
    result = fervid("compact", store.root.parent)
    assert result.exit_code == 1 and "not a results folder" in result.output


def test_one_glob_gives_every_analysis_exactly_once_before_during_and_after(store):
    """Read `faces/**/*.parquet` with DuckDB and pandas repeatedly while a compaction runs."""
    pattern = f"{store.root}/faces/**/*.parquet"

    def rows_of_each() -> set[tuple[str, int]]:
        return set(duckdb.sql(f"SELECT analysis_id, count(*) FROM '{pattern}' GROUP BY 1").fetchall())

    before = rows_of_each()
    assert dict(before) == {f"a{n:016}": rows for n, rows in ((1, 10), (2, 20), (3, 30), (33, 7), (4, 40), (5, 50))}
    done: list[Compaction] = []
    thread = threading.Thread(target=lambda: done.append(compact(store.root, wait_s=0.2)))
    thread.start()
    polled = []
    while thread.is_alive():
        polled.append(rows_of_each())
    thread.join()
    assert done[0].n_analyses == 7 and done[0].n_removed == 0
    assert all(found == before for found in polled)
    assert rows_of_each() == before
    with connect(store.root) as connection:
        assert connection.sql("SELECT count(DISTINCT analysis_id) FROM faces").fetchall() == [(5,)]
    assert compact(store.root, wait_s=0).n_analyses == 0
    garbage = find_garbage(store.root, older_than_s=-60)
    assert {one.what for one in garbage} == {"observations that no analysis uses"}
