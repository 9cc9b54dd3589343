"""Labels of rule x capture out of connections that other programs saw; no rule and no event of ours is read.

Three programs have listed the connections of shared captures: TShark (``conv-and-hierarchy.txt``), Zeek (``conn.log``)
and nDPI (``*.out``). By ports, answers and numbers of connections alone this module says what rules over flows should
do; where the list leaves that open (who of two called, whether a connection was refused), it says nothing. TShark names
all protocols of a capture, too: rules over one that is not there must stay silent. Other logs of Zeek's say outright
that passwords are guessed, were read in clear, or that a screen is shared. ``tests/independent_labels.py`` takes these
labels with its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

_LOGINS = frozenset({21, 22, 23, 513, 3389, 5900, 5901, 5938, 5985, 5986})
_FROM_OUTSIDE = frozenset({22, 23, 3389, 5631, 5632, 5900, 5901, 5938, 5985, 5986, 7070})
_CONTROL_TOOLS = frozenset({4899, 5500, 5631, 5900, 5901, 5938, 6568, 7070})
_CLEARTEXT = frozenset({21, 23, 513})
_TFTP = frozenset({69})
_MANY = 10  # connections, from which a scan, a sweep or guessing may be seen

_TSHARK = re.compile(r"(\S+):(\d+)\s+<-> (\S+):(\d+)\s+(\d+) \S+ \S+\s+(\d+) \S+ \S+")
_NDPI = re.compile(
    r"\s+\d+\s+(TCP|UDP) \[?([^\s\]]+)\]?:(\d+) (?:<->|->) \[?([^\s\]]+)\]?:(\d+) "
    r".*?\[(\d+) pkts/\d+ bytes (?:<->|->) (\d+) pkts"
)
_ANSWERED = frozenset({"SF", "S1", "S2", "S3", "RSTO", "RSTR"})
_REFUSED = frozenset({"S0", "REJ"})
_TALKS = 3  # frames either way: more than asking and refusing

_NAMES = {
    "modbus": ("mbtcp", "modbus", "mbrtu", "mbudp"),
    "dnp3": ("dnp3",),
    "iec104": ("iec60870_104", "iec60870_asdu"),
    "s7comm": ("s7comm", "s7comm-plus", "cotp", "tpkt"),
    "arp": ("arp",),
    "dns": ("dns",),
    "icmp": ("icmp", "icmpv6"),
}
"""What TShark calls protocols."""
_ALSO = {
    "modbus": ("modbus_malformed_burst",),
    "dnp3": ("dnp3_malformed_burst", "dnp3_crc_storm", "dnp3_clock_wrong"),
    "iec104": (
        "iec104_malformed_burst",
        "iec104_clock_wrong",
        "iec104_negative_burst",
        "iec104_quality_lost",
        "iec104_sequence_break",
        "iec104_stale_values",
        "iec104_takeover",
    ),
    "s7comm": ("s7comm_malformed_burst", "s7comm_tsap_sweep", "s7comm_plus_program_change"),
    "arp": ("arp_spoofing", "arp_address_sweep"),
    "dns": ("dns_nxdomain_burst",),
    "icmp": ("icmp_sweep",),
}
"""Rules of which no table of ``tests/independent_labels.py`` decides, but which a missing protocol silences."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Two ends, and whether both talked; None where the list leaves it open."""

    transport: str
    ends: tuple[tuple[str, int], tuple[str, int]]
    answered: bool | None
    called: bool
    """The first end is known to be the one that called."""
    secret: bool = False
    """It turned to TLS."""

    def towards(self, ports: frozenset[int]) -> bool | None:
        """Whether it went to one of some ports; None if it may have come from there."""
        source, target = (port in ports for _, port in self.ends)
        return target if self.called else None if source and target else source or target


def of_tshark(text: str) -> Iterator[Connection]:
    """Conversations of TShark; its first end need not have called."""
    transport = ""
    for line in text.splitlines():
        if line.endswith(" Conversations"):
            transport = line.split()[0].lower()
        elif found := _TSHARK.match(line):
            host, port, other, there, *frames = found.groups()
            least = min(map(int, frames))
            answered = True if least >= _TALKS else None if least else False
            yield Connection(transport, ((host, int(port)), (other, int(there))), answered, called=False)


def of_ndpi(text: str) -> Iterator[Connection]:
    """Flows of nDPI, likewise."""
    for line in text.splitlines():
        if found := _NDPI.match(line):
            transport, host, port, other, there, *packets = found.groups()
            least = min(map(int, packets))
            answered = True if least >= _TALKS else None if least else False
            yield Connection(transport.lower(), ((host, int(port)), (other, int(there))), answered, called=False)


def _rows(text: str) -> Iterator[dict[str, str]]:
    """Rows of a log of Zeek."""
    columns: list[str] = []
    for line in text.splitlines():
        if line.startswith("#fields"):
            columns = line.split("\t")[1:]
        elif columns and not line.startswith("#"):
            yield dict(zip(columns, line.split("\t"), strict=False))


