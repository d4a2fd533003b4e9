"""A plan does each stage once, in order, within its budget, and goes on where it stopped."""

from dataclasses import replace

import pytest
import torch

from bowstring.train.loop import training_steps
from bowstring.train.plan import Stage, carry_out, chosen, shown, taken, within
from bowstring.train.progress import TrainingLog


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def plan(tmp_path, faults=()):
    """Three stages that take twice their budget, those named in `faults` failing."""
    clock, did = Clock(), []

    def work(name):
        def run(given):
            did.append((name, given.out.name, given.seconds))
            clock.now += 2 * given.seconds
            if name in faults:
                raise KeyboardInterrupt

        return run

    return [Stage(name, i + 1.0, work(name)) for i, name in enumerate("abc")], clock, did


def test_stages_come_in_order_with_their_budgets_and_the_table_says_what_each_took(tmp_path):
    stages, clock, did = plan(tmp_path)
    assert carry_out(stages, tmp_path, clock=clock) == {"a": 2.0, "b": 4.0, "c": 6.0}
    assert did == [("a", "a", 60.0), ("b", "b", 120.0), ("c", "c", 180.0)]


def test_what_was_done_is_skipped_and_what_was_cut_off_is_begun_again(tmp_path):
    stages, clock, did = plan(tmp_path, faults="b")
    with pytest.raises(KeyboardInterrupt):
        carry_out(stages, tmp_path, clock=clock)
    assert taken(tmp_path, "a") == 2.0 and taken(tmp_path, "b") is None
    stages, clock, did = plan(tmp_path)
    assert carry_out(stages, tmp_path, clock=clock)["a"] == 2.0
    assert [name for name, *_ in did] == ["b", "c"]
    assert carry_out(stages, tmp_path, clock=clock) and len(did) == 2
    assert "done in 2.0" in shown(stages, tmp_path)["a"]


def test_a_stage_killed_between_its_last_step_and_its_note_writes_its_result(tmp_path):
    """Its checkpoint says that no step is left; the plan goes on without anything being deleted by hand."""
    killed = True

    def work(run):
        network = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(network.weight)
        with TrainingLog(run) as log:
            for moment in training_steps(3, replace(run, seconds=None), network, ()):
                network.weight.data += 1
                log.add(moment, {}, "")
        if killed:
            raise KeyboardInterrupt
        (run.out / "result").write_text(str(network.weight.item()))

    stages = [Stage("a", 1, work)]
    with pytest.raises(KeyboardInterrupt):
        carry_out(stages, tmp_path)
    assert taken(tmp_path, "a") is None
    killed = False
    carry_out(stages, tmp_path)
    assert taken(tmp_path, "a") is not None and (tmp_path / "a" / "result").read_text() == "3.0"


def test_nothing_begins_where_something_is_missing(tmp_path):
    stages, clock, did = plan(tmp_path)
    stages[2] = Stage(
        "c", 1, stages[2].work, needs=((tmp_path / "speech", "`bowstring data speech` makes it"),)
    )
    with pytest.raises(FileNotFoundError, match="`bowstring data speech` makes it"):
        carry_out(stages, tmp_path, clock=clock)
    assert not did and "makes it" in shown(stages, tmp_path)["c"]
    carry_out(chosen(stages, ["b"]), tmp_path, clock=clock)
    assert [name for name, *_ in did] == ["b"]


def test_a_budget_for_all_is_shared_as_planned(tmp_path):
    stages, *_ = plan(tmp_path)
    assert [one.minutes for one in within(stages, 60)] == [10, 20, 30]
    with pytest.raises(ValueError, match="minutes is 0"):
        within(stages, 0)
    with pytest.raises(ValueError, match="no stage 'd'; expected a, b or c"):
        chosen(stages, ["d"])
