"""Loading and checking: what is wrong is said with file and line, and nothing is skipped."""

from __future__ import annotations

import textwrap
import time
from copy import deepcopy
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule

from correlate.detect import Detector
from correlate.ir import atoms_of
from correlate.logsources import gate, route, unrecorded
from correlate.mapping import PIPELINES, mapping_of
from correlate.parse import parse_documents
from correlate.rules import load_rules, rules_dir
from event.errors import RuleError
from event.fields import FIELDS, is_dataset

SIGMAHQ = Path(__file__).parents[2].parent / "shared" / "sigma" / "sigmahq-rules"

RULE = """
title: Write
id: 11111111-0000-4000-8000-000000000001
name: write
level: high
author: One, Two
tags:
  - attack.t0855
  - attack.t1021.001
  - attack.impair_process_control
  - attack.g0034
logsource:
  product: ics
  service: modbus
detection:
  sel:
    modbus.function_code: [5, 6]
  condition: sel
"""

CORRELATION = """
title: Many writes
id: 11111111-0000-4000-8000-000000000002
name: many
correlation:
  type: event_count
  rules: [write]
  group-by: [source.ip]
  timespan: 1m
  condition: {gte: 3}
"""


def load(tmp_path: Path, *texts: str, **options):
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.yml").write_text(textwrap.dedent(text), "utf-8")
    return load_rules([tmp_path], keep_going=True, **options)


def said(ruleset) -> list[str]:
    return [f"{Path(one.path).name}:{one.line} {one.severity} {one.message}" for one in ruleset.problems]


def test_a_rule_is_read_with_all_that_it_says_about_itself(tmp_path):
    ruleset = load(tmp_path, RULE)
    assert said(ruleset) == []
    (rule,) = ruleset.rules
    assert rule.meta.techniques == ("T0855", "T1021.001")
    assert rule.meta.tactics == ("impair-process-control",)
    assert rule.meta.author == ("One", "Two")
    assert (rule.meta.level, rule.meta.alerts, rule.route.names) == ("high", True, ("modbus",))
    assert rule.fields == ("modbus.function_code",)
    assert ruleset.find("write") is rule
    assert ruleset.find("nobody") is None


def test_all_errors_of_all_files_come_at_once_with_their_lines(tmp_path):
    (tmp_path / "a.yml").write_text(RULE.replace("modbus.function_code:", "modbus.function_code|startwith:"))
    (tmp_path / "b.yml").write_text("title: [x\n")
    (tmp_path / "c.yml").write_text(RULE.replace("condition: sel", "condition: sel and missing"))
    (tmp_path / "d.yml").write_text(RULE.replace("level: high", "level: dreadful"))
    with pytest.raises(RuleError) as caught:
        load_rules([tmp_path])
    text = str(caught.value)
    assert caught.value.exit_code == 4
    assert f"{tmp_path / 'a.yml'}:17: error: unknown modifier 'startwith'; known: all, base64" in text
    assert f"{tmp_path / 'b.yml'}:2: error: not valid YAML" in text
    assert f"{tmp_path / 'c.yml'}:18: error: Detection 'missing' not defined" in text
    assert f"{tmp_path / 'd.yml'}:5: error: 'dreadful' is not a valid Sigma rule level" in text


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("title: Write", "title: Write\ntitle: Again", "0.yml:3 error not valid YAML: the key 'title' comes twice"),
        ("11111111-0000-4000-8000-000000000001", "seven", "0.yml:3 error Sigma rule identifier must be an UUID"),
        ("detection:", "detections:", "0.yml:2 error a rule needs 'detection'"),
        (
            "modbus.function_code: [5, 6]",
            "message|re: '(?=a)b'",
            "0.yml:17 error regular expression '(?=a)b' cannot be matched in linear time: invalid perl operator: (?=",
        ),
        ("modbus.function_code: [5, 6]", "message|expand: '%x%'", "0.yml:17 error placeholder %x% has no values"),
        (
            "modbus.function_code: [5, 6]",
            "message|cidr: 10.0.0.1/8",
            "0.yml:17 error Invalid CIDR expression: 10.0.0.1/8 has host bits set",
        ),
        ("modbus.function_code: [5, 6]", "message|base64: 5", None),
        ("condition: sel", "condition: sel | count() > 5", None),
        ("condition: sel", "condition: 1 of none*", None),
    ],
)
def test_an_error_is_named_with_its_line(tmp_path, old, new, expected):
    ruleset = load(tmp_path, RULE.replace(old, new))
    errors = [one for one in said(ruleset) if " error " in one]
    assert len(errors) == 1
    assert expected is None or errors == [expected]
    with pytest.raises(RuleError):
        load_rules([tmp_path])


