"""From an expression to the smallest deterministic automaton over bytes.

Thompson's construction, subsets, then merging of states by what follows them (Moore), which begins with the
shortest way to the end, so that long chains take few rounds. Sizes are limited at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import expression
from .expression import (
    Both,
    Chain,
    Choice,
    Empty,
    Joined,
    Less,
    Loop,
    Node,
    OneByte,
    Repeat,
    Table,
    TooLarge,
)

STATES, WORK = 16_000, 2_000_000
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
    table, accepting, kind = subsets(*Network().whole(node))
    distance = bytes_to_end(table, accepting)
    if distance[0] >= FAR:
        raise Empty("no text fits the form")
    table, accepting = alive(table, accepting, distance)
    return smallest(table, accepting, kind)


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
            case Loop():
                entry = self._behind(start)
                end = self.add(node.part, entry)
                self.free[self.add(node.separator, end)].append(entry)
                return self._behind(end)
            case Joined():
                return self._joined(node, start)
            case Both():
                return self._laid_out(*product(compiled(node.left), compiled(node.right)), start)
            case Less():
                return self._laid_out(*difference(compiled(node.left), compiled(node.right)), start)
            case Table():
                return self._laid_out(node.rows, node.accepting, start)
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
        """Lanes of how many are there already; the last one is that many or more."""
        lanes, last = {0: start}, node.lanes
        for part, must in node.parts:
            entries: dict[int, int] = {}
            for count, state in lanes.items():
                after = min(count + 1, last)
                if node.most is not None and count + 1 > node.most:
                    continue
                if after not in entries:
                    entries[after] = self.new()
                before = self.add(node.separator, state) if count else state
                self.free[before].append(entries[after])
            ends = {count: [self.add(part, entry)] for count, entry in entries.items()}
            if not must:
                for count, state in lanes.items():
                    ends.setdefault(count, []).append(state)
            lanes = {count: self._meet(states) for count, states in ends.items()}
        enough = [state for count, state in lanes.items() if count >= node.least]
        return self._meet(enough)

    def _laid_out(self, rows: Sequence[dict[int, int]], accepting: Sequence[bool], start: int) -> int:
        """An automaton as it is."""
        states = [self.new() for _ in rows]
        end = self.new()
        self.free[start].append(states[0])
        for state, row in zip(states, rows, strict=True):
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


def rows_of(automaton: Automaton) -> tuple[list[dict[int, int]], list[bool]]:
    """States without the dead one, by bytes that lead on."""
    rows = []
    for row in automaton.table[:-1]:
        live = np.flatnonzero(row != automaton.dead)
        rows.append(dict(zip(live.tolist(), row[live].tolist(), strict=True)))
    return rows, automaton.accepting[:-1].tolist()


def settled(node: Node) -> Node:
    """An expression as its smallest automaton.

    Raises:
        GrammarError: no text fits, or it grows beyond the limits.
    """
    return expression.table(*rows_of(compiled(node)))


def difference(left: Automaton, right: Automaton) -> tuple[list[dict[int, int]], list[bool]]:
    """What the left one allows and the right one does not."""
    return beside(left, right, lambda a, b: a, lambda a, b: a and not b)


def product(left: Automaton, right: Automaton) -> tuple[list[dict[int, int]], list[bool]]:
    """What both allow."""
    return beside(left, right, lambda a, b: a & b, lambda a, b: a and b)


def beside(
    left: Automaton,
    right: Automaton,
    leads: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ends: Callable[[bool, bool], bool],
) -> tuple[list[dict[int, int]], list[bool]]:
    """Pairs of states that run side by side, by byte.

    Args:
        leads: where to go on, by where each does. ends: whether a text may end, by whether it may in each.
    """
    pairs = {(left.start, right.start): 0}
    table: list[dict[int, int]] = []
    for a, b in (queue := [(left.start, right.start)]):
        row: dict[int, int] = {}
        live = leads(left.table[a] != left.dead, right.table[b] != right.dead)
        for byte in np.flatnonzero(live).tolist():
            pair = (int(left.table[a, byte]), int(right.table[b, byte]))
            if pair not in pairs:
                pairs[pair] = len(pairs)
                queue.append(pair)
            row[byte] = pairs[pair]
        table.append(row)
        if len(pairs) > STATES // 4:
            raise TooLarge(f"the form needs more than {STATES // 4} states; use smaller bounds")
    return table, [ends(bool(left.accepting[a]), bool(right.accepting[b])) for a, b in pairs]


def classes(sets: list[int]) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Bytes that no set tells apart: the class of each, and the classes of each set."""
    member = np.array([[members >> byte & 1 for byte in range(256)] for members in sets], np.uint8)
    _, first, kind = np.unique(member, axis=1, return_index=True, return_inverse=True)
    kind = kind.reshape(-1)
    return kind, {s: np.flatnonzero(member[i, first]).tolist() for i, s in enumerate(sets)}


