"""When a flow ends by itself: idle and active timeouts, and what they leave of a connection that goes on."""

import io
import struct

import polars as pl
import pytest

from sensor.base import SensorLimits
from sensor.reader import open_input

T0 = 1_788_228_000
S = 10**9
LIMITS = SensorLimits(idle_timeout_ns=60 * S, active_timeout_ns=300 * S)


def packet(proto, sport, dport, payload=b"", *, back=False, flags=0x10, seq=1, host=1):
    ends = (bytes([10, 0, 0, host]), bytes([10, 0, 0, 200]))
    if back:
        sport, dport, ends = dport, sport, ends[::-1]
    if proto == 6:
        body = struct.pack(">HHIIBBHHH", sport, dport, seq, 1, 0x50, flags, 8192, 0, 0) + payload
    else:
        body = struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, proto, 0) + ends[0] + ends[1]
    return bytes.fromhex("020000000002020000000001") + b"\x08\x00" + head + body


def flows(packets, *, limits=LIMITS):
    """Flows of ``(second, frame)`` pairs, in order of their first packet."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for second, frame in packets:
        out += struct.pack("<IIII", T0 + int(second), round(second % 1 * 10**6), len(frame), len(frame)) + frame
    opened = open_input(io.BytesIO(out), name="test.pcap", limits=limits)
    found = pl.concat([t for t in opened.tables() if t["event.dataset"][0] == "flow"], how="diagonal")
    assert opened.account.decoded == len(packets)
    total = found["network.packets"].sum()
    assert total == len(packets), "every packet is in one flow"
    return found.sort("@timestamp", "source.port")


@pytest.mark.parametrize("proto", [6, 17])
def test_silence_longer_than_the_idle_timeout_parts_two_flows(proto):
    found = flows([(0, packet(proto, 4000, 4001)), (10, packet(proto, 4000, 4001)), (71, packet(proto, 4000, 4001))])
    assert found["flow.end_reason"].to_list() == ["idle", "end_of_input"]
    assert found["network.packets"].to_list() == [2, 1]
    assert found["event.duration"].to_list() == [10 * S, 0]


@pytest.mark.parametrize("proto", [6, 17])
def test_silence_of_just_the_idle_timeout_does_not(proto):
    found = flows([(0, packet(proto, 4000, 4001)), (60, packet(proto, 4000, 4001))])
    assert found["flow.end_reason"].to_list() == ["end_of_input"]
    assert found["network.packets"].to_list() == [2]


def test_answers_keep_a_flow_alive():
    both = [(20.0 * i, packet(17, 4000, 4001, back=i % 2 == 1)) for i in range(10)]
    found = flows(both)
    assert found["source.packets"].to_list() == [5]
    assert found["destination.packets"].to_list() == [5]


def test_silent_flows_are_closed_before_a_nearly_full_table_has_to_evict():
    silent = [(0, packet(17, 1000, 1001, host=10 + i)) for i in range(13)]
    talk = [(i / 25, packet(17, 2000, 2001, host=2)) for i in range(5000)]
    late = [(200, packet(17, 1000, 1001, host=100 + i)) for i in range(10)]
    found = flows(silent + talk + late, limits=SensorLimits(flows=16, idle_timeout_ns=60 * S))
    gone = found.filter(pl.col("source.ip").is_in([f"10.0.0.{10 + i}" for i in range(13)]))
    assert gone["flow.end_reason"].to_list() == ["idle"] * 13
    assert "evicted" not in found["flow.end_reason"].to_list()


def test_a_long_flow_is_reported_in_parts_that_add_up():
    many = [(10.0 * i, packet(17, 4000, 4001, b"x" * 10)) for i in range(100)]
    found = flows(many)
    reasons = found["flow.end_reason"].to_list()
    assert reasons == ["active"] * (len(reasons) - 1) + ["end_of_input"]
    assert len(reasons) == 4  # 990 s in parts of a little more than 300 s
    assert (found["event.duration"] <= 300 * S).all()
    starts = found["@timestamp"].dt.epoch("s").to_list()
    assert starts == sorted(set(starts))
    assert len(set(found["event.id"])) == len(reasons)


def test_a_part_of_a_long_connection_keeps_its_direction():
    start = [(0, packet(6, 40000, 9999, flags=2)), (0, packet(6, 40000, 9999, back=True, flags=0x12))]
    talk = [(20.0 * i, packet(6, 40000, 9999, b"x", back=i % 2 == 1, seq=2 + i)) for i in range(1, 40)]
    found = flows(start + talk)
    assert found.height >= 2
    assert set(found["destination.port"]) == {9999}
    assert "active" in found["flow.end_reason"].to_list()


def test_messages_over_the_border_of_an_active_timeout_are_not_lost():
    def ask(tid):
        return struct.pack(">HHHBBHH", tid, 0, 6, 1, 3, 0, 1)

    frames = [(2.0 * i, packet(6, 40000, 502, ask(i), seq=1 + 12 * i)) for i in range(400)]
    half = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    for second, frame in frames:
        half += struct.pack("<IIII", T0 + int(second), 0, len(frame), len(frame)) + frame
    opened = open_input(io.BytesIO(half), name="test.pcap", limits=LIMITS, collapse=False)
    tables = list(opened.tables())
    seen = pl.concat([t for t in tables if t["event.dataset"][0] == "modbus"], how="diagonal")
    assert seen["modbus.transaction_id"].to_list() == list(range(400))
    ends = pl.concat([t for t in tables if t["event.dataset"][0] == "flow"], how="diagonal")["flow.end_reason"]
    assert ends.to_list().count("active") == 2


def test_the_same_ports_after_a_reset_are_another_flow():
    found = flows(
        [
            (0, packet(6, 40000, 9999, flags=2)),
            (0, packet(6, 40000, 9999, back=True, flags=0x12)),
            (1, packet(6, 40000, 9999, back=True, flags=4)),
            (20, packet(6, 40000, 9999, flags=2, seq=77)),
            (20, packet(6, 40000, 9999, back=True, flags=0x12)),
        ]
    )
    assert found["flow.end_reason"].to_list() == ["reset", "end_of_input"]


def test_time_that_runs_backwards_ends_nothing():
    found = flows([(100, packet(17, 1, 2)), (0, packet(17, 1, 2)), (101, packet(17, 1, 2))])
    assert found["network.packets"].to_list() == [3]
    assert found["event.duration"].to_list() == [101 * S]
