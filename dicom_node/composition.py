"""The composition root: what each role runs with, every service given its section of the settings.

What a role has no use for is not loaded: the imports stand where something is built.
"""

from __future__ import annotations

import os
import secrets
import socket
from functools import partial
from typing import TYPE_CHECKING

from dicom_node.settings import (
    Destination,
    DicomDestination,
    Hl7Destination,
    MailDestination,
    Settings,
    StowDestination,
    SyslogDestination,
    WebhookDestination,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from analysis.pipeline import AnalysedSeries, ExcludedSeries
    from analysis.series import Series
    from db import ModelAssignment, Store
    from dicom_node.delivery import Channel
    from dicom_node.network.protocol import MessageService
    from dicom_node.peers.addresses import AddressBook
    from dicom_node.receiver.services import Services
    from dicom_node.sweep import Sweep
    from dicom_node.work.shadow import AnalyseInShadow
    from dicom_node.work.worker import Analyse, Worker

__all__ = ["build_worker", "delivery_channels", "node_sweeps", "receiver_services", "worker_with"]

SAMPLED = 64
"""Instances that are verified at the start and each day: some 32 MB of CT slices."""


def receiver_services(settings: Settings, store: Store) -> Services:
    """What one process of the receiver serves with."""
    from dicom_node.commitment import CommitmentService
    from dicom_node.completion.mpps import PerformedStepService
    from dicom_node.network.contexts import PERFORMED_PROCEDURE_STEP, STORAGE_COMMITMENT_PUSH_MODEL
    from dicom_node.receiver.services import Services
    from dicom_node.storage.archive import Archive
    from dicom_node.storage.service import StorageService

    archive = Archive(settings.archive_dir)
    messages: dict[str, MessageService] = {}
    if settings.commitment.enabled:
        messages[STORAGE_COMMITMENT_PUSH_MODEL] = CommitmentService(
            settings=settings.commitment, store=store, archive=archive
        )
    if settings.completion.mpps:
        messages[PERFORMED_PROCEDURE_STEP] = PerformedStepService(store)
    storage = StorageService(
        settings=settings.receiver,
        node_ae_title=settings.node.ae_title,
        store=store,
        archive=archive,
        receiver_id=f"{socket.gethostname()}-{secrets.token_hex(8)}",
        index_is_shared=settings.receiver.processes > 1 and settings.database_url.startswith("sqlite"),
    )
    return Services(storage=storage, messages=messages)


def build_worker(settings: Settings) -> Worker:
    """The worker of this process, its models loaded once."""
    from analysis.pipeline import ExcludedSeries, analyse
    from analysis.series import screen_series
    from db import Store
    from dicom_node.work.models import ModelBench
    from dicom_node.work.publishing import quality_limits

    store = Store.open(settings.database_url)
    bench = ModelBench(settings.worker, settings.models_dir, store)
    bench.preload()
    limits = quality_limits(settings.quality)

    def analyse_with_active(series: Series, progress: Callable[[str], None]) -> AnalysedSeries | ExcludedSeries:
        volume, screening = screen_series(series)
        if screening.profile is None:
            return ExcludedSeries(screening=screening, seconds={})
        return analyse(volume, models=bench.active(screening.profile), limits=limits, progress=progress)

    def analyse_in_shadow(
        series: Series, model: ModelAssignment, progress: Callable[[str], None]
    ) -> AnalysedSeries | ExcludedSeries:
        return analyse(series, models=bench.shadow(model), limits=limits, progress=progress)

    return worker_with(settings, store, analyse_with_active, in_shadow=analyse_in_shadow)


def worker_with(
    settings: Settings,
    store: Store,
    analyse: Analyse,
    *,
    in_shadow: AnalyseInShadow | None = None,
    name: str | None = None,
    end_process: Callable[[int], object] = os._exit,
) -> Worker:
    """A worker that analyses so, and has a model in shadow analyse so, where it is given."""
    from dicom_node.work.publisher import Publisher
    from dicom_node.work.shadow import Shadow
    from dicom_node.work.worker import Worker

    publisher = Publisher(
        policy=settings.policy,
        destinations=settings.destinations,
        tell=settings.told("flagged"),
        delivery_attempts=settings.delivery.max_attempts,
        store=store,
        results_dir=settings.results_dir,
    )
    return Worker(
        settings=settings.worker,
        store=store,
        archive_dir=settings.archive_dir,
        analyse=analyse,
        publisher=publisher,
        shadow=None if in_shadow is None else Shadow(policy=settings.policy, store=store, analyse=in_shadow),
        name=name or f"{socket.gethostname()}-{os.getpid()}",
        end_process=end_process,
    )


def node_sweeps(settings: Settings, store: Store, channels: Mapping[str, Channel]) -> tuple[Sweep, ...]:
    """Everything that a node looks at; ``channels`` are by the names of the destinations."""
    from dicom_node import scheduler
    from dicom_node.commitment import Reporter
    from dicom_node.completion.pacs_counts import PacsCounts
    from dicom_node.completion.refetch import Refetch
    from dicom_node.completion.triage import Triage
    from dicom_node.completion.versions import ResentVersions
    from dicom_node.delivery.audit_message import Source
    from dicom_node.delivery.audit_trail import AuditTrail
    from dicom_node.delivery.escalation import Escalation
    from dicom_node.delivery.sender import Sender
    from dicom_node.network.tls import certificate_folder
    from dicom_node.peers.addresses import address_book
    from dicom_node.retrieval import archiving
    from dicom_node.storage.archive import Archive
    from dicom_node.storage.artefacts import ArtefactFolder
    from dicom_node.storage.disk_space import DiskSpace
    from dicom_node.storage.history import History
    from dicom_node.storage.retention import Retention
    from dicom_node.storage.unreferred import Unreferred
    from dicom_node.storage.verification import verify_sample
    from dicom_node.work.leases import Leases

    archive, book = Archive(settings.archive_dir), address_book(settings, store)
    counts = PacsCounts(settings=settings.completion, store=store, addresses=book)
    services = scheduler.Services(
        versions=ResentVersions(store=store, archive_dir=settings.archive_dir),
        triage=Triage(
            settings=settings.completion,
            max_attempts=settings.worker.max_attempts,
            archive_dir=settings.archive_dir,
            store=store,
            counts=counts,
        ),
        counts=counts,
        refetch=Refetch(
            settings=settings.completion,
            store=store,
            addresses=book,
            archiving=partial(archiving, settings.receiver, settings.node.ae_title, store, archive),
            max_instance_bytes=settings.receiver.max_instance_bytes,
        ),
        leases=Leases(lease_s=settings.worker.lease_s, delivery_lease_s=settings.delivery.lease_s, store=store),
        sender=Sender(
            settings=settings.delivery,
            destinations=settings.destinations,
            store=store,
            results_dir=settings.results_dir,
            worklist_url=settings.web.public_url,
            channels=channels,
        ),
        escalation=Escalation(store=store, tell=settings.told("flagged")),
        audit=AuditTrail(
            settings=settings.audit,
            store=store,
            source=Source(ae_title=settings.node.ae_title, host_name=socket.gethostname()),
            timeout_s=settings.delivery.timeout_s,
        ),
        reporter=Reporter(settings=settings.commitment, store=store, archive=archive, addresses=book),
        disk=DiskSpace(settings.archive_dir, watermark_bytes=settings.receiver.disk_watermark_bytes),
        sample=partial(verify_sample, store, archive, SAMPLED),
        unreferred=Unreferred(store=store, folder=ArtefactFolder(settings.results_dir)),
        history=History(settings=settings.retention, store=store),
        retention=Retention(settings=settings.retention, store=store, archive=archive),
        certificates=certificate_folder(settings.tls),
    )
    return scheduler.node_sweeps(settings, services)


def delivery_channels(settings: Settings, store: Store) -> dict[str, Channel]:
    """The channel of each destination of the settings, by its name."""
    from dicom_node.peers.addresses import address_book

    book = address_book(settings, store)
    return {one.name: _channel(one, settings, book) for one in settings.destinations}


def _channel(destination: Destination, settings: Settings, book: AddressBook) -> Channel:
    timeout_s = settings.delivery.timeout_s
    match destination:
        case DicomDestination(ae_title=title, host=host, port=port):
            from dicom_node.delivery import DicomChannel

            return DicomChannel(partial(book.remote, title, host=host, port=port, timeout_s=timeout_s))
        case StowDestination():
            from dicom_node.delivery.stow import StowChannel

            return StowChannel(destination, timeout_s=timeout_s)
        case MailDestination():
            from dicom_node.delivery.mail import MailChannel

            return MailChannel(destination, timeout_s=timeout_s)
        case WebhookDestination():
            from dicom_node.delivery.webhook import WebhookChannel

            return WebhookChannel(destination, timeout_s=timeout_s)
        case Hl7Destination():
            from dicom_node.delivery.hl7 import Hl7Channel

            return Hl7Channel(destination, sending=settings.node.ae_title, timeout_s=timeout_s)
        case SyslogDestination():
            from dicom_node.delivery.syslog import SyslogChannel

            return SyslogChannel(destination, host_name=socket.gethostname(), timeout_s=timeout_s)
