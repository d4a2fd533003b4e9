"""What a store of memories does with records: keeps, supersedes, forgets, brings back, finds."""

import base64
import json
import re
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from bowstring.memory import schema, where
from bowstring.memory.chunks import LONGEST, chunks
from bowstring.memory.doubles import calibrated
from bowstring.memory.record import Embedder, Entry
from bowstring.memory.store import ArrowStorage

WIDTH = 20  # no multiple of 8


def vectors(count, seed=0, width=WIDTH):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def letters(texts):
    """An embedder with a meaning: how often each letter occurs."""
    return np.array(
        [[1e-3 + text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], np.float32
    )


LETTERS = Embedder("letters", "1", 26, letters, near=0.9)


@pytest.fixture
def store(tmp_path):
    with ArrowStorage(tmp_path / "store") as store:
        yield store


def test_everything_comes_back_as_it_was_given(store):
    vector = vectors(1)[0]
    parts = {
        "picture": b"\x89PNG\0",
        "voice": np.arange(6.0).reshape(2, 3),
        "adapter": b"",
        "payload": {"a": [1]},
    }
    given = {"namespace": "n", "key": "k", "source": "s", "tags": ["b", "a", "b"], "time": 5, "expires": 9e9}
    id = store.add("a fox \u00df\n", vector=vector, **parts, **given)
    one = store.get(id)
    assert (one.text, one.namespace, one.key, one.source, one.tags) == (
        "a fox \u00df\n",
        "n",
        "k",
        "s",
        ("a", "b"),
    )
    assert (one.time, one.expires, one.version, one.id) == (5.0, 9e9, 1, id)
    assert one.vector.tobytes() == vector.tobytes() and one.vector.dtype == np.float32
    assert (
        one.parts["picture"] == b"\x89PNG\0"
        and one.parts["adapter"] == b""
        and one.parts["payload"] == {"a": [1]}
    )
    assert one.parts["voice"].tolist() == parts["voice"].tolist()
    assert one.holds == tuple(one.parts) and store.list()[0].holds == one.holds and not store.list()[0].parts
    json.dumps(one.to_json())


def test_a_datetime_is_a_time(store):
    day = datetime(2030, 1, 2, tzinfo=UTC)
    assert store.get(store.add("x", time=day)).time == day.timestamp()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "nothing to remember"),
        ({"text": "a", "vector": [float("nan")]}, "not finite"),
        ({"text": "a", "vector": [0.0]}, "all zero"),
        ({"vector": [[1.0]]}, "shape"),
        ({"text": 3}, "text is"),
        ({"text": "a", "tags": [1]}, "tags"),
        ({"text": "a", "time": "now"}, "time is"),
        ({"text": "a", "namespace": " "}, "namespace is empty"),
        ({"payload": {1, 2}}, "payload is"),
        ({"txt": "a"}, "no 'txt'"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(store, fields, words):
    with pytest.raises((TypeError, ValueError), match=words):
        store.add_many(["fine", fields])
    assert store.list() == [] and store.stats()["operations"] == 0


def test_the_same_key_supersedes_within_its_namespace(store):
    old = store.add("blue", key="colour")
    elsewhere = store.add("green", key="colour", namespace="other")
    assert store.add("red", key="colour") == old != elsewhere
    assert {one.text for one in store.list()} == {"red", "green"}
    assert [(one.version, one.text) for one in store.history(old)] == [(1, "blue"), (2, "red")]
    assert store.get(old, 1).text == "blue" and not store.search("blue")


def test_the_same_content_supersedes_and_is_listed_once(store):
    first = store.add("a fox", tags=["old"])
    assert store.add("a fox", tags=["new"]) == first and len(store.list()) == 1
    assert store.get(first).tags == ("new",) and store.list({"tags": ["old"]}) == []
    assert store.add("a fox", namespace="other") != first
    assert store.add("a fox", key="animal") == first  # it is given the key
    assert store.add("a fox", key="pet") != first  # another fact that happens to say the same
    picture = store.add("a fox", picture=b"1")
    assert picture not in (first, store.add("a fox", picture=b"2"))


def test_an_edit_that_says_what_another_says_supersedes_that_one(store):
    one, two = store.add("a fox"), store.add("a cat")
    store.edit(one, text="a cat")
    assert [memory.id for memory in store.list()] == [one]
    assert store.history(two)[-1].state == "superseded" and store.history(two)[-1].by == one
    assert set(store.undo()) == {one, two}
    assert {memory.text for memory in store.list()} == {"a fox", "a cat"}


def test_an_edit_keeps_what_it_does_not_name(store):
    id = store.add("a", vector=vectors(1)[0], source="s", key="k", payload=[1], expires=9e9)
    store.edit(id, tags=["t"])
    one = store.get(id)
    assert (one.text, one.source, one.key, one.parts, one.expires) == ("a", "s", "k", {"payload": [1]}, 9e9)
    assert one.vector is not None and one.tags == ("t",)
    store.edit(id, text="b")
    assert store.get(id).vector is None  # that of another text
    with pytest.raises(ValueError, match="nothing is changed"):
        store.edit(id)


def test_undo_takes_back_one_operation_after_another(store):
    one, two, three = store.add_many([{"text": text, "source": text[0]} for text in ("a1", "a2", "b1")])
    store.edit(one, text="a0")
    assert set(store.forget(source="a")) == {one, two}
    assert [memory.id for memory in store.list()] == [three]
    assert set(store.undo()) == {one, two} and store.get(one).text == "a0"
    assert store.undo() == [one] and store.get(one).text == "a1"
    assert store.search("a1")[0].memory.id == one and not store.search("a0")
    assert [memory.undone for memory in store.history(one)] == [False, True, True]
    assert len(store.undo()) == 3 and store.list() == []
    with pytest.raises(ValueError, match="nothing to undo"):
        store.undo()
    assert store.verify() == []


def test_undo_of_one_record_leaves_the_others(store):
    one, two = store.add("a", source="s"), store.add("b", source="s")
    store.forget(source="s")
    assert store.undo(two) == [two]
    assert [memory.id for memory in store.list()] == [two] and store.verify() == []
    with pytest.raises(ValueError, match="forgotten"):
        store.get(one)


def test_undo_does_not_give_one_key_to_two(store):
    old = store.add("a", key="k")
    store.forget(old)
    store.add("b", key="k")
    with pytest.raises(ValueError, match="the key 'k' now belongs"):
        store.undo(old)
    assert [memory.text for memory in store.list()] == ["b"] and store.verify() == []


def test_forget_says_what_it_needs(store):
    id = store.add("a", source="x")
    with pytest.raises(ValueError, match="nothing says"):
        store.forget()
    with pytest.raises(ValueError, match="no memory has the id 'nope'"):
        store.forget([id, "nope"])
    assert store.list() and store.forget(source="y") == []
    assert store.forget(id, source="x") == [id]


def test_what_has_expired_is_not_found_and_goes_with_compact(store):
    id = store.add("a fox", vector=vectors(1)[0], expires=5)
    kept = store.add("a vixen", vector=vectors(1, 1)[0], expires=9e9)
    assert [one.id for one in store.list()] == [kept] and not store.search("fox")
    assert [hit.memory.id for hit in store.search(vectors(1)[0], 5)] == [kept]
    with pytest.raises(ValueError, match="expired"):
        store.get(id)
    assert store.history(id) and store.compact()["expired"] == 1
    with pytest.raises(ValueError, match="no memory"):
        store.history(id)


def brute_force(rows, query, wanted, allowed):
    wide = rows.astype(np.float64)
    cosine = wide @ query / np.linalg.norm(wide, axis=1) / np.linalg.norm(query.astype(np.float64))
    return [i for i in np.argsort(-cosine) if allowed(i)][:wanted]


def test_vector_search_is_exact_under_every_filter_across_segments(store):
    """1,400 vectors lie in four segments; some are superseded, so that their rows are dead."""
    rows = vectors(1400)
    given = [{"text": f"t{i}", "vector": row, "tags": [f"m{i % 7}"], "time": i} for i, row in enumerate(rows)]
    for entry in given[::100]:
        entry["namespace"] = "rare"
    parts = [given[:100], given[100:700], given[700:]]
    ids = [id for part in parts for id in store.add_many(part)]
    store.forget(ids[3:1400:50])
    number = {id: i for i, id in enumerate(ids)}
    filters = [
        (None, lambda i: True),
        ({"namespace": "rare"}, lambda i: i % 100 == 0),
        ({"tags": ["m3"]}, lambda i: i % 7 == 3),
        ({"tags": "m3", "before": 350}, lambda i: i % 7 == 3 and i < 350),
        ({"after": 20, "namespace": ["rare", "none"]}, lambda i: i % 100 == 0 and i >= 20),
        ({"id": ids[:40]}, lambda i: i < 40),
    ]
    assert store.stats()["segments"] >= 3 and store.stats()["waiting"] == 0
    for query in vectors(4, seed=1):
        for given_where, allowed in filters:
            found = [number[hit.memory.id] for hit in store.search(query, 10, given_where, exact=True)]
            assert found == brute_force(rows, query, 10, lambda i, a=allowed: a(i) and i % 50 != 3)


def test_words_find_what_has_not_expired_behind_what_has(store):
    store.add_many([{"text": f"fox {i}", "expires": 5} for i in range(100)])
    kept = store.add("a fox among many other words that make it a worse hit")
    assert [hit.memory.id for hit in store.search("fox", 3)] == [kept]


def test_links_are_those_of_all_pairs_where_directions_are_random(tmp_path):
    """Every row has a partner at a cosine near 0.97, in the same batch or in an earlier one."""
    rows, noise = vectors(400, width=64), vectors(400, 1, width=64)
    partners = rows + 0.25 * noise
    with ArrowStorage(tmp_path / "s", Embedder("e", "1", 64, lambda _: None, near=0.95)) as store:
        first = store.add_many([{"vector": row} for row in [*rows, *partners[:200]]])
        last = store.add_many([{"vector": row} for row in partners[200:]])
        ids, every = [*first, *last], np.concatenate([rows, partners]).astype(float)
        units = every / np.linalg.norm(every, axis=1, keepdims=True)
        wanted = {(ids[i], ids[j]) for i, j in np.argwhere(np.triu(units @ units.T >= 0.95, 1))}
        found = {(a, b) for a in ids for b, _ in store.get(a).near}
        assert len(wanted) > 380 and found == wanted | {(b, a) for a, b in wanted}


def test_a_filter_that_was_asked_before_sees_what_has_changed(store):
    rows = vectors(600)
    ids = store.add_many([{"vector": row, "tags": ["t"] * (i % 2)} for i, row in enumerate(rows[:300])])
    asked = lambda row: store.search(row, 1, {"tags": "t"})[0].memory.id
    assert asked(rows[1]) == ids[1] != asked(rows[0])
    store.edit(ids[0], tags=["t"])
    store.forget(ids[1])
    later = store.add_many([{"vector": row, "tags": ["t"]} for row in rows[300:]])
    assert asked(rows[0]) == ids[0] and asked(rows[1]) != ids[1] and asked(rows[599]) == later[-1]
    store.undo()
    store.undo()
    assert asked(rows[1]) == ids[1] and asked(rows[599]) != later[-1]


def test_what_expires_while_a_store_is_open_is_found_no_more(store, monkeypatch):
    row, now = vectors(1)[0], time.time()
    id = store.add("soon gone", vector=row, expires=now + 50, tags=["t"])
    kept = store.add("stays", vector=vectors(1, 1)[0], tags=["t"])
    for few in (None, {"tags": "t"}):
        assert store.search(row, 1, few)[0].memory.id == id
    monkeypatch.setattr(time, "time", lambda: now + 51)
    for few in (None, {"tags": "t"}):
        assert store.search(row, 1, few)[0].memory.id == kept


def test_a_threshold_for_doubles_holds_its_share_of_unrelated_pairs():
    units = vectors(2000, width=64)
    near = calibrated(units, share=1e-4)
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    cosines = (units @ units.T)[np.triu_indices(2000, 1)]
    assert (cosines >= near).sum() == int(1e-4 * len(cosines))
    with pytest.raises(ValueError, match="expected 10000000 at least"):
        calibrated(units)


def test_a_filter_that_leaves_few_gives_few(store):
    store.add_many([{"text": str(i), "vector": row} for i, row in enumerate(vectors(30))])
    one = store.add("x", vector=vectors(1, 5)[0], tags=["t"])
    assert [hit.memory.id for hit in store.search(vectors(1)[0], 10, {"tags": ["t"]})] == [one]
    with pytest.raises(ValueError, match="Closest: 'tags'"):
        store.search("x", where={"tag": "t"})


def test_search_finds_what_was_added_a_moment_ago_by_another(store):
    with ArrowStorage(store.folder) as other:
        for i, row in enumerate(vectors(40)):
            id = store.add(f"t{i}", vector=row)
            assert other.search(row, 1)[0].memory.id == id
        store.forget(id)
        assert other.search(row, 1)[0].memory.id != id


def test_words_and_vectors_are_fused_by_reciprocal_rank(tmp_path):
    with ArrowStorage(tmp_path / "s", LETTERS) as store:
        silent = store.add("tinsel")  # the letters of the query, another word
        both = store.add("listen closely")
        hits = store.search("listen", 2)
        assert [hit.memory.id for hit in hits] == [both, silent] and hits.notes == ()
        assert hits[0].score == pytest.approx(0.75 / 11 + 1 / 12) and hits[1].score == pytest.approx(1 / 11)
        assert hits[1].similarity == pytest.approx(1) and hits[1].words is None
    with ArrowStorage(tmp_path / "s") as store:
        hits = store.search("listen")
        assert [hit.memory.id for hit in hits] == [both] and "words only" in hits.notes[0]


def test_no_query_is_taken_for_a_search_language(store):
    store.add("a fox")
    for query in ['"', "fox AND", "fox*", "NEAR(", "text:fox", "-", "^", "", "(\0"]:
        assert len(store.search(query)) == ("fox" in query)


def test_a_store_keeps_to_its_embedder(tmp_path):
    with ArrowStorage(tmp_path / "s", LETTERS) as store:
        store.add("a fox")
        with pytest.raises(ValueError, match="has 20 numbers; expected 26"):
            store.add("x", vector=vectors(1)[0])
    with pytest.raises(ValueError, match=r"holds vectors of the embedder letters \(1, 26 numbers\)"):
        ArrowStorage(tmp_path / "s", Embedder("letters", "2", 26, letters))
    with ArrowStorage(tmp_path / "given") as store:
        store.add("a", vector=vectors(1)[0])
    with pytest.raises(ValueError, match="given without an embedder"):
        ArrowStorage(tmp_path / "given", LETTERS)


def test_vectors_can_be_made_later(tmp_path):
    with ArrowStorage(tmp_path / "s") as store:
        id = store.add("tinsel")
    with ArrowStorage(tmp_path / "s", LETTERS) as store:
        assert not store.search("listen") and store.embed() == 1 and store.embed() == 0
        assert store.search("listen")[0].memory.id == id and store.verify() == []


def test_near_doubles_are_linked_and_kept(tmp_path):
    with ArrowStorage(tmp_path / "s", LETTERS) as store:
        one = store.add("the quick brown fox jumps over the lazy dog")
        two, far, three = store.add_many(
            ["the quick brown fox jumps over a lazy dog", "zzz", "the quick brown fox jumped over a lazy dog"]
        )
        store.add("the quick brown fox jumps over the lazy dogs", namespace="other")
        assert len(store.list()) == 5
        assert {id for id, _ in store.get(one).near} == {two, three} and store.get(far).near == ()
        assert {id for id, _ in store.get(two).near} == {one, three}
        store.forget(two)
        assert [id for id, cosine in store.get(one).near if cosine > 0.9] == [three]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_thousand_records_survive_export_and_load(store, tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    rows = vectors(1000)
    store.add_many(
        {
            "text": None if i % 10 == 9 else f"record {i} \u2603\u2028",
            "vector": row if i % 3 else None,
            "payload": {"i": i} if i % 2 else row[:3],
            "key": f"k{i}" if i % 4 else None,
            "tags": ["t"] * (i % 2),
            "time": i + 0.1,
            "expires": 9e9 if i % 5 else None,
        }
        for i, row in enumerate(rows)
    )
    path = tmp_path / f"out{ending}"
    assert store.export(path) == 1000 and stat.S_IMODE(path.stat().st_mode) == 0o600
    with ArrowStorage(tmp_path / "new") as new:
        assert len(new.load(path)) == 1000
        for old, one in zip(store.list(), new.list(), strict=True):
            old, one = store.get(old.id), new.get(one.id)
            assert old.to_json() == one.to_json()
            assert (old.vector is None) == (one.vector is None)
            assert old.vector is None or old.vector.tobytes() == one.vector.tobytes()
            assert repr(old.parts) == repr(one.parts)
        before = new.stats()["versions"]
        new.load(path)
        assert new.stats()["versions"] == before and new.verify() == []


def test_files_of_others_are_not_loaded(store, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n')
    with pytest.raises(ValueError, match="no exported memories"):
        store.load(path)
    path.write_text('{"format": "bowstring memories", "version": 2}\n')
    with pytest.raises(ValueError, match="version 2"):
        store.load(path)


def part(form, data):
    return {"parts": {"payload": [form, base64.b64encode(data).decode()]}}


def npy(header):
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


HUGE = npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3000000000,)}\n") + b"x" * 8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"id": 5}, "id is"),
        ({"vector": "much"}, "vector is"),
        ({"time": 10**400}, "time"),
        ({"parts": []}, "parts is"),
        ({"parts": {"text": ["json", ""]}}, "parts is"),
        ({"parts": {"payload": ["pickle", ""]}}, "payload is"),
        ({"parts": {"payload": ["bytes", "?"]}}, "base64"),
        (part("json", b"[" * 100_000), "recursion"),
        (part("array", npy("(" * 9000)), "header"),
        (part("array", HUGE), "24,000,000,000 bytes; 8 are there"),
    ],
)
def test_a_memory_of_a_file_is_checked_and_its_line_named(store, tmp_path, change, says):
    store.add("x", vector=vectors(1)[0], payload={"a": 1})
    path = tmp_path / "x.jsonl"
    store.export(path)
    head, line = path.read_text().splitlines()
    path.write_text(f"{head}\n{json.dumps(json.loads(line) | change)}\n")
    with ArrowStorage(tmp_path / "new") as new:
        with pytest.raises(ValueError, match=f"(?i)x.jsonl line 2: .*{re.escape(says)}"):
            new.load(path)
        assert [*new.list()] == []


