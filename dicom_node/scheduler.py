"""The scheduler: everything that a node looks at, at intervals, by the one scheduler that leads."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from db import Store, Stream
from dicom_node.commitment import Reporter
from dicom_node.completion.pacs_counts import PacsCounts
from dicom_node.completion.refetch import Refetch
from dicom_node.completion.triage import Triage
from dicom_node.completion.versions import ResentVersions
from dicom_node.delivery.audit_trail import AuditTrail
from dicom_node.delivery.escalation import Escalation
from dicom_node.delivery.sender import Sender
from dicom_node.failing_units import FailingUnits
from dicom_node.network.tls import CertificateFolder, warn_of_expiry
from dicom_node.settings import Settings
from dicom_node.storage.disk_space import DiskSpace
from dicom_node.storage.history import History
from dicom_node.storage.retention import Retention
from dicom_node.storage.unreferred import Unreferred
from dicom_node.sweep import Sweep, Unit
from dicom_node.sweeps import Sweeps
from dicom_node.work.leases import Leases

__all__ = ["Services", "node_sweeps", "run_scheduler"]

LEASES_EVERY_S = 2.0
CORRECTIONS_EVERY_S = 10.0
CERTIFICATES_EVERY_S = 86_400.0
SAMPLE_EVERY_S = 86_400.0
COMMITMENT_LANES = 16
"""Peers that are answered at once; a silent one holds its lane for some minutes at most."""
DISK_EVERY_S = 30.0
UNREFERRED_EVERY_S = 60.0
"""All 256 folders of results in a little more than four hours."""
COUNTS_EVERY_S = 10.0
ESCALATION_EVERY_S = 10.0
AUDIT_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What looks, and what does what was found; ``sample`` verifies some of the archive."""

    versions: ResentVersions
    triage: Triage
    counts: PacsCounts
    refetch: Refetch
    leases: Leases
    sender: Sender
    escalation: Escalation
    audit: AuditTrail
    reporter: Reporter
    disk: DiskSpace
    sample: Callable[[], object]
    unreferred: Unreferred
    history: History
    retention: Retention
    certificates: CertificateFolder | None


def run_scheduler(
    store: Store, sweeps: Sequence[Sweep], stop: threading.Event, ready: Callable[[], None] | None = None
) -> None:
    """Sweep until ``stop`` is set; ``ready`` is called before the first look."""
    running = Sweeps(sweeps, leads=store.leads, failing=FailingUnits(store.failing_units))
    if ready:
        ready()
    running.run(stop)


def node_sweeps(settings: Settings, services: Services) -> tuple[Sweep, ...]:
    """Everything that a node looks at, as often as the settings say.

    Completion, screening, lapsed leases, deliveries, commitments, retention.
    """
    return (
        Sweep(name="versions", every_s=settings.completion.sweep_s, units=services.versions.units),
        Sweep(name="completion", every_s=settings.completion.sweep_s, units=services.triage.completions),
        Sweep(name="pacs", every_s=settings.completion.sweep_s, units=services.counts.units),
        Sweep(name="refetch", every_s=settings.completion.sweep_s, units=services.refetch.units),
        Sweep(name="screening", every_s=settings.completion.sweep_s, units=services.triage.screenings),
        Sweep(name="leases", every_s=LEASES_EVERY_S, units=services.leases.lapses),
        Sweep(name="corrections", every_s=CORRECTIONS_EVERY_S, units=services.leases.corrections),
        Sweep(
            name="deliveries",
            every_s=settings.delivery.sweep_s,
            units=services.sender.units,
            lanes=len(settings.destinations) + 1,  # one for what waits for destinations that are no longer set
        ),
        Sweep(name="audit", every_s=AUDIT_EVERY_S, units=services.audit.units, lanes=len(Stream)),
        Sweep(name="escalation", every_s=ESCALATION_EVERY_S, units=services.escalation.units),
        Sweep(
            name="commitments",
            every_s=settings.commitment.sweep_s,
            units=services.reporter.units,
            lanes=COMMITMENT_LANES,
        ),
        Sweep(
            name="certificates",
            every_s=CERTIFICATES_EVERY_S,
            units=lambda: _expiring(services.certificates, settings.tls.warn_days),
            at_start=True,
        ),
        Sweep(name="disk", every_s=DISK_EVERY_S, units=services.disk.looks, at_start=True),
        Sweep(
            name="sample",
            every_s=SAMPLE_EVERY_S,
            units=lambda: [Unit(identity="sample", run=services.sample)],
            at_start=True,
        ),
        Sweep(
            name="unreferred files",
            every_s=UNREFERRED_EVERY_S,
            units=services.unreferred.units,
        ),
        Sweep(name="counts", every_s=COUNTS_EVERY_S, units=services.history.counts),
        Sweep(name="history", every_s=settings.retention.sweep_s, units=services.history.removals),
        Sweep(name="retention", every_s=settings.retention.sweep_s, units=services.retention.removals),
    )


def _expiring(folder: CertificateFolder | None, warn_days: float) -> list[Unit]:
    """One look for certificates that are about to end, where there is TLS."""
    if folder is None:
        return []
    return [Unit(identity="certificates", run=partial(warn_of_expiry, folder, within_days=warn_days))]
