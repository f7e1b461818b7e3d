"""Counters of what a process does: each counts an event of the log, whether or not that level is written."""

import fcntl
import os
from collections.abc import Callable, Mapping, MutableMapping
from itertools import count
from pathlib import Path
from typing import Any

import structlog

from dicom_node.settings import Metrics

__all__ = ["FOLDER", "EventCounters", "count_events"]

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which the processes below a command find the folder; its name is the library's."""
_STEP_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500)
_STORE_ERRORS = frozenset({"StoreError", "DatabaseUnavailable", "SchemaOutOfDate"})
_UNEXPECTED = "0xC000"
_STATUSES = ("0xA700", "0xA900", _UNEXPECTED, "0xC210")

_Event = Mapping[str, Any]


def count_events(settings: Metrics, role: str) -> None:
    """Count from now on what this process logs, where the settings give the metrics a port."""
    if settings.port is None or (folder := os.environ.get(FOLDER)) is None:
        return
    from prometheus_client import values

    name = _place(Path(folder), role)
    values.ValueClass = values.MultiProcessValue(lambda: name)
    structlog.configure(processors=[EventCounters(), *structlog.get_config()["processors"]])


def _place(folder: Path, role: str) -> str:
    """A name among the processes of the role that nobody else has while this process lives.

    The next process takes it, and goes on with its counters: there are never more files than processes at once.
    """
    for number in count():
        name = f"{role}-{number}"
        descriptor = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return name
    raise AssertionError


class EventCounters:
    """A processor of structlog: an event of the table is counted, and passed on as it is.

    Labels are names of the settings, of the program or of the Standard, never what a peer or an image says.
    """

    def __init__(self) -> None:
        from prometheus_client import Counter, Histogram

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"lungsentry_{name}", words, labels, registry=None)

        received = counter("instances_received", "Instances that were made durable.")
        received_bytes = counter("instance_bytes_received", "Bytes of these instances.")
        refused = counter("instances_refused", "Instances that were answered with a failure, by its status.", "status")
        associations = counter("associations", "Associations asked for, by what became of them.", "outcome")
        series = counter("series", "Series, by what happened to them.", "event")
        failures = counter("job_failures", "Attempts at jobs that failed, by whether another may succeed.", "transient")
        lapsed = counter("jobs_lapsed", "Jobs whose worker fell silent.")
        steps = Histogram(
            "lungsentry_analysis_seconds",
            "Seconds of an analysis, by its step.",
            ("step",),
            buckets=_STEP_SECONDS,
            registry=None,
        )
        sent = counter("deliveries_sent", "Deliveries that were confirmed, by destination.", "destination")
        unsent = counter("delivery_failures", "Attempts at deliveries that failed, by destination.", "destination")
        escalated = counter("alerts_escalated", "Alerts that nobody opened in time.")
        died = counter("processes_died", "Processes that ended and were started again.", "process")
        sweeps = counter("sweep_failures", "Looks and units of the scheduler's sweeps that failed.", "sweep")
        self._errors = counter("database_errors", "Events that a failing database led to, by its error.", "error")
        for status in _STATUSES:  # a counter that begins at its first event shows no increase then
            refused.labels(status)
        for outcome in ("accepted", "refused", "aborted"):
            associations.labels(outcome)
        for happened in ("completed", "excluded", "analysed"):
            series.labels(happened)
        for transient in ("true", "false"):
            failures.labels(transient)

        def store(event: _Event) -> None:
            received.inc()
            received_bytes.inc(event["bytes"])

        def analyse(event: _Event) -> None:
            series.labels("analysed").inc()
            for step, seconds in event["seconds"].items():
                steps.labels(step).observe(seconds)

        self._count: Mapping[str, Callable[[_Event], None]] = {
            "instance.stored": store,
            "instance.refused": lambda event: refused.labels(event["status"]).inc(),
            "instance.failed": lambda _: refused.labels(_UNEXPECTED).inc(),
            "association.accepted": lambda _: associations.labels("accepted").inc(),
            "association.refused": lambda _: associations.labels("refused").inc(),
            "association.aborted": lambda _: associations.labels("aborted").inc(),
            "series.completed": lambda _: series.labels("completed").inc(),
            "series.excluded": lambda _: series.labels("excluded").inc(),
            "series.analysed": analyse,
            "job.failed": lambda event: failures.labels(str(event["transient"]).lower()).inc(),
            "job.lapsed": lambda _: lapsed.inc(),
            "delivery.sent": lambda event: sent.labels(event["destination"]).inc(),
            "delivery.failed": lambda event: unsent.labels(event["destination"]).inc(),
            "alert.escalated": lambda _: escalated.inc(),
            "process.died": lambda event: died.labels(event["process"]).inc(),
            "sweep.failed": lambda event: sweeps.labels(event["sweep"]).inc(),
        }

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Count the event."""
        if (counted := self._count.get(str(event.get("event")))) is not None:
            counted(event)
        error = str(event.get("cause") or event.get("error") or "").partition(":")[0]
        if error in _STORE_ERRORS:
            self._errors.labels(error).inc()
        return event
