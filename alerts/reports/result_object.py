"""What every object of a result has in common: patient and study as received, its equipment, no time of writing."""

from highdicom import SOPClass
from highdicom.coding_schemes import CodingSchemeIdentificationItem

from alerts.reports import codes
from alerts.reports.equipment import contributing_equipment
from alerts.reports.evidence import Evidence, copy_patient_and_study
from analysis.findings import Findings

CHEST = "CHEST"


def complete(result: SOPClass, findings: Findings, sources: Evidence) -> None:
    """Give a highdicom object what all objects of a result have, and take from it what differs on every run."""
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in result:
            delattr(result, keyword)
    equipment = list(result.get("ContributingEquipmentSequence", []))
    for item in equipment:
        item.pop("ContributionDateTime", None)
    result.add_new("ContributingEquipmentSequence", "SQ", [*equipment, contributing_equipment(findings.provenance)])
    copy_patient_and_study(result, sources.first_path)
    result.StudyInstanceUID = findings.study_instance_uid
    if "PixelData" in result:  # what goes to the file untouched has no say in how pixels are written
        result["PixelData"].VR = "OB"
    if "PixelPaddingValue" in result:
        result["PixelPaddingValue"].VR = "US"


def private_scheme() -> CodingSchemeIdentificationItem:
    """The scheme of the codes that no standard scheme has."""
    return CodingSchemeIdentificationItem(
        designator=codes.PRIVATE_SCHEME,
        name=codes.PRIVATE_SCHEME_NAME,
        version=codes.PRIVATE_SCHEME_VERSION,
        responsible_organization=codes.PRIVATE_SCHEME_ORGANIZATION,
    )
