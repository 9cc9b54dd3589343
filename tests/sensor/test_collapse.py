"""Polls become one event; what matters stays as it came, and no message is lost from the counts."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor.base import Decoder, batch_of
from sensor.collapse import collapse
from sensor.decoders import modbus

SECOND = 10**9
DECODER = Decoder(
    name="modbus",
    decode=modbus.decode,
    fields=frozenset(),
    anomalies={},
    keys=("function", "address"),
    verbatim=pl.col("writes"),
)


def table(*rows: tuple[int, int, int, int | None, int | None, bool]) -> pl.DataFrame:
    """Rows of (flow, direction, function, address, value, writes), a second apart."""
    names = ("_flow", "_direction", "function", "address", "modbus.value_min")
    schema = {**dict.fromkeys(names, pl.Int64), "writes": pl.Boolean}
    frame = pl.DataFrame(list(rows), schema=schema, orient="row")
    return frame.with_columns(
        pl.col("modbus.value_min").alias("modbus.value_max"),
        _time=pl.int_range(pl.len()) * SECOND,
        **{"event.id": pl.format("id-{}", pl.int_range(pl.len()))},
    )


def counts(made: pl.DataFrame) -> list[int]:
    return made["event.count"].fill_null(1).to_list()


def test_identical_polls_become_the_first_of_them() -> None:
    made = collapse(table(*[(1, 0, 3, 10, value, False) for value in (5, 2, 9)]), DECODER)
    assert made.height == 1
    row = made.row(0, named=True)
    assert (row["event.id"], row["event.count"], row["_time"]) == ("id-0", 3, 0)
    assert (row["modbus.value_min"], row["modbus.value_max"]) == (2, 9)
    assert (row["event.start"], row["event.end"]) == (
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC),
    )


def test_a_single_message_has_no_count() -> None:
    made = collapse(table((1, 0, 3, 10, 5, False)), DECODER)
    assert made.select("event.count", "event.start", "event.end").row(0) == (None, None, None)
    assert made["modbus.value_min"].to_list() == [5]


def test_flow_direction_and_every_key_part_events() -> None:
    base = (1, 0, 3, 10, 5, False)
    others = [(2, 0, 3, 10, 5, False), (1, 1, 3, 10, 5, False), (1, 0, 4, 10, 5, False), (1, 0, 3, 11, 5, False)]
    made = collapse(table(base, *others, (1, 0, 3, None, 5, False), base), DECODER)
    assert counts(made) == [2, 1, 1, 1, 1, 1]


def test_verbatim_and_unknown_rows_are_never_joined() -> None:
    write = (1, 0, 6, 10, 5, True)
    frame = table(write, write, (1, 0, 3, 10, 5, False), (1, 0, 3, 10, 5, False))
    assert counts(collapse(frame, DECODER)) == [1, 1, 2]
    unknown = frame.with_columns(writes=pl.lit(None, pl.Boolean))
    assert counts(collapse(unknown, DECODER)) == [1, 1, 1, 1]


def test_rows_with_an_error_are_never_joined() -> None:
    frame = table(*[(1, 0, 3, 10, 5, False)] * 4)
    frame = frame.with_columns(pl.Series("error.code", [None, "bad", "bad", None]))
    assert counts(collapse(frame, DECODER)) == [2, 1, 1]


def test_an_event_spans_no_more_than_it_may() -> None:
    frame = table(*[(1, 0, 3, 10, 5, False)] * 100)
    made = collapse(frame, DECODER, span_ns=30 * SECOND)
    assert counts(made) == [30, 30, 30, 10]
    assert (made["event.end"] - made["event.start"]).max() == pl.Series([29 * SECOND]).cast(pl.Duration("ns"))[0]


def test_decoder_without_keys_and_empty_table() -> None:
    frame = table(*[(1, 0, 3, 10, 5, False)] * 3)
    assert collapse(frame, Decoder("dns", modbus.decode, frozenset(), {})).equals(frame)
    assert collapse(frame.clear(), DECODER).is_empty()


def test_modbus_polls_collapse_and_writes_do_not() -> None:
    def adu(body: str, number: int) -> bytes:
        pdu = bytes.fromhex(body)
        return number.to_bytes(2) + b"\0\0" + (len(pdu) + 1).to_bytes(2) + b"\x01" + pdu

    messages = [adu("03 0000 0002", number) for number in range(10)] + [
        adu("06 0000 0002", 10),
        adu("06 0000 0002", 11),
    ]
    messages += [adu("83 02", 12), adu("83 02", 13)]
    batch = batch_of(messages, direction=[0] * 12 + [1] * 2)
    frame = modbus.decode(batch).with_columns(
        _flow=pl.Series(batch.flow),
        _direction=pl.Series(batch.direction),
        _time=pl.Series(batch.timestamp),
        **{"modbus.matched": pl.lit(None, pl.Boolean)},
    )
    assert counts(collapse(frame, modbus.DECODER)) == [10, 1, 1, 1, 1]


rows = st.tuples(
    st.integers(0, 1),
    st.integers(0, 1),
    st.integers(1, 2),
    st.one_of(st.none(), st.integers(0, 2)),
    st.one_of(st.none(), st.integers(0, 9)),
    st.booleans(),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(rows, max_size=60), st.integers(1, 20))
def test_no_message_is_lost_and_order_stays(
    messages: list[tuple[int, int, int, int | None, int | None, bool]], span: int
) -> None:
    frame = table(*messages)
    made = collapse(frame, DECODER, span_ns=span * SECOND)
    assert made.equals(collapse(frame, DECODER, span_ns=span * SECOND))
    assert made.columns[: len(frame.columns)] == frame.columns
    if not messages:
        return
    assert sum(counts(made)) == len(messages)
    assert made["_time"].is_sorted()
    assert made.filter("writes").height == sum(row[-1] for row in messages)
    # What an event says of its values is what its messages say, found here one message at a time.
    for row in made.filter(~pl.col("writes")).iter_rows(named=True):
        mine = [
            message[4]
            for second, message in enumerate(messages)
            if not message[5]
            and message[:4] == (row["_flow"], row["_direction"], row["function"], row["address"])
            and second // span == row["_time"] // SECOND // span
        ]
        known = [value for value in mine if value is not None]
        assert (row["event.count"] or 1) == len(mine)
        assert row["modbus.value_min"] == min(known, default=None)
        assert row["modbus.value_max"] == max(known, default=None)
