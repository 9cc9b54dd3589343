"""Compare our messages with what TShark, Zeek and ICSNPP saw in the same captures.

Run ``python tests/compare_captures.py [--json] [--show N] [PROTOCOL...]``. For each capture beside which an
expected log lies, it says how many of the expected messages we have (same frame, same function code), how many are
missing, and how many we have beyond; the same for the addresses in them. The differences are explained in
``docs/protocol-differences.md``. The captures are not part of this project; without them there is nothing to do.

TShark numbers frames, so messages are compared frame by frame. Zeek's logs have neither frames nor times (they are
baselines of its tests): their messages are compared as a multiset.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

CAPTURES = Path(__file__).resolve().parents[2] / "shared" / "captures"
PROTOCOLS = ("modbus", "dnp3", "iec104", "s7comm")

Row = dict[str, Any]
Bag = Counter[tuple[Hashable, ...]]


@dataclass
class Comparison:
    """One capture against one expected log."""

    protocol: str
    capture: str
    against: str
    missing: Bag = field(default_factory=Counter)
    extra: Bag = field(default_factory=Counter)
    matched: int = 0
    moved: int = 0
    """Of the matched ones, those that we count for another frame: TShark dissects what came after a gap at once,
    we wait for the gap to be filled, and a message ends in the frame that let it out."""
    copies: int = 0
    """Of the missing ones, those in a segment that repeats an earlier one octet for octet: TShark dissects each copy,
    we take the bytes of a stream once."""
    addresses_matched: int = 0
    addresses_missing: Bag = field(default_factory=Counter)
    error: str | None = None

    def count(self, expected: Bag, ours: Bag, *, frames: bool = False) -> None:
        """Set the message counters; with ``frames`` the first part of a message is its frame."""
        self.matched = (expected & ours).total()
        self.missing = expected - ours
        self.extra = ours - expected
        if not frames:
            return
        for message in sorted(self.missing.elements(), key=frame_of):
            frame = frame_of(message)
            later = [
                other
                for other in self.extra.elements()
                if other[1:] == message[1:] and frame < frame_of(other) <= frame + 64
            ]
            if later:
                other = min(later, key=frame_of)
                self.missing[message] -= 1
                self.extra[other] -= 1
                self.matched += 1
                self.moved += 1

    def as_json(self) -> dict[str, object]:
        """For ``--json``: counters, and the messages that differ."""
        return {
            "protocol": self.protocol,
            "capture": self.capture,
            "against": self.against,
            "matched": self.matched,
            "moved": self.moved,
            "missing": self.missing.total(),
            "copies": self.copies,
            "extra": self.extra.total(),
            "addresses_matched": self.addresses_matched,
            "addresses_missing": self.addresses_missing.total(),
            "missing_messages": sorted(map(repr, self.missing.elements())),
            "extra_messages": sorted(map(repr, self.extra.elements())),
            "error": self.error,
        }


def frame_of(message: tuple[Hashable, ...]) -> int:
    """Frame of a message that TShark or we saw."""
    return int(str(message[0]))


# What we saw


def our_rows(capture: Path, protocol: str) -> tuple[list[Row], str | None]:
    """Every message of one protocol, as the sensor decodes it without collapsing, and what ended the input."""
    from event.errors import InputError
    from sensor.reader import open_input

    tables, ended = [], None
    try:
        for table in open_input(capture, collapse=False).tables():
            if table["event.dataset"][0] == protocol:
                tables.append(table)
    except InputError as problem:  # what came before the damage counts
        ended = str(problem)
    return (pl.concat(tables, how="diagonal_relaxed").to_dicts() if tables else []), ended


# What TShark saw: a cell holds the values of all messages in the frame


def tsv(path: Path) -> Iterator[Row]:
    """Rows of a tab-separated file with a header; comma-separated cells become lists."""
    lines = path.read_text(errors="replace").splitlines()
    names = lines[0].split("\t")
    for line in lines[1:]:
        cells = line.split("\t") + [""] * len(names)
        row = {name: [part for part in cell.split(",") if part] for name, cell in zip(names, cells, strict=False)}
        row["frame"] = int(row["frame.number"][0])
        yield row


def number(text: str) -> int:
    return int(text, 0)


def modbus_tshark(row: Row) -> Iterator[tuple[Hashable, ...]]:
    for code in row["modbus.func_code"]:
        yield row["frame"], number(code) & 0x7F


def modbus_ours(row: Row) -> tuple[Hashable, ...] | None:
    code = row.get("modbus.function_code")
    return None if code is None else (row["frame.number"], code)


def iec104_tshark(row: Row) -> Iterator[tuple[Hashable, ...]]:
    types, functions = iter(row["iec60870_asdu.typeid"]), iter(row["iec60870_104.utype"])
    for kind in row["iec60870_104.type"]:
        if number(kind) == 0:
            code = next(types, None)
            yield row["frame"], "i", None if code is None else number(code)
        elif number(kind) == 1:
            yield row["frame"], "s", None
        else:
            function = number(next(functions, "0"))
            yield row["frame"], "u", function if function.bit_count() == 1 else None  # several at once are none


def iec104_ours(row: Row) -> tuple[Hashable, ...] | None:
    from sensor.decoders.iec104 import U_FUNCTIONS

    kind = row.get("iec104.apci_type")
    if kind is None:
        return None
    function = row.get("iec104.u_function")
    code = row.get("iec104.type_id") if kind == "i" else 1 << U_FUNCTIONS.index(function) if function else None
    return row["frame.number"], kind, code


def dnp3_tshark(row: Row) -> Iterator[tuple[Hashable, ...]]:
    """Application messages, and link frames that carry none."""
    for code in row["dnp3.al.func"]:
        yield row["frame"], "application", number(code)
    for code in row["dnp3.ctl.prifunc"]:
        if number(code) not in (3, 4):
            yield row["frame"], "link", number(code)
    for code in row["dnp3.ctl.secfunc"]:
        yield row["frame"], "link", number(code)


def dnp3_ours(row: Row) -> tuple[Hashable, ...] | None:
    code = row.get("dnp3.function_code")
    if code is not None:
        return row["frame.number"], "application", code
    code = row.get("dnp3.link_function_code")
    if code is None or (code in (3, 4) and row.get("dnp3.link_prm")):
        return None
    return row["frame.number"], "link", code


S7_KINDS = {"job": 1, "ack": 2, "ack_data": 3, "userdata": 7}


def s7comm_tshark(row: Row) -> Iterator[tuple[Hashable, ...]]:
    functions = iter(row["s7comm.param.func"])
    for kind, reference in zip(row["s7comm.header.rosctr"], row["s7comm.header.pduref"], strict=False):
        code = number(next(functions, "-1")) if number(kind) in (1, 3) else None
        yield row["frame"], number(kind), number(reference), None if code == -1 else code


def s7comm_ours(row: Row) -> tuple[Hashable, ...] | None:
    kind = row.get("s7comm.rosctr")
    if kind is None:
        return None
    code = row.get("s7comm.function_code") if kind in ("job", "ack_data") else None
    return row["frame.number"], S7_KINDS.get(kind, kind), row.get("s7comm.pdu_reference"), code


@dataclass(frozen=True)
class Reading:
    """How messages and addresses of one protocol are taken out of both sides."""

    theirs: Callable[[Row], Iterator[tuple[Hashable, ...]]]
    ours: Callable[[Row], tuple[Hashable, ...] | None]
    their_addresses: str | None
    our_addresses: tuple[str, ...]


READINGS = {
    "modbus": Reading(modbus_tshark, modbus_ours, "modbus.reference_num", ("modbus.address", "modbus.write_address")),
    "iec104": Reading(iec104_tshark, iec104_ours, "iec60870_asdu.ioa", ("iec104.ioa",)),
    "dnp3": Reading(dnp3_tshark, dnp3_ours, "dnp3.dst", ("dnp3.link_destination",)),
    "s7comm": Reading(s7comm_tshark, s7comm_ours, None, ()),
}


def bag(items: Iterator[tuple[Hashable, ...] | None]) -> Bag:
    return Counter(item for item in items if item is not None)


def values(row: Row, names: tuple[str, ...]) -> Iterator[int]:
    """All numbers in some columns of our row, lists taken apart."""
    for name in names:
        value = row.get(name)
        yield from value if isinstance(value, list) else () if value is None else (value,)


def repeated_frames(capture: Path) -> set[int]:
    """Frames whose TCP segment an earlier one held: same ends, same sequence number, same octets."""
    from scapy.layers.inet import IP, TCP
    from scapy.utils import PcapReader

    seen: set[tuple[object, ...]] = set()
    found: set[int] = set()
    with PcapReader(str(capture)) as packets:
        for frame, packet in enumerate(packets, 1):
            if IP not in packet or TCP not in packet or not packet[TCP].payload:
                continue
            ip, tcp = packet[IP], packet[TCP]
            segment = (ip.src, ip.dst, tcp.sport, tcp.dport, tcp.seq, bytes(tcp.payload))
            if segment in seen:
                found.add(frame)
            seen.add(segment)
    return found


def with_tshark(result: Comparison, capture: Path, path: Path, rows: list[Row]) -> None:
    """Fill in a comparison with TShark's fields."""
    reading = READINGS[result.protocol]
    expected = list(tsv(path))
    result.count(
        bag(item for row in expected for item in reading.theirs(row)), bag(map(reading.ours, rows)), frames=True
    )
    if result.missing:
        again = repeated_frames(capture)
        result.copies = sum(count for message, count in result.missing.items() if frame_of(message) in again)
    if reading.their_addresses is None:
        return
    theirs: Bag = Counter(
        (row["frame"], number(text))
        for row in expected
        if any(True for _ in reading.theirs(row))  # not of a part of a DNP3 message: its last part counts
        for text in row.get(reading.their_addresses, [])
    )
    ours: Bag = Counter((row["frame.number"], value) for row in rows for value in values(row, reading.our_addresses))
    result.addresses_matched = (theirs & ours).total()
    result.addresses_missing = theirs - ours