def test_a_rule_that_cannot_be_evaluated_stays_in_the_set_with_its_error(tmp_path):
    ruleset = load(tmp_path, RULE.replace("modbus.function_code: [5, 6]", r"message|re: '(a)\1'"))
    (rule,) = ruleset.rules
    assert rule.condition is None
    assert "linear time" in (rule.error or "")


def test_an_unknown_field_is_a_warning_with_names_that_come_near(tmp_path):
    ruleset = load(tmp_path, RULE.replace("modbus.function_code:", "modbus.function_cod:"))
    (problem,) = ruleset.problems
    assert (problem.severity, problem.line) == ("warning", 17)
    assert "modbus.function_code" in problem.known
    assert "'modbus.function_cod'" in problem.message
    assert load_rules([tmp_path]).problems == ruleset.problems  # a warning does not stop anything


def test_a_selector_that_fits_nothing_is_said(tmp_path):
    ruleset = load(tmp_path, RULE.replace("condition: sel", "condition: sel or 1 of filter_*"))
    assert said(ruleset) == ["0.yml:18 error the condition's 'filter_*' fits none of the rule's detections"]


def test_a_detection_may_begin_as_a_word_of_the_language_does(tmp_path):
    ruleset = load(tmp_path, RULE.replace("  sel:", "  notepad:").replace("condition: sel", "condition: notepad"))
    assert said(ruleset) == []
    assert ruleset.rules[0].condition[0] == "or"


def test_ids_are_unique(tmp_path):
    ruleset = load(tmp_path, RULE, RULE)
    assert len(ruleset.rules) == 1
    (problem,) = ruleset.problems
    assert problem.severity == "error"
    assert "already that of another rule" in problem.message
    assert Path(problem.path).name == "1.yml"


def test_correlations_come_after_what_feeds_them_and_silence_it(tmp_path):
    chained = CORRELATION.replace("000000000002", "000000000003").replace("name: many", "name: more")
    chained = chained.replace("[write]", "[many]").replace("group-by", "generate: true\n  group-by")
    ruleset = load(tmp_path, chained, CORRELATION, RULE)
    assert said(ruleset) == []
    many, more = ruleset.correlations
    assert (many.meta.name, more.meta.name) == ("many", "more")
    assert more.rules == (many.id,)
    assert many.meta.alerts  # generate: true
    assert not ruleset.rules[0].meta.alerts
    assert more.meta.level == "high"  # that of the rules below, for it says none itself


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[write]", "[nobody]", "the rule 'nobody' that the correlation refers to does not exist"),
        ("[write]", "[many]", "the correlation refers to itself in a circle"),
        ("[write]", "[write, write]", "the correlation refers to the same rule twice"),
        ("event_count", "event_counts", "'event_counts' is no type of correlation"),
        ("1m", "1 minute", "Timespan '1 minute' is invalid."),
        ("{gte: 3}", "{}", "Sigma correlation condition must have exactly one condition item"),
        ("{gte: 3}", "{gte: many}", "'many' is no valid Sigma correlation condition count"),
        ("{gte: 3}", "{gte: 3, colour: red}", "Sigma correlation condition contains invalid items: colour"),
        ("event_count", "value_count", "Value count correlation rule without field reference"),
        ("event_count", "temporal_ordered", "a correlation of type temporal_ordered asks for a least number"),
    ],
)
def test_what_is_wrong_with_a_correlation_is_said(tmp_path, old, new, message):
    ruleset = load(tmp_path, RULE, CORRELATION.replace(old, new))
    errors = [one.message for one in ruleset.problems if one.severity == "error"]
    assert len(errors) == 1
    assert errors[0].startswith(message)
    assert ruleset.correlations == ()


def test_a_correlation_cannot_ask_another_for_a_field_that_this_is_not_grouped_by(tmp_path):
    more = CORRELATION.replace("000000000002", "000000000003").replace("name: many", "name: more")
    more = more.replace("[write]", "[many]").replace("[source.ip]", "[destination.ip]")
    ruleset = load(tmp_path, RULE, CORRELATION, more)
    assert said(ruleset) == ["2.yml:8 error the correlation 'Many writes' is not grouped by 'destination.ip'"]
    assert len(ruleset.correlations) == 1


