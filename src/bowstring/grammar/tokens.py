"""From an automaton over bytes to one over a vocabulary's tokens.

Which tokens lead where from a state is found for all tokens at once, level by level of their trie, when the
state is first met. Where the bytes are forced and no token reaches beyond them, the longest token is the only
way: a run of forced text has one spelling, and costs no evaluation.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .automaton import FAR, Automaton
from .expression import GrammarError

KEPT = 2_000_000  # edges that are remembered, 32 MB


class Trie:
    """The tokens of a vocabulary by their bytes. token `(v,)`: the node of each, -1 where it says nothing."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        lengths = np.array([len(token) for token in tokens])
        data = np.frombuffer(b"".join(tokens), np.uint8)
        offsets = np.concatenate([[0], np.cumsum(lengths)])[:-1]
        node = np.zeros(len(tokens), np.int64)
        parents, values, self.levels = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)], [(0, 1)]
        count = 1
        for depth in range(int(lengths.max(initial=0))):
            open_ = np.flatnonzero(lengths > depth)
            keys = node[open_] * 256 + data[offsets[open_] + depth]
            found, number = np.unique(keys, return_inverse=True)
            node[open_] = count + number
            parents.append(found // 256)
            values.append(found % 256)
            self.levels.append((count, count + len(found)))
            count += len(found)
        self.parent, self.byte = np.concatenate(parents), np.concatenate(values)
        self.token = np.where(lengths > 0, node, -1)
        self.speaking = np.flatnonzero(lengths > 0)
        self.first = np.full(count, -1, np.int64)  # a token that ends at a node
        self.first[self.token[self.speaking][::-1]] = self.speaking[::-1]
        keys = self.parent[1:] * 256 + self.byte[1:]
        self.child = dict(zip(keys.tolist(), range(1, count), strict=True))
        self.begins = np.searchsorted(self.parent[1:], np.arange(count + 1)) + 1  # children lie side by side

    def walk(self, automaton: Automaton, state: int) -> np.ndarray:
        """The state at every node, from a state at the root."""
        table, dead = automaton.table.ravel(), automaton.dead
        found = np.full(len(self.parent), dead, np.int64)
        found[0] = state
        for low, high in self.levels[1:]:
            reached = found[self.parent[low:high]]
            if (reached == dead).all():
                break
            found[low:high] = table[reached * 256 + self.byte[low:high]]
        return found


@dataclass(frozen=True, eq=False)
class Edges:
    """The tokens that lead on from a state and where to, `(n,)` each."""

    tokens: np.ndarray
    targets: np.ndarray


class TokenAutomaton:
    """States are the byte automaton's. distance: tokens to an accepting state, by the shortest text.

    Raises:
        GrammarError: no text of these tokens fits.
    """

    def __init__(self, automaton: Automaton, trie: Trie) -> None:
        self.automaton, self.trie = automaton, trie
        self.start, self.accepting = automaton.start, automaton.accepting
        self._edges: dict[int, Edges] = {}
        self._size = 0
        self.forced = self._forced()
        self.distance = self._distances()
        if self.distance[self.start] >= FAR:
            raise GrammarError("no text of this model's tokens fits the form")

    def _forced(self) -> dict[int, tuple[int, int]]:
        """State -> (token, state behind it), where a run of forced bytes begins with one that is certain."""
        live = self.automaton.table != self.automaton.dead
        single = np.where((live.sum(1) == 1) & ~self.accepting, live.argmax(1), -1).tolist()
        found = {}
        for state, byte in enumerate(single):
            node, here, best = 0, state, None
            while byte >= 0 and node >= 0:
                node = self.trie.child.get(node * 256 + byte, -1)
                here = int(self.automaton.table[here, byte])
                byte = single[here]
                if node >= 0 and self.trie.first[node] >= 0:
                    best = (int(self.trie.first[node]), here)
            if node < 0 and best is not None:
                found[state] = best
        return found

    def _distances(self) -> np.ndarray:
        """Fewest tokens along the shortest bytes to an end: each step of it nears the end by one byte."""
        near, table = self.automaton.distance, self.automaton.table
        distance = np.where(self.accepting, 0, FAR).astype(np.int64)
        sources, targets = self._shortest_steps()
        order = np.argsort(near[sources], kind="stable")
        sources, targets = sources[order], targets[order]
        ends = np.searchsorted(near[sources], np.arange(1, int(near[near < FAR].max(initial=0)) + 2))
        for low, high in itertools.pairwise(ends.tolist()):
            np.minimum.at(distance, sources[low:high], distance[targets[low:high]] + 1)
        distance[len(table) - 1] = FAR
        return np.minimum(distance, FAR)

    def _shortest_steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of states that a token joins along a shortest text."""
        near, table, trie = self.automaton.distance, self.automaton.table, self.trie
        origin = np.array([s for s in range(self.automaton.dead) if s not in self.forced], np.int64)
        here, node = origin, np.zeros(len(origin), np.int64)
        pairs = [np.array([(s, target) for s, (_, target) in self.forced.items()], np.int64).reshape(-1, 2)]
        while len(node):
            counts = trie.begins[node + 1] - trie.begins[node]
            within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
            node = np.repeat(trie.begins[node], counts) + within
            before = np.repeat(here, counts)
            here, origin = table[before, trie.byte[node]], np.repeat(origin, counts)
            kept = near[here] == near[before] - 1
            node, here, origin = node[kept], here[kept], origin[kept]
            ends = trie.first[node] >= 0
            pairs.append(np.stack([origin[ends], here[ends]], 1))
        both = np.concatenate(pairs)
        return both[:, 0], both[:, 1]

    def edges(self, state: int) -> Edges:
        """All tokens that lead on from a state."""
        if (found := self._edges.get(state)) is not None:
            return found
        if state in self.forced:
            token, target = self.forced[state]
            found = Edges(np.array([token]), np.array([target]))
        else:
            targets = self.trie.walk(self.automaton, state)[self.trie.token[self.trie.speaking]]
            kept = (targets != self.automaton.dead) & (self.distance[targets] < FAR)
            found = Edges(self.trie.speaking[kept], targets[kept])
        if self._size > KEPT:
            self._edges.clear()
            self._size = 0
        self._size += len(found.tokens)
        self._edges[state] = found
        return found

    def within(self, state: int, room: int) -> Edges:
        """Tokens after which an end is in reach, with `room` tokens left, these included."""
        edges = self.edges(state)
        near = self.distance[edges.targets] < room
        return edges if near.all() else Edges(edges.tokens[near], edges.targets[near])

    def require(self, room: int) -> None:
        """
        Raises:
            GrammarError: the shortest text does not fit.
        """
        if (least := int(self.distance[self.start])) > room:
            raise GrammarError(f"the form needs at least {least} tokens; there is room for {room}")
