"""Objects go to a PACS by STOW-RS (PS3.18 section 10.5), one request an object, its bytes as they lie in the file."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dicom_node.delivery.channel import Parcel, Receipt
from dicom_node.delivery.errors import Refused, Undeliverable, Unreachable, failure_of
from dicom_node.delivery.http import exchange, raise_for
from dicom_node.settings import StowDestination

__all__ = ["StowChannel"]

_FAILED, _REASON, _STORED = "00081198", "00081197", "00081199"
_BLOCK = 262_144
_ALL_FAILED = 409  # PS3.18 table 10.5.3-1
_MOST_BYTES = 536_870_912


class StowChannel:
    """A PACS that is spoken to by DICOMweb."""

    def __init__(self, settings: StowDestination, *, timeout_s: float) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._studies = f"{settings.url.rstrip('/')}/studies"
        self._host = urlsplit(settings.url).netloc

    def deliver(self, parcel: Parcel) -> Receipt:
        """Post the object and return the receipt.

        Raises:
            Unreachable, NotAdmitted, Busy, ProcessingFailure: worth another attempt.
            NotTaken: the PACS does not take such objects.
            Refused: the PACS does not take this one.
            Undeliverable: the file is missing, or larger than half a gigabyte.
        """
        try:
            size = parcel.path.stat().st_size
        except OSError as error:
            raise Undeliverable(f"{parcel.path.name} is missing.") from error
        if size > _MOST_BYTES:
            raise Undeliverable(f"{parcel.path.name} has {size} bytes.")
        boundary = uuid.uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        answer = exchange(
            self._settings,
            "POST",
            self._studies,
            headers={
                "accept": "application/dicom+json",
                "content-type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "content-length": str(len(head) + size + len(tail)),
            },
            content=_parts(head, parcel.path, tail),
            timeout_s=self._timeout_s,
        )
        if answer.status not in {200, 202, _ALL_FAILED}:
            raise_for(answer.status, self._host)
        return self._judged(answer.status, _dataset(answer.body))

    def check(self) -> str:
        """Ask for one study, which every server of DICOMweb answers; nothing of it is read.

        Raises:
            DeliveryError: nobody answers, or not with success.
        """
        answer = exchange(
            self._settings,
            "GET",
            f"{self._studies}?limit=1&StudyInstanceUID=1.2.3",
            headers={"accept": "application/dicom+json"},
            timeout_s=self._timeout_s,
        )
        raise_for(answer.status, self._host)
        return f"{self._host} answered a query with {answer.status}"

    def _judged(self, status: int, told: dict[str, Any]) -> Receipt:
        reasons = [_number(one, _REASON) for one in _items(told, _FAILED)]
        if not reasons:
            if status == _ALL_FAILED or (told and not _items(told, _STORED)):
                raise Refused(f"{self._host} replied {status} and says nothing of the object.")
            return Receipt(answer=str(status), warning=status == 202)
        reason = reasons[0]  # PS3.18 table I.2-2: as of a C-STORE
        failure = failure_of(reason)
        if failure is not None:
            raise failure(f"{self._host} replied {status}, 0x{reason:04X}.")
        return Receipt(answer=f"{status} 0x{reason:04X}", warning=True)


def _parts(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    except OSError as error:
        raise Undeliverable(f"{path.name} cannot be read.") from error
    yield tail


def _dataset(body: bytes) -> dict[str, Any]:
    """The answer in the DICOM JSON model; empty where a server says no more than its status.

    Raises:
        Unreachable: it is something else.
    """
    if not body.strip():
        return {}
    try:
        told = json.loads(body)
    except ValueError as error:
        raise Unreachable("What was answered is not DICOM's JSON.") from error
    if isinstance(told, list):
        told = told[0] if told else {}
    return told if isinstance(told, dict) else {}


def _items(told: dict[str, Any], tag: str) -> list[dict[str, Any]]:
    element = told.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []


def _number(item: dict[str, Any], tag: str) -> int:
    """The number there; 0 (which is no reason) where there is none."""
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values and isinstance(values[0], int) else 0
