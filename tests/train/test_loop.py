import pytest
import torch

from bowstring.nn.config import NetworkConfig
from bowstring.nn.network import UnifiedScoreNetwork
from bowstring.text.weights import save_model
from bowstring.train.joint.multimodal import multimodal_schedule
from bowstring.train.joint.run import starting_network
from bowstring.train.loop import fit_tasks, logit_normal, scale_gradients
from bowstring.train.schedule import Run, TaskSchedule, moments
from bowstring.weights.format.parquet import WeightsFile
from tests.conftest import build_network


def small():
    torch.manual_seed(0)
    return UnifiedScoreNetwork(NetworkConfig(width=64, depth=1, ffn_hidden=64, rank=16, vocab=64))


def sources(seen):
    def source(name):
        def loss(network, occurrence):
            seen.append((name, occurrence))
            rng = torch.Generator().manual_seed(occurrence)
            tokens = torch.randint(8, 64, (2, 6), generator=rng)
            hidden = network.plain(tokens, torch.ones_like(tokens))
            return network.heads["text"](hidden).float().square().mean()

        return loss

    return {"a": source("a"), "b": source("b")}


def test_each_task_counts_its_own_occurrences_and_stopping_changes_nothing(tmp_path):
    schedule = TaskSchedule(((1.0, ("a", "b", "a")),), steps=8, warm_up=2)
    seen, whole = [], small()
    losses = [loss for _, _, loss in fit_tasks(schedule, whole, sources(seen), Run(tmp_path / "whole"))]
    assert seen == [(n, i) for n, i in zip("abaabaab", (0, 0, 1, 2, 1, 3, 4, 2), strict=True)]
    part, again = small(), small()
    stream = fit_tasks(schedule, part, sources([]), Run(tmp_path / "part", every_seconds=0.0))
    first = [next(stream)[2] for _ in range(5)]  # the fifth is not yet saved
    stream.close()
    rest = [loss for _, _, loss in fit_tasks(schedule, again, sources([]), Run(tmp_path / "part"))]
    assert first[:4] + rest == losses
    for name, value in whole.state_dict().items():
        assert (value == again.state_dict()[name]).all()
    assert WeightsFile(tmp_path / "part" / "checkpoint.parquet").metadata["step"] == 8


def test_a_curriculum_is_mostly_pictures_first_and_everything_in_the_end():
    schedule = multimodal_schedule(1000, fresh=True)
    tasks = [schedule.task_at(moment) for moment in moments(1000, 0)]
    early, late = tasks[:600], tasks[600:]
    assert [early.count(name) for name in ("image", "audio", "text")] == [400, 100, 100]
    shares = {"image": 2 / 9, "audio": 3 / 9, "text": 4 / 9}
    assert all(abs(late.count(name) - 400 * share) <= 1 for name, share in shares.items())
    going_on = multimodal_schedule(90, fresh=False)
    assert [going_on.task_at(moment) for moment in moments(90, 0)].count("image") == 20


def test_a_loud_head_takes_nothing_from_the_trunk():
    network, quiet = small(), small()
    for one, loudness in ((network, 1000.0), (quiet, 1.0)):
        (sources([])["a"](one, 0) + loudness * one.heads["text"].bias.sum()).backward()
        scale_gradients(one.trunk, 2.0)
        found = [p.grad for p in one.trunk.parameters() if p.grad is not None]
        assert torch.nn.utils.get_total_norm(found).item() == pytest.approx(2.0, rel=1e-4)
    for a, b in zip(network.trunk.parameters(), quiet.trunk.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_the_rate_warms_up_stays_and_falls_to_zero():
    schedule = TaskSchedule(((1.0, ("a",)),), steps=100, rate=1.0, warm_up=10, constant=0.5)
    rates = [schedule.rate_at(moment) for moment in moments(100, 0)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[40] == 1.0
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)


def test_times_are_logit_normal_and_stratified():
    t = logit_normal(4096, torch.Generator().manual_seed(0), centre=0.3, width=0.8)
    logit = torch.logit(t)
    assert abs(logit.mean().item() - 0.3) < 0.01
    assert abs(logit.std().item() - 0.8) < 0.01


def test_going_on_keeps_what_was_learned_but_the_face(tmp_path, codec):
    network = build_network(modalities=["text", "image", "audio", "avatar"])
    save_model(tmp_path, network, codec, blocks=[4], context=128)
    begun_again, _, metadata = starting_network(tmp_path)
    assert [*begun_again.heads] == ["text", "image", "audio"]
    assert metadata.blocks == [4]
    assert all(parameter.requires_grad for parameter in begun_again.parameters())
    same = network.trunk.modulation.time.weight.half().float()  # as the file holds it, not damped
    assert (begun_again.trunk.modulation.time.weight == same).all()
