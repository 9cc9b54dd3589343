"""Names for what the kernels count: link types, Ethertypes and reasons, as they stand in ``Account.notes``."""

from __future__ import annotations

import numpy as np

from sensor import kernels_layout as k


def note_name(place: int) -> str:
    """Name of one counter of ``State.notes``: ``ethertype_0x88b8``, ``link_type_239``, ``llc_0x42``, ``udp_cut``."""
    if place < k.N_LINK:
        return f"ethertype_{place:#06x}"
    if place < k.N_LLC:
        return f"link_type_{place - k.N_LINK}"
    if place < k.N_REASON:
        return f"llc_{place - k.N_LLC:#04x}"
    return k.REASONS[place - k.N_REASON]


_COUNTERS = {
    k.C_FLOWS_EVICTED: "flows_evicted",
    k.C_STREAMS_EVICTED: "streams_evicted",
    k.C_CARRY_EMPTY: "carry_pool_empty",
    k.C_FRAGS_EVICTED: "fragments_evicted",
    k.C_FRAGS_STALE: "datagrams_incomplete",
    k.C_FRAG_DROPPED: "fragments_dropped",
    k.C_PDUS_LOST: "messages_beyond_buffer",
    k.C_SIGNS_LOST: "sensor_events_beyond_buffer",
    k.C_GAPS: "stream_gaps",
    k.C_TIME_CLAMPED: "timestamps_out_of_range",
    k.C_NO_TIME: "frames_without_time",
    k.C_TUNNELS: "tunnelled_packets",
}


def read_notes(state: k.State) -> dict[str, int]:
    """All counters that are not zero, by name."""
    notes = {note_name(int(place)): int(state.notes[place]) for place in np.flatnonzero(state.notes)}
    notes.update({name: int(state.c[place]) for place, name in _COUNTERS.items() if state.c[place]})
    return notes
