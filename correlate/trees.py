"""Conditions over numbers of atoms: simplified where some are known, and indexed by what must hold.

A tree is a number (that atom holds) or ``("and" | "or", [tree, ...])`` or ``("not", tree)``; simplified ones may also
be True or False.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Any

from correlate.ir import Node

Shape = Any
"""See the module."""

Witness = frozenset[int] | None


def shape(node: Node, number: Callable[[str | None, str, Any], int | bool]) -> Shape:
    """A condition (``correlate.ir``) with numbers for its atoms, or whether they hold."""
    kind = node[0]
    if kind == "atom":
        return number(node[1], node[2], node[3])
    if kind == "not":
        return ["not", shape(node[1], number)]
    return [kind, [shape(child, number) for child in node[1]]]


def leaves(tree: Shape) -> Iterator[int]:
    """Numbers of all atoms."""
    if isinstance(tree, bool):
        return
    if isinstance(tree, int):
        yield tree
    elif tree[0] == "not":
        yield from leaves(tree[1])
    else:
        for child in tree[1]:
            yield from leaves(child)


def simplify(tree: Shape, known: Mapping[int, bool]) -> Shape:
    """The tree once some atoms are known; True or False if that decides it."""
    if isinstance(tree, bool):
        return tree
    if isinstance(tree, int):
        return known.get(tree, tree)
    if tree[0] == "not":
        below = simplify(tree[1], known)
        return not below if isinstance(below, bool) else ["not", below]
    decides = tree[0] == "or"
    kept = []
    for child in tree[1]:
        one = simplify(child, known)
        if one is decides:
            return decides
        if isinstance(one, list) and one[0] == tree[0]:
            kept.extend(one[1])
        elif not isinstance(one, bool):
            kept.append(one)
    if not kept:
        return not decides
    return kept[0] if len(kept) == 1 else [tree[0], kept]


class Tree:
    """A tree to evaluate by set membership."""

    __slots__ = ("children", "kind", "leaves")

    def __init__(self, tree: Shape) -> None:
        """Take over a tree that is neither True nor False."""
        if isinstance(tree, int):
            self.kind, self.leaves, self.children = "and", frozenset({tree}), ()
        elif tree[0] == "not":
            self.kind, self.leaves, self.children = "not", frozenset(), (Tree(tree[1]),)
        else:
            self.kind = tree[0]
            self.leaves = frozenset(child for child in tree[1] if isinstance(child, int))
            self.children = tuple(Tree(child) for child in tree[1] if not isinstance(child, int))

    leaves: frozenset[int]
    children: tuple[Tree, ...]
    kind: str

    def holds(self, true: frozenset[int] | set[int]) -> bool:
        """Whether the condition holds where exactly these atoms do."""
        if self.kind == "or":
            return not self.leaves.isdisjoint(true) or any(child.holds(true) for child in self.children)
        if self.kind == "and":
            return self.leaves <= true and all(child.holds(true) for child in self.children)
        return not self.children[0].holds(true)

    def witnesses(self, cost: Callable[[int], float | None]) -> Witness:
        """Atoms of which at least one holds whenever the tree does, cheaply chosen; None if there are none.

        Args:
            cost: What an atom costs as a witness; None: it cannot be one.
        """
        return self._cheapest(cost)[0]

    def _cheapest(self, cost: Callable[[int], float | None]) -> tuple[Witness, float]:
        if self.kind == "not":
            return None, 0.0
        best: Witness = None
        least, total = inf, 0.0
        either = self.kind == "or"
        for leaf in self.leaves:
            price = cost(leaf)
            if price is None:
                if either:
                    return None, 0.0
            elif either:
                total += price
            elif price < least:
                best, least = frozenset({leaf}), price
        parts = [self.leaves]
        for child in self.children:
            one, price = child._cheapest(cost)
            if either:
                if one is None:
                    return None, 0.0
                parts.append(one)
                total += price
            elif one is not None and price < least:
                best, least = one, price
        if either:
            return frozenset().union(*parts), total
        return (None, 0.0) if best is None else (best, least)


def index(
    trees: Sequence[tuple[int, Tree]], cost: Callable[[int], float | None]
) -> tuple[dict[int, list[int]], list[int]]:
    """Witness to the numbers of the trees that it may mean; and those without witnesses."""
    by_witness: dict[int, list[int]] = {}
    always: list[int] = []
    for number, tree in trees:
        witnesses = tree.witnesses(cost)
        if witnesses is None:
            always.append(number)
            continue
        for atom in witnesses:
            by_witness.setdefault(atom, []).append(number)
    return by_witness, always


__all__ = ["Shape", "Tree", "index", "leaves", "shape", "simplify"]
