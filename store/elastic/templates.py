"""Index templates out of the field catalogue.

``dynamic`` is false: what the catalogue does not know is kept in the document and not indexed, so no log can make a
mapping grow. What log sources say beyond the catalogue (``zeek.fields``, ``suricata.fields``) is searchable by key and
value in the flattened field ``rest``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from event.ecs import mapping
from event.errors import StoreError
from event.fields import FIELDS
from store.elastic.client import Client
from store.elastic.names import Names

VERSION = 1
"""Of the documents' form. A change that old indices do not have needs ``store migrate``."""
TIME = "jianmen.time"
"""``@timestamp`` in nanoseconds since the epoch: exact, for any year, the order of reading."""
REST = "rest"
NONFINITE = "jianmen.nonfinite"
"""Numbers that JSON lacks (NaN, infinities), by column, as text."""
ODD = "jianmen.odd"
"""Whether there are any of them."""
RESULT_WINDOW = 50_000
"""Hits of one answer at most."""


def properties(*, wildcard: bool) -> dict[str, Any]:
    """Fields of an event document."""
    found = mapping(FIELDS.values(), wildcard=wildcard)
    found["jianmen"] = {
        "properties": {**found.get("jianmen", {}).get("properties", {}), "time": {"type": "long"}}
        | {"nonfinite": {"type": "object", "enabled": False}, "odd": {"type": "boolean"}}
    }
    found[REST] = {"type": "flattened", "ignore_above": 1_024, "depth_limit": 20}
    return found


def templates(names: Names, *, wildcard: bool, settings: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Index templates by name.

    Args:
        names: Prefix of all of them.
        wildcard: The cluster has the ``wildcard`` type.
        settings: Index settings beside ours or in their place.
    """
    common = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
    kept = {"type": "keyword", "index": False, "doc_values": False}

    def template(patterns: list[str], fields: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        mappings = {"dynamic": False, "date_detection": False, "numeric_detection": False, "properties": fields}
        digest = hashlib.sha256(json.dumps(mappings, sort_keys=True).encode()).hexdigest()[:16]
        mappings["_meta"] = {"written_by": "jianmen", "version": VERSION, "digest": digest}
        return {
            "index_patterns": patterns,
            "priority": 500,
            "version": VERSION,
            "_meta": {"written_by": "jianmen", "digest": digest},
            "template": {"settings": {"index": {**common, **more}}, "mappings": mappings},
        }

    incident = {
        "id": {"type": "keyword"},
        "version": {"type": "long"},
        "status": {"type": "keyword"},
        "level": {"type": "keyword"},
        "title_zh": {"type": "text"},
        "title_en": {"type": "text"},
        "first_seen": {"type": "date"},
        "last_seen": {"type": "date"},
        "last_seen_ns": {"type": "long"},
        "body": kept,
    }
    events = {"refresh_interval": "5s", "max_result_window": RESULT_WINDOW, **(settings or {})}
    return {
        f"{names.prefix}-events": template([names.events], properties(wildcard=wildcard), events),
        f"{names.prefix}-incidents": template([names.incidents, names.versions], incident, {}),
        f"{names.prefix}-state": template(
            [names.state], {"name": kept, "time": {"type": "date"}, "value": {"type": "object", "enabled": False}}, {}
        ),
    }


def install(client: Client, names: Names, *, settings: dict[str, Any] | None = None) -> bool:
    """See that the templates are there and of this program's making.

    An account that may not look at templates trusts that they are there; one that may not write them is told to.

    Returns:
        Whether something was written.

    Raises:
        StoreError: They are missing or old and this account may not write them, or they are newer than this program.
    """
    found = client.ask("GET", f"/_index_template/{names.prefix}-*", good=(403, 404))
    if found.status == 403:
        return False
    present: dict[str, dict[str, Any]] = {}
    if found.status == 200:
        present = {one["name"]: one["index_template"] for one in found.json()["index_templates"]}
    newest = max((int(one.get("version") or 0) for one in present.values()), default=0)
    if newest > VERSION:
        raise StoreError(
            f"the cluster holds documents of version {newest}, this program knows {VERSION} at most",
            where=client.where,
            hint="install the version of jianmen that wrote them, or a later one",
        )
    wanted = _either(names, settings)
    digests = {name: one.get("_meta", {}).get("digest") for name, one in present.items()}
    if any({name: one["_meta"]["digest"] for name, one in form.items()}.items() <= digests.items() for form in wanted):
        return False
    for form in wanted:
        for name, one in form.items():
            answer = client.ask("PUT", f"/_index_template/{name}", one, good=(400, 403))
            if answer.status == 403:
                raise StoreError(
                    "the index templates are missing or old, and this account may not write them",
                    where=client.where,
                    hint="let an administrator's account open the store once: jianmen store status",
                )
            if answer.status == 400:
                if form is wanted[-1] or b"wildcard" not in answer.body:
                    raise client.refused(answer)
                break  # a distribution without the wildcard type
        else:
            break
    return True


def _either(names: Names, settings: dict[str, Any] | None) -> list[dict[str, dict[str, Any]]]:
    return [templates(names, wildcard=wildcard, settings=settings) for wildcard in (True, False)]
