"""Only regular files are read."""

import os
import socket

import pytest

from analytics.queries.codes import CodesError, read_codes
from analytics.queries.event_files import EventsError, read_events
from analytics.queries.groups import GroupError, find_groups
from fer_models.files import NotRegularFileError, check_regular_file, other_kind


@pytest.fixture
def others(tmp_path):
    """A path of each kind that is not a regular file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    return {name: tmp_path / name for name in ("pipe", "folder", "device", "socket")}


def test_regular_files_and_links_to_them_pass(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert other_kind(tmp_path / "a") == other_kind(tmp_path / "link") == ""
    check_regular_file(tmp_path / "link")
    with pytest.raises(FileNotFoundError):
        check_regular_file(tmp_path / "missing")


def test_a_path_that_is_not_a_regular_file_is_named(others):
    for name, path in others.items():
        assert other_kind(path) == f"a {name}"
        with pytest.raises(NotRegularFileError, match=f"{name}: is a {name}: give a regular file"):
            check_regular_file(path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket"])
def test_events_groups_and_codes_are_regular_files(others, kind):
    with pytest.raises(EventsError, match=f"is a {kind}: give a CSV file"):
        read_events(others[kind])
    with pytest.raises(GroupError, match=f"is a {kind}: give a CSV file"):
        find_groups(others[kind], [])
    with pytest.raises(CodesError, match=f"is a {kind}: give a CSV file"):
        read_codes(others[kind])
