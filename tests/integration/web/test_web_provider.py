"""Signing in at an identity provider: there and back, with the roles of now, and nothing that was forged."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from identity_provider import SECRET, IdentityProvider, identity_provider
from joserfc.jwk import RSAKey
from store_bench import Bench
from web_client import ORIGIN, Browser, browser_on

from db import UserRole
from dicom_node.settings import Oidc
from dicom_node.web import Services
from dicom_node.web.provider import Provider


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        provider.back = f"{ORIGIN}/oidc/callback"
        provider.person = {"sub": "4711", "preferred_username": "nadia", "roles": ["lungsentry-reader"]}
        yield provider


@pytest.fixture
def browser(services: Services, provider: IdentityProvider, tmp_path: Path) -> Browser:
    """A browser at a worklist that knows this provider."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    oidc = Oidc(issuer=provider.address, client_secret_file=tmp_path / "secret", name="the clinic's account")
    web = services.web.model_copy(update={"oidc": oidc})
    return browser_on(replace(services, web=web, provider=Provider(oidc, issuer=provider.address)))


def _there(browser: Browser, target: str = "") -> str:
    """Go to the provider; the address with which it sends the browser back."""
    answer = browser.get(f"/oidc/start{target}")
    assert answer.status_code == 303, answer.text
    vouched = httpx2.get(answer.headers["location"])
    assert vouched.status_code == 302, vouched.text
    return vouched.headers["location"].removeprefix(ORIGIN)


def test_person_comes_back_as_a_user_with_the_roles_of_now(
    browser: Browser, provider: IdentityProvider, bench: Bench, services: Services
):
    """The first sign-in makes the user, a later one brings other roles; neither has a password here."""
    assert "the clinic&#39;s account" in browser.get("/login").text
    answer = browser.get(_there(browser, "?next=/help"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/help")
    assert "nadia" in browser.get("/me").text
    user = bench.store.users.named("nadia")
    assert user is not None
    assert (user.roles, user.password_hash) == (frozenset({UserRole.READER}), None)
    assert user.subject == f"{provider.address} 4711"
    browser.post("/logout")
    provider.person = {**provider.person, "preferred_username": "renamed", "roles": "lungsentry-auditor"}
    assert browser.get(_there(browser)).headers["location"] == "/audit"
    assert [one.roles for one in bench.store.users.list() if one.subject] == [frozenset({UserRole.AUDITOR})]
    told = [(one.who, one.action) for one in reversed(bench.store.audit.list())]
    assert told == [
        ("identity provider", "user added"),
        ("nadia", "signed in"),
        ("nadia", "signed out"),
        ("identity provider", "roles set"),
        ("nadia", "signed in"),
    ]
    assert browser_on(services).get("/oidc/start").status_code == 404  # where no provider is set


def test_name_of_a_local_user_stays_that_user(browser: Browser, provider: IdentityProvider, bench: Bench):
    """Whoever is called like a local administrator at the provider is somebody else here."""
    provider.person = {**provider.person, "preferred_username": "adam"}
    assert browser.get(_there(browser)).status_code == 303
    assert "adam" not in browser.get("/me").text
    local = bench.store.users.named("adam")
    assert local is not None
    assert local.subject is None


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"roles": []}, 403),
        ({"roles": ["lungsentry-reader-of-another-thing"]}, 403),
        ({"nonce": "of another sign-in"}, 403),
        ({"aud": ["another client"]}, 403),
        ({"iss": "http://127.0.0.1:1"}, 403),
        ({"exp": 1_700_000_000}, 403),
    ],
)
def test_token_that_is_not_for_this_sign_in_counts_for_nothing(
    browser: Browser, provider: IdentityProvider, bench: Bench, changes: dict[str, object], status: int
):
    """No role, another's nonce, audience or issuer, or an old token: nobody is signed in and no user is made."""
    provider.changed = changes
    answer = browser.get(_there(browser))
    assert answer.status_code == status
    assert browser.get("/me").status_code == 303
    assert [one for one in bench.store.users.list() if one.subject] == []


def test_signature_by_another_key_counts_for_nothing(browser: Browser, provider: IdentityProvider):
    """Only what the published key has signed is believed."""
    provider.published = RSAKey.generate_key(2048, parameters={"kid": "now"})
    assert browser.get(_there(browser)).status_code == 403


def test_answer_to_somebody_else_counts_for_nothing(browser: Browser, services: Services, provider: IdentityProvider):
    """A code that another browser got, a state that nobody was given, a code used twice, a refusal: 403."""
    back = _there(browser)
    victim = browser_on(replace(services, web=services.web, provider=Provider(Oidc(), issuer=provider.address)))
    assert victim.get(back).status_code == 403
    query = parse_qs(urlsplit(back).query)
    assert browser.get(f"/oidc/callback?code={query['code'][0]}&state=guessed").status_code == 403
    assert browser.get(f"/oidc/callback?error=access_denied&state={query['state'][0]}").status_code == 403
    held = browser.client.cookies["lungsentry-provider"]
    assert browser.get(back).status_code == 303
    browser.client.cookies.set("lungsentry-provider", held)
    assert browser.get(back).status_code == 403


def test_disabled_person_stays_out(browser: Browser, bench: Bench):
    """What the provider vouches for, an administrator here can refuse all the same."""
    browser.get(_there(browser))
    bench.store.users.set_enabled("nadia", enabled=False)
    assert browser.get(_there(browser)).status_code == 403
    assert browser.get("/me").status_code == 303


def test_password_and_roles_are_the_providers(browser: Browser, services: Services, bench: Bench):
    """No link sets a password for a person of the provider, and no form other roles."""
    browser.get(_there(browser))
    administrator = browser_on(services)
    administrator.sign_in("adam")
    administrator.get("/users")
    assert administrator.post("/users/nadia/link").status_code == 409
    assert administrator.post("/users/nadia/roles", {"role-administrator": "on"}).status_code == 409
    user = bench.store.users.named("nadia")
    assert user is not None
    assert user.roles == {UserRole.READER}


def test_provider_that_is_away_is_told_and_passwords_still_work(services: Services):
    """The local administrator gets in while the provider is down."""
    gone = Provider(Oidc(), issuer="http://127.0.0.1:9")
    browser = browser_on(replace(services, provider=gone))
    answer = browser.get("/oidc/start")
    assert answer.status_code == 502
    assert "cannot be reached" in answer.text
    assert browser.sign_in("adam").status_code == 303
