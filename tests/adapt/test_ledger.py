"""The ledger: what was kept comes back to the byte, what was thrown away leaves a reason."""

import dataclasses

import numpy as np
import pytest

from bowstring.adapt.gate import Verdict
from bowstring.adapt.ledger import Ledger, Provenance, threshold_between

BASE = "sha256:" + "0" * 64
BETTER = Verdict(True, "better", 0.12, 0.01, 0.05, 0.01, 0.001, 0.0005)
WORSE = dataclasses.replace(BETTER, kept=False, reason="old domains lost 3.0%", base_loss=0.03)
FROM = Provenance("ab12", 40, 12, 0, "L2", 100, 12.5, 0.01, BASE, "ar")
rng = np.random.default_rng(0)


def around(centre, n=20):
    made = centre + 0.05 * rng.normal(size=(n, len(centre)))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


CENTRES = np.linalg.qr(rng.normal(size=(64, 64)))[0][:20]


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger", BASE) as made:
        yield made


def keep(ledger, i, data=b"bytes", **changes):
    where = dataclasses.replace(FROM, **changes)
    return ledger.keep(f"domain {i}", data, around(CENTRES[i]), 0.8, BETTER, where)


def test_a_kept_adaptation_is_found_by_prompts_like_its_own_and_by_no_others(ledger):
    ids = [keep(ledger, i, b"%d" % i) for i in range(10)]
    for i in range(20):
        for prompt in around(CENTRES[i], 5):
            found = [one.adaptation.id for one in ledger.find(prompt)]
            assert found == ([ids[i]] if i < 10 else [])
    assert ledger.adapter(ids[3]) == b"3"
    shown = ledger.show(ids[3][:8]) if len(ids[3]) > 8 else ledger.show(ids[3])
    assert (shown.domain, shown.verdict, shown.provenance) == ("domain 3", BETTER, FROM)


def test_two_that_fit_are_both_found_the_nearer_first(ledger):
    first, second = keep(ledger, 0), keep(ledger, 1)
    prompt = CENTRES[0] + 0.9 * CENTRES[1]
    ids = [one.adaptation.id for one in ledger.find((prompt / np.linalg.norm(prompt)).astype(np.float32))]
    assert ids == []  # too far from either, at cosines of about .7
    for id in (first, second):
        ledger.undo(id)
    near = [ledger.keep(f"n{i}", b"x", around(CENTRES[i]), 0.5, BETTER, FROM) for i in (0, 1)]
    found = ledger.find((prompt / np.linalg.norm(prompt)).astype(np.float32))
    assert [one.adaptation.id for one in found] == near and found[0].similarity > found[1].similarity


def test_undo_brings_back_what_was_superseded_to_the_byte(ledger):
    first = keep(ledger, 0, b"old bytes")
    second = keep(ledger, 0, b"new bytes", parent=first)
    assert first == second and ledger.adapter(first) == b"new bytes" and len(ledger.list()) == 1
    back = ledger.undo(first)
    assert back is not None and ledger.adapter(first) == b"old bytes"
    assert ledger.undo(first) is None and ledger.list() == []
    assert ledger.find(CENTRES[0].astype(np.float32)) == []


def test_what_was_thrown_away_is_listed_with_its_reason_and_never_found(ledger):
    id = ledger.reject("domain 0", WORSE, FROM)
    again = ledger.reject("domain 0", WORSE, FROM)
    assert ledger.list() == [] and {one.id for one in ledger.list(rejected=True)} == {id, again}
    assert ledger.show(id).verdict.reason == "old domains lost 3.0%"
    with pytest.raises(ValueError, match="only its reason"):
        ledger.adapter(id)
    with pytest.raises(ValueError, match="did not pass the gate"):
        ledger.keep("domain 0", b"x", around(CENTRES[0]), 0.8, WORSE, FROM)


def test_adaptations_of_another_base_are_not_found(tmp_path):
    with Ledger(tmp_path / "one", BASE) as ledger:
        keep(ledger, 0)
    with Ledger(tmp_path / "one", "sha256:" + "1" * 64) as other:
        assert other.find(CENTRES[0].astype(np.float32)) == [] and len(other.list()) == 1


def test_pruning_erases_all_but_the_newest(ledger, tmp_path):
    ids = [keep(ledger, i, b"secret-%d" % i) for i in range(4)]
    ledger.reject("domain 9", WORSE, FROM)
    ledger.prune(2)
    assert [one.id for one in ledger.list(rejected=True)] == ids[:1:-1]
    held = b"".join(path.read_bytes() for path in ledger.folder.rglob("*") if path.is_file())
    assert b"secret-0" not in held and b"secret-3" in held


def test_pruning_counts_each_model_and_refuses_what_is_no_count(tmp_path):
    other = "sha256:" + "1" * 64
    with Ledger(tmp_path / "one", BASE) as ledger:
        ids = [keep(ledger, 0), keep(ledger, 1, base=other)]
        assert not ledger.prune(1) and {one.id for one in ledger.list()} == set(ids)
        with pytest.raises(ValueError, match="keep"):
            ledger.prune(-1)


def test_exported_bytes_are_the_same(ledger, tmp_path):
    id = keep(ledger, 0, b"\x00" * 1000)
    assert ledger.export(id, tmp_path / "a.safetensors").read_bytes() == b"\x00" * 1000


def test_a_threshold_lies_above_what_others_reach():
    own, others = rng.uniform(0.7, 0.9, 200), rng.uniform(0.0, 0.5, 1000)
    found = threshold_between(own, others)
    assert (others >= found).mean() <= 0.01 and (own >= found).mean() >= 0.95
    crowded = threshold_between(rng.uniform(0.3, 0.5, 200), others)
    assert (others >= crowded).mean() <= 0.01
