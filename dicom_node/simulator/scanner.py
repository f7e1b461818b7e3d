"""A scanner's side of DICOM: C-ECHO and C-STORE of files as they lie, with every reply reported.

A file travels in the transfer syntax it is stored in; nothing is decoded, and nothing is sent twice.
"""

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from pydicom.errors import InvalidDicomError
from pynetdicom import (
    AE,
    _config,  # pyright: ignore[reportPrivateUsage]
    evt,
)
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

from dicom_node.peers.reactor import held_reactor, is_open
from dicom_node.simulator.errors import (
    AssociationAbortedError,
    AssociationRejectedError,
    NothingToSendError,
    PeerUnreachableError,
)
from dicom_node.simulator.meta import with_whole_meta
from dicom_node.simulator.rejection import explain_rejection

DEFAULT_CALLING_AE_TITLE = "SIMSCANNER"
DEFAULT_CALLED_AE_TITLE = "LUNGSENTRY"
DEFAULT_MAX_PDU_BYTES = 131_072
DEFAULT_TIMEOUT_S = 60.0
_MAX_CONTEXTS = 128
_VERIFICATION_SOP_CLASS = "1.2.840.10008.1.1"
_SUCCESS = 0x0000
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000)})  # PS3.7 annex C
_STATUS_MEANINGS = (  # PS3.4 section B.2.3, and what the node means by them
    (0xA700, 0xA7FF, "out of resources: the node's disk is nearly full, or it is stopping"),
    (0xA900, 0xA9FF, "the dataset does not match its SOP class, or an identifier is missing"),
    (0xC000, 0xCFFF, "the node cannot understand the dataset"),
    (0x0122, 0x0122, "the SOP class is not supported"),
    (0x0124, 0x0124, "not authorised"),
)


class SendOutcome(StrEnum):
    """What became of one file."""

    STORED = "stored"
    REFUSED = "refused"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """One file: the peer's status (None where it never answered), why it was not stored, and how long it took."""

    path: Path
    sop_instance_uid: str | None
    outcome: SendOutcome
    status: int | None
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SendProgress:
    """How far a transfer has come, after the file it names."""

    done: int
    total: int
    latest: FileReport


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReport:
    """What became of every file, in the order in which they were given; ``seconds`` is wall time."""

    files: tuple[FileReport, ...]
    seconds: float
    bytes_sent: int

    @property
    def stored(self) -> tuple[FileReport, ...]:
        """The files that the peer has."""
        return tuple(file for file in self.files if file.outcome is SendOutcome.STORED)

    @property
    def not_stored(self) -> tuple[FileReport, ...]:
        """The files that the peer refused, or that never reached it."""
        return tuple(file for file in self.files if file.outcome is not SendOutcome.STORED)

    @property
    def ok(self) -> bool:
        """Whether every file was stored."""
        return not self.not_stored


@dataclass(frozen=True, slots=True, kw_only=True)
class EchoReport:
    """An answer to C-ECHO: its status, and the seconds for the association and for the echo alone."""

    status: int
    association_seconds: float
    echo_seconds: float

    @property
    def ok(self) -> bool:
        """Whether the peer answered with success."""
        return self.status == _SUCCESS


