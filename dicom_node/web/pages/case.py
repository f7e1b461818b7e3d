"""A case: its images, figures, why it was flagged, what was delivered, and what readers made of it."""

from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response

from alerts import wording
from alerts.alert import ALERT_TRANSITIONS, AlertEvent
from alerts.change import compare
from analysis.findings import Lobe, Profile
from analysis.view_pack import ViewPack
from db import DismissalReason, EarlierResult, LooksLike, ReaderExtent, StoredResult, Verdict, WorklistEntry
from db.store.alerts import UNDO_WITHIN
from dicom_node.web.errors import NotThere
from dicom_node.web.figures import Bar, bar_of, strip_of, trend_of
from dicom_node.web.identity import may_reveal
from dicom_node.web.lines import lines_of
from dicom_node.web.links import viewers
from dicom_node.web.packs import pack_of
from dicom_node.web.pages.deciding import colleagues
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit

__all__ = ["earlier_member", "member", "page", "viewer"]

_LOBES_FULL_PERCENT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _LobeRow:
    name: str
    lung_ml: float
    ggo_ml: float
    high_ml: float
    percent: float
    bar: Bar


def page(visit: Visit) -> Response:
    """The case."""
    after = visit.store.feed.last()
    entry = _entry(visit)
    uid = entry.alert.alert.series_instance_uid
    result = visit.store.results.get(entry.alert.result_id)
    earlier = visit.store.results.earlier(uid)
    pack = pack_of(visit.services, result) if result is not None else None
    then = _with_pack(visit, earlier)
    record = visit.store.alerts.get(entry.alert.id)
    full = _full_percent(entry)
    return render(
        visit,
        "case.html",
        after=after,
        line=lines_of(visit, [entry])[0],
        record=record,
        result=result,
        manifest=pack.manifest() if pack is not None else None,
        strip=strip_of(pack.manifest()) if pack is not None else (),
        lobe_rows=_lobe_rows(entry, full),
        lobes_full=full,
        scores=wording.scores_sentence(entry.findings),
        trend=trend_of(_points(entry, earlier)),
        caveats=_caveats(entry, earlier),
        not_compared=visit.store.results.not_compared(uid),
        then=then[0] if then else None,
        deliveries=visit.store.deliveries.list(series=uid),
        verdicts=visit.store.feedback.of_alert(entry.alert.id),
        opened=visit.store.feedback.has_opened(entry.alert.id, visit.who),
        may_decide=(entry.alert.state, AlertEvent.ACKNOWLEDGE) in ALERT_TRANSITIONS,
        may_dismiss=(entry.alert.state, AlertEvent.DISMISS) in ALERT_TRANSITIONS,
        may_pass_on=(entry.alert.state, AlertEvent.PASS_ON) in ALERT_TRANSITIONS,
        may_undo=_may_undo(visit, entry),
        colleagues=colleagues(visit),
        may_reveal=may_reveal(visit),
        viewers=viewers(visit.services.web),
        choices={"verdict": list(Verdict), "looks_like": list(LooksLike), "extent": list(ReaderExtent)},
        reasons=list(DismissalReason),
        siblings=[
            one
            for one in visit.store.series.list(study=entry.alert.alert.study_instance_uid)
            if one.series_instance_uid != uid
        ],
    )


def _may_undo(visit: Visit, entry: WorklistEntry) -> bool:
    alert = entry.alert
    return (
        (alert.state, AlertEvent.UNDO) in ALERT_TRANSITIONS
        and alert.decided_by == visit.who
        and alert.decided_at is not None
        and visit.services.clock() - alert.decided_at <= UNDO_WITHIN
    )


def member(visit: Visit) -> Response:
    """Images of the case, as they lie in its pack."""
    entry = _entry(visit)
    result = visit.store.results.get(entry.alert.result_id)
    return _member(visit, pack_of(visit.services, result) if result is not None else None)


def earlier_member(visit: Visit) -> Response:
    """Images of the latest earlier examination that some were kept of."""
    entry = _entry(visit)
    then = _with_pack(visit, visit.store.results.earlier(entry.alert.alert.series_instance_uid))
    return _member(visit, then[1] if then else None)


def _member(visit: Visit, pack: ViewPack | None) -> Response:
    name = visit.request.path_params["name"]
    content = pack.member(name) if pack is not None else None
    if content is None:
        raise NotThere("No images are kept of this.")
    if name.endswith(".json"):
        return Response(content, media_type="application/json")
    if name.endswith(".jpg"):
        return Response(content, media_type="image/jpeg")
    return Response(content, media_type="application/octet-stream", headers={"Content-Encoding": "gzip"})


def _entry(visit: Visit) -> WorklistEntry:
    entry = visit.store.worklist.get(visit.number("alert"))
    if entry is None:
        raise NotThere("There is no such alert.")
    return entry


def _with_pack(visit: Visit, earlier: tuple[EarlierResult, ...]) -> tuple[EarlierResult, ViewPack] | None:
    for one in earlier:
        pack = pack_of(visit.services, one.result)
        if pack is not None:
            return one, pack
    return None


def _full_percent(entry: WorklistEntry) -> float:
    """The end of the lobes' bars: ten percent, or as much more as one needs."""
    most = max((region.burden_percent for region in entry.findings.lobes.values()), default=0.0)
    return next((end for end in (_LOBES_FULL_PERCENT, 25.0, 50.0) if most <= end), 100.0)


def _lobe_rows(entry: WorklistEntry, full: float) -> list[_LobeRow]:
    findings = entry.findings
    return [
        _LobeRow(
            name=wording.region_name(findings, lobe),
            lung_ml=findings.lobes[lobe].lung_volume_ml,
            ggo_ml=findings.lobes[lobe].ggo_volume_ml,
            high_ml=findings.lobes[lobe].high_opacity_volume_ml,
            percent=findings.lobes[lobe].burden_percent,
            bar=bar_of(findings.lobes[lobe], full),
        )
        for lobe in Lobe
        if lobe in findings.lobes
    ]


def _points(entry: WorklistEntry, earlier: tuple[EarlierResult, ...]) -> list[tuple[str, float, bool]]:
    """Every examination of the patient that could be analysed, by date; of one date the last stands."""
    results: list[tuple[str, StoredResult]] = [(one.study_date, one.result) for one in earlier]
    by_date = {
        date: (date, result.findings.burden_percent, result.findings.profile is Profile.CTAC)
        for date, result in reversed(results)
        if result.findings.reliable
    }
    now = (entry.study_date, entry.findings.burden_percent, entry.findings.profile is Profile.CTAC)
    return [*(by_date[date] for date in sorted(by_date)), now] if entry.findings.reliable else []


def _caveats(entry: WorklistEntry, earlier: tuple[EarlierResult, ...]) -> tuple[str, ...]:
    change = compare(entry.findings, earlier[0].result.findings) if earlier else None
    return change.caveats if change is not None else ()


def viewer(visit: Visit) -> Response:
    """Go on to the study in another viewer; the address with its UIDs stands in no page of ours."""
    entry = _entry(visit)
    address = viewers(visit.services.web).get(visit.request.path_params["viewer"])
    if address is None:
        raise NotThere
    visit.audit("opened elsewhere", f"alert {entry.alert.id}", visit.request.path_params["viewer"])
    return RedirectResponse(address.of(entry), 303)
