"""Gas valve station: somebody on the station network finds the controller, copies its blocks, loads one and stops it.

python pcaps/s7comm/gas-valve-station.pcap.py OUT.pcap        (root, iproute2, python-snap7; about 60 s)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import modbus_parts as tcp
import s7_parts as s7
from plant import main, pause, plant

PLC, HMI, INTRUDER = "10.20.3.10", "10.20.3.5", "10.20.3.88"


def story(out: str) -> None:
    with plant(out) as site:
        for name, ip in (("plc", PLC), ("hmi", HMI), ("intruder", INTRUDER)):
            site.host(name, ip)
        site.start("plc", s7.server)
        pause(10)
        # The HMI reads two data blocks and flags every five seconds; the operator sets a pressure after two minutes.
        site.start("hmi", s7.poll, PLC, 5, 120)
        pause(330)
        site.do("intruder", tcp.port_scan, PLC, [21, 22, 23, 80, 102, 135, 161, 443, 445, 502, 1099, 2404, 3389, 4840,
                                                 5900, 8080, 20000, 34964, 44818])  # fmt: skip
        site.do("intruder", s7.tsap_sweep, PLC)
        site.do("intruder", s7.reconnoitre, PLC)
        pause(20)
        site.do("intruder", s7.attack, PLC)
        pause(60)


if __name__ == "__main__":
    main(story)
