"""An ordinary morning: four stations polled in four protocols, each operated once by its own master. Nothing to find.

python pcaps/mixed/clean-plant.pcap.py OUT.pcap        (root, iproute2, all four stacks; about 65 s)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dnp3_parts as dnp3
import iec104_parts as iec104
import modbus_parts as modbus
import s7_parts as s7
from plant import main, pause, plant

PUMPS, RESERVOIR, RTU, PLC, VALVES = (f"10.20.9.{i}" for i in (10, 11, 20, 30, 40))


def story(out: str) -> None:
    with plant(out) as site:
        for name, ip in (("pumps", PUMPS), ("reservoir", RESERVOIR), ("rtu", RTU), ("plc", PLC), ("valves", VALVES)):
            site.host(name, ip)
        for name, last in (("hmi", 5), ("centre", 6), ("panel", 7), ("dispatch", 8)):
            site.host(name, f"10.20.9.{last}")
        site.start("pumps", modbus.server, "Pump controller", [450, 380, 1200, 35, *range(60)], [True, False] * 8)
        site.start("reservoir", modbus.server, "Reservoir RTU", [812, 640, 77, *range(60)], [False] * 16)
        site.start("rtu", iec104.station)
        site.start("plc", s7.server)
        site.start("valves", dnp3.outstation)
        pause(15)
        operator = [(120, PUMPS, 3, 38), (300, PUMPS, -2, 1), (420, RESERVOIR, 2, 80)]
        site.start("hmi", modbus.poll, [(PUMPS, 2), (RESERVOIR, 5)], operator)
        site.start("centre", iec104.centre, RTU, [(180, 1002), (400, 1003)])
        site.start("panel", s7.poll, PLC, 5, 240)
        site.start("dispatch", dnp3.master, VALVES, 200)
        pause(610)


if __name__ == "__main__":
    main(story)
