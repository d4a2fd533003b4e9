"""What a store promises when processes die, disks fill and bits flip."""

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bowstring
from bowstring.eval.board import disk, faults, power, rows, writers
from bowstring.eval.board import writers as crash
from bowstring.eval.board.writers import SECRET, base, contents, vector
from bowstring.memory import lock, schema, session
from bowstring.memory.segments import Segment, layout, segment_files
from bowstring.memory.store import ArrowStorage

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of Unix")
CYCLES = 30  # the script takes more: bowstring selftest --board --long


def script(*arguments, **options):
    """The writer in a process of its own, which loads no torch."""
    source = Path(bowstring.__file__).parents[1]
    command = [sys.executable, "-W", "ignore", "-m", crash.__name__, *map(str, arguments)]
    return subprocess.Popen(
        command, env={"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def passes(*arguments):
    with script(*arguments) as process:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        tried, failures = json.loads(out)
        assert failures == []
        return tried


@pytest.fixture
def quick(tmp_path):
    """A folder in memory where there is one: processes die here, not the machine; syncs show nothing."""
    shared = Path("/dev/shm")
    folder = shared / f"bowstring-{tmp_path.name}" if shared.is_dir() else tmp_path
    folder.mkdir(exist_ok=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def test_what_was_acknowledged_survives_a_kill_at_any_time(tmp_path):
    assert passes("kill", tmp_path / "s", "--cycles", CYCLES) == CYCLES


@pytest.mark.parametrize("act", ["add", "add_many", "edit", "erase", "undo", "compact"])
def test_a_crash_at_any_point_leaves_the_old_state_or_the_new_one(quick, act):
    assert passes("points", quick, "--acts", act) > 10


@pytest.mark.skipif(disk.library() is None, reason="SQLite is part of this Python's own file")
def test_a_power_loss_at_any_point_leaves_the_old_state_or_the_new_one(quick):
    tried, bad = power.power_losses(quick, 200)
    assert tried >= 200 and bad == []


@pytest.mark.parametrize("log", ["a-wal", "a-journal"])
def test_the_first_sync_of_a_new_log_syncs_its_folder_and_later_ones_do_not(log):
    """As SQLite calls the system: `strace` shows one sync of the folder, after the first of the log."""
    made = power.Disk()
    made.act("create", log)
    assert not made.synced
    made.act("sync", log)
    assert [*made.synced] == [log]
    made.act("create", "b")
    made.act("sync", log)
    assert [*made.synced] == [log]


@pytest.mark.skipif(disk.library() is None, reason="SQLite is part of this Python's own file")
def test_a_watched_store_puts_no_file_beside_its_folder(quick, tmp_path, monkeypatch):
    """SQLite keeps the pointer of a file's name: a name that is freed names files in the working folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for seed in range(3):
        power.worked(quick / f"s{seed}", seed)
    assert list(os.scandir(os.fsencode(here))) == []


@pytest.mark.skipif(disk.library() is None, reason="SQLite is part of this Python's own file")
def test_a_log_that_is_not_synced_is_seen_to_lose_what_was_acknowledged(quick, monkeypatch):
    """The images are strict enough: a store that saves a sync fails them."""
    connect = schema.connect
    monkeypatch.setattr(session.schema, "connect", lambda folder: unsynced(connect(folder)))
    assert len(power.power_losses(quick, 100)[1]) > 10


def unsynced(db):
    db.execute("PRAGMA synchronous = OFF")
    return db


@pytest.mark.skipif(disk.library() is None, reason="SQLite is part of this Python's own file")
def test_a_disk_that_fails_at_its_nth_act_leaves_the_old_state_or_the_new_one(quick):
    tried, failures = faults.failing_disk(quick / "s", ("add", "erase"), stride=7)
    assert tried > 20 and failures == []


def test_minutes_bound_what_goes_on_as_long_as_it_may_and_the_board_says_so(monkeypatch):
    row = rows.Row("a", "b", lambda folder, long, seconds=7: (int(seconds), []), endless=True)
    monkeypatch.setattr(rows, "ROWS", (row,))
    assert [one.tries for one in rows.board(long=True, minutes=0.5)] == [30]
    assert [one.tries for one in rows.board(long=True)] == [7]
    found = [*rows.board(long=False, minutes=0.5)]
    assert found[0].tries == 7 and "--minutes 0.5" in rows.markdown(found, long=True, minutes=0.5)
    assert [*writers.within(0, 3)] == [] and [*writers.within(60, 3)] == [0, 1, 2]


def test_the_board_tells_of_tries_failures_and_what_could_not_be_tried(tmp_path, monkeypatch):
    row = rows.Row("a thing", "it holds", lambda folder, long: (7 if long else 5, ["one"]))
    deaf = rows.Row("another", "so does it", lambda folder, long: (1, []), watches=True)
    monkeypatch.setattr(rows, "ROWS", (row, deaf))
    monkeypatch.setattr(disk, "library", lambda: None)
    found = [*rows.board(long=True)]
    assert [(one.tries, one.failures, bool(one.missing)) for one in found] == [
        (7, ["one"], False),
        (0, [], True),
    ]
    written = rows.markdown(found, long=True)
    assert "| a thing | 7 | 1 | it holds |" in written and "cannot be watched | – | so does it |" in written
    assert "selftest --board --long --write` on 20" in written


def test_a_full_disk_is_said_and_changes_nothing(quick):
    assert passes("full", quick) > 5


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path):
    """Bits that nothing was written to may flip unnoticed: then everything still reads as before."""
    base(tmp_path / "s")
    with ArrowStorage(tmp_path / "s") as store:
        before = contents(store)
    rng, found = random.Random(0), {}
    files = {path: path.read_bytes() for path in (tmp_path / "s").iterdir() if path.stat().st_size}
    assert {path.suffix for path in files} == {".sqlite", ".seg"}
    for path, data in files.items():
        for _ in range(120):
            flipped = bytearray(data)
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            found.setdefault(path.suffix, []).append(detected(tmp_path / "s", before))
            for other, whole in files.items():
                other.write_bytes(whole)
    assert sum(found[".sqlite"]) > 5


def detected(folder, before):
    try:
        with ArrowStorage(folder) as store:
            faults = store.verify()
            if not faults:
                assert contents(store) == before and all(store.get(id).parts for id in before)
            return bool(faults)
    except ValueError as error:
        assert "memory.sqlite" in str(error) or "damaged" in str(error)
        return True


def test_a_flipped_bit_in_a_record_names_it(tmp_path):
    base(tmp_path / "s")
    with ArrowStorage(tmp_path / "s") as store:
        memories = store.list()
    path = tmp_path / "s" / "memory.sqlite"
    data = path.read_bytes()
    for one in memories:
        for wanted in (one.text.encode(), one.vector.tobytes()):
            flipped = bytearray(data)
            flipped[data.index(wanted)] ^= 4
            path.write_bytes(flipped)
            with ArrowStorage(tmp_path / "s") as store:
                assert one.id in {fault.record for fault in store.verify()}
                assert {other.id for other in memories if other.id != one.id} <= {m.id for m in store.list()}
            path.write_bytes(data)


def test_a_flipped_bit_in_what_describes_the_tables_is_found(tmp_path):
    """The whole first page, in which SQLite keeps their words."""
    base(tmp_path / "s")
    path = tmp_path / "s" / "memory.sqlite"
    data = path.read_bytes()
    with ArrowStorage(tmp_path / "s") as store:
        before = contents(store)
    for at in range(300, 4096, 41):
        path.write_bytes(data[:at] + bytes([data[at] ^ 128]) + data[at + 1 :])
        assert faults.is_found(tmp_path / "s", before), at
    path.write_bytes(data)


def test_a_damaged_record_is_not_returned_as_if_it_were_whole(tmp_path):
    base(tmp_path / "s")
    path = tmp_path / "s" / "memory.sqlite"
    path.write_bytes(path.read_bytes().replace(f"{SECRET}1".encode(), b"zyzzyvb1"))
    with ArrowStorage(tmp_path / "s") as store:
        (one,) = [memory for memory in store.list() if memory.text == "zyzzyvb1"]
        with pytest.raises(ValueError, match=f"{one.id} is damaged"):
            store.get(one.id)


def test_a_flipped_bit_in_the_log_that_hides_an_operation_is_found(tmp_path):
    """SQLite drops the rest of its log there without a word."""
    store = ArrowStorage(tmp_path / "s")
    ids = [store.add(f"{SECRET}{i}") for i in range(4)]
    shutil.copytree(tmp_path / "s", tmp_path / "copy")
    store.close()
    log = tmp_path / "copy" / "memory.sqlite-wal"
    data = bytearray(log.read_bytes())
    data[data.rindex(f"{SECRET}3".encode())] ^= 1
    log.write_bytes(data)
    (tmp_path / "copy" / "memory.sqlite-shm").unlink()
    with ArrowStorage(tmp_path / "copy") as store:
        assert ids[3] not in {one.id for one in store.list()}
        assert [fault.record for fault in store.verify() if "acknowledged" in fault.what] == [ids[3]]


def test_a_flipped_bit_in_a_row_of_a_segment_names_its_record_and_search_goes_on(tmp_path):
    base(tmp_path / "s")
    with ArrowStorage(tmp_path / "s") as store:
        before = contents(store)
    (path,) = segment_files(tmp_path / "s")
    with ArrowStorage(tmp_path / "s") as store:
        row = Segment.open(path, 0, 0, crash.WIDTH).arrays["exact"][2].tobytes()
        data = path.read_bytes()
        path.write_bytes(data.replace(row, row[:5] + bytes([row[5] ^ 1]) + row[6:]))
        (fault,) = store.verify()
        assert fault.file == path.name and store.get(fault.record).text == f"{SECRET}2"
    with ArrowStorage(tmp_path / "s") as store:
        assert contents(store) == before
        store.compact()
        assert store.verify() == [] and contents(store) == before


def test_segments_are_only_a_copy(tmp_path):
    base(tmp_path / "s")
    for end in (0, 30, 1000):
        for path in segment_files(tmp_path / "s"):
            path.write_bytes(path.read_bytes()[:end]) if end else path.unlink()
        with ArrowStorage(tmp_path / "s") as store:
            assert len(contents(store)) >= 4
            store.add(f"more {end}", vector=vector(end + 10))
            assert len(contents(store)) >= 5
            store.compact()
            assert store.verify() == []


def test_rows_that_a_power_loss_tore_are_passed_over_and_written_again(tmp_path):
    base(tmp_path / "s")
    (path,) = segment_files(tmp_path / "s")
    segment = Segment.open(path, 0, 0, crash.WIDTH)
    seqs = segment.arrays["seqs"].copy()
    data = bytearray(path.read_bytes())
    at = next(offset for name, offset, _, _ in layout(crash.WIDTH, segment.room) if name == "seqs") + 8
    data[at : at + 8] = bytes(8)  # the seq of row 1 never arrived, that of rows 2 and 3 did
    path.write_bytes(data)
    with ArrowStorage(tmp_path / "s") as store:
        assert len(contents(store)) == 4
        store.add("next", vector=vector(9))
        assert len(contents(store)) == 5 and store.verify() == []
    after = Segment.open(path, 0, 0, crash.WIDTH).arrays["seqs"]
    assert set(seqs[:4]) < set(after[:5]) and not after[5:].any() and len(np.unique(after[:5])) == 5


@pytest.mark.parametrize("failing", range(10))
def test_what_the_database_has_is_added_though_the_segments_fail(tmp_path, monkeypatch, failing):
    base(tmp_path / "s")
    calls, write = [], os.pwrite

    def fails(*arguments):
        calls.append(1)
        if len(calls) > failing:
            raise OSError(errno.EIO, "the disk fails")
        return write(*arguments)

    with ArrowStorage(tmp_path / "s") as store:
        monkeypatch.setattr(os, "pwrite", fails)
        id = store.add("new", vector=vector(99))
        assert store.search(vector(99), 1)[0].memory.id == id and len(contents(store)) == 5
        assert store.stats()["waiting"] == (failing < 9)
        monkeypatch.undo()
        store.add("newer", vector=vector(98))
        assert store.stats()["waiting"] == 0 and len(contents(store)) == 6 and store.verify() == []


def test_a_second_writer_waits_and_then_says_so(tmp_path, monkeypatch):
    with (
        ArrowStorage(tmp_path / "s") as store,
        script("hold", tmp_path / "s", stdin=subprocess.PIPE) as other,
    ):
        store_is_held = other.stdout.readline()
        assert store_is_held == "held\n"
        monkeypatch.setattr(lock, "PATIENCE", 0.2)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="another process has been writing"):
            store.add("x")
        assert time.monotonic() - began >= 0.2 and store.list() == []
        monkeypatch.undo()
        other.stdin.close()
        assert store.get(store.add("x")).text == "x"
        other.wait(10)


def test_a_reader_sees_whole_transactions_of_another_process(tmp_path):
    with ArrowStorage(tmp_path / "s") as reader, script("batches", tmp_path / "s", "--cycles", 12) as writer:
        seen = []
        while not seen or seen[-1] < 600:
            with reader.reading():
                seen.append(len(reader.list()))
                assert len(reader.search(vector(3), 700)) == seen[-1]
            assert writer.poll() in (None, 0)
        assert all(count % 50 == 0 for count in seen) and seen == sorted(seen)


def test_erased_bytes_are_in_no_file(tmp_path):
    folder = tmp_path / "s"
    secrets = [
        "zyzzyva1",
        "quagga",
        "krypton",
        "tagsecret",
        "keysecret",
        "wherefrom",
        "partsecret",
        "olderwords",
    ]
    store = ArrowStorage(folder)
    given = {"tags": ["tagsecret"], "key": "keysecret", "payload": b"partsecret" * 3000}
    id = store.add("olderwords", vector=vector(1), source="wherefrom", **given)
    store.edit(id, text="zyzzyva1 quagga krypton " + "filler " * 3000, vector=vector(2))
    kept = store.add("something else", vector=vector(3))
    needles = [word.encode() for word in secrets] + [vector(seed).tobytes()[:16] for seed in (1, 2)]
    needles += [
        np.float32(vector(seed) / np.linalg.norm(vector(seed).astype(float))).tobytes()[:16]
        for seed in (1, 2)
    ]
    assert all(held(folder, needle) for needle in needles)
    assert store.forget(id) == [id] and all(held(folder, needle) for needle in needles)
    assert store.forget(id, erase=True) == [id]
    assert [needle for needle in needles if held(folder, needle)] == []
    with pytest.raises(ValueError, match="no memory"):
        store.history(id)
    assert [one.id for one in store.list()] == [kept] and contents(store) and store.verify() == []
    store.close()
    assert [needle for needle in needles if held(folder, needle)] == []


def held(folder, needle):
    return any(needle in path.read_bytes() for path in folder.iterdir())


def test_erasing_takes_what_the_record_superseded_and_old_sources(tmp_path):
    with ArrowStorage(tmp_path / "s") as store:
        one, two = store.add(SECRET, source="old"), store.add("other")
        store.edit(two, text=SECRET)
        store.edit(two, text="now harmless")
        assert set(store.forget(two, erase=True)) == {one, two}
        third = store.add("quagga", source="old")
        store.edit(third, source="new")
        assert store.forget(source="old", erase=True) == [third]
        assert not held(store.folder, SECRET.encode()) and not held(store.folder, b"quagga")


def test_a_reader_of_the_older_state_delays_an_erasure_which_the_next_opening_ends(tmp_path, monkeypatch):
    with ArrowStorage(tmp_path / "s") as store:
        id = store.add(SECRET)
        with ArrowStorage(tmp_path / "s") as reader, reader.reading():
            monkeypatch.setattr(lock, "PATIENCE", 0.1)
            with pytest.raises(TimeoutError, match="erased bytes leave its log"):
                store.forget(id, erase=True)
            assert reader.get(id).text == SECRET and store.list() == []
    with ArrowStorage(tmp_path / "s"):
        assert not held(tmp_path / "s", SECRET.encode())
