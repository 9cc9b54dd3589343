"""Keeps events, checkpoints and incidents. Above this room only ``store.base.Store`` is visible."""

STORES = {
    "embedded": "store.embedded:EmbeddedStore",
    "elastic": "store.elastic:ElasticStore",
}

__all__ = ["STORES"]
