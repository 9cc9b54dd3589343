"""The main job, whole, as a user runs it: captures in, incidents and reports out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "pcaps/modbus/pump-station.site.toml"
PUMP = ROOT / "pcaps/modbus/pump-station.pcap"


def surroundings(**env):
    """Variables of a command: none of ours but those of the test."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("JIANMEN_")}
    return {**kept, "JIANMEN_LANG": "en", "PYTHONPATH": str(ROOT), "COLUMNS": "200", **env}


def jianmen(*args, cwd=None, stdin=None, **env):
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *map(str, args)],
        cwd=cwd or ROOT / "tests",
        env=surroundings(**env),
        input=stdin,
        capture_output=True,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    code, text, err = jianmen("analyze", PUMP, "--out", out, "--json")
    assert code == 0, err
    return out, json.loads(text)


def test_the_pump_station_gives_a_grave_incident_and_reports_in_both_languages(analysed):
    out, result = analysed
    assert result["incidents"]
    assert result["incidents"][0]["level"] in ("high", "critical")
    names = [Path(f).name for f in result["files"]]
    assert {"风险报告.html", "风险报告.docx", "风险报告.md", "风险报告.json", "risk-report.html"} <= set(names)
    assert any(n.startswith("应急响应报告-首报-INC-") and n.endswith(".html") for n in names)
    assert all(Path(f).stat().st_size > 500 for f in result["files"])
    assert not list(out.glob("*.part"))


def test_every_frame_is_accounted_for(analysed):
    _, result = analysed
    one = result["inputs"][0]
    assert one["frames"] == one["decoded"] + one["undecoded"] + one["failed"] > 0
    assert one["error"] is None
    assert sum(result["events"].values()) > 0


def test_analysing_again_changes_nothing(analysed):
    out, first = analysed
    code, text, _ = jianmen("analyze", PUMP, "--out", out, "--json")
    again = json.loads(text)
    assert code == 0
    assert again["new_alerts"] == 0
    assert [(i["id"], i["version"]) for i in again["incidents"]] == [
        (i["id"], i["version"]) for i in first["incidents"]
    ]


def test_the_incident_can_be_triaged_to_its_end(analysed, tmp_path):
    out, result = analysed
    shutil.copytree(out / "store", tmp_path / "store")  # other tests, in any order, see the incident as it was made
    store = ("--store", tmp_path / "store")
    one = result["incidents"][-1]["id"]
    for step in (
        ("ack", one),
        ("assign", one, "duty"),
        ("note", one, "looked at it"),
        ("action", one, "isolated", "--effect", "stopped"),
        ("impact", one, "--set", "main_function_interruption_minutes=45"),
        ("grade", one),
        ("clock", one),
        ("close", one, "--reason", "done"),
        ("reopen", one, "--reason", "not done"),
    ):
        code, _, err = jianmen("incident", *step, *store, "--config", SITE)
        assert code == 0, (step, err)
    code, text, _ = jianmen("incident", "show", one, "--json", *store)
    incident = json.loads(text)
    assert code == 0
    assert incident["status"] == "in_progress"
    assert incident["assignee"] == "duty"
    assert incident["impact"]["main_function_interruption_minutes"] == 45
    assert incident["grade_cac"] == "large"  # the annex: main function of a CII down for 30 min or longer
    assert any(c["done"] is None and c["due"] for c in incident["clocks"])
    assert len(incident["history"]) >= 7
    code, text, _ = jianmen("incident", "export", one, *store)
    assert [v["version"] for v in json.loads(text)["versions"]] == list(range(1, incident["version"] + 1))
    code, text, err = jianmen("report", "first", one, "--out", tmp_path, "--json", *store)
    assert code == 0, err
    assert len(json.loads(text)["files"]) == 8


