"""The scheduler: everything that a node looks at, at intervals, by the one scheduler that leads."""

import threading
from collections.abc import Callable, Mapping
from functools import partial

from db import Store
from dicom_node.commitment import Reporter
from dicom_node.completion.pacs_counts import PacsCounts
from dicom_node.completion.refetch import Refetch
from dicom_node.completion.triage import Triage
from dicom_node.delivery.channel import Channel
from dicom_node.delivery.escalation import Escalation
from dicom_node.delivery.sender import Sender
from dicom_node.failing_units import FailingUnits
from dicom_node.network.tls import certificate_folder, warn_of_expiry
from dicom_node.settings import Settings, Tls
from dicom_node.storage.archive import Archive
from dicom_node.storage.artefacts import ArtefactFolder
from dicom_node.storage.disk_space import DiskSpace
from dicom_node.storage.history import History
from dicom_node.storage.retention import Retention
from dicom_node.storage.unreferred import Unreferred
from dicom_node.storage.verification import verify_sample
from dicom_node.sweep import Sweep, Unit
from dicom_node.sweeps import Sweeps
from dicom_node.work.leases import Leases

__all__ = ["node_sweeps", "run_scheduler"]

LEASES_EVERY_S = 2.0
CORRECTIONS_EVERY_S = 10.0
CERTIFICATES_EVERY_S = 86_400.0
SAMPLE_EVERY_S = 86_400.0
SAMPLED = 64
"""Instances that are verified at the start and each day: some 32 MB of CT slices."""
COMMITMENT_LANES = 16
"""Peers that are answered at once; a silent one holds its lane for some minutes at most."""
DISK_EVERY_S = 30.0
UNREFERRED_EVERY_S = 60.0
"""All 256 folders of results in a little more than four hours."""
COUNTS_EVERY_S = 10.0
ESCALATION_EVERY_S = 10.0


def run_scheduler(
    settings: Settings,
    channels_of: Callable[[Settings, Store], Mapping[str, Channel]],
    stop: threading.Event,
    ready: Callable[[], None] | None = None,
) -> None:
    """Sweep as the settings say until ``stop`` is set; ``ready`` is called before the first look.

    ``channels_of`` gives the channels of the destinations, by their names.
    """
    with Store.open(settings.database_url) as store:
        failing = FailingUnits(store.failing_units)
        sweeps = Sweeps(node_sweeps(settings, store, channels_of(settings, store)), leads=store.leads, failing=failing)
        if ready:
            ready()
        sweeps.run(stop)


def node_sweeps(settings: Settings, store: Store, channels: Mapping[str, Channel]) -> tuple[Sweep, ...]:
    """Everything that a node looks at: completion, screening, lapsed leases, deliveries, commitments, retention.

    ``channels`` are by the names of the destinations.
    """
    counts = PacsCounts(settings=settings, store=store)
    refetch = Refetch(settings=settings, store=store)
    triage = Triage(settings=settings, store=store, counts=counts)
    sender = Sender(
        settings=settings.delivery,
        destinations=settings.destinations,
        store=store,
        results_dir=settings.results_dir,
        worklist_url=settings.web.public_url,
        channels=channels,
    )
    reporter = Reporter(settings=settings, store=store)
    archive = Archive(settings.archive_dir)
    retention = Retention(settings=settings.retention, store=store, archive=archive)
    history = History(settings=settings.retention, store=store)
    leases = Leases(settings=settings, store=store)
    return (
        Sweep(name="completion", every_s=settings.completion.sweep_s, units=triage.completions),
        Sweep(name="pacs", every_s=settings.completion.sweep_s, units=counts.units),
        Sweep(name="refetch", every_s=settings.completion.sweep_s, units=refetch.units),
        Sweep(name="screening", every_s=settings.completion.sweep_s, units=triage.screenings),
        Sweep(name="leases", every_s=LEASES_EVERY_S, units=leases.lapses),
        Sweep(name="corrections", every_s=CORRECTIONS_EVERY_S, units=leases.corrections),
        Sweep(
            name="deliveries",
            every_s=settings.delivery.sweep_s,
            units=sender.units,
            lanes=len(settings.destinations) + 1,  # one for what waits for destinations that are no longer set
        ),
        Sweep(
            name="escalation",
            every_s=ESCALATION_EVERY_S,
            units=Escalation(store=store, tell=settings.told("flagged")).units,
        ),
        Sweep(name="commitments", every_s=settings.commitment.sweep_s, units=reporter.units, lanes=COMMITMENT_LANES),
        Sweep(
            name="certificates",
            every_s=CERTIFICATES_EVERY_S,
            units=lambda: _expiring(settings.tls),
            at_start=True,
        ),
        Sweep(name="disk", every_s=DISK_EVERY_S, units=DiskSpace(settings).looks, at_start=True),
        Sweep(
            name="sample",
            every_s=SAMPLE_EVERY_S,
            units=lambda: [Unit(identity="sample", run=partial(verify_sample, store, archive, SAMPLED))],
            at_start=True,
        ),
        Sweep(
            name="unreferred files",
            every_s=UNREFERRED_EVERY_S,
            units=Unreferred(store=store, folder=ArtefactFolder(settings.results_dir)).units,
        ),
        Sweep(name="counts", every_s=COUNTS_EVERY_S, units=history.counts),
        Sweep(name="history", every_s=settings.retention.sweep_s, units=history.removals),
        Sweep(name="retention", every_s=settings.retention.sweep_s, units=retention.removals),
    )


def _expiring(tls: Tls) -> list[Unit]:
    """One look for certificates that are about to end, where there is TLS."""
    folder = certificate_folder(tls)
    if folder is None:
        return []
    return [Unit(identity="certificates", run=partial(warn_of_expiry, folder, within_days=tls.warn_days))]
