"""The one loop: `iterate` turns a step into a stream of states.

Everything iterative here (diffusion over reals or tokens, autoregression, MCMC, reasoning) is a `Step` run by
`iterate`. Times run from 1 (noise) to 0 (clean). Shapes: b samples; each has its own time, step count and
halting flag. This module knows nothing of noise processes, networks or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from .options import real, whole
from .rng import Rng

Values = Tensor | Mapping[str, Tensor]
Denoise = Callable[..., Any]  # (x_t, t) -> belief about x_0
Step = Callable[["State", Tensor, Tensor, Rng], "State"]
Halt = Callable[["State"], Tensor]
Project = Callable[[Any], Any]  # values onto a constraint set


@dataclass(frozen=True)
class State:
    """Where b samples are.

    x: `(b, ...)`, or a dict of such, one per modality. t: `(b,)`. steps: `(b,)` taken so far; with the seed
    it decides all randomness. nfe: `(b,)` network evaluations. delta: `(b,)` root mean square change (reals)
    or share of changed positions (tokens) of the last step. energy, uncertainty: `(b,)`, NaN when unknown.
    halted: `(b,)`. carry: what a rule remembers, a tree of dicts, tuples and tensors `(b, ...)`; it is the
    rule's own, so a step made of two keeps one for each.
    """

    x: Values
    t: Tensor
    steps: Tensor
    nfe: Tensor
    delta: Tensor
    energy: Tensor
    uncertainty: Tensor
    halted: Tensor
    carry: Any = None

    @classmethod
    def begin(cls, x: Values, t: float = 1.0, carry: Any = None) -> State:
        """A fresh state at time t."""
        one = next(iter(x.values())) if isinstance(x, Mapping) else x
        whole = torch.zeros(len(one), dtype=torch.int64, device=one.device)
        time = torch.full((len(one),), t, device=one.device)
        unknown, halted = torch.full_like(time, torch.nan), torch.zeros_like(whole, dtype=torch.bool)
        return cls(x, time, whole, whole, unknown, unknown, unknown, halted, carry)

    def advance(self, x: Values, s: Tensor, nfe: int | Tensor = 1, **changes: Any) -> State:
        """The state after a step to time s that took `nfe` network evaluations.

        Energy and uncertainty belonged to the values before it: they are unknown unless they are given.
        """
        unknown = torch.full_like(self.energy, torch.nan)
        known = {"energy": unknown, "uncertainty": unknown} | changes
        return replace(self, x=x, t=s, nfe=self.nfe + nfe, delta=change(self.x, x), **known)

    def moved(self, x: Values) -> State:
        """The same moment with other values, whose energy is unknown."""
        return replace(self, x=x, energy=torch.full_like(self.energy, torch.nan))

    def rows(self, index: Tensor) -> State:
        """The samples at `index`, as a state of their own."""
        return _map(lambda leaf: leaf[index], self)

    def merged(self, index: Tensor, part: State) -> State:
        """This state with the samples at `index` replaced by those of `part`.

        What only `part` remembers is zero for the others, which have halted.
        """
        own = ((f.name, getattr(self, f.name), getattr(part, f.name)) for f in fields(self))
        return State(**{name: _merged(mine, index, theirs, len(self.t)) for name, mine, theirs in own})

    def tensors(self) -> dict[str, Tensor]:
        """The state as a flat dict of tensors, to be saved; `from_tensors` is the way back."""
        flat: dict[str, Tensor] = {}
        _flatten({field.name: getattr(self, field.name) for field in fields(self)}, "", flat)
        return flat

    @classmethod
    def from_tensors(cls, flat: Mapping[str, Tensor]) -> State:
        """Rebuilds a state.

        Raises:
            ValueError: a field is missing or unknown.
        """
        tree = _unflatten(flat)
        known, given = {field.name for field in fields(cls)}, set(tree) | {"carry"}
        if known != given:
            raise ValueError(
                f"a saved state has the fields {sorted(known)}; missing {sorted(known - given)}, unknown "
                f"{sorted(given - known)}"
            )
        return cls(**tree)


def flat(x: Tensor) -> Tensor:
    """A sample a row, `(b, ...) -> (b, n)`; samples of one number, `(b,)`, have n = 1."""
    return x.unsqueeze(1).flatten(1)


def each(values: Tensor, x: Tensor) -> Tensor:
    """One value per sample, `(b,)`, shaped so that it broadcasts over x `(b, ...)`."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def change(before: Values, after: Values) -> Tensor:
    """How far each sample moved: root mean square for reals, share of positions for tokens, `(b,)`."""
    if isinstance(before, Mapping):
        return torch.stack([change(before[name], after[name]) for name in before]).mean(0)  # type: ignore[index]
    if before.is_floating_point():
        return flat(after - before).square().mean(1).sqrt().float()  # type: ignore[operator]
    return flat(after != before).float().mean(1)  # type: ignore[arg-type]


def never(state: State) -> Tensor:
    """Halts nothing."""
    return torch.zeros_like(state.halted)


def budget(nfe: int) -> Halt:
    """Halts a sample that has used its allowance of network evaluations."""
    allowed = whole(nfe, "nfe", 0)
    return lambda state: state.nfe >= allowed


