"""Events are the same whether polls that repeat others are decoded or counted."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import sensor.reader
from event.errors import InputError
from sensor.base import Decoder, PduBatch
from sensor.collapse import collapse
from sensor.decoders.modbus import DECODER as MODBUS
from sensor.decoders.s7comm import DECODER as S7COMM
from sensor.pair import FLOW, PairState, pair
from sensor.reader import open_input
from sensor.repeats import COUNT, _carried, choose

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "captures"
OWN = sorted((ROOT / "pcaps").glob("*/*.pcap*"))


def events(path: Path) -> list[pl.DataFrame]:
    tables: list[pl.DataFrame] = []
    try:
        for table in open_input(path).tables():
            tables.append(table)
    except InputError:
        pass
    return tables


def same(path: Path, patch: pytest.MonkeyPatch) -> int:
    with_repeats = events(path)
    with patch.context() as inside:
        inside.setattr(sensor.reader, "choose", lambda *args: None)
        without = events(path)
    assert len(with_repeats) == len(without)
    for one, other in zip(with_repeats, without, strict=True):
        assert_frame_equal(one, other, check_column_order=False)
    return sum(table.height for table in without)


@pytest.mark.parametrize("path", [p for p in OWN if p.suffix in (".pcap", ".pcapng")], ids=lambda p: p.name)
def test_own_captures(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert same(path, monkeypatch) > 0


def test_shared_captures(monkeypatch: pytest.MonkeyPatch) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared captures are not here")
    paths = [p for p in sorted(SHARED.rglob("*.pcap*")) if "modbus" in str(p) or "s7" in str(p)]
    assert sum(same(path, monkeypatch) for path in paths) > 1_000


def modbus(transaction: int, unit: int, body: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body


def s7_read(reference: int, address: int) -> bytes:
    item = bytes.fromhex("120a1002000100018400") + struct.pack(">H", address)
    parameters = b"\x04\x01" + item
    return tpkt(struct.pack(">BBHHHH", 0x32, 1, 0, reference, len(parameters), 0) + parameters)


def s7_answer(reference: int, value: int, code: int = 255) -> bytes:
    data = bytes([code, 4, 0, 8, value])
    return tpkt(struct.pack(">BBHHHHBB", 0x32, 3, 0, reference, 2, len(data), 0, 0) + b"\x04\x01" + data)


def tpkt(s7: bytes, last: bool = True) -> bytes:
    return struct.pack(">BBHBBB", 3, 0, len(s7) + 7, 2, 0xF0, 0x80 if last else 0) + s7


def run(decoder: Decoder, batches: Sequence[PduBatch], *, repeats: bool) -> list[pl.DataFrame]:
    """The way of messages in the reader, without its capture."""
    decode = decoder.new() if decoder.new is not None else decoder.decode
    state = PairState()
    out = []
    for batch in batches:
        chosen = None
        if repeats:
            assert decoder.repeat is not None
            flows = decode.open_flows() if decoder.new is not None else ()  # type: ignore[attr-defined]
            chosen = choose(batch, decoder.repeat, state, batch.flow, flows)
        table = decode(batch if chosen is None else chosen.of(batch, 0, len(chosen.rows)))
        if table.is_empty():
            continue
        rows = table["_pdu"].to_numpy().astype(np.int64)
        pdu = rows if chosen is None else chosen.rows[rows]
        table = table.with_columns(
            pl.Series("_pdu", pdu),
            pl.Series("_flow", batch.flow[pdu]),
            pl.Series("_direction", batch.direction[pdu]),
            pl.Series("_time", batch.timestamp[pdu]),
        )
        if chosen is not None:
            table = table.hstack(chosen.columns(0, rows))
        assert decoder.pair is not None
        table = pair(table, decoder.pair, state)
        if chosen is not None:
            table = table.filter(pl.col(COUNT) > 0)
        out.append(collapse(table, decoder))
    return out


def batch_of(messages: Sequence[tuple[int, int, bytes]], at: int) -> PduBatch:
    length = np.array([len(m) for _, _, m in messages], np.int64)
    n = len(messages)
    return PduBatch(
        data=np.frombuffer(b"".join(m for _, _, m in messages), np.uint8),
        offset=np.cumsum(length) - length,
        length=length,
        flow=np.array([f for f, _, _ in messages], np.int64),
        direction=np.array([d for _, d, _ in messages], np.int64),
        timestamp=(np.arange(n, dtype=np.int64) + at) * 40_000_000_000,
        frame=np.arange(n, dtype=np.int64) + at + 1,
        flags=np.zeros(n, np.int64),
        expected=length.copy(),
    )


def at_once(messages: Sequence[tuple[int, int, bytes]]) -> PduBatch:
    """Messages within one stretch of time."""
    batch = batch_of(messages, 0)
    return replace(batch, timestamp=batch.timestamp // 1_000_000)


def traffic(seed: int, count: int, kind: str) -> list[tuple[int, int, bytes]]:
    """Polls of few kinds: unanswered, answered twice, answered wrongly, numbers used again, broken ones in between."""
    random_ = random.Random(seed)
    open_: list[tuple[int, int, int]] = []
    out: list[tuple[int, int, bytes]] = []
    for _ in range(count):
        flow = random_.choice((3, 3, 9))
        number = random_.randrange(4)
        choice = random_.random()
        if choice < 0.45:
            address = random_.randrange(2)
            open_.append((flow, number, address))
            if kind == "modbus":
                code = random_.choice((1, 3, 3, 3, 6))
                quantity = random_.choice((1, 1, 2, 11)) if code < 5 else 1
                out.append((flow, 0, modbus(number, 1, struct.pack(">BHH", code, address, quantity))))
            else:
                out.append((flow, 0, s7_read(number, address)))
        elif choice < 0.92:
            if open_ and random_.random() < 0.9:
                flow, number, _ = open_[-1] if random_.random() < 0.6 else random_.choice(open_)
            value = random_.choice((5, 5, 5, 6))
            if kind == "modbus":
                some = random_.randbytes(22)
                body = random_.choice(
                    (bytes([3, 2, 0, value]),) * 4
                    + (bytes([3, 2, *some[:2]]), bytes([3, 4, 0, 0, *some[:2]]), bytes([3, 22, *some]))
                    + (bytes([1, 1, value]), bytes([1, 1, some[0]]), bytes([1, 2, *some[:2]]), b"\x83\x02")
                )
                out.append((flow, 1, modbus(number, 1, body)))
            else:
                out.append((flow, 1, s7_answer(number, value, 255 if random_.random() < 0.9 else 10)))
        elif kind == "modbus":
            out.append((9, 0, modbus(number, 1, b"\x03\x00")[: random_.randrange(5, 10)]))
        elif choice < 0.96:
            out.append((9, 0, tpkt(s7_read(number, 0)[7:17], last=False)))
        else:
            out.append((9, 0, tpkt(b"\x32\x01\x00")))
    return out


@pytest.mark.parametrize(("kind", "decoder"), [("modbus", MODBUS), ("s7comm", S7COMM)])
@given(seed=st.integers(0, 1 << 32), cuts=st.lists(st.integers(1, 120), max_size=3))
@settings(max_examples=400, deadline=None)
def test_made_traffic(kind: str, decoder: Decoder, seed: int, cuts: list[int]) -> None:
    messages = traffic(seed, 120, kind)
    bounds = [0, *sorted(set(cuts)), len(messages)]
    batches = [batch_of(messages[a:b], a) for a, b in pairwise(bounds) if b > a]
    counted = run(decoder, batches, repeats=True)
    decoded = run(decoder, batches, repeats=False)
    assert len(counted) == len(decoded)
    for one, other in zip(counted, decoded, strict=True):
        joined = [one, other]
        columns = [c for c in other.columns if c in one.columns]
        missing = [c for c in other.columns if c not in one.columns]
        assert all(other[c].null_count() == other.height for c in missing)
        assert_frame_equal(joined[0].select(columns), joined[1].select(columns), check_dtypes=False)


def test_polls_are_not_decoded() -> None:
    """Of a thousand polls that are the same but for their number, two are decoded."""
    messages = []
    for number in range(500):
        messages.append((1, 0, modbus(number, 1, struct.pack(">BHH", 3, 0, 1))))
        messages.append((1, 1, modbus(number, 1, bytes([3, 2, 0, 7]))))
    batch = at_once(messages)
    assert MODBUS.repeat is not None
    chosen = choose(batch, MODBUS.repeat, PairState(), batch.flow)
    assert chosen is not None
    assert chosen.rows.tolist() == [0, 1]
    assert chosen.facts is not None
    assert chosen.facts[0].tolist() == [500, 500]
    (table,) = run(MODBUS, [batch], repeats=True)
    assert table["event.count"].to_list() == [500, 500]


@pytest.mark.parametrize(
    ("function", "quantity", "answers", "range_"),
    [
        (3, 2, [b"\0\5\0\7", b"\0\1\xff\xfe", b"\0\5\0\7"], (1, 65534)),
        (4, 1, [b"\x80\0", b"\x7f\xff", b"\x80\1"], (0x7FFF, 0x8001)),
        (1, 3, [b"\x07", b"\xff", b"\x0f"], (1, 1)),  # bits beyond the third say nothing
        (2, 10, [b"\0\xfc", b"\0\4", b"\1\0"], (0, 1)),
        (2, 10, [b"\0\xfc", b"\0\4", b"\0\0"], (0, 0)),
    ],
)
def test_polls_whose_values_differ_are_not_decoded(
    function: int, quantity: int, answers: list[bytes], range_: tuple[int, int]
) -> None:
    """Only the range of the values is told of them, and it spans all."""
    messages = []
    for number, answer in enumerate(answers):
        messages.append((1, 0, modbus(number, 1, struct.pack(">BHH", function, 0, quantity))))
        messages.append((1, 1, modbus(number, 1, bytes([function, len(answer)]) + answer)))
    batch = at_once(messages)
    assert MODBUS.repeat is not None
    chosen = choose(batch, MODBUS.repeat, PairState(), batch.flow)
    assert chosen is not None
    assert chosen.rows.tolist() == [0, 1]
    for repeats in (True, False):
        (table,) = run(MODBUS, [batch], repeats=repeats)
        assert table["event.count"].to_list() == [3, 3]
        assert (table["modbus.value_min"][1], table["modbus.value_max"][1]) == range_


def test_requests_that_wait_need_no_kernel_of_another_type() -> None:
    """A read-only array would have the kernel compiled once more, in the middle of a capture."""
    assert MODBUS.repeat is not None
    waiting = pl.DataFrame(
        {FLOW: [7], "modbus.transaction_id": [1], "modbus.unit_id": [2], "modbus.function_code": [3]}
    )
    flows, keys = _carried(MODBUS.repeat, PairState(waiting=waiting), np.array([5, 7]))
    assert (flows.tolist(), keys.tolist()) == ([1], [65536 + 512 + 3])
    assert flows.flags.writeable and keys.flags.writeable
