"""One HTTP exchange with a destination: no redirect, limits on time and on what is answered, no body in errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import httpx2

from dicom_node.delivery.errors import Busy, DeliveryError, NotAdmitted, Refused, Unreachable
from dicom_node.delivery.secret_file import secrets_of
from dicom_node.delivery.time_limit import STEPS, time_limit
from dicom_node.network.tls import TlsError, reason_of, server_trust

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Answer", "exchange", "raise_for"]

_MOST_BYTES = 1_048_576
_LATER = frozenset({408, 425, 429})  # RFC 9110, RFC 8470, RFC 6585: of the moment
_NOT_ADMITTED = frozenset({401, 403, 407})


class HttpServer(Protocol):
    """What a destination's settings say about a server that is spoken to by HTTP."""

    @property
    def url(self) -> str:
        """Its address."""
        ...

    @property
    def user(self) -> str | None:
        """Who is let in."""
        ...

    @property
    def password_file(self) -> Path | None:
        """Where the password stands."""
        ...

    @property
    def certificates(self) -> Path | None:
        """Who is trusted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; at most a megabyte of it."""

    status: int
    body: bytes


def exchange(
    server: HttpServer,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    content: bytes | Iterable[bytes] = b"",
    timeout_s: float,
) -> Answer:
    """Ask once.

    Raises:
        Unreachable: nobody answers, or not to the end, in time, or within the limit.
        NotAdmitted: the password or the certificates cannot be used.
    """
    held: list[socket.socket] = []

    def trace(event: str, info: Mapping[str, Any]) -> None:
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            held[:] = [info["return_value"].get_extra_info("socket")]

    host = httpx2.URL(url).host
    asked = {"accept-encoding": "identity", **(headers or {})}  # what is small packed may be large
    try:
        with (
            httpx2.Client(
                verify=server_trust(server.certificates), timeout=timeout_s, trust_env=False, auth=_auth(server)
            ) as client,
            time_limit(lambda: held[0] if held else None, timeout_s * STEPS),
            client.stream(method, url, headers=asked, content=content, extensions={"trace": trace}) as response,
        ):
            body = bytearray()
            for chunk in response.iter_raw(65_536):
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise Unreachable(f"{host} answers without end.")
            return Answer(status=response.status_code, body=bytes(body))
    except httpx2.HTTPError as error:
        raise Unreachable(f"{host}: {_reason(error)}.") from error
    except TlsError as error:
        raise NotAdmitted(str(error)) from error


def raise_for(status: int, host: str) -> None:
    """What an HTTP status other than success means for another attempt.

    Raises:
        DeliveryError: it is no success.
    """
    if 200 <= status < 300:
        return
    kind: type[DeliveryError] = Refused
    if status in _NOT_ADMITTED:
        kind = NotAdmitted
    elif status in _LATER or status >= 500:
        kind = Busy
    raise kind(f"{host} replied {status}.")


def _auth(server: HttpServer) -> tuple[str, str] | None:
    if server.user is None or server.password_file is None:
        return None
    return server.user, secrets_of(server.password_file)[0]


def _reason(error: httpx2.HTTPError) -> str:
    """The reason in a word; the library's own text may quote the address."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return reason_of(cause)
        cause = cause.__cause__ or cause.__context__
    return "it took too long" if isinstance(error, httpx2.TimeoutException) else type(error).__name__