ProgressListener = Callable[[SendProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outgoing:
    index: int
    path: Path
    content: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peer:
    host: str
    port: int
    calling_ae_title: str
    called_ae_title: str
    max_pdu_bytes: int
    timeout_s: float


def echo(
    *,
    host: str,
    port: int,
    calling_ae_title: str = DEFAULT_CALLING_AE_TITLE,
    called_ae_title: str = DEFAULT_CALLED_AE_TITLE,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> EchoReport:
    """Ask a peer whether it is there.

    Raises:
        PeerUnreachableError, AssociationRejectedError, AssociationAbortedError: with what to do about it.
    """
    peer = _Peer(
        host=host,
        port=port,
        calling_ae_title=calling_ae_title,
        called_ae_title=called_ae_title,
        max_pdu_bytes=DEFAULT_MAX_PDU_BYTES,
        timeout_s=timeout_s,
    )
    started = time.perf_counter()
    association = _associate(peer, [build_context(_VERIFICATION_SOP_CLASS)])
    associated = time.perf_counter()
    try:
        if not association.accepted_contexts:
            raise AssociationRejectedError(f"{called_ae_title} at {host}:{port} does not offer verification (C-ECHO)")
        response = association.send_c_echo()
        answered = time.perf_counter()
        if "Status" not in response:
            raise AssociationAbortedError(f"{called_ae_title} at {host}:{port} ended the association without an answer")
        status = int(response.Status)
    finally:
        _end(association)
    return EchoReport(status=status, association_seconds=associated - started, echo_seconds=answered - associated)


def send_files(
    paths: Iterable[Path],
    *,
    host: str,
    port: int,
    calling_ae_title: str = DEFAULT_CALLING_AE_TITLE,
    called_ae_title: str = DEFAULT_CALLED_AE_TITLE,
    associations: int = 1,
    on_progress: ProgressListener | None = None,
    max_pdu_bytes: int = DEFAULT_MAX_PDU_BYTES,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> SendReport:
    """Send files by C-STORE and report on each; ``associations`` of them share the files evenly.

    A file that is not DICOM, that the peer refuses or whose transfer syntax it does not take is reported, not raised.
    ``on_progress`` is called after each file, one call at a time.

    Raises:
        NothingToSendError: no path is a DICOM file.
        PeerUnreachableError, AssociationRejectedError, AssociationAbortedError: no association came about at all.
    """
    started = time.perf_counter()
    peer = _Peer(
        host=host,
        port=port,
        calling_ae_title=calling_ae_title,
        called_ae_title=called_ae_title,
        max_pdu_bytes=max_pdu_bytes,
        timeout_s=timeout_s,
    )
    ordered = list(paths)
    with TemporaryDirectory(prefix="lungsentry-send-") as scratch:
        outgoing, reports = _look_at(ordered, Path(scratch))
        if not outgoing:
            raise NothingToSendError("there is no DICOM file (PS3.10) to send")
        _send_all(
            peer, outgoing, reports, _Tally(total=len(ordered), done=len(reports), listener=on_progress), associations
        )
    files = tuple(reports[index] for index in range(len(ordered)))
    stored = {file.path for file in files if file.outcome is SendOutcome.STORED}
    return SendReport(
        files=files,
        seconds=time.perf_counter() - started,
        bytes_sent=sum(file.size_bytes for file in outgoing if file.path in stored),
    )


def _send_all(
    peer: _Peer, outgoing: Sequence[_Outgoing], reports: dict[int, FileReport], tally: "_Tally", associations: int
) -> None:
    """Send the files over so many associations at once, and add what became of each to the reports."""
    _config.STORE_SEND_CHUNKED_DATASET = True  # send_c_store(path) then sends the file's own bytes
    shares = [outgoing[start::associations] for start in range(min(associations, len(outgoing)))]
    with ThreadPoolExecutor(max_workers=len(shares), thread_name_prefix="scanner") as pool:
        for sent in pool.map(lambda share: _send_share(peer, share, tally), shares):
            reports.update(sent)


class _Tally:
    """Counts files over all associations and tells the listener."""

    def __init__(self, *, total: int, done: int, listener: ProgressListener | None) -> None:
        self._total, self._done, self._listener, self._lock = total, done, listener, Lock()

    def tell(self, report: FileReport) -> None:
        with self._lock:
            self._done += 1
            if self._listener:
                self._listener(SendProgress(done=self._done, total=self._total, latest=report))


def _look_at(paths: Sequence[Path], scratch: Path) -> tuple[list[_Outgoing], dict[int, FileReport]]:
    """What the files say of themselves, and reports of those that cannot be sent."""
    outgoing: list[_Outgoing] = []
    refused: dict[int, FileReport] = {}
    for index, path in enumerate(paths):
        try:
            content, meta = with_whole_meta(path, scratch)
            outgoing.append(
                _Outgoing(
                    index=index,
                    path=path,
                    content=content,
                    sop_class_uid=str(meta.MediaStorageSOPClassUID),
                    sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
                    transfer_syntax_uid=str(meta.TransferSyntaxUID),
                    size_bytes=path.stat().st_size,
                )
            )
        except (InvalidDicomError, AttributeError):
            refused[index] = _not_sent(path, None, "not a DICOM file with its meta information (PS3.10)")
        except OSError as error:
            refused[index] = _not_sent(path, None, f"cannot be read: {error.strerror}")
    return outgoing, refused


def _send_share(peer: _Peer, files: Sequence[_Outgoing], tally: _Tally) -> dict[int, FileReport]:
    """Send the files over one association after another, each with no more contexts than one can hold."""
    reports: dict[int, FileReport] = {}
    for group, contexts in _in_contexts(files):
        association = _associate(peer, contexts)
        try:
            with held_reactor(association):
                for file in group:
                    reports[file.index] = _send_one(association, file)
                    tally.tell(reports[file.index])
        finally:
            _end(association)
    return reports


def _in_contexts(files: Sequence[_Outgoing]) -> list[tuple[list[_Outgoing], list[PresentationContext]]]:
    """Files in groups whose presentation contexts fit one association, one context a SOP class and syntax."""
    by_pair: dict[tuple[str, str], list[_Outgoing]] = {}
    for file in files:
        by_pair.setdefault((file.sop_class_uid, file.transfer_syntax_uid), []).append(file)
    pairs = list(by_pair)
    groups: list[tuple[list[_Outgoing], list[PresentationContext]]] = []
    for start in range(0, len(pairs), _MAX_CONTEXTS):
        chosen = pairs[start : start + _MAX_CONTEXTS]
        members = sorted((file for pair in chosen for file in by_pair[pair]), key=lambda file: file.index)
        groups.append((members, [build_context(sop_class, syntax) for sop_class, syntax in chosen]))
    return groups


def _send_one(association: Association, file: _Outgoing) -> FileReport:
    started = time.perf_counter()
    if not is_open(association):
        return _not_sent(file.path, file.sop_instance_uid, "the peer ended the association before this file")
    if not any(
        context.abstract_syntax == file.sop_class_uid and file.transfer_syntax_uid in context.transfer_syntax
        for context in association.accepted_contexts
    ):
        return _not_sent(
            file.path,
            file.sop_instance_uid,
            f"the peer does not take {file.sop_class_uid} in transfer syntax {file.transfer_syntax_uid}",
        )
    response = association.send_c_store(file.content)
    seconds = time.perf_counter() - started
    if "Status" not in response:
        return _not_sent(file.path, file.sop_instance_uid, "no reply: the association was aborted or timed out")
    status = int(response.Status)
    stored = status == _SUCCESS or status in _WARNINGS
    return FileReport(
        path=file.path,
        sop_instance_uid=file.sop_instance_uid,
        outcome=SendOutcome.STORED if stored else SendOutcome.REFUSED,
        status=status,
        reason="" if status == _SUCCESS else _explain(status, str(response.get("ErrorComment", ""))),
        seconds=seconds,
    )


def _not_sent(path: Path, sop_instance_uid: str | None, reason: str) -> FileReport:
    return FileReport(
        path=path,
        sop_instance_uid=sop_instance_uid,
        outcome=SendOutcome.NOT_SENT,
        status=None,
        reason=reason,
        seconds=0.0,
    )


def _explain(status: int, comment: str) -> str:
    meaning = next((text for low, high, text in _STATUS_MEANINGS if low <= status <= high), "")
    if status in _WARNINGS:
        meaning = "stored with a warning"
    return f"0x{status:04X}" + (f" {meaning}" if meaning else "") + (f" ({comment})" if comment else "")


def _associate(peer: _Peer, contexts: list[PresentationContext]) -> Association:
    where = f"{peer.called_ae_title} at {peer.host}:{peer.port}"
    entity = AE(ae_title=peer.calling_ae_title)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = peer.timeout_s
    try:
        address = socket.getaddrinfo(peer.host, peer.port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise PeerUnreachableError(
            f"the name {peer.host} is not known here ({error.strerror}); check the host"
        ) from error
    connected: list[bool] = []

    def on_connection(event: evt.Event) -> None:
        connected.append(True)
        transport = event.assoc.dul.socket
        if transport is not None and transport.socket is not None:
            transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    association = entity.associate(
        str(address),
        peer.port,
        contexts=contexts,
        ae_title=peer.called_ae_title,
        max_pdu=peer.max_pdu_bytes,
        evt_handlers=[(evt.EVT_CONN_OPEN, on_connection)],
    )
    if association.is_established or association.is_released:
        return association
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = (answer.reason_str if answer is not None else "") or ""
        raise AssociationRejectedError(
            explain_rejection(
                reason, where=where, calling_ae_title=peer.calling_ae_title, called_ae_title=peer.called_ae_title
            )
        )
    if not connected:
        raise PeerUnreachableError(
            f"nothing answers as {where}: check host and port, that the node runs (`lungsentry status` there) "
            "and that no firewall is in between"
        )
    if association.rejected_contexts and not association.accepted_contexts:
        raise AssociationRejectedError(f"{where} takes none of the SOP classes and transfer syntaxes of these files")
    raise AssociationAbortedError(f"{where} answered and ended the association before it stood; look in its log")


def _end(association: Association) -> None:
    if association.is_established:
        association.release()
