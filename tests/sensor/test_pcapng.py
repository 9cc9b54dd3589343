"""pcapng, block by block: simple and obsolete packet blocks, resolutions, sections, interfaces, what nobody knows.

The blocks are written here by hand after draft-ietf-opsawg-pcapng, so that each byte of them is the test's own.
"""

import gc
import io
import struct
import weakref

import polars as pl
import pytest

from event.errors import InputError
from sensor.reader import open_input

T0 = 1_788_228_000
SECTION, INTERFACE, OPB, SPB, EPB = 0x0A0D0D0A, 1, 2, 3, 6


def modbus_frame(tid, seq=100):
    """A Modbus request in Ethernet, IPv4 and TCP; 66 bytes."""
    message = struct.pack(">HHHBBHH", tid, 0, 6, 1, 3, 0, 1)
    segment = struct.pack(">HHIIBBHHH", 40000, 502, seq, 1, 0x50, 0x18, 8192, 0, 0) + message
    packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0, 64, 6, 0) + bytes([10, 0, 0, 1, 10, 0, 0, 2])
    return bytes.fromhex("02000000000202000000000108 00".replace(" ", "")) + packet + segment


A, B, C = modbus_frame(1, 100), modbus_frame(2, 112), modbus_frame(3, 124)


def block(kind, body, order="<"):
    body += b"\0" * (-len(body) % 4)
    return struct.pack(order + "II", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order="<", options=b""):
    return block(SECTION, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options, order)


def option(code, value, order="<"):
    return struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def interface(order="<", *, link=1, snap=0, options=b""):
    return block(INTERFACE, struct.pack(order + "HHI", link, 0, snap) + options, order)


def epb(frame, ticks, order="<", *, iface=0, wire=None, options=b""):
    head = struct.pack(order + "IIIII", iface, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), wire or len(frame))
    return block(EPB, head + frame + b"\0" * (-len(frame) % 4) + options, order)


