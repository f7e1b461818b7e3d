"""From an archived instance to its row in the index."""

from dataclasses import dataclass
from datetime import datetime

from db import ReceivedInstance
from dicom_node.storage.header import IndexedHeader, is_conformant_uid

__all__ = ["Sender", "has_uid_warning", "received_instance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sent an instance, and in which association (None: it is not known any more)."""

    association_id: str | None
    calling_ae_title: str
    called_ae_title: str
    address: str


def has_uid_warning(header: IndexedHeader) -> bool:
    """One of the instance's UIDs does not conform to PS3.5 section 9.1; it is kept all the same."""
    uids = (header.sop_instance_uid, header.study_instance_uid, header.series_instance_uid)
    return not all(is_conformant_uid(uid) for uid in uids)


def received_instance(
    header: IndexedHeader,
    *,
    transfer_syntax_uid: str,
    path: str,
    size_bytes: int,
    digest: str,
    sender: Sender,
    received_at: datetime,
) -> ReceivedInstance:
    """The index row of an archived instance."""
    return ReceivedInstance(
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        study_instance_uid=header.study_instance_uid,
        series_instance_uid=header.series_instance_uid,
        patient_id=header.patient_id,
        issuer_of_patient_id=header.issuer_of_patient_id,
        patient_birth_date=header.patient_birth_date,
        patient_sex=header.patient_sex,
        modality=header.modality,
        path=path,
        size_bytes=size_bytes,
        sha256=digest,
        calling_ae_title=sender.calling_ae_title,
        called_ae_title=sender.called_ae_title,
        address=sender.address,
        association_id=sender.association_id,
        received_at=received_at,
        header={**header.fields, "uid_warning": True} if has_uid_warning(header) else header.fields,
        uid_warning=has_uid_warning(header),
    )
