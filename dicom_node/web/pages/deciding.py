"""What readers decide about a case. Only who has opened it decides, and of two at once one wins."""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import TypeVar

from starlette.responses import JSONResponse, RedirectResponse, Response

from alerts.alert import AlertState
from db import (
    DismissalReason,
    LooksLike,
    ReaderExtent,
    RequeueFilter,
    SeenAlert,
    StoredAlert,
    Verdict,
)
from dicom_node.web.errors import Conflict, NotThere, Unusable
from dicom_node.web.identity import may_reveal
from dicom_node.web.visit import Visit, whole_number

__all__ = [
    "colleagues",
    "dismiss",
    "give_verdict",
    "open_case",
    "pass_on",
    "reveal",
    "run_again",
    "take_up",
    "undo",
]

_MOST_NOTE = 2000
_NEWER = "A newer result stands for this case. Load it again."
_DONE = {
    "acknowledged": "taken up",
    "passed_on": "passed on",
    "dismissed": "dismissed",
    "superseded": "superseded by a newer result",
}
_Choice = TypeVar("_Choice", bound=StrEnum)


def open_case(visit: Visit) -> Response:
    """The images are in front of a reader."""
    alert = _alert(visit)
    visit.store.feedback.open(alert.id, visit.who)
    return _done(visit, alert.id, "opened")


def take_up(visit: Visit) -> Response:
    """The reader takes the case up."""
    return _decide(visit, "taken up", partial(visit.store.alerts.acknowledge, tell=visit.services.told), _note(visit))


def dismiss(visit: Visit) -> Response:
    """The reader finds nothing to act upon, and says why."""
    reason = _choice(DismissalReason, visit.form.get("reason", ""))
    if reason is None:
        raise Unusable("Say why: not there, known, expected, artefact or other.")
    return _decide(visit, "dismissed", partial(visit.store.alerts.dismiss, reason=reason), _note(visit))


def pass_on(visit: Visit) -> Response:
    """The reader leaves the case to another one."""
    to = visit.form.get("to", "")
    if to not in colleagues(visit):
        raise Unusable("Say to whom: another reader who may sign in.")
    return _decide(visit, "passed on", partial(visit.store.alerts.pass_on, to=to), _note(visit), detail=f"to {to}")


def undo(visit: Visit) -> Response:
    """Who decided takes it back, as long as that may be."""
    alert = _opened(visit)
    with visit.deciding("undone", f"alert {alert.id}"):
        visit.store.alerts.undo(alert.id, visit.who)
    return _done(visit, alert.id, f"Alert {alert.id} is open again.")


def colleagues(visit: Visit) -> tuple[str, ...]:
    """The other readers who may sign in."""
    return tuple(name for name in visit.store.users.readers() if name != visit.who)


def give_verdict(visit: Visit) -> Response:
    """Whether it is there, what it looks like, and how much; each may be told alone once the first is."""
    alert = _opened(visit)
    verdict = _choice(Verdict, visit.form.get("verdict", ""))
    if verdict is None:
        raise Unusable("Say first whether it is there.")
    with visit.deciding("judged", f"alert {alert.id}", verdict.value, refusal=lambda: _NEWER):
        visit.store.feedback.give(
            alert.id,
            visit.who,
            verdict,
            looks_like=_choice(LooksLike, visit.form.get("looks_like", "")),
            extent=_choice(ReaderExtent, visit.form.get("extent", "")),
            seen=_seen(visit),
        )
    return _done(visit, alert.id, "Your verdict is kept.")


def run_again(visit: Visit) -> Response:
    """Let the series be analysed once more."""
    alert = _opened(visit)
    candidates = visit.store.requeue.select(RequeueFilter(series=alert.alert.series_instance_uid))
    refusal = next((one.refusal for one in candidates if one.refusal), None)
    if refusal:
        raise Conflict(f"It cannot run again: {refusal}.")
    with visit.deciding("run again", f"alert {alert.id}"):
        visit.store.requeue.apply(candidates, visit.who)
    return _done(visit, alert.id, "It will be analysed again; its result stands until then.")


def reveal(visit: Visit) -> Response:
    """The whole patient ID of one examination, for who asked; the asking is on the record before the answer."""
    entry = visit.store.worklist.get(visit.number("alert"))
    if entry is None or not may_reveal(visit):
        raise NotThere
    visit.audit("revealed", f"alert {entry.alert.id}")
    return JSONResponse({"patient": entry.patient_id or "no patient ID"})


def _decide(visit: Visit, done: str, decide: Callable[..., StoredAlert], note: str, *, detail: str = "") -> Response:
    alert = _opened(visit)
    with visit.deciding(done, f"alert {alert.id}", detail, refusal=lambda: _who_was_faster(visit, alert.id)):
        decide(alert.id, visit.who, note, seen=_seen(visit))  # an event of it is in the same transaction
    return _done(visit, alert.id, f"Alert {alert.id} is {done}.")


def _seen(visit: Visit) -> SeenAlert | None:
    """What the page showed when the reader decided: the alert's state, and the result."""
    state, _, result = visit.form.get("seen", "").partition(" ")
    number = whole_number(result)
    if state not in {one.value for one in AlertState} or number is None:
        return None
    return SeenAlert(state=AlertState(state), result_id=number)


def _who_was_faster(visit: Visit, alert_id: int) -> str:
    now = visit.store.alerts.get(alert_id)
    if now is None or now.decided_by is None or now.decided_at is None:
        return "The case has moved on. Load it again."
    at = now.decided_at.astimezone(visit.zone).strftime("%H:%M:%S")
    return f"{now.decided_by} was faster: {_DONE.get(now.state.value, now.state.value)} at {at}."


def _opened(visit: Visit) -> StoredAlert:
    alert = _alert(visit)
    if not visit.store.feedback.has_opened(alert.id, visit.who):
        raise Conflict("Open the case and look at its images first.")
    return alert


def _alert(visit: Visit) -> StoredAlert:
    alert = visit.store.alerts.get(visit.number("alert"))
    if alert is None:
        raise NotThere("There is no such alert.")
    return alert


def _note(visit: Visit) -> str:
    return visit.form.get("note", "").strip()[:_MOST_NOTE]


def _choice(kind: type[_Choice], given: str) -> _Choice | None:
    return kind(given) if given in {one.value for one in kind} else None


def _done(visit: Visit, alert_id: int, words: str) -> Response:
    if visit.wants_json:
        return JSONResponse({"done": words})
    return RedirectResponse(f"/alerts/{alert_id}", 303)
