"""Metrics for Prometheus, health and readiness, by one small HTTP server a command; off until it has a port.

The process of the command serves, those below it count: what they log is counted as it is logged. They share a folder
of counters (Prometheus's multi-process mode), and what is started again goes on where the one before it was.
"""

from dicom_node.metrics.counters import count_events
from dicom_node.metrics.server import Readiness, observed

__all__ = ["Readiness", "count_events", "observed"]
