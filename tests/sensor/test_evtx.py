"""EVTX files, whole and damaged; SigmaHQ's own regression files are read where they are at hand."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import polars as pl
import pytest

from event.errors import InputError
from sensor.evtx import MAGIC
from sensor.reader import open_input

pytest.importorskip("evtx")
FILES = sorted((Path(__file__).parents[2].parent / "shared" / "sigma" / "regression_data").rglob("*.evtx"))
needs_files = pytest.mark.skipif(not FILES, reason="no EVTX files at hand")


def test_a_header_alone_is_said() -> None:
    made = open_input(io.BytesIO(MAGIC + bytes(100)), name="x.evtx")
    assert made.kind == "evtx"
    with pytest.raises(InputError, match=r"x\.evtx, byte 0"):
        list(made.tables())


@needs_files
def test_every_record_of_every_file_is_an_event() -> None:
    codes: set[str] = set()
    for path in FILES[:40]:
        made = open_input(path)
        tables = list(made.tables())
        assert made.account.total == made.account.decoded == sum(table.height for table in tables) > 0
        for table in tables:
            assert table["event.id"].n_unique() == table.height
            assert table["@timestamp"].min() > pl.Series(["2010-01-01"]).str.to_datetime(time_zone="UTC")[0]
            assert "event.original" not in table.columns
            codes |= set(table["event.code"].drop_nulls())
    assert {"1", "10"} <= codes


@needs_files
def test_what_cannot_be_sought_in_is_copied() -> None:
    path = FILES[0]
    plain = list(open_input(path, name="x").tables())
    packed = list(open_input(io.BytesIO(gzip.compress(path.read_bytes())), name="x").tables())
    assert len(plain) == len(packed)
    assert all(one.equals(other) for one, other in zip(plain, packed, strict=True))


@needs_files
def test_damage_is_counted_and_said() -> None:
    whole = FILES[0].read_bytes()
    record = whole.find(b"**\0\0")
    bad = bytearray(whole)
    bad[record + 24 : record + 60] = b"\xff" * 36
    made = open_input(io.BytesIO(bytes(bad)), name="x")
    codes = [code for table in made.tables() if "error.code" in table.columns for code in table["error.code"].to_list()]
    assert "bad_record" in codes
    assert made.account.failed >= 1
    assert made.account.total == made.account.decoded + made.account.failed
    cut = open_input(io.BytesIO(whole[: 4_096 + 5_000]), name="x")
    with pytest.raises(InputError, match="5000 octets into a chunk"):
        list(cut.tables())
    assert cut.account.error is not None


def test_without_the_library_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "evtx", None)
    with pytest.raises(InputError, match="need the library evtx") as caught:
        list(open_input(io.BytesIO(MAGIC + bytes(100)), name="x").tables())
    assert "jianmen[evtx]" in str(caught.value.hint)
