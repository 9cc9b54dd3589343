"""Keeps events, checkpoints and incidents. Above this room only ``store.base.Store`` is visible."""

STORES = {
    "embedded": "store.embedded:EmbeddedStore",
}

__all__ = ["STORES"]
