"""The store, by subject; :class:`~db.store.store.Store` joins them."""

from db.store.store import Store

__all__ = ["Store"]
