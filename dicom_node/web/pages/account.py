"""What users set for themselves: zone, theme, how cases begin, password, sessions."""

from zoneinfo import available_timezones

from starlette.responses import RedirectResponse, Response

from dicom_node.secret import hash_password, is_password
from dicom_node.web.errors import NotThere, Unusable
from dicom_node.web.pages.sign_in import SHORT, UNLIKE
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit

__all__ = ["change_password", "end_other_sessions", "here", "page", "prefer", "switch_theme"]

_SWITCHES = ("overlay_off", "keys_off")
_WRONG = "The present password is wrong."


def page(visit: Visit) -> Response:
    """Everything that a user may set."""
    return _page(visit, error="")


def here(_visit: Visit) -> Response:
    """Somebody works on a page that asks nothing else: the gate has noted it."""
    return Response(status_code=204)


def prefer(visit: Visit) -> Response:
    """Keep the zone and the switches."""
    zone = visit.form.get("time_zone", "")
    if zone and zone not in available_timezones():
        raise Unusable("There is no such time zone.")
    switches = {name: name in visit.form for name in _SWITCHES}
    visit.store.users.prefer(visit.who, {"time_zone": zone, **switches})
    return RedirectResponse("/me", 303)


def switch_theme(visit: Visit) -> Response:
    """From dark to light, or back; the page that asked is shown again."""
    theme = "light" if visit.form.get("theme") == "light" else "dark"
    visit.store.users.prefer(visit.who, {"theme": theme})
    back = visit.form.get("back", "")
    return RedirectResponse(back if back.startswith("/") and back[1:2] not in {"/", "\\"} else "/me", 303)


def change_password(visit: Visit) -> Response:
    """Another password for who knows the present one; other sessions end."""
    session = visit.session
    if session is None or session.user.subject is not None:
        raise NotThere
    new = visit.form.get("password", "")
    error = ""
    if not is_password(visit.form.get("present", ""), session.user.password_hash):
        error = _WRONG
    elif new != visit.form.get("again", ""):
        error = UNLIKE
    try:
        hashed = "" if error else hash_password(new)
    except ValueError:
        error, hashed = SHORT, ""
    if error:
        return _page(visit, error=error, status=400)
    visit.audit("password changed")
    visit.store.users.set_password(visit.who, hashed)
    visit.store.sessions.close_all(session.user.id, but=session.key)
    return RedirectResponse("/me", 303)


def end_other_sessions(visit: Visit) -> Response:
    """Sign out everywhere else."""
    if visit.session is not None:
        visit.audit("signed out elsewhere")
        visit.store.sessions.close_all(visit.session.user.id, but=visit.session.key)
    return RedirectResponse("/me", 303)


def _page(visit: Visit, *, error: str, status: int = 200) -> Response:
    sessions = visit.store.sessions.of_user(visit.session.user.id) if visit.session else ()
    return render(
        visit, "account.html", status=status, sessions=sessions, zones=sorted(available_timezones()), error=error
    )
