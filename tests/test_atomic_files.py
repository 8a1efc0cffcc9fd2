"""Files are replaced as a whole, or not at all."""

import pytest

from fer_models.atomic_files import replaced_atomically


def test_a_file_is_replaced_only_once_it_is_complete(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with replaced_atomically(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")
    with pytest.raises(KeyError), replaced_atomically(path) as part:
        part.write_text("incomplete")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
