"""Files are replaced whole or not at all."""

import os
import resource
import stat
from pathlib import Path

import pytest

from bowstring.core import files
from bowstring.core.files import output, output_folder, replacing, write


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


def test_a_name_as_long_as_names_may_be_is_taken(tmp_path):
    path = tmp_path / ("\U0001f98a" * 62 + ".png")  # 252 bytes of at most 255
    write(output(path, [".png"]), b"new")
    assert path.read_bytes() == b"new" and len(os.listdir(tmp_path)) == 1


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "a"
    write(path, b"old" * 4096)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(OSError, match="cannot be written: File too large"):
            write(path, b"new" * 4096)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old" * 4096 and os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told_when_it_is_written_to_and_not_before():
    with pytest.raises(OSError, match="/dev/full cannot be written: No space left on device"):
        write(output("/dev/full", [".wav"]), b"x")


def test_an_output_is_checked_without_leaving_anything(tmp_path):
    for name in ("new.png", "new.PNG", ".png.Png"):
        assert output(str(tmp_path / name), [".png"]) == tmp_path / name
    assert output(tmp_path / "no ending") == tmp_path / "no ending"
    assert output_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b" and output_folder(tmp_path) == tmp_path
    assert os.listdir(tmp_path) == []


def test_a_link_is_checked_where_it_leads(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "none" / "x.png")
    with pytest.raises(FileNotFoundError, match=r"no folder .*none"):
        output(tmp_path / "link.png")


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("none/x.png", FileNotFoundError, "there is no folder .*none"),
        ("file.png/x.png", FileNotFoundError, "file.png is a file"),
        ("folder.png", IsADirectoryError, "is a folder; expected the name of a file"),
        ("x.mp3", ValueError, r"ends in '.mp3'; expected .jpg or .png"),
        ("png", ValueError, "has no ending; expected .jpg or .png"),
        ("x" * 300 + ".png", OSError, "too long"),
        ("", ValueError, "expected the name of a file"),
        ("a\0.png", ValueError, "expected the name of a file"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    tmp_path, monkeypatch, name, error, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=says):
        output(name, [".jpg", ".png"])


@pytest.mark.parametrize("path", [None, 3, b"x.png", ["x.png"]])
def test_what_is_no_path_is_refused(path):
    for check in (output, output_folder):
        with pytest.raises(TypeError, match=r"the path is .*; expected a string or a path"):
            check(path)


def test_a_file_is_no_folder_to_write_into(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    for path in (tmp_path / "f", tmp_path / "f" / "deeper"):
        with pytest.raises(NotADirectoryError, match="f is a file; expected a folder"):
            output_folder(path)


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="this system has no /sys")
def test_a_folder_that_takes_no_files_is_refused_whoever_asks():
    for check in (output, output_folder):
        with pytest.raises(OSError, match="cannot be written"):
            check("/sys/kernel/x")


def test_a_file_that_is_write_protected_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda *_: False)  # the superuser may always write
    with pytest.raises(PermissionError, match="may not be written"):
        output(path)