def opb(frame, ticks, order="<", *, iface=0, drops=0):
    head = struct.pack(order + "HHIIII", iface, drops, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(OPB, head + frame, order)


def spb(frame, order="<", *, wire=None):
    return block(SPB, struct.pack(order + "I", wire or len(frame)) + frame, order)


def read(data):
    """Modbus events, and the account, which must balance."""
    opened = open_input(io.BytesIO(data), name="test.pcapng", collapse=False)
    tables = [t for t in opened.tables() if t["event.dataset"][0] == "modbus"]
    account = opened.account
    assert account.total == account.decoded + account.undecoded + account.failed
    return (pl.concat(tables, how="diagonal") if tables else pl.DataFrame()), account


def ids_and_times(data):
    events, _ = read(data)
    return list(zip(events["modbus.transaction_id"], events["@timestamp"].dt.epoch("ns"), strict=True))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_simple_packet_block_has_a_frame_and_the_time_of_the_one_before(order):
    ticks = T0 * 10**6 + 5
    data = section(order) + interface(order) + epb(A, ticks, order) + spb(B, order) + spb(C, order)
    events, account = read(data)
    assert events["modbus.transaction_id"].to_list() == [1, 2, 3]
    assert set(events["@timestamp"].dt.epoch("us")) == {ticks}
    assert account.total == account.decoded == 3
    assert account.notes["frames_without_time"] == 2


def test_a_simple_packet_block_is_cut_by_the_snapshot_length_of_its_interface():
    data = section() + interface(snap=len(A) - 4) + spb(A[:-4], wire=len(A))
    events, account = read(data)
    assert account.total == 1
    assert events.is_empty() or events["error.code"].null_count() == 0  # never a whole message out of a cut one


@pytest.mark.parametrize("order", ["<", ">"])
def test_obsolete_packet_blocks_are_read_with_their_interface_and_time(order):
    kinds = interface(order) + interface(order, options=option(9, b"\x09", order) + option(0, b"", order))
    data = section(order) + kinds + opb(A, T0 * 10**6 + 7, order) + opb(B, T0 * 10**9 + 8_001, order, iface=1, drops=9)
    assert ids_and_times(data) == [(1, T0 * 10**9 + 7_000), (2, T0 * 10**9 + 8_001)]


@pytest.mark.parametrize(
    ("resolution", "ticks", "nanoseconds"),
    [
        (0, T0, T0 * 10**9),
        (3, T0 * 10**3 + 123, T0 * 10**9 + 123_000_000),
        (6, T0 * 10**6 + 123_456, T0 * 10**9 + 123_456_000),
        (9, T0 * 10**9 + 123_456_789, T0 * 10**9 + 123_456_789),
        (0x80, T0, T0 * 10**9),
        (0x80 | 10, (T0 << 10) + 512, T0 * 10**9 + 500_000_000),
        (0x80 | 20, (T0 << 20) + (1 << 18), T0 * 10**9 + 250_000_000),
        (0x80 | 30, (T0 << 30) + 1, T0 * 10**9),
        (0x80 | 32, (T0 << 32) + (3 << 30), T0 * 10**9 + 750_000_000),
    ],
)
def test_decimal_and_binary_resolutions_give_the_same_instants(resolution, ticks, nanoseconds):
    options = option(9, bytes([resolution])) + option(0, b"")
    assert ids_and_times(section() + interface(options=options) + epb(A, ticks)) == [(1, nanoseconds)]


def test_picoseconds_fit_for_early_instants_only_and_are_cut_to_nanoseconds():
    early = 1_000_000  # 12 January 1970: 64 bits of picoseconds end in July of that year
    options = option(9, b"\x0c") + option(0, b"")
    data = section() + interface(options=options) + epb(A, early * 10**12 + 123_456_789_999)
    assert ids_and_times(data) == [(1, early * 10**9 + 123_456_789)]


def test_an_offset_of_seconds_is_added():
    options = option(9, b"\x06") + option(14, struct.pack("<q", T0)) + option(0, b"")
    assert ids_and_times(section() + interface(options=options) + epb(A, 42)) == [(1, T0 * 10**9 + 42_000)]


@pytest.mark.parametrize("resolution", [*range(13, 128, 19), 127, 0x80 | 33, 0x80 | 63, 0x80 | 64, 255])
@pytest.mark.parametrize("ticks", [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_hostile_resolutions_and_ticks_keep_the_message_and_a_time_that_exists(resolution, ticks):
    options = option(9, bytes([resolution])) + option(14, struct.pack("<q", -(1 << 63))) + option(0, b"")
    for extra in (options, option(9, bytes([resolution])), option(9, b""), option(9, b"\x06\x06"), b"\x09\x00\xff\xff"):
        events, account = read(section() + interface(options=extra) + epb(A, ticks) + epb(B, ticks))
        assert account.total == 2
        assert account.decoded == 2
        assert events["modbus.transaction_id"].to_list() == [1, 2]
        assert events["@timestamp"].null_count() == 0


def test_each_section_has_interfaces_byte_order_and_resolution_of_its_own():
    nano = option(9, b"\x09") + option(0, b"")
    nano_big = option(9, b"\x09", ">") + option(0, b"", ">")
    data = (
        section("<")
        + interface("<")
        + interface("<", options=nano)
        + epb(A, T0 * 10**6, "<")
        + epb(B, T0 * 10**9 + 9, "<", iface=1)
        + section(">")
        + interface(">", options=nano_big)  # number 0 again, with another clock
        + epb(C, T0 * 10**9 + 10, ">")
    )
    assert ids_and_times(data) == [(1, T0 * 10**9), (2, T0 * 10**9 + 9), (3, T0 * 10**9 + 10)]


def test_interfaces_of_one_section_may_differ_in_link_type():
    data = section() + interface(link=1) + interface(link=101) + epb(A, T0) + epb(B[14:], T0, iface=1)
    assert read(data)[0]["modbus.transaction_id"].to_list() == [1, 2]


def test_a_frame_of_an_interface_that_was_never_described_fails_alone():
    data = section() + interface() + epb(A, T0) + epb(B, T0, iface=7) + epb(C, T0)
    events, account = read(data)
    assert (account.total, account.decoded, account.failed) == (3, 2, 1)
    assert events["modbus.transaction_id"].to_list() == [1, 3]


def test_interfaces_do_not_outlive_their_section():
    data = section() + interface() + interface() + epb(A, T0, iface=1) + section() + interface() + epb(B, T0, iface=1)
    _, account = read(data)
    assert (account.decoded, account.failed) == (1, 1)


@pytest.mark.parametrize("size", [0, 4, 100, 70_000, 5_000_000])
def test_blocks_that_nobody_knows_are_skipped_whatever_their_size(size):
    strange = block(0x0BAD_0BAD & 0x7FFFFFFF, b"\xab" * size) + block(5, bytes(size)) + block(4, b"\0" * size)
    data = section() + strange + interface() + epb(A, T0) + strange + epb(B, T0)
    events, account = read(data)
    assert events["modbus.transaction_id"].to_list() == [1, 2]
    assert account.total == 2


def test_options_and_comments_of_any_block_change_nothing():
    comment = option(1, "注释 comment".encode()) + option(0, b"")
    plain = section() + interface() + epb(A, T0 * 10**6)
    dressed = (
        section(options=option(2, b"hardware") + comment)
        + interface(options=option(2, b"eth0") + comment)
        + epb(A, T0 * 10**6, options=option(2, struct.pack("<I", 1)) + comment)
    )
    assert ids_and_times(dressed) == ids_and_times(plain)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda d: d[:-1], "truncated"),
        (lambda d: d[:-4] + b"\0\0\0\0", "block"),
        (lambda d: d + struct.pack("<II", 6, 13) + bytes(20), "block"),
        (lambda d: d + struct.pack("<II", 6, 0) + bytes(20), "block"),
        (lambda d: d + struct.pack("<II", 6, 0xFFFFFFFC) + bytes(20), "block"),
        (lambda d: d + struct.pack("<III", SECTION, 28, 0xDEADBEEF) + bytes(16), "section"),
    ],
    ids=["cut", "trailer", "odd", "empty", "huge", "magic"],
)
def test_damage_is_named_with_its_place_and_what_came_before_is_kept(damage, word):
    whole = section() + interface() + epb(A, T0 * 10**6) + epb(B, T0 * 10**6)
    opened = open_input(io.BytesIO(damage(whole)), name="hurt.pcapng", collapse=False)
    kept = []
    with pytest.raises(InputError) as caught:
        kept.extend(opened.tables())
    said = str(caught.value)
    assert "hurt.pcapng" in said
    assert "byte" in said
    assert word in said.lower()
    messages = [t for t in kept if t["event.dataset"][0] == "modbus"]
    assert messages[0]["modbus.transaction_id"][0] == 1


def test_a_captured_length_beyond_its_block_fails_that_frame_alone():
    lying = struct.pack("<IIIII", 0, 0, 0, 10_000, 10_000) + A
    data = section() + interface() + epb(A, T0) + block(EPB, lying) + epb(B, T0) + block(EPB, b"\0" * 8) + epb(C, T0)
    events, account = read(data)
    assert (account.decoded, account.failed) == (3, 2)
    assert events["modbus.transaction_id"].to_list() == [1, 2, 3]


def test_a_damaged_capture_leaves_no_state_behind():
    gc.collect()
    gc.disable()  # the collector would find the cycle some day: after gigabytes
    try:
        opened = open_input(io.BytesIO((section() + interface() + epb(A, T0))[:-1]), name="hurt.pcapng")
        state = weakref.ref(opened.walk.state.c)  # a view of the one record of state
        with pytest.raises(InputError):
            list(opened.tables())
        del opened
        assert state() is None
    finally:
        gc.enable()
