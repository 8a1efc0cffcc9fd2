import dataclasses
import errno
import hashlib
import json
import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import get_type_hints

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scenes import Face, feeling, observe

from analytics.results.ids import analysis_id, content_id, file_sha256, observation_id, unread_video_id, video_id
from analytics.results.store import Store, StoreError
from analytics.results.stored_timeline import build_stored_timeline
from analytics.results.video_record import VideoRecord
from analytics.tables.schema import OBSERVATIONS, TIMELINE_TABLES, VIDEOS
from analytics.timeline.build import TimelineConfig, build_timeline
from analytics.tracking.identities import IdentitiesError
from analytics.tracking.reid import ReidConfig

VIDEO, OBSERVED, ANALYSIS = "v0000000000000001", "o0000000000000001", "a0000000000000001"
ROW = {"video_id": VIDEO, "analysis_id": ANALYSIS, "path": "clips/a.mp4", "duration_s": 3.0}
SEGMENTS = [observe(np.arange(10) / 10 + s, [Face(i) for i in range(10)], first=10 * s) for s in range(3)]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


def timeline():
    return build_timeline(pa.concat_tables(SEGMENTS), TimelineConfig())


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_ids_are_hashes_of_content_and_settings(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"abc")
    sha256 = hashlib.sha256(b"abc").hexdigest()
    assert file_sha256(video) == sha256
    assert video_id(sha256) == "v" + sha256[:16]
    assert observation_id(VIDEO, {"a": 1, "b": 2}, {}) == observation_id(VIDEO, {"b": 2, "a": 1}, {})
    ids = {
        observation_id(VIDEO, {"fps": 5}, {"detector": "x"}),
        observation_id(VIDEO, {"fps": 25}, {"detector": "x"}),
        observation_id(VIDEO, {"fps": 5}, {"detector": "y"}),
        analysis_id(OBSERVED, {"fps": 5}),
        analysis_id(OBSERVED, TimelineConfig().settings()),
        unread_video_id(video),
    }
    assert len(ids) == 6
    assert {len(found) for found in ids} == {17}


def test_a_file_is_hashed_while_another_one_is_read(tmp_path):
    small, large = tmp_path / "small.mp4", tmp_path / "large.mp4"
    small.write_bytes(b"small")
    large.touch()
    os.truncate(large, 2**32)  # sparse; reading it takes seconds
    reading = threading.Thread(target=content_id, args=(large,))
    reading.start()
    while not any(str(large) == file.path for file in psutil.Process().open_files()):
        assert reading.is_alive()
    assert content_id(small) == f"v{hashlib.sha256(b'small').hexdigest()[:16]}"
    assert reading.is_alive()
    os.truncate(large, 0)  # so that the thread ends
    reading.join()


def test_a_file_has_a_new_id_after_a_change(tmp_path):
    file = tmp_path / "a.mp4"
    for content in (b"abc", b"ab", b"a"):
        file.write_bytes(content)
        assert content_id(file) == f"v{hashlib.sha256(content).hexdigest()[:16]}"
    file.unlink()
    assert content_id(file) is None


def test_a_folder_with_other_files_is_rejected(tmp_path):
    (tmp_path / "thesis.doc").touch()
    with pytest.raises(StoreError, match="neither empty nor a results folder"):
        Store(tmp_path)
    assert files(tmp_path) == {"thesis.doc"}
    with pytest.raises(StoreError, match="not a folder"):
        Store(tmp_path / "thesis.doc")


