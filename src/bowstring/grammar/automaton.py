"""From an expression to the smallest deterministic automaton over bytes.

Thompson's construction, subsets, then merging of states by what follows them (Moore), which begins with the
shortest way to the end, so that long chains take few rounds. Sizes are limited at every step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .expression import Both, Chain, Choice, GrammarError, Joined, Node, OneByte, Repeat

STATES, WORK = 12_000, 1_500_000
FAR = np.iinfo(np.int32).max // 2


@dataclass(frozen=True, eq=False)
class Automaton:
    """table: the state behind a state and a byte, `(states + 1, 256)`; the last state is where nothing leads
    on. accepting `(states + 1,)`. distance: fewest bytes to an accepting state.
    """

    table: np.ndarray
    accepting: np.ndarray
    distance: np.ndarray
    start: int = 0

    @property
    def dead(self) -> int:
        return len(self.table) - 1

    def state(self, text: bytes, start: int | None = None) -> int:
        """The state behind a text."""
        state = self.start if start is None else start
        for byte in text:
            state = int(self.table[state, byte])
        return state

    def accepts(self, text: bytes) -> bool:
        return bool(self.accepting[self.state(text)])


def compiled(node: Node) -> Automaton:
    """The smallest automaton of an expression.

    Raises:
        GrammarError: it grows beyond the limits, or no text fits.
    """
    table, accepting = subsets(*Network().whole(node))
    distance = bytes_to_end(table, accepting)
    if distance[0] >= FAR:
        raise GrammarError("no text fits the form")
    table, accepting = alive(table, accepting, distance)
    return smallest(table, accepting)


class Network:
    """An automaton with free edges: `free[s]` lists states, `edges[s]` is (set of bytes, state)."""

    def __init__(self) -> None:
        self.free: list[list[int]] = []
        self.edges: list[tuple[int, int] | None] = []

    def new(self) -> int:
        self.free.append([])
        self.edges.append(None)
        return len(self.free) - 1

    def whole(self, node: Node) -> tuple[Network, int, int]:
        start = self.new()
        return self, start, self.add(node, start)

    def add(self, node: Node, start: int) -> int:
        """Puts an expression behind a state; the state behind it."""
        match node:
            case OneByte():
                begin, end = self.new(), self.new()
                self.free[start].append(begin)
                self.edges[begin] = (node.members, end)
                return end
            case Chain():
                for part in node.parts:
                    start = self.add(part, start)
                return start
            case Choice():
                ends = [self.add(part, self._behind(start)) for part in node.parts]
                return self._meet(ends)
            case Repeat():
                return self._repeated(node, start)
            case Joined():
                return self._joined(node, start)
            case Both():
                return self._copied(node, start)
        raise TypeError(type(node))

    def _behind(self, state: int) -> int:
        new = self.new()
        self.free[state].append(new)
        return new

    def _meet(self, states: list[int]) -> int:
        end = self.new()
        for state in states:
            self.free[state].append(end)
        return end

    def _repeated(self, node: Repeat, start: int) -> int:
        for _ in range(node.low):
            start = self.add(node.part, start)
        if node.high is None:
            loop = self._behind(start)
            self.free[self.add(node.part, loop)].append(loop)
            return self._behind(loop)
        ends = [start]
        for _ in range(node.high - node.low):
            start = self.add(node.part, start)
            ends.append(start)
        return self._meet(ends)

    def _joined(self, node: Joined, start: int) -> int:
        """Two lanes: nothing is there yet, something is."""
        nothing: int | None = start
        something = self.new()
        for part, must in node.parts:
            entry = self.new()
            self.free[self.add(node.separator, something)].append(entry)
            if nothing is not None:
                self.free[nothing].append(entry)
            end = self.add(part, entry)
            if must:
                nothing = None
            else:
                self.free[something].append(end)
            something = end
        return something if nothing is None or node.some else self._meet([nothing, something])

    def _copied(self, node: Both, start: int) -> int:
        table, accepting = product(compiled(node.left), compiled(node.right))
        states = [self.new() for _ in table]
        end = self.new()
        self.free[start].append(states[0])
        for state, row in zip(states, table, strict=True):
            targets: dict[int, int] = {}
            for byte, target in row.items():
                targets[target] = targets.get(target, 0) | 1 << byte
            for target, members in targets.items():
                edge = self._behind(state)
                self.edges[edge] = (members, states[target])
        for state, ends in zip(states, accepting, strict=True):
            if ends:
                self.free[state].append(end)
        return end


def product(left: Automaton, right: Automaton) -> tuple[list[dict[int, int]], list[bool]]:
    """Pairs of states that run side by side; rows by byte."""
    pairs = {(left.start, right.start): 0}
    table: list[dict[int, int]] = []
    for a, b in (queue := [(left.start, right.start)]):
        row: dict[int, int] = {}
        both = (left.table[a] != left.dead) & (right.table[b] != right.dead)
        for byte in np.flatnonzero(both).tolist():
            pair = (int(left.table[a, byte]), int(right.table[b, byte]))
            if pair not in pairs:
                pairs[pair] = len(pairs)
                queue.append(pair)
            row[byte] = pairs[pair]
        table.append(row)
        if len(pairs) > STATES // 4:
            raise GrammarError(f"the form needs more than {STATES // 4} states; use smaller bounds")
    return table, [bool(left.accepting[a] and right.accepting[b]) for a, b in pairs]


def classes(sets: list[int]) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Bytes that no set tells apart: the class of each, and the classes of each set."""
    member = np.array([[members >> byte & 1 for byte in range(256)] for members in sets], np.uint8)
    _, first, kind = np.unique(member, axis=1, return_index=True, return_inverse=True)
    kind = kind.reshape(-1)
    return kind, {s: np.flatnonzero(member[i, first]).tolist() for i, s in enumerate(sets)}