def test_a_correlation_condition_may_be_a_range_with_fractions(tmp_path):
    text = CORRELATION.replace("event_count", "value_avg").replace(
        "{gte: 3}", "{gt: 1.5, lte: 9, field: modbus.address}"
    )
    (one,) = load(tmp_path, RULE, text).correlations
    assert one.conditions == (("gt", 1.5), ("lte", 9))
    assert one.value_fields == ("modbus.address",)


def test_documents_of_one_file_keep_their_own_lines_and_global_ones_are_merged(tmp_path):
    text = """\
        action: global
        author: One
        logsource: {product: ics, service: modbus}
        detection: {condition: sel}
        ---
        title: First
        id: 11111111-0000-4000-8000-000000000001
        detection: {sel: {modbus.function_code: 5}}
        ---
        title: Second
        id: 11111111-0000-4000-8000-000000000002
        detection: {sel: {modbus.nonsense: 5}}
        """
    ruleset = load(tmp_path, text)
    assert [rule.meta.title for rule in ruleset.rules] == ["First", "Second"]
    assert {rule.meta.author for rule in ruleset.rules} == {("One",)}
    assert [problem.line for problem in ruleset.problems] == [12]


def test_a_filter_rule_is_joined_to_the_rules_it_names(tmp_path):
    one = """\
        title: not the engineering station
        logsource: {product: ics, service: modbus}
        filter:
          rules: [write]
          allowed: {source.ip: 10.0.0.9}
          condition: not allowed
        """
    ruleset = load(tmp_path, RULE, one)
    assert said(ruleset) == []
    assert [(field, op) for field, op, _ in atoms_of(ruleset.rules[0].condition)] == [
        ("modbus.function_code", "num"),
        ("modbus.function_code", "num"),
        ("source.ip", "eq"),
    ]
    stray = load(tmp_path, RULE, one.replace("[write]", "[nobody]"))
    assert [problem.message for problem in stray.problems] == ["the filter applies to none of the rules"]


def test_placeholders_are_filled_in(tmp_path):
    text = RULE.replace("modbus.function_code: [5, 6]", "source.ip|expand: '%masters%'")
    ruleset = load(tmp_path, text, placeholders={"masters": ["10.0.0.1", "10.0.*"]})
    assert said(ruleset) == []
    assert [(op, payload) for _, op, payload in atoms_of(ruleset.rules[0].condition)] == [
        ("eq", "10.0.0.1"),
        ("startswith", "10.0."),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "---\n---\n",
        "5",
        "- 1\n- 2",
        "{1: 2}",
        "title: x\ndetection: 5\nlogsource: 6",
        "correlation: 7",
        "filter: 8",
        "\x00",
    ],
)
def test_files_that_are_no_rules_never_raise(tmp_path, text):
    ruleset = load(tmp_path, text)
    assert ruleset.rules == ()
    assert all(problem.severity == "error" for problem in ruleset.problems)


def test_a_path_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(RuleError, match="no such file"):
        load_rules([tmp_path / "nowhere"])


def test_the_cache_gives_the_same_rules_and_follows_every_change(tmp_path):
    rules, cache = tmp_path / "rules", tmp_path / "cache"
    rules.mkdir()
    (rules / "a.yml").write_text(RULE)
    (rules / "b.yml").write_text(CORRELATION.replace("[source.ip]", "[nonsense]"))
    first = load_rules([rules], cache_dir=cache)
    assert load_rules([rules], cache_dir=cache) == first
    assert len(list(cache.iterdir())) == 1
    (rules / "a.yml").write_text(RULE.replace("high", "low"))
    assert load_rules([rules], cache_dir=cache).rules[0].meta.level == "low"
    assert len(list(cache.iterdir())) == 2
    for file in cache.iterdir():
        file.write_text("{")
    assert load_rules([rules], cache_dir=cache).rules[0].meta.level == "low"


def test_the_shipped_rules_are_found():
    assert rules_dir().is_dir()
    assert load_rules(None, keep_going=True).rules


