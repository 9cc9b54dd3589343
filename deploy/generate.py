"""Writes deploy/kibana/jianmen.ndjson from the field catalogue: data views, visualisations, a dashboard, a search.

usage: deploy/generate.py [--check]     (run it after changing event/fields/; --check only compares)

Saved objects as Kibana 8.x and 9.x import them (Stack Management, Saved Objects, Import). Titles are in Chinese and
English. Every field that an object uses is in the catalogue, and can be aggregated where it is aggregated:
``tests/test_deploy.py`` holds that; the import itself needs a Kibana.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from event.fields import DATASETS, FIELDS  # noqa: E402
from store.elastic.names import Names  # noqa: E402

OUT = HERE / "kibana" / "jianmen.ndjson"
NAMES = Names("jianmen")
EVENTS, ALERTS, INCIDENTS = "jianmen-events", "jianmen-alerts", "jianmen-incidents"

Object = dict[str, Any]
_VERSIONS = {"index-pattern": "8.0.0", "visualization": "8.5.0", "search": "8.0.0", "dashboard": "8.7.0"}
"""Versions of the saved form of each type, as Kibana 8.8 exports them; later ones bring them up to date."""
_FORMATS = {"bytes": {"id": "bytes"}, "ns": {"id": "duration", "params": {"inputFormat": "nanoseconds"}}}
"""Units of the catalogue to Kibana's field formats."""


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def data_view(ident: str, title: str, name: str, time: str, fields: dict[str, str]) -> Object:
    """A data view; meanings of fields as custom descriptions, units as formats."""
    formats = {name: _FORMATS[str(FIELDS[name].unit)] for name in fields if FIELDS[name].unit in _FORMATS}
    return {
        "id": ident,
        "type": "index-pattern",
        "attributes": {
            "title": title,
            "name": name,
            "timeFieldName": time,
            "fieldAttrs": _text({name: {"customDescription": meaning[:300]} for name, meaning in fields.items()}),
            "fieldFormatMap": _text(formats),
            "sourceFilters": "[]",
            "fields": "[]",
            "runtimeFieldMap": "{}",
            "typeMeta": "{}",
        },
        "references": [],
    }


def _source(view: str) -> tuple[str, list[Object]]:
    """What a visualisation searches, by reference to a data view."""
    name = "kibanaSavedObjectMeta.searchSourceJSON.index"
    return (
        _text({"query": {"query": "", "language": "kuery"}, "filter": [], "indexRefName": name}),
        [{"name": name, "type": "index-pattern", "id": view}],
    )


def visualisation(ident: str, title: str, kind: str, view: str, aggs: list[Object], params: Object) -> Object:
    """An aggregation-based visualisation: the kind whose saved form is documented and stable over versions."""
    source, references = _source(view)
    state = {
        "title": title,
        "type": kind,
        "params": {"type": kind, **params},
        "aggs": [{"id": str(number), "enabled": True, **one} for number, one in enumerate(aggs, 1)],
    }
    return {
        "id": ident,
        "type": "visualization",
        "attributes": {
            "title": title,
            "description": "",
            "visState": _text(state),
            "uiStateJSON": "{}",
            "version": 1,
            "kibanaSavedObjectMeta": {"searchSourceJSON": source},
        },
        "references": references,
    }


def count() -> Object:
    """How many."""
    return {"type": "count", "params": {}, "schema": "metric"}


def over_time() -> Object:
    """Along the time axis."""
    params = {"field": "@timestamp", "interval": "auto", "min_doc_count": 1, "useNormalizedEsInterval": True}
    return {"type": "date_histogram", "params": params, "schema": "segment"}


def top(field: str, size: int = 10, schema: str = "segment", label: str = "") -> Object:
    """The commonest values."""
    params = {"field": field, "size": size, "order": "desc", "orderBy": "1", "otherBucket": False}
    return {"type": "terms", "params": {**params, **({"customLabel": label} if label else {})}, "schema": schema}


