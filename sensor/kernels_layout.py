"""What kernels and Python share: numbers of counters and codes, and the layout of all state.

Nothing here imports numba. Every field of a record is read as ``r["name"]`` so that the kernels also run
uncompiled.
"""

from __future__ import annotations

from mmap import mmap
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

# --- places in State.c, int64 ------------------------------------------------------------------------------------
C_POS = 0  # where the walker stands in the block
C_NEXT = 1  # where the next record starts: an IndexError goes on there
C_FRAME = 2  # frames met so far
C_DECODED = 3
C_UNDECODED = 4
C_FAILED = 5
C_STATUS = 6  # why the walker came back, S_*
C_SKIP = 7  # bytes of a huge pcapng block to pass over
C_SWAP = 8  # 1: the file or section is big-endian
C_NANO = 9  # pcap: 1 if the fraction is nanoseconds
C_RECORD = 10  # pcap: bytes of a record header
C_LINK = 11  # pcap: link type
C_MAX_FRAME = 12
C_IFACES = 13  # pcapng: interfaces of this section
C_TIME = 14  # time of the last frame
C_K1 = 15  # hash keys
C_K2 = 16
C_SEED = 17
C_FREE_FLOW = 18  # head of the list of free flow records, -1 if none
C_FREE_STREAM = 19
C_FREE_CARRY = 20
C_SERIAL = 21  # next flow key
C_EPOCH = 22  # number of the flush under way
C_PDUS = 23  # rows in pdus
C_DATA = 24  # bytes in data
C_ENDS = 25  # rows in ends
C_LOCALS = 26
C_ARPS = 27
C_SIGNS = 28
C_PDU_FLUSH = 29  # flush thresholds
C_DATA_FLUSH = 30
C_ROW_FLUSH = 31
C_IDLE = 32
C_ACTIVE = 33
C_SWEEP_AT = 34  # next flow record to look at in the sweep under way, -1 if none
C_SWEEP_TIME = 35  # time of the last sweep
C_SWEEP_FRAME = 36
C_FLOW_HAND = 37  # where the next victim is looked for
C_STREAM_HAND = 38
C_CARRY = 39  # bytes of one carry buffer
C_FLOWS_LIVE = 40
C_FLOWS_EVICTED = 41
C_STREAMS_EVICTED = 42
C_CARRY_EMPTY = 43  # a carry buffer was wanted and none was free
C_FRAGS_EVICTED = 44
C_FRAGS_STALE = 45
C_PDUS_LOST = 46  # output was full in the middle of a frame
C_SIGNS_LOST = 47
C_FRAG_HAND = 48
C_RETRANSMITTED = 49
C_GAPS = 50
C_DAMAGE = 51  # what was wrong, D_*
C_DAMAGE_VALUE = 52
C_LATE = 53  # 1 while flows are being closed outside of a frame
C_INTERFACE = 54  # interface of the frame under way, over all sections
C_TIME_CLAMPED = 55
C_NO_TIME = 56
C_WANT = 57  # bit set of applications that have a decoder
C_TUNNELS = 58
C_FRAG_DROPPED = 59
C_FRESH_FLOW = 60  # records from here on were never used: nothing is touched before it is needed
C_FRESH_STREAM = 61
C_FRESH_CARRY = 62
C_FLOWS = 63  # how much of each table may be used
C_SLOTS = 64  # a power of two
C_STREAMS = 65
C_CARRIES = 66
C_FRAGS = 67
COUNTERS = 72

S_MORE, S_FLUSH, S_BLOCK, S_SKIP, S_DAMAGED, S_DONE = 0, 1, 2, 3, 4, 5
D_FRAME_LENGTH, D_BLOCK_LENGTH, D_BLOCK_TRAILER, D_NO_SECTION = 1, 2, 3, 4

# --- notes: one counter for each reason --------------------------------------------------------------------------
N_ETHERTYPE = 0
N_LINK = 1 << 16
N_LLC = 2 << 16
N_REASON = N_LLC + 256
REASONS = (
    "ethernet_cut",
    "vlan_cut",
    "link_header_cut",
    "ipv4_cut",
    "ipv4_header_length",
    "ipv4_total_length",
    "ipv6_cut",
    "ipv6_payload_length",
    "ipv6_extension_cut",
    "ip_version",
    "tcp_cut",
    "tcp_header_length",
    "udp_cut",
    "udp_length",
    "icmp_cut",
    "arp_cut",
    "arp_hardware",
    "fragment_length",
    "fragment_beyond_64k",
    "too_many_vlan_tags",
    "mpls_cut",
    "pppoe_cut",
    "ppp_protocol",
    "interface_unknown",
    "block_shorter_than_its_frame",
    "null_family",
    "kernel_index_error",
    "snap_oui",
    "ipv6_too_many_extensions",
)
(
    R_ETH_CUT, R_VLAN_CUT, R_LINK_CUT, R_IP4_CUT, R_IP4_IHL, R_IP4_TOTAL, R_IP6_CUT, R_IP6_LENGTH, R_IP6_EXT_CUT,
    R_IP_VERSION, R_TCP_CUT, R_TCP_LENGTH, R_UDP_CUT, R_UDP_LENGTH, R_ICMP_CUT, R_ARP_CUT, R_ARP_HARDWARE,
    R_FRAG_LENGTH, R_FRAG_BIG, R_VLAN_MANY, R_MPLS_CUT, R_PPPOE_CUT, R_PPP_PROTOCOL, R_INTERFACE, R_BLOCK_SHORT,
    R_NULL_FAMILY, R_KERNEL, R_SNAP_OUI, R_IP6_EXT_MANY,
) = range(N_REASON, N_REASON + len(REASONS))  # fmt: skip
NOTES = N_REASON + len(REASONS)

