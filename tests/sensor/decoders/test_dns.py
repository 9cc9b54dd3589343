"""Messages are built here octet by octet; scapy and published logs are second opinions."""

from __future__ import annotations

import ipaddress
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from event.fields import FIELDS
from sensor.base import PduBatch, batch_of
from sensor.decoders.dns import DECODER, names
from sensor.decoders.dns.kernel import MAX_ANSWERS

ROOT = Path(__file__).resolve().parents[3]


def name(text: str) -> bytes:
    labels = [label.encode() for label in text.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def question(text: str = "www.example.com", kind: int = 1, group: int = 1) -> bytes:
    return name(text) + struct.pack(">HH", kind, group)


def record(kind: int, data: bytes, owner: bytes = b"\xc0\x0c", ttl: int = 300, group: int = 1) -> bytes:
    return owner + struct.pack(">HHIH", kind, group, ttl, len(data)) + data


def message(
    *sections: list[bytes], flags: int = 0x0100, number: int = 4660, counts: tuple[int, ...] | None = None
) -> bytes:
    padded = [*sections, [], [], [], []][:4]
    head = struct.pack(">HHHHHH", number, flags, *(counts or [len(section) for section in padded]))
    return head + b"".join(b"".join(section) for section in padded)


def answer(*records: bytes, flags: int = 0x8180, text: str = "www.example.com", kind: int = 1) -> bytes:
    return message([question(text, kind)], list(records), flags=flags)


def decode(*messages: bytes) -> list[dict[str, Any]]:
    return DECODER.decode(batch_of(list(messages))).to_dicts()


def one(octets: bytes) -> dict[str, Any]:
    (row,) = decode(octets)
    return row


def test_a_query_and_its_answer() -> None:
    asked, answered = decode(
        message([question("WWW.Example.com")]),
        answer(
            record(5, name("cdn.example.net"), ttl=60), record(1, bytes([192, 0, 2, 7])), record(28, bytes(15) + b"\1")
        ),
    )
    assert asked["dns.type"] == "query"
    assert asked["dns.id"] == "4660"
    assert asked["dns.op_code"] == "QUERY"
    assert asked["dns.question.name"] == "www.example.com"
    assert asked["dns.question.name_original"] == "WWW.Example.com"
    assert (asked["dns.question.type"], asked["dns.question.class"]) == ("A", "IN")
    assert asked["dns.header_flags"] == ["RD"]
    assert asked["dns.response_code"] is None
    assert asked["event.outcome"] is None
    assert asked["error.code"] is None
    assert answered["dns.type"] == "answer"
    assert answered["dns.question.name_original"] is None
    assert answered["dns.response_code"] == "NOERROR"
    assert answered["dns.answers_data"] == ["CNAME cdn.example.net", "A 192.0.2.7", "AAAA ::1"]
    assert answered["dns.answers_ttl"] == [60, 300, 300]
    assert answered["dns.resolved_ip"] == ["192.0.2.7", "::1"]
    assert answered["dns.answer_count"] == 3
    assert answered["event.outcome"] == "success"


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        (2, name("ns1.example.com"), "NS ns1.example.com"),
        (2, b"\3ns1\xc0\x10", "NS ns1.example.com"),
        (12, name("host.example.com"), "PTR host.example.com"),
        (39, b"\0", "DNAME ."),
        (15, b"\0\x0a" + name("mx.example.com"), "MX 10 mx.example.com"),
        (33, struct.pack(">HHH", 1, 2, 5060) + name("sip.example.com"), "SRV 1 2 5060 sip.example.com"),
        (
            6,
            name("a.b") + name("c.d") + struct.pack(">IIIII", 1, 2, 3, 4, 4294967295),
            "SOA a.b c.d 1 2 3 4 4294967295",
        ),
        (16, b'\5he"lo\1\x07', 'TXT "he\\"lo" "\\007"'),
        (13, b"\3PC1\5Linux", 'HINFO "PC1" "Linux"'),
        (35, struct.pack(">HH", 1, 2) + b"\1s\7SIP+D2U\0" + name("a.b"), 'NAPTR 1 2 "s" "SIP+D2U" "" a.b'),
        (257, b"\x80\5issue" + b"ca.example", 'CAA 128 issue "ca.example"'),
        (64, b"\0\0" + name("svc.example"), "SVCB 0 svc.example"),
        (
            65,
            b"\0\1\0" + b"\0\1\0\3\2h2" + b"\0\3\0\2\1\xbb" + b"\0\4\0\4\xc0\0\2\1",
            "HTTPS 1 . alpn=h2 port=443 ipv4hint=192.0.2.1",
        ),
        (
            65,
            b"\0\1\0" + b"\0\0\0\2\0\1" + b"\0\1\0\3\2h3" + b"\0\2\0\0" + b"\0\5\0\2\xaa\xbb",
            "HTTPS 1 . mandatory=alpn alpn=h3 no-default-alpn ech=aabb",
        ),
        (43, b"\x12\x34\x08\x02\xab", "DS 12340802ab"),
        (48, b"\1\1\3\10\xff", "DNSKEY 01010308ff"),
        (999, b"\xca\xfe", "TYPE999 cafe"),
        (10, b"", "NULL"),
        (1, b"", "A"),
    ],
)
def test_record_data(kind: int, data: bytes, text: str) -> None:
    row = one(answer(record(kind, data)))
    assert row["error.code"] is None
    assert row["dns.answers_data"] == [text]


