"""Incidents: the latest version in one index, every earlier one in another, changed by compare and swap.

A change first sees that the version it replaces is in the history, then replaces it under ``if_seq_no``. Whatever
happens in between, no version is lost and of two changes to one version only one succeeds.
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import ValidationError

from event.errors import StoreError
from event.incident import Incident
from store.catalogue import clamp_ns
from store.elastic.client import Client, part
from store.elastic.names import Names, document_id

_PAGE = 1_000
_LONGEST = 500  # characters of a prefix; the cluster takes no pattern of any length


def put(client: Client, names: Names, incident: Incident) -> None:
    """Store a version.

    Raises:
        StoreError: It does not follow on the version that is stored.
    """
    path = part(document_id(incident.id))
    found = client.ask("GET", f"/{names.incidents}/_doc/{path}", good=(404,)).json()
    stored = found["_source"] if found.get("found") else None
    version = int(stored["version"]) if stored else 0
    if version != incident.version - 1:
        raise _stale(client, incident, f"is stored in version {version}" if stored else "is not stored")
    params: dict[str, Any] = {"refresh": "true"}
    if stored:
        old = part(document_id(f"{incident.id}@{version}"))
        client.ask("PUT", f"/{names.versions}/_create/{old}", stored, good=(409,))
        params |= {"if_seq_no": found["_seq_no"], "if_primary_term": found["_primary_term"]}
    else:
        params["op_type"] = "create"
    answer = client.ask("PUT", f"/{names.incidents}/_doc/{path}", _document(incident), params=params, good=(409,))
    if answer.status == 409:
        raise _stale(client, incident, "was changed at this moment")


def get(client: Client, names: Names, incident_id: str, version: int | None) -> Incident | None:
    """One incident by id or unique prefix.

    Raises:
        StoreError: Several ids begin so, or the stored text is not an incident.
    """
    if not incident_id:
        return None
    found = client.ask("GET", f"/{names.incidents}/_doc/{part(document_id(incident_id))}", good=(404,)).json()
    if found.get("found"):
        source = found["_source"]
    elif len(incident_id) > _LONGEST:
        return None
    else:
        query = {"size": 6, "query": {"prefix": {"id": incident_id}}, "sort": [{"id": "asc"}]}
        hits = _search(client, names.incidents, query)
        if len(hits) > 1:
            shown = ", ".join(hit["_source"]["id"] for hit in hits[:5]) + (", ..." if len(hits) > 5 else "")
            raise StoreError(f"several incidents begin with {incident_id!r}", hint=f"they are: {shown}")
        if not hits:
            return None
        source = hits[0]["_source"]
    if version is None or version == source["version"]:
        return _load(client, source)
    old = part(document_id(f"{source['id']}@{version}"))
    earlier = client.ask("GET", f"/{names.versions}/_doc/{old}", good=(404,)).json()
    return _load(client, earlier["_source"]) if earlier.get("found") else None


def latest(client: Client, names: Names) -> list[Incident]:
    """The latest version of each, newest ``last_seen`` first, then by id."""
    query: dict[str, Any] = {"size": _PAGE, "sort": [{"last_seen_ns": "desc"}, {"id": "asc"}]}
    found: list[Incident] = []
    while True:
        hits = _search(client, names.incidents, query)
        found += [_load(client, hit["_source"]) for hit in hits]
        if len(hits) < _PAGE:
            return found
        query["search_after"] = hits[-1]["sort"]


def _search(client: Client, index: str, query: dict[str, Any]) -> list[dict[str, Any]]:
    params = {"ignore_unavailable": "true", "filter_path": "hits.hits"}
    answer = client.ask("POST", f"/{index}/_search", query, params=params).json() or {}
    hits: list[dict[str, Any]] = answer.get("hits", {}).get("hits", [])
    return hits


def _document(incident: Incident) -> bytes:
    return orjson.dumps(
        {
            "id": incident.id,
            "version": incident.version,
            "status": incident.status,
            "level": incident.level,
            "title_zh": incident.title_zh,
            "title_en": incident.title_en,
            "first_seen": incident.first_seen.isoformat(),
            "last_seen": incident.last_seen.isoformat(),
            "last_seen_ns": clamp_ns(incident.last_seen),
            "body": incident.model_dump_json(),
        }
    )


def _load(client: Client, source: dict[str, Any]) -> Incident:
    try:
        return Incident.model_validate_json(source["body"])
    except ValidationError as error:
        raise StoreError(
            f"incident {source.get('id')} cannot be read: {error.error_count()} fields do not fit",
            where=client.where,
            hint="it may have been written by another version of jianmen: use that one or a later one",
        ) from error


def _stale(client: Client, incident: Incident, found: str) -> StoreError:
    return StoreError(
        f"incident {incident.id} {found}, version {incident.version} does not follow",
        where=client.where,
        hint="somebody changed it meanwhile: read it again and repeat the change",
    )
