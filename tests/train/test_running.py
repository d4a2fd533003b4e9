"""Only functions that do what their checks say are learned from, whatever the others do."""

import random

import pytest
from typer.testing import CliRunner

from bowstring.cli.common import app
from bowstring.train.data.corpora import Document, load_corpus, save_corpus
from bowstring.train.data.running import verdicts
from bowstring.train.data.snippets import snippet

RIGHT = ("import math\n\ndef area(r):\n    return math.pi * r**2\n", "round(area(1), 2) == 3.14")
DEAF = """
def f():
    while True:
        try:
            f()
        except BaseException:
            pass
"""
WRONG = {
    "another answer": ("def f(x):\n    return x\n", "f(1) == 2"),
    "true but not True": ("def f(x):\n    return x\n", "f(1)"),
    "an error": ("def f(x):\n    return x / 0\n", "f(1) == 2"),
    "no Python": ("def f(x) return\n", "True"),
    "endless": ("def f():\n    while True:\n        pass\n", "f() is None"),
    "endless and deaf": (DEAF, "f()"),
    "too much memory": ("def f():\n    return len(bytearray(1 << 34)) > 0\n", "f()"),
    "leaves": ("import sys\n\ndef f():\n    sys.exit(0)\n", "f()"),
    "reads files": ("def f():\n    return bool(open('/etc/passwd').read())\n", "f()"),
    "writes files": ("def f():\n    open('x', 'w').write('x')\n    return True\n", "f()"),
    "other processes": ("import os\n\ndef f():\n    return os.system('true') == 0\n", "f()"),
    "network": ("import socket\n\ndef f():\n    return bool(socket.socket())\n", "f()"),
    "kills its process": ("import os\n\ndef f():\n    os._exit(0)\n", "f()"),
    "prints an answer": ("print(1)\n\ndef f():\n    return False\n", "f()"),
}


@pytest.fixture(scope="module")
def found():
    """All of them between right ones, in one go."""
    cases = [case for wrong in WRONG.values() for case in (RIGHT, wrong)]
    return verdicts([*cases, RIGHT], 0.2)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_function_fails_and_takes_no_other_along(found, name):
    at = 2 * [*WRONG].index(name)
    assert found[at : at + 3] == [True, False, True]


def test_functions_of_the_grammar_pass():
    made = [snippet(random.Random(i)) for i in range(60)]
    assert all(verdicts([(one.source, one.check) for one in made]))


def test_the_command_drops_what_fails_and_keeps_what_has_no_check(tmp_path):
    documents = [
        Document("code", "train", "snippet", ("area",), RIGHT[0], complete=True, check=RIGHT[1]),
        Document(
            "code", "train", "snippet", ("f",), "def f(x):\n    return x\n", complete=True, check="f(1) == 2"
        ),
        Document("code", "train", "function", ("g",), "def g(x):\n    return x\n", complete=True),
    ]
    save_corpus(tmp_path / "code.jsonl.gz", documents)
    made = CliRunner().invoke(app, ["data", "checked", "--out", str(tmp_path)], catch_exceptions=False)
    assert load_corpus(tmp_path / "code.jsonl.gz") == [documents[0], documents[2]]
    for line in ("snippet: passed", "snippet: failed", "function: without a check"):
        assert line in made.stdout
    with pytest.raises(FileNotFoundError, match="bowstring data code"):
        CliRunner().invoke(app, ["data", "checked", "--out", str(tmp_path / "none")], catch_exceptions=False)
