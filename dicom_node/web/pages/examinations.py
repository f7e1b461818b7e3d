"""Every series: what became of it, by which rule, and another run."""

from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from db import RequeueFilter, SeriesState, UserRole
from dicom_node.web.errors import Conflict, NotThere
from dicom_node.web.identity import accession, may_find, patient
from dicom_node.web.pages.search import FOUND, seal, searched
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit, whole_number

__all__ = ["by_address", "page", "run_again", "series"]

_PAGE = 50
_MOST_PAGE = 9999


def page(visit: Visit) -> Response:
    """The list, the last received first; without a filter those that failed stand above it."""
    state, text = visit.query.get("state", ""), searched(visit)
    states = {SeriesState(state)} if state in {one.value for one in SeriesState} else set[SeriesState]()
    at = min(max(1, whole_number(visit.query.get("page", "1")) or 1), _MOST_PAGE)
    found, total = visit.store.examinations.page(
        states=states, found=text, people=may_find(visit), offset=(at - 1) * _PAGE, limit=_PAGE
    )
    failed = ()
    if not states and not text and at == 1:
        failed, _ = visit.store.examinations.page(states={SeriesState.FAILED}, limit=10)
    return render(
        visit,
        "examinations.html",
        found=found,
        failed=failed,
        total=total,
        state=next(iter(states)).value if states else "",
        text=text,
        found_by={FOUND: visit.query.get(FOUND, "")} if text else {},
        at=at,
        pages=max(1, -(-total // _PAGE)),
        states=[one.value for one in SeriesState],
        shown={
            one.series.series_instance_uid: (patient(visit, one.patient_id), accession(visit, one.accession_number))
            for one in (*found, *failed)
        },
    )


def series(visit: Visit) -> Response:
    """One series: every rule that was applied, and everything that happened."""
    uid = visit.request.path_params["uid"]
    record = visit.store.series.get(uid)
    if record is None:
        raise NotThere("There is no such series.")
    study = visit.store.studies.get(record.study_instance_uid)
    found, _ = visit.store.examinations.page(found=uid, limit=1)
    candidates = visit.store.requeue.select(RequeueFilter(series=uid))
    return render(
        visit,
        "series.html",
        record=record,
        one=found[0] if found and found[0].series.series_instance_uid == uid else None,
        patient=patient(visit, study.patient_id) if study else "",
        accession=accession(visit, study.accession_number) if study else "",
        study=study,
        screening=visit.store.series.why(uid),
        result=visit.store.results.latest(uid),
        events=visit.store.series.events(uid),
        refusal=candidates[0].refusal if candidates else "it is not known",
        may_run=visit.may(UserRole.READER, UserRole.ADMINISTRATOR),
        may_open=visit.may(UserRole.READER),
    )


def run_again(visit: Visit) -> Response:
    """Queue the series once more."""
    uid = visit.request.path_params["uid"]
    candidates = visit.store.requeue.select(RequeueFilter(series=uid))
    if not candidates:
        raise NotThere("There is no such series.")
    if candidates[0].refusal:
        raise Conflict(f"It cannot run again: {candidates[0].refusal}.")
    with visit.deciding("run again", f"series {uid}"):
        visit.store.requeue.apply(candidates, visit.who)
    return RedirectResponse(f"/series/{uid}", 303)


def by_address(visit: Visit) -> Response:
    """From a link of the PACS or the RIS to the case of a study (IHE Invoke Image Display; short ones beside it)."""
    query, path = visit.query, visit.request.path_params
    study = path.get("study") or query.get("studyUID", "")
    number = path.get("accession") or query.get("accessionNumber", "")
    if query.get("requestType", "STUDY").upper() != "STUDY" or not (study or number):
        raise NotThere("A link names one study: studyUID or accessionNumber.")
    series = visit.store.examinations.series_of(study=study, accession="" if study else number)
    if not series:
        raise NotThere("This examination has not come here.")
    if len({one for _, one in series}) > 1:  # one accession number of several studies: who asked knows which
        return RedirectResponse(f"/series?{urlencode({FOUND: seal(visit, f'={number}')})}", 303)
    uid, only = series[0]
    alerts = visit.store.examinations.alerts_of(study=only)
    return RedirectResponse(f"/alerts/{alerts[0]}" if alerts else f"/series/{uid}", 303)
