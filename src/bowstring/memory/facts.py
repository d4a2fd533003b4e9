"""What may be taken for a fact: everything but what the model has made itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .store import ArrowStorage

MADE = "made"  # the namespace of what the model has made, which is never taken for a fact


def facts(store: ArrowStorage, where: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """A filter that leaves out what the model has made, unless it names a namespace; None where nothing else
    is there.

    Args:
        where: a filter of the store.
    """
    where = dict(where or {})
    if "namespace" in where:
        return where
    names = [name for name in store.stats()["namespaces"] if name != MADE]
    return where | {"namespace": names} if names else None
