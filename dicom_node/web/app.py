"""The application: every page behind its gate, and the headers around all of them."""

from pathlib import Path

from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dicom_node.web.errors import NotThere
from dicom_node.web.feed import EventFeed
from dicom_node.web.gate import PUBLIC, Gate, Page
from dicom_node.web.headers import SecurityHeaders, content_policy
from dicom_node.web.routes import PAGES
from dicom_node.web.services import Services
from dicom_node.web.visit import Visit

__all__ = ["build_app"]

HASHES_AT_ONCE = 2
"""Each takes 64 MiB: a crowd of guesses must not take the memory, nor the threads of those who work."""
_STATIC = Path(__file__).parent / "static"
_BROKEN = (Path(__file__).parent / "templates" / "broken.html").read_text(encoding="utf-8")
"""Made of nothing, since anything may have failed."""


def build_app(services: Services) -> Starlette:
    """The worklist on these services."""
    hashing = CapacityLimiter(HASHES_AT_ONCE)

    def gate(page: Page) -> Gate:
        return Gate(page=page, services=services, hashing=hashing)

    routes: list[BaseRoute] = [Route(page.path, gate(page).answer, methods=[page.method]) for page in PAGES]
    routes.append(Mount("/static", StaticFiles(directory=_STATIC)))

    nothing = gate(Page(path="", handler=_nothing, roles=PUBLIC))

    async def missing(request: Request, _error: Exception) -> Response:
        return await nothing.answer(request)

    app = Starlette(
        routes=routes,
        middleware=[Middleware(SecurityHeaders, services=services)],
        exception_handlers={404: missing, Exception: _broken},
    )
    app.state.feed = EventFeed(services)
    return app


def _nothing(_visit: Visit) -> Response:
    raise NotThere


def _broken(_request: Request, _error: Exception) -> Response:
    told = {
        "Content-Security-Policy": content_policy(()),
        "Cache-Control": "no-store",
    }  # outside the layer that adds them
    return HTMLResponse(_BROKEN, 500, headers=told)
