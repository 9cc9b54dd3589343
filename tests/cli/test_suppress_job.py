"""Noise control as a user walks it: suppress, detect, list, remove, and a shift that is full."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cli import pipeline
from cli.suppress_commands import _end, _fields, add, list_all, remove
from correlate.budget import NOTICE
from correlate.parse import parse_documents
from correlate.suppress import add as remember
from correlate.suppress import hidden, make
from event.errors import ConfigError, UserError
from event.site import Noise, Segment, Site
from event.table import conform
from store.embedded import EmbeddedStore

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)
NOW = datetime(2026, 3, 2, tzinfo=UTC)
RULE = """
title: Modbus write
id: 22222222-0000-4000-8000-000000000001
name: write
level: high
logsource: {product: ics, service: modbus}
detection:
  sel: {modbus.access: write}
  condition: sel
"""


def filled(folder: Path, count: int = 30) -> EmbeddedStore:
    """A store of writes from three clients in turn."""
    store = EmbeddedStore(folder, create=True)
    store.append(
        conform(
            pl.DataFrame(
                {
                    "@timestamp": [BEGIN + timedelta(seconds=n) for n in range(count)],
                    "event.id": [f"e{n:04}" for n in range(count)],
                    "event.dataset": "modbus",
                    "event.kind": "event",
                    "modbus.access": "write",
                    "source.ip": [f"10.0.0.{n % 3}" for n in range(count)],
                    "destination.ip": "10.0.1.1",
                }
            )
        )
    )
    return store


def test_detection_hides_demotes_and_counts_and_repeats_nothing(tmp_path):
    rules = parse_documents([Path("r.yml")], [RULE.encode()], {})
    site = Site(noise=Noise(alerts_per_shift=5, alerts_per_rule=2))
    one = make(who="王工", why="测试", now=NOW, expires=NOW + timedelta(days=1), address="10.0.0.1")
    with filled(tmp_path / "s") as store:
        remember(store, one)
        for again in range(2):
            found, _ = pipeline.detect(store, rules, site=site, now=NOW)
            assert (found.hidden, found.alerts, found.demoted) == (10, 21, 15)  # a notice is among them
            assert found.new_alerts == (0 if again else 21)
            assert found.by_level == {"high": 5, "medium": 15, "low": 1}
        assert hidden(store)[one.id][0] == 10
        alerts = pipeline.all_alerts(store)
        assert alerts.height == 31
        assert alerts.filter(pl.col("rule.id") == NOTICE).height == 1
        (incident,) = pipeline.regroup(store, site, now=NOW)
        assert "10.0.0.1" not in incident.attackers
        # The shift goes on after its middle as if it had been detected at once.
        half = BEGIN + timedelta(seconds=20)
        whole = alerts.filter(pl.col("alert.demoted_from").is_not_null())["event.id"].to_list()
        with filled(tmp_path / "t") as other:
            remember(other, one)
            pipeline.detect(other, rules, site=site, now=NOW, until=half)
            pipeline.detect(other, rules, site=site, now=NOW, since=half)
            parts = pipeline.all_alerts(other)
            assert parts.filter(pl.col("alert.demoted_from").is_not_null())["event.id"].to_list() == whole
            assert parts.height == alerts.height
        # After its end, what is found is shown again.
        with filled(tmp_path / "u") as later:
            remember(later, one)
            found, _ = pipeline.detect(later, rules, now=NOW + timedelta(days=2))
            assert (found.hidden, found.alerts, found.demoted) == (0, 30, 0)


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """A store and a site file, and a state folder of our own."""
    monkeypatch.setenv("JIANMEN_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("JIANMEN_USER", "li")
    site = tmp_path / "jianmen.toml"
    site.write_text('[[segments]]\nname = "pumps"\ncidrs = ["10.0.1.0/24"]\n', encoding="utf-8")
    own = tmp_path / "own.yml"
    own.write_text(RULE, encoding="utf-8")
    filled(tmp_path / "s").close()
    return {"store": tmp_path / "s", "config": site}, [own]


def test_the_commands_remember_list_and_end(surroundings, capsys):
    where, rules = surroundings
    add(why="inventory", rule="write", zone="pumps", duration="7d", rules=rules, json=True, **where)
    made = json.loads(capsys.readouterr().out)
    assert (made["rule"], made["zone"], made["who"]) == ("22222222-0000-4000-8000-000000000001", "pumps", "li")
    life = datetime.fromisoformat(made["expires"]) - datetime.fromisoformat(made["created"])
    assert life == timedelta(days=7)
    loaded = parse_documents([Path("r.yml")], [RULE.encode()], {})
    with EmbeddedStore(where["store"], create=False) as store:
        pipeline.detect(store, loaded, site=Site(segments=(Segment(name="pumps", cidrs=("10.0.1.0/24",)),)))
    list_all(json=True, **where)
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["hidden"]) == ("active", 30)
    assert row["last_hidden"] == (BEGIN + timedelta(seconds=29)).isoformat()
    remove(made["id"], who=None, **where)
    list_all(rules=rules, **where)
    out = capsys.readouterr()
    assert "30" in out.out
    with EmbeddedStore(where["store"], create=False) as store:
        from correlate.suppress import suppressions

        (kept,) = suppressions(store)
    assert kept.removed_by == "li"


@pytest.mark.parametrize(
    ("what", "error", "where"),
    [
        ({"zone": "nowhere"}, UserError, "--zone"),
        ({"rule": "no such rule"}, UserError, "--rule"),
        ({"field": ["user.name"]}, ConfigError, "--field"),
        ({"address": "10.0.0.1", "duration": "soon"}, ConfigError, "--for"),
        ({"address": "10.0.0.1", "duration": "7d", "until": "2030-01-01"}, ConfigError, "--for, --until"),
        ({}, UserError, None),
    ],
)
def test_what_is_wrong_with_a_suppression_is_said(surroundings, what, error, where):
    places, rules = surroundings
    with pytest.raises(error) as caught:
        add(why="x", rules=rules, **what, **places)
    assert caught.value.where == where


def test_lengths_and_fields_are_read():
    assert _end(None, None, NOW) == NOW + timedelta(days=30)
    assert _end("12h", None, NOW) == NOW + timedelta(hours=12)
    assert _end("4w", None, NOW) == NOW + timedelta(days=28)
    assert _end(None, "2026-03-09T00:00:00Z", NOW) == datetime(2026, 3, 9, tzinfo=UTC)
    assert _fields(["user.name=a=b", "host.name=x"]) == {"user.name": "a=b", "host.name": "x"}