# What Zeek and ICSNPP saw


def zeek_log(path: Path) -> list[dict[str, str]]:
    names: list[str] = []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("#fields"):
            names = line.split("\t")[1:]
        elif line and not line.startswith("#"):
            rows.append(dict(zip(names, line.split("\t"), strict=False)))
    return rows


def modbus_zeek(row: dict[str, str]) -> Iterator[tuple[Hashable, ...]]:
    name = row["func"].lower().removesuffix("_exception").replace("unknown-", "unknown_")
    kind = {"REQ": "request", "RESP": "response"}.get(row.get("pdu_type", ""), "")
    yield row.get("tid"), row.get("unit"), name, kind


ZEEK_MODBUS = {
    "encap_interface_transport": "encapsulated_interface_transport",
    "read_fifo": "read_fifo_queue",
}


ZEEK_DNP3 = {
    "delay_measure": "delay_measurement",
    "stop_appl": "stop_application",
}


def swapped(number: int) -> int:
    """ICSNPP reads the PDU reference of S7comm with its low octet first."""
    return (number & 0xFF) << 8 | number >> 8


def zeek_expected(protocol: str, path: Path) -> Bag:
    rows = zeek_log(path)
    found: list[tuple[Hashable, ...]] = []
    for row in rows:
        if protocol == "modbus" and {"tid", "func", "pdu_type"} <= row.keys():
            for tid, unit, name, kind in modbus_zeek(row):
                found.append((int(str(tid)), int(str(unit)), ZEEK_MODBUS.get(str(name), name), kind))
        elif protocol == "dnp3" and "fc_request" in row:
            for name in ("fc_request", "fc_reply"):
                if row.get(name, "-") != "-":
                    word = row[name].lower()
                    found.append((ZEEK_DNP3.get(word, word),))
        elif protocol == "s7comm" and "rosctr_code" in row:
            code = row["function_code"]
            kind = int(row["rosctr_code"])
            function = int(code, 16) if kind in (1, 3) and code != "-" else None
            found.append((kind, swapped(int(row["pdu_reference"])), function))
    return Counter(found)


