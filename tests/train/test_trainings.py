"""Every training runs on any device, stops and goes on as if it had not, and fits itself into a budget."""

import copy
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from bowstring.core.conditioning import NOTHING
from bowstring.image.autoencoder import ImageAutoencoder
from bowstring.image.sampling import NULL_PROMPT
from bowstring.nn.config import NetworkConfig
from bowstring.speech.postfilter import ASKED, Postfilter
from bowstring.speech.source_filter import HOP
from bowstring.text.tokenizer import TEXT
from bowstring.train import fields, loop
from bowstring.train.checkpoint import restore, save
from bowstring.train.data.corpora import snippet_documents, story_documents
from bowstring.train.face.head import face_loss, face_motion
from bowstring.train.fields import FieldRecipe, fit_fields
from bowstring.train.image.autoencoder import AutoencoderRecipe, fit_autoencoder
from bowstring.train.image.flow import CaptionedPicture
from bowstring.train.joint.multimodal import JointData, multimodal_schedule, multimodal_sources
from bowstring.train.joint.shortcut import SHORTCUT_CYCLE, shortcut_schedule, shortcut_sources
from bowstring.train.loop import fit_tasks, training_steps
from bowstring.train.schedule import Moment, Run, TaskSchedule, logged_shares, moments
from bowstring.train.speech.flow import fit_coder
from bowstring.train.speech.g2p import fit_g2p, g2p_errors
from bowstring.train.speech.postfilter import Pair, fit_postfilter
from bowstring.train.text.loop import Recipe, fit
from bowstring.train.text.packing import Corpus
from bowstring.train.text.qat import QATRecipe, fit_qat
from tests.conftest import build_network
from tests.fake_device import fake_device
from tests.train.test_fields import small as small_fields
from tests.train.test_teacher import utterance

MIX = dict(fields.MIX)
RECIPE = Recipe(
    "test",
    NetworkConfig(width=64, depth=1, ffn_hidden=64, vocab=512, rank=16),
    tokens=4 * 256,
    rows=2,
    length=128,
    warm_up=2,
    ar=0.4,
    joint=0.4,
)


@pytest.fixture
def here():
    with fake_device() as device:
        yield device


@pytest.fixture(scope="module")
def corpus(codec):
    return Corpus.of([*story_documents(20), *snippet_documents(20)], codec)


@pytest.fixture(scope="module")
def joint_data(corpus):
    some = [utterance(seed) for seed in range(4)]
    ways = ([TEXT, 40, 41], [TEXT, 42])
    pictures = [CaptionedPicture(i % 3, i == 0, ways, ways) for i in range(12)]
    latents = torch.randn(12, 64, 64, generator=torch.Generator().manual_seed(0)).half()
    return JointData(corpus, some, fit_coder(some), pictures, latents)


def joint_network(*modalities):
    return build_network(modalities=["text", *modalities], width=64, depth=1, ffn_hidden=64, rank=16)


def text_steps(corpus, run):
    return [(r.ar, r.diffusion) for r, _ in fit(RECIPE, corpus, run)]


def field_steps(run):
    data = {}
    for name, side in MIX:
        if not name.endswith("-details"):
            rng = torch.Generator().manual_seed(side)
            data[f"{name}/{side}/x"] = torch.randn(16, side, side, generator=rng).half()
            data[f"{name}/{side}/u"] = torch.rand(16, generator=rng)
            data[f"{name}/{side}/second"] = torch.zeros(16)
    return [loss for _, _, loss, _, _ in fit_fields(FieldRecipe(steps=3), data, run, small_fields())]


def autoencoder_steps(run):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 128, 128, 3)).astype(np.uint8)
    recipe = AutoencoderRecipe(steps=1, rows=1)
    return [quality for _, quality, _ in fit_autoencoder(recipe, pixels, np.arange(3), run)]


def postfilter_steps(run):
    rng = np.random.default_rng(0)
    size = 160 * HOP
    some = [
        Pair(*(rng.normal(size=shape).astype(np.float32) for shape in (size, (160, ASKED), size)))
        for _ in range(2)
    ]
    torch.manual_seed(0)
    return [loss for _, loss in fit_postfilter(Postfilter(16, 1).to(run.device), some, some, 1, run)]


def qat_steps(corpus, run):
    plan = QATRecipe(4, 2, recipe=RECIPE)
    return [loss for _, loss, _ in fit_qat(joint_network(), corpus, plan, run)]


