import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sensor.reassemble import Reassembler


def test_parts_in_order_make_a_message() -> None:
    parts = Reassembler()
    assert parts.add("a", b"one", first=True, last=False, sequence=63) == (None, [])
    assert parts.add("a", b"two", first=False, last=False, sequence=0) == (None, [])
    assert parts.add("a", b"end", first=False, last=True, sequence=1) == (b"onetwoend", [])
    assert parts.pending == 0


def test_a_single_part_is_a_message() -> None:
    assert Reassembler().add(1, b"x", first=True, last=True, sequence=5) == (b"x", [])


def test_keys_do_not_mix() -> None:
    parts = Reassembler()
    parts.add("a", b"A", first=True, last=False, sequence=0)
    parts.add("b", b"B", first=True, last=False, sequence=0)
    assert parts.add("b", b"b", first=False, last=True, sequence=1)[0] == b"Bb"
    assert parts.add("a", b"a", first=False, last=True, sequence=1)[0] == b"Aa"


def test_a_new_message_breaks_the_one_before() -> None:
    parts = Reassembler()
    parts.add("a", b"old", first=True, last=False, sequence=0)
    message, broken = parts.add("a", b"new", first=True, last=True, sequence=1)
    assert message == b"new"
    assert [(one.reason, one.data) for one in broken] == [("incomplete", b"old")]


def test_a_hole_breaks_the_message_and_the_rest_is_orphaned() -> None:
    parts = Reassembler()
    parts.add("a", b"1", first=True, last=False, sequence=0)
    assert parts.add("a", b"3", first=False, last=False, sequence=2)[1][0].reason == "sequence"
    assert parts.add("a", b"4", first=False, last=True, sequence=3)[1][0].reason == "orphan"
    assert parts.counters == {"sequence": 1, "orphan": 1}


def test_a_repeated_part_is_ignored_and_counted() -> None:
    parts = Reassembler()
    parts.add("a", b"1", first=True, last=False, sequence=0)
    parts.add("a", b"22", first=False, last=False, sequence=1)
    assert parts.add("a", b"22", first=False, last=False, sequence=1) == (None, [])
    assert parts.add("a", b"3", first=False, last=True, sequence=2)[0] == b"1223"
    assert parts.counters == {"duplicate": 1}


def test_a_repeated_number_with_other_bytes_breaks_the_message() -> None:
    parts = Reassembler()
    parts.add("a", b"1", first=True, last=False, sequence=0)
    assert parts.add("a", b"9", first=False, last=False, sequence=0)[1][0].reason == "sequence"


def test_too_long_is_given_up() -> None:
    parts = Reassembler(message_bytes=4)
    assert parts.add("a", b"12345", first=True, last=False, sequence=0)[1][0].reason == "too_long"
    parts.add("a", b"123", first=True, last=False, sequence=0)
    assert parts.add("a", b"45", first=False, last=True, sequence=1)[1][0].reason == "too_long"
    assert parts.pending == 0


def test_the_oldest_gives_way() -> None:
    parts = Reassembler(entries=2)
    for key in "abc":
        last = parts.add(key, key.encode(), first=True, last=False, sequence=0)
    assert [(one.reason, one.data) for one in last[1]] == [("evicted", b"a")]
    assert parts.pending == 2


def test_bytes_are_bounded_over_all_messages() -> None:
    parts = Reassembler(total_bytes=10)
    parts.add("a", b"x" * 6, first=True, last=False)
    assert [one.reason for one in parts.add("b", b"y" * 6, first=True, last=False)[1]] == ["evicted"]
    assert "a" not in parts
    assert "b" in parts


_PART = st.tuples(st.integers(0, 3), st.binary(max_size=40), st.booleans(), st.booleans(), st.integers(0, 63))


