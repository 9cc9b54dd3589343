"""Gas valve chamber: somebody takes over the only connection of an outstation, operates its valves and restarts it.

python pcaps/dnp3/gas-valve-dnp3.pcap.py OUT.pcap        (root, iproute2, dnp3py; about 55 s)
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import dnp3_parts as dnp3
import modbus_parts as tcp
from plant import main, pause, plant

OUTSTATION, MASTER, INTRUDER = "10.20.4.10", "10.20.4.5", "10.20.4.99"


def story(out: str) -> None:
    with plant(out) as site:
        for name, ip in (("valves", OUTSTATION), ("master", MASTER), ("intruder", INTRUDER)):
            site.host(name, ip)
        site.start("valves", dnp3.outstation)
        pause(10)
        # Integrity poll, then events every five seconds; the dispatcher closes a valve after three minutes.
        site.start("master", dnp3.master, OUTSTATION, 180)
        pause(330)
        site.do("intruder", tcp.port_scan, OUTSTATION, [21, 22, 23, 80, 102, 443, 502, 1024, 2404, 3389, 4000, 5094,
                                                        8000, 9100, 10001, 19999, 20000, 20001, 30000])  # fmt: skip
        site.do("intruder", dnp3.reconnoitre, OUTSTATION)
        pause(60)
        site.do("intruder", dnp3.attack, OUTSTATION)
        pause(60)


if __name__ == "__main__":
    main(story)
