"""What is in the database, as metrics: asked for at every scrape, by the process that has the scheduler below it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from db import Figures, Store, StoreError

__all__ = ["Standing"]


class Standing(Collector):
    """Several schedulers tell the same: queries take the greatest of them."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing beforehand: the names depend on nothing, but registering must not ask the database."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures; whether the database answers where it does not."""
        try:
            with Store.open(self._database_url) as store:
                status, figures, late = store.status(), store.figures.read(), store.lateness.lately()
        except StoreError:
            yield _gauge("database_up", "Whether the database answers.", 0)
            return
        yield _gauge("database_up", "Whether the database answers.", 1)
        kinds = {
            "series": status.series,
            "jobs": status.jobs,
            "alerts": status.alerts,
            "deliveries": status.deliveries,
            "commitments": status.commitments,
        }
        for kind, states in kinds.items():
            yield _by("state", kind, f"How many {kind} stand in each state.", states)
        yield _gauge("dead_letters", "Jobs, deliveries and commitments that were given up.", status.dead_letters)
        yield _gauge("associations_open", "Open associations that brought instances.", status.open_associations)
        yield from _waiting(figures)
        if late is not None:
            quantiles = {"0.5": late.p50_s, "0.95": late.p95_s}
            words = "Seconds from the last image to the receipt of the result, of the last thousand objects."
            yield _by("quantile", "lateness_seconds", words, quantiles)


def _waiting(figures: Figures) -> Iterator[GaugeMetricFamily]:
    most = f"counted up to {figures.most}"
    yield _by("priority", "jobs_queued", f"Jobs that wait, by priority, {most}.", figures.jobs_queued)
    now = datetime.now(UTC)
    ages = {priority: (now - at).total_seconds() for priority, at in figures.first_in_line.items()}
    yield _by("priority", "queue_wait_seconds", "How long the job that is first in line has waited.", ages)
    deliveries = GaugeMetricFamily(
        "lungsentry_deliveries_unsent",
        f"Deliveries that wait, are on their way or were given up, {most} a state.",
        labels=("destination", "state"),
    )
    for labels, number in figures.deliveries.items():
        deliveries.add_metric(labels, number)
    yield deliveries
    alerts = GaugeMetricFamily(
        "lungsentry_alerts_undecided",
        f"Alerts that nobody has decided, by state and ACR category, {most} a state.",
        labels=("state", "category"),
    )
    for labels, number in figures.alerts.items():
        alerts.add_metric(labels, number)
    yield alerts


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lungsentry_{name}", words, value=value)


def _by(label: str, name: str, words: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"lungsentry_{name}", words, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family
