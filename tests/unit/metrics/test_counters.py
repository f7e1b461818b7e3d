"""Events are counted as the log has them; what takes a process's place goes on with its counters."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

from dicom_node.metrics import counters


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of counters, as the processes below a command have it."""
    monkeypatch.setenv(counters.FOLDER, str(tmp_path))
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda: "worker-0"))
    yield tmp_path
    for clean_up in values._multi_process_cleanups:
        clean_up()


def _told(folder: Path) -> str:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return generate_latest(registry).decode()


def test_events_are_counted_with_their_figures(shared: Path) -> None:
    """Seconds by step, failures by whether they may succeed, refusals by status, a failing database by its error."""
    count = counters.EventCounters()
    for event in (
        {"event": "series.analysed", "seconds": {"segment": 2.0, "measure": 0.2}},
        {"event": "job.failed", "transient": True, "cause": "DatabaseUnavailable: it cannot be reached"},
        {"event": "instance.refused", "status": "0xA900"},
        {"event": "delivery.sent", "destination": "PACS"},
        {"event": "something.else", "patient_id": "4711"},
    ):
        assert count(None, "info", event) is event
    told = _told(shared)
    for line in (
        'lungsentry_analysis_seconds_sum{step="segment"} 2.0',
        'lungsentry_job_failures_total{transient="true"} 1.0',
        'lungsentry_job_failures_total{transient="false"} 0.0',
        'lungsentry_instances_refused_total{status="0xA900"} 1.0',
        'lungsentry_deliveries_sent_total{destination="PACS"} 1.0',
        'lungsentry_database_errors_total{error="DatabaseUnavailable"} 1.0',
    ):
        assert line in told
    assert "4711" not in told


def test_a_process_that_is_started_again_goes_on(shared: Path) -> None:
    """It has the place of the one that ended, its file and its counts: there are as many files as processes at once."""
    counters.EventCounters()(None, "info", {"event": "job.lapsed"})
    values.ValueClass = values.MultiProcessValue(lambda: "worker-0")  # what a new interpreter begins with
    counters.EventCounters()(None, "info", {"event": "job.lapsed"})
    assert "lungsentry_jobs_lapsed_total 2.0" in _told(shared)
    assert counters._place(shared, "worker") == "worker-0"
    assert counters._place(shared, "worker") == "worker-1"