def of_zeek(text: str) -> Iterator[Connection]:
    """Connections of Zeek's log, if it has the columns."""
    for row in _rows(text):
        try:
            source = row["id.orig_h"], int(row["id.orig_p"])
            target = row["id.resp_h"], int(row["id.resp_p"])
            state = row["conn_state"]
        except (KeyError, ValueError):
            continue
        answered = True if state in _ANSWERED else False if state in _REFUSED else None
        secret = "ssl" in row.get("service", "").split(",")
        yield Connection(row["proto"], (source, target), answered, called=True, secret=secret)


def _told(name: str, text: str) -> dict[str, bool]:
    """What a log of Zeek's about one service says outright; that it says nothing decides nothing."""
    if name == "notice.log" and "SSH::Password_Guessing" in text:
        return {"flow_remote_login_guessing": True}
    if name == "ftp.log" and any(row.get("password", "-") != "-" and row["id.resp_p"] == "21" for row in _rows(text)):
        return {"flow_cleartext_login": True}
    if name == "rfb.log" and any(row["id.resp_p"] in ("5900", "5901") for row in _rows(text)):
        return {"flow_remote_control_tool": True}
    return {}


def _met(some: Iterable[Connection], ports: frozenset[int]) -> bool | None:
    """Whether a connection to one of the ports was answered; None if that is open."""
    verdict: bool | None = False
    for one in some:
        there = one.towards(ports)
        if there is False or one.answered is False:
            continue
        if there and one.answered:
            return True
        verdict = None
    return verdict


def verdicts_of(connections: list[Connection]) -> dict[str, bool]:
    """What rules over flows should do."""
    tcp = [one for one in connections if one.transport == "tcp"]
    udp = [one for one in connections if one.transport == "udp"]
    hosts = [ip_address(host) for one in tcp for host, port in one.ends if one.towards(_FROM_OUTSIDE) is not False]
    logins = [one for one in tcp if one.towards(_LOGINS) is not False and one.answered is not False]
    scanned = sum(one.answered is not True for one in tcp) >= _MANY
    tftp = [one.towards(_TFTP) for one in udp]
    found: Mapping[str, bool | None] = {
        "flow_cleartext_login": _met([one for one in tcp if not one.secret], _CLEARTEXT),
        "flow_remote_control_tool": _met(tcp, _CONTROL_TOOLS),
        "flow_remote_login_from_public": None if any(host.is_global for host in hosts) else False,
        "flow_remote_login_guessing": None if len(logins) >= _MANY else False,
        "flow_port_scan": None if scanned else False,
        "flow_host_sweep": None if scanned else False,
        "flow_tftp": True if True in tftp else None if None in tftp else False,
    }
    return {rule: deserved for rule, deserved in found.items() if deserved is not None}


def _absent(hierarchy: str, rules: Mapping[str, Iterable[str]]) -> dict[str, bool]:
    """Rules over protocols that TShark did not see."""
    seen = set(re.findall(r"^ *(\S+) +frames:", hierarchy, re.MULTILINE))
    return {
        rule: False
        for protocol, names in _NAMES.items()
        if seen and seen.isdisjoint(names)
        for rule in (*rules.get(protocol, ()), *_ALSO[protocol])
    }


def independent_flows(shared: Path, rules: Mapping[str, Iterable[str]]) -> dict[str, dict[str, bool]]:
    """For every capture whose connections are listed: rule to whether it deserves the alert.

    Args:
        shared: The folder of the shared captures.
        rules: Protocol to rules over it.

    Returns:
        Name of the capture (its path below ``shared``) to verdicts; where two lists disagree, there is none.
    """
    found: dict[str, dict[str, bool]] = {}
    for capture in sorted(one for one in shared.glob("*/*/expected") if one.is_dir()):
        lists: list[dict[str, bool]] = []
        for path in sorted(capture.rglob("*")):
            if path.name == "conv-and-hierarchy.txt":
                text = path.read_text("utf-8")
                lists += [verdicts_of(list(of_tshark(text))), _absent(text, rules)]
            elif path.name == "conn.log":
                lists.append(verdicts_of(list(of_zeek(path.read_text("utf-8")))))
            elif path.suffix == ".out" and "nDPI" in path.parts:
                lists.append(verdicts_of(list(of_ndpi(path.read_text("utf-8")))))
            elif path.suffix == ".log" and "zeek" in path.parts:
                lists.append(_told(path.name, path.read_text("utf-8")))
        every = {rule: {one[rule] for one in lists if rule in one} for one in lists for rule in one}
        if verdicts := {rule: next(iter(said)) for rule, said in every.items() if len(said) == 1}:
            found[capture.parent.relative_to(shared).as_posix()] = verdicts
    return found
