"""C-FIND (Study Root): which series a node holds, and how many instances each has."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.association import Association

from dicom_node.network.contexts import UNCOMPRESSED
from dicom_node.peers.errors import Refused
from dicom_node.peers.remote import Remote
from dicom_node.peers.scu import associate, requests, status_of

__all__ = ["STUDY_ROOT_FIND", "Criteria", "FoundSeries", "find_series"]

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_PENDING = frozenset({0xFF00, 0xFF01})
_SUCCESS = 0x0000
_MATCHING_CHARACTERS = re.compile(r"[*?\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """Which studies: by UID, by the patient's ID, by date; what is given narrows.

    ``ValueError`` without any, for an inverted range, and for an ID that would match others (PS3.4 section C.2.2.2).
    """

    study_instance_uid: str | None = None
    patient_id: str | None = None
    since: date | None = None
    until: date | None = None

    def __post_init__(self) -> None:
        if not (self.study_instance_uid or self.patient_id or self.since or self.until):
            raise ValueError("say which studies")
        if self.since and self.until and self.since > self.until:
            raise ValueError("the range of dates ends before it begins")
        for text in (self.study_instance_uid, self.patient_id):
            if text and _MATCHING_CHARACTERS.search(text):
                raise ValueError("*, ? and \\ would match other studies")

    @property
    def study_date(self) -> str:
        """Range matching of Study Date; empty matches all."""
        if not (self.since or self.until):
            return ""
        since, until = (day.strftime("%Y%m%d") if day else "" for day in (self.since, self.until))
        return since if since == until else f"{since}-{until}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSeries:
    """A series that the node holds; ``instance_count`` is None where it does not tell."""

    study_instance_uid: str
    series_instance_uid: str
    study_date: str
    modality: str
    description: str
    instance_count: int | None


def find_series(peer: Remote, criteria: Criteria) -> tuple[FoundSeries, ...]:
    """Every series of the studies that fit, in the order of the answers; one query, and one for each study.

    Raises:
        Unreachable: the peer does not answer, or broke off.
        Refused: the peer rejects the association or the query, or cannot be queried.
    """
    context = build_context(STUDY_ROOT_FIND, list(UNCOMPRESSED))
    with associate(peer, [context], needed=STUDY_ROOT_FIND) as association:
        studies = list(_find(association, peer, _study_query(criteria)))
        found: list[FoundSeries] = []
        for study in studies:
            uid = _text(study, "StudyInstanceUID")
            if not uid:
                continue
            query = _series_query(uid)
            found.extend(_series(answer, uid, _text(study, "StudyDate")) for answer in _find(association, peer, query))
    return tuple(series for series in found if series.series_instance_uid)


def _study_query(criteria: Criteria) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = criteria.study_instance_uid or ""
    query.PatientID = criteria.patient_id or ""
    query.StudyDate = criteria.study_date
    return query


def _series_query(study_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_instance_uid
    query.SeriesInstanceUID = ""
    query.Modality = ""
    query.SeriesDescription = ""
    query.NumberOfSeriesRelatedInstances = ""
    return query


def _find(association: Association, peer: Remote, query: Dataset) -> Iterator[Dataset]:
    with requests(peer):
        for status, answer in association.send_c_find(query, STUDY_ROOT_FIND):
            code = status_of(status, peer)
            if code in _PENDING and answer is not None:
                yield answer
            elif code not in _PENDING and code != _SUCCESS:
                raise Refused(f"{peer} answered the query with 0x{code:04X}.")


def _series(answer: Dataset, study_instance_uid: str, study_date: str) -> FoundSeries:
    count = _text(answer, "NumberOfSeriesRelatedInstances")
    return FoundSeries(
        study_instance_uid=study_instance_uid,
        series_instance_uid=_text(answer, "SeriesInstanceUID"),
        study_date=study_date,
        modality=_text(answer, "Modality"),
        description=_text(answer, "SeriesDescription"),
        instance_count=int(count) if count.isdigit() else None,
    )


def _text(answer: Dataset, keyword: str) -> str:
    return str(answer.get(keyword) or "").strip()