def zeek_ours(protocol: str, rows: list[Row]) -> Bag:
    found: list[tuple[Hashable, ...]] = []
    for row in rows:
        if protocol == "modbus" and row.get("modbus.function"):
            found.append(
                (
                    row.get("modbus.transaction_id"),
                    row.get("modbus.unit_id"),
                    row["modbus.function"],
                    row.get("modbus.message_type"),
                )
            )
        elif protocol == "dnp3" and row.get("dnp3.function"):
            found.append((row["dnp3.function"],))
        elif protocol == "s7comm":
            item = s7comm_ours(row)
            if item is not None:
                found.append(item[1:])
    return Counter(found)


LOGS = {"modbus": "modbus.log", "dnp3": "dnp3.log", "s7comm": "s7comm.log"}


def compare(capture: Path, protocol: str) -> list[Comparison]:
    """Compare one capture with every expected log that lies beside it."""
    expected = capture.parent / "expected"
    name = capture.parent.name
    jobs = [("tshark", path) for path in expected.glob("tshark/fields.tsv")]
    if protocol in LOGS:
        jobs += [(path.parent.parent.name, path) for path in sorted(expected.glob(f"*/*/{LOGS[protocol]}"))]
    if not jobs:
        return []
    results = [Comparison(protocol, name, against) for against, _ in jobs]
    rows, ended = our_rows(capture, protocol)
    for result in results:
        result.error = ended
    for result, (against, path) in zip(results, jobs, strict=True):
        if against == "tshark":
            with_tshark(result, capture, path, rows)
        else:
            result.count(zeek_expected(protocol, path), zeek_ours(protocol, rows))
    return results


