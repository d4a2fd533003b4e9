"""Training stops anywhere and goes on as if it had not; the losses are what their names say."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bowstring.nn.config import NetworkConfig
from bowstring.text.tokenizer import MASK, PAD
from bowstring.train.data.corpora import snippet_documents, story_documents
from bowstring.train.schedule import Run, moments
from bowstring.train.text.loop import Recipe, fit, run_text, share_past
from bowstring.train.text.losses import blocks_of, draw_noise, joint_loss, recall_loss
from bowstring.train.text.packing import Corpus
from bowstring.train.text.recipes import RECIPES
from bowstring.train.text.run import train_text

SMALL = NetworkConfig(width=64, depth=1, ffn_hidden=64, vocab=512, rank=16)
RECIPE = Recipe("test", SMALL, tokens=10 * 512, rows=4, length=128, warm_up=2, ar=0.4, joint=0.4)


@pytest.fixture(scope="module")
def corpus(codec):
    return Corpus.of([*story_documents(40), *snippet_documents(40)], codec)


def curve(folder, corpus, recipe=RECIPE, stop=None):
    out = []
    for report, _ in fit(recipe, corpus, Run(folder, every_seconds=0.0)):
        out.append((report.moment.step, report.phase, report.ar, report.diffusion))
        if report.moment.step == stop:
            break
    return out


def test_a_resumed_training_has_the_curve_of_an_uninterrupted_one(corpus, tmp_path):
    whole = curve(tmp_path / "a", corpus)
    first = curve(tmp_path / "b", corpus, stop=5)
    second = curve(tmp_path / "b", corpus)
    assert second[0][0] == 5  # the step that was yielded but not yet saved is done again
    np.testing.assert_array_equal([row[2:] for row in first[:5] + second], [row[2:] for row in whole])
    assert [row[1] for row in whole] == ["ar"] * 4 + ["joint"] * 4 + ["cool"] * 2


def test_a_baseline_never_leaves_the_next_token(corpus, tmp_path):
    rows = curve(tmp_path, corpus, replace(RECIPE, baseline=True))
    assert {row[1] for row in rows} == {"ar"} and all(math.isnan(row[3]) for row in rows)


def test_a_baseline_takes_over_the_steps_that_its_rival_made_the_same_way(corpus, tmp_path):
    rival, whole = tmp_path / "test", curve(tmp_path / "whole", corpus, replace(RECIPE, baseline=True))
    own = replace(RECIPE, name="test-baseline", baseline=True)
    beside = Run(tmp_path / own.name)
    assert not share_past(own, beside)  # nothing is there
    run_text(RECIPE, corpus, Run(rival))
    assert not share_past(own, replace(beside, seconds=60.0))  # a clock decides what is learned when
    assert share_past(own, beside)
    assert not share_past(own, beside)  # it has begun
    rest = curve(tmp_path / own.name, corpus, own)
    assert [row[:3] for row in rest] == [row[:3] for row in whole[RECIPE.causal_steps :]]


def test_the_rate_warms_up_stays_and_falls_to_zero():
    recipe = Recipe(tokens=4096 * 1000)
    rates = [recipe.rate_at(moment) for moment in moments(recipe.steps, 0)]
    assert rates[0] < rates[100] < rates[300] == recipe.rate
    assert rates[999] < 0.01 * recipe.rate


def some_rows(corpus):
    return corpus.epoch(0, 0, 128, {"story": 1.0, "snippet": 1.0}, 0.2, 0.2)[:6]


@pytest.mark.parametrize("size", [4, 16, 1 << 20])
def test_noise_masks_whole_counts_and_weighs_them(corpus, size):
    """In every block k of n tokens are masked with weight n / k, and prompts are left alone."""
    rows = some_rows(corpus)
    block = blocks_of(rows, size)
    noise = draw_noise(rows, block, torch.Generator().manual_seed(0), heaviest=math.inf)
    doc, gap = torch.from_numpy(rows.doc), torch.from_numpy(rows.gap).bool()
    for r in range(len(rows)):
        for d in range(1, int(doc[r].max()) + 1):
            here = doc[r] == d
            can = here & gap[r] if (here & gap[r]).any() else here & torch.from_numpy(rows.offset[r] >= 0)
            assert not noise.masked[r, here & ~can].any()
            for b in block[r, can].unique():
                own = can & (block[r] == b)
                n, k = own.sum().item(), (own & noise.masked[r]).sum().item()
                assert k >= 1
                torch.testing.assert_close(noise.weight[r, own], torch.full((n,), n / k))


def test_the_joint_loss_reads_no_token_that_it_predicts(corpus, network):
    """Changing a masked token changes its loss, but not what was predicted for the others."""
    rows = some_rows(corpus)
    rng = lambda: torch.Generator().manual_seed(3)
    noise = draw_noise(rows, blocks_of(rows, 1 << 20), rng())
    with torch.no_grad():
        ar, diffusion = joint_loss(network, rows, 1 << 20, rng())
    assert math.isfinite(ar.item()) and math.isfinite(diffusion.item())
    place = tuple(noise.masked.nonzero()[-1].tolist())
    hidden = []
    for token in (9, 10):
        clean = torch.from_numpy(rows.tokens).clone()
        clean[place] = token
        noisy = torch.where(noise.masked, MASK, clean)
        with torch.no_grad():
            hidden.append(network.pair(noisy, clean, torch.from_numpy(rows.doc), blocks_of(rows, 1 << 20))[0])
    torch.testing.assert_close(hidden[0][noise.masked], hidden[1][noise.masked])


def test_recalling_costs_nothing_while_nothing_was_forgotten(corpus, network):
    """Against itself a network has gone nowhere; against one that knows nothing, as far as its own entropy
    says.
    """
    rows, rng = some_rows(corpus), lambda: torch.Generator().manual_seed(3)
    uniform = copy.deepcopy(network)
    for parameter in uniform.heads["text"].parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        same = recall_loss(network, network, rows, 4, rng())
        far = recall_loss(uniform, network, rows, 4, rng())
        doc, chosen = torch.from_numpy(rows.doc), torch.from_numpy(rows.predict)[:, 1:]
        hidden = network.plain(torch.from_numpy(rows.tokens), doc)[:, :-1][chosen]
        foretold = torch.distributions.Categorical(logits=network.heads["text"](hidden))
    torch.testing.assert_close(torch.stack(same), torch.zeros(2), atol=1e-6, rtol=0)
    expected = math.log(network.config.vocab) - foretold.entropy().mean()
    torch.testing.assert_close(far[0], expected, rtol=1e-4, atol=1e-4)


def test_rows_hold_whole_documents_with_their_pads(corpus):
    rows = some_rows(corpus)
    for tokens, doc, offset, gap in zip(rows.tokens, rows.doc, rows.offset, rows.gap, strict=True):
        for d in range(1, doc.max() + 1):
            own = offset[doc == d]
            body = own[own >= 0]
            assert (body == np.arange(len(body))).all()
            if len(body) and not gap[doc == d].any():
                assert len(body) % 16 == 0
        assert (tokens[doc == 0] == PAD).all()


def test_a_recipe_of_the_command_line_writes_a_model(tmp_path, monkeypatch):
    from bowstring.engine import ArrowEngine
    from bowstring.train.data.corpora import build_corpus

    monkeypatch.setattr("bowstring.train.data.corpora.STORIES", 60)
    monkeypatch.setattr("bowstring.train.data.corpora.SNIPPETS", 60)
    monkeypatch.setattr("bowstring.train.data.corpora.story_documents", lambda: story_documents(60))
    monkeypatch.setattr("bowstring.train.data.corpora.snippet_documents", lambda: snippet_documents(60))
    monkeypatch.setattr("bowstring.train.data.corpora.modules", lambda _: iter(()))
    for kind in ("text", "code"):
        build_corpus(kind, tmp_path / "data")
    monkeypatch.setitem(RECIPES, "test", lambda: RECIPE)
    train_text("test", tmp_path / "data", Run(tmp_path / "out"))
    engine = ArrowEngine.load(tmp_path / "out" / "model")
    assert engine.generate("a fox", max_tokens=8).nfe > 0
    with pytest.raises(ValueError, match="finished training"):
        train_text("test", tmp_path / "data", Run(tmp_path / "out"))


def test_training_without_data_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="bowstring data text"):
        train_text("tiny", tmp_path, Run(tmp_path))
