"""风险报告: what was seen in a period, how grave it is, what to do.

Chapters follow the practice of 态势报告 (conclusion first) and the risk-assessment report format of
国家电子政务工程建设项目非涉密信息系统, with risk after GB/T 20984-2022 and incidents after GB/T 20986-2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from event.errors import ReportError
from event.incident import Incident
from event.site import Site
from report import parts
from report.document import Evidence, Fact, Language, Metadata, ReportDocument, statement
from report.facts import Case
from report.profiles.risk import judgement, picture, summary
from report.profiles.risk.draft import Draft
from report.wording import Wording


def build(
    incidents: Sequence[Incident], evidence: Evidence, site: Site, lang: Language, now: datetime
) -> ReportDocument:
    """Build the risk report.

    Args:
        incidents: Incidents of the period; none is a report too.
        evidence: What was read and found.
        site: What the operator declared.
        lang: Language of the report.
        now: Aware time of making.

    Raises:
        ReportError: An incident is marked as touching state secrets; such reports take other ways.
    """
    secret = parts.refuse_secrets(incidents)
    if secret:
        w = Wording(lang)
        raise ReportError(w("secret.refused", id=secret.id), hint=w("secret.hint"))
    return _document(Draft(Case(incidents, evidence, site, Wording(lang), now)))


def _document(d: Draft) -> ReportDocument:
    case, w = d.case, d.w
    sections = (
        summary.summary(d),
        summary.basics(d),
        picture.situation(d),
        picture.traffic(d),
        picture.threats(d),
        judgement.incidents(d),
        judgement.weaknesses(d),
        judgement.risk(d),
        judgement.measures(d),
        parts.sign_off(w, "issuer", "reviewer", "seal"),
        judgement.appendix(d),
    )
    operator = case.site.operator.name
    number = parts.report_number("FX", case, operator or "")
    kind = w("risk.kind")
    secrecy = parts.classification(case, case.incidents)
    return ReportDocument(
        metadata=Metadata(
            number=number,
            profile="risk",
            kind=kind,
            version=1,
            language=w.language,
            title=w("risk.title"),
            subtitle=w("risk.subtitle", operator=operator or w("risk.operator_open")),
            operator=operator,
            classification=secrecy,
            created=case.now,
            data_since=case.evidence.since,
            data_until=case.evidence.until,
            tool_version=case.evidence.tool_version,
            rule_summary=parts.rule_summary(case),
            incidents=tuple(f"{i.id}@{i.version}" for i in case.incidents),
            heading=(
                Fact(label=w("head.number"), value=statement(number)),
                Fact(label=w("head.kind"), value=statement(kind)),
                Fact(label=w("head.classification"), value=statement(secrecy)),
                parts.declared("head.operator", operator, w),
                Fact(label=w("head.period"), value=statement(w.span(case.evidence.since, case.evidence.until))),
                Fact(label=w("head.created"), value=statement(w.minute(case.now))),
            ),
        ),
        sections=sections,
        evidence=tuple(case.ledger.entries.values()),
        evidence_left_off=case.ledger.left_off,
    )