def subsets(network: Network, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """A deterministic automaton: table `(states + 1, 256)`, accepting `(states + 1,)`."""
    sets = sorted({edge[0] for edge in network.edges if edge})
    kind, of_set = classes(sets or [0])
    width, work = int(kind.max()) + 1, 0
    closures: dict[int, frozenset[int]] = {}

    def closure(state: int) -> frozenset[int]:
        if state not in closures:
            closures[state] = reached(network, state, end)
        return closures[state]

    numbers = {closure(start): 0}
    rows: list[dict[int, int]] = []
    for subset in (queue := [closure(start)]):
        moves: dict[int, set[int]] = {}
        for state in subset:
            if (edge := network.edges[state]) is not None:
                for one in of_set[edge[0]]:
                    moves.setdefault(one, set()).add(edge[1])
        made: dict[frozenset[int], int] = {}
        row: dict[int, int] = {}
        for one, targets in moves.items():
            if (key := frozenset(targets)) not in made:
                following = frozenset().union(*map(closure, targets))
                work += len(following)
                if following not in numbers:
                    numbers[following] = len(numbers)
                    queue.append(following)
                made[key] = numbers[following]
            row[one] = made[key]
        work += len(subset) + len(row)
        if len(numbers) > STATES or work > WORK:
            raise GrammarError(
                f"the form needs more than {STATES} states, or too much work; use smaller bounds "
                "or a simpler pattern"
            )
        rows.append(row)
    small = np.full((len(rows) + 1, width), len(rows), np.int32)
    for i, row in enumerate(rows):
        small[i, list(row)] = list(row.values())
    accepting = np.array([end in subset for subset in numbers] + [False])
    return small[:, kind], accepting


def reached(network: Network, state: int, end: int) -> frozenset[int]:
    """The states that free edges lead to and that read a byte, or are the end."""
    seen, stack = {state}, [state]
    while stack:
        for target in network.free[stack.pop()]:
            if target not in seen:
                seen.add(target)
                stack.append(target)
    return frozenset(s for s in seen if s == end or network.edges[s] is not None)


def bytes_to_end(table: np.ndarray, accepting: np.ndarray) -> np.ndarray:
    """Fewest bytes from each state to an accepting one; FAR where there is no way."""
    count = len(table)
    pairs = np.unique(np.repeat(np.arange(count), 256) * count + table.ravel())
    source, target = pairs // count, pairs % count
    order = np.argsort(target, kind="stable")
    source, ends = source[order], np.searchsorted(target[order], np.arange(count + 1))
    distance = np.where(accepting, 0, FAR).astype(np.int32)
    frontier, steps = np.flatnonzero(accepting).tolist(), 0
    while frontier:
        steps += 1
        before = {s for t in frontier for s in source[ends[t] : ends[t + 1]].tolist() if distance[s] == FAR}
        frontier = sorted(before)
        distance[frontier] = steps
    return distance


def alive(table: np.ndarray, accepting: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Only states that lead to an end; all others are one."""
    kept = np.flatnonzero(distance < FAR)
    number = np.full(len(table), len(kept), np.int32)
    number[kept] = np.arange(len(kept))
    dead = np.full((1, 256), len(kept), np.int32)
    return np.concatenate([number[table[kept]], dead]), np.append(accepting[kept], False)


def smallest(table: np.ndarray, accepting: np.ndarray) -> Automaton:
    """Merges states that the same texts lead on from."""
    distance = bytes_to_end(table, accepting)
    columns = np.unique(table, axis=1)
    mix = np.random.default_rng(0).integers(1, 2**63, columns.shape[1] + 1, np.uint64) | np.uint64(1)
    scramble = np.random.default_rng(1).integers(1, 2**63, len(table) + 1, np.uint64)
    label = np.unique(distance, return_inverse=True)[1]
    while True:
        keys = (scramble[label][columns] * mix[1:]).sum(1, dtype=np.uint64) + scramble[label] * mix[0]
        _, first, finer = np.unique(keys, return_index=True, return_inverse=True)
        if len(first) == label.max() + 1:
            break
        label = finer
    order = np.argsort(
        first
    )  # in the order of their first states, so that the start stays 0 and dead the last
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    merged = rank[finer.reshape(-1)]
    kept = first[order]
    result = merged[table[kept]].astype(np.int32)
    if not np.array_equal(result[merged], merged[table]):
        raise AssertionError("two different states fell together")
    return Automaton(result, accepting[kept], distance[kept], int(merged[0]))
