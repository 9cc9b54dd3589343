"""JSON records of applications and clouds."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from event.fields import is_dataset
from sensor.log_kinds import APPLICATIONS, log_kind
from sensor.parsers.app import AppParser
from tests.sensor.parsers.rows import has, rows_of

CLOUDTRAIL = {
    "eventTime": "2026-01-02T03:04:05Z",
    "eventSource": "iam.amazonaws.com",
    "eventName": "CreateUser",
    "awsRegion": "cn-north-1",
    "sourceIPAddress": "1.2.3.4",
    "userIdentity": {"type": "Root", "userName": "u"},
    "requestParameters": {"sets": [{"name": "a"}, {"name": "b"}], "on": True, "n": 5, "none": None},
}


def test_members_keep_their_names() -> None:
    [row] = rows_of(AppParser(), json.dumps(CLOUDTRAIL))
    has(
        row,
        {
            "event.dataset": "app.aws.cloudtrail",
            "app.product": "aws",
            "app.service": "cloudtrail",
            "@timestamp": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "app.data.userIdentity.type": "Root",
            "app.data.requestParameters.sets.name": "a\nb",
            "app.data.requestParameters.on": "true",
            "app.data.requestParameters.n": "5",
            "event.action": "CreateUser",
            "source.ip": "1.2.3.4",
            "user.name": "u",
        },
    )
    assert "app.data.requestParameters.none" not in row


@pytest.mark.parametrize(("time", "expected"), [(1767323045, 0), (1767323045250, 250_000), ("1767323045.25", 250_000)])
def test_times_may_be_numbers(time: object, expected: int) -> None:
    [row] = rows_of(AppParser(), json.dumps({"logtype": 1, "node_id": "x", "time": time}))
    assert row["@timestamp"] == datetime(2026, 1, 2, 3, 4, 5, expected, tzinfo=UTC)
    assert row["event.dataset"] == "app.opencanary.application"


def test_what_is_wrong_is_said() -> None:
    rows = rows_of(AppParser(), "{", '{"a": 1}', json.dumps({**CLOUDTRAIL, "eventTime": "never"}))
    assert [row["error.code"] for row in rows] == ["invalid_json", "unknown_record", "bad_time"]


@pytest.mark.parametrize(("product", "service", "members"), APPLICATIONS)
def test_every_application_is_told_by_its_members(product: str, service: str, members: tuple[bytes, ...]) -> None:
    body = ",".join(one.decode() if one.startswith(b'"') else f'"x":"{one.decode()}"' for one in members)
    line = ("{" + body.replace('",', '":1,') + ('":1' if body.endswith('"') else '"') + "}").encode()
    assert is_dataset(f"app.{product}.{service}")
    assert log_kind(line) == "app"


def test_a_name_is_a_value_or_a_parent_and_stays_so() -> None:
    one = {"logtype": 1, "node_id": "x", "time": 1767323045, "a": "value", "b": {"c": {"d": 1}}}
    other = {"logtype": 1, "node_id": "x", "time": 1767323045, "a": {"inner": 1}, "b": {"c": 2, "e": 3}}
    first, second = rows_of(AppParser(), json.dumps(one), json.dumps(other))
    has(first, {"app.data.a": "value", "app.data.b.c.d": "1"})
    has(second, {"app.data.b.e": "3"})
    assert not {"app.data.a.inner", "app.data.b.c"} & set(second)
    assert json.loads(second["event.original"])["a"] == {"inner": 1}