def joint_steps(data, run, names):
    network = joint_network("image", "audio").to(run.device)
    teacher = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
    sources = multimodal_sources(data, teacher) | shortcut_sources(data, teacher, teacher)
    schedule = TaskSchedule(((1.0, names),), steps=len(names), warm_up=1)
    return [loss for _, _, loss in fit_tasks(schedule, network, sources, run)]


def face_steps(run):
    network = joint_network("audio", "avatar").to(run.device)
    some = [utterance(seed) for seed in range(2)]
    faces = [torch.zeros(-(-len(one.frames) // 8), 40) for one in some]
    voices = [np.zeros(103, np.float32)] * 2
    loss = face_loss(network, some, faces, voices, fit_coder(some), torch.Generator().manual_seed(0))
    loss.backward()
    return [loss.item()]


ONCE = ("image", "audio", "text", "image shortcut", "audio shortcut", "text shortcut")


@pytest.mark.parametrize(
    "steps",
    [
        lambda run, corpus, data: text_steps(corpus, run),
        lambda run, corpus, data: qat_steps(corpus, run),
        lambda run, corpus, data: field_steps(run),
        lambda run, corpus, data: autoencoder_steps(run),
        lambda run, corpus, data: postfilter_steps(run),
        lambda run, corpus, data: joint_steps(data, run, ONCE),
        lambda run, corpus, data: face_steps(run),
    ],
    ids=["text", "qat", "fields", "autoencoder", "postfilter", "joint", "face"],
)
def test_a_training_learns_on_a_device_what_it_learns_on_the_cpu(
    here, steps, corpus, joint_data, tmp_path, monkeypatch
):
    mix = {("phi4", 64): (0.3, 2), ("ising", 64): (0.3, 2), ("phi4-quarter-details", 64): (0.4, 2)}
    monkeypatch.setattr(fields, "MIX", mix)
    monkeypatch.setattr("bowstring.train.speech.postfilter.POSTFILTER_ROWS", 2)
    monkeypatch.setattr("bowstring.train.optim.fast_dtype", lambda: torch.float32)
    # closed forms on the CPU before any step, the same for all devices
    monkeypatch.setattr(fields, "fit_spectra", lambda model, data: None)
    monkeypatch.setattr(ImageAutoencoder, "fit_basis", lambda self, pixels: None)
    ours = steps(Run(tmp_path / "a"), corpus, joint_data)
    theirs = steps(Run(tmp_path / "b", here), corpus, joint_data)
    assert len(ours) == len(theirs) > 0
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, equal_nan=True)


def test_phonemes_are_learned_on_a_device_as_on_the_cpu(here):
    rows = [("fox", "fˈɑks"), ("box", "bˈɑks"), ("ox", "ˈɑks")]
    ours, theirs = fit_g2p(rows, 2), fit_g2p(rows, 2, device=here)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b.cpu(), atol=1e-4, rtol=1e-3)
    assert g2p_errors(ours, rows) == g2p_errors(theirs, rows)


def test_a_training_goes_on_on_another_device(here, corpus, tmp_path, monkeypatch):
    """The checkpoint holds the state of the optimisers, too: without it the next losses would differ."""
    monkeypatch.setattr("bowstring.train.optim.fast_dtype", lambda: torch.float32)
    whole = text_steps(corpus, Run(tmp_path / "whole"))
    for name, devices in (("there", (torch.device("cpu"), here)), ("back", (here, torch.device("cpu")))):
        first = fit(RECIPE, corpus, Run(tmp_path / name, devices[0], every_seconds=0.0))
        begun = [next(first)[0] for _ in range(3)]  # the third is not yet saved
        first.close()
        rest = text_steps(corpus, Run(tmp_path / name, devices[1]))
        made = [(r.ar, r.diffusion) for r in begun[:2]] + rest
        np.testing.assert_allclose(made, whole, rtol=1e-3, equal_nan=True)


def test_every_shortcut_and_replay_is_on_its_schedule():
    schedule = shortcut_schedule(22)
    tasks = [schedule.task_at(moment) for moment in moments(22, 0)]
    assert tasks == [*SHORTCUT_CYCLE] * 2 and set(ONCE) == set(SHORTCUT_CYCLE)
    assert schedule.rate_at(Moment(0, 0.0)) < schedule.rate_at(Moment(10, 0.2))
    assert NULL_PROMPT and NOTHING.cache is None


class Clock:
    """A clock that advances by what a step takes each time it is looked at."""

    def __init__(self, seconds):
        self.now, self.seconds = 0.0, seconds

    def __call__(self):
        self.now += self.seconds
        return self.now - self.seconds


def test_a_budget_is_filled_and_not_overrun():
    """Steps of 1 s fit nine times into 10 s, since each is begun only if there is time for it."""
    clock = Clock(1.0)
    shares = [moment.share for moment in moments(1000, 0, 10.0, (), clock)]
    assert shares == pytest.approx([(i + 1) / 10 for i in range(len(shares))])
    assert 0.8 <= shares[-1] <= 0.9


def test_a_budget_goes_on_from_its_log_alone(tmp_path):
    """What was logged is made again with the same shares; then the clock goes on from there."""
    logged = [0.0, 0.1, 0.25, 0.4]
    made = [*moments(1000, 2, 10.0, logged, Clock(1.0))]
    assert made[:2] == [Moment(2, 0.25), Moment(3, 0.4)]
    assert made[2].share == pytest.approx(0.4 + 0.4 / 3 + 0.1) and made[-1].share < 1
    (tmp_path / "log.jsonl").write_text(
        "".join(json.dumps({"step": i, "share": s}) + "\n" for i, s in [*enumerate(logged), (3, 0.4)])
    )
    assert logged_shares(tmp_path) == logged
    with pytest.raises(ValueError, match="the log has 4 steps, the checkpoint 6"):
        [*moments(1000, 6, 10.0, logged)]


def test_the_schedule_of_a_budget_is_that_of_as_many_steps():
    """Half of a budget is half of the steps, whatever a step takes: same phase, same rate, same stage."""
    recipe = replace(RECIPE, tokens=1000 * 256, warm_up=10)
    counted = [*moments(recipe.steps, 0)]
    for moment in (counted[300], counted[600], counted[900]):
        slow = Moment(moment.step // 7, moment.share)  # a slower machine
        assert recipe.rate_at(slow) == recipe.rate_at(moment)
        assert recipe.phase(slow.share) == recipe.phase(moment.share)
    schedule = multimodal_schedule(900, fresh=True)
    assert {schedule.task_at(Moment(step, 0.3)) for step in range(6)} == {"image", "audio", "text"}
    assert schedule.rate_at(Moment(40, 0.5)) == schedule.rate_at(Moment(450, 0.5))


def test_ctrl_c_ends_the_step_and_saves_it(tmp_path):
    before = signal.getsignal(signal.SIGINT)  # what runs in the background may ignore it
    network = torch.nn.Linear(2, 2)
    optimiser = (torch.optim.AdamW(network.parameters()),)
    done, ended = [], False
    with pytest.raises(KeyboardInterrupt):
        for moment in training_steps(5, Run(tmp_path), network, optimiser):
            if moment.step == 2:
                os.kill(os.getpid(), signal.SIGINT)
            network(torch.ones(1, 2)).sum().backward()
            loop.apply_gradients(optimiser)
            done.append(moment.step)
        ended = True
    assert done == [0, 1, 2] and not ended
    again = torch.nn.Linear(2, 2)
    assert restore(tmp_path, again, (torch.optim.AdamW(again.parameters()),)) == 3
    assert torch.equal(again.weight, network.weight)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_log_says_where_an_interrupted_training_goes_on(tmp_path, capsys):
    run = Run(tmp_path)
    with pytest.raises(KeyboardInterrupt), loop.TrainingLog(run) as log:
        log.add(Moment(6, 0.5), {"loss": 1.0}, "")
        raise KeyboardInterrupt
    assert "stopped after step 7; the same command goes on from there" in capsys.readouterr().err
    with pytest.raises(ValueError, match="holds a finished training"), loop.TrainingLog(run):
        pass


def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(tmp_path, capsys, monkeypatch):
    network, run = torch.nn.Linear(2, 2), Run(tmp_path, every_seconds=0.0)
    writes = iter([None, OSError(28, "No space left on device")])

    def full(*given):
        if (fault := next(writes)) is not None:
            raise fault
        save(*given)

    monkeypatch.setattr(loop, "save", full)
    with pytest.raises(OSError, match="No space left"), loop.TrainingLog(run) as log:
        for moment in training_steps(5, run, network, ()):
            log.add(moment, {}, "")
    assert "the same command goes on from it" in capsys.readouterr().err
    assert restore(tmp_path, network, ()) == 1


def test_a_checkpoint_of_a_finished_training_is_not_written_again(tmp_path):
    network = torch.nn.Linear(2, 2)
    save(tmp_path, network, (), 3)
    before = (tmp_path / "checkpoint.parquet").stat().st_mtime_ns
    assert [*training_steps(3, Run(tmp_path), network, ())] == []
    assert (tmp_path / "checkpoint.parquet").stat().st_mtime_ns == before


def test_faces_of_any_utterance_can_be_learned():
    assert face_motion(utterance(1), 0).shape[1] == 52
