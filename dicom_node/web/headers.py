"""Headers that every answer carries: what a browser may load, keep and tell others."""

from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicom_node.web.services import Services

__all__ = ["SecurityHeaders", "content_policy"]

STATIC = "/static/"


def content_policy(frame_ancestors: tuple[str, ...]) -> str:
    """The Content-Security-Policy: everything from here, nothing inline, nothing evaluated."""
    ancestors = " ".join(frame_ancestors) or "'none'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        f"form-action 'self'; base-uri 'none'; frame-ancestors {ancestors}"
    )


class SecurityHeaders:
    """Adds the headers; pages are never kept by a browser or a proxy."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        self._app = app
        self._fixed = {
            "Content-Security-Policy": content_policy(services.web.frame_ancestors),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        }
        if not services.web.frame_ancestors:
            self._fixed["X-Frame-Options"] = "DENY"
        if services.encrypted:
            self._fixed["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        caching = "no-cache" if str(scope["path"]).startswith(STATIC) else "no-store"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add(message, {**self._fixed, "Cache-Control": caching})
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _add(message: MutableMapping[str, Any], fixed: dict[str, str]) -> None:
    headers = MutableHeaders(scope=message)
    for name, value in fixed.items():
        headers[name] = value
