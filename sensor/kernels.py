"""Packet kernels: records, headers, flows, TCP order, message framing. All kernels that call each other are here.

numba does not notice a change in another file, hence one file. Rules that hold throughout: every byte is widened
to int64 before it is shifted or compared; every read lies inside a length that was compared before; bounds checks
stay on all the same, and an ``IndexError`` costs one frame (``capture.py`` goes on at ``C_NEXT``). Only plain
indexing and ``r["field"]``, so that the same functions run uncompiled.

Sources: pcap and pcapng drafts (draft-ietf-opsawg-pcap, -pcapng), IEEE 802.1Q, RFC 791, 8200, 9293, 768, 826,
3032 (MPLS), 2516 (PPPoE), 2784/2890 (GRE), 7348 (VXLAN), 8926 (Geneve), 815 and 5722 (fragments).
"""

# ruff: noqa: F405 - names of the layout
# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="assignment,call-overload"
from __future__ import annotations

from typing import Any

import numpy as np

from sensor.jit_kernel import copied, entry, inner
from sensor.kernels_layout import *  # noqa: F403 - a hundred names of places and codes, all constants

_entry: Any = entry
_jit: Any = inner

PRIME = (1 << 31) - 1
NONE = -1


# --- bytes and hashes --------------------------------------------------------------------------------------------


@_jit
def be16(b, i):
    return (np.int64(b[i]) << 8) | np.int64(b[i + 1])


@_jit
def be32(b, i):
    return (np.int64(b[i]) << 24) | (np.int64(b[i + 1]) << 16) | (np.int64(b[i + 2]) << 8) | np.int64(b[i + 3])


@_jit
def le16(b, i):
    return (np.int64(b[i + 1]) << 8) | np.int64(b[i])


@_jit
def le32(b, i):
    return (np.int64(b[i + 3]) << 24) | (np.int64(b[i + 2]) << 16) | (np.int64(b[i + 1]) << 8) | np.int64(b[i])


@_jit
def get32(b, i, swap):
    return be32(b, i) if swap == 1 else le32(b, i)


@_jit
def be48(b, i):
    return (be16(b, i) << 32) | be32(b, i + 2)


@_jit
def mix(h, k1, k2, w):
    """One step of a polynomial hash modulo 2**31 - 1 with secret keys; ``w`` is 32 bits. Never overflows int64."""
    x = h * k1 + (w >> 16) * k2 + (w & 0xFFFF)
    x = (x & PRIME) + (x >> 31)
    return (x & PRIME) + (x >> 31)


@_jit
def hash_key(c, a0, a1, b0, b1, ports, meta):
    k1 = c[C_K1]
    k2 = c[C_K2]
    h = mix(c[C_SEED], k1, k2, ports)
    h = mix(h, k1, k2, meta)
    h = mix(h, k1, k2, a1 & 0xFFFFFFFF)
    h = mix(h, k1, k2, b1 & 0xFFFFFFFF)
    if (meta >> 8) == 6:
        h = mix(h, k1, k2, (a0 >> 32) & 0xFFFFFFFF)
        h = mix(h, k1, k2, a0 & 0xFFFFFFFF)
        h = mix(h, k1, k2, (a1 >> 32) & 0xFFFFFFFF)
        h = mix(h, k1, k2, (b0 >> 32) & 0xFFFFFFFF)
        h = mix(h, k1, k2, b0 & 0xFFFFFFFF)
        h = mix(h, k1, k2, (b1 >> 32) & 0xFFFFFFFF)
    return h & 0x7FFFFFFF


# --- output ------------------------------------------------------------------------------------------------------


@_jit
def local_of(s, f):
    """Row of this flow in ``locals`` of the flush under way; -1 if the table is full."""
    c = s["c"]
    r = s["flows"][f]
    if r["epoch"] == c[C_EPOCH]:
        row = np.int64(r["local"])
        s["locals"][row]["client_b"] = r["client_b"]
        s["locals"][row]["app"] = r["app"]
        return row
    row = c[C_LOCALS]
    if row >= len(s["locals"]):
        return np.int64(NONE)
    c[C_LOCALS] = row + 1
    r["epoch"] = c[C_EPOCH]
    r["local"] = row
    o = s["locals"][row]
    o["a0"] = r["a0"]
    o["a1"] = r["a1"]
    o["b0"] = r["b0"]
    o["b1"] = r["b1"]
    o["ports"] = r["ports"]
    o["meta"] = r["meta"]
    o["serial"] = r["serial"]
    o["client_b"] = r["client_b"]
    o["vlan"] = r["vlan"]
    o["inner_vlan"] = r["inner_vlan"]
    o["app"] = r["app"]
    return row


@_jit
def emit(s, f, direction, b, p, n, expected, flags, ts, frame):
    """Append one message; what does not fit is counted (a frame yields fewer rows than are kept free)."""
    c = s["c"]
    row = c[C_PDUS]
    at = c[C_DATA]
    app = np.int64(s["flows"][f]["app"])
    if ((c[C_WANT] >> app) & 1) == 0:
        return
    local = local_of(s, f)
    if row >= len(s["pdus"]) or at + n > len(s["data"]) or local < 0:
        c[C_PDUS_LOST] += 1
        return
    c[C_PDUS] = row + 1
    c[C_DATA] = at + n
    copied(b, p, n, s["data"], at)
    o = s["pdus"][row]
    o["offset"] = at
    o["length"] = n
    o["expected"] = expected
    o["timestamp"] = ts
    o["frame"] = frame
    o["flow"] = s["flows"][f]["serial"]
    o["local"] = local
    o["direction"] = direction
    if (np.int64(s["flows"][f]["tcp"]) & TF_MIDSTREAM) != 0:
        flags = flags | 8
    o["flags"] = flags
    o["app"] = app
    o["late"] = c[C_LATE]
    o["interface"] = s["flows"][f]["interface"]


@_jit
def sign(s, f, code, value, other, ts, frame):
    """Say something about a flow, each code once a flow; ``f`` is -1 where there is no flow."""
    c = s["c"]
    local = np.int64(NONE)
    if f >= 0:
        r = s["flows"][f]
        bit = 1 << code
        if (np.int64(r["said"]) & bit) != 0:
            return
        r["said"] = np.int64(r["said"]) | bit
        local = local_of(s, f)
    row = c[C_SIGNS]
    if row >= len(s["signs"]):
        c[C_SIGNS_LOST] += 1
        return
    c[C_SIGNS] = row + 1
    o = s["signs"][row]
    o["timestamp"] = ts
    o["frame"] = frame
    o["code"] = code
    o["local"] = local
    o["value"] = value
    o["other"] = other


# --- carries and streams -----------------------------------------------------------------------------------------


@_jit
def carry_drop(s, k):
    """Give the carry buffer of stream direction ``k`` back."""
    t = s["streams"][k]
    n = np.int64(t["carry"])
    if n >= 0:
        s["carry_next"][n] = s["c"][C_FREE_CARRY]
        s["c"][C_FREE_CARRY] = n
        t["carry"] = NONE
    t["prefix"] = 0
    t["held"] = 0
    t["waited"] = 0


@_jit
def carry_take(s, k):
    """Make sure that stream direction ``k`` has a carry buffer; False if the pool is empty."""
    t = s["streams"][k]
    if np.int64(t["carry"]) >= 0:
        return True
    n = s["c"][C_FREE_CARRY]
    if n >= 0:
        s["c"][C_FREE_CARRY] = s["carry_next"][n]
    elif s["c"][C_FRESH_CARRY] < s["c"][C_CARRIES]:
        n = s["c"][C_FRESH_CARRY]
        s["c"][C_FRESH_CARRY] = n + 1
    else:
        s["c"][C_CARRY_EMPTY] += 1
        return False
    t["carry"] = n
    t["prefix"] = 0
    t["held"] = 0
    return True


@_jit
def stream_flush(s, f, k, ts, frame):
    """Emit what a direction still holds, cut messages marked so, and drop its buffer."""
    t = s["streams"][k]
    rounds = 0
    while rounds <= HELD + 1:
        rounds += 1
        if np.int64(t["carry"]) < 0:
            break
        at = np.int64(t["carry"]) * s["c"][C_CARRY]
        prefix = np.int64(t["prefix"])
        if prefix > 0:
            cut_prefix(s, f, k, ts, frame)
        if np.int64(t["held"]) == 0:
            break
        start = s["held"][k, 0]
        end = s["held"][k, 1]
        s["flows"][f]["missed"] = np.int64(s["flows"][f]["missed"]) + start - prefix
        s["c"][C_GAPS] += 1
        t["gap"] = 1
        t["skip"] = 0
        used = consume(s, f, k, s["carry"][:], at + start, at + end, ts, frame)
        for i in range(1, np.int64(t["held"])):
            s["held"][k, 2 * i - 2] = s["held"][k, 2 * i]
            s["held"][k, 2 * i - 1] = s["held"][k, 2 * i + 1]
        t["held"] = np.int64(t["held"]) - 1
        left = end - start - used
        for i in range(left):
            s["carry"][at + i] = s["carry"][at + start + used + i]
        move = start + used
        for i in range(np.int64(t["held"])):
            a = s["held"][k, 2 * i]
            b = s["held"][k, 2 * i + 1]
            for j in range(a, b):
                s["carry"][at + j - move] = s["carry"][at + j]
            s["held"][k, 2 * i] = a - move
            s["held"][k, 2 * i + 1] = b - move
        t["base"] = (np.int64(t["base"]) + move) & 0xFFFFFFFF
        t["prefix"] = left
    carry_drop(s, k)


@_jit
def cut_prefix(s, f, k, ts, frame):
    """Emit the unfinished message at the front of the buffer as a cut one; the buffer's front is empty then."""
    t = s["streams"][k]
    prefix = np.int64(t["prefix"])
    at = np.int64(t["carry"]) * s["c"][C_CARRY]
    app = np.int64(s["flows"][f]["app"])
    if app != A_NONE and app < A_MMS:
        need = frame_length(s["carry"][:], at, at + prefix, app)
        flags = 2
        if np.int64(t["gap"]) != 0:
            flags = flags | 1
        skip = head_bytes(app)
        if prefix > skip:
            expected = prefix + 1 if need <= prefix else need
            emit(s, f, k & 1, s["carry"][:], at + skip, prefix - skip, expected - skip, flags, ts, frame)
        t["gap"] = 0
    t["prefix"] = 0