def settled(delta: float) -> Halt:
    """Halts a sample whose last step moved it by at most `delta`."""
    most = real(delta, "delta", 0)
    return lambda state: state.delta <= most


def sure(uncertainty: float) -> Halt:
    """Halts a sample whose uncertainty is at most this; unknown uncertainty never halts."""
    most = real(uncertainty, "uncertainty", 0)
    return lambda state: state.uncertainty <= most


def either(*rules: Halt) -> Halt:
    """Halts when any rule does."""
    return lambda state: torch.stack([rule(state) for rule in rules]).any(0)


def iterate(
    step: Step,
    state: State,
    times: Tensor,
    rng: Rng,
    halt: Halt = never,
    project_final: Project | None = None,
) -> Iterator[State]:
    """Yields the state after each step, until every sample has walked through `times` or has halted.

    A state that came out may be put in again: the loop goes on bit for bit as if it had never stopped,
    because a sample's randomness depends on its number and step count alone. Halted samples cost nothing.

    Args:
        times: `(n + 1,)`, falling.
        project_final: puts every sample that ends, at the last time or because it halts, onto a set.
    """
    times = times.to(state.t.device)
    while len(index := (~state.halted & (state.steps < len(times) - 1)).nonzero().flatten()):
        everyone = len(index) == len(state.t)
        part = state if everyone else state.rows(index)
        at = part.steps
        part = step(part, times[at], times[at + 1], rng.rows(index).at(at))
        part = replace(part, steps=at + 1)
        part = replace(part, halted=halt(part))
        if project_final is not None:
            part = _ended(part, part.halted | (part.steps == len(times) - 1), project_final)
        state = part if everyone else state.merged(index, part)
        yield state


def _ended(state: State, ends: Tensor, project: Project) -> State:
    """The state with the samples that end put onto their set, alone or all at once."""
    if not bool(ends.any()):
        return state
    on_set = project(state.x)
    if bool(ends.all()):
        return state.moved(on_set)
    if isinstance(state.x, Mapping):
        return state.moved({name: _where_rows(ends, on_set[name], x) for name, x in state.x.items()})
    return state.moved(_where_rows(ends, on_set, state.x))


def _where_rows(rows: Tensor, there: Tensor, here: Tensor) -> Tensor:
    return torch.where(each(rows, here), there, here)


def last(states: Iterator[State]) -> State:
    """The final state of a stream.

    Raises:
        ValueError: the stream is empty.
    """
    state = None
    for state in states:  # noqa: B007
        pass
    if state is None:
        raise ValueError("the loop took no step: all samples have halted or have reached the last time")
    return state


def _map(function: Callable[..., Any], *trees: Any) -> Any:
    first = trees[0]
    if isinstance(first, Tensor):
        return function(*trees)
    if isinstance(first, Mapping):
        return {key: _map(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, tuple):
        return tuple(_map(function, *parts) for parts in zip(*trees, strict=True))
    if isinstance(first, State):
        return State(*(_map(function, *(getattr(tree, f.name) for tree in trees)) for f in fields(State)))
    return trees[-1]


def _merged(mine: Any, index: Tensor, theirs: Any, b: int) -> Any:
    """A tree of b samples with the rows at `index` from `theirs`, whose shape it takes."""
    if isinstance(theirs, Tensor):
        whole = mine if isinstance(mine, Tensor) else theirs.new_zeros(b, *theirs.shape[1:])
        return _scatter(whole, index, theirs)
    if isinstance(theirs, Mapping):
        known = mine if isinstance(mine, Mapping) else {}
        return {key: _merged(known.get(key), index, branch, b) for key, branch in theirs.items()}
    if isinstance(theirs, tuple):
        before = mine if isinstance(mine, tuple) else (None,) * len(theirs)
        return tuple(_merged(m, index, branch, b) for m, branch in zip(before, theirs, strict=True))
    return theirs


def _scatter(mine: Tensor, index: Tensor, theirs: Tensor) -> Tensor:
    """Rows replaced; where one side has grown meanwhile (a cache), the other is padded with zeros."""
    shape = [max(a, b) for a, b in zip(mine.shape[1:], theirs.shape[1:], strict=True)]
    out, fresh = mine.new_zeros(len(mine), *shape), theirs.new_zeros(len(theirs), *shape)
    out[tuple(map(slice, mine.shape))] = mine
    fresh[tuple(map(slice, theirs.shape))] = theirs
    out[index] = fresh
    return out


def _flatten(tree: Any, path: str, out: dict[str, Tensor]) -> None:
    if isinstance(tree, Tensor):
        out[path] = tree
    elif isinstance(tree, Mapping | tuple):
        for key, branch in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            _flatten(branch, f"{path}.{key}" if path else str(key), out)
    elif tree is not None:
        raise TypeError(
            f"{path} holds a {type(tree).__name__}; a state is saved as tensors in dicts and tuples"
        )


def _unflatten(flat: Mapping[str, Tensor]) -> Any:
    if "" in flat:
        return flat[""]
    branches: dict[str, dict[str, Tensor]] = {}
    for path, value in flat.items():
        key, _, rest = path.partition(".")
        branches.setdefault(key, {})[rest] = value
    tree = {key: _unflatten(branch) for key, branch in branches.items()}
    return tuple(tree[str(i)] for i in range(len(tree))) if all(key.isdigit() for key in tree) else tree