@pytest.mark.parametrize(
    ("line", "says"),
    [("[]", "expected a memory"), ('{"id": "a"}', "lacks 'vector'"), ("[" * 100_000, "damaged in line 2")],
)
def test_a_line_that_is_no_memory_is_named(store, tmp_path, line, says):
    path = tmp_path / "x.jsonl"
    store.export(path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match=f"line 2.*{says}|{says}"):
        store.load(path)
    path.write_text(line)
    with pytest.raises(ValueError, match="no exported memories"):
        store.load(path)


@pytest.mark.parametrize("embedder", [5, {}, {"name": "a"}, {"name": "a", "hash": None, "width": 0}])
def test_the_embedder_of_a_file_is_checked(store, tmp_path, embedder):
    store.add("x", vector=vectors(1)[0])
    path = tmp_path / "x.jsonl"
    store.export(path)
    head, line = path.read_text().splitlines()
    path.write_text(f"{json.dumps(json.loads(head) | {'embedder': embedder})}\n{line}\n")
    with ArrowStorage(tmp_path / "new") as new, pytest.raises(ValueError, match="embedder"):
        new.load(path)


def test_a_store_is_one_folder_for_its_owner_only(tmp_path):
    with ArrowStorage(tmp_path / "a" / "store") as store:
        id = store.add("x", vector=vectors(1)[0])
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in store.folder.iterdir()} == {0o600}
    (tmp_path / "a" / "store").rename(tmp_path / "moved")
    with ArrowStorage(tmp_path / "moved") as store:
        assert store.search(vectors(1)[0], 1)[0].memory.id == id
    with pytest.raises(FileExistsError, match="holds other things"):
        ArrowStorage(tmp_path)