def test_results_of_a_newer_format_are_refused(store):
    (store.root / "fervid.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(StoreError, match="format 99"):
        Store(store.root)
    (store.root / "fervid.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be read"):
        Store(store.root)


def test_an_existing_results_folder_with_a_hidden_file_is_accepted(tmp_path):
    (tmp_path / ".DS_Store").touch()
    Store(tmp_path)
    assert Store(tmp_path).root == tmp_path


def test_segments_come_back_in_order(store):
    assert store.missing_segments(VIDEO, OBSERVED, 3) == [0, 1, 2]
    store.write_segment(VIDEO, OBSERVED, 2, SEGMENTS[2])
    store.write_segment(VIDEO, OBSERVED, 0, SEGMENTS[0])
    assert store.missing_segments(VIDEO, OBSERVED, 3) == [1]
    with pytest.raises(StoreError, match=r"segment-000001.parquet: missing or damaged"):
        store.read_observations(VIDEO, OBSERVED, 3)
    store.write_segment(VIDEO, OBSERVED, 1, SEGMENTS[1])
    assert store.read_observations(VIDEO, OBSERVED, 3).equals(pa.concat_tables(SEGMENTS))
    assert store.read_observations(VIDEO, OBSERVED, 0).schema.equals(OBSERVATIONS)


def test_an_empty_segment_is_not_a_missing_one(store):
    store.write_segment(VIDEO, OBSERVED, 0, OBSERVATIONS.empty_table())
    assert store.missing_segments(VIDEO, OBSERVED, 1) == []


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text", "other columns"])
def test_a_damaged_segment_counts_as_missing(store, damage):
    path = store.write_segment(VIDEO, OBSERVED, 0, SEGMENTS[0])
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[100] ^= 0xFF
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("not a table")
    else:
        pq.write_table(pa.table({"a": [1]}), path)
    assert store.missing_segments(VIDEO, OBSERVED, 1) == [0]
    store.write_segment(VIDEO, OBSERVED, 0, SEGMENTS[0])
    assert store.missing_segments(VIDEO, OBSERVED, 1) == []


def test_only_observations_can_be_written(store):
    with pytest.raises(ValueError, match="columns must be"):
        store.write_segment(VIDEO, OBSERVED, 0, SEGMENTS[0].drop_columns(["blur"]))
    unknown_time = SEGMENTS[0].set_column(1, "pts_s", pa.nulls(10, pa.float64()))
    with pytest.raises(ValueError, match="pts_s must not have NULL"):
        store.write_segment(VIDEO, OBSERVED, 0, unknown_time)
    assert files(store.root) == {"fervid.json"}


def test_an_analysis_is_done_once_its_tables_are_there(store):
    assert not store.is_done(VIDEO, ANALYSIS)
    assert store.video_row(VIDEO, ANALYSIS) is None
    store.commit_analysis(ROW, timeline())
    assert store.is_done(VIDEO, ANALYSIS)
    assert not store.is_done(VIDEO, "a0000000000000002")
    row = store.video_row(VIDEO, ANALYSIS)
    assert row is not None
    assert row.columns().items() >= ROW.items()
    assert (row.status, row.error, row.codec) == ("done", None, None)
    tables = {f"{name}/video_id={VIDEO}/{ANALYSIS}.parquet" for name in ("videos", *TIMELINE_TABLES)}
    assert files(store.root) == {"fervid.json", *tables}
    assert store.table_rows(VIDEO, ANALYSIS) == {name: len(table) for name, table in timeline().tables().items()}
    (store.root / f"faces/video_id={VIDEO}/{ANALYSIS}.parquet").unlink()
    assert not store.is_done(VIDEO, ANALYSIS)


def test_a_record_has_the_columns_of_table_videos_with_their_types(store):
    of_arrow = {"string": str, "int32": int, "int64": int, "uint32": int, "bool": bool, "double": float}
    of_arrow |= {"timestamp[us, tz=UTC]": datetime}
    of_arrow |= {f"fixed_size_list<item: {kind}>[5]": list[int] for kind in ("uint32", "int64")}
    types = {
        field.name: of_arrow[str(field.type)] | None if field.nullable else of_arrow[str(field.type)]
        for field in VIDEOS
    }
    assert list(types) == [field.name for field in dataclasses.fields(VideoRecord)]
    assert get_type_hints(VideoRecord) == types
    store.commit_analysis(ROW, timeline())
    record = store.video_row(VIDEO, ANALYSIS)
    assert VideoRecord.of_row(record.columns()) == record
    stored = pq.read_table(store.root / f"videos/video_id={VIDEO}/{ANALYSIS}.parquet", partitioning=None)
    assert stored.column_names == VIDEOS.names[1:]  # the folder holds the video_id


def test_writing_again_gives_the_same_files(store):
    store.commit_analysis(ROW, timeline())
    before = {name: (store.root / name).read_bytes() for name in files(store.root) if not name.startswith("videos")}
    store.commit_analysis(ROW, timeline())
    assert {name: (store.root / name).read_bytes() for name in before} == before


def test_an_analysis_can_be_read_while_its_tables_are_written_again(store, monkeypatch):
    store.commit_analysis(ROW, timeline())
    shorter = build_timeline(pa.concat_tables(SEGMENTS[:2]), TimelineConfig())
    write, was_done = pq.write_table, []

    def note(table, path, **options):
        was_done.append(store.is_done(VIDEO, ANALYSIS))
        write(table, path, **options)

    monkeypatch.setattr(pq, "write_table", note)
    store.commit_analysis(ROW, shorter)
    assert was_done[:5] == [True] * 5  # the sixth is its row
    assert store.is_done(VIDEO, ANALYSIS)
    assert store.table_rows(VIDEO, ANALYSIS)["frames"] == 20


def test_a_failure_is_not_done_and_gives_way_to_a_success(store):
    store.commit_failure(ROW, "a.mp4: no video stream")
    assert not store.is_done(VIDEO, ANALYSIS)
    assert store.video_row(VIDEO, ANALYSIS).error == "a.mp4: no video stream"
    store.commit_analysis(ROW, timeline())
    assert store.is_done(VIDEO, ANALYSIS)


@pytest.mark.parametrize(("change", "message"), [({"fps": 5}, "unknown"), ({"path": None}, "missing columns.*path")])
def test_a_wrong_row_writes_nothing(store, change, message):
    with pytest.raises(ValueError, match=message):
        store.commit_analysis({**ROW, **change}, timeline())
    assert files(store.root) == {"fervid.json"}


@pytest.mark.parametrize(
    ("number", "expected", "message"),
    [
        (errno.ENOSPC, StoreError, "disk is full"),
        (errno.EROFS, StoreError, "cannot be written"),
        (errno.EIO, OSError, "as the system says it"),
    ],
)
def test_a_full_disk_leaves_nothing_behind(store, monkeypatch, number, expected, message):
    def fail_half_way(table, path, **options):
        path.write_bytes(b"PAR1 and then")
        raise OSError(number, "as the system says it")

    monkeypatch.setattr(pq, "write_table", fail_half_way)
    with pytest.raises(expected, match=message):
        store.write_segment(VIDEO, OBSERVED, 0, SEGMENTS[0])
    assert files(store.root) == {"fervid.json"}


def test_results_can_be_written_to_a_drive_without_locks(store, monkeypatch):
    def flock(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    store.commit_analysis(ROW, timeline())
    assert store.is_done(VIDEO, ANALYSIS)
    assert not list((store.root / ".locks").iterdir())


def test_a_table_that_cannot_be_put_in_its_place_is_named(store, monkeypatch):
    replace = Path.replace

    def refuse_the_tracks(part, target):
        if "tracks" in target.parts:
            raise PermissionError(errno.EACCES, "as the system says it")
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", refuse_the_tracks)
    with pytest.raises(StoreError, match=r"tracks.*: cannot be written to"):
        store.commit_analysis(ROW, timeline())
    assert not list(store.root.rglob("*.part"))


def test_files_left_by_a_killed_run_do_no_harm(store):
    path = store.write_segment(VIDEO, OBSERVED, 0, SEGMENTS[0])
    path.with_name(f".{path.name}.123-abcd.part").write_bytes(b"half")
    path.with_name(".segment-000001.parquet.123-abcd.part").write_bytes(b"half")
    assert store.missing_segments(VIDEO, OBSERVED, 2) == [1]


def _write_often(root: Path) -> None:
    store = Store(root)
    for _ in range(5):
        store.write_segment(VIDEO, OBSERVED, 0, SEGMENTS[0])
        store.commit_analysis(ROW, timeline())


@pytest.mark.slow
def test_two_processes_may_write_the_same_results(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(tmp_path / "results",)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    store = Store(tmp_path / "results")
    assert store.is_done(VIDEO, ANALYSIS)
    assert store.read_observations(VIDEO, OBSERVED, 1).equals(SEGMENTS[0])
    assert not [name for name in files(store.root) if name.endswith(".part")]


def test_appearance_is_deleted_and_identities_stay(store):
    segments = [
        observe(np.arange(10) / 10 + s, [Face(i, appearance=40) for i in range(10)], first=10 * s) for s in (0, 1)
    ]
    for index, segment in enumerate(segments):
        store.write_segment(VIDEO, OBSERVED, index, segment)
    before = build_stored_timeline(store, VIDEO, OBSERVED, pa.concat_tables(segments), TimelineConfig())
    store.drop_appearance(VIDEO, OBSERVED)
    for path in store.root.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        assert "signature" not in table.column_names or table["signature"].null_count == len(table)
    observations = store.read_observations(VIDEO, OBSERVED, 2)
    assert observations.drop_columns("signature").equals(pa.concat_tables(segments).drop_columns("signature"))
    after = build_stored_timeline(store, VIDEO, OBSERVED, observations, TimelineConfig())
    assert after.faces.equals(before.faces) and after.tracks.equals(before.tracks)
    assert after.used_appearance
    assert store.missing_segments(VIDEO, OBSERVED, 2) == []
    assert store.missing_segments(VIDEO, OBSERVED, 2, with_appearance=True) == [0, 1]
    other = TimelineConfig(joining=ReidConfig(same_track_bonus=1))
    with pytest.raises(
        IdentitiesError, match=r"appearance data was deleted, .* --keep-appearance.* version 0\.1, fervid analyze"
    ):
        build_stored_timeline(store, VIDEO, OBSERVED, observations, other)


def test_an_observation_beside_a_run_that_deletes_appearance_uses_stored_identities(store):
    """Two copies of a video are analyzed with `--overwrite`."""
    store.write_segment(VIDEO, OBSERVED, 0, observe(np.arange(10) / 10, [Face(i, appearance=40) for i in range(10)]))
    read = [VIDEO, OBSERVED, store.read_observations(VIDEO, OBSERVED, 1), TimelineConfig()]
    first = build_stored_timeline(store, *read, recompute_identities=True)
    store.drop_appearance(VIDEO, OBSERVED)
    read[2] = store.read_observations(VIDEO, OBSERVED, 1)
    assert build_stored_timeline(store, *read, recompute_identities=True).faces.equals(first.faces)


def test_pandas_and_pyarrow_read_the_files_as_they_are(store):
    store.commit_analysis(ROW, timeline())
    faces = pq.read_table(store.root / "faces")
    assert faces.drop_columns(["analysis_id", "video_id"]).equals(timeline().faces)
    assert set(map(str, faces.to_pandas()["video_id"])) == {VIDEO}
    assert faces.schema.field("pts_s").metadata[b"unit"] == b"s"


def test_probabilities_come_back_bit_for_bit(store):
    observed = observe([0.1], [Face(0, p=feeling("happy", 1 / 3))])
    store.write_segment(VIDEO, OBSERVED, 0, observed)
    assert store.read_observations(VIDEO, OBSERVED, 1).equals(observed)


def test_segments_can_be_read_while_they_are_replaced(store):
    """As in a live session, whose tables are built by another process. Opening a file twice would mix two versions."""
    versions = [pa.concat_tables(SEGMENTS[:n]) for n in (1, 2, 3)]
    store.write_segment(VIDEO, OBSERVED, 0, versions[0])
    is_over = threading.Event()

    def replace_repeatedly():
        while not is_over.is_set():
            for version in versions:
                store.write_segment(VIDEO, OBSERVED, 0, version)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(replace_repeatedly)
        try:
            read = [len(store.read_observations(VIDEO, OBSERVED, 1)) for _ in range(300)]
        finally:
            is_over.set()
        writer.result()
    assert set(read) <= {len(version) for version in versions}
