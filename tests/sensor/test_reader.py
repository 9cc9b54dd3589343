"""Captures from bytes to events: formats, link types, TCP order, scans, damage, hostile bytes."""

import gzip
import io
import random
import struct
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
import zstandard

from event.errors import InputError
from sensor.base import SensorLimits
from sensor.reader import open_input

ROOT = Path(__file__).resolve().parents[2]
PUMP = ROOT / "pcaps/modbus/pump-station.pcap"
CLIENT, SERVER = "0a140105", "0a14010a"
T0 = 1_788_228_000


def ethernet(payload, kind=0x0800, tags=()):
    head = bytes.fromhex("02200a14010a02200a140105")
    for tag in tags:
        head += struct.pack(">HH", *tag)
    return head + struct.pack(">H", kind) + payload


def ipv4(payload, proto=6, src=CLIENT, dst=SERVER, ident=1, frag=0):
    return (
        struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), ident, frag, 64, proto, 0)
        + bytes.fromhex(src)
        + bytes.fromhex(dst)
        + payload
    )


def tcp(payload, seq, *, back=False, flags=0x18, client_port=40000, server_port=502):
    ports = (server_port, client_port) if back else (client_port, server_port)
    segment = struct.pack(">HHIIBBHHH", *ports, seq & 0xFFFFFFFF, 1, 0x50, flags, 8192, 0, 0) + payload
    return ipv4(segment, src=SERVER if back else CLIENT, dst=CLIENT if back else SERVER)


def request(tid, function=3, body=b"\0\0\0\1"):
    pdu = bytes([function]) + body
    return struct.pack(">HHHB", tid, 0, len(pdu) + 1, 1) + pdu


def pcap(frames, *, order="<", nano=False, link=1, step=0):
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for i, frame in enumerate(frames):
        fraction = i * (1000 if nano else 1)
        out += struct.pack(order + "IIII", T0 + i * step, fraction, len(frame), len(frame)) + frame
    return out


def ng_block(kind, body, order="<"):
    body += b"\0" * (-len(body) % 4)
    size = len(body) + 12
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)


def pcapng(sections):
    """``sections``: (order, [(tsresol, frames)]) one interface an entry."""
    out = b""
    for order, interfaces in sections:
        out += ng_block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)
        for resol, _ in interfaces:
            out += ng_block(1, struct.pack(order + "HHI", 1, 0, 0) + struct.pack(order + "HHB3x", 9, 1, resol), order)
        out += ng_block(0xBAD, b"unknown block", order)
        for number, (resol, frames) in enumerate(interfaces):
            for i, frame in enumerate(frames):
                ticks = T0 * 10**resol + i * 10 ** (resol - 6)
                head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
                out += ng_block(6, head + frame, order)
    return out


def read(data, **options):
    """Events by dataset, and the account."""
    options.setdefault("collapse", False)
    opened = open_input(io.BytesIO(data), name="test", **options)
    tables: dict[str, list[pl.DataFrame]] = {}
    for table in opened.tables():
        tables.setdefault(str(table["event.dataset"][0]), []).append(table)
    account = opened.account
    assert account.total == account.decoded + account.undecoded + account.failed
    return {name: pl.concat(parts, how="diagonal") for name, parts in tables.items()}, account


