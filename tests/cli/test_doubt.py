"""Doubt on the command line."""

import pytest

from bowstring.cli import main
from bowstring.cli.text import doubtful
from bowstring.text.doubt import Doubtful
from bowstring.text.result import TextResult


def test_doubtful_spans_are_coloured_redder_where_doubt_is_larger():
    spans = (Doubtful(2, 5, 1.5), Doubtful(6, 9, 9.0))
    text = doubtful(TextResult("a fox ran", doubtful=spans))
    assert text.plain == "a fox ran"
    assert [(one.start, one.end, one.style) for one in text.spans] == [
        (2, 5, "rgb(255,215,60)"),
        (6, 9, "rgb(255,0,60)"),
    ]


def test_calibrating_without_a_corpus_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["calibrate", "--data", str(tmp_path), "-o", str(tmp_path / "c.json")])
    assert "no corpus" in capsys.readouterr().err and not (tmp_path / "c.json").exists()
