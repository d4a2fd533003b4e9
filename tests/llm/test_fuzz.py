"""Two thousand mutations of each kind of file are refused or read, in time and within memory."""

import pytest

from .fuzzing import Found, attempt, kinds, tried
from .gguf_files import gguf, small_llama

KINDS = kinds(gguf(*small_llama("Q4_0"))[:14_000])


@pytest.mark.parametrize("kind", KINDS)
def test_mutations_are_refused_or_harmless(kind):
    found = tried(KINDS[kind], 2000)
    assert found.faults == [] and found.tried == 2000 and 200 < found.refused


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_fifty_thousand_mutations_are_refused_or_harmless(kind):
    assert tried(KINDS[kind], 50_000, seed=1, watch=200).faults == []


def test_what_is_a_fault_is_seen(tmp_path):
    """An error of another kind, and memory without need."""
    (tmp_path / "file").write_bytes(b"x")

    def wrong(path):
        raise KeyError("x")

    for read, sentence in ((wrong, "KeyError"), (lambda path: bytearray(9 << 20), "9437")):
        found = Found()
        attempt(found, read, tmp_path / "file", 0, 1, watched=True)
        assert sentence in found.faults[0]
