"""What somebody searches for may be a patient's ID: in an address it stands sealed, and only this session opens it."""

from urllib.parse import urlencode

from starlette.responses import JSONResponse, RedirectResponse, Response

from db import UserRole
from dicom_node.secret import sealed, unsealed
from dicom_node.web import cookies
from dicom_node.web.errors import NotThere
from dicom_node.web.visit import Visit

__all__ = ["FOUND", "page", "seal", "searched"]

FOUND = "found"
"""The name under which a sealed search stands in an address."""
_MOST = 128
_LISTS = {"/": frozenset({UserRole.READER}), "/series": frozenset(UserRole) - {UserRole.AUDITOR}}


def page(visit: Visit) -> Response:
    """On to the list with what was searched for, and with the filters that were sent along."""
    to = visit.form.get("list", "/")
    if to not in _LISTS or _LISTS[to].isdisjoint(visit.roles):
        raise NotThere
    asked = {name: value for name, value in visit.form.items() if value and name not in {"csrf", "list", "q", FOUND}}
    text = visit.form.get("q", "").replace("\0", "").strip()[:_MOST]
    if text:
        asked[FOUND] = seal(visit, text)
    address = f"{to}?{urlencode(asked)}"
    return JSONResponse({"address": address}) if visit.wants_json else RedirectResponse(address, 303)


def seal(visit: Visit, text: str) -> str:
    """The text as an address of this session holds it."""
    return sealed(text, _token(visit))


def searched(visit: Visit) -> str:
    """What the address searches for; empty for nothing, and for what another session has sealed."""
    return unsealed(visit.query.get(FOUND, ""), _token(visit))


def _token(visit: Visit) -> str:
    return cookies.held(visit.request, visit.services, cookies.SESSION)
