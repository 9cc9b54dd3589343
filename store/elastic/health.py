"""How a cluster is: what an operator looks at before anything else."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from store.elastic.client import Client
from store.elastic.names import Names


@dataclass(frozen=True, slots=True)
class Health:
    """A cluster and our indices in it.

    Attributes:
        color: ``green``, ``yellow`` (a replica is missing) or ``red`` (events cannot be read); empty if this account
            may not ask.
        nodes: Data nodes.
        unassigned: Shards of our indices that lie nowhere.
        indices: Our indices with events.
        bytes: Their size with replicas.
        rate: Documents that came in a second, over ``seconds``.
    """

    color: str
    nodes: int
    unassigned: int
    indices: int
    bytes: int
    rate: float


def health(
    client: Client, names: Names, *, seconds: float = 1.0, sleep: Callable[[float], None] = time.sleep
) -> Health:
    """Look at a cluster; the rate is what changed in the meantime.

    Raises:
        StoreError: The cluster cannot be reached.
    """
    before, indices, size = _written(client, names)
    began = time.monotonic()
    sleep(seconds)
    after, _, _ = _written(client, names)
    passed = time.monotonic() - began
    answer = client.ask("GET", f"/_cluster/health/{names.prefix}-*", params={"timeout": "1s"}, good=(403, 408))
    said = (answer.json() or {}) if answer.status != 403 else {}
    return Health(
        color=str(said.get("status", "")),
        nodes=int(said.get("number_of_data_nodes", 0)),
        unassigned=int(said.get("unassigned_shards", 0)),
        indices=indices,
        bytes=size,
        rate=max(0, after - before) / passed if passed else 0.0,
    )


def _written(client: Client, names: Names) -> tuple[int, int, int]:
    """Documents ever written into our indices since they were opened, the indices, and their size."""
    path = "_all.primaries.indexing.index_total,_all.total.store.size_in_bytes,indices.*.uuid"
    answer = client.ask("GET", f"/{names.events}/_stats/indexing,store", params={"filter_path": path}, good=(403,))
    said = (answer.json() or {}) if answer.status != 403 else {}
    everything = said.get("_all", {})
    return (
        int(everything.get("primaries", {}).get("indexing", {}).get("index_total", 0)),
        len(said.get("indices", {})),
        int(everything.get("total", {}).get("store", {}).get("size_in_bytes", 0)),
    )
