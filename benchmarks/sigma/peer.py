"""rsigma over the lines of ``run.py``: the same rules, and every event told its log source, as its routing wants it.

rsigma reads the log source out of three members of the event, so they are written into each line beforehand (not
timed), with the place of the line in the file. An event has one category there: where several are true of it (a
``registry_set`` is a ``registry_event`` too) only one can be written, and rules of the others do not see it.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from correlate.ir import RuleSet
from correlate.windows_sources import AUDIT_CATEGORIES, OTHER_CATEGORIES, SERVICES, SYSMON_CATEGORIES
from event.channels import SECURITY, SYSMON, dataset_of

_PLACE = "benchmark_place"
_SERVICE = {dataset: service for service, datasets in reversed(SERVICES.items()) for dataset in datasets}
_CATEGORY = {
    **{(SYSMON, code): name for name, codes in SYSMON_CATEGORIES.items() for code in codes},
    **{(SECURITY, code): name for name, (code, _) in AUDIT_CATEGORIES.items()},
    **{
        (place, code): name
        for name, places in OTHER_CATEGORIES.items()
        for place, codes, _ in places
        for code in codes or ()
    },
}


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What rsigma found, and the processor seconds of its whole process."""

    hits: set[tuple[str, str]]
    seconds: float


def told(blocks: Sequence[tuple[bytes, int]], path: Path) -> None:
    """Write the lines with their log sources and places."""
    with path.open("wb") as file:
        for data, offset in blocks:
            for line in data.splitlines(keepends=True):
                event = orjson.loads(line)
                channel, code = event.get("Channel"), str(event.get("EventID"))
                dataset = dataset_of(channel if isinstance(channel, str) else None)
                event["product"] = "windows"
                event["service"] = _SERVICE.get(dataset, "none")
                event["category"] = _CATEGORY.get((dataset, code), "none")
                event[_PLACE] = offset
                file.write(orjson.dumps(event) + b"\n")
                offset += len(line)


def run(program: Path, ruleset: RuleSet, lines: Path) -> PeerRun:
    """Let rsigma evaluate the rules over the lines, once for the hits and once for the time."""
    with tempfile.TemporaryDirectory() as folder:
        for number, rule in enumerate(ruleset.rules):
            (Path(folder) / f"{number}.yml").symlink_to(Path(rule.meta.path).resolve())
        command = [
            program,
            "engine",
            "eval",
            "--rules",
            folder,
            "--event",
            f"@{lines}",
            "--logsource-routing",
            "--quiet",
        ]
        found = subprocess.run([*command, "--include-event"], stdout=subprocess.PIPE, check=True).stdout
        before = os.times()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
    hits = set()
    for line in found.splitlines():
        one = orjson.loads(line)
        hits.add((str(one["rule_id"]), str(one["event"][_PLACE])))
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return PeerRun(hits, used)
