"""Files are replaced whole or not at all."""

import os
import stat

import pytest

from bowstring.core import files
from bowstring.core.files import replacing


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_the_partial_file_lies_beside_and_has_the_same_ending(tmp_path):
    with replacing(tmp_path / "a.png") as partial:
        assert partial.parent == tmp_path and partial.suffix == ".png" and not (tmp_path / "a.png").exists()
        partial.write_bytes(b"new")
    assert (tmp_path / "a.png").read_bytes() == b"new"


def test_file_and_folder_are_synced_before_and_after_the_move(tmp_path, monkeypatch):
    path, seen = tmp_path / "a", []
    monkeypatch.setattr(files, "sync", lambda p: seen.append((p.is_dir(), path.exists())))
    with replacing(path) as partial:
        partial.write_text("x")
    assert seen == [(False, False), (True, True)]


def test_permissions_and_links_stay(tmp_path):
    target, link = tmp_path / "a", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to(target)
    with replacing(link) as partial:
        partial.write_text("new")
    assert link.is_symlink() and target.read_text() == "new" and stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_device_is_written_as_it_is():
    with replacing(os.devnull) as partial:
        partial.write_text("x")
    assert str(partial) == os.devnull


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
