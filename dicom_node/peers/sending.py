"""Files sent by C-STORE as they lie, over as many associations as asked; what became of each is told."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config  # pyright: ignore[reportPrivateUsage]
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS, code_to_category

from dicom_node.peers.errors import NothingToSend
from dicom_node.peers.meta import with_whole_meta
from dicom_node.peers.reactor import is_open
from dicom_node.peers.remote import Remote
from dicom_node.peers.scu import associate

__all__ = ["Outcome", "Progress", "Report", "Sent", "send"]

_MAX_CONTEXTS = 128
_SUCCESS = 0x0000


class Outcome(StrEnum):
    """What became of one file."""

    STORED = "stored"
    REFUSED = "refused"
    NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One file: the peer's status (None where it never answered), why it was not stored, and how long it took."""

    path: Path
    sop_instance_uid: str | None
    outcome: Outcome
    status: int | None
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a transfer has come, after the file it names."""

    done: int
    total: int
    latest: Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of every file, in the order in which they were given; ``seconds`` is wall time."""

    files: tuple[Sent, ...]
    seconds: float
    bytes_sent: int

    @property
    def stored(self) -> tuple[Sent, ...]:
        """The files that the peer has."""
        return tuple(file for file in self.files if file.outcome is Outcome.STORED)

    @property
    def not_stored(self) -> tuple[Sent, ...]:
        """The files that the peer refused, or that never reached it."""
        return tuple(file for file in self.files if file.outcome is not Outcome.STORED)

    @property
    def ok(self) -> bool:
        """Whether every file was stored."""
        return not self.not_stored


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outgoing:
    index: int
    path: Path
    content: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    size_bytes: int

    @property
    def syntaxes(self) -> tuple[str, ...]:
        """The file's own; where it is uncompressed, the one besides that everybody takes (PS3.5 section 10.1).

        What is deflated goes inflated where the peer does not inflate.
        """
        own = UID(self.transfer_syntax_uid)
        if own == DeflatedExplicitVRLittleEndian:
            return own, ExplicitVRLittleEndian, ImplicitVRLittleEndian
        if own.is_transfer_syntax and own.is_little_endian and not own.is_compressed and own != ImplicitVRLittleEndian:
            return own, ImplicitVRLittleEndian
        return (own,)


