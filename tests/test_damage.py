"""Damaged Parquet files: every command names the file and the repair, and `fervid analyze` recreates it."""

import json
import random
import shutil
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clips import analyze_clip
from commands import fervid
from scenes import Face, feeling, observe

from analytics import connect, query
from analytics.errors import StoreError
from analytics.results import verification
from analytics.results.compaction import compact
from analytics.results.corrections import rebuild_with_notes
from analytics.results.damage import Damage, DamagedFileError, name_videos
from analytics.results.notes import Step, add_steps, rename
from analytics.results.purge import purge
from analytics.results.store import Store
from analytics.results.vacuum import find_garbage
from analytics.results.verification import find_damage, find_missing_rows, name_damaged_file
from analytics.results.video_record import VideoRecord
from analytics.results.videos import all_videos
from analytics.tables.schema import TABLES
from analytics.timeline.build import TimelineConfig, build_timeline
from flows.settings import AnalyzeSettings

pytestmark = pytest.mark.slow

VIDEO, ANALYSIS = "v0000000000000001", "a0000000000000001"
FIVE_FPS = AnalyzeSettings(device="cpu", fps=5)
EVERYTHING = "SELECT " + ", ".join(f"(SELECT sum(hash({name})) FROM {name})" for name in TABLES)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Two videos, one with observations."""
    store = Store(tmp_path_factory.mktemp("damage") / "results")
    observed = observe(np.arange(40) / 10, [Face(i, p=feeling("happy")) for i in range(40)])
    store.write_segment(VIDEO, "o1", 0, observed)
    for video, analysis, name in ((VIDEO, ANALYSIS, "a"), ("v2", "a2", "b")):
        row = {"video_id": video, "analysis_id": analysis, "observation_id": "o1", "path": f"/clips/{name}.mp4"}
        store.commit_analysis(row, build_timeline(observed, TimelineConfig()))
    return store.root


@pytest.fixture
def results(template, tmp_path):
    shutil.copytree(template, tmp_path / "results")
    return tmp_path / "results"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    """Flip one bit near the end of the last page of the largest column."""
    content = bytearray(path.read_bytes())
    columns = pq.read_metadata(path).row_group(0)
    largest = max((columns.column(i) for i in range(columns.num_columns)), key=lambda c: c.total_compressed_size)
    start = largest.dictionary_page_offset or largest.data_page_offset
    content[start + largest.total_compressed_size - 5] ^= 1
    path.write_bytes(content)


def replace(path: Path) -> None:
    """Replace the file by another table of the same size, so that the size does not reveal the damage."""
    wanted = path.stat().st_size
    pq.write_table(pa.table({"x": [1]}), path)
    content = path.read_bytes()
    assert len(content) < wanted
    path.write_bytes(b"PAR1" + b"\0" * (wanted - len(content)) + content[4:])


DAMAGES = {"truncated": truncate, "emptied": empty, "a bit flipped": flip, "another schema": replace}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["videos", "faces", "tracks"])
def test_every_command_names_the_file_and_the_repair(results, tmp_path, damage, name):
    path = results / name / f"video_id={VIDEO}" / f"{ANALYSIS}.parquet"
    DAMAGES[damage](path)
    sql = f"SELECT sum(hash(t)) FROM {name} t"
    with pytest.raises(StoreError, match=f"{path.name} is damaged"), name_damaged_file(results):
        connect(results).sql(sql).fetchall()
    # `query` starts a process, so it is tried with one table only.
    query_command = [["query", results, sql]] if name == "faces" else []
    for command in (*query_command, ["status", results, "--json"], ["verify", results]):
        run = fervid(*command)
        assert path.name in run.output and str(path.relative_to(results).parent) in run.output, command
        video = "VIDEO" if name == "videos" else "/clips/a.mp4"  # the damaged file has the path
        assert f"`fervid analyze {video} --out {results} --overwrite` recreates it" in run.output, command
        assert "Traceback" not in run.output
    count = json.loads(fervid("status", results, "--json").stdout)["count"]
    assert count == {"done": 1, "running": 0, "failed": 0, "damaged": 1, "pending": 0}  # the other video is done
    if name == "faces":
        for command in (
            ["summary", results, "library"],
            ["export", results, "--format", "csv", "--out", tmp_path / "csv"],
            ["report", results, "--out", tmp_path / "page.html"],
        ):
            run = fervid(*command)
            assert (run.exit_code, f"{path} is damaged" in run.output) == (1, True), (command, run.output)
        assert not (tmp_path / "page.html").exists()


def test_the_repair_of_a_live_session_is_its_backup(tmp_path):
    live = VideoRecord(video_id="v", analysis_id="a", path="rtsp://camera/hall", status="done",
                       finished_at=datetime.now(UTC), live_since=datetime.now(UTC))  # fmt: skip
    (damage,) = name_videos([Damage(tmp_path / "a.parquet", "short", "v")], [live], tmp_path)
    assert damage.repair.startswith("restore it from a backup")


def test_other_videos_can_still_be_asked(results):
    truncate(results / "faces" / f"video_id={VIDEO}" / f"{ANALYSIS}.parquet")
    assert query(results, "SELECT count(*) AS n FROM faces", video="b.mp4").to_pylist() == [{"n": 40}]
    with pytest.raises(StoreError, match=f"{ANALYSIS}.parquet is damaged"):
        query(results, "SELECT count(*) FROM faces", video=VIDEO)


def test_a_damaged_table_never_blocks_a_query(results):
    """The query runs in a separate process, because a deadlock on Python's global lock could not be interrupted."""
    for path in results.glob("faces/*/*.parquet"):
        flip(path)
    code = """
        import sys
        from analytics import connect
        for _ in range(6):
            with connect(sys.argv[1], observations=False) as connection:
                try:
                    connection.sql("SELECT sum(p_happy) FROM faces").fetchall()
                except Exception as error:
                    assert "has changed since it was written" in str(error), error
                else:
                    sys.exit("the damage was not found")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(results)]
    subprocess.run(command, check=True, timeout=600)


def test_verify_counts_and_exits_with_3(results):
    assert (fervid("verify", results).exit_code, fervid("verify", results).output) == (0, "no damaged files\n")
    truncate(results / "observations" / f"video_id={VIDEO}" / "observation_id=o1" / "segment-000000.parquet")
    (results / "episodes/video_id=v2/a2.parquet").unlink()
    run = fervid("verify", results)
    assert run.exit_code == 3
    assert "2 damaged files" in run.output
    assert "segment-000000.parquet" in run.output and "a2.parquet is damaged (missing)" in run.output
    answer = json.loads(fervid("status", results, "--json").stdout)
    assert answer["count"]["damaged"] == 2


def test_verify_finds_damaged_identities_and_notes(results):
    rename(results, VIDEO, 0, "Anna")
    observed = observe(np.arange(40) / 10, [Face(i, p=feeling("happy")) for i in range(40)])
    Store(results).write_identities(VIDEO, "o1", "i1", build_timeline(observed, TimelineConfig()).identities)
    assert find_damage(results) == []
    notes = results / "notes" / f"video_id={VIDEO}" / "notes.json"
    identities = results / "observations" / f"video_id={VIDEO}" / "observation_id=o1" / "identities-i1.parquet"
    for path in (notes, identities):
        truncate(path)
    assert {damage.path: damage.video_id for damage in find_damage(results)} == {notes: VIDEO, identities: VIDEO}
    run = fervid("verify", results)
    assert "notes.json is damaged" in run.output and "restore it from a backup" in run.output
    assert "identities-i1.parquet is damaged (it cannot be read" in run.output


@pytest.fixture(scope="module")
def analyzed(face_clip, tmp_path_factory):
    """The results of analyzing one clip."""
    root = tmp_path_factory.mktemp("analyzed") / "results"
    analyze_clip(face_clip, root, FIVE_FPS)
    return root


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["videos", "faces", "observations"])
def test_a_plain_analyze_makes_damaged_files_again(face_clip, analyzed, tmp_path, damage, name):
    root = shutil.copytree(analyzed, tmp_path / "results")
    damaged = list((root / name).rglob("*.parquet"))
    for path in damaged:
        DAMAGES[damage](path)
    if name == "observations":  # damaged observations are noticed when they are needed
        shutil.rmtree(root / "videos")
    assert damaged
    assert analyze_clip(face_clip, root, FIVE_FPS).status == "done"
    assert find_damage(root) == []
    sql = "SELECT frame_index, x1_px, smooth_emotion FROM faces ORDER BY ALL"
    assert query(root, sql) == query(analyzed, sql)


@pytest.mark.parametrize("damage", [*DAMAGES, "delete"])
def test_a_plain_analyze_makes_damaged_tables_with_corrections_again(face_clip, analyzed, tmp_path, damage):
    root = shutil.copytree(analyzed, tmp_path / "results")
    (video,) = all_videos(connect(root))
    add_steps(root, video.video_id, [Step("split", 1.0, track_id=0)])
    rebuild_with_notes(Store(root), video)
    sql = "SELECT frame_index, track_id FROM faces ORDER BY ALL"
    split = query(root, sql)
    (corrected,) = all_videos(connect(root))
    path = root / "faces" / f"video_id={video.video_id}" / f"{corrected.analysis_id}.parquet"
    {**DAMAGES, "delete": Path.unlink}[damage](path)
    outcome = analyze_clip(face_clip, root, FIVE_FPS)
    assert (outcome.analysis_id, outcome.n_tracks, outcome.notes) == (corrected.analysis_id, 2, ())
    assert find_damage(root) == []
    assert query(root, sql) == split


def test_a_damaged_shard_is_named(results):
    compact(results, wait_s=0, delete_originals=True)
    (path,) = results.glob("compacted/*/faces.parquet")
    whole = path.read_bytes()
    truncate(path)
    assert {damage.path for damage in find_damage(results)} == {path}
    with pytest.raises(DamagedFileError, match=r"faces\.parquet is damaged"):
        query(results, "SELECT sum(p_happy) FROM faces")
    assert not Store(results).is_done(VIDEO, ANALYSIS)
    path.write_bytes(whole)
    assert Store(results).is_done(VIDEO, ANALYSIS)
    truncate(path.with_name("videos.parquet"))
    run = fervid("compact", results)
    assert (run.exit_code, "videos.parquet is damaged" in run.output) == (1, True), run.output
    assert path.exists()


@pytest.mark.parametrize("name", TABLES)
def test_a_shard_that_lost_a_file_is_named_and_kept(results, name):
    compact(results, wait_s=0, delete_originals=True)
    (lost,) = results.glob(f"compacted/*/{name}.parquet")
    lost.unlink()
    left = sorted(lost.parent.iterdir())
    assert [(damage.path, damage.reason) for damage in find_damage(results)] == [(lost, "missing")]
    for command in (lambda: compact(results, wait_s=0), lambda: find_garbage(results), lambda: purge(results, ["v3"])):
        with pytest.raises(StoreError, match=rf"{name}\.parquet is damaged \(missing\): .* delete the folder"):
            command()
    assert sorted(lost.parent.iterdir()) == left
    assert not Store(results).is_done(VIDEO, ANALYSIS)
    if name != "videos":  # without it, nothing shows that there is a shard
        with pytest.raises(DamagedFileError, match=rf"{name}\.parquet is damaged"):
            connect(results)


def test_an_analysis_that_lost_its_row_is_named(results):
    (results / "videos" / f"video_id={VIDEO}" / f"{ANALYSIS}.parquet").unlink()
    run = fervid("verify", results)
    assert (run.exit_code, "1 damaged file" in run.output) == (3, True), run.output
    assert f"{ANALYSIS}.parquet is damaged (missing): its tables exist" in run.output
    (results / "tracks" / f"video_id={VIDEO}" / f"{ANALYSIS}.parquet").unlink()  # as if the run was killed before
    assert fervid("verify", results).exit_code == 0


def test_a_row_that_is_written_while_results_are_verified_is_not_missing(results, monkeypatch):
    row = results / "videos" / f"video_id={VIDEO}" / f"{ANALYSIS}.parquet"
    content = row.read_bytes()
    row.unlink()
    monkeypatch.setattr(verification.time, "sleep", lambda seconds: row.write_bytes(content))
    assert find_missing_rows(results) == []


@pytest.mark.parametrize("compacted", [False, True])
def test_mutated_files_never_change_an_answer(results, compacted):
    """Each mutated file is detected or gives exactly the same answer; docs/reliability.md has the counts."""
    if compacted:
        compact(results, wait_s=0, delete_originals=True)
    with connect(results) as connection:
        expected = connection.sql(EVERYTHING).to_arrow_table().to_pylist()
    draw = random.Random(0)
    paths = sorted(path for path in results.rglob("*.parquet") if "observations" not in path.parts)
    outcomes = {"named": 0, "found by verify": 0, "harmless": 0}
    for _ in range(50):
        path = draw.choice(paths)
        content = path.read_bytes()
        mutant = bytearray(content)
        for _ in range(draw.choice((1, 1, 8))):
            mutant[draw.randrange(len(mutant))] ^= 1 << draw.randrange(8)
        path.write_bytes(mutant[: draw.choice((len(mutant), len(mutant), draw.randrange(len(mutant))))])
        try:
            with name_damaged_file(results), connect(results) as connection:
                (answer,) = connection.sql(EVERYTHING).to_arrow_table().to_pylist()
            assert [answer] == expected, path
            found = {damage.path for damage in find_damage(results)}
            assert found <= {path}
            outcomes["found by verify" if found else "harmless"] += 1
        except StoreError as error:
            assert path.name in str(error)
            outcomes["named"] += 1
            assert {damage.path for damage in find_damage(results)} == {path}
        path.write_bytes(content)
    assert outcomes["named"] >= 45, outcomes
