"""Numbers say their error and their count; files say what they were made with."""

import json
import math

import numpy as np
import pytest
from typer.testing import CliRunner

from bowstring.cli import app
from bowstring.eval import topics
from bowstring.eval.results import (
    FACTS,
    Measured,
    Measurement,
    Setting,
    announce,
    file_name,
    jackknife,
    read_results,
    record,
    tree_of,
    write_result,
)


def toy(setting):
    announce("a toy")
    ratios = {"real": Measured(0.5, 0.1, 20), "tale": Measured(None, n=0)}
    return Measurement({"gap": ratios, "count": 3, "name": "toy"}, missing={"tale": "no tales here"})


def test_a_result_says_what_it_was_made_with_and_mirrors_errors_and_counts():
    result = record("toy", toy, Setting(quick=True))
    assert set(FACTS) == set(result["about"]) and result["about"]["quick"] is True
    assert result["gap"] == {"real": 0.5, "tale": None} and result["count"] == 3
    assert result["se"] == {"gap": {"real": 0.1}} and result["n"] == {"gap": {"real": 20, "tale": 0}}
    assert result["about"]["missing"] == {"tale": "no tales here"}


def test_weights_are_named_by_their_own_hash(tmp_path):
    file = tmp_path / "model" / "network.parquet"
    file.parent.mkdir()
    file.write_bytes(b"one")
    first = record("toy", lambda _: Measurement({}, [file]), Setting())["about"]["weights"]
    file.write_bytes(b"two")
    second = record("toy", lambda _: Measurement({}, [file]), Setting())["about"]["weights"]
    assert [*first] == ["model/network.parquet"] and first != second


def test_a_number_without_a_count_is_refused():
    with pytest.raises(TypeError, match=r"gap\.real is the bare number 0\.5"):
        tree_of({"gap": {"real": 0.5}}, "value")


def test_a_machine_keeps_one_file_of_a_topic(tmp_path):
    result = record("toy", toy, Setting())
    path = write_result(result, tmp_path)
    again = write_result({**result, "count": 4}, tmp_path)
    other = write_result({**result, "about": {**result["about"], "cpu": "Another (R) CPU @ 3 GHz"}}, tmp_path)
    assert path == again == tmp_path / file_name(result) and other.name == "toy-another.json"
    assert sorted(one["count"] for one in read_results(tmp_path, "toy")) == [3, 4]
    assert read_results(tmp_path, "text") == []


def test_a_result_that_does_not_say_what_it_was_made_with_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"does not say .*'commit'"):
        write_result({"about": {"topic": "text", "cpu": "x"}}, tmp_path)
    assert not [*tmp_path.iterdir()]


def test_bench_prints_json_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setitem(topics.TOPICS, "toy", toy)
    done = CliRunner().invoke(app, ["bench", "toy", "--json", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed == json.loads((tmp_path / file_name(printed)).read_text())
    assert "a toy" in done.stderr


def test_the_error_of_a_ratio_is_what_repetition_shows():
    """Sums of noisy numbers over sums of sizes, repeated: the spread is the error that one sample tells."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(50, 150, (2000, 60)).astype(float)
    sums = 2 * sizes + rng.normal(0, 20, sizes.shape)
    ratios = [Measured.ratio(a, b) for a, b in zip(sums, sizes, strict=True)]
    shown = np.std([one.value for one in ratios])
    assert np.mean([one.se for one in ratios]) == pytest.approx(shown, rel=0.06)


def test_pieces_of_one_work_do_not_count_as_many():
    above, below = np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)
    once = Measured.ratio(above, below)
    works = np.array([f"work {i}" for i in range(4)])
    twice = Measured.ratio(np.tile(above, 2), np.tile(below, 2), np.tile(works, 2))
    assert twice.value == once.value and twice.se == pytest.approx(once.se)
    assert Measured.ratio(np.tile(above, 2), np.tile(below, 2)).se < 0.7 * once.se


def test_the_jackknife_of_a_mean_is_the_standard_error():
    values = [1.0, 2.0, 4.0, 8.0, 16.0]
    found = jackknife(lambda rows: float(np.mean(rows)), values)
    assert found.se == pytest.approx(Measured.mean(values).se) and found.n == 5


def test_errors_go_through_functions_and_ratios():
    gap = Measured(0.1, 0.01, 9).mapped(math.expm1, math.exp)
    assert gap.value == pytest.approx(math.expm1(0.1)) and gap.se == pytest.approx(0.01 * math.exp(0.1))
    share = Measured(3.0, 0.3, 4).over(Measured(6.0, 0.0, 8))
    assert (share.value, share.n) == (0.5, 4) and share.se == pytest.approx(0.05)
    assert Measured(None, n=0).over(share).value is None