def test_pysigma_makes_the_same_of_our_pipelines():
    pipelines = [ProcessingPipeline.from_yaml(path.read_text("utf-8")) for path in sorted(PIPELINES.glob("*.yml"))]
    pipelines.sort(key=lambda one: one.priority)
    assert len(pipelines) == 6
    sources = [
        {"product": "zeek", "service": "dns"},
        {"product": "zeek", "service": "http"},
        {"product": "zeek", "service": "ssl"},
        {"product": "suricata", "service": "alert"},
        {"category": "dns"},
        {"product": "network", "category": "network_connection"},
        {"category": "webserver"},
        {"category": "proxy"},
        {"category": "antivirus"},
        {"product": "windows", "category": "process_creation"},
        {"product": "windows", "category": "network_connection"},
        {"product": "windows", "service": "security"},
        {"product": "linux", "category": "process_creation"},
        {"product": "linux", "category": "network_connection"},
        {"product": "linux", "service": "auditd"},
        {"product": "aws", "service": "cloudtrail"},
    ]
    for source in sources:
        key = (source.get("product"), source.get("category"), source.get("service"))
        names = [*mapping_of(key), *(["CommandLine", "a0", "DestinationIp"] if mapping_of(key).prefix else ())]
        assert names
        pipeline = sum(deepcopy(pipelines[1:]), deepcopy(pipelines[0]))
        data = {"title": "x", "logsource": source, "detection": {"s": dict.fromkeys(names, 1), "condition": "s"}}
        theirs = SigmaRule.from_dict(data)
        pipeline.apply(theirs)
        fields = [mapping_of(key).get(name, name) for name in names]
        assert fields == [item.field for item in theirs.detection.detections["s"].detection_items]
        assert all(name in FIELDS for name in fields)


@pytest.mark.parametrize(
    ("source", "datasets"),
    [
        (("ics", None, None), ("modbus", "iec104", "dnp3", "s7comm")),
        (("ics", None, "arp"), ("arp",)),
        (("ics", None, "profinet"), ()),
        (("ICS", None, "Modbus"), ("modbus",)),
        (("network", None, "flow"), ("flow",)),
        (("network", "dns", None), ("dns", "zeek.dns", "suricata.dns")),
        ((None, "dns", None), ("dns", "zeek.dns", "suricata.dns")),
        (("windows", "dns", None), ()),
        (("zeek", None, "conn"), ("zeek.conn",)),
        (("suricata", None, "alert"), ("suricata.alert",)),
        (("linux", None, "syslog"), ("syslog",)),
        (("linux", None, "cron"), ("syslog",)),
        (("linux", "network_connection", None), ("windows.linux_sysmon", "auditd")),
        (("linux", "registry_set", None), ()),
        (("windows", "process_creation", None), ("windows.sysmon", "windows.security")),
        (("windows", "process_creation", "sysmon"), ("windows.sysmon",)),
        (("windows", "image_load", "security"), ()),
        (("windows", None, "taskscheduler"), ("windows.taskscheduler",)),
        (("windows", None, "nothing"), ()),
        (("aws", None, "cloudtrail"), ("app.aws.cloudtrail",)),
        ((None, "proxy", None), ("proxy", "zeek.http", "suricata.http")),
        ((None, "firewall", None), ()),
        ((None, None, None), ()),
    ],
)
def test_a_logsource_leads_to_its_datasets(source, datasets):
    found = route(*source)
    assert found.names == datasets
    assert bool(found) is bool(datasets)
    assert all(is_dataset(name) and found.takes(name) for name in datasets)


def test_a_category_of_windows_is_an_event_code():
    image, command = "winlog.event_data.Image", "winlog.event_data.ParentCommandLine"
    both, condition = gate(("windows", "process_creation", None), [image, "event.code"])
    assert both.names == ("windows.sysmon", "windows.security")
    assert [atom for atom in atoms_of(condition) if atom[0] == "event.code"] == [
        ("event.code", "eq", "1"),
        ("event.code", "eq", "4688"),
    ]
    # Event 4688 has no command line of the parent: a filter on it would never hold.
    one, condition = gate(("windows", "process_creation", None), [image, command])
    assert one.names == ("windows.sysmon",)
    assert condition == ["atom", "event.code", "eq", "1"]
    assert gate(("windows", None, "security"), [image]) == (route("windows", None, "security"), None)


@pytest.mark.parametrize(
    ("condition", "looks"),
    [
        ("selection", True),
        ("missing", False),  # can never hold there
        ("selection or missing", True),
        ("selection and missing", False),
        ("selection and not missing", False),  # would leave in what is to be left out
        ("selection and not (missing and selection)", False),
        ("selection and not (not missing)", False),
        ("selection or not gone", True),
        ("selection and gone", False),  # null holds for an absent field, too
    ],
)
def test_a_rule_looks_at_4688_unless_an_absent_field_would_mislead_it(tmp_path, condition, looks):
    rule = {
        "title": "t",
        "id": "00000000-0000-4000-8000-000000000001",
        "logsource": {"product": "windows", "category": "process_creation"},
        "detection": {
            "selection": {"CommandLine|contains": "mimikatz"},
            "missing": {"OriginalFileName": "a.exe"},
            "gone": {"OriginalFileName": None},
            "condition": condition,
        },
        "level": "high",
    }
    (tmp_path / "rule.yml").write_text(yaml.safe_dump(rule))
    (made,) = load_rules([tmp_path]).rules
    assert made.route.takes("windows.security") is looks
    assert made.route.takes("windows.sysmon")