FAILED = 1 << 40  # added to a note: the frame is damaged, not merely unknown
DECODED = -1

# --- applications ------------------------------------------------------------------------------------------------
A_NONE, A_MODBUS, A_IEC104, A_DNP3, A_S7, A_DNS, A_MMS, A_GIVEN_UP = 0, 1, 2, 3, 4, 5, 6, 7

# --- signs: what the sensor itself has to say, events of dataset sensor ---------------------------------------------
(
    X_MISMATCH,
    X_CONFLICT,
    X_SYN_PAYLOAD,
    X_FRAG_OVERLAP,
    X_FRAG_TINY,
    X_UNUSUAL_PORT,
    X_URGENT,
) = range(1, 8)

PROBE_TRIES = 6  # segments with payload that are looked at before a flow on an unknown port is let go
HELD = 8  # separate runs of bytes that one direction may hold behind holes
SPANS = 64  # separate runs of bytes in one IP datagram under reassembly
DATAGRAM = 1 << 16  # bytes of the longest IP datagram, and one more
FRAGMENT_TIMEOUT_NS = 30 * 10**9  # RFC 791 asks for 15 s at least, Linux waits 30 s
LINGER_NS = 10 * 10**9  # a closed connection stays so long, for late segments
FAR = 1 << 20  # bytes off the expected sequence number beyond which a segment belongs to another position
MAX_DEPTH = 5  # tunnels inside tunnels
MAX_PDU_CHUNK = 4096  # bytes of a badly framed stretch that a decoder is shown

FLOW = np.dtype(
    [
        ("a0", "i8"),
        ("a1", "i8"),
        ("b0", "i8"),
        ("b1", "i8"),
        ("ports", "i8"),
        ("meta", "i8"),  # IP version << 8 | IP protocol
        ("last", "i8"),
        ("first", "i8"),
        ("packets0", "i8"),
        ("packets1", "i8"),
        ("bytes0", "i8"),
        ("bytes1", "i8"),
        ("payload0", "i8"),
        ("payload1", "i8"),
        ("client_b", "i4"),  # 1: the client is endpoint b
        ("tcp", "i4"),  # TF_* bits
        ("flags0", "i4"),
        ("flags1", "i4"),
        ("stream", "i4"),
        ("app", "i4"),
        ("port_app", "i4"),
        ("tries", "i4"),
        ("isn0", "i8"),
        ("isn1", "i8"),
        ("hash", "i8"),
        ("serial", "i8"),
        ("first_frame", "i8"),
        ("last_frame", "i8"),
        ("epoch", "i8"),
        ("local", "i4"),
        ("next_free", "i4"),
        ("vlan", "i4"),  # -1 if none
        ("inner_vlan", "i4"),
        ("mac0", "i8"),  # -1 if none
        ("mac1", "i8"),
        ("missed", "i8"),
        ("again", "i8"),
        ("conflict", "i8"),
        ("ahead", "i8"),
        ("said", "i4"),  # bits of signs given already
        ("reason", "i4"),  # E_*
        ("depth", "i4"),
        ("interface", "i4"),
        ("part", "i8"),
    ]
)
TF_SYN, TF_SYNACK, TF_FIN0, TF_FIN1, TF_RST, TF_MIDSTREAM, TF_RST_BY_SERVER = 1, 2, 4, 8, 16, 32, 64
E_CLOSED, E_RESET, E_IDLE, E_ACTIVE, E_EVICTED, E_END = 1, 2, 3, 4, 5, 6

