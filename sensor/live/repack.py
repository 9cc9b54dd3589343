"""Frames of a ring's block become records of a pcap file, nanoseconds, in the byte order of the machine.

So everything behind it reads an interface as it reads a file. The copy is what this costs. The kernel takes the outer
VLAN tag out of the frame and puts it into the head of its slot: it is put back where it was, or segments would be
confused. Layout: ``struct tpacket3_hdr`` of ``linux/if_packet.h``.

The kernel here calls none of another file, so numba's own look at this file's date is enough (compare
``sensor/kernel_cache.py``).
"""

from __future__ import annotations

from numba import njit

from sensor.base import U8

RECORD = 16  # bytes of a pcap record's head
_SLOT = 48  # bytes of tpacket3_hdr


@njit(nogil=True, cache=True, boundscheck=True)
def repack(block: U8, frames: int, first: int, ethernet: bool, out: U8) -> tuple[int, int]:
    """Copy the frames of a block into records.

    Args:
        block: The block, ``uint8[n]``.
        frames: How many frames its head claims.
        first: Where the first slot starts.
        ethernet: The frames have an Ethernet header, behind whose addresses a tag can be put.
        out: Filled in; as long as the block at least, for a record's head is shorter than a slot's.

    Returns:
        Bytes of ``out`` that are filled, and frames that were copied: fewer than ``frames`` only if the block
        contradicts itself.
    """
    at = first
    to = 0
    done = 0
    n = len(block)
    while done < frames:
        if at < 0 or at + _SLOT > n:
            break
        step = int(block[at]) | (int(block[at + 1]) << 8) | (int(block[at + 2]) << 16) | (int(block[at + 3]) << 24)
        captured = (
            int(block[at + 12]) | (int(block[at + 13]) << 8) | (int(block[at + 14]) << 16) | (int(block[at + 15]) << 24)
        )
        wire = (
            int(block[at + 16]) | (int(block[at + 17]) << 8) | (int(block[at + 18]) << 16) | (int(block[at + 19]) << 24)
        )
        status = int(block[at + 20])
        start = at + (int(block[at + 24]) | (int(block[at + 25]) << 8))
        if start < at + _SLOT or start + captured > n:
            break
        tagged = ethernet and (status & 16) != 0 and captured >= 12
        extra = 4 if tagged else 0
        if to + RECORD + captured + extra > len(out):
            break
        for i in range(8):  # seconds and nanoseconds
            out[to + i] = block[at + 4 + i]
        for i in range(4):
            out[to + 8 + i] = ((captured + extra) >> (8 * i)) & 255
            out[to + 12 + i] = ((wire + extra) >> (8 * i)) & 255
        to += RECORD
        if tagged:
            out[to : to + 12] = block[start : start + 12]
            if (status & 64) != 0:  # else an old kernel, which knew 802.1Q only
                out[to + 12] = block[at + 37]
                out[to + 13] = block[at + 36]
            else:
                out[to + 12] = 0x81
                out[to + 13] = 0
            out[to + 14] = block[at + 33]
            out[to + 15] = block[at + 32]
            out[to + 16 : to + 4 + captured] = block[start + 12 : start + captured]
        else:
            out[to : to + captured] = block[start : start + captured]
        to += captured + extra
        done += 1
        if step < _SLOT:  # 0 at the last frame
            break
        at += step
    return to, done
