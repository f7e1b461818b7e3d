"""The store, in rooms: intake, jobs, results, alerts, deliveries, peers, requeue, retention, reading."""

from db.store.failing_units import FailingUnits
from db.store.store import Store

__all__ = ["FailingUnits", "Store"]