def test_a_saved_report_can_be_rendered_again(analysed, tmp_path):
    out, _ = analysed
    code, _, err = jianmen("report", "render", out / "风险报告.json", "--out", tmp_path, "-f", "html", "-f", "docx")
    assert code == 0, err
    assert (tmp_path / "风险报告.html").read_bytes() == (out / "风险报告.html").read_bytes()


def test_events_come_as_flat_lines_in_time_order(analysed):
    out, _ = analysed
    code, text, err = jianmen(
        "events",
        "search",
        "--store",
        out / "store",
        "-d",
        "modbus",
        "--json",
        "--where",
        "modbus.function_code == 5 or modbus.function_code == 6",
    )
    assert code == 0, err
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows
    assert all(r["modbus.function_code"] in (5, 6) for r in rows)
    assert [r["@timestamp"] for r in rows] == sorted(r["@timestamp"] for r in rows)
    code, text, _ = jianmen("events", "show", rows[0]["event.id"], "--store", out / "store", "--json")
    assert json.loads(text)["event.id"] == rows[0]["event.id"]


def test_tables_have_no_colour_in_a_pipe(analysed):
    out, _ = analysed
    for command in (
        ("incident", "list"),
        ("asset", "list"),
        ("store", "status"),
        ("events", "search", "--limit", "5"),
        ("rules", "status"),
    ):
        code, text, err = jianmen(*command, "--store", out / "store")
        assert code == 0, err
        assert text.strip()
        assert "\x1b" not in text


def test_lists_speak_json(analysed):
    out, result = analysed
    code, text, _ = jianmen("incident", "list", "--store", out / "store", "--json")
    assert {i["id"] for i in json.loads(text)} == {i["id"] for i in result["incidents"]}
    code, text, _ = jianmen("asset", "list", "--ics", "--store", out / "store", "--json")
    assert any("modbus_server" in a["roles_seen"] for a in json.loads(text))
    code, text, _ = jianmen("rules", "status", "--store", out / "store", "--json")
    status = json.loads(text)
    assert code == 0
    assert sum(r["matches"] for r in status["rules"]) > 0


def test_fail_level_turns_findings_into_an_exit_code(analysed):
    out, _ = analysed
    assert jianmen("detect", "--store", out / "store", "--fail-level", "low")[0] == 1
    code, _, err = jianmen("detect", "--store", out / "store", "--fail-level", "terrible")
    assert code == 2
    assert "critical" in err


def test_a_clean_plant_gives_no_incident_and_still_a_report(tmp_path):
    code, text, err = jianmen("analyze", ROOT / "pcaps/mixed/clean-plant.pcap", "--out", tmp_path, "--json")
    assert code == 0, err
    result = json.loads(text)
    assert result["incidents"] == []
    assert set(result["alerts_by_level"]) <= {"informational", "low"}
    assert (tmp_path / "风险报告.html").is_file()
    assert not list(tmp_path.glob("*首报*"))


def test_a_cut_capture_keeps_what_came_before_the_damage(tmp_path):
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(PUMP.read_bytes()[:-7])
    code, text, _ = jianmen("ingest", cut, "--store", tmp_path / "s", "--json")
    assert code == 3
    one = json.loads(text)["inputs"][0]
    assert "cut.pcap" in one["error"]
    assert one["frames"] == one["decoded"] + one["undecoded"] + one["failed"] > 10
    assert jianmen("store", "status", "--store", tmp_path / "s")[0] == 0


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(100), b"\x00" * 5000])
def test_what_is_no_input_is_named(tmp_path, content):
    bad = tmp_path / "bad.bin"
    bad.write_bytes(content)
    code, text, _ = jianmen("ingest", bad, PUMP, "--store", tmp_path / "s", "--json")
    assert code == 3
    first, second = json.loads(text)["inputs"]
    assert "bad.bin" in first["error"]
    assert second["error"] is None
    assert second["frames"] > 0


