"""The native library as a part of a process: what must hold beside its numbers."""

import multiprocessing
import sys
import warnings

import numpy as np
import pytest

from bowstring import _native
from bowstring.engine import ArrowEngine
from bowstring.weights.quant.arrowquant import ArrowQuant

needs_library = pytest.mark.skipif(_native._find()[0] is None, reason="the library is not built")
X = np.random.default_rng(1).standard_normal((64, 320), np.float32)


def product():
    return ArrowQuant.random((512, 320), 4, np.random.default_rng(0)).matmul(X)


def answer(pipe):
    pipe.send_bytes(product().tobytes())


@needs_library
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_kernels_work_in_a_forked_child():
    """A child has none of its parent's worker threads and must not wait for them."""
    _native.set_threads(2)
    try:
        expected = product()
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=answer, args=(theirs,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: what is tested here
            child.start()
        child.join(20)
        hangs = child.is_alive()
        child.kill()
        assert not hangs and ours.recv_bytes() == expected.tobytes()
        assert (product() == expected).all()
    finally:
        _native.set_threads(0)


def write_tokens(engine, pipe):
    pipe.send(list(engine.generate("a story about a fox", max_tokens=6).tokens))


@needs_library
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_writes_what_its_parent_writes():
    engine = ArrowEngine.load("text-int4")
    expected = list(engine.generate("a story about a fox", max_tokens=6).tokens)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=write_tokens, args=(engine, theirs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    answers = ours.poll(60)
    child.kill()
    assert answers and ours.recv() == expected
