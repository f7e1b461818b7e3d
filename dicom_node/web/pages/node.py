"""How the node stands: processes, queue, disk, peers, refusals, certificates, destinations, dead letters."""

import ipaddress
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.responses import RedirectResponse, Response

from alerts.delivery import DeliveryState
from db import JobState, Peer
from dicom_node.delivery.standing import standings
from dicom_node.network.tls import CertificateFolder, TlsError
from dicom_node.web.errors import NotThere, Unusable
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit

__all__ = ["allow", "page", "remove", "shown"]

_MOST = 50
_ALIVE = timedelta(seconds=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Disk:
    free: int
    total: int
    watermark: int


def page(visit: Visit) -> Response:
    """Everything that an administrator looks at in the morning."""
    return shown(visit)


def shown(visit: Visit, *, told: str = "", failed: bool = False) -> Response:
    """The page, with what is to be told above it."""
    store, services = visit.store, visit.services
    status = store.status()
    jobs = store.jobs.list({JobState.FAILED}, _MOST)
    return render(
        visit,
        "node.html",
        told=told,
        failed=failed,
        stands=status,
        disk=_disk(visit),
        heartbeats=[(one, services.clock() - one.beat_at < _ALIVE) for one in store.heartbeats.list()],
        failing=store.failing_units.list(_MOST),
        peers=store.peers.list(),
        refusals=store.peers.refusals(_MOST),
        certificates=_certificates(visit),
        destinations=standings(visit.store, visit.services.destinations),
        dead_jobs=jobs,
        dead_deliveries=store.deliveries.list({DeliveryState.FAILED}, limit=_MOST),
    )


def allow(visit: Visit) -> Response:
    """Let a peer send that was refused, from the address it called from."""
    ae_title, address = visit.form.get("ae_title", ""), visit.form.get("address", "")
    refused = [
        one for one in visit.store.peers.refusals() if one.calling_ae_title == ae_title and one.address == address
    ]
    if not refused:
        raise NotThere("Nobody of this title was refused from there.")
    try:
        cidr = str(ipaddress.ip_network(address))
    except ValueError as error:
        raise Unusable("This is no address of a network.") from error
    visit.audit("peer allowed", ae_title, f"from {cidr}")
    visit.store.peers.allow(Peer(ae_title=ae_title, called_ae_title=None, cidr=cidr, host=None, port=None), visit.who)
    return RedirectResponse("/node", 303)


def remove(visit: Visit) -> Response:
    """Refuse a peer from now on."""
    ae_title = visit.form.get("ae_title", "")
    if not visit.store.peers.remove(ae_title, visit.who):
        raise NotThere("There is no such peer.")
    visit.audit("peer removed", ae_title)
    return RedirectResponse("/node", 303)


def _disk(visit: Visit) -> _Disk | None:
    folder = visit.services.archive_dir
    try:
        usage = shutil.disk_usage(folder if folder.exists() else folder.parent)
    except OSError:
        return None
    return _Disk(free=usage.free, total=usage.total, watermark=visit.services.disk_watermark_bytes)


def _certificates(visit: Visit) -> list[tuple[str, datetime]]:
    if visit.services.certificates is None:
        return []
    try:
        folder = CertificateFolder(visit.services.certificates)
        return [(one.name, one.not_after) for one in folder.certificates()]
    except TlsError:
        return []