def test_a_capture_may_come_through_a_pipe(tmp_path):
    code, text, err = jianmen("ingest", "-", "--store", tmp_path / "s", "--json", stdin=PUMP.read_bytes())
    assert code == 0, err
    piped = json.loads(text)["events"]
    code, text, _ = jianmen("ingest", PUMP, "--store", tmp_path / "s2", "--json")
    assert piped == json.loads(text)["events"]


@pytest.mark.parametrize(
    ("args", "code", "word"),
    [
        (("ingest", "nowhere.pcap"), 3, "no such file"),
        (("incident", "list", "--store", "nowhere"), 5, "no event store"),
        (("events", "search", "--since", "yesterday", "--store", "nowhere"), 5, "no event store"),
        (("rules", "check", "nowhere.yml"), 4, "no such rule"),
        (("report", "risk", "--report-lang", "la", "--store", "nowhere"), 5, "no event store"),
        (("nonsense",), 2, "No such command"),
        (("playbook", "show", "zzz"), 2, "0 playbooks"),
    ],
)
def test_obvious_mistakes_get_a_clear_word_and_their_exit_code(tmp_path, args, code, word):
    got, _, err = jianmen(*args, cwd=tmp_path)
    assert (got, word in err) == (code, True), err
    assert "Traceback" not in err


def test_a_wrong_rule_is_named_with_its_line(tmp_path):
    (tmp_path / "bad.yml").write_text(
        "title: x\nid: 5b5e5f1e-6d5c-4b6a-8f6e-0d1b2c3d4e5f\nlogsource:\n  product: ics\n  service: modbus\n"
        "detection:\n  a:\n    modbus.function_code|startwith: 5\n  condition: a\nlevel: low\n",
        encoding="utf-8",
    )
    code, text, err = jianmen("rules", "check", tmp_path / "bad.yml")
    assert code == 4
    assert "bad.yml" in text + err
    assert "startwith" in text + err


def test_a_bad_condition_is_explained(analysed):
    out, _ = analysed
    code, _, err = jianmen("events", "search", "--store", out / "store", "--where", "modbus.functioncode == 5")
    assert code == 2
    assert "modbus.function_code" in err


@pytest.mark.parametrize("noun", ["", "events", "rules", "incident", "asset", "playbook", "report", "store"])
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_help_answers_in_both_languages_without_the_heavy_libraries(noun, lang):
    probe = (
        "import sys; sys.argv = ['jianmen'" + (f", '{noun}'" if noun else "") + ", '--help'];\n"
        "from cli.main import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "assert not {'numba', 'polars', 'sigma', 'docx', 'rich.table'} & set(sys.modules), 'heavy'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={**os.environ, "JIANMEN_LANG": lang, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ("命令" in done.stdout or any("\u4e00" <= c <= "\u9fff" for c in done.stdout)) == (lang == "zh")


def _events(store: Path) -> set[str]:
    _, text, _ = jianmen("events", "search", "--store", store, "--json")
    return set(text.splitlines())


def _killed_ingest(store: Path, capture: Path, after: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "ingest", str(capture), "--store", str(store)],
        env=surroundings(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _kill_rounds(tmp_path: Path, rounds: int) -> None:
    whole = tmp_path / "whole"
    assert jianmen("ingest", PUMP, "--store", tmp_path / "first")[0] == 0  # may have to compile the kernels first
    started = time.monotonic()
    assert jianmen("ingest", PUMP, "--store", whole)[0] == 0
    span = time.monotonic() - started
    expected = _events(whole)
    assert expected
    for i in range(rounds):
        store = tmp_path / f"killed-{i}"
        _killed_ingest(store, PUMP, span * (0.25 + 0.75 * (i + 1) / rounds))
        assert jianmen("ingest", PUMP, "--store", store)[0] == 0
        assert _events(store) == expected


def test_a_killed_ingest_is_completed_by_the_next(tmp_path):
    _kill_rounds(tmp_path, 4)


@pytest.mark.slow
def test_fifty_killed_ingests_are_completed(tmp_path):
    _kill_rounds(tmp_path, 50)
