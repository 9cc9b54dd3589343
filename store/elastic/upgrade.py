"""Brings indices of an older template to the present one, by reading and writing their documents.

Most changes of the catalogue add fields. Then an index takes the new mapping as it is and its documents are written
again under their own ids, each only if nobody changed it meanwhile; readers and writers notice nothing. Where the
mapping of a field changed its type, the index is copied beside, deleted, and filled again: writes to it are refused
for that time (a forwarder waits), and while it is filled again readers miss some of its events.

Killed at any point it is begun again and goes on: an index carries the new mark only when all of it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import orjson

from event.errors import StoreError
from store.elastic.client import NDJSON, Client, part
from store.elastic.names import Names

PAGE = 5_000
"""Documents of a request."""
PAGE_BYTES = 16 << 20
_KEEP = "10m"
_COPIED = "copied"
_FILTER = "errors,items.*.status,items.*.error.type,items.*.error.reason"

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What became of an index.

    Attributes:
        index: Its name.
        documents: Documents written.
        rewritten: Whether it had to be copied beside and filled again.
    """

    index: str
    documents: int
    rewritten: bool


def outdated(client: Client, names: Names) -> list[str]:
    """Indices whose mapping is not the installed template's, and those that an upgrade left half done."""
    return sorted(_outdated(client, names))


def upgrade(client: Client, names: Names, *, progress: Progress = lambda index, documents: None) -> list[Upgraded]:
    """Bring all indices to the installed templates.

    Args:
        client: An account that may manage the indices.
        names: Whose.
        progress: Called with an index and how many of its documents were written.

    Raises:
        StoreError: The cluster cannot be reached or refuses; what was done stays done.
    """
    half_done = {str(meta["from"]) for meta in _marks(client, _moving(names)).values() if "from" in meta}
    done = []
    for index, wanted in sorted(_outdated(client, names).items()):
        if index not in half_done and _takes(client, index, wanted):
            count = _write_again(client, index, progress)
            client.ask("PUT", f"/{part(index)}/_mapping", {"_meta": wanted["mappings"]["_meta"]})
            done.append(Upgraded(index, count, rewritten=False))
        else:
            done.append(Upgraded(index, _rewrite(client, names, index, wanted, progress), rewritten=True))
    return done


def _outdated(client: Client, names: Names) -> dict[str, dict[str, Any]]:
    """Indices to work on, each with the settings and mappings that it should have."""
    found = client.ask("GET", f"/_index_template/{names.prefix}-*").json()["index_templates"]
    half_done = {str(meta["from"]) for meta in _marks(client, _moving(names)).values() if "from" in meta}
    old: dict[str, dict[str, Any]] = {}
    for one in found:
        wanted = one["index_template"]["template"]
        digest = wanted["mappings"].get("_meta", {}).get("digest")
        for pattern in one["index_template"]["index_patterns"]:
            there = _marks(client, pattern)
            ours = {index for index, meta in there.items() if meta.get("digest") != digest}
            ours |= {index for index in half_done if fnmatchcase(index, pattern)}
            old.update(dict.fromkeys(ours, wanted))
    return old


def _moving(names: Names) -> str:
    return f"{names.prefix}-moving-*"


def _marks(client: Client, pattern: str) -> dict[str, dict[str, Any]]:
    """``_meta`` of the mappings, by index; an index without one is there too."""
    lenient = {"ignore_unavailable": "true", "allow_no_indices": "true", "expand_wildcards": "open"}
    path = {"filter_path": "*.settings.index.uuid", **lenient}
    there = client.ask("GET", f"/{pattern}/_settings", params=path).json() or {}
    path = {"filter_path": "*.mappings._meta", **lenient}
    found = client.ask("GET", f"/{pattern}/_mapping", params=path).json() or {}
    return {name: found.get(name, {}).get("mappings", {}).get("_meta", {}) for name in there}


def _takes(client: Client, index: str, wanted: dict[str, Any]) -> bool:
    """Give an index the new fields; whether it can have all of them."""
    answer = client.ask(
        "PUT", f"/{part(index)}/_mapping", {"properties": wanted["mappings"]["properties"]}, good=(400,)
    )
    return answer.status != 400


