"""The one place where torch is held to one thread: around small work that others would only wait for.

On a machine with other work, a thread that torch waits for may be asleep for many times as long as the work
takes: a picture was decoded in 2 s instead of 0.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch uses one thread inside and as many as before afterwards; decorates functions, but no generators.

    It counts for the calling thread; others that have used torch keep their number. One that first uses torch
    while this block runs begins with one thread: torch offers nothing that would spare it.

    >>> before = torch.get_num_threads()
    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    >>> torch.get_num_threads() == before
    True
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
