"""A result as a FHIR R5 Observation, after HL7's guide from DICOM SR to FHIR: a panel, and its measurements in it."""

from collections.abc import Iterator
from typing import Any

from alerts import wording
from analysis.findings import Findings
from db.exporting import ExportedResult

__all__ = ["observation"]

_SNOMED, _UCUM, _DICOM = (
    "http://snomed.info/sct",
    "http://unitsofmeasure.org",
    "http://dicom.nema.org/resources/ontology/DCM",
)
_LUNG = {"coding": [{"system": _SNOMED, "code": "39607008", "display": "Lung structure"}]}
_VOLUME = {"system": _SNOMED, "code": "118565006", "display": "Volume"}
_ATTENUATION = {"system": _DICOM, "code": "112031", "display": "Attenuation Coefficient"}
_CATEGORY = {
    "coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "imaging"}],
}


def observation(entry: ExportedResult) -> dict[str, Any]:
    """The Observation; preliminary, for nobody has verified it. Of images that cannot be analysed it has no figures."""
    result = entry.result
    findings, provenance = result.findings, result.findings.provenance
    measured: dict[str, Any] = {
        "resourceType": "Observation",
        "identifier": [{"system": "urn:lungsentry:result", "value": f"{result.series_instance_uid}#{result.revision}"}],
        "status": "preliminary",
        "category": [_CATEGORY],
        "code": {"text": "Opacity of the lungs on CT, measured by software"},
        "issued": result.created_at.isoformat(),
        "bodySite": _LUNG,
        "device": {
            "display": f"Lungsentry {provenance.software_version}, {provenance.model_name} {provenance.model_version}"
        },
        "derivedFrom": [
            {
                "type": "ImagingStudy",
                "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{result.study_instance_uid}"},
            }
        ],
        "note": [{"text": wording.RESEARCH_USE}],
    }
    if entry.patient_id:  # two without one need not be one person
        issuer = {"assigner": {"display": entry.issuer_of_patient_id}} if entry.issuer_of_patient_id else {}
        measured["subject"] = {"identifier": {"value": entry.patient_id, **issuer}}
    if len(entry.study_date) == len("YYYYMMDD"):
        measured["effectiveDateTime"] = f"{entry.study_date[:4]}-{entry.study_date[4:6]}-{entry.study_date[6:]}"
    if not findings.reliable:
        reason = {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "error"}
        return measured | {"dataAbsentReason": {"coding": [reason], "text": wording.NOT_MEASURED}}
    flagged = "no opacity at or above the thresholds" if result.alert is None else result.alert.headline
    return measured | {"valueString": flagged, "component": list(_components(findings))}


def _components(findings: Findings) -> Iterator[dict[str, Any]]:
    whole = findings.both_lungs
    yield _quantity("Volume of the lungs", whole.lung_volume_ml, "mL", _VOLUME)
    yield _quantity(f"Volume: {wording.GGO}", whole.ggo_volume_ml, "mL", _VOLUME)
    yield _quantity(f"Volume: {wording.HIGH_OPACITY}", whole.high_opacity_volume_ml, "mL", _VOLUME)
    yield _quantity("Opacities as a share of the lungs", whole.burden_percent, "%")
    for lobe, region in findings.lobes.items():
        name = wording.region_name(findings, lobe)
        yield _quantity(f"{name}: opacities as a share of it", region.burden_percent, "%")
    for name, score in (("LSS, of 20", findings.lss), ("LHOS, of 20", findings.lhos)):
        if score is not None:
            yield {"code": {"text": name}, "valueInteger": score}
    if findings.lesion_mean_hu is not None:
        yield _quantity("Mean attenuation of the opacities", findings.lesion_mean_hu, "[hnsf'U]", _ATTENUATION)


def _quantity(name: str, value: float, unit: str, code: dict[str, str] | None = None) -> dict[str, Any]:
    coded = {} if code is None else {"coding": [code]}
    return {
        "code": {**coded, "text": name},
        "valueQuantity": {"value": round(value, 3), "unit": unit, "system": _UCUM, "code": unit},
    }
