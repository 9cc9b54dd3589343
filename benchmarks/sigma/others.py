"""Zircolite and Chainsaw over the lines of ``run.py``: the same rules, their own ways of telling log sources.

Both take JSON lines. Each is given every event once, what lies deeper in it lifted as for rsigma's hits (``peer.py``),
with its place, by which hits are told apart. One run is for the time, whole process, and for the hits.

- Zircolite (Python, SQLite) makes a query of each rule by pySigma and its pipelines ``sysmon`` and
  ``windows-logsources``. That takes minutes of which it can keep the outcome, so it is done beforehand and not timed.
- Chainsaw (Rust) reads records of Windows as EVTX has them, ``Event.System`` and ``Event.EventData``: so is each line
  written. It looks for log sources and fields in the mapping that it comes with, which is used as it is, but for JSON;
  that names rules which it leaves out. It spreads events over threads; all their seconds count.

Hayabusa reads EVTX files, and JSON only as Windows' own tools print it from them; sigma-go and sigmalite are libraries.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from peer import PLACE, PeerRun, lift, link, placed, spent

from correlate.ir import RuleSet

Blocks = Iterable[tuple[memoryview, int]]

NEEDS = {"zircolite": ("PYTHON", "SCRIPT"), "chainsaw": ("PROGRAM", "MAPPING")}
"""Peer to what it needs: an interpreter that has its requirements; the mapping of its ``sigma-event-logs-all.yml``."""
_SYSTEM = ("EventID", "Channel", "Keywords", "Level")
_NO_TIME = "1970-01-01T00:00:00.0Z"  # Chainsaw passes over an event without one


def zircolite(python: Path, script: Path, ruleset: RuleSet, blocks: Blocks) -> PeerRun:
    """Let Zircolite convert the rules, then evaluate them."""
    with _laid_out(ruleset, map(_lifted, placed(blocks))) as (folder, lines):
        none, found = folder / "none.jsonl", folder / "found.json"
        none.write_bytes(b"{}\n")
        config = script.resolve().parent / "config" / "config.yaml"
        command = [str(python.absolute()), str(script.resolve()), "--json-input", "--quiet"]
        command += ["-c", str(config), "-l", str(folder / "log")]
        pipelines = ["-p", "sysmon", "-p", "windows-logsources", "--save-ruleset"]
        spent([*command, "-e", none, "-r", folder / "rules", "-o", found, *pipelines], folder)
        (converted,) = folder.glob("ruleset-*.json")
        seconds = spent([*command, "-e", lines, "-r", converted, "-o", found], folder)
        rules = orjson.loads(found.read_bytes())
    return PeerRun({(str(rule["id"]), str(row[PLACE])) for rule in rules for row in rule["matches"]}, seconds)


def chainsaw(program: Path, mapping: Path, ruleset: RuleSet, blocks: Blocks) -> PeerRun:
    """Let Chainsaw hunt."""
    with _laid_out(ruleset, map(_record, placed(blocks))) as (folder, lines):
        for_json, found = folder / "mapping.yml", folder / "found.jsonl"
        for_json.write_text(mapping.read_text().replace("kind: evtx", "kind: jsonl", 1))
        command: list[str | Path] = [program.resolve(), "--no-banner", "hunt", lines, "--load-unknown", "--skip-errors"]
        # --load-unknown, for else it takes no JSON lines; not -q, for then it leaves the end of its output unwritten.
        seconds = spent([*command, "-s", folder / "rules", "-m", for_json, "--jsonl", "-o", found], folder)
        rows = [orjson.loads(line) for line in found.read_bytes().splitlines()]
    place = [str(row["document"]["data"]["Event"]["EventData"][PLACE]) for row in rows]
    return PeerRun({(str(row["id"]), at) for row, at in zip(rows, place, strict=True)}, seconds)


@contextmanager
def _laid_out(ruleset: RuleSet, events: Iterable[dict[str, Any]]) -> Iterator[tuple[Path, Path]]:
    """A folder with the rules in ``rules``, and the file of the events in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        link(ruleset, folder / "rules")
        lines = folder / "lines.jsonl"
        with lines.open("wb") as file:
            for event in events:
                file.write(orjson.dumps(event) + b"\n")
        yield folder, lines


def _lifted(event: dict[str, Any]) -> dict[str, Any]:
    """An event as Zircolite takes it: it drops what is neither letter nor digit from names that it does not know."""
    lift(event)
    event["Event"] = {"System": {"Provider": {"#attributes": {"Name": event.get("Provider_Name")}}}}
    return event


def _record(event: dict[str, Any]) -> dict[str, Any]:
    """An event as a record of EVTX."""
    lift(event)
    system = {member: event[member] for member in _SYSTEM if member in event}
    system["Provider"] = event.get("Provider_Name")
    system["TimeCreated"] = event.get("@timestamp", _NO_TIME)
    return {"Event": {"System": system, "EventData": event}}


RUNS: dict[str, Callable[[Path, Path, RuleSet, Blocks], PeerRun]] = {"zircolite": zircolite, "chainsaw": chainsaw}
"""Peer to what runs it."""
