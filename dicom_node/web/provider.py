"""Signing in at an identity provider: OpenID Connect, the code flow with PKCE. Roles come from a claim."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx2
from authlib.common.security import generate_token
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from db import UserRole
from dicom_node.settings import Oidc
from dicom_node.web.errors import WebError

__all__ = ["Attempt", "Person", "Provider", "ProviderAway", "ProviderRefused"]

TIMEOUT_S = 10.0
LEEWAY_S = 60
"""By how much the provider's clock may differ from ours."""
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"]
"""Signatures by a key that the provider publishes; never by a secret that both sides hold, and never none."""
_REFRESH_S = 300.0


class ProviderAway(WebError):
    """The identity provider cannot be reached. A local user can sign in by password."""

    status: ClassVar[int] = 502


class ProviderRefused(WebError):
    """The identity provider did not vouch for you. Begin again from the sign-in page."""

    status: ClassVar[int] = 403


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What a browser holds while it is at the provider: what the answer has to fit, and where to go on."""

    state: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    target: str

    def as_text(self) -> str:
        """As a cookie holds it."""
        return urlencode(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom the provider vouches for; ``subject`` is the same at each sign-in."""

    subject: str
    name: str
    roles: frozenset[UserRole]


class Provider:
    """The identity provider of the settings; what it publishes is read once, and again when a key is not among it."""

    def __init__(self, settings: Oidc, *, issuer: str) -> None:
        self._settings = settings
        self._issuer = issuer
        self._secret = settings.client_secret
        self._reading = threading.Lock()
        self._configuration: Mapping[str, Any] = {}
        self._keys: KeySet | None = None
        self._keys_read = 0.0

    def begin(self, target: str, back: str) -> tuple[str, Attempt]:
        """Where the browser goes, and what it holds meanwhile; ``back`` is where it returns to."""
        attempt = Attempt(
            state=generate_token(32), nonce=generate_token(32), verifier=generate_token(64), target=target
        )
        address = prepare_grant_uri(
            self._published("authorization_endpoint"),
            client_id=self._settings.client_id,
            response_type="code",
            redirect_uri=back,
            scope="openid profile email",
            state=attempt.state,
            nonce=attempt.nonce,
            code_challenge=create_s256_code_challenge(attempt.verifier),
            code_challenge_method="S256",
        )
        return address, attempt

    def finish(self, code: str, attempt: Attempt, back: str) -> Person:
        """Whom the provider vouches for with this code.

        Raises:
            ProviderAway: it cannot be reached.
            ProviderRefused: the code, or the token, is not what was asked for.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "client_id": self._settings.client_id,
            "code_verifier": attempt.verifier,
        }
        if self._secret:
            form["client_secret"] = self._secret
        answer = self._ask("POST", self._published("token_endpoint"), form)
        claims = self._checked(str(answer.get("id_token", "")), str(answer.get("access_token", "")), attempt)
        return self._person(claims)

    def _checked(self, token: str, access_token: str, attempt: Attempt) -> Mapping[str, Any]:
        """The claims of an ID token that this provider has signed for us, in this attempt, and lately."""
        try:
            try:
                decoded = jwt.decode(token, self._key_set(), algorithms=_ALGORITHMS)
            except (JoseError, ValueError):
                decoded = jwt.decode(token, self._key_set(again=True), algorithms=_ALGORITHMS)
            options = {name: {"essential": True, "value": value} for name, value in self._expected().items()}
            params = {"nonce": attempt.nonce, "client_id": self._settings.client_id, "access_token": access_token}
            claims = CodeIDToken(decoded.claims, decoded.header, options, params)
            claims.validate(now=int(time.time()), leeway=LEEWAY_S)
        except (JoseError, ValueError) as error:
            raise ProviderRefused from error
        return decoded.claims

    def _expected(self) -> dict[str, str]:
        return {"iss": self._issuer, "aud": self._settings.client_id}

    def _person(self, claims: Mapping[str, Any]) -> Person:
        settings = self._settings
        held = claims.get(settings.roles_claim)
        held = {held} if isinstance(held, str) else {one for one in held or () if isinstance(one, str)}
        return Person(
            subject=f"{self._issuer} {claims['sub']}",
            name=str(claims.get("preferred_username") or claims.get("email") or ""),
            roles=frozenset(role for role in UserRole if getattr(settings, role.value) in held),
        )

    def _published(self, name: str) -> str:
        with self._reading:
            if not self._configuration:
                found = self._ask("GET", f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != self._issuer:
                    raise ProviderAway("The identity provider calls itself otherwise than the settings do.")
                self._configuration = found
            return str(self._configuration.get(name, ""))

    def _key_set(self, *, again: bool = False) -> KeySet:
        address = self._published("jwks_uri")
        with self._reading:
            late = time.monotonic() - self._keys_read > _REFRESH_S  # a forged key must not make us ask without end
            if self._keys is None or (again and late):
                self._keys = KeySet.import_key_set(self._ask("GET", address))  # pyright: ignore[reportArgumentType]
                self._keys_read = time.monotonic()
            return self._keys

    def _ask(self, method: str, address: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        try:
            answer = httpx2.request(method, address, data=form, timeout=TIMEOUT_S)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ProviderAway from error
        if form is not None and answer.is_client_error:
            raise ProviderRefused
        try:
            answer.raise_for_status()
            found = answer.json()
        except (httpx2.HTTPError, json.JSONDecodeError) as error:
            raise ProviderAway from error
        if not isinstance(found, dict):
            raise ProviderAway
        return found