@_jit
def stream_free(s, f, ts, frame):
    """Flush and release the stream of a flow, if it has one."""
    r = s["flows"][f]
    n = np.int64(r["stream"])
    if n < 0:
        return
    stream_flush(s, f, 2 * n, ts, frame)
    stream_flush(s, f, 2 * n + 1, ts, frame)
    s["streams"][2 * n]["used"] = 0
    s["streams"][2 * n]["next_free"] = s["c"][C_FREE_STREAM]
    s["c"][C_FREE_STREAM] = n
    r["stream"] = NONE


@_jit
def stream_new(s, f, ts, frame):
    """Give a flow a stream; the longest silent of sixteen others gives way if there is none left."""
    c = s["c"]
    n = c[C_FREE_STREAM]
    if n < 0 and c[C_FRESH_STREAM] < c[C_STREAMS]:
        n = c[C_FRESH_STREAM]
        c[C_FRESH_STREAM] = n + 1
        s["streams"][2 * n]["next_free"] = c[C_FREE_STREAM]
    elif n < 0:
        count = c[C_STREAMS]
        best = np.int64(NONE)
        oldest = np.int64(0)
        for _ in range(min(16, count)):
            hand = c[C_STREAM_HAND] % count
            c[C_STREAM_HAND] = hand + 1
            owner = np.int64(s["streams"][2 * hand]["flow"])
            if owner == f:
                continue
            last = np.int64(s["flows"][owner]["last"])
            if best < 0 or last < oldest:
                best = owner
                oldest = last
        if best < 0:
            return False
        c[C_STREAMS_EVICTED] += 1
        stream_free(s, best, ts, frame)
        n = c[C_FREE_STREAM]
        if n < 0:
            return False
    c[C_FREE_STREAM] = np.int64(s["streams"][2 * n]["next_free"])
    for d in range(2):
        t = s["streams"][2 * n + d]
        t["base"] = NONE
        t["skip"] = 0
        t["flow"] = f
        t["carry"] = NONE
        t["prefix"] = 0
        t["held"] = 0
        t["gap"] = 0
        t["waited"] = 0
        t["acked"] = NONE
        t["used"] = 1
    s["flows"][f]["stream"] = n
    return True


# --- framing -----------------------------------------------------------------------------------------------------


@_jit
def head_bytes(app):
    """Bytes before the message proper that a decoder is not shown: the length of DNS over TCP (RFC 7766)."""
    return 2 if app == A_DNS else 0