def captures(protocol: str) -> list[Path]:
    return sorted(
        path
        for folder in (CAPTURES / protocol).glob("*")
        for path in folder.iterdir()
        if path.is_file() and path.suffix in (".pcap", ".pcapng", ".cap")
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("protocols", nargs="*", default=PROTOCOLS, metavar="PROTOCOL")
    parser.add_argument("--json", action="store_true", help="one JSON object a comparison")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print up to N messages that differ")
    chosen = parser.parse_args(arguments)
    if not CAPTURES.is_dir():
        print(f"no captures at {CAPTURES}", file=sys.stderr)
        return 0
    totals: Counter[tuple[str, str, str]] = Counter()
    failed = False
    for protocol in chosen.protocols:
        for capture in captures(protocol):
            for result in compare(capture, protocol):
                failed |= result.error is not None
                for name in ("matched", "missing", "copies", "extra", "addresses_matched", "addresses_missing"):
                    value = result.as_json()[name]
                    totals[protocol, result.against, name] += value if isinstance(value, int) else 0
                report(result, as_json=chosen.json, show=chosen.show)
    if not chosen.json:
        print()
        for protocol, against in dict.fromkeys((protocol, against) for protocol, against, _ in totals):
            counts = {name: totals[protocol, against, name] for name in ("matched", "missing", "copies", "extra")}
            found, lost = (totals[protocol, against, f"addresses_{name}"] for name in ("matched", "missing"))
            line = f"{protocol:8} {against:16} matched {share(counts['matched'], counts['missing'])}"
            if counts["copies"]:
                line += f", copies left out {share(counts['matched'], counts['missing'] - counts['copies'])}"
            print(f"{line}, extra {counts['extra']}; addresses {found} of {found + lost}")
    return 1 if failed else 0


def share(found: int, lost: int) -> str:
    """``99 of 100 (99.00 %)``."""
    return f"{found} of {found + lost} ({100 * found / (found + lost) if found + lost else 100:.2f} %)"


def report(result: Comparison, *, as_json: bool, show: int) -> None:
    """Print one comparison."""
    if as_json:
        print(json.dumps(result.as_json(), ensure_ascii=False))
        return
    print(
        f"{result.protocol:8} {result.against:14} {result.capture[:60]:60} "
        f"matched {result.matched:6} (moved {result.moved:3}) "
        f"missing {result.missing.total():5} (copies {result.copies:3}) "
        f"extra {result.extra.total():5} "
        f"addresses -{result.addresses_missing.total()}" + (f"  ended: {result.error}" if result.error else "")
    )
    for word, items in (("missing", result.missing), ("extra", result.extra), ("address", result.addresses_missing)):
        for item in sorted(items.elements(), key=repr)[:show]:
            print(f"           {word} {item}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
