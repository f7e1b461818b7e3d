"""The application: every page behind its gate, and the headers around all of them."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dicom_node.web.feed import EventFeed
from dicom_node.web.gate import Gate, refusal
from dicom_node.web.headers import SecurityHeaders, content_policy
from dicom_node.web.routes import PAGES
from dicom_node.web.services import Services
from dicom_node.web.visit import Visit

__all__ = ["build_app"]

_STATIC = Path(__file__).parent / "static"


def build_app(services: Services) -> Starlette:
    """The worklist on these services."""
    routes: list[BaseRoute] = [
        Route(page.path, Gate(page=page, services=services).answer, methods=[page.method]) for page in PAGES
    ]
    routes.append(Mount("/static", StaticFiles(directory=_STATIC)))

    def missing(request: Request, _error: Exception) -> Response:
        return refusal(Visit(request=request, services=services, session=None), 404, "There is no such page.")

    app = Starlette(
        routes=routes,
        middleware=[Middleware(SecurityHeaders, services=services)],
        exception_handlers={404: missing, Exception: _broken},
    )
    app.state.feed = EventFeed(services)
    return app


def _broken(_request: Request, _error: Exception) -> Response:
    told = {
        "Content-Security-Policy": content_policy(()),
        "Cache-Control": "no-store",
    }  # outside the layer that adds them
    return PlainTextResponse("Something went wrong here. It is in the node's log.", 500, headers=told)