def test_older_stores_migrate_and_newer_ones_are_refused(tmp_path, monkeypatch):
    with ArrowStorage(tmp_path / "s") as store:
        id = store.add("x")
    monkeypatch.setattr(
        schema, "MIGRATIONS", [*schema.MIGRATIONS, "CREATE TABLE later (a);\nCREATE TABLE b (a);"]
    )
    with ArrowStorage(tmp_path / "s") as store:
        assert store.get(id).text == "x" and store.stats()["schema"] == 2
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has version 2; this program knows versions up to 1"):
        ArrowStorage(tmp_path / "s")


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    ArrowStorage(tmp_path / "s").close()
    monkeypatch.setattr(
        schema, "MIGRATIONS", [*schema.MIGRATIONS, "CREATE TABLE later (a);\nCREATE TABLE later (a);"]
    )
    with pytest.raises(Exception, match="already exists"):
        ArrowStorage(tmp_path / "s")
    monkeypatch.undo()
    with ArrowStorage(tmp_path / "s") as store:
        assert store.stats()["schema"] == 1


def test_a_block_of_reading_sees_one_state(store):
    store.add("a", vector=vectors(1)[0])
    with ArrowStorage(store.folder) as other, store.reading():
        before = store.list()
        other.add("b", vector=vectors(1, 1)[0])
        assert len(store.list()) == len(before) == 1
        assert len(store.search(vectors(1, 1)[0], 5)) == 1
        with pytest.raises(ValueError, match="reading"):
            store.add("c")
    assert len(store.list()) == 2


