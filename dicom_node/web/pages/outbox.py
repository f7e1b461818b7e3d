"""What goes to destinations: paused, resumed and tested by name; dead letters tried again or withdrawn."""

from collections.abc import Callable

from starlette.responses import RedirectResponse, Response

from alerts.delivery import DeliveryState
from db import StaleState
from dicom_node.delivery.errors import DeliveryError
from dicom_node.web.errors import NotThere
from dicom_node.web.pages import node
from dicom_node.web.visit import Visit

__all__ = ["cancel", "check", "pause", "resume", "retry", "retry_all"]

_MOST_REASON = 200
_MOST_AT_ONCE = 200


def pause(visit: Visit) -> Response:
    """Nothing more is sent to the destination until it is resumed; what comes for it waits."""
    name, reason = _named(visit), visit.form.get("reason", "").strip()[:_MOST_REASON]
    visit.audit("destination paused", name, reason)
    visit.store.destinations.pause(name, visit.who, reason or None)
    return RedirectResponse("/node#destinations", 303)


def resume(visit: Visit) -> Response:
    """What waits for the destination is sent."""
    name = _named(visit)
    visit.audit("destination resumed", name)
    visit.store.destinations.resume(name, visit.who)
    return RedirectResponse("/node#destinations", 303)


def check(visit: Visit) -> Response:
    """Ask the destination whether it would answer, by the way that deliveries go; what it refused is offered again."""
    name = _named(visit)
    visit.audit("destination tested", name)
    try:
        answer = visit.services.channels[name].check()
        visit.store.destinations.forget_refused(name)
    except DeliveryError as error:
        return node.shown(visit, told=f"{name}: {error}", failed=True)
    return node.shown(visit, told=f"{name}: {answer}")


def retry_all(visit: Visit) -> Response:
    """The destination's newest dead letters are due once more, but for those that have changed meanwhile."""
    name = _named(visit)
    visit.audit("deliveries retried", name)
    for one in visit.store.deliveries.list({DeliveryState.FAILED}, destination=name, limit=_MOST_AT_ONCE):
        try:
            visit.store.deliveries.retry(one.id, visit.who)
        except StaleState:
            continue
    return RedirectResponse("/node#dead", 303)


def retry(visit: Visit) -> Response:
    """A dead letter is due once more, with attempts anew."""
    return _moved(visit, "delivery retried", visit.store.deliveries.retry)


def cancel(visit: Visit) -> Response:
    """A dead letter is set aside."""
    return _moved(visit, "delivery cancelled", visit.store.deliveries.cancel)


def _moved(visit: Visit, action: str, move: Callable[[int, str], object]) -> Response:
    number = visit.number("delivery")
    with visit.deciding(action, f"delivery {number}"):
        move(number, visit.who)  # an event of it is in the same transaction
    return RedirectResponse("/node#dead", 303)


def _named(visit: Visit) -> str:
    """A destination of the settings."""
    name = visit.form.get("name", "")
    if name not in visit.services.channels:
        raise NotThere("The settings name no such destination.")
    return name
