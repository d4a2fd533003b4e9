"""Memories in a chat: passages that fit the question stand before it, within a budget of tokens, with ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..memory.facts import facts
from ..memory.record import Hit
from ..memory.store import ArrowStorage
from .tokenizer import ModelTokenizer

HEADING = "What is remembered and may help:"


@dataclass(frozen=True)
class Recall:
    """Where memories come from and how much of a prompt they may take.

    tokens: of all passages together; one that does not fit is left out whole. where: a filter of the store;
    what the model has made itself is left out, unless it names that namespace.
    """

    store: ArrowStorage
    tokens: int = 256
    top_k: int = 5
    where: Mapping[str, Any] | None = None

    def __call__(
        self, messages: Sequence[Mapping[str, Any]], tokenizer: ModelTokenizer
    ) -> tuple[list[Mapping[str, Any]], list[dict[str, Any]]]:
        """The chat with what was found for its last question, and the ids and scores of what was taken."""
        question = next((str(one["content"]) for one in reversed(messages) if one.get("role") == "user"), "")
        taken, lines, left = list[dict[str, Any]](), [HEADING], self.tokens
        for hit in self._hits(question) if question.strip() else ():
            line = f"[{hit.memory.id}] {hit.memory.text}"
            if not hit.memory.text or (cost := len(tokenizer.encode(line))) > left:
                continue
            left -= cost
            lines.append(line)
            taken.append({"id": hit.memory.id, "score": hit.score})
        if not taken:
            return list(messages), []
        before = str(messages[0]["content"]) + "\n\n" if messages[0].get("role") == "system" else ""
        rest = messages[1:] if before else messages
        return [{"role": "system", "content": before + "\n".join(lines)}, *rest], taken

    def _hits(self, question: str) -> Sequence[Hit]:
        where = facts(self.store, self.where)
        return [] if where is None else self.store.search(question, self.top_k, where)
