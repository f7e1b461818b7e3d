"""What is exported of a result: the result, and what is known of its examination."""

from dataclasses import dataclass, field

from db.values import StoredResult

__all__ = ["ExportedResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedResult:
    """A result in force with its examination. All but the result and the profile's figures may identify the patient."""

    result: StoredResult
    calling_ae_title: str
    study_date: str
    study_description: str
    patient_id: str = field(repr=False)
    issuer_of_patient_id: str = field(repr=False)
    patient_sex: str = field(repr=False)
    accession_number: str = field(repr=False)
