"""A pump station: polling, a scan from 10.20.1.66, then unauthorised writes to a PLC and a stop of listening."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from event.incident import (
    AlertRef,
    Asset,
    Category,
    Clock,
    GradeReason,
    HistoryEntry,
    Impact,
    Incident,
    Step,
    TimelineEntry,
)
from event.incident import Evidence as Kept
from event.site import KnownAsset, Operator, Segment, Site
from report.document import Evidence

START = datetime(2026, 11, 24, 2, 5, 0, tzinfo=UTC)
NOW = datetime(2026, 11, 24, 3, 0, 0, tzinfo=UTC)
GOLDEN = Path(__file__).with_name("golden")


def pytest_addoption(parser: pytest.Parser) -> None:
    with contextlib.suppress(ValueError):  # another folder's conftest declared it
        parser.addoption("--update-golden", action="store_true", help="rewrite golden files")


@dataclass(frozen=True)
class Story:
    incidents: list[Incident]
    evidence: Evidence
    site: Site
    now: datetime = NOW


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, bytes], None]:
    """Compare with a golden file; ``--update-golden`` rewrites it."""

    def check(name: str, data: bytes) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden", default=False):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        assert path.read_bytes().decode() == data.decode()

    return check


@pytest.fixture
def story() -> Story:
    return pump_station()


@pytest.fixture
def quiet() -> Story:
    full = pump_station()
    evidence = Evidence(
        inputs=full.evidence.inputs[:1],
        event_counts={"flow": 40, "modbus": 900},
        alerts=full.evidence.alerts.clear(),
        flows=full.evidence.flows.filter(pl.col("source.ip") != ATTACKER),
        assets={
            k: v.model_copy(update={"alert_count": 0, "risk": 0})
            for k, v in full.evidence.assets.items()
            if k != ATTACKER
        },
        since=full.evidence.since,
        until=full.evidence.until,
        rule_problems=[],
        tool_version="0.1.0",
    )
    return Story([], evidence, full.site)


@pytest.fixture
def bare() -> Story:
    """Nothing is known: no site, no inputs, no events."""
    evidence = Evidence([], {}, pl.DataFrame(), pl.DataFrame(), {}, None, None, [], "0.1.0")
    return Story([], evidence, Site())


ATTACKER, PLC1, PLC2, HMI, MASTER, HIST = (
    "10.20.1.66",
    "10.20.1.10",
    "10.20.1.11",
    "10.20.1.20",
    "10.20.1.5",
    "10.30.2.8",
)

PLAYBOOK = "playbook--33a3ab03-9991-5c2e-9bbd-f743d956aaab"
RULES = {
    "scan": (
        "5f0a1c9e-7a35-4b56-8a0f-0f7f3a5d1001",
        "Modbus function code scan",
        "Modbus 功能码扫描",
        "medium",
        ("T0846",),
        "discovery",
    ),
    "write": (
        "5f0a1c9e-7a35-4b56-8a0f-0f7f3a5d1002",
        "Modbus write from an undeclared master",
        "未申报主站的 Modbus 写操作",
        "high",
        ("T0855", "T0836"),
        "impair-process-control",
    ),
    "listen": (
        "5f0a1c9e-7a35-4b56-8a0f-0f7f3a5d1003",
        "Modbus device forced to listen-only mode",
        "Modbus 设备被强制进入只听模式",
        "critical",
        ("T0814", "T0815"),
        "inhibit-response-function",
    ),
    "english": ("5f0a1c9e-7a35-4b56-8a0f-0f7f3a5d1004", "New host speaks Modbus", None, "low", ("T0846",), "discovery"),
}


def _alerts() -> list[tuple[str, datetime, str, str, str, int]]:
    rows: list[tuple[str, datetime, str, str, str, int]] = []

    def add(rule: str, seconds: float, target: str, count: int = 1) -> None:
        n = len(rows) + 1
        rows.append(
            (
                f"9f3a02b4c5d6e7f8-{4000 + n:012d}-alert-0-{n:09d}",
                START + timedelta(seconds=seconds),
                rule,
                ATTACKER,
                target,
                count,
            )
        )

    add("english", 0, PLC1)
    for k, target in enumerate((PLC1, PLC2, HMI)):
        add("scan", 20 + 70 * k, target, 126)
    for k in range(14):
        add("write", 720 + 9 * k, PLC1, 1 + k % 3)
    add("write", 900, PLC2, 2)
    add("listen", 1020, PLC1)
    return rows


def pump_station() -> Story:
    alerts = _alerts()
    frame = pl.DataFrame(
        {
            "@timestamp": [a[1] for a in alerts],
            "event.id": [a[0] for a in alerts],
            "event.dataset": ["jianmen.alert"] * len(alerts),
            "event.kind": ["alert"] * len(alerts),
            "rule.id": [RULES[a[2]][0] for a in alerts],
            "rule.name": [RULES[a[2]][1] for a in alerts],
            "rule.name_zh": [RULES[a[2]][2] for a in alerts],
            "rule.level": [RULES[a[2]][3] for a in alerts],
            "threat.technique.id": [list(RULES[a[2]][4]) for a in alerts],
            "threat.tactic.name": [[RULES[a[2]][5]] for a in alerts],
            "source.ip": [a[3] for a in alerts],
            "destination.ip": [a[4] for a in alerts],
            "network.protocol": ["modbus"] * len(alerts),
            "alert.event_ids": [[f"9f3a02b4c5d6e7f8-{100 + i:012d}-modbus-0-000000000"] for i in range(len(alerts))],
            "alert.event_count": [a[5] for a in alerts],
        },
        schema_overrides={"@timestamp": pl.Datetime("ns", "UTC")},
    )
    flows = pl.DataFrame(
        [
            (MASTER, PLC1, "modbus", 4_812_330, 61_200, 12),
            (MASTER, PLC2, "modbus", 4_610_118, 58_800, 12),
            (HMI, PLC1, "modbus", 1_220_014, 15_500, 6),
            (HMI, HIST, "unknown", 8_220_004, 9_912, 44),
            (MASTER, HIST, "http", 640_100, 902, 18),
            (ATTACKER, PLC1, "modbus", 64_200, 812, 5),
            (ATTACKER, PLC2, "modbus", 18_440, 260, 2),
            (ATTACKER, HMI, "unknown", 3_900, 60, 31),
        ],
        schema=["source.ip", "destination.ip", "network.protocol", "bytes", "packets", "flows"],
        orient="row",
    )
    assets = {
        a.ip: a
        for a in (
            Asset(
                ip=PLC1,
                mac="00:1b:1b:10:20:01",
                role="plc",
                roles_seen=("modbus_server",),
                segment="泵站控制网",
                alert_count=17,
                risk=92,
            ),
            Asset(
                ip=PLC2,
                mac="00:1b:1b:10:20:02",
                roles_seen=("modbus_server",),
                segment="泵站控制网",
                alert_count=2,
                risk=70,
            ),
            Asset(ip=HMI, roles_seen=("modbus_client",), segment="泵站控制网", alert_count=1, risk=40),
            Asset(ip=MASTER, roles_seen=("modbus_client",), segment="泵站控制网"),
            Asset(ip=HIST, segment="生产管理网"),
            Asset(
                ip=ATTACKER,
                mac="02:42:ac:11:00:66",
                roles_seen=("modbus_client",),
                segment="泵站控制网",
                side="attacker",
                alert_count=20,
                risk=0,
            ),
        )
    }
    site = Site(
        operator=Operator(
            name="剑溪水利枢纽管理处",
            sector="water",
            kind="cii",
            region_code="510800",
            address="四川省广元市剑阁县剑溪泵站",
            contact_name="值班员",
            duty_phone="0839-0000000",
            protection_department="四川省水利厅",
            mlps_level=3,
        ),
        segments=(
            Segment(
                name="泵站控制网", cidrs=("10.20.1.0/24",), sector="water", purdue_level=1, system="泵站自动控制系统"
            ),
            Segment(name="生产管理网", cidrs=("10.30.2.0/24",), sector="water", purdue_level=3, system="生产管理系统"),
            Segment(name="视频监控网", cidrs=("10.40.0.0/16",), sector="water", purdue_level=3),
        ),
        assets=(
            KnownAsset(ip=PLC1, name="1号泵组控制器", role="plc", importance="critical", masters=(MASTER,)),
            KnownAsset(ip=PLC2, name="2号泵组控制器", role="plc", importance="important", masters=(MASTER,)),
            KnownAsset(ip=MASTER, name="监控主站", role="master", importance="important"),
            KnownAsset(ip=HMI, name="操作员站", role="hmi", importance="important"),
            KnownAsset(ip="10.20.1.12", name="3号泵组控制器", role="plc", importance="important"),
        ),
    )
    evidence = Evidence(
        inputs=[
            {
                "path": "pump-station.pcapng",
                "kind": "pcapng",
                "frames": 147_446,
                "decoded": 147_120,
                "undecoded": 320,
                "failed": 6,
                "bytes": 19_588_106,
                "seconds": 0.412,
                "error": None,
                "notes": {"ethertype_0x88cc": 320},
            },
            {
                "path": "plc-syslog.log",
                "kind": "syslog",
                "lines": 812,
                "decoded": 810,
                "undecoded": 0,
                "failed": 2,
                "bytes": 90_112,
                "seconds": 0.01,
                "error": "line 812 is cut",
                "notes": {},
            },
        ],
        event_counts={"flow": 130, "modbus": 12_440, "arp": 64, "syslog": 812, "jianmen.alert": len(alerts)},
        alerts=frame,
        flows=flows,
        assets=assets,
        since=START - timedelta(minutes=20),
        until=START + timedelta(minutes=40),
        rule_problems=["zeek/x509: field certificate.sig_alg does not exist"],
        tool_version="0.1.0",
        rules=[{"id": v[0], "title": v[1], "title_zh": v[2], "level": v[3], "kind": "rule"} for v in RULES.values()],
    )
    return Story([_incident(alerts, assets)], evidence, site)


def _incident(alerts: list[tuple[str, datetime, str, str, str, int]], assets: dict[str, Asset]) -> Incident:
    ids = [a[0] for a in alerts]
    discovered = START + timedelta(minutes=18)
    return Incident(
        id="INC-20261124-3f9a2c",
        version=2,
        title_zh="10.20.1.66 对泵组控制器实施扫描和未授权控制",
        title_en="10.20.1.66 scanned pump controllers and sent unauthorised controls",
        first_seen=alerts[0][1],
        last_seen=alerts[-1][1],
        discovered=discovered,
        level="critical",
        categories=(
            Category(
                id="abnormal_behaviour.access",
                name_zh="访问异常事件",
                name_en="Abnormal access",
                parent_zh="异常行为事件",
                parent_en="Abnormal behaviour",
            ),
            Category(
                id="network_attack.scan",
                name_zh="网络扫描探测事件",
                name_en="Network scan",
                parent_zh="网络攻击事件",
                parent_en="Network attack",
            ),
        ),
        grade_gbt20986="large",
        grade_cac=None,
        grade_reasons=(
            GradeReason(
                scale="gbt20986-2023",
                grade="large",
                indicator="影响对象特别重要、业务损失较大",
                value="1号泵组控制器",
                source="GB/T 20986-2023 分级矩阵",
                source_en="GB/T 20986-2023, grading matrix",
                mark="M",
            ),
            GradeReason(
                scale="cac-2025",
                grade=None,
                indicator="关键信息基础设施整体中断运行时间",
                threshold="10分钟以上为较大",
                source="《网络安全事件分级指南》",
                source_en="Guide to the Grading of Cybersecurity Incidents",
                mark="V~",
                certainty="unknown",
            ),
        ),
        open_questions_zh=("泵站供水是否中断，中断起止时间", "受影响用水人数", "该系统是否已认定为关键信息基础设施"),
        open_questions_en=(
            "Was supply interrupted, from when to when",
            "How many people were without water",
            "Is the system designated as CII",
        ),
        attackers=(ATTACKER,),
        targets=(PLC1, PLC2, HMI),
        segments=("泵站控制网",),
        protocols=("modbus",),
        techniques=("T0846", "T0855", "T0836", "T0814", "T0815"),
        tactics=("discovery", "impair-process-control", "inhibit-response-function"),
        assets=tuple(assets[ip] for ip in (PLC1, PLC2, HMI, ATTACKER)),
        alerts=tuple(
            AlertRef(
                id=a[0],
                time=a[1],
                rule_id=RULES[a[2]][0],
                rule_name=RULES[a[2]][1],
                level=RULES[a[2]][3],
                count=a[5],
                source=a[3],
                destination=a[4],
                techniques=RULES[a[2]][4],
            )  # type: ignore[arg-type]
            for a in alerts
        ),
        alert_total=len(alerts),
        timeline=(
            TimelineEntry(
                time=START,
                text="10.20.1.66 spoke Modbus for the first time",
                text_zh="10.20.1.66 首次使用 Modbus 协议通信",
                phase="discovery",
                evidence=(ids[0],),
            ),
            TimelineEntry(
                time=START + timedelta(seconds=20),
                text="Scan of all function codes on 3 devices",
                text_zh="对3台设备遍历扫描功能码",
                phase="discovery",
                evidence=tuple(ids[1:4]),
            ),
            TimelineEntry(
                time=START + timedelta(seconds=720),
                text="14 writes to pump controller 1; the device accepted them",
                text_zh="向1号泵组控制器写入14次，设备均予接受",
                phase="impair-process-control",
                evidence=tuple(ids[4:7]),
            ),
            TimelineEntry(
                time=START + timedelta(seconds=900),
                text="Writes to pump controller 2",
                text_zh="向2号泵组控制器写入",
                phase="impair-process-control",
                evidence=(ids[18],),
            ),
            TimelineEntry(
                time=START + timedelta(seconds=1020),
                text="Pump controller 1 was forced to listen only; the master lost sight of it",
                text_zh="1号泵组控制器被强制进入只听模式，监控主站失去对其监视",
                certainty="inferred",
                phase="inhibit-response-function",
                evidence=(ids[19],),
            ),
        ),
        impact=Impact(suspected_crime=True),
        clocks=(
            Clock(
                id="r1",
                regime="cac-2025",
                what_zh="首报",
                what_en="First report",
                recipients_zh=("保护工作部门", "属地公安机关"),
                recipients_en=("protection department", "police"),
                starts=discovered,
                due=discovered + timedelta(hours=1),
                source="《国家网络安全事件报告管理办法》",
                source_en="Administrative Measures for Reporting National Cybersecurity Incidents (2025)",
                mark="V",
                condition_zh="达到较大及以上",
                condition_en="large or above",
            ),
            Clock(
                id="r7",
                regime="cac-2025",
                what_zh="涉嫌犯罪报案",
                what_en="Report of a suspected crime",
                recipients_zh=("公安机关",),
                recipients_en=("police",),
                starts=discovered,
                due=None,
                source="《国家网络安全事件报告管理办法》",
                source_en="Administrative Measures for Reporting National Cybersecurity Incidents (2025)",
                mark="V",
            ),
            Clock(
                id="r10",
                regime="cac-2025",
                what_zh="事件处置总结报告",
                what_en="Summary report",
                recipients_zh=("原报送对象",),
                recipients_en=("the same recipients",),
                starts=discovered,
                due=discovered + timedelta(days=30),
                source="《国家网络安全事件报告管理办法》",
                source_en="Administrative Measures for Reporting National Cybersecurity Incidents (2025)",
                mark="V",
                condition_zh="处置结束后",
                condition_en="once handling has ended",
            ),
        ),
        playbooks=(PLAYBOOK,),
        actions=(
            Step(
                text_zh="通知值班调度员，将1号泵组切换为就地手动控制",
                text_en="Tell the dispatcher, switch pump 1 to local manual control",
                phase="containment",
                done_at=START + timedelta(minutes=25),
                done_by="值班员",
                effect="泵组恢复就地控制",
            ),
            Step(
                text_zh="核实 10.20.1.66 的物理位置和使用人",
                text_en="Find out where 10.20.1.66 is and who uses it",
                phase="detection",
                source=f"{PLAYBOOK}#action--9b81c41c-229e-5bb0-9d14-35cc3f2594a0",
            ),
            Step(
                text_zh="在控制网交换机上隔离 10.20.1.66 所在端口，事先征得生产运行负责人同意",
                text_en="Isolate the switch port of 10.20.1.66, with the consent of operations",
                phase="containment",
                source=f"{PLAYBOOK}#action--0711ffec-e2d2-5f0c-ae38-9bf396067b73",
            ),
            Step(
                text_zh="比对控制器程序和参数与备份是否一致",
                text_en="Compare program and parameters with the backup",
                phase="eradication",
                source=f"{PLAYBOOK}#action--a56b5615-dadb-5aeb-bdea-542f2555333a",
            ),
            Step(
                text_zh="确认工艺参数恢复正常后恢复远程控制",
                text_en="Give back remote control once the process is normal",
                phase="recovery",
                source=f"{PLAYBOOK}#action--f027b480-71ad-5496-9915-be980dcd67d0",
            ),
            Step(
                text_zh="在控制器前端限定允许的主站地址",
                text_en="Allow named masters only in front of the controllers",
                phase="follow_up",
                source=f"{PLAYBOOK}#action--5da07ac9-f908-511a-98b8-9dc2e9c93984",
            ),
        ),
        evidence=(
            Kept(
                name="pump-station.pcapng",
                sha256="9b74c9897bac770ffc029102a200c5de9b74c9897bac770ffc029102a200c5de",
                size=19_588_106,
                kept_by="值班员",
                note="镜像端口流量包",
            ),
        ),
        notes=(HistoryEntry(time=START + timedelta(minutes=30), actor="值班员", change="现场确认1号泵组曾短时停机"),),
    )