_SPARSE = st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF]), min_size=8, max_size=8)


@given(st.binary(min_size=16, max_size=16) | _SPARSE.map(lambda groups: struct.pack(">8H", *groups)))
def test_ipv6_in_canonical_form(address: bytes) -> None:
    theirs = ipaddress.IPv6Address(address)
    mapped = theirs.ipv4_mapped
    assert one(answer(record(28, address)))["dns.resolved_ip"] == [f"::ffff:{mapped}" if mapped else str(theirs)]


def test_octets_that_are_not_printable_are_escaped() -> None:
    row = one(message([b"\5a.b\\\xff\3c d\0" + b"\0\1\0\1"]))
    assert row["dns.question.name"] == "a\\.b\\\\\\255.c\\032d"


def test_the_root_is_a_dot() -> None:
    assert one(message([question("", 2)]))["dns.question.name"] == "."


@pytest.mark.parametrize(("code", "text"), sorted(names.RESPONSE_CODES.items()))
def test_response_codes_with_the_bits_of_edns(code: int, text: str) -> None:
    option = b"\0" + struct.pack(">HHIH", 41, 1232, (code >> 4) << 24 | 0x8000, 0)
    row = one(message([question()], [], [], [option], flags=0x8180 | code & 15))
    assert row["dns.response_code"] == text
    assert row["event.outcome"] == ("success" if code == 0 else "failure")
    assert "DO" in row["dns.header_flags"]


def test_header_flags() -> None:
    assert one(message([question()], flags=0x8000 | 0x7B0))["dns.header_flags"] == ["AA", "TC", "RD", "RA", "AD", "CD"]
    assert one(message([question()], flags=0))["dns.header_flags"] is None


def test_op_codes() -> None:
    for code in range(16):
        row = one(message([question()], flags=code << 11))
        assert row["dns.op_code"] == names.OP_CODES.get(code, str(code))
        assert row["event.action"] == row["dns.op_code"].lower()


def test_types_and_classes() -> None:
    for code, text in names.TYPES.items():
        assert one(message([question(kind=code)]))["dns.question.type"] == text
    assert one(message([question(kind=4321, group=77)]))["dns.question.class"] == "CLASS77"
    assert one(message([question(group=0x8001)]))["dns.question.class"] == "IN"


def test_questions_beyond_the_first_are_counted() -> None:
    row = one(message([question("a.b"), question("c.d"), question("e.f")]))
    assert row["dns.question_count"] == 3
    assert row["dns.question.name"] == "a.b"
    assert row["error.code"] is None


def broken(code: str, octets: bytes) -> dict[str, Any]:
    row = one(octets)
    assert row["error.code"] == code
    assert row["error.message"].startswith(DECODER.anomalies[code])
    return row