# Whole, as Kibana saves them: it reads members such as the mode of a scale without asking whether they are there.
_CATEGORY: Object = {
    "id": "CategoryAxis-1",
    "type": "category",
    "position": "bottom",
    "show": True,
    "style": {},
    "scale": {"type": "linear"},
    "labels": {"show": True, "filter": True, "truncate": 100},
    "title": {},
}
_VALUE: Object = {
    "id": "ValueAxis-1",
    "name": "LeftAxis-1",
    "type": "value",
    "position": "left",
    "show": True,
    "style": {},
    "scale": {"type": "linear", "mode": "normal"},
    "labels": {"show": True, "rotate": 0, "filter": False, "truncate": 100},
    "title": {"text": "Count"},
}
_SERIES: Object = {
    "show": True,
    "type": "histogram",
    "mode": "stacked",
    "data": {"label": "Count", "id": "1"},
    "valueAxis": "ValueAxis-1",
    "drawLinesBetweenPoints": True,
    "lineWidth": 2,
    "showCircles": True,
}
_AXES: Object = {
    "grid": {"categoryLines": False},
    "categoryAxes": [_CATEGORY],
    "valueAxes": [_VALUE],
    "seriesParams": [_SERIES],
    "addTooltip": True,
    "addLegend": True,
    "legendPosition": "right",
    "times": [],
    "addTimeMarker": False,
    "labels": {"show": False},
    "thresholdLine": {"show": False, "value": 10, "width": 1, "style": "full", "color": "#E7664C"},
}
_TABLE: Object = {"perPage": 10, "showPartialRows": False, "showTotal": False}
_PIE: Object = {"isDonut": True, "addTooltip": True, "addLegend": True, "legendPosition": "right"}


def visualisations() -> list[Object]:
    """All of them, in the order in which the dashboard has them."""
    bars, table, pie, number = "histogram", "table", "pie", "metric"
    group = "group"
    rows = "bucket"
    return [
        visualisation("jianmen-vis-alert-count", "告警数 Alerts", number, ALERTS, [count()], {}),
        visualisation(
            "jianmen-vis-alerts-time",
            "告警级别趋势 Alerts by level over time",
            bars,
            ALERTS,
            [count(), over_time(), top("rule.level", 5, group)],
            _AXES,
        ),
        visualisation(
            "jianmen-vis-alert-rules",
            "规则命中 Rules that alert",
            table,
            ALERTS,
            [
                count(),
                top("rule.name_zh", 20, rows, "规则"),
                top("rule.name", 1, rows, "Rule"),
                top("rule.level", 1, rows, "级别 Level"),
            ],
            _TABLE,
        ),
        visualisation(
            "jianmen-vis-techniques",
            "ATT&CK 技术 Techniques",
            table,
            ALERTS,
            [count(), top("threat.tactic.name", 15, rows), top("threat.technique.id", 5, rows)],
            _TABLE,
        ),
        visualisation(
            "jianmen-vis-alert-sources",
            "告警源与目标 Sources and targets of alerts",
            table,
            ALERTS,
            [count(), top("source.ip", 15, rows, "源 Source"), top("destination.ip", 5, rows, "目标 Target")],
            _TABLE,
        ),
        visualisation(
            "jianmen-vis-events-time",
            "各数据集记录趋势 Events by dataset over time",
            bars,
            EVENTS,
            [count(), over_time(), top("event.dataset", 15, group)],
            _AXES,
        ),
        visualisation(
            "jianmen-vis-protocols", "协议 Protocols", pie, EVENTS, [count(), top("network.protocol", 10)], _PIE
        ),
        visualisation(
            "jianmen-vis-actions",
            "工控操作 Operations on control systems",
            table,
            EVENTS,
            [
                count(),
                top("network.protocol", 6, rows, "协议 Protocol"),
                top("event.action", 10, rows, "操作 Action"),
                top("event.outcome", 3, rows, "结果 Outcome"),
            ],
            _TABLE,
        ),
        visualisation(
            "jianmen-vis-anomalies",
            "解码异常 Decoder anomalies",
            table,
            EVENTS,
            [count(), top("event.dataset", 10, rows), top("error.code", 10, rows)],
            _TABLE,
        ),
    ]