def _pages(client: Client, index: str) -> Generator[list[dict[str, Any]], None, None]:
    """All documents of an index as they are, with their place in its history."""
    client.ask("POST", f"/{part(index)}/_refresh")
    pit = str(client.ask("POST", f"/{part(index)}/_pit", params={"keep_alive": _KEEP}).json()["id"])
    after: list[Any] | None = None
    try:
        while True:
            body: dict[str, Any] = {
                "size": PAGE,
                "pit": {"id": pit, "keep_alive": _KEEP},
                "sort": [{"_shard_doc": "asc"}],
                "seq_no_primary_term": True,
                "track_total_hits": False,
            }
            if after is not None:
                body["search_after"] = after
            answer = client.ask("POST", "/_search", body, params={"allow_partial_search_results": "false"}).json()
            hits: list[dict[str, Any]] = answer["hits"]["hits"]
            if not hits:
                return
            yield hits
            pit, after = str(answer.get("pit_id", pit)), hits[-1]["sort"]
    finally:
        client.ask("DELETE", "/_pit", {"id": pit}, good=(400, 404))


def _write_again(client: Client, index: str, progress: Progress) -> int:
    count = 0
    with closing(_pages(client, index)) as pages:
        for hits in pages:
            # 409: somebody wrote it meanwhile, under the new mapping
            _bulk(client, index, [({"index": _unchanged(hit)}, hit["_source"]) for hit in hits])
            count += len(hits)
            progress(index, count)
    client.ask("POST", f"/{part(index)}/_refresh")
    return count


def _unchanged(hit: dict[str, Any]) -> dict[str, Any]:
    return {"_id": hit["_id"], "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}


def _rewrite(client: Client, names: Names, index: str, wanted: dict[str, Any], progress: Progress) -> int:
    beside = index.replace(f"{names.prefix}-", f"{names.prefix}-moving-", 1)
    meta = wanted["mappings"]["_meta"]
    state = _marks(client, beside).get(beside)
    if state is None:
        client.ask(
            "PUT",
            f"/{part(beside)}",
            {**wanted, "mappings": {**wanted["mappings"], "_meta": {**meta, "from": index}}},
        )
        state = {}
    if state.get("phase") != _COPIED:
        client.ask("PUT", f"/{part(index)}/_settings", {"index.blocks.write": True})
        _copy(client, index, beside, lambda *_: None)
        have, copied = _count(client, index), _count(client, beside)
        if have != copied:
            raise StoreError(f"{copied} of {have} documents were copied", where=beside, hint="run store migrate again")
        client.ask("PUT", f"/{part(beside)}/_mapping", {"_meta": {**meta, "from": index, "phase": _COPIED}})
    old = _marks(client, index).get(index)
    if old is not None and old.get("digest") != meta["digest"]:
        client.ask("DELETE", f"/{part(index)}")
    count = _copy(client, beside, index, progress)  # the template makes it anew
    if _count(client, index) < count:
        raise StoreError(f"not all of {count} documents came back", where=index, hint="run store migrate again")
    client.ask("DELETE", f"/{part(beside)}")
    return count


def _copy(client: Client, source: str, target: str, progress: Progress) -> int:
    count = 0
    with closing(_pages(client, source)) as pages:
        for hits in pages:
            _bulk(client, target, [({"create": {"_id": hit["_id"]}}, hit["_source"]) for hit in hits])
            count += len(hits)
            progress(target, count)
    return count


def _bulk(client: Client, index: str, documents: list[tuple[dict[str, Any], Any]]) -> None:
    """Send documents; one that is there already, or was changed meanwhile, is as good as written.

    Raises:
        StoreError: One of the others was not written.
    """
    body = b"".join(orjson.dumps(action) + b"\n" + orjson.dumps(source) + b"\n" for action, source in documents)
    if len(body) > PAGE_BYTES and len(documents) > 1:
        half = len(documents) // 2
        _bulk(client, index, documents[:half])
        _bulk(client, index, documents[half:])
        return
    answer = client.ask("POST", f"/{part(index)}/_bulk", body, params={"filter_path": _FILTER}, kind=NDJSON).json()
    if answer.get("errors"):
        for item in answer["items"]:
            (result,) = item.values()
            if result["status"] >= 300 and result["status"] != 409:
                error = result.get("error", {})
                raise StoreError(
                    f"a document was refused: {error.get('type')}: {error.get('reason')}",
                    where=index,
                    hint="what was written stays; run store migrate again",
                )


def _count(client: Client, index: str) -> int:
    client.ask("POST", f"/{part(index)}/_refresh")
    return int(client.ask("GET", f"/{part(index)}/_count").json()["count"])