def test_anomalies() -> None:
    assert broken("message_short", b"\x12\x34\x01\x00\x00")["dns.id"] == "4660"
    assert broken("message_short", b"")["dns.type"] is None
    broken("name_cut", message([b"\7exam"]))
    broken("name_cut", message([b"\7example"]))
    broken("name_cut", message([b"\3www\xc0"]))
    broken("name_pointer", message([b"\xc0\x0c\0\1\0\1"]))
    broken("name_pointer", message([b"\3www\xc0\x20\0\1\0\1"]))
    broken("label_type", message([b"\x41abc\0\0\1\0\1"]))
    broken("label_type", message([question()], [b"\x80\0\0\1\0\1" + bytes(6)], flags=0x8180))
    broken("name_long", message([b"\x3f" + b"a" * 63 + (b"\x3f" + b"b" * 63) * 3 + b"\0\0\1\0\1"]))
    broken("question_short", message([name("a.b") + b"\0\1"]))
    broken("question_short", message([question()], counts=(2, 0, 0, 0)))
    broken("record_short", answer(record(1, b"\1\2\3\4"))[:-1])
    broken("record_short", message([question()], counts=(1, 0, 0, 9)))
    broken("name_pointer", answer(record(1, b"\1\2\3\4", owner=b"\xc0\xff")))
    row = broken("record_data", answer(record(1, b"\1\2\3"), record(1, b"\1\2\3\4")))
    assert row["dns.answers_data"] == ["A ?", "A 1.2.3.4"]
    for kind, data in [
        (28, bytes(4)),
        (2, name("a.b") + b"x"),
        (15, b"\0"),
        (33, bytes(6)),
        (6, name("a") + name("b")),
        (16, b"\5abc"),
        (13, b"\1a"),
        (35, bytes(5)),
        (257, b"\0\0x"),
        (65, b"\0\1\0\0\3\0\3abc"),
        (64, b"\0"),
        (65, b"\0\1\0\0\3\0\2\0\1\0\1\0\0"),
    ]:
        broken("record_data", answer(record(kind, data)))
    broken("trailing_data", message([question()]) + b"\0")


def test_a_chain_of_pointers_is_bounded() -> None:
    # 40 names after the first question's, each of them a pointer to the one before
    first = question("a.b")
    links = [b"\xc0" + bytes([12 if n == 0 else 12 + len(first) + 6 * (n - 1)]) + b"\0\1\0\1" for n in range(40)]
    assert one(message([first, *links[:30]]))["error.code"] is None
    name_of_31 = b"\xc0" + bytes([12 + len(first) + 6 * 29])
    name_of_36 = b"\xc0" + bytes([12 + len(first) + 6 * 35])
    assert one(message([first, *links], [record(2, name_of_31)]))["dns.answers_data"] == ["NS a.b"]
    row = broken("record_data", message([first, *links], [record(2, name_of_36)]))
    assert row["dns.answers_data"] == ["NS ?"]


def test_answers_listed_are_bounded_and_all_are_counted() -> None:
    row = one(answer(*[record(1, bytes([10, 0, 0, n])) for n in range(200)]))
    assert row["dns.answer_count"] == 200
    assert len(row["dns.answers_data"]) == len(row["dns.resolved_ip"]) == MAX_ANSWERS
    assert row["error.code"] is None


def test_text_that_grows_by_escaping_has_room() -> None:
    ugly = b"\x3f" + b"\xff" * 63 + b"\x3f" + b"\xfe" * 63 + b"\x3f" + b"\xfd" * 63 + b"\x3d" + b"\xfc" * 61 + b"\0"
    octets = message([ugly + b"\0\1\0\1"], [record(6, b"\xc0\x0c\xc0\x0c" + bytes(20))] * 64, flags=0x8180)
    rows = DECODER.decode(batch_of([octets] * 20))
    assert rows["error.code"].null_count() == 20
    assert rows["dns.question.name"].str.len_chars().to_list() == [4 * 250 + 3] * 20
    assert rows["dns.answers_data"].list.len().to_list() == [64] * 20


def test_what_is_collapsed() -> None:
    table = DECODER.decode(batch_of([message([question()]), answer(), message([question()], flags=0x2800)]))
    assert DECODER.verbatim is not None
    assert table.select(DECODER.verbatim).to_series().to_list() == [False, False, True]


def test_pairing() -> None:
    from sensor.pair import FLOW, TIME, PairState, pair

    table = DECODER.decode(
        batch_of([message([question("WWW.example.com")]), answer(), answer(text="other.example")])
    ).with_columns(pl.lit(0, pl.Int64).alias(FLOW), pl.int_range(pl.len(), dtype=pl.Int64).alias(TIME))
    assert DECODER.pair is not None
    assert pair(table, DECODER.pair, PairState())["dns.matched"].to_list()[1:] == [True, False]


def check(table: pl.DataFrame, batch: PduBatch) -> None:
    """What must hold for any bytes."""
    assert set(table.columns) == DECODER.fields | {"_pdu"}
    assert {column: dtype for column, dtype in table.schema.items() if column != "_pdu"} == {
        column: FIELDS[column].dtype for column in table.columns if column != "_pdu"
    }
    assert set(table["error.code"].drop_nulls()) <= set(DECODER.anomalies)
    assert (table["error.code"].is_null() == table["error.message"].is_null()).all()
    assert table["_pdu"].to_list() == list(range(len(batch)))


