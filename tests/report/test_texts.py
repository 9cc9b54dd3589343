"""Texts: both languages say the same things, and code asks for none that is missing."""

from __future__ import annotations

import re
import string
from datetime import UTC, datetime
from pathlib import Path

import pytest

import report
from report import texts
from report.wording import Wording

ROOM = Path(report.__file__).parent


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_take_the_same_values() -> None:
    for key in texts.all_keys():
        zh, en = Wording("zh").get(key), Wording("en").get(key)
        assert zh, key
        assert en, key
        assert fields(zh) == fields(en), key


def test_no_key_stands_twice() -> None:
    files = [path.read_text("utf-8") for path in texts.FOLDER.glob("*.yml")]
    seen = [key for file in files for key in re.findall(r"^([^\s#:][^:]*):", file, re.MULTILINE)]
    assert len(seen) == len(set(seen))


def test_every_key_that_code_names_exists() -> None:
    calls = re.compile(r'(?:\bw|\.w)\(\s*"([a-z0-9_.\-]+)"')
    named = {m for p in [*ROOM.rglob("*.py"), *ROOM.rglob("*.j2")] for m in calls.findall(p.read_text("utf-8"))}
    assert len(named) > 150
    assert named <= texts.all_keys()


def test_chinese_texts_use_full_width_punctuation() -> None:
    for key in texts.all_keys():
        text = Wording("zh").get(key) or ""
        assert not re.search(r"[\u4e00-\u9fff][,;:?!()]|[,;:?!(][\u4e00-\u9fff]", text), (key, text)


def test_braces_in_a_value_stay_what_they_are() -> None:
    assert Wording("en")("quote", text="{0} {text}") == "“{0} {text}”"


def test_times_are_beijing_times_on_the_right_day() -> None:
    time = datetime(2026, 12, 31, 16, 5, 9, tzinfo=UTC)
    assert Wording("zh").minute(time) == "2027年1月1日 00时05分（北京时间）"
    assert Wording("en").minute(time) == "1 Jan 2027 00:05 (UTC+08:00)"
    assert Wording("zh").stamp(time) == "2027-01-01 00:05:09"


def test_a_period_within_a_day_names_the_day_once() -> None:
    a, b = datetime(2026, 11, 24, 1, 0, tzinfo=UTC), datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
    assert Wording("zh").span(a, b) == "2026年11月24日 09时00分至10时30分（北京时间）"
    assert Wording("en").span(a, b.replace(day=25)) == "24 Nov 2026 09:00 to 25 Nov 2026 10:30 (UTC+08:00)"


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [(0, "0秒", "0 s"), (59.6, "1分钟", "1 min"), (3661, "1小时1分钟", "1 h 1 min"), (90000, "1天1小时", "1 d 1 h")],
)
def test_durations_name_the_two_largest_units(seconds: float, zh: str, en: str) -> None:
    assert Wording("zh").duration(seconds) == zh
    assert Wording("en").duration(seconds) == en


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("T0855", "T0855 未授权控制指令"),
        ("attack.t0855", "T0855 未授权控制指令"),
        ("t1595.001", "T1595.001 主动扫描"),
        ("T9999", "T9999"),
        ("something", "something"),
    ],
)
def test_techniques_are_named(raw: str, expected: str) -> None:
    assert Wording("zh").technique(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("plc", "可编程逻辑控制器"),
        ("modbus_server", "Modbus/TCP 服务端"),
        ("iec104_controlled_station", "IEC 60870-5-104 被控站"),
        ("闸门控制器", "闸门控制器"),
        ("odd_server", "odd_server"),
    ],
)
def test_roles_are_named(raw: str, expected: str) -> None:
    assert Wording("zh").role(raw) == expected


@pytest.mark.parametrize(
    ("size", "expected"), [(0, "0 B"), (1023, "1,023 B"), (1536, "1.5 KiB"), (5 << 40, "5,120.0 GiB")]
)
def test_sizes_take_the_unit_that_reads_best(size: int, expected: str) -> None:
    assert Wording("zh").size(size) == expected