STORY = [
    ethernet(tcp(b"", 99, flags=2)),
    ethernet(tcp(b"", 499, back=True, flags=0x12)),
    ethernet(tcp(request(1), 100)),
    ethernet(tcp(request(2), 112)),
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_both_byte_orders_and_resolutions_say_the_same(order, nano):
    events, account = read(pcap(STORY, order=order, nano=nano))
    assert events["modbus"]["modbus.transaction_id"].to_list() == [1, 2]
    assert events["modbus"]["@timestamp"].dt.epoch("us").to_list() == [T0 * 10**6 + 2, T0 * 10**6 + 3]
    assert account.total == 4


def test_sections_and_interfaces_of_pcapng_keep_their_own_clock_and_order():
    data = pcapng(
        [("<", [(6, STORY), (9, [ethernet(tcp(request(3), 124))])]), (">", [(3 + 3, [ethernet(tcp(request(4), 136))])])]
    )
    events, account = read(data)
    assert events["modbus"]["modbus.transaction_id"].to_list() == [1, 2, 3, 4]
    assert set(events["modbus"]["@timestamp"].dt.epoch("s").to_list()) == {T0}
    assert (account.total, account.kind) == (6, "pcapng")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("whole", [pcap(STORY), pcapng([("<", [(6, STORY)])])], ids=["pcap", "pcapng"])
def test_compressed_captures_are_the_captures_themselves(pack, whole):
    assert read(pack(whole))[0]["modbus"].equals(read(whole)[0]["modbus"])


@pytest.mark.parametrize(
    ("link", "wrap"),
    [
        (1, lambda ip: ethernet(ip)),
        (1, lambda ip: ethernet(ip, tags=[(0x8100, 7)])),
        (1, lambda ip: ethernet(ip, tags=[(0x88A8, 8), (0x8100, 7)])),
        (113, lambda ip: struct.pack(">HHH8sH", 0, 1, 6, b"\2 \n\x14\1\5\0\0", 0x0800) + ip),
        (276, lambda ip: struct.pack(">HHIHBB8s", 0x0800, 0, 1, 1, 0, 6, b"\2 \n\x14\1\5\0\0") + ip),
        (101, lambda ip: ip),
        (228, lambda ip: ip),
        (0, lambda ip: struct.pack("<I", 2) + ip),
    ],
    ids=["ethernet", "vlan", "qinq", "sll", "sll2", "raw", "ipv4", "loopback"],
)
def test_every_link_type_leads_to_the_same_message(link, wrap):
    events, account = read(pcap([wrap(tcp(request(1), 100))], link=link))
    assert events["modbus"]["modbus.function_code"].to_list() == [3]
    assert account.decoded == 1


def test_an_unknown_link_type_is_counted_not_guessed():
    events, account = read(pcap(STORY, link=147))
    assert not events
    assert account.undecoded == 4


def stream(*segments):
    return pcap([*STORY[:2], *(ethernet(tcp(data, seq)) for seq, data in segments)])


A, B, C = request(1), request(2), request(3)


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([(100, A + B + C)], [1, 2, 3]),
        ([(100, A[:5]), (105, A[5:] + B[:1]), (113, B[1:]), (124, C)], [1, 2, 3]),
        ([(100, A), (100, A), (112, B), (124, C)], [1, 2, 3]),
        ([(100, A), (124, C), (112, B)], [1, 2, 3]),
        ([(100, A + B[:6]), (112, B), (124, C)], [1, 2, 3]),
    ],
    ids=["several in one", "one over several", "retransmission", "out of order", "overlap"],
)
def test_messages_come_out_of_a_stream_in_order_and_once(segments, expected):
    events, _ = read(stream(*segments))
    assert events["modbus"]["modbus.transaction_id"].to_list() == expected
    assert events["modbus"]["error.code"].null_count() == 3 if "error.code" in events["modbus"].columns else True


def test_decoding_goes_on_behind_a_gap_and_says_so():
    late = [(124 + 12 * i, request(10 + i)) for i in range(60)]
    events, account = read(stream((100, A), *late))
    seen = events["modbus"]["modbus.transaction_id"].to_list()
    assert seen[0] == 1
    assert {10 + i for i in range(60)} <= set(seen)
    assert account.notes.get("stream_gaps") == 1


def test_parts_of_a_message_that_never_ends_are_in_the_account():
    part = bytes.fromhex("0300000b 02f000 32010000".replace(" ", ""))  # a COTP fragment without end-of-TSDU mark
    frames = [ethernet(tcp(b"", 99, flags=2, server_port=102)), ethernet(tcp(part, 100, server_port=102))]
    _, account = read(pcap(frames))
    assert account.notes["s7comm_fragments_open"] == 1
    assert account.as_json()["notes"]["s7comm_fragments_open"] == 1


def test_a_scan_of_all_function_codes_is_seen_whole():
    scan = [(100 + 8 * i, struct.pack(">HHHBB", i, 0, 2, 1, i)) for i in range(1, 127)]
    base = scan[0][0]
    frames = [*STORY[:1], ethernet(tcp(b"", base - 1, flags=2))][1:] + [ethernet(tcp(d, s)) for s, d in scan]
    for collapse in (False, True):
        events, _ = read(pcap(frames), collapse=collapse)
        requests = events["modbus"].filter(pl.col("modbus.message_type") == "request")
        assert sorted(requests["modbus.function_code"].to_list()) == list(range(1, 127))


def test_a_malformed_message_never_ends_the_decoding_of_a_flow():
    bad = struct.pack(">HHHB", 9, 0, 6, 1) + b"\x10\0\0\xff\xff"
    events, _ = read(stream((100, A), (112, bad), (124, B), (136, C)))
    rows = events["modbus"]
    assert {1, 2, 3} <= set(rows["modbus.transaction_id"].to_list())
    assert rows["error.code"].drop_nulls().len() >= 1
    assert set(rows.filter(pl.col("error.code").is_not_null())["event.kind"].to_list()) == {"pipeline_error"}


