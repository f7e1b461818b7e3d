"""The store, in rooms: intake, jobs, results, alerts, deliveries, peers, requeue, retention, reading."""

from db.store.store import Store

__all__ = ["Store"]
