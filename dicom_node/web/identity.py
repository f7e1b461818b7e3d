"""How much of a patient a page shows: by default the last four of the ID, until somebody asks."""

from db import UserRole
from dicom_node.web.visit import Visit

__all__ = ["accession", "may_find", "may_reveal", "patient", "shows_all"]

_SHOWN = 4
_DOTS = "\N{MIDDLE DOT}" * 4


def patient(visit: Visit, patient_id: str) -> str:
    """The patient's ID as this visit may see it: whole, its end, or nothing."""
    if visit.services.web.patient_data == "none" or not patient_id:
        return ""
    return patient_id if shows_all(visit) else masked(patient_id)


def masked(patient_id: str) -> str:
    """The last four characters; of a short ID fewer, so that most of it is hidden always."""
    shown = min(_SHOWN, len(patient_id) // 2)
    return _DOTS + (patient_id[-shown:] if shown else "")


def accession(visit: Visit, number: str) -> str:
    """The accession number for who reads; others need none."""
    return number if visit.may(UserRole.READER, UserRole.ADMINISTRATOR) and _shown(visit) else ""


def shows_all(visit: Visit) -> bool:
    """Whether IDs stand in full: the settings say so, and who asks reads or administers."""
    return visit.services.web.patient_data == "full" and visit.may(UserRole.READER, UserRole.ADMINISTRATOR)


def may_reveal(visit: Visit) -> bool:
    """Whether who asks may see the whole ID of one examination, on the record."""
    return visit.services.web.patient_data == "masked" and visit.may(UserRole.READER, UserRole.ADMINISTRATOR)


def may_find(visit: Visit) -> bool:
    """Whether who asks may look for patients: whoever may not see an ID would learn it by its beginnings."""
    return may_reveal(visit) or shows_all(visit)


def _shown(visit: Visit) -> bool:
    return visit.services.web.patient_data != "none"
