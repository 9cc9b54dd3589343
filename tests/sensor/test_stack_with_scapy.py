"""Frames that scapy makes: links, IP options, fragments, extension headers, disordered TCP; TShark beside them."""

import io
import shutil
import struct
import subprocess

import polars as pl
import pytest

from sensor.reader import open_input

scapy = pytest.importorskip("scapy.all", reason="scapy is in the extra generate")

MAC = {"src": "02:20:00:00:00:01", "dst": "02:20:00:00:00:02"}
V4 = {"src": "192.0.2.1", "dst": "192.0.2.2"}
V6 = {"src": "2001:db8::1", "dst": "2001:db8::2"}


def ask(number):
    return struct.pack(">HHHBBHH", number, 0, 6, 1, 3, 0, 1)


def segment(data, seq=100):
    return scapy.TCP(sport=40000, dport=502, seq=seq, ack=1, flags="PA") / data


def written(packets, link):
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)
    for number, packet in enumerate(packets):
        frame = bytes(packet)
        out += struct.pack("<IIII", 1_788_228_000 + number, 0, len(frame), len(frame)) + frame
    return out


def numbers(packets, link=1):
    """Transaction numbers in order, and the account."""
    opened = open_input(io.BytesIO(written(packets, link)), name="scapy.pcap", collapse=False)
    tables = [t for t in opened.tables() if t["event.dataset"][0] == "modbus"]
    account = opened.account
    assert account.total == account.decoded + account.undecoded + account.failed == len(packets)
    return (pl.concat(tables, how="diagonal")["modbus.transaction_id"].to_list() if tables else []), account


ETHERNET = scapy.Ether(**MAC)
PLAIN = scapy.IP(**V4) / segment(ask(1))


@pytest.mark.parametrize(
    ("link", "packet"),
    [
        (1, ETHERNET / PLAIN),
        (1, ETHERNET / scapy.Dot1Q(vlan=5) / PLAIN),
        (1, ETHERNET / scapy.Dot1AD(vlan=7) / scapy.Dot1Q(vlan=5) / PLAIN),
        (1, scapy.Dot3(**MAC) / scapy.LLC() / scapy.SNAP(OUI=0, code=0x0800) / PLAIN),
        (113, scapy.CookedLinux(proto=0x0800) / PLAIN),
        (113, scapy.CookedLinux(proto=0x8100) / scapy.Dot1Q(vlan=5) / PLAIN),
        (276, scapy.CookedLinuxV2(proto=0x0800) / PLAIN),
        (101, PLAIN),
        (101, scapy.IPv6(**V6) / segment(ask(1))),
        (0, scapy.Loopback(type=2) / PLAIN),
        (1, ETHERNET / scapy.IP(**V4, options=[scapy.IPOption_RR(), scapy.IPOption_NOP()]) / segment(ask(1))),
        (1, ETHERNET / scapy.IP(**V4, options=[scapy.IPOption_Router_Alert()]) / segment(ask(1))),
        (1, ETHERNET / scapy.IPv6(**V6) / scapy.IPv6ExtHdrHopByHop() / segment(ask(1))),
        (1, ETHERNET / scapy.IPv6(**V6) / scapy.IPv6ExtHdrDestOpt() / scapy.IPv6ExtHdrRouting() / segment(ask(1))),
    ],
    ids=[
        "ethernet",
        "vlan",
        "qinq",
        "snap",
        "sll",
        "sll vlan",
        "sll2",
        "raw 4",
        "raw 6",
        "loopback",
        "record route",
        "router alert",
        "hop by hop",
        "destination and routing",
    ],
)
def test_the_message_is_found_below_every_header(link, packet):
    found, account = numbers([packet], link)
    assert found == [1]
    assert account.decoded == 1


@pytest.mark.parametrize("size", [8, 16, 24])
@pytest.mark.parametrize("order", [1, -1])
def test_fragments_of_ipv4_are_put_together_in_any_order(size, order):
    parts = scapy.fragment(scapy.IP(**V4, id=77) / segment(ask(1)), fragsize=size)
    assert len(parts) > 1
    found, account = numbers([ETHERNET / part for part in parts[::order]])
    assert found == [1]
    assert account.decoded == len(parts)


def test_fragments_of_ipv6_are_put_together():
    whole = scapy.IPv6(**V6) / scapy.IPv6ExtHdrFragment(id=9) / segment(b"".join(ask(n) for n in range(120)))
    parts = scapy.fragment6(whole, 600)
    assert len(parts) > 1
    assert numbers([ETHERNET / part for part in parts])[0] == list(range(120))


def test_a_fragment_that_never_comes_gives_no_message():
    parts = scapy.fragment(scapy.IP(**V4, id=77) / segment(ask(1)), fragsize=16)
    assert numbers([ETHERNET / part for part in parts[1:]])[0] == []


A, B, C, D = (ask(n) for n in (1, 2, 3, 4))
CASES = {
    "in order": [(100, A), (112, B), (124, C)],
    "retransmitted": [(100, A), (100, A), (112, B), (112, B), (124, C)],
    "out of order": [(100, A), (124, C), (112, B)],
    "one message in three": [(100, A[:4]), (104, A[4:9]), (109, A[9:] + B), (124, C)],
    "overlap behind": [(100, A + B), (106, A[6:] + B + C)],
    "retransmitted with more": [(100, A), (100, A + B + C)],
    "one byte each": [*((100 + i, (A + B + C)[i : i + 1]) for i in range(36))],
}


def stream(case):
    start = [
        ETHERNET / scapy.IP(**V4) / scapy.TCP(sport=40000, dport=502, seq=99, flags="S"),
        ETHERNET
        / scapy.IP(src=V4["dst"], dst=V4["src"])
        / scapy.TCP(sport=502, dport=40000, seq=0, ack=100, flags="SA"),
    ]
    return start + [ETHERNET / scapy.IP(**V4) / segment(data, seq) for seq, data in CASES[case]]


@pytest.mark.parametrize("case", CASES)
def test_each_message_of_a_stream_comes_out_once_and_in_order(case):
    assert numbers(stream(case))[0] == [1, 2, 3]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not here")
@pytest.mark.parametrize("case", ["in order", "out of order"])  # it wants 8 bytes of a message in the first segment
def test_tshark_sees_the_same_messages(case, tmp_path):
    path = tmp_path / "stream.pcap"
    path.write_bytes(written(stream(case), 1))
    command = [
        "tshark",
        "-r",
        str(path),
        "-o",
        "tcp.reassemble_out_of_order:TRUE",
        "-T",
        "fields",
        "-e",
        "mbtcp.trans_id",
    ]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = [int(one) for line in out.splitlines() for one in line.split(",") if one]
    assert numbers(stream(case))[0] == theirs