STREAM = np.dtype(
    [
        ("base", "i8"),  # sequence number of the first byte not delivered, -1 if unknown
        ("skip", "i8"),  # bytes of an oversized message still to pass over
        ("flow", "i4"),
        ("carry", "i4"),  # buffer in the pool, -1 if none
        ("prefix", "i4"),  # bytes at the front of the buffer that are contiguous
        ("held", "i4"),  # runs behind holes
        ("gap", "i4"),  # 1: the next message comes after a gap
        ("waited", "i4"),  # segments seen since the first hole opened
        ("acked", "i8"),  # highest acknowledgement of the other side, -1 if none
        ("next_free", "i4"),
        ("used", "i4"),
    ]
)
PDU = np.dtype(
    [
        ("offset", "i8"),
        ("length", "i8"),
        ("expected", "i8"),
        ("timestamp", "i8"),
        ("frame", "i8"),
        ("flow", "i8"),
        ("local", "i4"),
        ("direction", "i2"),
        ("flags", "i2"),
        ("app", "i2"),
        ("late", "i2"),
        ("interface", "i4"),
    ]
)
LOCAL = np.dtype(
    [
        ("a0", "i8"),
        ("a1", "i8"),
        ("b0", "i8"),
        ("b1", "i8"),
        ("ports", "i8"),
        ("meta", "i8"),
        ("serial", "i8"),
        ("client_b", "i4"),
        ("vlan", "i4"),
        ("inner_vlan", "i4"),
        ("app", "i4"),
    ]
)
ARP = np.dtype(
    [
        ("timestamp", "i8"),
        ("frame", "i8"),
        ("smac", "i8"),
        ("tmac", "i8"),
        ("sip", "i8"),
        ("tip", "i8"),
        ("esrc", "i8"),
        ("edst", "i8"),
        ("operation", "i4"),
        ("vlan", "i4"),
        ("inner_vlan", "i4"),
        ("interface", "i4"),
    ]
)
SIGN = np.dtype(
    [
        ("timestamp", "i8"),
        ("frame", "i8"),
        ("code", "i4"),
        ("local", "i4"),
        ("value", "i8"),
        ("other", "i8"),
    ]
)
FRAGMENT = np.dtype(
    [
        ("a0", "i8"),
        ("a1", "i8"),
        ("b0", "i8"),
        ("b1", "i8"),
        ("id", "i8"),
        ("meta", "i8"),
        ("first", "i8"),
        ("total", "i8"),  # -1 until the last fragment came
        ("bytes", "i8"),  # frames' bytes, for the flow
        ("packets", "i4"),
        ("spans", "i4"),
        ("used", "i4"),
        ("said", "i4"),
    ]
)


MOST_FLOWS = 1 << 18
MOST_STREAMS = 1 << 15
MOST_CARRIES = MOST_STREAMS // 4
MOST_CARRY = 1 << 12
MOST_FRAGMENTS = 1 << 10
MOST_FRAME = 1 << 20
MOST_INTERFACES = 4096  # in one section
PDU_FLUSH = 1 << 18  # messages
DATA_FLUSH = 24 << 20  # bytes of messages
ROW_FLUSH = 1 << 16  # rows of flows, ARP, signs
# One frame yields at most two messages for each 7 of its bytes (the shortest, 6 bytes, and one bad byte between), plus
# what a stream held; so much stays free above the threshold.
_SPARE = 2 * (MOST_FRAME + 2 * MOST_CARRY) // 7 + 4096

STATE = np.dtype(
    [
        ("frag_data", "u1", (MOST_FRAGMENTS * DATAGRAM,)),  # first: its pages are given back
        ("c", "i8", (COUNTERS,)),
        ("notes", "i8", (NOTES,)),
        ("ifaces", "i8", (MOST_INTERFACES, 6)),  # link type, snap length, time mode and parameter, offset in s, number
        ("flows", FLOW, (MOST_FLOWS,)),
        ("slots", "i8", (2 * MOST_FLOWS,)),  # hash << 32 | record + 1; 0 is free
        ("streams", STREAM, (2 * MOST_STREAMS,)),  # two a stream: direction 0 and 1
        ("held", "i8", (2 * MOST_STREAMS, 2 * HELD)),  # starts and ends of runs behind holes
        ("carry_next", "i8", (MOST_CARRIES,)),
        ("pdus", PDU, (PDU_FLUSH + _SPARE,)),
        ("ends", FLOW, (ROW_FLUSH + 64,)),
        ("locals", LOCAL, (ROW_FLUSH + 64,)),
        ("arps", ARP, (ROW_FLUSH + 64,)),
        ("signs", SIGN, (ROW_FLUSH + 64,)),
        ("frags", FRAGMENT, (MOST_FRAGMENTS,)),
        ("frag_spans", "i8", (MOST_FRAGMENTS, 2 * SPANS)),
        ("carry", "u1", (MOST_CARRIES * MOST_CARRY,)),
        ("data", "u1", (DATA_FLUSH + 2 * MOST_FRAME + 8 * MOST_CARRY,)),
    ]
)
"""All that the kernels work on, as one record: they hand on one address, where 18 arrays are seven words each."""


class State(NamedTuple):
    """Views of the parts of a record of ``STATE`` that Python looks at, and the record."""

    record: Any
    pages: mmap
    c: I64
    notes: I64
    ifaces: I64
    pdus: Records
    data: U8
    ends: Records
    locals: Records
    arps: Records
    signs: Records
    frags: Records