def send(
    remote: Remote,
    paths: Sequence[Path],
    *,
    associations: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Send files by C-STORE and report on each; ``associations`` of them share the files evenly.

    A file goes in its own transfer syntax. One that is not compressed is written anew for a peer that takes only
    Implicit VR Little Endian, one that is deflated for a peer that does not inflate. A file that is not DICOM, that the
    peer refuses or whose transfer syntax it does not take is reported, not raised. ``on_progress`` is called after each
    file, one call at a time.

    Raises:
        NothingToSend: no path is a DICOM file.
        Unreachable, Refused: no association came about at all.
    """
    started = time.perf_counter()
    with TemporaryDirectory(prefix="lungsentry-send-") as scratch:
        outgoing, reports = _look_at(paths, Path(scratch))
        if not outgoing:
            raise NothingToSend
        tally = _Tally(total=len(paths), done=len(reports), listener=on_progress)
        shares = [outgoing[start::associations] for start in range(min(associations, len(outgoing)))]
        _config.STORE_SEND_CHUNKED_DATASET = True  # send_c_store(path) then sends the file's own bytes
        with ThreadPoolExecutor(max_workers=len(shares), thread_name_prefix="send") as pool:
            for sent in pool.map(lambda share: _send_share(remote, share, tally), shares):
                reports.update(sent)
    files = tuple(reports[index] for index in range(len(paths)))
    stored = {file.path for file in files if file.outcome is Outcome.STORED}
    return Report(
        files=files,
        seconds=time.perf_counter() - started,
        bytes_sent=sum(file.size_bytes for file in outgoing if file.path in stored),
    )


class _Tally:
    """Counts files over all associations and tells the listener."""

    def __init__(self, *, total: int, done: int, listener: Callable[[Progress], None] | None) -> None:
        self._total, self._done, self._listener, self._lock = total, done, listener, Lock()

    def tell(self, report: Sent) -> None:
        with self._lock:
            self._done += 1
            if self._listener:
                self._listener(Progress(done=self._done, total=self._total, latest=report))


def _look_at(paths: Sequence[Path], scratch: Path) -> tuple[list[_Outgoing], dict[int, Sent]]:
    """What the files say of themselves, and reports of those that cannot be sent."""
    outgoing: list[_Outgoing] = []
    refused: dict[int, Sent] = {}
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


def _send_share(remote: Remote, files: Sequence[_Outgoing], tally: _Tally) -> dict[int, Sent]:
    """Send the files over one association after another, each with no more contexts than one can hold."""
    reports: dict[int, Sent] = {}
    for group, contexts in _in_contexts(files):
        with associate(remote, contexts) as association:
            for file in group:
                reports[file.index] = _send_one(association, remote, file)
                tally.tell(reports[file.index])
    return reports


def _in_contexts(files: Sequence[_Outgoing]) -> list[tuple[list[_Outgoing], list[PresentationContext]]]:
    """Files in groups whose presentation contexts fit one association, one context a SOP class and syntax."""
    by_pair: dict[tuple[str, str], list[_Outgoing]] = {}
    for file in files:
        by_pair.setdefault((file.sop_class_uid, file.transfer_syntax_uid), []).append(file)
    groups: list[tuple[list[_Outgoing], list[PresentationContext]]] = []
    members: list[_Outgoing] = []
    offered: dict[tuple[str, str], PresentationContext] = {}
    for (sop_class, _), of_pair in by_pair.items():
        wanted = {(sop_class, syntax): build_context(sop_class, syntax) for syntax in of_pair[0].syntaxes}
        if len(offered | wanted) > _MAX_CONTEXTS:
            groups.append((members, list(offered.values())))
            members, offered = [], {}
        members = sorted([*members, *of_pair], key=lambda file: file.index)
        offered = offered | wanted
    return [*groups, (members, list(offered.values()))]


def _send_one(association: Association, remote: Remote, file: _Outgoing) -> Sent:
    started = time.perf_counter()
    if not is_open(association):
        return _not_sent(file.path, file.sop_instance_uid, "the peer ended the association before this file")
    accepted = {
        str(context.transfer_syntax[0])
        for context in association.accepted_contexts
        if context.abstract_syntax == file.sop_class_uid
    }
    if not accepted & set(file.syntaxes):
        return _not_sent(
            file.path,
            file.sop_instance_uid,
            f"the peer does not take {file.sop_class_uid} in transfer syntax {file.transfer_syntax_uid}",
        )
    try:
        own = file.transfer_syntax_uid in accepted
        response = association.send_c_store(file.content if own else dcmread(file.content))
    except (AttributeError, ValueError):
        return _not_sent(file.path, file.sop_instance_uid, "cannot be written in the peer's transfer syntax")
    except (RuntimeError, OSError):
        return _not_sent(file.path, file.sop_instance_uid, "the peer ended the association, or the file is gone")
    if "Status" not in response:
        reason = f"no reply within {remote.timeout_s:g} s, or the association was aborted"
        return _not_sent(file.path, file.sop_instance_uid, reason)
    return _judged(file, response.Status, str(response.get("ErrorComment", "")), time.perf_counter() - started)


def _judged(file: _Outgoing, status: int, comment: str, seconds: float) -> Sent:
    category = code_to_category(status)
    _, meaning = STORAGE_SERVICE_CLASS_STATUS.get(status, (category, ""))
    stored = category in {"Success", "Warning"}
    reason = f"0x{status:04X} {meaning or category}"
    return Sent(
        path=file.path,
        sop_instance_uid=file.sop_instance_uid,
        outcome=Outcome.STORED if stored else Outcome.REFUSED,
        status=status,
        reason="" if status == _SUCCESS else reason + (f" ({comment})" if comment else ""),
        seconds=seconds,
    )


def _not_sent(path: Path, sop_instance_uid: str | None, reason: str) -> Sent:
    return Sent(
        path=path,
        sop_instance_uid=sop_instance_uid,
        outcome=Outcome.NOT_SENT,
        status=None,
        reason=reason,
        seconds=0.0,
    )
