"""A patient's examinations over time. The address names a result, never the patient."""

from starlette.responses import Response

from alerts.change import Prior, compare
from analysis.findings import Findings, Profile
from dicom_node.web.errors import NotThere
from dicom_node.web.figures import trend_of
from dicom_node.web.identity import patient
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit

__all__ = ["page"]


def page(visit: Visit) -> Response:
    """The trend, the table, and what makes examinations hard to compare."""
    entry = visit.store.worklist.get(visit.number("alert"))
    if entry is None:
        raise NotThere
    earlier = visit.store.results.earlier(entry.alert.alert.series_instance_uid)
    priors = [Prior(study_date=entry.study_date, findings=entry.findings)]
    priors += [Prior(study_date=one.study_date, findings=one.result.findings) for one in earlier]
    reliable = [one for one in reversed(priors) if one.findings.reliable]
    return render(
        visit,
        "patient.html",
        entry=entry,
        patient=patient(visit, entry.patient_id),
        rows=[(one, _caveats(entry.findings, one)) for one in priors],
        trend=trend_of(
            [(one.study_date, one.findings.burden_percent, one.findings.profile is Profile.CTAC) for one in reliable]
        ),
    )


def _caveats(now: Findings, then: Prior) -> tuple[str, ...]:
    change = None if then.findings is now else compare(now, then.findings)
    return change.caveats if change is not None else ()
