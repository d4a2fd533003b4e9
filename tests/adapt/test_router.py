"""The loop on a small model: learned in a process, judged, kept, found again, undone."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from bowstring.adapt import router as routing
from bowstring.adapt.gate import Verdict
from bowstring.adapt.learners import OurLearner
from bowstring.adapt.learning import NOTHING, strayed, trial
from bowstring.adapt.ledger import Provenance
from bowstring.adapt.lesson import Example, split
from bowstring.adapt.levels import LEVELS, NEEDS, level_for
from bowstring.adapt.process import job_of, run
from bowstring.adapt.router import EvolutionRouter
from bowstring.engine import ArrowEngine
from bowstring.text.weights import save_model
from tests.conftest import build_network

WORDS = "red blue green white black yellow brown grey".split()
THINGS = [a + b for a in "ba de fi go ku".split() for b in "lo mi nu pa ra si ta vo".split()]


def lesson():
    """Colours of invented things, each asked in several ways."""
    asked = ("what colour is {}", "colour of {}", "say the colour of {}", "{} is")
    return split(
        Example(form.format(thing), WORDS[i % 8]) for i, thing in enumerate(THINGS) for form in asked
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, codec):
    torch.manual_seed(0)
    network = build_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    place = tmp_path_factory.mktemp("model")
    save_model(place, network.eval(), codec, blocks=[4], context=128)
    return place


def letters(texts):
    """Unit vectors of texts: counts of pairs of letters."""
    made = np.zeros((len(texts), 512), np.float32)
    for row, text in zip(made, texts, strict=True):
        for a, b in itertools.pairwise(text):
            row[(ord(a) * 31 + ord(b)) % 512] += 1
    return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def router(folder, tmp_path, monkeypatch):
    """Learns in this process, which is faster, by so many steps."""
    from bowstring.adapt import learners, process

    monkeypatch.setattr(OurLearner, "steps", 60)
    monkeypatch.setattr(learners, "OLD", 24)
    monkeypatch.setitem(learners.RATES, "L2", 2e-2)
    told = []

    def here(module, job, limit_s, progress=None, cancel=None):
        monkeypatch.setattr(process, "tell", lambda **said: told.append(said))
        run(json.loads(job.read_text()))
        return told[-1]["result"]

    monkeypatch.setattr(routing, "supervised", here)
    made = EvolutionRouter(ArrowEngine.load(folder), tmp_path / "ledger", letters)
    yield made
    made.close()


KEPT = Verdict(True, "better", 0.2, 0.01, 0.1, 0.01, 0.0, 0.0)


def test_levels_rise_with_doubt_examples_and_time():
    assert level_for(1.49, 10**6, 10**6, known=5) is None
    assert [level_for(doubt, 10**6, 10**6, known=0) for doubt in (1.5, 2.0, 3.0, 4.0)] == [
        "L2",
        "L1",
        "L3",
        "L4",
    ]
    assert level_for(9.0, 8, 10, known=2) == "L0" and level_for(9.0, 8, 10, known=0) is None
    for level in LEVELS:
        needs = NEEDS[level]
        assert level_for(9.0, needs.examples, needs.seconds, known=1) == level


@pytest.mark.parametrize("level", ["L1", "L2", "L3", "L4"])
def test_each_level_learns_and_what_it_learned_is_the_file(folder, level, tmp_path, monkeypatch):
    from bowstring.adapt import learners

    monkeypatch.setattr(learners, "OLD", 24)
    learner, some = OurLearner(folder), lesson()
    learner.steps = 40
    learned = learner.learn(some.train, level, 60, 0, lambda said: None)
    before, after = learner.losses(some.held_out), learner.losses(some.held_out, learned)
    assert after.mean() < before.mean() and 0 < learned.share < 1
    place = tmp_path / "a"
    place.mkdir()
    (place / "adapter_model.safetensors").write_bytes(learner.to_bytes(learned, "colours", 0.1))
    again = dataclasses.replace(learned, deltas=learner.deltas(place))
    np.testing.assert_allclose(learner.losses(some.held_out, again), after, rtol=2e-3)
    engine = ArrowEngine.load(folder)
    plain = engine.generate("colour of balo", max_tokens=8)
    name = engine.load_adapter(place, weight=0.0)
    engine.generate("colour of balo", max_tokens=8, adapters={name: 1.0})
    assert engine.generate("colour of balo", max_tokens=8) == plain  # the base is what it was


def kept(router, level="L2"):
    """Puts what was learned of colours into the ledger, as if it had passed the gate."""
    some, learner = lesson(), router.learner
    learned = learner.learn(some.train, level, 5, 0, lambda said: None)
    facts = Provenance("x", 8, 8, 0, level, 1, 1.0, 1.0, router.ledger.base, "diffusion")
    own = letters([one.prompt for one in some.train])
    data = learner.to_bytes(learned, "colours", 0.2)
    return router.ledger.show(router.ledger.keep("colours", data, own, 0.6, KEPT, facts)), learned


def test_what_was_kept_answers_prompts_of_its_domain_until_it_is_undone(router):
    made, learned = kept(router)
    prompt = "what colour is balo"
    assert [one.adaptation.id for one in router.find(prompt)] == [made.id]
    model, found = router.adapted(prompt)
    assert [one.adaptation.id for one in found] == [made.id]
    bent = router.learner.decoder.with_deltas(learned.deltas)
    rows = router.learner.rows(lesson().held_out[:4])
    for row in rows:
        np.testing.assert_allclose(
            router.learner.log_likelihoods(router.get_fused_score(prompt), row),
            router.learner.log_likelihoods(bent, row),
            atol=1e-5,
        )
    assert router.adapted("zzz qqq xxx") == (router.model, [])
    before = router.model.generate(prompt, max_tokens=8)
    assert model.generate(prompt, max_tokens=8).settings["adapters"]
    assert router.ledger.undo(made.id) is None and router.adapted(prompt)[0] is router.model
    assert router.model.generate(prompt, max_tokens=8) == before


def test_a_lesson_whose_words_are_learned_and_not_what_they_are_about_is_thrown_away(router):
    """So small a network learns that a colour comes, and no more."""
    made = router.evolve(lesson(), "colours", level="L2", seconds=5)
    assert not made.kept and "ties nothing to its prompts" in made.verdict.reason
    assert made.verdict.gain > 0.2 and router.ledger.list() == []
    assert router.ledger.list(rejected=True)[0].provenance.lesson == lesson().id


def test_noise_is_thrown_away(router):
    rng = np.random.default_rng(0)
    noise = lambda: "".join(rng.choice([*"abcdefghij "], size=20)) + "x"
    made = router.evolve(split(Example(noise(), noise()) for _ in range(60)), "noise", level="L2", seconds=5)
    assert not made.kept and router.ledger.list() == []
    assert [one.domain for one in router.ledger.list(rejected=True)] == ["noise"]


def test_the_lowest_level_mixes_what_is_there(router, folder):
    with pytest.raises(ValueError, match="nothing to mix"):
        router.evolve(lesson(), "colours", level="L0")
    one, _ = kept(router, "L4")
    made = router.evolve(lesson(), "others", level="L0")
    assert made.provenance.level == "L0"
    assert made.verdict.gain > 0.01  # its weights were fitted on other prompts than these
    assert "ties nothing" in made.verdict.reason  # and no more than what they say on average
    weights = router._weights(router.find("what colour is balo"))
    assert weights == {one.id: 1.0}


def test_answers_astray_stand_behind_prompts_of_other_answers():
    some = [Example("a", "1"), Example("b", "1"), Example("c", "2")]
    assert [(one.prompt, one.answer) for one in strayed(some)] == [("c", "1"), ("c", "1"), ("a", "2")]


def test_a_trial_without_learning_shows_no_gain(folder, monkeypatch):
    from bowstring.adapt import learners

    monkeypatch.setattr(learners, "OLD", 24)
    learner = OurLearner(folder)
    made = trial(learner, lesson(), NOTHING)
    np.testing.assert_array_equal(made.before, made.after)
    np.testing.assert_array_equal(made.base_before, made.base_after)


def test_too_little_doubt_learns_nothing(router):
    with pytest.raises(ValueError, match="call for no learning"):
        router.evolve(lesson(), "colours", uncertainty=1.2)


def test_a_process_learns(folder, tmp_path):
    from bowstring.adapt.worker import supervised

    said = job_of(folder, "colours", "L2", 2.0, 0, lesson(), tmp_path)
    job = tmp_path / "job.json"
    job.write_text(json.dumps(said))
    seen = []
    result = supervised("bowstring.adapt.process", job, 100, seen.append)
    assert {"verdict", "steps", "seconds", "share", "kind"} == set(result)
    assert [one["stage"] for one in seen if "stage" in one] == ["learning", "judging"]
    assert (tmp_path / "adapter.safetensors").exists() == result["verdict"]["kept"]
