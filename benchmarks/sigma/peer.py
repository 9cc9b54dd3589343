"""rsigma over the lines of ``run.py``: the same rules, and every event told its log source, as its routing wants it.

rsigma reads the log source out of three members of the event, so they are written into each line beforehand (not
timed), with the place of the line in the file. An event has one category there: where several are true of it (a
``registry_set`` is a ``registry_event`` too) only one can be written, and rules of the others do not see it. It takes
events as they lie: those of Winlogbeat, whose members lie deeper, and those of the Security log, whose members have
names of their own, it does not see as rules name them.

So it is run over the lines as they are for the time, and for the hits over lines with all that said for it: an event
once for each of its categories, its members lifted, and named as rules name them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from correlate.ir import RuleSet
from correlate.windows_sources import AUDIT_CATEGORIES, OTHER_CATEGORIES, SERVICES, SYSMON_CATEGORIES
from event.channels import SECURITY, SYSMON, dataset_of
from sensor.windows_names import DIRECTIONS, INTEGRITY

PLACE = "benchmarkplace"
"""Member that says where a line lies; of letters alone, which every peer keeps."""
_SERVICE = {dataset: service for service, datasets in reversed(SERVICES.items()) for dataset in datasets}
_CATEGORIES: dict[tuple[str, str], list[str]] = {}
for _name, _places in (
    *((name, [(SYSMON, code) for code in codes]) for name, codes in SYSMON_CATEGORIES.items()),
    *((name, [(SECURITY, code)]) for name, (code, _) in AUDIT_CATEGORIES.items()),
    *(
        (name, [(place, code) for place, codes, _ in places for code in codes or ()])
        for name, places in OTHER_CATEGORIES.items()
    ),
):
    for _one in _places:
        _CATEGORIES.setdefault(_one, []).append(_name)
_WORDS = {**INTEGRITY, **DIRECTIONS}
_AS_RULES_SAY = {
    "4688": {
        "NewProcessName": "Image",
        "NewProcessId": "ProcessId",
        "ParentProcessName": "ParentImage",
        "MandatoryLabel": "IntegrityLevel",
        "SubjectLogonId": "LogonId",
        "SubjectUserName": "User",
    },
    "4657": {"ObjectName": "TargetObject", "NewValue": "Details", "ProcessName": "Image", "SubjectUserName": "User"},
    "5156": {
        "Application": "Image",
        "SourceAddress": "SourceIp",
        "DestAddress": "DestinationIp",
        "DestPort": "DestinationPort",
        "Direction": "Initiated",
    },
}
"""Code of the Security log to members and what rules, which are written for Sysmon, call them."""


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What a peer found, and the processor seconds of its whole process."""

    hits: set[tuple[str, str]]
    seconds: float


def told(blocks: Iterable[tuple[memoryview, int]], path: Path, *, helped: bool = False) -> None:
    """Write the lines with their log sources and places.

    Args:
        blocks: Lines, and where they begin.
        path: To write.
        helped: Say of each event all that rsigma has to be told to see it as we do.
    """
    with path.open("wb") as file:
        for event in placed(blocks):
            if helped:
                lift(event)
            channel, code = event.get("Channel"), str(event.get("EventID"))
            dataset = dataset_of(channel if isinstance(channel, str) else None)
            categories = _CATEGORIES.get((dataset, code), ["none"])
            if helped and dataset == SECURITY:
                for name, other in _AS_RULES_SAY.get(code, {}).items():
                    if name in event:
                        event.setdefault(other, _WORDS.get(event[name], event[name]))
            event["product"] = "windows"
            event["service"] = _SERVICE.get(dataset, "none")
            for category in categories if helped else categories[-1:]:
                event["category"] = category
                file.write(orjson.dumps(event) + b"\n")


def placed(blocks: Iterable[tuple[memoryview, int]]) -> Iterator[dict[str, Any]]:
    """The events of lines, each with its place."""
    for data, offset in blocks:
        for line in bytes(data).splitlines(keepends=True):
            yield {**orjson.loads(line), PLACE: offset}
            offset += len(line)


def lift(event: dict[str, Any]) -> None:
    """Put what lies deeper in a record of Winlogbeat, or has another name, where rules look for it."""
    inside = event.get("winlog")
    for outer in (event, inside if isinstance(inside, dict) else {}):
        for name, member in (("event_id", "EventID"), ("log_name", "Channel"), ("channel", "Channel")):
            if name in outer:
                event.setdefault(member, outer[name])
        for name in ("SourceName", "ProviderName", "source_name", "provider_name"):
            if name in outer:
                event.setdefault("Provider_Name", outer[name])
        members = outer.get("event_data")
        if isinstance(members, dict):
            for name, value in members.items():
                event.setdefault(name, value)
    if "Message" in event:
        event.setdefault("Data", event["Message"])  # what has no name of its own, rules ask for so


def link(ruleset: RuleSet, folder: Path) -> None:
    """Make a folder of the rules."""
    folder.mkdir()
    for number, rule in enumerate(ruleset.rules):
        (folder / f"{number}.yml").symlink_to(Path(rule.meta.path).resolve())


class Rsigma:
    """The program, with the rules in a folder of their own."""

    def __init__(self, program: Path, ruleset: RuleSet, folder: Path) -> None:
        """Link the rules into the folder, which is made."""
        link(ruleset, folder)
        self._command = [str(program), "engine", "eval", "--rules", str(folder), "--logsource-routing", "--quiet"]

    def hits(self, helped: Path) -> set[tuple[str, str]]:
        """What it finds in lines that say all it needs."""
        command = [*self._command, "--event", f"@{helped}", "--include-event"]
        found = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        rows = map(orjson.loads, found.splitlines())
        return {(str(one["rule_id"]), str(one["event"][PLACE])) for one in rows}

    def seconds(self, lines: Path) -> float:
        """Processor seconds over lines."""
        return spent([*self._command, "--event", f"@{lines}"])


def spent(command: Sequence[str | Path], folder: Path | None = None) -> float:
    """Processor seconds of a whole process, which is run in a folder and says nothing."""
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, cwd=folder, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system
