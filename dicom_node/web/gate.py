"""The gate before every page: who asks, whether they may, and whether a form is one of ours."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog
from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from db import DatabaseUnavailable, UserRole, UserSession
from dicom_node.logs import cause_of
from dicom_node.secret import digest, same
from dicom_node.web import cookies
from dicom_node.web.errors import NotThere, Refused, SignInFirst, TooLarge, WebError
from dicom_node.web.services import Services
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit, whole_number

__all__ = ["CSRF_FIELD", "CSRF_HEADER", "EVERYBODY", "PUBLIC", "Gate", "Handler", "Page"]

_LOG = structlog.stdlib.get_logger()

Handler = Callable[[Visit], Response]
EVERYBODY = frozenset(UserRole)
PUBLIC: frozenset[UserRole] = frozenset()
CSRF_FIELD, CSRF_HEADER = "csrf", "x-csrf-token"
QUIET_HEADER = "x-quiet"
"""Carried by what a page asks by itself, so that an idle reader is signed out all the same."""
MOST_FORM_BYTES = 65_536
UNAVAILABLE = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An address, what answers it, and the roles that may ask; no role: anybody, signed in or not."""

    path: str
    handler: Handler
    roles: frozenset[UserRole]
    method: str = "GET"
    hashes: bool = False
    """Whether it takes the hash of a password: 64 MiB and some tenths of a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Stands before one page. ``hashing`` are the threads of those that take hashes: they hold up one another alone."""

    page: Page
    services: Services
    hashing: CapacityLimiter

    async def answer(self, request: Request) -> Response:
        """The page, or why it is not shown."""
        visit = Visit(request=request, services=self.services, session=None)
        try:
            form = await self._form(request)
            session = await run_in_threadpool(self._session, request)
            visit = Visit(request=request, services=self.services, session=session, form=form)
            self._check_role(session)
            self._check_token(visit)
            return await to_thread.run_sync(
                self.page.handler, visit, limiter=self.hashing if self.page.hashes else None
            )
        except SignInFirst as error:
            if request.method == "GET" and not visit.wants_json and not _is_stream(request):
                return _to_sign_in(request)
            return refusal(visit, error.status, str(error))
        except WebError as error:
            return await run_in_threadpool(refusal, visit, error.status, str(error))
        except DatabaseUnavailable as error:
            _LOG.error("page.unavailable", page=self.page.path, cause=cause_of(error))
            return refusal(visit, UNAVAILABLE, "The database cannot be reached. What is shown may be out of date.")

    async def _form(self, request: Request) -> dict[str, str]:
        if request.method != "POST":
            return {}
        _check_origin(request, "https" if self.services.encrypted else "http")
        length = whole_number(request.headers.get("content-length", ""))
        if length is None or length > MOST_FORM_BYTES:
            raise TooLarge
        async with request.form(max_files=0, max_fields=64) as form:
            return {name: value.replace("\0", "") for name, value in form.items() if isinstance(value, str)}

    def _session(self, request: Request) -> UserSession | None:
        token = cookies.held(request, self.services, cookies.SESSION)
        if not token:
            return None
        return self.services.store.sessions.find(
            digest(token),
            idle=self.services.idle,
            lifetime=self.services.lifetime,
            touch=not (_is_stream(request) or QUIET_HEADER in request.headers),
        )

    def _check_role(self, session: UserSession | None) -> None:
        if not self.page.roles:
            return
        if session is None:
            raise SignInFirst
        if session.user.roles.isdisjoint(self.page.roles):
            raise NotThere

    def _check_token(self, visit: Visit) -> None:
        if self.page.method != "POST":
            return
        if visit.session is not None:
            expected = visit.session.csrf_token
        else:
            expected = cookies.held(visit.request, self.services, cookies.SIGN_IN)
        given = visit.form.get(CSRF_FIELD, "") or visit.request.headers.get(CSRF_HEADER, "")
        if not expected or not same(given, expected):
            raise Refused("The page was open for too long, or is not one of this worklist. Load it again.")


def refusal(visit: Visit, status: int, reason: str) -> Response:
    """Why there is no page: as data for a script, as a page for a person."""
    if visit.wants_json:
        return JSONResponse({"error": reason}, status)
    return render(visit, "error.html", status=status, reason=reason)


def _check_origin(request: Request, scheme: str) -> None:
    """The browser says that the form stands on a page of this very site.

    A page that tells no referrer, as ours, has no origin to tell with a form either: then Sec-Fetch-Site counts.

    Raises:
        Refused: it says otherwise, or does not say.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = f"{scheme}://{request.headers.get('host', '')}"
    if site not in {None, "same-origin"}:
        raise Refused
    if origin != own and (site is None or origin not in {None, "null"}):
        raise Refused


def _is_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _to_sign_in(request: Request) -> Response:
    from urllib.parse import quote

    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse("/login" if target == "/" else f"/login?next={quote(target, safe='')}", 303)