@_jit
def frame_length(b, p, e, app):
    """Bytes of the message that starts at ``p``; 0 if too few bytes are there to tell, -1 if none can start so.

    Modbus: MBAP, Modbus Messaging on TCP/IP V1.0b 3.1.3. IEC 104: IEC 60870-5-104 5. DNP3: IEEE 1815 9.2.4.
    TPKT: RFC 1006 6. DNS: RFC 1035 4.2.2.
    """
    n = e - p
    if app == A_MODBUS:
        if n > 2 and np.int64(b[p + 2]) != 0:
            return NONE
        if n > 3 and np.int64(b[p + 3]) != 0:
            return NONE
        if n > 4 and np.int64(b[p + 4]) != 0:
            return NONE
        if n < 6:
            return 0
        size = np.int64(b[p + 5])
        if size < 2 or size > 254:
            return NONE
        return 6 + size
    if app == A_IEC104:
        if n > 0 and np.int64(b[p]) != 0x68:
            return NONE
        if n < 2:
            return 0
        size = np.int64(b[p + 1])
        if size < 4 or size > 253:
            return NONE
        return 2 + size
    if app == A_DNP3:
        if n > 0 and np.int64(b[p]) != 0x05:
            return NONE
        if n > 1 and np.int64(b[p + 1]) != 0x64:
            return NONE
        if n < 3:
            return 0
        size = np.int64(b[p + 2]) - 5
        if size < 0:
            return NONE
        return 10 + size + 2 * ((size + 15) // 16)
    if app == A_S7:
        if n > 0 and np.int64(b[p]) != 3:
            return NONE
        if n > 1 and np.int64(b[p + 1]) != 0:
            return NONE
        if n < 4:
            return 0
        size = be16(b, p + 2)
        if size < 7:
            return NONE
        if n > 4:
            header = np.int64(b[p + 4])
            if header < 2 or header + 5 > size:
                return NONE
        return size
    if app == A_DNS:
        if n < 2:
            return 0
        size = be16(b, p)
        if size < 12:
            return NONE
        if n >= 14 and not dns_header(b, p + 2):
            return NONE
        return 2 + size
    return NONE


@_jit
def dns_header(b, p):
    """Whether twelve bytes can be a DNS header: a known opcode, and not more records than a message can hold."""
    opcode = (np.int64(b[p + 2]) >> 3) & 15
    if opcode == 3 or opcode > 6:
        return False
    if (np.int64(b[p + 3]) & 0x40) != 0:
        return False
    return be16(b, p + 4) <= 64 and be16(b, p + 6) <= 4096 and be16(b, p + 8) <= 4096 and be16(b, p + 10) <= 4096


@_jit
def dnp3_header_ok(b, p):
    """Whether the CRC over the eight bytes at ``p`` is the one that follows (IEEE 1815 9.2.4.3.7)."""
    crc = np.int64(0)
    for i in range(8):
        crc ^= np.int64(b[p + i])
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA6BC if (crc & 1) != 0 else crc >> 1
    crc = (~crc) & 0xFFFF
    return crc == le16(b, p + 8)


@_jit
def iec104_control_ok(b, p, size):
    """Whether the control field fits its format: I, S or U (IEC 60870-5-104 5.1)."""
    first = np.int64(b[p + 2])
    third = np.int64(b[p + 4])
    if (first & 1) == 0:
        return (third & 1) == 0 and size >= 12
    if (first & 3) == 1:
        return first == 1 and np.int64(b[p + 3]) == 0 and (third & 1) == 0 and size == 6
    if np.int64(b[p + 3]) != 0 or third != 0 or np.int64(b[p + 5]) != 0 or size != 6:
        return False
    return first == 0x07 or first == 0x0B or first == 0x13 or first == 0x23 or first == 0x43 or first == 0x83


@_jit
def s7_start(b, p, e):
    """What a TPKT packet carries: 1 S7comm (plus) or a COTP set-up with TSAPs, 2 another session, 0 cannot tell."""
    if e - p < 7:
        return 0
    kind = np.int64(b[p + 5]) & 0xF0
    if kind == 0xF0:
        at = p + 5 + np.int64(b[p + 4])
        if np.int64(b[p + 4]) < 2 or at >= e:
            return 0
        magic = np.int64(b[at])
        return 1 if magic == 0x32 or magic == 0x72 else 2
    if kind == 0xE0 or kind == 0xD0:
        at = p + 11
        stop = min(e, p + 5 + np.int64(b[p + 4]))
        while at + 1 < stop:
            code = np.int64(b[at])
            if code == 0xC1 or code == 0xC2:
                return 1
            at += 2 + np.int64(b[at + 1])
        return 0
    return 0


@_jit
def modbus_strict(b, p, e):
    """Whether bytes on an unusual port are a chain of whole Modbus messages whose bodies fit their functions."""
    at = p
    while at < e:
        size = frame_length(b, at, e, A_MODBUS)
        if size < 8 or at + size > e:
            return False
        function = np.int64(b[at + 7])
        body = size - 8
        code = function & 0x7F
        if code == 0:
            return False
        if function >= 0x80:
            if body != 1 or np.int64(b[at + 8]) < 1 or np.int64(b[at + 8]) > 11:
                return False
        elif code <= 4:
            if body != 4 and (body < 2 or np.int64(b[at + 8]) != body - 1):
                return False
        elif code == 5 or code == 6:
            if body != 4:
                return False
        elif code == 15 or code == 16:
            if body != 4 and (body < 6 or np.int64(b[at + 12]) != body - 5):
                return False
        else:
            return False
        at += size
    return True


@_jit
def strict(b, p, e, app):
    """Whether the bytes are, beyond chance, whole messages of ``app``."""
    n = e - p
    if app == A_MODBUS:
        return n >= 9 and modbus_strict(b, p, e)
    if app == A_IEC104:
        at = p
        while at < e:
            size = frame_length(b, at, e, A_IEC104)
            if size <= 0 or at + size > e or not iec104_control_ok(b, at, size):
                return False
            at += size
        return n >= 6
    if app == A_DNP3:
        return n >= 10 and frame_length(b, p, e, A_DNP3) > 0 and dnp3_header_ok(b, p)
    if app == A_S7:
        size = frame_length(b, p, e, A_S7)
        return size > 0 and n >= 7 and s7_start(b, p, min(e, p + size)) == 1
    return False


@_jit
def plausible(b, p, e, app):
    """Whether the bytes can begin a stream of ``app`` on its own port: 1 yes, 0 too few to tell, -1 no."""
    size = frame_length(b, p, e, app)
    if size < 0:
        return NONE
    if size == 0:
        return 0
    n = e - p
    if app == A_MODBUS:
        if n < 8:
            return 0
        return NONE if np.int64(b[p + 7]) == 0 and size > 8 and n > size and n < size + 6 else 1
    if app == A_IEC104:
        if n < 6:
            return 0
        return 1 if iec104_control_ok(b, p, size) else NONE
    if app == A_DNP3:
        return 1
    if app == A_S7:
        if n < 7:
            return 0
        kind = np.int64(b[p + 5]) & 0xF0
        if kind == 0xF0:
            return 1
        return 1 if kind >= 0x20 and kind != 0x30 and kind != 0x40 else NONE
    if app == A_DNS:
        return 1 if n >= 14 else 0
    return NONE


@_jit
def find_app(b, p, e, port_app):
    """Application of the first bytes of a stream: by content, then by port. 0 too few bytes, -1 none."""
    verdict = np.int64(NONE)
    if port_app != A_NONE:
        verdict = np.int64(plausible(b, p, e, port_app))
        if verdict > 0:
            return port_app
    for app in range(A_MODBUS, A_DNS):
        if app != port_app and strict(b, p, e, app):
            return app
    return verdict


@_jit
def chained(b, p, e, app):
    """Whether a whole message starts at ``p`` and what follows it, if anything does, can start another one."""
    size = frame_length(b, p, e, app)
    if size <= 0 or p + size > e:
        return False
    if app == A_IEC104 and not iec104_control_ok(b, p, size):
        return False
    return p + size == e or frame_length(b, p + size, e, app) >= 0


@_jit
def hunt(b, p, e, app):
    """Bytes from ``p``, where no message can start, to the next place where one does (or to ``e``)."""
    at = p + 1
    while at < e:
        if chained(b, at, e, app):
            return at - p
        at += 1
    return e - p


@_jit
def consume(s, f, k, b, p, e, ts, frame):
    """Cut messages out of contiguous bytes of one direction.

    Returns:
        Bytes used; the rest is the start of a message that is not whole yet.
    """
    r = s["flows"][f]
    t = s["streams"][k]
    at = p
    while at < e:
        if np.int64(t["skip"]) > 0:
            step = min(np.int64(t["skip"]), e - at)
            t["skip"] = np.int64(t["skip"]) - step
            at += step
            continue
        app = np.int64(r["app"])
        if app == A_NONE:
            port_app = np.int64(r["port_app"])
            found = np.int64(find_app(b, at, e, port_app))
            if found == 0:
                if e - at < 16:
                    break
                found = np.int64(NONE)
            if found < 0:
                r["tries"] = np.int64(r["tries"]) + 1
                sure = (np.int64(r["tcp"]) & TF_MIDSTREAM) == 0 and np.int64(t["gap"]) == 0
                if port_app < A_DNS and (sure or np.int64(r["tries"]) >= 3):
                    sign(s, f, X_MISMATCH, port_app, 0, ts, frame)
                t["gap"] = 0
                at = e
                break
            r["app"] = found
            if found != port_app:
                if port_app != A_NONE and port_app < A_DNS:
                    sign(s, f, X_MISMATCH, port_app, found, ts, frame)
                else:
                    sign(s, f, X_UNUSUAL_PORT, found, 0, ts, frame)
            app = found
        if app >= A_MMS:
            at = e
            break
        size = np.int64(frame_length(b, at, e, app))
        flags = np.int64(t["gap"])
        head = head_bytes(app)
        if size < 0:
            bad = np.int64(hunt(b, at, e, app))
            shown = min(bad, MAX_PDU_CHUNK)
            emit(s, f, k & 1, b, at, shown, bad, flags | 4, ts, frame)
            t["gap"] = 0
            at += bad
            continue
        if size == 0:
            break
        if at + size > e:
            if size <= s["c"][C_CARRY]:
                break
            if e - at > head:
                emit(s, f, k & 1, b, at + head, e - at - head, size - head, flags | 2, ts, frame)
            t["gap"] = 0
            t["skip"] = size - (e - at)
            at = e
            break
        if app == A_S7 and s7_start(b, at, at + size) == 2 and np.int64(r["packets0"]) + np.int64(r["packets1"]) < 64:
            if (np.int64(r["said"]) & 1) == 0:
                r["app"] = A_MMS  # a session layer: MMS, ICCP, RDP; no decoder here, and no garbage S7comm
                at = e
                break
        if app == A_S7 and s7_start(b, at, at + size) == 1 and (np.int64(b[at + 5]) & 0xF0) == 0xF0:
            r["said"] = np.int64(r["said"]) | 1
        emit(s, f, k & 1, b, at + head, size - head, size - head, flags, ts, frame)
        t["gap"] = 0
        at += size
    return at - p


# --- TCP order ---------------------------------------------------------------------------------------------------


@_jit
def held_put(s, f, k, b, p, n, off):
    """Copy a segment to its place in the buffer, first bytes win, and merge it into the runs.

    Returns:
        False if it would need more runs than are kept; nothing was copied then.
    """
    t = s["streams"][k]
    at = np.int64(t["carry"]) * s["c"][C_CARRY]
    count = np.int64(t["held"])
    start = off
    end = off + n
    first = np.int64(0)
    while first < count and s["held"][k, 2 * first + 1] < start:
        first += 1
    last = first  # runs first..last-1 touch the segment
    while last < count and s["held"][k, 2 * last] <= end:
        last += 1
    if first == last and count >= HELD:
        return False
    differs = 0
    run = first
    for i in range(n):
        place = off + i
        while run < last and s["held"][k, 2 * run + 1] <= place:
            run += 1
        if run < last and s["held"][k, 2 * run] <= place:
            if s["carry"][at + place] != b[p + i]:
                differs += 1
        else:
            s["carry"][at + place] = b[p + i]
    if differs > 0:
        s["flows"][f]["conflict"] = np.int64(s["flows"][f]["conflict"]) + differs
    if first < last:
        start = min(start, s["held"][k, 2 * first])
        end = max(end, s["held"][k, 2 * last - 2 + 1])
        gone = last - first - 1
        for i in range(last, count):
            s["held"][k, 2 * (i - gone)] = s["held"][k, 2 * i]
            s["held"][k, 2 * (i - gone) + 1] = s["held"][k, 2 * i + 1]
        count -= gone
    else:
        i = count
        while i > first:
            s["held"][k, 2 * i] = s["held"][k, 2 * i - 2]
            s["held"][k, 2 * i + 1] = s["held"][k, 2 * i - 1]
            i -= 1
        count += 1
    s["held"][k, 2 * first] = start
    s["held"][k, 2 * first + 1] = end
    t["held"] = count
    return True


@_jit
def settle(s, f, k, ts, frame):
    """Cut messages out of the front of the buffer, take in runs that became contiguous, move the rest down."""
    t = s["streams"][k]
    at = np.int64(t["carry"]) * s["c"][C_CARRY]
    prefix = np.int64(t["prefix"])
    count = np.int64(t["held"])
    if count > 0 and s["held"][k, 0] <= prefix:
        prefix = max(prefix, s["held"][k, 1])
        for i in range(1, count):
            s["held"][k, 2 * i - 2] = s["held"][k, 2 * i]
            s["held"][k, 2 * i - 1] = s["held"][k, 2 * i + 1]
        count -= 1
        t["held"] = count
        if count == 0:
            t["waited"] = 0
    used = consume(s, f, k, s["carry"][:], at, at + prefix, ts, frame)
    if used > 0:
        t["base"] = (np.int64(t["base"]) + used) & 0xFFFFFFFF
        end = prefix
        for i in range(count):
            end = max(end, s["held"][k, 2 * i + 1])
            s["held"][k, 2 * i] -= used
            s["held"][k, 2 * i + 1] -= used
        for i in range(used, end):
            s["carry"][at + i - used] = s["carry"][at + i]
    t["prefix"] = prefix - used
    if t["prefix"] == 0 and count == 0:
        carry_drop(s, k)


@_jit
def jump_hole(s, f, k, ts, frame):
    """Give up the bytes missing before the first held run and go on behind them."""
    t = s["streams"][k]
    start = s["held"][k, 0]
    missing = start - np.int64(t["prefix"])
    at = np.int64(t["carry"]) * s["c"][C_CARRY]
    s["flows"][f]["missed"] = np.int64(s["flows"][f]["missed"]) + missing
    s["c"][C_GAPS] += 1
    if np.int64(t["prefix"]) > 0:
        cut_prefix(s, f, k, ts, frame)
    skip = np.int64(t["skip"])
    t["skip"] = max(np.int64(0), skip - missing)
    t["gap"] = 1
    count = np.int64(t["held"])
    end = start
    for i in range(count):
        end = max(end, s["held"][k, 2 * i + 1])
        s["held"][k, 2 * i] -= start
        s["held"][k, 2 * i + 1] -= start
    for i in range(start, end):
        s["carry"][at + i - start] = s["carry"][at + i]
    t["base"] = (np.int64(t["base"]) + start) & 0xFFFFFFFF
    t["prefix"] = 0
    t["waited"] = 0
    settle(s, f, k, ts, frame)


@_jit
def resync(s, f, k, seq, missing, ts, frame):
    """Forget the position: what is held is given out, the next byte is ``seq``."""
    t = s["streams"][k]
    stream_flush(s, f, k, ts, frame)
    s["flows"][f]["missed"] = np.int64(s["flows"][f]["missed"]) + missing
    s["c"][C_GAPS] += 1
    t["base"] = seq
    t["skip"] = max(np.int64(0), np.int64(t["skip"]) - missing) if missing > 0 else 0
    t["gap"] = 1


@_jit
def in_order(s, f, k, b, p, n, ts, frame):
    """Take in bytes that start where the contiguous ones end."""
    t = s["streams"][k]
    c = s["c"]
    if np.int64(t["carry"]) >= 0 and np.int64(t["held"]) == 0 and np.int64(t["prefix"]) > 0:
        # A message whose length field lies would swallow the next one: a segment that is a chain of whole
        # messages by itself, where the message under way does not end with it, is believed instead.
        app = np.int64(s["flows"][f]["app"])
        if app == A_MODBUS or app == A_IEC104 or app == A_DNP3:
            at = np.int64(t["carry"]) * c[C_CARRY]
            prefix = np.int64(t["prefix"])
            need = np.int64(frame_length(s["carry"][:], at, at + prefix, app))
            rest = need - prefix
            fits = rest == n or (rest < n and rest > 0 and frame_length(b, p + rest, p + n, app) >= 0)
            if need > 0 and not fits and whole_chain(b, p, p + n, app):
                flags = np.int64(t["gap"]) | 4
                emit(s, f, k & 1, s["carry"][:], at, prefix, need, flags, ts, frame)
                t["gap"] = 0
                t["base"] = (np.int64(t["base"]) + prefix) & 0xFFFFFFFF
                carry_drop(s, k)
    while n > 0:
        if np.int64(t["carry"]) < 0:
            used = np.int64(consume(s, f, k, b, p, p + n, ts, frame))
            t["base"] = (np.int64(t["base"]) + used) & 0xFFFFFFFF
            p += used
            n -= used
            if n == 0:
                return
            if n > c[C_CARRY] or not carry_take(s, k):
                resync(s, f, k, (np.int64(t["base"]) + n) & 0xFFFFFFFF, n, ts, frame)
                return
            at = np.int64(t["carry"]) * c[C_CARRY]
            for i in range(n):
                s["carry"][at + i] = b[p + i]
            t["prefix"] = n
            return
        prefix = np.int64(t["prefix"])
        room = c[C_CARRY] - prefix
        step = min(n, room)
        if step == 0:
            # full without a whole message: only a run of bytes no frame fits into can do that
            cut_prefix(s, f, k, ts, frame)
            t["base"] = (np.int64(t["base"]) + prefix) & 0xFFFFFFFF
            carry_drop(s, k)
            continue
        if np.int64(t["held"]) == 0:
            at = np.int64(t["carry"]) * c[C_CARRY] + prefix
            for i in range(step):
                s["carry"][at + i] = b[p + i]
            t["prefix"] = prefix + step
        elif not held_put(s, f, k, b, p, step, prefix):
            jump_hole(s, f, k, ts, frame)
            continue
        p += step
        n -= step
        settle(s, f, k, ts, frame)


@_jit
def whole_chain(b, p, e, app):
    """Whether the bytes are whole messages from end to end."""
    at = p
    while at < e:
        size = np.int64(frame_length(b, at, e, app))
        if size <= 0 or at + size > e:
            return False
        if app == A_IEC104 and not iec104_control_ok(b, at, size):
            return False
        at += size
    return True


@_jit
def signed_distance(a, b):
    """``a - b`` of sequence numbers, in -2**31 to 2**31 - 1 (RFC 9293 3.4)."""
    d = (a - b) & 0xFFFFFFFF
    return d - (1 << 32) if d >= (1 << 31) else d


@_jit
def segment(s, f, k, b, p, n, seq, ts, frame):
    """Put a segment with payload into one direction of a stream."""
    t = s["streams"][k]
    r = s["flows"][f]
    c = s["c"]
    if np.int64(t["base"]) < 0:
        t["base"] = seq
    turns = 0
    while n > 0 and turns < 2 * HELD + 4:
        turns += 1
        prefix = np.int64(t["prefix"])
        off = signed_distance(seq, np.int64(t["base"]))
        if off < -FAR or off - prefix > FAR:
            resync(s, f, k, seq, 0, ts, frame)
            continue
        if off < prefix:
            again = min(n, prefix - off)
            r["again"] = np.int64(r["again"]) + again
            if np.int64(t["carry"]) >= 0:
                at = np.int64(t["carry"]) * c[C_CARRY]
                differs = 0
                for i in range(max(np.int64(0), -off), again):
                    if s["carry"][at + off + i] != b[p + i]:
                        differs += 1
                if differs > 0:
                    r["conflict"] = np.int64(r["conflict"]) + differs
            p += again
            n -= again
            seq = (seq + again) & 0xFFFFFFFF
            continue
        if off == prefix:
            in_order(s, f, k, b, p, n, ts, frame)
            n = 0
            break
        if off + n <= c[C_CARRY] and carry_take(s, k) and held_put(s, f, k, b, p, n, off):
            if turns == 1 or np.int64(t["waited"]) == 0:
                r["ahead"] = np.int64(r["ahead"]) + 1
            t["waited"] = np.int64(t["waited"]) + 1
            n = 0
            break
        if np.int64(t["held"]) > 0:
            jump_hole(s, f, k, ts, frame)
            continue
        resync(s, f, k, seq, off - prefix, ts, frame)
    # The other side acknowledged what we never saw, and more came since: it is lost to us. One segment of
    # patience, because captures put an acknowledgement before its data now and then.
    if np.int64(t["held"]) > 0 and np.int64(t["acked"]) >= 0:
        hole = (np.int64(t["base"]) + np.int64(t["prefix"])) & 0xFFFFFFFF
        if np.int64(t["waited"]) >= 2 and signed_distance(np.int64(t["acked"]), hole) > 0:
            jump_hole(s, f, k, ts, frame)
    if np.int64(r["conflict"]) > 0:
        sign(s, f, X_CONFLICT, np.int64(r["conflict"]), 0, ts, frame)


@_jit
def tcp_data(s, f, direction, b, p, n, wire, seq, ack, tcp_flags, ts, frame):
    """TCP payload of a flow that may have a decoder: ``n`` bytes captured of ``wire`` that were sent."""
    r = s["flows"][f]
    app = np.int64(r["app"])
    if app >= A_MMS:
        return
    port_app = np.int64(r["port_app"])
    if np.int64(r["stream"]) < 0:
        if n <= 0:
            return
        if app == A_NONE and port_app == A_NONE:
            found = np.int64(find_app(b, p, p + n, A_NONE))
            if found <= 0:
                r["tries"] = np.int64(r["tries"]) + 1
                if np.int64(r["tries"]) >= PROBE_TRIES:
                    r["app"] = A_GIVEN_UP
                return
            r["app"] = found
            sign(s, f, X_UNUSUAL_PORT, found, 0, ts, frame)
            if not stream_new(s, f, ts, frame):
                return
        else:
            if not stream_new(s, f, ts, frame):
                return
            k = 2 * np.int64(r["stream"])
            if np.int64(r["isn0"]) >= 0:
                s["streams"][k]["base"] = (np.int64(r["isn0"]) + 1) & 0xFFFFFFFF
            if np.int64(r["isn1"]) >= 0:
                s["streams"][k + 1]["base"] = (np.int64(r["isn1"]) + 1) & 0xFFFFFFFF
    k = 2 * np.int64(r["stream"]) + direction
    if (tcp_flags & 0x10) != 0:
        s["streams"][k ^ 1]["acked"] = ack
    if n > 0:
        if (tcp_flags & 2) != 0:
            seq = (seq + 1) & 0xFFFFFFFF  # the SYN itself takes a number
        segment(s, f, k, b, p, n, seq, ts, frame)
        if wire > n and np.int64(r["stream"]) >= 0:
            end = (seq + wire) & 0xFFFFFFFF
            if signed_distance(end, np.int64(s["streams"][k]["base"]) + np.int64(s["streams"][k]["prefix"])) > 0:
                resync(s, f, k, end, wire - n, ts, frame)


@_jit
def udp_data(s, f, direction, b, p, n, wire, ts, frame):
    """Messages in one datagram."""
    r = s["flows"][f]
    app = np.int64(r["app"])
    if app >= A_MMS or n <= 0:
        return
    e = p + n
    port_app = np.int64(r["port_app"])
    cut = 2 if wire > n else 0
    if app == A_NONE:
        if port_app == A_DNS:
            if n >= 12 and dns_header(b, p):
                app = np.int64(A_DNS)
        elif port_app == A_MODBUS:
            if whole_chain(b, p, e, A_MODBUS):
                app = np.int64(A_MODBUS)
        elif port_app == A_DNP3:
            if frame_length(b, p, e, A_DNP3) > 0:
                app = np.int64(A_DNP3)
        if app == A_NONE and n >= 10 and strict(b, p, e, A_DNP3):
            app = np.int64(A_DNP3)
            if port_app == A_NONE:
                sign(s, f, X_UNUSUAL_PORT, app, 0, ts, frame)
        if app == A_NONE:
            r["tries"] = np.int64(r["tries"]) + 1
            if port_app == A_DNP3 or port_app == A_MODBUS:
                sign(s, f, X_MISMATCH, port_app, 0, ts, frame)
            elif np.int64(r["tries"]) >= PROBE_TRIES and port_app == A_NONE:
                r["app"] = A_GIVEN_UP
            return
        r["app"] = app
    if app == A_DNS:
        bad = 0 if n >= 12 and dns_header(b, p) else 4
        emit(s, f, direction, b, p, n, wire, 16 | cut | bad, ts, frame)
        return
    at = p
    while at < e:
        size = np.int64(frame_length(b, at, e, app))
        if size > 0 and at + size <= e:
            emit(s, f, direction, b, at, size, size, 16, ts, frame)
            at += size
            continue
        if size >= 0:
            expected = max(size, e - at + 1)
            emit(s, f, direction, b, at, e - at, expected, 16 | 2, ts, frame)
            return
        bad = hunt(b, at, e, app)
        emit(s, f, direction, b, at, min(np.int64(bad), MAX_PDU_CHUNK), bad, 16 | 4, ts, frame)
        at += bad


# --- flows -------------------------------------------------------------------------------------------------------


@_jit
def flow_slot(s, f):
    """Slot that points to record ``f``; -1 if none does."""
    mask = s["c"][C_SLOTS] - 1
    i = np.int64(s["flows"][f]["hash"]) & mask
    for _ in range(s["c"][C_SLOTS]):
        if (s["slots"][i] & 0xFFFFFFFF) == f + 1:
            return i
        i = (i + 1) & mask
    return np.int64(NONE)


@_jit
def flow_remove(s, f):
    """Take a record out of the table: the slots behind it move up, so that probes never meet a dead slot."""
    mask = s["c"][C_SLOTS] - 1
    hole = np.int64(flow_slot(s, f))
    i = hole
    while hole >= 0:
        i = (i + 1) & mask
        v = s["slots"][i]
        if v == 0:
            break
        home = (v >> 32) & mask
        if ((i - home) & mask) >= ((i - hole) & mask):
            s["slots"][hole] = v
            hole = i
    if hole >= 0:
        s["slots"][hole] = 0
    s["flows"][f]["next_free"] = s["c"][C_FREE_FLOW]
    s["flows"][f]["first_frame"] = 0
    s["c"][C_FREE_FLOW] = f
    s["c"][C_FLOWS_LIVE] -= 1


@_jit
def flow_report(s, f, reason):
    """Append the record as it is to ``ends``."""
    row = s["c"][C_ENDS]
    s["flows"][f]["reason"] = reason
    s["ends"][row] = s["flows"][f]
    s["c"][C_ENDS] = row + 1


@_jit
def flow_end(s, f, reason, ts):
    """Close a flow for good: flush its stream, report it, free its record."""
    r = s["flows"][f]
    late = s["c"][C_LATE]
    s["c"][C_LATE] = 1
    stream_free(s, f, np.int64(r["last"]), np.int64(r["last_frame"]))
    s["c"][C_LATE] = late
    flow_report(s, f, reason)
    flow_remove(s, f)


@_jit
def closed_reason(r):
    if (np.int64(r["tcp"]) & TF_RST) != 0:
        return E_RESET
    if (np.int64(r["tcp"]) & (TF_FIN0 | TF_FIN1)) == (TF_FIN0 | TF_FIN1):
        return E_CLOSED
    return 0


@_jit
def sweep(s, ts):
    """Close flows that were silent for longer than the idle timeout. False if output is full: call again."""
    c = s["c"]
    at = c[C_SWEEP_AT]
    n = c[C_FRESH_FLOW]
    idle = c[C_IDLE]
    while at < n:
        r = s["flows"][at]
        if np.int64(r["first_frame"]) != 0:
            silent = ts - np.int64(r["last"])
            if silent > LINGER_NS:
                reason = closed_reason(r)
                if reason == 0 and silent > idle:
                    reason = E_IDLE
                if reason != 0:
                    if c[C_ENDS] >= c[C_ROW_FLUSH] or c[C_PDUS] >= c[C_PDU_FLUSH] or c[C_DATA] >= c[C_DATA_FLUSH]:
                        c[C_SWEEP_AT] = at
                        return False
                    flow_end(s, at, reason, ts)
        at += 1
    c[C_SWEEP_AT] = NONE
    return True


@_entry
def drain(s):
    """Close all flows at the end of the input. Returns S_FLUSH until all are out, then S_DONE."""
    c = s["c"]
    at = max(np.int64(0), c[C_SWEEP_AT])
    while at < c[C_FRESH_FLOW]:
        r = s["flows"][at]
        if np.int64(r["first_frame"]) != 0:
            if c[C_ENDS] >= c[C_ROW_FLUSH] or c[C_PDUS] >= c[C_PDU_FLUSH] or c[C_DATA] >= c[C_DATA_FLUSH]:
                c[C_SWEEP_AT] = at
                return S_FLUSH
            reason = closed_reason(r)
            flow_end(s, at, E_END if reason == 0 else reason, np.int64(r["last"]))
        at += 1
    c[C_SWEEP_AT] = c[C_FLOWS]
    return S_DONE


@_jit
def evict(s, ts):
    """Close the longest silent of 32 flows, so that a new one has room."""
    c = s["c"]
    n = c[C_FLOWS]
    best = np.int64(0)
    oldest = np.int64(0)
    for i in range(min(32, n)):
        hand = (c[C_FLOW_HAND] + i) % n
        last = np.int64(s["flows"][hand]["last"])
        if i == 0 or last < oldest:
            best = hand
            oldest = last
    c[C_FLOW_HAND] = (c[C_FLOW_HAND] + min(32, n)) % n
    c[C_FLOWS_EVICTED] += 1
    flow_end(s, best, E_EVICTED, ts)


@_jit
def is_service(port):
    return (0 < port < 1024) or port == 2404 or port == 20000 or port == 5353 or port == 5355


@_jit
def app_of_port(port, proto):
    """Application that is expected on a port: IANA service names."""
    if port == 53:
        return A_DNS
    if proto == 6:
        if port == 502:
            return A_MODBUS
        if port == 2404:
            return A_IEC104
        if port == 20000:
            return A_DNP3
        if port == 102:
            return A_S7
        return A_NONE
    if port == 5353 or port == 5355:
        return A_DNS
    if port == 20000:
        return A_DNP3
    if port == 502:
        return A_MODBUS
    return A_NONE


@_jit
def flow_new(s, a0, a1, b0, b1, ports, meta, h, slot, from_b, sport, dport, tcp_flags, ts, frame):
    """Make a record for a new flow; returns its number."""
    c = s["c"]
    f = c[C_FREE_FLOW]
    if f < 0 and c[C_FRESH_FLOW] < c[C_FLOWS]:
        f = c[C_FRESH_FLOW]
        c[C_FRESH_FLOW] = f + 1
        s["flows"][f]["next_free"] = NONE
    elif f < 0:
        evict(s, ts)
        f = c[C_FREE_FLOW]
        mask = c[C_SLOTS] - 1
        slot = h & mask  # eviction moved slots about
        while s["slots"][slot] != 0:
            slot = (slot + 1) & mask
    r = s["flows"][f]
    c[C_FREE_FLOW] = np.int64(r["next_free"])
    s["slots"][slot] = (h << 32) | (f + 1)
    c[C_FLOWS_LIVE] += 1
    proto = meta & 255
    r["a0"] = a0
    r["a1"] = a1
    r["b0"] = b0
    r["b1"] = b1
    r["ports"] = ports
    r["meta"] = meta
    r["hash"] = h
    r["last"] = ts
    r["first"] = ts
    r["first_frame"] = frame
    r["last_frame"] = frame
    r["packets0"] = 0
    r["packets1"] = 0
    r["bytes0"] = 0
    r["bytes1"] = 0
    r["payload0"] = 0
    r["payload1"] = 0
    r["flags0"] = 0
    r["flags1"] = 0
    r["stream"] = NONE
    r["app"] = A_NONE
    r["tries"] = 0
    r["isn0"] = NONE
    r["isn1"] = NONE
    r["serial"] = c[C_SERIAL]
    c[C_SERIAL] += 1
    r["epoch"] = NONE
    r["missed"] = 0
    r["again"] = 0
    r["conflict"] = 0
    r["ahead"] = 0
    r["said"] = 0
    r["part"] = 0
    r["mac0"] = NONE
    r["mac1"] = NONE
    client_b = from_b
    state = 0
    if proto == 6:
        if (tcp_flags & 0x12) == 0x12:
            client_b = 1 - from_b
        elif (tcp_flags & 2) == 0:
            state = TF_MIDSTREAM
            if is_service(sport) and not is_service(dport):
                client_b = 1 - from_b
    elif proto == 17 and is_service(sport) and not is_service(dport):
        client_b = 1 - from_b
    r["client_b"] = client_b
    r["tcp"] = state
    app = np.int64(A_NONE)
    if proto == 6 or proto == 17:
        server = sport if client_b != from_b else dport
        other = dport if client_b != from_b else sport
        app = np.int64(app_of_port(server, proto))
        if app == A_NONE:
            app = np.int64(app_of_port(other, proto))
    r["port_app"] = app
    return f


@_jit
def flow_count(flows, f, from_b, proto, tcp_flags, seq, ts, frame, size, packets, payload):
    """Count a packet in a flow; returns as ``flow_touch``."""
    r = flows[f]
    direction = 0 if np.int64(r["client_b"]) == from_b else 1
    if ts > np.int64(r["last"]):
        r["last"] = ts
    if ts < np.int64(r["first"]):
        r["first"] = ts
    r["last_frame"] = frame
    if direction == 0:
        r["packets0"] = np.int64(r["packets0"]) + packets
        r["bytes0"] = np.int64(r["bytes0"]) + size
        r["payload0"] = np.int64(r["payload0"]) + payload
        r["flags0"] = np.int64(r["flags0"]) | tcp_flags
    else:
        r["packets1"] = np.int64(r["packets1"]) + packets
        r["bytes1"] = np.int64(r["bytes1"]) + size
        r["payload1"] = np.int64(r["payload1"]) + payload
        r["flags1"] = np.int64(r["flags1"]) | tcp_flags
    if proto == 6 and (tcp_flags & 7) != 0:
        state = np.int64(r["tcp"])
        if (tcp_flags & 2) != 0:
            if direction == 0:
                if np.int64(r["isn0"]) < 0:
                    r["isn0"] = seq
            elif np.int64(r["isn1"]) < 0:
                r["isn1"] = seq
            state |= TF_SYNACK if (tcp_flags & 0x10) != 0 else TF_SYN
        if (tcp_flags & 1) != 0:
            state |= TF_FIN0 if direction == 0 else TF_FIN1
        if (tcp_flags & 4) != 0:
            if (state & TF_RST) == 0 and direction == 1:
                state |= TF_RST_BY_SERVER
            state |= TF_RST
        r["tcp"] = state
    return 2 * f + direction


@_jit
def flow_touch(s, x0, x1, y0, y1, sport, dport, ver, proto, tcp_flags, seq, ts, frame, size, packets, payload):
    """Count a packet from (x, sport) to (y, dport) in its flow, which is made if it is new.

    Returns:
        Twice the record's number, plus 1 if the packet goes from server to client.
    """
    c = s["c"]
    meta = (ver << 8) | proto
    from_b = 0
    if proto != 1 and proto != 58 and (x0 > y0 or (x0 == y0 and (x1 > y1 or (x1 == y1 and sport > dport)))):
        from_b = 1
    if from_b == 1:
        a0, a1, b0, b1 = y0, y1, x0, x1
        ports = (dport << 16) | sport
    else:
        a0, a1, b0, b1 = x0, x1, y0, y1
        ports = (sport << 16) | dport
    h = hash_key(c, a0, a1, b0, b1, ports, meta)
    mask = c[C_SLOTS] - 1
    i = h & mask
    f = np.int64(NONE)
    while True:
        v = s["slots"][i]
        if v == 0:
            break
        if (v >> 32) == h:
            g = (v & 0xFFFFFFFF) - 1
            q = s["flows"][g]
            if (
                q["a1"] == a1
                and q["b1"] == b1
                and q["ports"] == ports
                and q["meta"] == meta
                and q["a0"] == a0
                and q["b0"] == b0
            ):
                f = g
                break
        i = (i + 1) & mask
    if f >= 0:
        r = s["flows"][f]
        silent = ts - np.int64(r["last"])
        over = 0
        if proto == 6:
            over = closed_reason(r)
            if over != 0 and silent <= LINGER_NS and (tcp_flags & 0x12) != 2:
                over = 0
            if over == 0 and (tcp_flags & 0x12) == 2 and np.int64(r["tcp"]) & TF_SYNACK == 0:
                # the same ports again, with another initial number, after a call that nobody answered
                first = np.int64(r["isn0"])
                if first >= 0 and first != seq and np.int64(r["client_b"]) == from_b and silent > 10**9:
                    over = E_IDLE
        if over == 0 and silent > c[C_IDLE]:
            over = E_IDLE
        if over != 0:
            flow_end(s, f, over, ts)
            f = np.int64(NONE)
            i = h & mask
            while s["slots"][i] != 0:
                i = (i + 1) & mask
        elif ts - np.int64(r["first"]) > c[C_ACTIVE]:
            flow_report(s, f, E_ACTIVE)
            r["part"] = np.int64(r["part"]) + 1
            r["first"] = ts
            r["last"] = ts
            r["first_frame"] = frame
            r["packets0"] = 0
            r["packets1"] = 0
            r["bytes0"] = 0
            r["bytes1"] = 0
            r["payload0"] = 0
            r["payload1"] = 0
            r["flags0"] = 0
            r["flags1"] = 0
            r["missed"] = 0
            r["again"] = 0
            r["conflict"] = 0
            r["ahead"] = 0
    if f < 0:
        f = np.int64(flow_new(s, a0, a1, b0, b1, ports, meta, h, i, from_b, sport, dport, tcp_flags, ts, frame))
        r = s["flows"][f]
        r["vlan"] = NONE
        r["inner_vlan"] = NONE
        r["depth"] = 0
        r["interface"] = c[C_INTERFACE]
    return flow_count(s["flows"], f, from_b, proto, tcp_flags, seq, ts, frame, size, packets, payload)


# --- fragments ---------------------------------------------------------------------------------------------------


@_jit
def frag_free(s, i):
    s["frags"][i]["used"] = 0


@_jit
def frag_find(s, x0, x1, y0, y1, ident, meta, ts):
    """Entry of a datagram under reassembly; a new one if there is none, in the place of the oldest if all are used.

    The table is small and searched by hash in a window of 16 entries, so that a flood of fragments costs a
    bounded amount of work.
    """
    c = s["c"]
    n = c[C_FRAGS]
    h = hash_key(c, x0, x1, y0, y1, ident & 0xFFFFFFFF, meta)
    width = min(16, n)
    best = np.int64(NONE)
    oldest = np.int64(0)
    for j in range(width):
        i = (h + j) % n
        q = s["frags"][i]
        if q["used"] != 0 and ts - np.int64(q["first"]) > FRAGMENT_TIMEOUT_NS:
            c[C_FRAGS_STALE] += 1
            q["used"] = 0
        if q["used"] == 0:
            if best < 0 or s["frags"][best]["used"] != 0:
                best = i
            continue
        if (
            q["a0"] == x0
            and q["a1"] == x1
            and q["b0"] == y0
            and q["b1"] == y1
            and q["id"] == ident
            and q["meta"] == meta
        ):
            return i
        if best < 0 or (s["frags"][best]["used"] != 0 and np.int64(q["first"]) < oldest):
            best = i
            oldest = np.int64(q["first"])
    q = s["frags"][best]
    if q["used"] != 0:
        c[C_FRAGS_EVICTED] += 1
    q["a0"] = x0
    q["a1"] = x1
    q["b0"] = y0
    q["b1"] = y1
    q["id"] = ident
    q["meta"] = meta
    q["first"] = ts
    q["total"] = NONE
    q["bytes"] = 0
    q["packets"] = 0
    q["spans"] = 0
    q["used"] = 1
    q["said"] = 0
    return best


@_jit
def frag_add(s, x0, x1, y0, y1, ident, meta, off, more, b, p, n, size, ts, frame):
    """Take in one fragment: ``n`` bytes for place ``off``. First bytes win (the datagram is reported as odd).

    Returns:
        The entry, if its datagram is whole now; else -1.
    """
    c = s["c"]
    i = np.int64(frag_find(s, x0, x1, y0, y1, ident, meta, ts))
    q = s["frags"][i]
    base = i * DATAGRAM
    end = off + n
    q["bytes"] = np.int64(q["bytes"]) + size
    q["packets"] = np.int64(q["packets"]) + 1
    overlap = False
    total = np.int64(q["total"])
    if more == 0:
        if total >= 0 and total != end:
            overlap = True
        else:
            q["total"] = end
            total = end
    elif total >= 0 and end > total:
        overlap = True
    proto = meta & 255
    if (
        off == 0
        and more == 1
        and ((proto == 6 and n < 20) or (proto == 17 and n < 8))
        and (np.int64(q["said"]) & 1) == 0
    ):
        q["said"] = np.int64(q["said"]) | 1
        sign(s, NONE, X_FRAG_TINY, n, proto, ts, frame)
    count = np.int64(q["spans"])
    first = np.int64(0)
    while first < count and s["frag_spans"][i, 2 * first + 1] < off:
        first += 1
    last = first
    while last < count and s["frag_spans"][i, 2 * last] <= end:
        last += 1
    if first == last and count >= SPANS:
        c[C_FRAG_DROPPED] += 1
        return np.int64(NONE)
    differs = 0
    covered = 0
    run = first
    looked = np.int64(0)
    if first == last or s["frag_spans"][i, 2 * first] >= end or s["frag_spans"][i, 2 * last - 1] <= off:
        copied(b, p, n, s["frag_data"], base + off)  # at most touches what is there
        looked = n
    for j in range(looked, n):
        place = off + j
        while run < last and s["frag_spans"][i, 2 * run + 1] <= place:
            run += 1
        if run < last and s["frag_spans"][i, 2 * run] <= place:
            covered += 1
            if s["frag_data"][base + place] != b[p + j]:
                differs += 1
        else:
            s["frag_data"][base + place] = b[p + j]
    if differs > 0 or (covered > 0 and covered < n):
        overlap = True
    if overlap and (np.int64(q["said"]) & 2) == 0:
        q["said"] = np.int64(q["said"]) | 2
        sign(s, NONE, X_FRAG_OVERLAP, covered, differs, ts, frame)
    start = off
    if first < last:
        start = min(start, s["frag_spans"][i, 2 * first])
        end = max(end, s["frag_spans"][i, 2 * last - 1])
        gone = last - first - 1
        for j in range(last, count):
            s["frag_spans"][i, 2 * (j - gone)] = s["frag_spans"][i, 2 * j]
            s["frag_spans"][i, 2 * (j - gone) + 1] = s["frag_spans"][i, 2 * j + 1]
        count -= gone
    else:
        j = count
        while j > first:
            s["frag_spans"][i, 2 * j] = s["frag_spans"][i, 2 * j - 2]
            s["frag_spans"][i, 2 * j + 1] = s["frag_spans"][i, 2 * j - 1]
            j -= 1
        count += 1
    s["frag_spans"][i, 2 * first] = start
    s["frag_spans"][i, 2 * first + 1] = end
    q["spans"] = count
    if total >= 0 and s["frag_spans"][i, 0] == 0 and s["frag_spans"][i, 1] >= total:
        frag_free(s, i)
        return i
    return np.int64(NONE)


# --- headers -----------------------------------------------------------------------------------------------------


@_jit
def arp_packet(s, b, p, e, ts, frame, smac, dmac, vlan, inner):
    """ARP over Ethernet and IPv4 (RFC 826)."""
    c = s["c"]
    if e - p < 8:
        return FAILED + R_ARP_CUT
    if be16(b, p) != 1 or be16(b, p + 2) != 0x0800 or np.int64(b[p + 4]) != 6 or np.int64(b[p + 5]) != 4:
        return np.int64(R_ARP_HARDWARE)
    if e - p < 28:
        return FAILED + R_ARP_CUT
    row = c[C_ARPS]
    c[C_ARPS] = row + 1
    o = s["arps"][row]
    o["timestamp"] = ts
    o["frame"] = frame
    o["operation"] = be16(b, p + 6)
    o["smac"] = be48(b, p + 8)
    o["sip"] = be32(b, p + 14)
    o["tmac"] = be48(b, p + 18)
    o["tip"] = be32(b, p + 24)
    o["esrc"] = smac
    o["edst"] = dmac
    o["vlan"] = vlan
    o["inner_vlan"] = inner
    o["interface"] = c[C_INTERFACE]
    return np.int64(DECODED)


@_jit
def packet(s, b, p, e, wire, link, ts, frame):
    """Decode one frame ``b[p:e]`` of ``wire`` bytes on the wire and give it to its flow.

    Returns:
        DECODED, or a note: why it is undecoded; plus FAILED if it is damaged or contradicts itself.
    """
    c = s["c"]
    beyond = wire - (e - p)  # bytes that were on the wire and are not in the capture
    size = wire
    packets = np.int64(1)
    depth = 0
    result = np.int64(DECODED)
    smac = np.int64(NONE)
    dmac = np.int64(NONE)
    vlan = np.int64(NONE)
    inner = np.int64(NONE)
    ether = np.int64(0)
    # where the next layer is an Ethernet header: link types 1; else ``ether`` is set
    layer = 0  # 0 Ethernet, 1 ether type at hand, 2 IP by version nibble, 3 PPP
    if link == 1:
        layer = 0
    elif link == 113:
        if e - p < 16:
            return FAILED + R_LINK_CUT
        ether = be16(b, p + 14)
        if be16(b, p + 4) == 6:
            smac = be48(b, p + 6)
        p += 16
        layer = 1
    elif link == 276:
        if e - p < 20:
            return FAILED + R_LINK_CUT
        ether = be16(b, p)
        if np.int64(b[p + 11]) == 6:
            smac = be48(b, p + 12)
        p += 20
        layer = 1
    elif link == 0 or link == 108:
        if e - p < 4:
            return FAILED + R_LINK_CUT
        family = be32(b, p)
        if family > 0xFFFF:
            family = le32(b, p)
        p += 4
        if family == 2:
            ether = np.int64(0x0800)
        elif family == 24 or family == 28 or family == 30 or family == 10 or family == 23:
            ether = np.int64(0x86DD)
        else:
            return np.int64(R_NULL_FAMILY)
        layer = 1
    elif link == 12 or link == 14 or link == 101:
        layer = 2
    elif link == 228:
        ether = np.int64(0x0800)
        layer = 1
    elif link == 229:
        ether = np.int64(0x86DD)
        layer = 1
    elif link == 9 or link == 50:
        layer = 3
    else:
        return np.int64(N_LINK + min(link, 0xFFFF))

    while depth < MAX_DEPTH:
        # --- link layer: until an IP header is at p
        tags = 0
        loops = 0
        ver = 0
        fault = np.int64(DECODED)
        while loops < 16:
            loops += 1
            if layer == 0:
                if e - p < 14:
                    fault = np.int64(FAILED + R_ETH_CUT)
                    break
                if depth == 0:
                    dmac = be48(b, p)
                    smac = be48(b, p + 6)
                ether = be16(b, p + 12)
                p += 14
                layer = 1
            elif layer == 2:
                if e - p < 1:
                    fault = np.int64(FAILED + R_IP4_CUT)
                    break
                nibble = np.int64(b[p]) >> 4
                if nibble == 4:
                    ether = np.int64(0x0800)
                elif nibble == 6:
                    ether = np.int64(0x86DD)
                else:
                    fault = np.int64(FAILED + R_IP_VERSION)
                    break
                layer = 1
            elif layer == 3:
                if e - p >= 4 and np.int64(b[p]) == 0xFF and np.int64(b[p + 1]) == 3:
                    p += 2
                if e - p < 2:
                    fault = np.int64(FAILED + R_PPPOE_CUT)
                    break
                ppp = be16(b, p)
                p += 2
                if ppp == 0x0021:
                    ether = np.int64(0x0800)
                elif ppp == 0x0057:
                    ether = np.int64(0x86DD)
                else:
                    fault = np.int64(R_PPP_PROTOCOL)
                    break
                layer = 1
            if ether == 0x0800:
                ver = 4
                break
            if ether == 0x86DD:
                ver = 6
                break
            if ether == 0x8100 or ether == 0x88A8 or ether == 0x9100:
                if e - p < 4:
                    fault = np.int64(FAILED + R_VLAN_CUT)
                    break
                tags += 1
                if tags > 4:
                    fault = np.int64(R_VLAN_MANY)
                    break
                tag = be16(b, p) & 0xFFF
                if depth == 0:
                    if tags == 1:
                        vlan = tag
                    elif tags == 2:
                        inner = tag
                ether = be16(b, p + 2)
                p += 4
            elif ether == 0x0806:
                if depth > 0:
                    break
                return arp_packet(s, b, p, e, ts, frame, smac, dmac, vlan, inner)
            elif ether == 0x8847 or ether == 0x8848:
                bottom = 0
                while e - p >= 4 and bottom == 0:
                    bottom = np.int64(b[p + 2]) & 1
                    p += 4
                if bottom == 0 or e - p < 1:
                    fault = np.int64(FAILED + R_MPLS_CUT)
                    break
                if (np.int64(b[p]) >> 4) == 0:
                    p += 4  # control word of a pseudowire (RFC 4385): Ethernet follows
                    layer = 0
                else:
                    layer = 2
            elif ether == 0x8864:
                if e - p < 6:
                    fault = np.int64(FAILED + R_PPPOE_CUT)
                    break
                p += 6
                layer = 3
            elif ether < 0x0600:
                # 802.3 length, or SLL's 0x0004: LLC
                if e - p < 3:
                    fault = np.int64(FAILED + R_ETH_CUT)
                    break
                if np.int64(b[p]) == 0xAA and np.int64(b[p + 1]) == 0xAA and e - p >= 8:
                    ether = be16(b, p + 6)
                    oui = (np.int64(b[p + 3]) << 16) | be16(b, p + 4)
                    if oui != 0 or ether < 0x0600:
                        fault = np.int64(R_SNAP_OUI)
                        break
                    p += 8
                else:
                    fault = N_LLC + np.int64(b[p])
                    break
            else:
                fault = N_ETHERTYPE + ether
                break
        if ver == 0:
            if depth > 0:
                return result  # the outer packet went to its flow
            return fault if fault != DECODED else np.int64(R_VLAN_MANY)

        # --- network layer
        proto = np.int64(0)
        x0 = np.int64(0)
        y0 = np.int64(0)
        x1 = np.int64(0)
        y1 = np.int64(0)
        frag_off = np.int64(0)
        frag_more = np.int64(0)
        ident = np.int64(0)
        rest = np.int64(0)  # bytes of the IP payload on the wire
        if ver == 4:
            if e - p < 20:
                fault = np.int64(FAILED + R_IP4_CUT)
            elif (np.int64(b[p]) >> 4) != 4:
                fault = np.int64(FAILED + R_IP_VERSION)
            else:
                header = (np.int64(b[p]) & 15) * 4
                total = be16(b, p + 2)
                if total == 0:
                    total = e - p + beyond  # segmentation offload
                if header < 20:
                    fault = np.int64(FAILED + R_IP4_IHL)
                elif e - p < header:
                    fault = np.int64(FAILED + R_IP4_CUT)
                elif total < header or total > e - p + beyond:
                    fault = np.int64(FAILED + R_IP4_TOTAL)
                else:
                    proto = np.int64(b[p + 9])
                    x1 = be32(b, p + 12)
                    y1 = be32(b, p + 16)
                    ident = be16(b, p + 4)
                    frag_off = (be16(b, p + 6) & 0x1FFF) * 8
                    frag_more = (np.int64(b[p + 6]) >> 5) & 1
                    if p + total < e:
                        e = p + total
                    beyond = p + total - e
                    rest = total - header
                    p += header
        else:
            if e - p < 40:
                fault = np.int64(FAILED + R_IP6_CUT)
            elif (np.int64(b[p]) >> 4) != 6:
                fault = np.int64(FAILED + R_IP_VERSION)
            else:
                total = be16(b, p + 4) + 40
                if total == 40 and np.int64(b[p + 6]) != 59:
                    total = e - p + beyond  # jumbogram or segmentation offload
                if total > e - p + beyond:
                    fault = np.int64(FAILED + R_IP6_LENGTH)
                else:
                    proto = np.int64(b[p + 6])
                    x0 = (be32(b, p + 8) << 32) | be32(b, p + 12)
                    x1 = (be32(b, p + 16) << 32) | be32(b, p + 20)
                    y0 = (be32(b, p + 24) << 32) | be32(b, p + 28)
                    y1 = (be32(b, p + 32) << 32) | be32(b, p + 36)
                    if p + total < e:
                        e = p + total
                    end = p + total
                    beyond = end - e
                    p += 40
                    turns = 0
                    seen = 0
                    while seen == 0:
                        turns += 1
                        if turns > 16:
                            fault = np.int64(FAILED + R_IP6_EXT_MANY)
                            break
                        if proto == 0 or proto == 43 or proto == 60 or proto == 135 or proto == 139 or proto == 140:
                            if e - p < 8:
                                fault = np.int64(FAILED + R_IP6_EXT_CUT)
                                break
                            proto = np.int64(b[p])
                            p += 8 + 8 * np.int64(b[p + 1])
                        elif proto == 51:
                            if e - p < 8:
                                fault = np.int64(FAILED + R_IP6_EXT_CUT)
                                break
                            proto = np.int64(b[p])
                            p += 8 + 4 * np.int64(b[p + 1])
                        elif proto == 44:
                            if e - p < 8:
                                fault = np.int64(FAILED + R_IP6_EXT_CUT)
                                break
                            proto = np.int64(b[p])
                            frag_off = be16(b, p + 2) & 0xFFF8
                            frag_more = np.int64(b[p + 3]) & 1
                            ident = be32(b, p + 4)
                            p += 8
                            if frag_off != 0 or frag_more != 0:
                                seen = 1
                        else:
                            seen = 1
                        if p > e:
                            fault = np.int64(FAILED + R_IP6_EXT_CUT)
                            break
                    rest = end - p
        if fault != DECODED:
            return result if depth > 0 else fault

        # --- fragments
        if frag_off != 0 or frag_more != 0:
            length = e - p
            meta = (ver << 8) | proto
            if rest <= 0 or (frag_more == 1 and (rest & 7) != 0):
                return result if depth > 0 else np.int64(FAILED + R_FRAG_LENGTH)
            if frag_off + rest >= DATAGRAM:
                return result if depth > 0 else np.int64(FAILED + R_FRAG_BIG)
            if beyond > 0:
                c[C_FRAG_DROPPED] += 1  # not wholly in the capture: its datagram cannot be put together
                return result
            entry = frag_add(s, x0, x1, y0, y1, ident, meta, frag_off, frag_more, b, p, length, size, ts, frame)
            if entry < 0:
                return result
            q = s["frags"][entry]
            b = s["frag_data"][:]
            p = entry * DATAGRAM
            rest = np.int64(q["total"])
            e = p + rest
            size = np.int64(q["bytes"])
            packets = np.int64(q["packets"])
            turns = 0
            while ver == 6 and (proto == 60 or proto == 43 or proto == 0) and turns < 16:
                turns += 1
                if e - p < 8:
                    break
                proto = np.int64(b[p])
                p += 8 + 8 * np.int64(b[p + 1])
            if p > e:
                return result if depth > 0 else np.int64(FAILED + R_IP6_EXT_CUT)
            rest = e - p

        # --- transport layer
        have = e - p
        sport = np.int64(0)
        dport = np.int64(0)
        tcp_flags = np.int64(0)
        seq = np.int64(0)
        ack = np.int64(0)
        payload = rest
        at = p
        urgent = np.int64(0)
        if proto == 6:
            if have < 20:
                return result if depth > 0 else np.int64(FAILED + R_TCP_CUT)
            header = (np.int64(b[p + 12]) >> 4) * 4
            if header < 20 or header > rest:
                return result if depth > 0 else np.int64(FAILED + R_TCP_LENGTH)
            sport = be16(b, p)
            dport = be16(b, p + 2)
            seq = be32(b, p + 4)
            ack = be32(b, p + 8)
            tcp_flags = np.int64(b[p + 13])
            urgent = be16(b, p + 18)
            payload = rest - header
            at = p + header
        elif proto == 17:
            if have < 8:
                return result if depth > 0 else np.int64(FAILED + R_UDP_CUT)
            sport = be16(b, p)
            dport = be16(b, p + 2)
            length = be16(b, p + 4)
            if length == 0:
                length = rest  # jumbogram (RFC 2675) or offload
            if length < 8 or length > rest:
                return result if depth > 0 else np.int64(FAILED + R_UDP_LENGTH)
            payload = length - 8
            at = p + 8
        elif (proto == 1 and ver == 4) or (proto == 58 and ver == 6):
            if have < 4:
                return result if depth > 0 else np.int64(FAILED + R_ICMP_CUT)
            sport = np.int64(b[p])
            dport = np.int64(b[p + 1])
            payload = rest - 4
        n = min(e, at + payload) - at  # captured bytes of the payload

        fd = np.int64(
            flow_touch(s, x0, x1, y0, y1, sport, dport, ver, proto, tcp_flags, seq, ts, frame, size, packets, payload)
        )
        f = fd >> 1
        direction = fd & 1
        r = s["flows"][f]
        if np.int64(r["mac0"]) < 0 and smac >= 0:
            r["mac0"] = smac if direction == 0 else dmac
            r["mac1"] = dmac if direction == 0 else smac
            r["vlan"] = vlan
            r["inner_vlan"] = inner
        if r["first_frame"] == frame:
            r["depth"] = depth
            r["vlan"] = vlan
            r["inner_vlan"] = inner

        if proto == 6:
            if np.int64(r["app"]) < A_MMS and (payload > 0 or np.int64(r["stream"]) >= 0):
                tcp_data(s, f, direction, b, at, n, payload, seq, ack, tcp_flags, ts, frame)
                if payload > 0 and (tcp_flags & 2) != 0:
                    sign(s, f, X_SYN_PAYLOAD, payload, 0, ts, frame)
                if (tcp_flags & 0x20) != 0 and urgent != 0 and np.int64(r["port_app"]) != A_NONE:
                    sign(s, f, X_URGENT, urgent, 0, ts, frame)
            return np.int64(DECODED)
        if proto == 17:
            if n > 0 and np.int64(r["app"]) < A_MMS:
                udp_data(s, f, direction, b, at, n, payload, ts, frame)
            if dport == 4789 and n >= 8 and (np.int64(b[at]) & 8) != 0:
                p = at + 8
                layer = 0
            elif dport == 6081 and n >= 8 and be16(b, at + 2) == 0x6558 and (np.int64(b[at]) >> 6) == 0:
                p = at + 8 + 4 * (np.int64(b[at]) & 63)
                layer = 0
            else:
                return np.int64(DECODED)
            e = at + n
        elif proto == 4:
            ether = np.int64(0x0800)
            layer = 1
        elif proto == 41:
            ether = np.int64(0x86DD)
            layer = 1
        elif proto == 47 and e - p >= 4 and (np.int64(b[p + 1]) & 7) == 0:
            bits = np.int64(b[p])
            ether = be16(b, p + 2)
            p += 4
            if (bits & 0x80) != 0:
                p += 4
            if (bits & 0x20) != 0:
                p += 4
            if (bits & 0x10) != 0:
                p += 4
            if ether == 0x6558:
                layer = 0
            elif ether == 0x880B:
                layer = 3
            elif ether == 0x0800 or ether == 0x86DD:
                layer = 1
            else:
                return np.int64(DECODED)
        else:
            return np.int64(DECODED)
        if p >= e:
            return np.int64(DECODED)
        size = e - p + beyond
        packets = np.int64(1)
        depth += 1
        c[C_TUNNELS] += 1
    return np.int64(DECODED)


# --- records -----------------------------------------------------------------------------------------------------


@_jit
def account(c, notes, outcome):
    if outcome == DECODED:
        c[C_DECODED] += 1
    elif outcome >= FAILED:
        c[C_FAILED] += 1
        notes[outcome - FAILED] += 1
    else:
        c[C_UNDECODED] += 1
        notes[outcome] += 1


@_jit
def room(s, ts):
    """Whether there is room for all that one more frame may yield; sweeps idle flows when it is time to."""
    c = s["c"]
    if (
        c[C_PDUS] >= c[C_PDU_FLUSH]
        or c[C_DATA] >= c[C_DATA_FLUSH]
        or c[C_ENDS] >= c[C_ROW_FLUSH]
        or c[C_LOCALS] >= c[C_ROW_FLUSH]
        or c[C_ARPS] >= c[C_ROW_FLUSH]
        or c[C_SIGNS] >= c[C_ROW_FLUSH]
    ):
        return False
    if c[C_SWEEP_AT] >= 0:
        return sweep(s, c[C_SWEEP_TIME])
    # a sweep reads the whole table: not more often than every 2**17 frames, except when nearly full
    since = c[C_FRAME] - c[C_SWEEP_FRAME]
    if since >= 4096 and ts - c[C_SWEEP_TIME] > (c[C_IDLE] >> 2):
        if since >= 131072 or c[C_FLOWS_LIVE] * 4 > 3 * c[C_FLOWS]:
            c[C_SWEEP_TIME] = ts
            c[C_SWEEP_FRAME] = c[C_FRAME]
            c[C_SWEEP_AT] = 0
            return sweep(s, ts)
    return True


@_entry
def walk_pcap(s, b, start, end):
    """Frames of a pcap file out of ``b[start:end]``; returns S_*, with C_POS where it stopped."""
    c = s["c"]
    swap = c[C_SWAP]
    nano = c[C_NANO]
    header = c[C_RECORD]
    link = c[C_LINK]
    pos = start
    ts = c[C_TIME]
    status = S_MORE
    while True:
        c[C_POS] = pos
        if not room(s, ts):
            status = S_FLUSH
            break
        if end - pos < header:
            break
        captured = get32(b, pos + 8, swap)
        wire = get32(b, pos + 12, swap)
        if captured > c[C_MAX_FRAME]:
            c[C_DAMAGE] = D_FRAME_LENGTH
            c[C_DAMAGE_VALUE] = captured
            status = S_DAMAGED
            break
        if end - pos - header < captured:
            break
        fraction = get32(b, pos + 4, swap)
        ts = get32(b, pos, swap) * 1_000_000_000 + (fraction if nano == 1 else fraction * 1000)
        c[C_TIME] = ts
        c[C_FRAME] += 1
        p = pos + header
        pos = p + captured
        c[C_NEXT] = pos
        if wire < captured:
            wire = captured
        account(c, s["notes"], packet(s, b, p, pos, wire, link, ts, c[C_FRAME]))
    return status


@_jit
def ng_time(c, ifaces, i, hi, lo):
    """Nanoseconds since the epoch of a pcapng time stamp; clamped to what int64 nanoseconds can say."""
    mode = ifaces[i, 2]
    unit = ifaces[i, 3]
    top = np.int64(9_223_372_035)
    if hi >= (1 << 31):
        c[C_TIME_CLAMPED] += 1
        return top * 1_000_000_000
    value = (hi << 32) | lo
    if mode == 0:  # 10**-r, r at most 9: unit is ticks a second
        seconds = value // unit
        nanos = (value % unit) * (1_000_000_000 // unit)
    elif mode == 1:  # finer than nanoseconds
        seconds = value // unit
        nanos = (value % unit) // (unit // 1_000_000_000)
    else:  # 2**-unit
        seconds = value >> unit
        part = value & ((np.int64(1) << unit) - 1)
        if unit > 32:
            nanos = ((part >> (unit - 32)) * 1_000_000_000) >> 32
        else:
            nanos = (part * 1_000_000_000) >> unit
    if seconds > top:
        c[C_TIME_CLAMPED] += 1
        return top * 1_000_000_000
    seconds += ifaces[i, 4]
    if seconds < 0 or seconds > top:
        c[C_TIME_CLAMPED] += 1
        seconds = min(max(seconds, np.int64(0)), top)
    return seconds * 1_000_000_000 + nanos


@_entry
def walk_pcapng(s, b, start, end):
    """Frames of a pcapng file; comes back with S_BLOCK at section and interface blocks, which Python reads."""
    c = s["c"]
    swap = c[C_SWAP]
    pos = start
    status = S_MORE
    while True:
        c[C_POS] = pos
        if not room(s, c[C_TIME]):
            status = S_FLUSH
            break
        if end - pos < 12:
            break
        kind = get32(b, pos, swap)
        if kind == 0x0A0D0D0A or kind == 1:
            status = S_BLOCK
            break
        total = get32(b, pos + 4, swap)
        if total < 12 or (total & 3) != 0:
            c[C_DAMAGE] = D_BLOCK_LENGTH
            c[C_DAMAGE_VALUE] = total
            status = S_DAMAGED
            break
        is_packet = kind == 6 or kind == 3 or kind == 2
        if is_packet and total > c[C_MAX_FRAME] + 65536:
            c[C_DAMAGE] = D_BLOCK_LENGTH
            c[C_DAMAGE_VALUE] = total
            status = S_DAMAGED
            break
        if end - pos < total:
            if not is_packet and total > 65536:
                c[C_SKIP] = total
                status = S_SKIP
            break
        if get32(b, pos + total - 4, swap) != total:
            c[C_DAMAGE] = D_BLOCK_TRAILER
            c[C_DAMAGE_VALUE] = total
            status = S_DAMAGED
            break
        if not is_packet:
            pos += total
            continue
        c[C_FRAME] += 1
        c[C_NEXT] = pos + total
        body = 28 if kind != 3 else 12
        if total < body + 4:
            account(c, s["notes"], np.int64(FAILED + R_BLOCK_SHORT))
            pos += total
            continue
        iface = np.int64(0)
        if kind == 6:
            iface = get32(b, pos + 8, swap)
        elif kind == 2:
            iface = be16(b, pos + 8) if swap == 1 else le16(b, pos + 8)
        if iface >= c[C_IFACES]:
            account(c, s["notes"], np.int64(FAILED + R_INTERFACE))
            pos += total
            continue
        if kind == 3:
            wire = get32(b, pos + 8, swap)
            captured = min(wire, total - 16)
            snap = s["ifaces"][iface, 1]
            if snap > 0:
                captured = min(captured, snap)
            ts = c[C_TIME]
            c[C_NO_TIME] += 1
        else:
            ts = np.int64(ng_time(c, s["ifaces"], iface, get32(b, pos + 12, swap), get32(b, pos + 16, swap)))
            captured = get32(b, pos + 20, swap)
            wire = get32(b, pos + 24, swap)
            c[C_TIME] = ts
        if captured > total - body - 4:
            account(c, s["notes"], np.int64(FAILED + R_BLOCK_SHORT))
            pos += total
            continue
        if wire < captured:
            wire = captured
        c[C_INTERFACE] = s["ifaces"][iface, 5]
        p = pos + body
        account(c, s["notes"], packet(s, b, p, p + captured, wire, s["ifaces"][iface, 0], ts, c[C_FRAME]))
        pos += total
    return status
