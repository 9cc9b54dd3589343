"""The rules over a log without a store."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RULE = """title: Who am I
id: 7b6d3c1e-0000-4000-8000-000000000001
status: test
logsource: {product: windows, category: process_creation}
detection:
  selection: {CommandLine|contains: whoami}
  condition: selection
level: medium
"""


def _detect(state, *arguments):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JIANMEN_")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "detect", *arguments],
        cwd=ROOT / "tests",
        env={**kept, "JIANMEN_LANG": "en", "JIANMEN_STATE": str(state / "state"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )


def test_alerts_and_a_balanced_account(tmp_path):
    (tmp_path / "rule.yml").write_text(RULE)
    sysmon = {"EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "UtcTime": "2026-03-01 10:00:00.000"}
    lines = [json.dumps({**sysmon, "CommandLine": f"notepad {number}"}) for number in range(30)]
    lines[4] = json.dumps({**sysmon, "CommandLine": "cmd /c WHOAMI"})
    lines += ["", "{broken"]
    log = tmp_path / "host.jsonl"
    log.write_text("\n".join(lines) + "\n")
    done = _detect(tmp_path, "--events", log, "--rules", tmp_path / "rule.yml", "--json")
    assert done.returncode == 0, done.stderr
    *alerts, last = map(json.loads, done.stdout.splitlines())
    assert [one["rule.name"] for one in alerts] == ["Who am I"]
    (account,) = last["inputs"]
    assert (account["lines"], account["decoded"], account["failed"]) == (31, 30, 1)
    assert account["notes"] == {"header_and_empty_lines": 1}
    assert last["alerts_by_level"] == {"medium": 1}


def test_a_capture_that_ends_too_soon_says_so(tmp_path):
    whole = (ROOT / "pcaps" / "modbus" / "pump-station.pcap").read_bytes()
    (tmp_path / "cut.pcap").write_bytes(whole[:3000])
    done = _detect(tmp_path, "--events", tmp_path / "cut.pcap")
    assert done.returncode == 3
    assert b"cut.pcap" in done.stdout
    assert b"error: truncated: expected a whole record, the file ends 56 bytes into it" in done.stderr
