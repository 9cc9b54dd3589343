"""What correlations count in a window, kept up hit by hit: nothing here looks at the whole window again.

| type | added or removed | asked |
|---|---|---|
| event_count | O(1) | O(1) |
| value_count | O(values of the hit) | O(1) |
| temporal, and with an extended condition | O(1) | O(rules) |
| temporal_ordered | O(rules asked for) | O(rules) |
| value_sum, value_avg | O(1), exact | O(1) |
| value_percentile, value_median | O(log n + block) | O(blocks) |
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Collection, Sequence

from correlate.atoms import number_of
from correlate.bounds import holds, least, within
from correlate.hits import Hit
from correlate.ir import Correlation, Node

_BLOCK = 512  # values kept together; blocks split at twice that
_SCALE = 1074  # every finite double is a whole number of 2**-1074: sums are whole numbers and lose nothing


class Tally:
    """What is counted in one window; the base counts events."""

    __slots__ = ("correlation", "inside", "least", "total", "within")
    replay = False
    """Whether a hit that comes late needs everything counted anew."""

    def __init__(self, correlation: Correlation, inside: Collection[Hit] = ()) -> None:
        """Start empty.

        Args:
            correlation: Whose condition it is.
            inside: The window: its hits, also those that come later; each is in it before it is added.
        """
        self.correlation = correlation
        self.inside = inside
        self.within = within(correlation.conditions)
        self.least = least(correlation.conditions)
        self.total = 0

    def quiet(self, hits: Sequence[Hit]) -> bool:
        """Take in several hits at once, if the condition can hold at none of them; else do nothing."""
        if type(self) is not Tally or self.least is None:
            return False
        total = self.total
        for hit in hits:
            total += hit[3]
        if total >= self.least:
            return False
        self.total = total
        return True

    def add(self, hit: Hit) -> None:
        """A hit enters the window."""
        self.total += hit[3]

    def remove(self, hit: Hit) -> None:
        """A hit leaves the window."""
        self.total -= hit[3]

    def true(self, since: int) -> bool:
        """Whether the condition holds for the window that begins at ``since``."""
        return self.within(self.total)

    def begin(self) -> int | None:
        """Time of the first hit that matters, if not all do."""
        return None


class Values(Tally):
    """Distinct values.

    There are at most as many as there are values. So values are only counted (``total``) while they are too few for
    the condition, and told apart once they are not: most groups never come that far.
    """

    __slots__ = ("apart", "seen")

    def __init__(self, correlation: Correlation, inside: Collection[Hit] = ()) -> None:
        """Start empty."""
        super().__init__(correlation, inside)
        self.seen: dict[object, int] = {}
        self.apart = self.least is None

    @staticmethod
    def _keys(values: tuple[object, ...]) -> Sequence[object]:
        if len(values) == 1:
            value = values[0]
            if isinstance(value, tuple):
                return [one for one in value if one is not None]
            return () if value is None else values
        return () if None in values else (values,)

    def quiet(self, hits: Sequence[Hit]) -> bool:
        """See the base."""
        if self.least is None:
            return False
        if self.apart and 2 * self.total >= self.least:  # as many again must come before values are told apart anew
            return False
        total = self.total
        for hit in hits:
            total += len(self._keys(hit[6]))
        if total >= self.least:
            return False
        self.seen, self.apart, self.total = {}, False, total
        return True

    def add(self, hit: Hit) -> None:
        """See the base."""
        if not self.apart:
            self.apart, self.total = True, 0
            for one in self.inside:
                self._add(one)
        else:
            self._add(hit)

    def _add(self, hit: Hit) -> None:
        seen = self.seen
        for key in self._keys(hit[6]):
            seen[key] = seen.get(key, 0) + 1
            self.total += 1

    def remove(self, hit: Hit) -> None:
        """See the base."""
        keys = self._keys(hit[6])
        self.total -= len(keys)
        if not self.apart:
            return
        seen = self.seen
        for key in keys:
            left = seen[key] - 1
            if left:
                seen[key] = left
            else:
                del seen[key]

    def true(self, since: int) -> bool:
        """See the base; asked only after a hit was added, when values have been told apart."""
        return self.within(len(self.seen))


def _numbers(hit: Hit) -> list[int | float]:
    """The values of a hit that are numbers or spell one."""
    value = hit[6][0]
    if type(value) is int:
        return [value]
    found = [number_of(one) for one in (value if isinstance(value, tuple) else (value,)) if one is not None]
    return [one for one in found if one is not None and math.isfinite(one)]


class Sums(Tally):
    """Sum and mean.

    Adding and taking away doubles would pile up errors; sums of whole numbers do not. They are rounded once, when
    they are asked for.
    """

    __slots__ = ("mean", "scaled", "sum", "weight")

    def __init__(self, correlation: Correlation, inside: Collection[Hit] = ()) -> None:
        """Start empty."""
        super().__init__(correlation, inside)
        self.mean = correlation.type == "value_avg"
        self.weight = 0
        self.sum = 0
        self.scaled = 0

    def _count(self, hit: Hit, weight: int) -> None:
        for number in _numbers(hit):
            self.weight += weight
            if isinstance(number, int):
                self.sum += number * weight
            else:
                top, bottom = number.as_integer_ratio()
                self.scaled += (top << (_SCALE + 1 - bottom.bit_length())) * weight

    def add(self, hit: Hit) -> None:
        """See the base."""
        self._count(hit, hit[3])

    def remove(self, hit: Hit) -> None:
        """See the base."""
        self._count(hit, -hit[3])

    def true(self, since: int) -> bool:
        """See the base."""
        if not self.weight:
            return False
        if not self.scaled:
            return self.within(self.sum / self.weight if self.mean else self.sum)
        total = (self.sum << _SCALE) + self.scaled
        try:
            return self.within(total / ((self.weight if self.mean else 1) << _SCALE))
        except OverflowError:  # more than the largest double: the sum is as good as infinite
            return self.within(math.inf if total > 0 else -math.inf)


class Ranks(Tally):
    """Percentile and median: values in order, in blocks that know their weight."""

    __slots__ = ("blocks", "firsts", "percent", "weight", "weights")

    def __init__(self, correlation: Correlation, inside: Collection[Hit] = ()) -> None:
        """Start empty."""
        super().__init__(correlation, inside)
        self.percent: float = 50 if correlation.type == "value_median" else correlation.percentile or 0
        self.blocks: list[list[tuple[int | float, int]]] = []  # value, weight
        self.firsts: list[tuple[int | float, int]] = []  # first of each block
        self.weights: list[int] = []
        self.weight = 0

    def add(self, hit: Hit) -> None:
        """See the base."""
        weight = hit[3]
        for number in _numbers(hit):
            entry = (number, weight)
            if not self.blocks:
                self.blocks.append([])
                self.weights.append(0)
                self.firsts.append(entry)
            place = max(bisect_left(self.firsts, entry) - 1, 0) if len(self.blocks) > 1 else 0
            block = self.blocks[place]
            insort(block, entry)
            self.firsts[place] = block[0]
            self.weights[place] += weight
            self.weight += weight
            if len(block) > 2 * _BLOCK:
                tail = block[_BLOCK:]
                del block[_BLOCK:]
                self.blocks.insert(place + 1, tail)
                self.firsts.insert(place + 1, tail[0])
                moved = sum(one for _, one in tail)
                self.weights[place] -= moved
                self.weights.insert(place + 1, moved)

    def remove(self, hit: Hit) -> None:
        """See the base."""
        weight = hit[3]
        for number in _numbers(hit):
            entry = (number, weight)
            # Equal entries may begin at the end of the block before the first that begins with one.
            place = max(bisect_left(self.firsts, entry) - 1, 0) if len(self.blocks) > 1 else 0
            at = bisect_left(self.blocks[place], entry)
            if at == len(self.blocks[place]):
                place, at = place + 1, 0
            block = self.blocks[place]
            del block[at]
            self.weights[place] -= weight
            self.weight -= weight
            if block:
                self.firsts[place] = block[0]
            else:
                del self.blocks[place], self.firsts[place], self.weights[place]

    def _at(self, rank: int) -> int | float:
        """The value at a rank from 0, weights counted."""
        for block, weight in zip(self.blocks, self.weights, strict=True):
            if rank < weight:
                if weight == len(block):
                    return block[rank][0]
                for number, one in block:
                    rank -= one
                    if rank < 0:
                        return number
            rank -= weight
        return self.blocks[-1][-1][0]

    def true(self, since: int) -> bool:
        """See the base."""
        if not self.weight:
            return False
        rank, rest = divmod((self.weight - 1) * self.percent, 100)
        low = self._at(int(rank))
        if rest:
            low = (low * (100 - rest) + self._at(int(rank) + 1) * rest) / 100
        return self.within(low)


class Rules(Tally):
    """Which rules were hit."""

    __slots__ = ("extended", "hits")

    def __init__(self, correlation: Correlation, inside: Collection[Hit] = ()) -> None:
        """Start empty."""
        super().__init__(correlation, inside)
        self.extended = correlation.extended
        self.hits = [0] * len(correlation.rules)

    def add(self, hit: Hit) -> None:
        """See the base; ``total`` counts rules that are there."""
        role = hit[1]
        if not self.hits[role]:
            self.total += 1
        self.hits[role] += 1

    def remove(self, hit: Hit) -> None:
        """See the base."""
        role = hit[1]
        self.hits[role] -= 1
        if not self.hits[role]:
            self.total -= 1

    def true(self, since: int) -> bool:
        """See the base."""
        if self.extended is not None:
            return self._extended(self.extended)
        return self.within(self.total)

    def _extended(self, node: Node) -> bool:
        if node[0] == "rule":
            return self.hits[node[1]] > 0
        if node[0] == "not":
            return not self._extended(node[1])
        return (all if node[0] == "and" else any)(self._extended(child) for child in node[1])


class Ordered(Tally):
    """All rules hit in order: the latest start of a chain of the first k rules, for each k."""

    __slots__ = ("starts",)
    replay = True

    def __init__(self, correlation: Correlation, inside: Collection[Hit] = ()) -> None:
        """Start empty."""
        super().__init__(correlation, inside)
        self.starts: list[int | None] = [None] * len(correlation.rules)

    def add(self, hit: Hit) -> None:
        """See the base."""
        role = hit[1]
        if role == 0:
            self.starts[0] = hit[0]
            return
        before, here = self.starts[role - 1], self.starts[role]
        if before is not None and (here is None or before > here):
            self.starts[role] = before

    def remove(self, hit: Hit) -> None:
        """A chain that began with it is too old: ``true`` sees that by its start."""

    def true(self, since: int) -> bool:
        """See the base."""
        start = self.starts[-1]
        return start is not None and start >= since

    def begin(self) -> int | None:
        """See the base."""
        return self.starts[-1]


class Partly(Tally):
    """Some of the rules hit in order: the latest start of a chain of k rules that ends with r, for each k and r."""

    __slots__ = ("best", "chains", "needed")
    replay = True

    def __init__(self, correlation: Correlation, inside: Collection[Hit] = ()) -> None:
        """Start empty."""
        super().__init__(correlation, inside)
        self.needed = needed(correlation)
        self.chains: list[list[int | None]] = [[None] * self.needed for _ in correlation.rules]
        self.best: int | None = None

    def add(self, hit: Hit) -> None:
        """See the base."""
        own = self.chains[hit[1]]
        own[0] = hit[0]
        for length in range(1, self.needed):
            starts = [chain[length - 1] for chain in self.chains[: hit[1]]]
            known = [one for one in (*starts, own[length]) if one is not None]
            own[length] = max(known, default=None)
        last = own[-1]
        if last is not None and (self.best is None or last > self.best):
            self.best = last

    def remove(self, hit: Hit) -> None:
        """See ``Ordered``."""

    def true(self, since: int) -> bool:
        """See the base."""
        return self.best is not None and self.best >= since

    def begin(self) -> int | None:
        """See the base."""
        return self.best


def needed(correlation: Correlation) -> int:
    """How many rules in order a temporal_ordered asks for: the least number that fits its condition."""
    numbers = range(1, len(correlation.rules) + 1)
    return next((one for one in numbers if holds(correlation.conditions, one)), len(correlation.rules))


def tally_of(correlation: Correlation) -> type[Tally]:
    """The kind of tally that a correlation needs."""
    kind = correlation.type
    if kind == "temporal_ordered":
        return Ordered if needed(correlation) >= len(correlation.rules) else Partly
    return {
        "event_count": Tally,
        "value_count": Values,
        "temporal": Rules,
        "value_sum": Sums,
        "value_avg": Sums,
        "value_percentile": Ranks,
        "value_median": Ranks,
    }[kind]
