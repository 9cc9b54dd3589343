"""Deadlines of the reporting regimes: which clocks run for an incident, from when, until when.

Pure. Deadlines start at 发现或获知 (``Incident.discovered``), the strict reading of the Measures; a change of
grade restarts nothing but may add routes. What the facts do not settle is shown with its condition, never left out.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from correlate.regimes import ReportingRegime, Route, grade_rank, reporting
from event.incident import Clock, Incident
from event.site import Site

_GRADE_OPEN = ("若研判为较大及以上", "if graded large or above")
_MAJOR_OPEN = ("若研判为重大及以上", "if graded major or above")
_OVERRIDE = "人工研判"


def _settled(incident: Incident) -> bool:
    """Whether the reporting grade cannot rise any more by facts that are still open."""
    by_hand = any(r.indicator == _OVERRIDE and r.scale == "cac-2025" for r in incident.grade_reasons)
    return by_hand or (incident.grade_cac is not None and not incident.open_questions_zh)


def _closed_at(incident: Incident, known: Clock | None) -> datetime | None:
    """When handling ended. A clock that runs from there already keeps its start: later notes do not move it."""
    if incident.status != "closed":
        return None
    if known is not None and known.due is not None:
        return known.starts
    return incident.history[-1].time if incident.history else incident.last_seen


def _clock(route: Route, regime: ReportingRegime, incident: Incident, conditions: list[tuple[str, str]]) -> Clock:
    """The clock of one route."""
    identity = f"{regime.id}.{route.id}"
    before = {clock.id: clock for clock in incident.clocks}
    done = {name: clock.done for name, clock in before.items()}
    starts: datetime | None = incident.discovered
    if route.after == "closed":
        starts = _closed_at(incident, before.get(identity))
        if starts is None:
            conditions = [*conditions, ("自事件处置结束起算", "counted from the end of handling")]
    elif route.after is not None:
        starts = done.get(f"{regime.id}.{route.after}")
        if starts is None:
            conditions = [*conditions, ("自收到报告起算", "counted from receipt of the report")]
    due: datetime | None = None
    if starts is not None and route.within_minutes is not None:
        due = starts + timedelta(minutes=route.within_minutes)
    elif starts is not None and route.within_days is not None:
        due = starts + timedelta(days=route.within_days)
    return Clock(
        id=identity,
        regime=regime.id,
        what_zh=route.zh,
        what_en=route.en,
        recipients_zh=route.to_zh,
        recipients_en=route.to_en,
        starts=starts or incident.discovered,
        due=due,
        done=done.get(identity),
        source=str(route.source),
        source_en=route.source.en,
        mark=route.source.mark,
        condition_zh="且".join(zh for zh, _ in conditions),
        condition_en=" and ".join(en for _, en in conditions),
    )


def _conditions(route: Route, regime: ReportingRegime, incident: Incident, site: Site) -> list[tuple[str, str]] | None:
    """Conditions that are still open; None where the route does not apply."""
    conditions: list[tuple[str, str]] = []
    kind = site.operator.kind
    if route.operator_kinds:
        if kind is None:
            names = [regime.operator_kinds[k] for k in route.operator_kinds]
            conditions.append(
                ("若为" + "、".join(n.zh for n in names), "if the unit is " + " or ".join(n.en for n in names))
            )
        elif kind not in route.operator_kinds:
            return None
    if route.min_grade is not None and grade_rank(incident.grade_cac) < grade_rank(route.min_grade):
        if _settled(incident) or (route.owner == "authority" and incident.grade_cac is None):
            # What authorities pass on is no task of the operator: shown once the grade calls for it.
            return None
        conditions.append(_MAJOR_OPEN if route.min_grade == "major" else _GRADE_OPEN)
    if route.needs == "suspected_crime":
        if incident.impact.suspected_crime is False:
            return None
        if incident.impact.suspected_crime is None:
            conditions.append(("若涉嫌犯罪", "if a crime is suspected"))
    if route.owner == "authority" and incident.grade_cac is None:
        return None
    return conditions


def deadlines(incident: Incident, site: Site) -> tuple[Clock, ...]:
    """All clocks of ``incident`` under the regimes of ``site``, earliest deadline first.

    ``done`` of clocks that the incident has already is kept. State secrets close every ordinary channel: then
    only the secrecy route is left.
    """
    clocks: list[Clock] = []
    for name in site.regimes:
        regime = reporting(name)
        if incident.impact.state_secret:
            routes: list[Route] = [regime.state_secret]
        else:
            sector = site.operator.sector
            routes = [*regime.routes, *(r for r in regime.sector_routes if sector in r.sectors)]
            if incident.impact.personal_records:
                routes.append(regime.personal_information)
        for route in routes:
            conditions = _conditions(route, regime, incident, site)
            if conditions is not None:
                clocks.append(_clock(route, regime, incident, conditions))
    far = datetime.max.replace(tzinfo=incident.discovered.tzinfo)
    return tuple(sorted(clocks, key=lambda c: (c.due or far, c.regime, len(c.id), c.id)))


def remaining(clock: Clock, now: datetime) -> timedelta | None:
    """Time left (negative: overdue); None where there is no number or it is done."""
    return None if clock.due is None or clock.done is not None else clock.due - now


def with_done(incident: Incident, clock_id: str, actor: str, time: datetime, site: Site) -> Incident:
    """Record that a report was made; clocks that start with it follow.

    Raises:
        KeyError: The incident has no such clock.
    """
    if all(clock.id != clock_id for clock in incident.clocks):
        known = ", ".join(clock.id for clock in incident.clocks)
        raise KeyError(f"no clock {clock_id!r}; known: {known}")
    marked = tuple(c.model_copy(update={"done": time}) if c.id == clock_id else c for c in incident.clocks)
    clocks = deadlines(incident.model_copy(update={"clocks": marked}), site)
    return incident.changed(actor=actor, change=f"已报告 / reported: {clock_id}", time=time, clocks=clocks)