def test_filters_name_their_mistakes():
    for given, words in [
        ("x", "where is"),
        ({"part": "nose"}, "part is 'nose'"),
        ({"after": "x"}, "after is"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            where.condition(given)


def test_files_come_in_pieces_by_their_structure(tmp_path):
    note = tmp_path / "note.md"
    note.write_text("# One\nfirst\n\nsecond\n## Two\n" + "A sentence. " * 200 + "\n")
    found = [*chunks(note)]
    assert found[0] == {"text": "# One\nfirst\n\nsecond", "source": str(note)}
    assert all(one["text"].startswith("## Two\nA sentence.") for one in found[1:]) and len(found) == 4
    assert max(len(one["text"]) for one in found) < LONGEST + 20
    lines = tmp_path / "note.jsonl"
    lines.write_text('"a"\n\n{"text": "b", "tags": ["t"]}\n')
    assert [Entry.of(one).tags for one in chunks(lines)] == [(), ("t",)]
    lines.write_text("[1]")
    with pytest.raises(ValueError, match="line 1 is list"):
        [*chunks(lines)]


def test_a_store_needs_no_torch():
    code = "import sys; from bowstring import ArrowStorage; print('torch' in sys.modules)"
    source = str(Path(schema.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": source}
    )
    assert done.stdout == "False\n", done.stderr


def test_another_embedder_takes_over_even_after_an_interruption(tmp_path):
    calls = []

    def counted(texts):
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return np.array([[len(text), 1.0] for text in texts], np.float32)

    lengths = Embedder("lengths", "7", 2, counted)
    with ArrowStorage(tmp_path / "s", LETTERS) as store:
        ids = store.add_many([f"{'x' * i} fox" for i in range(700)])
        store.edit(ids[0], text="a vixen")
    with pytest.raises(KeyboardInterrupt):
        ArrowStorage.reembedded(tmp_path / "s", lengths)
    with pytest.raises(ValueError, match="holds vectors of the embedder lengths"):
        ArrowStorage(tmp_path / "s", LETTERS)
    with ArrowStorage.reembedded(tmp_path / "s", lengths) as store:
        assert calls == [512, 188, 188] and store.stats()["vectors"] == 700
        assert store.search([30.0, 1.0], 1)[0].similarity == pytest.approx(1, abs=1e-3)
        assert store.verify() == [] and store.get(ids[0], 1).vector is None
        store.undo(ids[0])
        assert store.verify() == []


def test_vectors_without_texts_cannot_be_made_again(tmp_path):
    with ArrowStorage(tmp_path / "s") as store:
        id = store.add(vector=vectors(1)[0])
    with pytest.raises(ValueError, match="1 memories have a vector and no text"):
        ArrowStorage.reembedded(tmp_path / "s", LETTERS)
    with ArrowStorage(tmp_path / "s") as store:
        assert store.search(vectors(1)[0])[0].memory.id == id


def test_many_searches_see_what_single_ones_see(tmp_path):
    with ArrowStorage(tmp_path / "s", LETTERS) as store:
        store.add_many(["listen", "tinsel", "a fox"])
        texts = store.search_many(["fox", "silent"], 2)
        assert [[hit.memory.text for hit in one] for one in texts] == [
            [hit.memory.text for hit in store.search(query, 2)] for query in ("fox", "silent")
        ]
        by_vector = store.search_many(letters(["fox", "silent"]), 1)
        assert by_vector[0][0].memory.text == "a fox" and len(by_vector) == 2
