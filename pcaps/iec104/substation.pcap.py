"""Substation: a second master on the telecontrol network opens breaker after breaker and resets the RTU.

python pcaps/iec104/substation.pcap.py OUT.pcap        (root, iproute2, c104; about 60 s)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import iec104_parts as iec104
import modbus_parts as tcp
from plant import main, pause, plant

RTU, CENTRE, INTRUDER = "10.20.2.10", "10.20.2.5", "10.20.2.77"


def story(out: str) -> None:
    with plant(out) as site:
        for name, ip in (("rtu", RTU), ("centre", CENTRE), ("intruder", INTRUDER)):
            site.host(name, ip)
        site.start("rtu", iec104.station)
        pause(10)
        # STARTDT, general interrogation, clock; values; one breaker operated after three minutes.
        site.start("centre", iec104.centre, RTU, [(180, 1002)])
        pause(330)
        site.do("intruder", tcp.port_scan, RTU, [22, 23, 80, 102, 443, 502, 1200, 2222, 2404, 3389, 4712, 5900, 8000,
                                                 8080, 10000, 19998, 20000, 50000])  # fmt: skip
        site.do("intruder", iec104.reconnoitre, RTU)
        pause(20)
        site.do("intruder", iec104.attack, RTU)
        pause(60)


if __name__ == "__main__":
    main(story)
