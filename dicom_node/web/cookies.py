"""The cookies: one names the session, one guards the sign-in form, one is held while a browser is at the provider."""

from starlette.requests import Request
from starlette.responses import Response

from dicom_node.web.services import Services

__all__ = ["PROVIDER", "SESSION", "SIGN_IN", "forget", "held", "hold"]

SESSION, SIGN_IN, PROVIDER = "lungsentry", "lungsentry-sign-in", "lungsentry-provider"


def held(request: Request, services: Services, name: str) -> str:
    """What the browser holds under this name; empty where it holds nothing."""
    return request.cookies.get(_full(services, name), "")


def hold(response: Response, services: Services, name: str, value: str) -> None:
    """Let the browser hold a value until it is closed; no script sees it, and no other site sends it along."""
    response.set_cookie(
        _full(services, name), value, path="/", httponly=True, samesite="lax", secure=services.encrypted
    )


def forget(response: Response, services: Services, name: str) -> None:
    """Let the browser forget it."""
    response.delete_cookie(_full(services, name), path="/", httponly=True, samesite="lax", secure=services.encrypted)


def _full(services: Services, name: str) -> str:
    """``__Host-`` binds a cookie to this host and to HTTPS; on plain HTTP, which is loopback only, none can be."""
    return f"__Host-{name}" if services.encrypted else name
