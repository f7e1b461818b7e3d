"""An identity provider on Authlib's server side: codes with PKCE, ID tokens signed by a key of its own.

Whoever comes is the person that the test says; what goes wrong, if anything, the test says as well.
"""

# ruff: noqa: ARG002 - what a method is given, Authlib decides

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core import OpenIDCode
from joserfc.jwk import KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

CLIENT_ID, SECRET = "lungsentry", "a secret of both"


@dataclass
class Code:
    """A code, and all that it stands for."""

    redirect_uri: str
    scope: str
    user: str
    nonce: str
    code_challenge: str
    code_challenge_method: str

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class Client(ClientMixin):
    """The worklist, as it is registered; ``back`` is where its codes may go."""

    def __init__(self, back: str) -> None:
        self.back = back

    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == self.back

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return (method, endpoint) == ("client_secret_post", "token")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class IdentityProvider:
    """What it knows, and what a test makes it say."""

    address: str = ""
    back: str = ""
    person: dict[str, Any] = field(default_factory=dict[str, Any])
    changed: dict[str, Any] = field(default_factory=dict[str, Any])
    """Claims that it tells otherwise than it should."""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, parameters={"kid": "now"}))
    published: RSAKey | None = None
    """The key that it publishes, where that is not the one that it signs with."""
    codes: dict[str, Code] = field(default_factory=dict[str, Code])


class _Server(AuthorizationServer):
    def __init__(self, provider: IdentityProvider) -> None:
        super().__init__()
        self.provider = provider

    def query_client(self, client_id: str) -> Client | None:
        return Client(self.provider.back) if client_id == CLIENT_ID else None

    def save_token(self, token: Any, request: Any) -> None:
        """Nobody asks for it again."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: Any) -> OAuth2Request:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> Response:
        names = dict(headers)
        return JSONResponse(body, status, names) if isinstance(body, dict) else Response(body, status, names)


def _grant(provider: IdentityProvider) -> type[AuthorizationCodeGrant]:
    class Grant(AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)

        def save_authorization_code(self, code: str, request: Any) -> None:
            asked = request.payload.data
            names = ("redirect_uri", "scope", "nonce", "code_challenge", "code_challenge_method")
            provider.codes[code] = Code(user=request.user, **{name: asked[name] for name in names})

        def query_authorization_code(self, code: str, client: Any) -> Code | None:
            return provider.codes.get(code)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            provider.codes = {key: one for key, one in provider.codes.items() if one is not authorization_code}

        def authenticate_user(self, authorization_code: Code) -> str:
            return authorization_code.user

    return Grant


def _tokens(provider: IdentityProvider) -> OpenIDCode:
    class Tokens(OpenIDCode):
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return any(one.nonce == nonce for one in provider.codes.values())

        def resolve_client_private_key(self, client: Any) -> RSAKey:
            return provider.key

        def get_encode_header(self, client: Any) -> dict[str, str]:
            return {"alg": "RS256", "kid": "now"}

        def get_client_claims(self, client: Any) -> dict[str, Any]:
            return {"iss": provider.address, "aud": [CLIENT_ID]}

        def generate_user_info(self, user: str, scope: str) -> dict[str, Any]:
            return {**provider.person, **provider.changed}

    return Tokens(require_nonce=True)


def _app(provider: IdentityProvider) -> Starlette:
    server = _Server(provider)
    server.register_grant(_grant(provider), [CodeChallenge(required=True), _tokens(provider)])
    make = BearerTokenGenerator(lambda **_: "an-access-token")
    server.register_token_generator("default", make)

    async def asked(request: Request) -> OAuth2Request:
        form = dict(await request.form()) if request.method == "POST" else dict(request.query_params)
        made = _Asked(request.method, str(request.url).replace("http://", "https://"), headers=dict(request.headers))
        made.given = {name: str(value) for name, value in form.items()}
        made.payload = BasicOAuth2Payload(made.given)
        return made

    async def configuration(_request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": provider.address,
                "authorization_endpoint": f"{provider.address}/authorize",
                "token_endpoint": f"{provider.address}/token",
                "jwks_uri": f"{provider.address}/keys",
            }
        )

    async def keys(_request: Request) -> Response:
        return JSONResponse(KeySet([provider.published or provider.key]).as_dict(private=False))

    async def authorize(request: Request) -> Response:
        question = await asked(request)
        grant = server.get_consent_grant(question, end_user=provider.person["sub"])
        return server.create_authorization_response(question, grant_user=provider.person["sub"], grant=grant)

    async def token(request: Request) -> Response:
        return server.create_token_response(await asked(request))

    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", configuration),
            Route("/keys", keys),
            Route("/authorize", authorize),
            Route("/token", token, methods=["POST"]),
        ]
    )


class _Asked(OAuth2Request):
    given: dict[str, str]

    @property
    def args(self) -> dict[str, str]:
        return self.given if self.method == "GET" else {}

    @property
    def form(self) -> dict[str, str]:
        return self.given if self.method == "POST" else {}


@contextmanager
def identity_provider() -> Iterator[IdentityProvider]:
    """One that runs, on a port of this machine."""
    provider = IdentityProvider()
    config = uvicorn.Config(_app(provider), host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # pyright: ignore[reportAttributeAccessIssue]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    provider.address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(10)
