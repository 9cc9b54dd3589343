"""Accounts of inputs reach the centre by a forwarder and through a diode, on both stores."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest

from cli.accounts import INPUTS, accounts_of, remember
from cli.pipeline import slices
from event.registry import load
from event.table import conform
from sensor.base import Account
from store import STORES
from store.base import Store
from store.diode import Exporter, Importer
from store.embedded import EmbeddedStore
from store.forward import Delivered, Forwarder, Parcel
from store.signing import Key
from store.spool import Spool

KEY = Key("hmac-sha256", "shared", b"k" * 32)


@pytest.fixture(params=["embedded", pytest.param("elastic_8", marks=pytest.mark.elastic)])
def centre(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "embedded":
        with EmbeddedStore(tmp_path / "store") as opened:
            yield opened
        return
    cluster = request.getfixturevalue(request.param)
    prefix = f"t{uuid.uuid4().hex[:12]}"
    with load("stores", "elastic", STORES)(cluster.url, prefix=prefix) as opened:
        yield opened
    cluster.request("DELETE", f"/{prefix}-*")
    cluster.request("DELETE", f"/_index_template/{prefix}-*")


class Into:
    """Delivers into a store that stays open."""

    most = 8

    def __init__(self, store: Store) -> None:
        self._store = store

    def deliver(self, parcels: Sequence[Parcel]) -> Delivered:
        new = sum(self._store.append(parcel.table) for parcel in parcels)
        self._store.flush()
        return Delivered(new)

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass


def account(path: str, total: int) -> Account:
    return Account(path, "pcap", total=total, decoded=total - 3, undecoded=2, failed=1, notes={"ethertype_0x88b8": 2})


def test_the_latest_account_of_every_input_arrives_by_either_way(centre: Store, tmp_path: Path) -> None:
    name = socket.gethostname()
    with Spool(tmp_path / "spool") as spool:
        remember(spool, [account("eth0", 10), account('泵站 "1".pcap', 20)])
        remember(spool, [])
    Forwarder(Spool(tmp_path / "spool"), Exporter(tmp_path / "out", KEY)).once()
    assert Importer(tmp_path / "out", centre, [KEY]).once().refused == {}
    with Spool(tmp_path / "spool") as spool:
        remember(spool, [account("eth0", 110)])
    Forwarder(Spool(tmp_path / "spool"), Into(centre)).once()
    remember(centre, [account("local.pcap", 7)])
    assert [(one["path"], one["frames"]) for one in accounts_of(centre)] == [
        ("local.pcap", 7),
        (f'{name}:泵站 "1".pcap', 20),
        (f"{name}:eth0", 110),
    ]
    for one in accounts_of(centre):
        assert one["frames"] == one["decoded"] + one["undecoded"] + one["failed"]
        assert one["notes"] == {"ethertype_0x88b8": 2}


def test_accounts_are_no_traffic_and_what_is_none_is_passed_over(centre: Store, tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        remember(spool, [account("eth0", 10)])
        (segment,) = spool.waiting()
        table = pl.read_parquet(segment.path)
    centre.append(table)
    strange = ["", "[]", "null", "{", '{"path": 1, "frames": 2}']
    centre.append(
        conform(
            pl.concat([table] * len(strange)).with_columns(
                pl.Series("event.original", strange),
                pl.Series("event.id", [f"bbbb-{n:012d}-{INPUTS}" for n in range(len(strange))]),
            )
        )
    )
    centre.flush()
    assert sorted(one["path"] for one in accounts_of(centre)) == sorted(
        [f"{socket.gethostname()}:{n}" for n in ("1", "eth0")]
    )
    assert centre.datasets() == [INPUTS]
    assert list(slices(centre, None, None)) == []
