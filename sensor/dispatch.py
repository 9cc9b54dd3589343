"""Which application a flow carries, and what the sensor itself has to say about flows and bounds.

The decision is the kernels' (``kernels.find_app``): content first, then port. Here are the names.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from sensor import kernels_layout as k

APPS = {"modbus": k.A_MODBUS, "iec104": k.A_IEC104, "dnp3": k.A_DNP3, "s7comm": k.A_S7, "dns": k.A_DNS}
"""Decoder name to the kernels' number."""

APP_NAMES = pl.Series([None, "modbus", "iec104", "dnp3", "s7comm", "dns", "mms", None], dtype=pl.String)
"""The kernels' number to ``network.protocol``. ``mms``: a session layer over TPKT that is not S7comm."""

SIGNS = {
    k.X_MISMATCH: ("protocol_mismatch", "expected {expected} on this port, found {found}"),
    k.X_CONFLICT: ("conflicting_overlap", "a retransmission differs from the first copy in {value} bytes"),
    k.X_SYN_PAYLOAD: ("payload_in_syn", "{value} bytes of payload in a SYN"),
    k.X_FRAG_OVERLAP: ("overlapping_fragments", "IP fragments overlap in {value} bytes, {other} of them differ"),
    k.X_FRAG_TINY: ("tiny_fragment", "the first fragment holds {value} bytes, less than the transport header"),
    k.X_UNUSUAL_PORT: ("unusual_port", "{found} on a port that is not its own"),
    k.X_URGENT: ("urgent_data", "urgent pointer {value}: end hosts differ in what they read"),
}
"""Sign to ``error.code`` and ``error.message``."""

BOUNDS = {
    k.C_FLOWS_EVICTED: ("flow_limit", "flows closed early because the table of flows was full"),
    k.C_STREAMS_EVICTED: ("stream_limit", "streams given up because the table of streams was full"),
    k.C_CARRY_EMPTY: ("carry_limit", "segments passed over because no carry buffer was free"),
    k.C_FRAGS_EVICTED: ("fragment_limit", "IP datagrams given up because the table of fragments was full"),
    k.C_FRAGS_STALE: ("fragment_incomplete", "IP datagrams never completed"),
    k.C_FRAG_DROPPED: ("fragment_dropped", "IP fragments that could not be used"),
    k.C_PDUS_LOST: ("message_limit", "messages of one frame beyond what one frame may hold"),
    k.C_TIME_CLAMPED: ("timestamp_out_of_range", "frames with a time that nanoseconds since 1970 cannot say"),
}
"""Counter to ``error.code`` and ``error.message`` of the event that says a bound was reached."""


def sign_columns(rows: k.Records) -> pl.DataFrame:
    """``error.code``, ``error.message``, ``_local`` and the place of each sign."""
    codes, messages = [], []
    for code, value, other in zip(rows["code"].tolist(), rows["value"].tolist(), rows["other"].tolist(), strict=True):
        name, text = SIGNS[code]
        expected, found = "", "something else"
        if code == k.X_MISMATCH:
            expected = str(APP_NAMES[value])
            found = str(APP_NAMES[other]) if other else found
        elif code == k.X_UNUSUAL_PORT:
            found = str(APP_NAMES[value])
        codes.append(name)
        messages.append(text.format(value=value, other=other, expected=expected, found=found))
    return pl.DataFrame(
        {
            "_local": pl.Series(rows["local"].astype(np.int64)),
            "@timestamp": pl.Series(np.ascontiguousarray(rows["timestamp"])).cast(pl.Datetime("ns", "UTC")),
            "frame.number": pl.Series(np.ascontiguousarray(rows["frame"])),
            "error.code": pl.Series(codes, dtype=pl.String),
            "error.message": pl.Series(messages, dtype=pl.String),
        }
    )