def search() -> Object:
    """The alerts as a list."""
    source, references = _source(ALERTS)
    return {
        "id": "jianmen-search-alerts",
        "type": "search",
        "attributes": {
            "title": "告警清单 Alerts",
            "description": "",
            "columns": ["rule.level", "rule.name_zh", "rule.name", "source.ip", "destination.ip", "alert.event_count"],
            "sort": [["@timestamp", "desc"]],
            "grid": {},
            "hideChart": False,
            "kibanaSavedObjectMeta": {"searchSourceJSON": source},
        },
        "references": references,
    }


def dashboard(panels: list[Object]) -> Object:
    """One dashboard: the first number narrow, the trends wide, tables side by side."""
    places = [(0, 0, 8, 10), (8, 0, 40, 10), (0, 10, 24, 14), (24, 10, 24, 14), (0, 24, 24, 14), (24, 24, 24, 14)]
    places += [(0, 38, 16, 14), (16, 38, 16, 14), (32, 38, 16, 14), (0, 52, 48, 16)]
    shown, references = [], []
    for number, (panel, (x, y, width, height)) in enumerate(zip(panels, places, strict=True), 1):
        name = f"panel_{number}"
        shown.append(
            {
                "type": panel["type"],
                "gridData": {"x": x, "y": y, "w": width, "h": height, "i": str(number)},
                "panelIndex": str(number),
                "embeddableConfig": {"enhancements": {}},
                "panelRefName": name,
            }
        )
        references.append({"name": f"{number}:{name}", "type": panel["type"], "id": panel["id"]})
    return {
        "id": "jianmen-overview",
        "type": "dashboard",
        "attributes": {
            "title": "剑门总览 Jianmen overview",
            "description": "告警、事件与协议 Alerts, events and protocols",
            "panelsJSON": _text(shown),
            "optionsJSON": _text({"useMargins": True, "syncColors": True, "hidePanelTitles": False}),
            "timeRestore": True,
            "timeFrom": "now-7d",
            "timeTo": "now",
            "refreshInterval": {"pause": True, "value": 60_000},
            "version": 1,
            "kibanaSavedObjectMeta": {
                "searchSourceJSON": _text({"query": {"query": "", "language": "kuery"}, "filter": []})
            },
        },
        "references": references,
    }


def objects() -> list[Object]:
    """All saved objects, those that others refer to first."""
    meanings = {name: FIELDS[name].meaning for name in FIELDS}
    views = [
        data_view(EVENTS, NAMES.events, "剑门记录 Jianmen events", "@timestamp", meanings),
        data_view(ALERTS, NAMES.pattern("jianmen.alert"), "剑门告警 Jianmen alerts", "@timestamp", meanings),
        data_view(INCIDENTS, NAMES.incidents, "剑门事件 Jianmen incidents", "last_seen", {}),
    ]
    for dataset, meaning in DATASETS.items():
        if dataset not in ("jianmen.alert", "jianmen.input"):
            title = f"剑门 {dataset} Jianmen {dataset}: {meaning}"[:120]
            views.append(data_view(f"jianmen-{dataset}", NAMES.pattern(dataset), title, "@timestamp", {}))
    charts = visualisations()
    listed = search()
    return [*views, *charts, listed, dashboard([*charts, listed])]


def ndjson() -> str:
    """The file."""
    made = [
        {**one, "managed": False, "coreMigrationVersion": "8.8.0", "typeMigrationVersion": _VERSIONS[one["type"]]}
        for one in objects()
    ]
    return "".join(_text(one) + "\n" for one in made)


def main() -> int:
    """Write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    wanted = ndjson()
    if parser.parse_args().check:
        same = OUT.is_file() and OUT.read_text("utf-8") == wanted
        if not same:
            sys.stderr.write(f"{OUT} is not up to date: run deploy/generate.py\n")
        return 0 if same else 1
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(wanted, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
