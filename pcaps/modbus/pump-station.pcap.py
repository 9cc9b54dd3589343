"""Water pump station: an intruder on the plant's switch looks around, plays with the pumps and silences the PLC.

python pcaps/modbus/pump-station.pcap.py OUT.pcap        (root, iproute2, pymodbus; about 75 s)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import modbus_parts as modbus
from plant import main, pause, plant

PUMP_PLC, RESERVOIR_RTU = "10.20.1.10", "10.20.1.11"


def story(out: str) -> None:
    with plant(out) as site:
        for name, ip in (("plc", PUMP_PLC), ("rtu", RESERVOIR_RTU), ("hmi", "10.20.1.5"), ("laptop", "10.20.1.66")):
            site.host(name, ip)
        site.start("plc", modbus.server, "Pump controller", [450, 380, 1200, 35, *range(60)], [True, False] * 8)
        site.start("rtu", modbus.server, "Reservoir RTU", [812, 640, 77, *range(60)], [False] * 16)
        pause(10)
        # The HMI polls; at two minutes an operator raises the pressure set point and starts pump 2.
        operator = [(120, PUMP_PLC, 3, 38), (150, PUMP_PLC, -2, 1)]
        site.start("hmi", modbus.poll, [(PUMP_PLC, 2), (RESERVOIR_RTU, 5)], operator)
        pause(360)
        # Reconnaissance: who is there, what listens, what does it understand.
        site.do("laptop", modbus.host_sweep, [f"10.20.1.{i}" for i in range(1, 31)], 502)
        ports = [21, 22, 23, 25, 53, 80, 102, 135, 139, 443, 445, 502, 1911, 2222, 2404, 3389, 4840, 5900, 8080, 9600,
                 20000, 34962, 44818, 47808]  # fmt: skip
        site.do("laptop", modbus.port_scan, PUMP_PLC, ports)
        site.do("laptop", modbus.function_scan, PUMP_PLC)
        site.do("laptop", modbus.identify, PUMP_PLC)
        pause(10)
        # Unauthorised commands, then the operators lose sight of the station for 40 seconds.
        site.do("laptop", modbus.brute_force, PUMP_PLC)
        pause(5)
        site.do("laptop", modbus.silence, PUMP_PLC, 40)
        pause(60)


if __name__ == "__main__":
    main(story)