def subsets(network: Network, start: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A deterministic automaton: table `(states + 1, classes)`, accepting `(states + 1,)`, and the class of
    each byte.
    """
    sets = sorted({edge[0] for edge in network.edges if edge})
    kind, of_set = classes(sets or [0])
    width, work = int(kind.max()) + 1, 0
    masks = {members: sum(1 << one for one in ones) for members, ones in of_set.items()}
    listed: dict[int, list[int]] = {}
    closures: dict[int, frozenset[int]] = {}

    def closure(state: int) -> frozenset[int]:
        if state not in closures:
            closures[state] = reached(network, state, end)
        return closures[state]

    numbers = {closure(start): 0}
    rows: list[dict[int, int]] = []
    for subset in (queue := [closure(start)]):
        row: dict[int, int] = {}
        for members, targets in parted(network, subset, masks):
            following = frozenset().union(*map(closure, targets))
            work += len(following)
            if following not in numbers:
                numbers[following] = len(numbers)
                queue.append(following)
            if members not in listed:
                listed[members] = [i for i in range(width) if members >> i & 1]
            row |= dict.fromkeys(listed[members], numbers[following])
        work += len(subset) + len(row)
        if len(numbers) > STATES or work > WORK:
            raise TooLarge(
                f"the form needs more than {STATES} states, or too much work; use smaller bounds "
                "or a simpler pattern"
            )
        rows.append(row)
    small = np.full((len(rows) + 1, width), len(rows), np.int32)
    for i, row in enumerate(rows):
        small[i, list(row)] = list(row.values())
    accepting = np.array([end in subset for subset in numbers] + [False])
    return small, accepting, kind


def parted(
    network: Network, subset: frozenset[int], masks: dict[int, int]
) -> list[tuple[int, tuple[int, ...]]]:
    """Classes of bytes, as bits, and the states that they lead to from a subset; no two share a class."""
    parts: list[tuple[int, tuple[int, ...]]] = []
    for state in subset:
        if (edge := network.edges[state]) is None:
            continue
        left, made = masks[edge[0]], []
        for members, targets in parts:
            if common := members & left:
                made.append((common, (*targets, edge[1])))
                left &= ~common
            if rest := members & ~common:
                made.append((rest, targets))
        parts = [*made, (left, (edge[1],))] if left else made
    return parts


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
    pairs = np.unique(table.ravel().astype(np.int64) * count + np.repeat(np.arange(count), table.shape[1]))
    target, source = pairs // count, pairs % count
    ends = np.searchsorted(target, np.arange(count + 1))
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
    dead = np.full((1, table.shape[1]), len(kept), np.int32)
    return np.concatenate([number[table[kept]], dead]), np.append(accepting[kept], False)


def alike(table: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels made finer until states of one label lead to states of one label: the first state of each label,
    and the label of each state.

    States are told apart by sums of random numbers over their columns. They are linear in what a column leads
    to, so that columns with one target are added up once.
    """
    count, width = table.shape
    flat = (table + np.arange(count)[:, None].astype(np.int64) * count).ravel()
    order = np.argsort(flat, kind="stable")
    pairs = flat[order]
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    target, begins = pairs[starts] % count, np.searchsorted(pairs[starts] // count, np.arange(count))
    draw = np.random.default_rng(0)
    mix = draw.integers(1, 2**63, width + 1, np.uint64) | np.uint64(1)
    scramble = draw.integers(1, 2**63, count + 1, np.uint64)
    weight = np.add.reduceat(np.tile(mix[1:], count)[order], starts)
    while True:
        hashed = scramble[label]
        keys = np.add.reduceat(weight * hashed[target], begins) + hashed * mix[0]
        _, first, finer = np.unique(keys, return_index=True, return_inverse=True)
        if len(first) == label.max() + 1:
            return first, finer
        label = finer


def smallest(table: np.ndarray, accepting: np.ndarray, kind: np.ndarray) -> Automaton:
    """Merges states that the same texts lead on from. kind: the column of each byte."""
    distance = bytes_to_end(table, accepting)
    first, finer = alike(table, np.unique(distance, return_inverse=True)[1])
    # In the order of their first states, so that the start stays 0 and the dead one the last.
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    merged = rank[finer.reshape(-1)]
    kept = first[order]
    result = merged[table[kept]].astype(np.int32)
    if not np.array_equal(result[merged], merged[table]):
        raise AssertionError("two different states fell together")
    return Automaton(result[:, kind], accepting[kept], distance[kept], int(merged[0]))
