"""Pseudonyms by a key: the same patient gets the same one in every export with it, and nobody else can undo them.

HMAC (RFC 2104) with SHA-256. Each kind of identifier has a domain of its own, so that equal texts of two kinds do not
give equal pseudonyms. Days are moved back by a number of days that is the patient's own: what lies between two
examinations stays, the calendar does not. Lines stand in an order that the key gives: in that of time, the latest of
the moved days so far would tell by how much each was moved.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from alerts.request import RequestContext
from analysis.moments import read_date
from db.exporting import ExportedResult
from dicom_node.export.errors import ExportError

__all__ = ["LEAST_KEY_BYTES", "OLDEST_YEARS", "Pseudonyms"]

LEAST_KEY_BYTES = 32
OLDEST_YEARS = 90
"""Who is older is told to be this old: few people are (HIPAA, 45 CFR 164.514(b)(2)(i)(C))."""
_MOST_SHIFT_DAYS = 365
_TEXT_BYTES = 15
_UID_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Pseudonyms:
    """Pseudonyms under a key."""

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < LEAST_KEY_BYTES:
            raise ExportError(f"A key has at least {LEAST_KEY_BYTES} bytes.")

    @classmethod
    def of_file(cls, path: Path) -> "Pseudonyms":
        """Those under the key that a file holds, without the end of its line.

        Raises:
            ExportError: it cannot be read, or is too short.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ExportError(f"The key {path} cannot be read.") from error
        end = next((end for end in (b"\r\n", b"\n") if content.endswith(end)), b"")
        return cls(key=content.removesuffix(end))

    def of(self, entry: ExportedResult) -> ExportedResult:
        """The entry without what identifies: pseudonyms, moved days, no free text, no age over ninety."""
        patient = f"{entry.issuer_of_patient_id}\0{entry.patient_id}"
        nobody = not entry.patient_id.strip()
        day, result = read_date(entry.study_date), entry.result
        moved = f"study\0{result.study_instance_uid}" if nobody else patient
        shift = timedelta(days=self._number("day", moved) % _MOST_SHIFT_DAYS + 1)
        age = None if result.request is None or result.request.age_years is None else result.request.age_years
        study, series = self._uid(result.study_instance_uid), self._uid(result.series_instance_uid)
        return ExportedResult(
            result=replace(
                result,
                study_instance_uid=study,
                series_instance_uid=series,
                request=RequestContext(age_years=None if age is None else min(age, OLDEST_YEARS)),
                created_at=result.created_at.replace(hour=0, minute=0, second=0, microsecond=0) - shift,
            ),
            calling_ae_title=self._text("scanner", entry.calling_ae_title),
            study_date="" if day is None or nobody else (day - shift).strftime("%Y%m%d"),
            study_description="",
            patient_id="" if nobody else self._text("patient", patient),
            issuer_of_patient_id="",
            patient_sex=entry.patient_sex,
            accession_number="",
        )

    def shuffled(self, numbers: Iterable[int]) -> list[int]:
        """The numbers in an order that nobody knows without the key, and that is the same every time."""
        return sorted(numbers, key=lambda number: self._digest("line", str(number)))

    def _uid(self, uid: str) -> str:
        """A UID of 2.25 (PS3.5 section B.2) that no other one has."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:_UID_BYTES])}"

    def _text(self, domain: str, value: str) -> str:
        return base64.b32encode(self._digest(domain, value)[:_TEXT_BYTES]).decode("ascii")

    def _number(self, domain: str, value: str) -> int:
        return int.from_bytes(self._digest(domain, value)[:8])

    def _digest(self, domain: str, value: str) -> bytes:
        return hmac.new(self.key, f"{domain}\0{value}".encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
