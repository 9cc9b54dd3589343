"""Incidents, sites, errors, the registry."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from event.errors import ConfigError, InputError, RuleError, StoreError, UserError
from event.incident import Incident
from event.registry import load
from event.site import KnownAsset, Segment, Site

T0 = datetime(2026, 9, 1, 2, 0, tzinfo=UTC)


def incident() -> Incident:
    return Incident(
        id="INC-20260901-abcdef",
        title_zh="测试",
        title_en="test",
        first_seen=T0,
        last_seen=T0,
        discovered=T0,
        level="high",
    )


def test_a_change_is_a_new_version_with_its_history():
    one = incident()
    two = one.changed(actor="duty", change="acknowledged", time=T0, status="acknowledged")
    assert (one.version, one.status) == (1, "new")
    assert (two.version, two.status) == (2, "acknowledged")
    assert [h.change for h in two.history] == ["acknowledged"]


def test_a_change_is_checked_like_a_first_version():
    with pytest.raises(ValidationError):
        incident().changed(actor="duty", change="?", time=T0, status="on holiday")


def test_a_time_without_offset_is_refused():
    with pytest.raises(ValidationError, match="timezone"):
        Incident.model_validate({**incident().model_dump(), "first_seen": datetime(2026, 9, 1)})  # noqa: DTZ001


def test_an_incident_survives_json():
    one = incident().changed(actor="duty", change="x", time=T0, attackers=("10.0.0.66",))
    assert Incident.model_validate_json(one.model_dump_json()) == one


def test_the_most_specific_segment_wins():
    site = Site(
        segments=(
            Segment(name="plant", cidrs=("10.20.0.0/16",)),
            Segment(name="cell", cidrs=("10.20.1.0/24", "fd00::/8")),
        ),
        assets=(KnownAsset(ip="10.20.1.10", name="PLC"),),
    )
    names = [site.segment_of(ip) for ip in ("10.20.1.5", "10.20.9.5", "192.0.2.1", "fd00::1", "not an address")]
    assert [s.name if s else None for s in names] == ["cell", "plant", None, "cell", None]
    assert site.asset_of("10.20.1.10") is not None
    assert site.asset_of("10.20.1.11") is None


def test_a_site_with_a_wrong_network_is_refused():
    with pytest.raises(ValidationError):
        Site.model_validate({"segments": [{"name": "x", "cidrs": ["10.0.0.0/99"]}]})


def test_an_error_says_what_where_and_what_now():
    text = str(UserError("no store", where="plant.store", hint="jianmen ingest"))
    assert text == "no store (plant.store)\n  jianmen ingest"


@pytest.mark.parametrize(
    ("kind", "code"), [(UserError, 2), (ConfigError, 2), (InputError, 3), (RuleError, 4), (StoreError, 5)]
)
def test_every_error_has_its_exit_code(kind, code):
    assert kind("x").exit_code == code


def test_an_unknown_plug_in_is_named_with_the_known_ones():
    with pytest.raises(ConfigError, match="unknown decoder 'modbuss'") as caught:
        load("decoders", "modbuss", {"modbus": "x:y"})
    assert "modbus" in str(caught.value.hint)


def test_a_plug_in_is_what_the_table_names():
    assert load("stores", "x", {"x": "event.errors:StoreError"}) is StoreError
