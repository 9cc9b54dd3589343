"""Numbers of IEC 104 connections, against a reading frame by frame."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensor.base import PDU_AFTER_GAP, PDU_MIDSTREAM, PduBatch, batch_of
from sensor.decoders import _iec104_sequence as module
from sensor.decoders._iec104_sequence import Sequences
from sensor.decoders.iec104 import DECODER, Frames, decode

M = 1 << 15
Frame = tuple[int, int, str, int, int, int]
"""Flow, direction, kind (i, s, u), N(S), N(R), flags."""


def frame_bytes(kind: str, send: int = 0, recv: int = 0) -> bytes:
    if kind == "u":
        return bytes([0x68, 4, 0x43, 0, 0, 0])
    heard = bytes([(recv << 1) & 0xFF, recv >> 7])
    if kind == "s":
        return bytes([0x68, 4, 1, 0]) + heard
    asdu = bytes([1, 1, 3, 0, 1, 0, 1, 0, 0, 0])
    return bytes([0x68, 4 + len(asdu), (send << 1) & 0xFF, send >> 7]) + heard + asdu


def batch(frames: list[Frame]) -> PduBatch:
    made = batch_of(
        [frame_bytes(kind, send, recv) for _, _, kind, send, recv, _ in frames],
        direction=[f[1] for f in frames],
        flow=[f[0] for f in frames],
    )
    return dataclasses.replace(made, flags=np.array([f[5] for f in frames], np.int64))


def verdicts(frames: list[Frame], cuts: tuple[int, ...] = ()) -> list[str | None]:
    decoder, found, begin = Frames(), [], 0
    for end in (*sorted(cuts), len(frames)):
        if frames[begin:end]:
            found += decoder(batch(frames[begin:end]))["iec104.sequence_anomaly"].to_list()
        begin = end
    return found


def conversation(*numbers: tuple[int, str, int, int], flags: int = 0) -> list[Frame]:
    return [(1, side, kind, send, recv, flags) for side, kind, send, recv in numbers]


def test_a_sound_conversation_and_one_that_wraps():
    sound = conversation((1, "i", 0, 0), (0, "i", 0, 1), (1, "i", 1, 1), (0, "s", 0, 2), (0, "u", 0, 0), (0, "i", 1, 2))
    assert verdicts(sound) == [None] * 6
    under_way = conversation((1, "i", M - 1, 0), (1, "i", 0, 0), (0, "s", 0, 1), flags=PDU_MIDSTREAM)
    assert verdicts(under_way) == [None] * 3


@pytest.mark.parametrize(
    ("numbers", "last"),
    [
        ([(0, "i", 0, 0), (0, "i", 2, 0)], "gap"),
        ([(0, "i", 0, 0), (0, "i", 0, 0)], "repeated"),
        ([(0, "i", 0, 0), (0, "i", 1, 0), (0, "i", 2, 0), (0, "i", 1, 0)], "went_back"),
        ([(0, "i", 0, 0), (1, "s", 0, 2)], "acknowledged_unsent"),
        ([(0, "i", 5, 0)], "gap"),
        ([(0, "s", 0, 9)], "acknowledged_unsent"),
    ],
)
def test_numbers_out_of_order(numbers: list[tuple[int, str, int, int]], last: str):
    assert verdicts(conversation(*numbers)) == [None] * (len(numbers) - 1) + [last]


def test_after_a_gap_of_the_capture_nobody_can_say():
    frames = conversation((0, "i", 0, 0), (1, "s", 0, 7), (0, "i", 6, 0), (0, "i", 7, 0))
    frames[2] = (*frames[2][:5], PDU_AFTER_GAP)
    assert verdicts(frames) == [None] * 4


def test_a_frame_with_a_bad_asdu_still_counts():
    first, second = frame_bytes("i", 0), frame_bytes("i", 1)
    broken = first[:6] + bytes([200]) + first[7:]
    table = decode(batch_of([broken, second]))
    assert table["error.code"].to_list() == ["unknown_type", None]
    assert table["iec104.sequence_anomaly"].to_list() == [None, None]


def test_connections_are_forgotten_at_the_bound_and_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_FLOWS", 2)
    decoder = Frames()
    decoder(batch([(flow, 0, "i", 0, 0, 0) for flow in range(5)]))
    assert decoder.notes() == {"iec104_sequences_forgotten": 3}
    assert Frames().notes() == {}


def test_no_frames():
    assert Sequences().judge(batch_of([]), np.zeros(0, np.int32), np.zeros(0, np.int32)).tolist() == []
    assert DECODER.new is Frames


def naive(frames: list[Frame]) -> list[str | None]:
    """One frame after the other; holes are looked for in the whole of each flow, as one batch would."""
    holes = {(flow, side) for flow, side, _, _, _, flags in frames if flags & PDU_AFTER_GAP}
    following: dict[tuple[int, int], int | None] = {}
    opened: set[int] = set()
    found: list[str | None] = []
    for flow, side, kind, send, recv, flags in frames:
        if flow not in opened:
            opened.add(flow)
            for one in (0, 1):
                following[flow, one] = None if flags & PDU_MIDSTREAM else 0
        mine, other = following[flow, side], following[flow, 1 - side]
        said: str | None = None
        if kind == "i" and mine is not None and not flags & PDU_AFTER_GAP:
            step = (send - mine) % M
            if step == M - 1:
                said = "repeated"
            elif step:
                said = "gap" if step < M // 2 else "went_back"
        told = kind in "is" and other is not None and (flow, 1 - side) not in holes
        if said is None and told and 0 < (recv - (other or 0)) % M < M // 2:
            said = "acknowledged_unsent"
        if kind == "i":
            following[flow, side] = (send + 1) % M
        found.append(said)
    return found


NUMBERS = st.one_of(st.integers(0, 4), st.integers(M - 3, M - 1), st.integers(M // 2 - 2, M // 2 + 2))
FRAMES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 1),
        st.sampled_from("isu"),
        NUMBERS,
        NUMBERS,
        st.sampled_from([0, 0, 0, PDU_AFTER_GAP, PDU_MIDSTREAM]),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(FRAMES)
def test_whole_batches_against_one_frame_after_the_other(frames: list[Frame]):
    assert verdicts(frames) == naive(frames)


@settings(max_examples=100, deadline=None)
@given(FRAMES, st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_cutting_into_batches_changes_nothing_where_nothing_was_lost(frames: list[Frame], cuts: tuple[int, int]):
    whole = [(*frame[:5], frame[5] & ~PDU_AFTER_GAP) for frame in frames]
    assert verdicts(whole, cuts) == naive(whole)
