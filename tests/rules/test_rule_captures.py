"""The labels of ``tests/rule_captures.py`` speak of rules that exist, and its figures add up."""

import importlib.util
import sys
from pathlib import Path

import pytest

from correlate.rules import load_rules

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("rule_captures", ROOT / "tests/rule_captures.py")
assert SPEC is not None
assert SPEC.loader is not None
script = importlib.util.module_from_spec(SPEC)
sys.modules["rule_captures"] = script
SPEC.loader.exec_module(script)


def test_labels_name_rules_that_exist_and_say_why():
    known = {Path(rule.meta.path).stem for rule in load_rules().all()}
    for label in script.labels():
        assert label.why
        assert {*label.must, *label.may, *label.explained} <= known, label.captures
        assert not set(label.must) & {*label.may, *label.explained}, label.captures


def test_our_own_captures_are_all_labelled():
    names = {f"pcaps/{p.relative_to(ROOT / 'pcaps').as_posix()}" for p in (ROOT / "pcaps").rglob("*.pcap")}
    assert names == {n for n in names if any(label.fits(n) for label in script.labels())}


def outcome(alerts, must=(), may=(), explained=(), level="high"):
    levels = dict.fromkeys(alerts, level)
    return script.Outcome("c", alerts, levels, frozenset(must), frozenset(may), frozenset(explained), None)


def test_figures_count_pairs_not_alerts():
    outcomes = [
        outcome({"a": 50, "b": 1}, must=["a", "z"], may=["b"]),
        outcome({"c": 7, "d": 1}, explained=["d"]),
        outcome({"i": 9}, level="informational"),
        outcome({"j": 1}, must=["j"], level="informational"),
    ]
    figures = script.score(outcomes, "low")
    assert (figures["right"], figures["explained"], figures["wrong"]) == (2, 1, 1)
    assert (figures["found"], figures["missed"]) == (2, 1)
    assert figures["precision"] == 0.5
    assert figures["recall"] == pytest.approx(0.6667)
    assert figures["captures_without_alert"] == 2


def test_independent_labels_are_compared_pair_by_pair():
    outcomes = [outcome({"a": 50, "b": 1}), outcome({"a": 1})]
    outcomes[1].name = "unknown to others"
    figures, differing = script.compare(outcomes, {"c": {"a": True, "b": False, "d": True, "e": False}})
    assert (figures["labelled_and_alerted"], figures["alerted_only"], figures["labelled_only"]) == (1, 1, 1)
    assert (figures["captures"], figures["pairs"], figures["precision"], figures["recall"]) == (1, 4, 0.5, 0.5)
    assert differing == ["c: b alerted, not labelled", "c: d labelled, no alert"]


def test_independent_labels_read_tables_of_other_programs(tmp_path):
    from tests.independent_labels import independent

    columns = "frame.number frame.time_epoch ip.src ip.dst dnp3.src dnp3.dst dnp3.len dnp3.ctl.dir"
    columns += " dnp3.ctl.prifunc dnp3.ctl.secfunc dnp3.al.func dnp3.al.iin dnp3.al.obj"
    rows = [
        "1 1.0 10.0.0.8 10.0.0.3 3 4 10 1 4  13  ",
        "2 2.0 10.0.0.3 10.0.0.8 4 3 10 0 4  129 0x8000 ",
        "3 3.0 10.0.0.9 10.0.0.3 3 65535 10 1 4  5  0x0c01",
    ]
    table = tmp_path / "dnp3/x.pcap/expected/tshark/fields.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("\n".join(line.replace(" ", "\t") for line in (columns, *rows)) + "\n", encoding="utf-8")
    (verdicts,) = independent(tmp_path).values()
    assert {rule for rule, deserved in verdicts.items() if deserved} == {
        "dnp3_control",
        "dnp3_cold_restart",
        "dnp3_restart_carried_out",
        "dnp3_broadcast_control",
        "ot_second_master",
    }


def test_independent_labels_speak_of_rules_that_exist(tmp_path):
    from tests.independent_flows import _ALSO, verdicts_of
    from tests.independent_labels import _RULES

    known = {Path(rule.meta.path).stem for rule in load_rules().all()}
    for verdicts in _RULES.values():
        assert verdicts([]).keys() <= known
        assert not any(verdicts([]).values())
    assert {*verdicts_of([]), *(rule for rules in _ALSO.values() for rule in rules)} <= known
    assert not any(verdicts_of([]).values())


def test_independent_labels_read_lists_of_connections(tmp_path):
    from tests.independent_labels import independent

    expected = {
        "a.pcap/expected/tshark/conv-and-hierarchy.txt": """
eth                                      frames:20 bytes:3328
  ip                                     frames:20 bytes:3328
    tcp                                  frames:20 bytes:3328
      dnp3                               frames:20 bytes:3328
UDP Conversations
10.0.0.1:1025              <-> 10.0.0.3:69                  4 224 bytes       6 2487 bytes      10 2711 bytes  0.0
TCP Conversations
10.0.0.1:1025              <-> 10.0.0.3:21                  1 22 bytes        1 20 bytes         2 42 bytes  0.0
10.0.0.1:1026              <-> 10.0.0.3:5900                4 12 kB           6 2487 bytes      10 14 kB  0.0
""",
        "b.pcap/expected/zeek/conn.log": "\n".join(
            line.replace(" ", "\t")
            for line in (
                "#fields ts id.orig_h id.orig_p id.resp_h id.resp_p proto service conn_state",
                "1.0 10.0.0.1 1025 10.0.0.3 21 tcp ftp,ssl SF",
                "1.0 10.0.0.1 23 10.0.0.3 2000 tcp - SF",
                "1.0 10.0.0.1 1025 10.0.0.3 5900 tcp - REJ",
            )
        ),
        "c.pcap/expected/nDPI/c.pcap.out": "\t1\tTCP 10.0.0.1:1 <-> 10.0.0.3:23 [proto: 77][9 pkts/1 bytes <-> 9 pkts",
        "e.pcap/expected/zeek/ftp.log": "#fields\tid.resp_p\tpassword\n21\t-\n21\thidden",
        "f.pcap/expected/zeek/rfb.log": "#fields\tid.resp_p\tauth\n5900\tF",
        "d.pcap/expected/zeek/notice.log": "1.0 SSH::Password_Guessing 10.0.0.1 appears to be guessing SSH passwords",
    }
    for name, text in expected.items():
        path = tmp_path / "some" / name
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    found = independent(tmp_path)
    deserved = {name: {rule for rule, so in verdicts.items() if so} for name, verdicts in found.items()}
    assert deserved == {
        "some/a.pcap": {"flow_tftp", "flow_remote_control_tool"},
        "some/b.pcap": set(),
        "some/c.pcap": {"flow_cleartext_login"},
        "some/d.pcap": {"flow_remote_login_guessing"},
        "some/e.pcap": {"flow_cleartext_login"},
        "some/f.pcap": {"flow_remote_control_tool"},
    }
    assert "flow_cleartext_login" not in found["some/a.pcap"]  # asked and perhaps refused
    assert found["some/b.pcap"]["flow_cleartext_login"] is False
    assert found["some/a.pcap"]["modbus_write"] is False
    assert "dnp3_control" not in found["some/a.pcap"]