def test_other_content_on_an_industrial_port_is_named_and_not_decoded_as_it():
    events, _ = read(stream((100, b"GET / HTTP/1.1\r\nHost: plc\r\n\r\n"), (127, b"GET /a HTTP/1.1\r\n\r\n")))
    assert "protocol_mismatch" in events["sensor"]["error.code"].to_list()
    assert "modbus" not in events


def test_fragments_are_put_together():
    segment = tcp(request(1), 100)[20:]
    parts = [ipv4(segment[:16], frag=0x2000), ipv4(segment[16:], frag=2)]
    events, account = read(pcap([ethernet(p) for p in parts]))
    assert events["modbus"]["modbus.transaction_id"].to_list() == [1]
    assert account.decoded == 2


def test_datagrams_that_never_become_whole_are_counted_each_once():
    """Wherever the secret hash puts them, and whether or not another fragment came by after their time."""
    segment = tcp(request(1), 100)[20:]
    frames = [ethernet(ipv4(segment[:16], frag=0x2000, ident=number)) for number in range(40)]
    for _ in range(5):
        events, account = read(pcap(frames, step=7))
        told = events["sensor"].filter(pl.col("error.code") == "fragment_incomplete")
        assert told["event.count"].sum() == 40
        assert account.notes["datagrams_incomplete"] == 40


def test_a_flow_counts_both_sides_and_knows_its_end():
    frames = [*STORY, ethernet(tcp(b"", 124, flags=0x11)), ethernet(tcp(b"", 500, back=True, flags=0x11))]
    flow = read(pcap(frames))[0]["flow"].row(0, named=True)
    assert (flow["source.ip"], flow["destination.port"]) == ("10.20.1.5", 502)
    assert (flow["source.packets"], flow["destination.packets"]) == (4, 2)
    assert (flow["network.protocol"], flow["flow.state"]) == ("modbus", "closed")
    assert flow["event.duration"] >= 0


def test_the_bound_on_flows_is_kept_and_said():
    frames = [ethernet(tcp(b"", 99, flags=2, client_port=1024 + i)) for i in range(200)]
    events, account = read(pcap(frames), limits=SensorLimits(flows=16))
    assert events["flow"].height == 200
    assert "evicted" in events["flow"]["flow.end_reason"].to_list()
    assert account.decoded == 200


@pytest.mark.parametrize("cut", [1, 5, 17, 40])
def test_a_cut_capture_gives_what_came_before_and_names_the_place(cut):
    opened = open_input(io.BytesIO(pcap(STORY)[:-cut]), name="cut.pcap", collapse=False)
    tables = []
    with pytest.raises(InputError, match="truncated") as caught:
        tables.extend(opened.tables())
    assert "cut.pcap" in str(caught.value)
    assert opened.account.total == 3
    assert any(t["event.dataset"][0] == "modbus" for t in tables)


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + bytes(60), bytes(5000)], ids=["empty", "program", "zeros"])
def test_what_is_no_input_is_refused(data):
    with pytest.raises(InputError):
        list(open_input(io.BytesIO(data), name="x").tables())


def _survive(data: bytes) -> None:
    try:
        opened = open_input(io.BytesIO(data), name="mutated")
    except InputError:
        return
    counts: Counter[str] = Counter()
    try:
        for table in opened.tables():
            counts[str(table["event.dataset"][0])] += table.height
    except InputError:
        pass
    account = opened.account
    assert account.total == account.decoded + account.undecoded + account.failed
    assert not account.notes.get("kernel_index_error"), "a bounds check had to catch a kernel's bug"


def _mutations(rounds: int) -> None:
    chance = random.Random(20261124)
    captures = [p.read_bytes()[:60_000] for p in sorted((ROOT / "pcaps").rglob("*.pcap"))]
    for _ in range(rounds):
        data = bytearray(chance.choice(captures))
        for _ in range(chance.randint(1, 60)):
            data[chance.randrange(40, len(data))] = chance.randrange(256)
        _survive(bytes(data[: chance.randint(40, len(data))]))


def test_mutated_captures_never_crash_and_always_balance():
    _mutations(60)


@pytest.mark.slow
def test_many_mutated_captures_never_crash_and_always_balance():
    _mutations(5000)


def test_reading_twice_gives_the_same_ids():
    ids = [sorted(t["event.id"].to_list() for t in open_input(PUMP).tables()) for _ in range(2)]
    assert ids[0] == ids[1]
    flat = [i for part in ids[0] for i in part]
    assert len(flat) == len(set(flat))
