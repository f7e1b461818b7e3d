"""Signing in with a password or a link that works once, and signing out."""

import re
from datetime import timedelta

from starlette.responses import RedirectResponse, Response

from db import User, UserRole
from dicom_node.secret import digest, hash_password, is_password, new_token
from dicom_node.web import cookies
from dicom_node.web.errors import LinkUsed
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit

__all__ = [
    "LINK_LIFETIME",
    "enter",
    "first_page",
    "form",
    "leave",
    "link_form",
    "own_path",
    "with_link",
    "with_password",
]

LINK_LIFETIME = timedelta(hours=24)
WRONG = "Name or password is wrong, or there were too many tries: then wait a minute."
UNLIKE = "The two passwords differ."
SHORT = "A password has at least 12 characters, and at most 256."
_OWN_PATH = re.compile(r"/(?![/\\])[^\s\\]*")


def form(visit: Visit) -> Response:
    """The form to sign in with; who is signed in goes on."""
    if visit.session is not None:
        return RedirectResponse(_target(visit.query.get("next", ""), visit.session.user), 303)
    return _guarded(visit, "login.html", next=visit.query.get("next", ""), error="", name="")


def with_password(visit: Visit) -> Response:
    """Sign in; a wrong name, a wrong password and too many tries are answered with the same words."""
    name, password = visit.form.get("name", "").strip(), visit.form.get("password", "")
    user = visit.store.users.named(name)
    locked = user is not None and user.locked_until is not None and user.locked_until > visit.services.clock()
    usable = user is not None and user.disabled_at is None and not locked
    right = is_password(password, user.password_hash if user is not None and usable else None)
    if user is None or not right:
        if user is not None and not locked:
            visit.store.users.failed(name)
        known = name if user is not None else "(unknown)"  # a password typed into the wrong field stays out of it
        _audit(visit, known, "sign-in failed", "locked out" if locked else "")
        return _guarded(visit, "login.html", status=401, next=visit.form.get("next", ""), error=WRONG, name=name)
    visit.store.users.succeeded(name)
    _audit(visit, name, "signed in", "with a password")
    return enter(visit, user, visit.form.get("next", ""))


def link_form(visit: Visit) -> Response:
    """What a link that works once leads to: looking at it does not use it up."""
    link = visit.store.users.link(digest(visit.request.path_params["token"]))
    if link is None:
        raise LinkUsed
    return _guarded(visit, "join.html", link=link, error="")


def with_link(visit: Visit) -> Response:
    """Use the link up: sign in, with a new password where the link asks for one."""
    key = digest(visit.request.path_params["token"])
    link = visit.store.users.link(key)
    if link is None:
        raise LinkUsed
    hashed = ""
    if link.asks_password:
        password = visit.form.get("password", "")
        error = UNLIKE if password != visit.form.get("again", "") else ""
        try:
            hashed = "" if error else hash_password(password)
        except ValueError:
            error = SHORT
        if error:
            return _guarded(visit, "join.html", status=400, link=link, error=error)
    if visit.store.users.use_link(key) is None:
        raise LinkUsed
    if hashed:
        visit.store.users.set_password(link.user.name, hashed)
        visit.store.sessions.close_all(link.user.id)
    _audit(visit, link.user.name, "signed in", "with a link" + (", password chosen" if hashed else ""))
    return enter(visit, link.user, "")


def leave(visit: Visit) -> Response:
    """Sign out: the session ends here and in the browser."""
    visit.audit("signed out")
    if visit.session is not None:
        visit.store.sessions.close(visit.session.key)
    response = RedirectResponse("/login", 303)
    cookies.forget(response, visit.services, cookies.SESSION)
    return response


def first_page(user: User) -> str:
    """Where a user begins: what the roles allow."""
    for role, path in (
        (UserRole.READER, "/"),
        (UserRole.ADMINISTRATOR, "/node"),
        (UserRole.SCIENTIST, "/models"),
        (UserRole.AUDITOR, "/audit"),
    ):
        if role in user.roles:
            return path
    return "/me"


def enter(visit: Visit, user: User, target: str) -> Response:
    """A new session: what the browser held before is worth nothing any more."""
    services = visit.services
    held = cookies.held(visit.request, services, cookies.SESSION)
    if held:
        services.store.sessions.close(digest(held))
    services.store.sessions.sweep(idle=services.idle, lifetime=services.lifetime)
    token = new_token()
    services.store.sessions.open(key=digest(token), user_id=user.id, csrf_token=new_token(), address=visit.address)
    response = RedirectResponse(_target(target, user), 303)
    cookies.hold(response, services, cookies.SESSION, token)
    cookies.forget(response, services, cookies.SIGN_IN)
    return response


def own_path(given: str) -> str:
    """Where to go on: a path of ours, never another site; empty for all else."""
    return given if _OWN_PATH.fullmatch(given) and not given.startswith("/login") else ""


def _target(given: str, user: User) -> str:
    return own_path(given) or first_page(user)


def _guarded(visit: Visit, template: str, *, status: int = 200, **context: object) -> Response:
    """A form for somebody without a session: cookie and field hold the same token."""
    if visit.session is not None:
        return render(visit, template, status=status, token=visit.session.csrf_token, **context)
    token = cookies.held(visit.request, visit.services, cookies.SIGN_IN) or new_token()
    response = render(visit, template, status=status, token=token, **context)
    cookies.hold(response, visit.services, cookies.SIGN_IN, token)
    return response


def _audit(visit: Visit, who: str, action: str, detail: str) -> None:
    visit.store.audit.record(who=who, action=action, address=visit.address, detail=detail)