def test_an_empty_batch() -> None:
    batch = batch_of([])
    check(DECODER.decode(batch), batch)


@given(st.lists(st.binary(max_size=80), max_size=6))
@settings(max_examples=150)
def test_any_bytes(payloads: list[bytes]) -> None:
    batch = batch_of(payloads)
    check(DECODER.decode(batch), batch)


GOLDEN = [
    message([question("WWW.Example.com")]),
    answer(record(5, name("cdn.example.net")), record(1, bytes([192, 0, 2, 7])), record(28, bytes(15) + b"\1")),
    answer(record(16, b"\3abc\2de"), record(257, b"\0\5issueca.example"), record(15, b"\0\x0a\2mx\xc0\x10")),
    answer(record(65, b"\0\1\0" + b"\0\1\0\3\2h2" + b"\0\3\0\2\1\xbb"), record(33, bytes(6) + name("a.b"))),
    answer(record(6, name("a.b") + name("c.d") + bytes(20)), flags=0x8183),
    message([question()], [], [], [b"\0" + struct.pack(">HHIH", 41, 1232, 0x8000, 0)]),
    b"\x12\x34",
    message([b"\xc0\x0c\0\1\0\1"]),
]


@given(st.data())
@settings(max_examples=250)
def test_messages_that_are_nearly_right(data: st.DataObject) -> None:
    octets = bytearray(data.draw(st.sampled_from(GOLDEN)))
    for _ in range(data.draw(st.integers(1, 5))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(
            st.integers(0, 255) | st.sampled_from([0xC0, 0, 12, 63])
        )
    batch = batch_of([bytes(octets[: data.draw(st.integers(0, len(octets)))]), bytes(octets)])
    check(DECODER.decode(batch), batch)


_SCRIPT = """
import json, sys
from sensor.base import batch_of
from sensor.decoders.dns import DECODER
messages = [bytes.fromhex(one) for one in json.load(sys.stdin)]
print(json.dumps(DECODER.decode(batch_of(messages)).to_dicts()))
"""


def test_uncompiled_kernels_give_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps([octets.hex() for octets in GOLDEN]),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == decode(*GOLDEN)


# What others say ---------------------------------------------------------------------------------------------------


def real(captures: Path, read_capture: Any, folder: str) -> list[dict[str, Any]]:
    (path,) = (captures / folder).glob("*.pcap*")
    return decode(*read_capture(path).messages(53, len)[0])


def test_original_case_as_zeek_logs_it(captures: Path, read_capture: Any) -> None:
    (row,) = real(captures, read_capture, "it-dns/zeek__dns_original_case.pcap")
    assert row["dns.question.name"] == "us.v27.distributed.net"
    assert row["dns.question.name_original"] == "Us.V27.DiStRiBuTeD.NET"
    assert row["dns.id"] == "20877"


def test_rare_records_as_zeek_prints_them(captures: Path, read_capture: Any) -> None:
    assert real(captures, read_capture, "it-dns/zeek__dns-caa.pcap")[1]["dns.answers_data"] == [
        'CAA 0 issue "symantec.com"'
    ]
    assert real(captures, read_capture, "it-dns/zeek__dns-svcb.pcap")[1]["dns.answers_data"] == [
        "SVCB 0 foo.example.com"
    ]
    assert real(captures, read_capture, "it-dns/zeek__hinfo.pcap")[1]["dns.answers_data"] == [
        'HINFO "INTEL-386" "Windows"'
    ]
    assert real(captures, read_capture, "it-dns/zeek__dns_extended_rcode.pcap")[1]["dns.response_code"] == "BADVERS"
    assert real(captures, read_capture, "it-dns/zeek__svcb-port-malformed.pcap")[1]["error.code"] == "record_data"


def test_answers_as_arkime_lists_them(captures: Path, read_capture: Any) -> None:
    rows = real(captures, read_capture, "it-sessions/arkime__dns-udp.pcap")
    sessions = json.loads((captures / "it-sessions/arkime__dns-udp.pcap/expected/arkime/dns-udp.test").read_text())
    theirs = set()
    for session in sessions["sessions3"]:
        for entry in session["body"].get("dns", []):
            for found in entry.get("answers", []):
                if found["type"] == "A" and found["name"] == "github.com":
                    theirs.add(found["ip"])
    ours = {ip for row in rows if row["dns.question.name"] == "www.github.com" for ip in row["dns.resolved_ip"] or []}
    assert ours == theirs
    assert ours
