"""Events in Elasticsearch: the store of record beyond one machine. ``ElasticStore`` is the door."""

from store.elastic.coarse import coarse
from store.elastic.store import ElasticStore

__all__ = ["ElasticStore", "coarse"]
