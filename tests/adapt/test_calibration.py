"""Raw numbers become uncertainty, and the file that says how."""

import json

import numpy as np
import pytest

from bowstring.adapt.uncertainty import UncertaintyEstimator
from bowstring.core.calibration import Calibrator, Gauge, Scale, Subspace, at, fit
from bowstring.text.doubt import Doubtful, Trace, of_sample, of_tokens, spans


def drawn(n, seed):
    rng = np.random.default_rng(seed)
    return [{"entropy": float(rng.gamma(2)), "reading": float(rng.normal())} for _ in range(n)]


def test_three_of_a_hundred_of_the_other_half_are_beyond_the_trigger():
    """Expected .03; four standard errors of both halves' quantile are .0096 at n = 10,000."""
    gauge = fit({8: drawn(10_000, 0)})
    beyond = np.mean([gauge.uncertainty(row, 8) > 1.5 for row in drawn(10_000, 1)])
    assert beyond == pytest.approx(0.03, abs=0.0096)
    middle = np.median([gauge.uncertainty(row, 8) for row in drawn(10_000, 2)])
    assert middle == pytest.approx(1.0, abs=0.02)


def test_uncertainty_is_a_line_through_median_and_trigger():
    scale = Scale(2.0, 4.0)
    assert scale.uncertainty(np.array([2.0, 4.0, 8.0, -9.0])).tolist() == [1.0, 1.5, 2.5, 0.0]


def test_the_reading_counts_as_much_as_all_of_the_making():
    scale = {0: Scale(0.0, 0.5)}
    gauge = Gauge({name: scale for name in ("entropy", "early", "reading")}, scale)
    raw = {"entropy": 1.0, "early": 3.0, "reading": 10.0, "unknown": 99.0}
    assert gauge.mean(raw, 0) == pytest.approx(((2 + 4) / 2 + 11) / 2)


def test_a_step_is_compared_with_the_nearest_one_below():
    scales = {4: Scale(0, 1), 16: Scale(1, 2)}
    assert [at(scales, step) for step in (1, 4, 15, 16, 400)] == [scales[4]] * 3 + [scales[16]] * 2


def test_readings_inside_the_known_directions_are_no_news():
    rng = np.random.default_rng(0)
    known = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 24))
    space = Subspace.fit(known, 3)
    beside = known[0] + 10 * np.linalg.svd(known)[2][-1]
    assert space.residual(known[0]) < -2 and space.residual(beside) == pytest.approx(np.log(10), abs=0.05)


def some_calibrator():
    rng = np.random.default_rng(3)
    gauges = {"text ar": fit({4: drawn(50, 0), 8: drawn(50, 1)}), "image": fit({0: drawn(50, 2)})}
    return Calibrator(gauges, {"text": Subspace.fit(rng.normal(size=(50, 24)), 4)})


def test_a_calibrator_comes_back_from_its_file(tmp_path):
    """Scales to six digits, readings to the bit."""
    made = some_calibrator()
    made.write(tmp_path / "c.json")
    found = Calibrator.read(tmp_path / "c.json")
    reading, raw = np.arange(24.0), {"entropy": 1.3}
    assert found.news("text", reading) == made.news("text", reading)
    for step in (4, 8, 100):
        wanted = made.uncertainty("text ar", raw | made.news("text", reading), step)
        assert found.uncertainty("text ar", raw | found.news("text", reading), step) == pytest.approx(
            wanted, rel=1e-4
        )


def test_without_a_file_nothing_is_known(tmp_path):
    found = Calibrator.read(tmp_path / "none.json")
    assert found.uncertainty("text ar", {"entropy": 1.0}, 4) is None and found.news("text", np.ones(3)) == {}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c.update(format=9),
        lambda c: c.pop("gauges"),
        lambda c: c["gauges"]["image"].update(whole={"0": [2, 1]}),
        lambda c: c["gauges"]["image"].update(whole={}),
        lambda c: c["gauges"]["image"].update(whole={"0": [1, float("inf")]}),
        lambda c: c["gauges"].update(image=[]),
        lambda c: c["readings"]["text"].update(mean="AAB"),
        lambda c: c["readings"]["text"].update(axes="/////////w=="),
        lambda c: c["readings"]["text"].update(axes="AAA="),
    ],
)
def test_a_spoiled_file_is_refused(tmp_path, spoil):
    some_calibrator().write(tmp_path / "c.json")
    found = json.loads((tmp_path / "c.json").read_text())
    spoil(found)
    (tmp_path / "c.json").write_text(json.dumps(found))
    with pytest.raises(ValueError, match="no calibrator"):
        Calibrator.read(tmp_path / "c.json")


def test_learning_begins_beyond_the_threshold():
    class Made:
        uncertainty = 1.6

    asked = UncertaintyEstimator()
    assert asked.estimate(Made()) == 1.6 and asked.should_evolve(1.6) and not asked.should_evolve(1.6, 1.7)
    with pytest.raises(ValueError, match="calibrat"):
        asked.estimate("a text")
    with pytest.raises(ValueError, match="uncertainty is nan"):
        asked.should_evolve(float("nan"))


def test_a_token_without_a_signal_is_judged_by_the_others():
    gauge = fit({0: [{"surprisal": float(i), "early": float(i)} for i in range(101)]})
    known = Calibrator({"text ar": gauge, "text ar token": gauge})
    trace = Trace(np.array([97.0, 50.0]), np.zeros(2), np.array([np.nan, 50.0]))
    assert of_tokens(trace, known, "text ar") == (1.5, 1.0)
    assert of_sample(Trace(*np.zeros((3, 0))), known, "text ar") is None


def test_doubtful_spans_are_characters_also_where_tokens_break_them():
    pieces = [b"e", *(bytes([b]) for b in "é".encode()), b"x"]
    assert spans(pieces, [1.0, 1.0, 1.9, 1.0]) == (Doubtful(1, 2, 1.9),)
