"""From the office into the plant: a scan through the router, guessed passwords on a jump host, then Modbus from there.

python pcaps/mixed/it-ot-seam.pcap.py OUT.pcap        (root, iproute2, pymodbus; about 65 s)
"""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import modbus_parts as modbus
from plant import main, pause, plant

PLC, HMI, JUMP, ROUTER, OFFICE = "10.20.5.10", "10.20.5.5", "10.20.5.20", "10.20.5.1", "10.30.1.50"
WORDS = ["123456", "admin", "password", "operator", "root", "scada", "service", "maint", "1234", "default"]


def login() -> None:
    """A terminal server on port 23: asks for name and password; lets ``operator``/``service`` in."""
    listener = socket.create_server(("0.0.0.0", 23))
    while True:
        sock, _ = listener.accept()
        with contextlib.suppress(OSError), sock:
            sock.settimeout(1)
            sock.sendall(b"jump1 login: ")
            name = sock.recv(64).strip()
            sock.sendall(b"Password: ")
            if (name, sock.recv(64).strip()) != (b"operator", b"service"):
                sock.sendall(b"\r\nLogin incorrect\r\n")
                continue
            sock.sendall(b"\r\njump1$ ")
            while command := sock.recv(256):
                sock.sendall(command + b"\r\njump1$ ")


def guess(address: str) -> None:
    """Try every word for three names, one connection each; stay where one fits."""
    for name in ("root", "admin", "operator"):
        for word in WORDS:
            with contextlib.suppress(OSError), socket.create_connection((address, 23), 0.5) as sock:
                sock.settimeout(0.5)
                sock.recv(64)
                sock.sendall(name.encode() + b"\r\n")
                sock.recv(64)
                sock.sendall(word.encode() + b"\r\n")
                if b"$" in sock.recv(64):
                    for command in (b"uname -a\r\n", b"ip neigh\r\n", b"./mbset 10.20.5.10\r\n"):
                        sock.sendall(command)
                        sock.recv(256)
                        pause(3)
                    return
            pause(1)


def story(out: str) -> None:
    with plant(out) as site:
        site.router("router", ROUTER, "10.30.1.1", "office", OFFICE)
        for name, ip in (("plc", PLC), ("hmi", HMI), ("jump", JUMP)):
            site.host(name, ip, gateway=ROUTER)
        site.start("plc", modbus.server, "Pump controller", [450, 380, 1200, 35, *range(60)], [True, False] * 8)
        site.start("jump", login)
        pause(10)
        site.start("hmi", modbus.poll, [(PLC, 2)], [(100, PLC, 3, 38)])
        pause(300)
        for target in (JUMP, PLC):
            ports = [
                21,
                22,
                23,
                25,
                80,
                102,
                110,
                135,
                139,
                143,
                443,
                445,
                502,
                1433,
                2404,
                3306,
                3389,
                5900,
                8080,
                20000,
            ]
            site.do("office", modbus.port_scan, target, ports)
        site.do("office", guess, JUMP)
        pause(20)
        site.do("jump", modbus.identify, PLC)
        site.do("jump", modbus.brute_force, PLC, 4)
        pause(100)


if __name__ == "__main__":
    main(story)