def test_a_field_that_no_event_of_the_category_has_is_named():
    source = ("windows", "file_event", None)
    asked = ["winlog.event_data.TargetFilename", "winlog.event_data.ParentImage", "event.code", "no.such"]
    assert unrecorded(source, asked) == ["winlog.event_data.ParentImage", "no.such"]
    assert unrecorded(("windows", None, "security"), asked) == ["no.such"]
    assert unrecorded(("macos", "file_event", None), ["TargetFilename", "file.path"]) == ["TargetFilename"]


def test_all_logs_of_a_product_are_a_prefix():
    zeek = route("zeek", None, None)
    assert zeek.takes("zeek.conn")
    assert not zeek.takes("suricata.alert")
    assert zeek.first() is None


@pytest.mark.skipif(not SIGMAHQ.is_dir(), reason="the public rules are not here")
def test_the_public_rules_load_without_a_crash_and_the_rest_is_counted():
    started = time.perf_counter()
    ruleset = load_rules([SIGMAHQ], keep_going=True)
    errors = [problem for problem in ruleset.problems if problem.severity == "error"]
    usable = [rule for rule in ruleset.rules if rule.error is None]
    print(
        f"{len(usable)} of {len(ruleset.rules)} rules usable, {len(errors)} errors,"
        f" {time.perf_counter() - started:.1f} s"
    )
    files = sum(1 for _ in SIGMAHQ.rglob("*.yml"))
    assert len(ruleset.rules) + len({problem.path for problem in errors}) >= files
    assert len(usable) > 0.99 * files
    assert all(rule.condition for rule in usable)
    # A rule that is not usable is named.
    assert {rule.meta.path for rule in ruleset.rules if rule.error} <= {problem.path for problem in errors}


def test_a_file_that_is_not_utf8_is_named():
    ruleset = parse_documents([Path("x.yml")], [b"title: a\nlevel: \xff\n"], {})
    assert [(problem.line, problem.message) for problem in ruleset.problems] == [(2, "the file is not UTF-8")]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(allow_nan=True),
    st.text(max_size=4),
    st.sampled_from(
        ["sel", "1 of them", "not", "event_count", "1m", "write", "ics", "modbus", "a|re", "(", "10.0.0.0/8"]
    ),
)
keys = st.sampled_from(
    [
        "title",
        "id",
        "name",
        "level",
        "status",
        "logsource",
        "product",
        "service",
        "category",
        "detection",
        "condition",
        "sel",
        "correlation",
        "type",
        "rules",
        "group-by",
        "timespan",
        "aliases",
        "gte",
        "field",
        "filter",
        "action",
        "tags",
        "author",
        "date",
        "falsepositives",
        "a|re",
        "a|cidr",
        "a|contains|all",
        "a|gt",
        "a|exists",
        "a|base64",
        "a|expand",
        "a|fieldref",
        "a|hour",
        "|all",
    ]
)
trees = st.recursive(
    scalars,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(keys, below, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(keys, trees, max_size=8), min_size=1, max_size=3))
def test_whatever_a_file_holds_it_loads_or_its_errors_are_named(documents):
    good = yaml.safe_load(RULE)
    text = yaml.safe_dump_all([{**good, **documents[0]}, *documents]).encode()
    ruleset = parse_documents([Path("x.yml")], [text], {})
    assert all(problem.line >= 1 and problem.message for problem in ruleset.problems)
    assert all(rule.condition is not None or rule.error for rule in ruleset.rules)
    Detector(ruleset).feed(
        pl.DataFrame({"event.dataset": ["modbus"], "event.id": ["x"], "a": ["10.0.0.1"]})
        .with_columns(pl.lit(0).cast(pl.Datetime("ns", "UTC")).alias("@timestamp"))
        .select(
            "@timestamp", "event.id", "event.dataset", pl.lit("event").alias("event.kind"), pl.col("a").alias("message")
        )
    )
