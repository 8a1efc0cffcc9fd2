"""Malicious configuration, events, notes and results folders cause an error message of one sentence."""

import os

import numpy as np
import pytest
from scenes import observe

from analytics.queries.event_files import EventsError, read_events
from analytics.results import video_rows
from analytics.results.notes import notes_path, read_notes
from analytics.results.results_folder import check_results
from analytics.results.storage_paths import list_files, read_bytes
from analytics.results.store import Store, StoreError
from analytics.results.video_rows import ROWS_CACHE, own_rows
from analytics.timeline.build import TimelineConfig, build_timeline
from flows.cli.config_file import MAX_BYTES, ConfigError, read_config

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
DEEP = "[" * 100_000


@pytest.fixture
def store(tmp_path):
    """Two analyzed videos without faces."""
    store = Store(tmp_path / "results")
    for name in ("a", "b"):
        row = {"video_id": f"v{name}", "analysis_id": f"a{name}", "path": f"/clips/{name}.mp4"}
        store.commit_analysis(row, build_timeline(observe(np.arange(3) / 10, []), TimelineConfig()))
    return store


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a = " + DEEP, "nested too deeply"),
        ("a = 1\n" * MAX_BYTES, "larger than 1 MB"),
        ("a = ", "not a TOML file"),
        ("[unknown]\na = 1", "unknown table"),
    ],
)
def test_a_wrong_configuration_file_is_one_sentence(tmp_path, content, reason):
    (tmp_path / "fervid.toml").write_text(content)
    with pytest.raises(ConfigError, match=reason):
        read_config(tmp_path / "fervid.toml")


@needs_pipes
def test_a_pipe_is_not_read_as_configuration(tmp_path):
    os.mkfifo(tmp_path / "fervid.toml")
    with pytest.raises(ConfigError, match="is a pipe"):
        read_config(tmp_path / "fervid.toml")


def test_times_of_events_fit_into_sql(tmp_path):
    (tmp_path / "events.csv").write_text("start_s,end_s,label\n-1e300,1e300,ad\n")
    with pytest.raises(EventsError, match="start_s must be a number of seconds, got '-1e300'"):
        read_events(tmp_path / "events.csv")


@pytest.mark.parametrize("content", [DEEP, '{"format_version": ' + DEEP, "[]", '{"format_version": "1"}', ""])
def test_a_wrong_marker_is_no_results_folder(store, content):
    (store.root / "fervid.json").write_text(content)
    with pytest.raises(StoreError):
        check_results(store.root)


@pytest.mark.parametrize(
    "steps",
    [
        DEEP,
        '[{"kind": "name", "track_id": 99999999999999999999, "value": "Anna"}]',
        '[{"kind": "name", "track_id": -1, "value": "Anna"}]',
        '[{"kind": "marker", "value": 7}]',
    ],
)
def test_damaged_notes_are_named(store, steps):
    path = notes_path(store.root, "va")
    path.parent.mkdir(parents=True)
    path.write_text('{"steps": ' + steps + "}")
    with pytest.raises(StoreError, match=r"notes\.json: the notes are damaged"):
        read_notes(store.root, "va")


@needs_pipes
def test_listings_have_regular_files_only_and_end(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("x")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    assert list(list_files(tmp_path)) == ["sub/a"]
    with pytest.raises(OSError, match="is a pipe, not a regular file"):
        read_bytes(tmp_path / "pipe")


def test_a_damaged_cache_of_rows_is_ignored(store, monkeypatch):
    """Each bit of the cached paths is covered by a checksum, so a flipped one never reaches an answer."""
    monkeypatch.setattr(video_rows, "MIN_ROWS_TO_CACHE", 1)
    expected = own_rows(store.root)["path"].to_pylist()
    cache = store.root / ROWS_CACHE
    content = cache.read_bytes()
    at = content.index(b"/clips/a.mp4")
    cache.write_bytes(content[:at] + b"#" + content[at + 1 :])
    assert own_rows(store.root)["path"].to_pylist() == expected