@given(st.lists(_PART, max_size=60))
def test_every_byte_comes_back_or_waits_within_bounds(calls: list[tuple[int, bytes, bool, bool, int]]) -> None:
    parts = Reassembler(entries=3, message_bytes=64, total_bytes=100)
    given_in = came_out = 0
    for key, data, first, last, sequence in calls:
        before = dict(parts.counters)
        message, broken = parts.add(key, data, first=first, last=last, sequence=sequence)
        repeated = parts.counters.get("duplicate", 0) - before.get("duplicate", 0)
        refused = bool(broken) and message is None and not first and broken[0].reason in ("sequence", "too_long")
        given_in += 0 if repeated or refused else len(data)
        came_out += len(message or b"") + sum(len(one.data) for one in broken)
        assert parts.pending <= 3
        assert parts._held <= 100
    assert given_in - came_out == parts._held
    for key in parts.keys():  # noqa: SIM118
        assert parts.drop(key)[0].reason == "incomplete"
    assert parts.pending == parts._held == 0


part = st.tuples(st.integers(0, 2), st.booleans(), st.booleans(), st.integers(0, 3), st.binary(max_size=6))


@given(parts=st.lists(part, max_size=30), numbered=st.booleans(), begun=st.booleans(), regular=st.booleans())
def test_join_is_add_at_once(
    parts: list[tuple[int, bool, bool, int, bytes]], numbered: bool, begun: bool, regular: bool
) -> None:
    """What ``join`` puts together is what ``add`` gives part by part, and it leaves alone what it is not sure of."""
    if regular:  # numbers that fit, so that whole messages are not rare
        counts: dict[int, int] = {}
        fitting = []
        for key, first, last, _, data in parts:
            counts[key] = 0 if first else counts.get(key, 0) + 1
            fitting.append((key, first, last, counts[key] % 4, data))
        parts = fitting
    one, other = Reassembler(message_bytes=12, modulus=4), Reassembler(message_bytes=12, modulus=4)
    if begun:
        for reassembler in (one, other):
            reassembler.add(1, b"begun", first=True, last=False, sequence=0 if numbered else None)
    data = np.frombuffer(b"".join(p[4] for p in parts), np.uint8).copy()
    length = np.array([len(p[4]) for p in parts], np.int64)

    def column(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(values, np.int64)

    joined = one.join(
        [0, 1, 2],
        column([p[0] for p in parts]),
        data,
        column([p[1] if numbered else -1 for p in parts]),
        column([p[2] for p in parts]),
        column([p[3] if numbered else -1 for p in parts]),
        np.cumsum(length) - length,
        length,
    )
    got = {
        int(i): joined.octets[start : start + size].tobytes()
        for i, start, size in zip(joined.part, joined.start, joined.length, strict=True)
    }
    wanted = {}
    for i, (key, first, last, number, octets) in enumerate(parts):
        counted = number if numbered else None
        begins = first if numbered else key not in other
        message, broken = other.add(key, octets, first=begins, last=last, sequence=counted)
        if joined.left[i]:
            begins = first if numbered else key not in one
            assert one.add(key, octets, first=begins, last=last, sequence=counted) == (message, broken)
        else:
            assert not broken
            if message is not None:
                wanted[i] = message
    assert got == wanted
    assert (one.keys(), one.counters) == (other.keys(), other.counters)


def test_a_message_that_goes_on_later_keeps_no_other_from_being_joined() -> None:
    parts = Reassembler()
    parts.add("a", b"early ", first=True, last=False)
    data = np.frombuffer(b"endonetwolate", np.uint8).copy()
    length = np.array([3, 3, 3, 4], np.int64)
    unknown = np.full(4, -1, np.int64)
    last = np.array([1, 0, 1, 0], np.int64)
    joined = parts.join(["a"], np.zeros(4, np.int64), data, unknown, last, unknown, np.cumsum(length) - length, length)
    assert (joined.part.tolist(), joined.octets.tobytes()) == ([2], b"onetwo")
    assert joined.left.tolist() == [True, False, False, True]
