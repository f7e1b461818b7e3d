"""Signing in to the worklist: sessions, lock-out, links that work once, forged forms."""

from dataclasses import replace

import pytest
from sqlalchemy import create_engine, delete, update
from sqlalchemy.exc import DBAPIError
from store_bench import Bench
from web_client import PASSWORD, Browser, add_user, browser_on

from db import DatabaseUnavailable, StaleState, StoreError, UserRole
from db.account_rows import AuditRow, SessionRow
from dicom_node.secret import digest
from dicom_node.web import Services


def _who_did(bench: Bench) -> list[tuple[str, str]]:
    return [(one.who, one.action) for one in reversed(bench.store.audit.list())]


def test_right_password_signs_in_and_leaves_a_row_of_the_audit(browser: Browser, bench: Bench):
    """A reader signs in, is somebody, and signs out; each is in the audit trail with the address."""
    assert browser.sign_in("rita").headers["location"] == "/"
    assert "rita" in browser.get("/me").text
    assert browser.post("/logout").headers["location"] == "/login"
    assert browser.get("/me").headers["location"] == "/login?next=%2Fme"
    assert _who_did(bench) == [("rita", "signed in"), ("rita", "signed out")]
    assert bench.store.audit.list()[0].address == "testclient"


def test_wrong_name_wrong_password_and_lock_out_have_the_same_words(browser: Browser, bench: Bench):
    """Nobody learns by guessing which names there are; after five wrong guesses even the right password waits."""
    answers = [browser.sign_in("nobody", "guess-guess-guess")]
    answers += [browser.sign_in("rita", f"guess-guess-{number}") for number in range(6)]
    answers.append(browser.sign_in("rita"))
    pages = {answer.text.replace('value="nobody"', "").replace('value="rita"', "") for answer in answers}
    assert {answer.status_code for answer in answers} == {401}
    assert len(pages) == 1
    bench.clock.advance(61)
    assert browser.sign_in("rita").status_code == 303
    assert "guess" not in str(bench.store.audit.list())


def test_each_further_wrong_guess_doubles_the_wait(bench: Bench, services: Services):
    """The sixth wrong guess costs a minute, the seventh two, and no wait is longer than an hour."""
    waits: list[float] = []
    for _ in range(14):
        user = services.store.users.failed("rita")
        assert user is not None
        waits.append((user.locked_until - bench.clock()).total_seconds() if user.locked_until else 0)
    assert waits[:8] == [0, 0, 0, 0, 0, 60, 120, 240]
    assert max(waits) == 3600


def test_session_is_a_new_one_at_each_sign_in(browser: Browser, services: Services):
    """Whoever knew or set the cookie before somebody signed in holds nothing afterwards."""
    browser.sign_in("rita")
    first = browser.client.cookies["lungsentry"]
    stranger = browser_on(services)
    stranger.client.cookies.set("lungsentry", "fixed-by-an-attacker")
    stranger.sign_in("aude")
    assert stranger.client.cookies.get("lungsentry", domain="testserver.local") != "fixed-by-an-attacker"
    browser.get("/login")
    browser.post("/logout")
    browser.sign_in("rita")
    assert browser.client.cookies["lungsentry"] != first
    browser.client.cookies.set("lungsentry", first)
    stale = browser_on(services)
    stale.client.cookies.set("lungsentry", first)
    assert stale.get("/me").status_code == 303


@pytest.mark.parametrize("seconds", [30 * 60, 12 * 3600])
def test_session_ends_by_itself(browser: Browser, bench: Bench, seconds: int):
    """Half an hour without a request, or twelve hours in any case, and the browser is signed out."""
    browser.sign_in("rita")
    for _ in range(0, seconds - 1200, 1200):
        bench.clock.advance(1200 if seconds > 3600 else 0)
        assert browser.get("/me").status_code == 200
    bench.clock.advance(1200 if seconds > 3600 else seconds)
    assert browser.get("/me").status_code == 303


def test_the_database_holds_no_cookie(browser: Browser, bench: Bench):
    """Who reads the table of sessions cannot take one over."""
    browser.sign_in("rita")
    assert browser.client.cookies["lungsentry"] not in str(bench.content())


def test_disabled_user_is_out_at_once(browser: Browser, bench: Bench):
    """What is open ends with the row; the password is of no use any more."""
    browser.sign_in("rita")
    bench.store.users.set_enabled("rita", enabled=False)
    assert browser.get("/me").status_code == 303
    assert browser.sign_in("rita").status_code == 401


def test_link_works_once_and_sets_the_password(browser: Browser, bench: Bench, services: Services):
    """Looking at the link does not use it up; the form does, after twelve characters, twice the same."""
    bench.store.users.add("nina", [UserRole.READER])
    bench.store.users.add_link("nina", key=digest("t0ken"), lifetime=services.idle, asks_password=True)
    assert browser.get("/join/t0ken").status_code == browser.get("/join/t0ken").status_code == 200
    assert browser.post("/join/t0ken", {"password": "short", "again": "short"}).status_code == 400
    assert browser.post("/join/t0ken", {"password": PASSWORD, "again": "other"}).status_code == 400
    assert browser.post("/join/t0ken", {"password": PASSWORD, "again": PASSWORD}).headers["location"] == "/"
    used = browser_on(services).get("/join/t0ken")
    assert used.status_code == 404
    assert "This link has been used" in used.text
    assert "no such page" not in used.text
    assert browser_on(services).sign_in("nina").status_code == 303


def test_old_link_is_no_link(browser: Browser, bench: Bench, services: Services):
    """A link ends by itself."""
    bench.store.users.add_link("rita", key=digest("t0ken"), lifetime=services.idle, asks_password=True)
    bench.clock.advance(services.idle.total_seconds())
    assert browser.get("/join/t0ken").status_code == 404


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ({"origin": "http://evil.example"}, True),
        ({"origin": "http://testserver", "sec-fetch-site": "cross-site"}, True),
        ({"origin": "null"}, True),
        ({}, True),
        ({"origin": "http://testserver"}, False),
    ],
)
def test_forged_form_changes_no_row(browser: Browser, bench: Bench, headers: dict[str, str], token: bool):
    """Another site's form, one that does not say where it stands, and one without the token: 403, and nothing moves."""
    browser.sign_in("adam")
    before = bench.content()
    form = {"name": "mallory", "role-administrator": "on", **({"csrf": browser.token} if token else {})}
    answer = browser.client.post("/users", data=form, headers=headers, follow_redirects=False)
    assert answer.status_code == 403
    assert bench.content() == before


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/login?next=/"])
def test_sign_in_leads_to_no_other_site(browser: Browser, target: str):
    """After signing in one is here, whatever the link said."""
    browser.get("/login")
    answer = browser.post("/login", {"name": "rita", "password": PASSWORD, "next": target})
    assert answer.headers["location"] == "/"


def test_audit_is_only_added_to(browser: Browser, bench: Bench):
    """The database itself refuses to change or remove an entry."""
    browser.sign_in("rita")
    engine = create_engine(bench.url)
    for statement in (update(AuditRow).values(who="x"), delete(AuditRow)):
        with pytest.raises(DBAPIError), engine.begin() as connection:
            connection.execute(statement)
    engine.dispose()
    assert bench.count(AuditRow) == 1


def test_somebody_administers_always(bench: Bench, services: Services):
    """The last administrator keeps the role and the right to sign in."""
    users = services.store.users
    with pytest.raises(StaleState):
        users.set_roles("adam", [UserRole.READER])
    with pytest.raises(StaleState):
        users.set_enabled("adam", enabled=False)
    add_user(bench.store, "alma", [UserRole.ADMINISTRATOR])
    assert users.set_enabled("adam", enabled=False).disabled_at is not None


def test_cookie_is_bound_to_https_where_it_can_be(services: Services):
    """Behind a proxy that encrypts the cookie is Secure and of this host alone; it is out of reach of scripts."""
    proxied = browser_on(replace(services, web=services.web.model_copy(update={"behind_proxy": True})))
    cookie = proxied.client.get("/login").headers["set-cookie"]
    assert cookie.startswith("__Host-lungsentry-sign-in=")
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"))
    assert "Domain" not in cookie


def test_unreachable_database_is_told(browser: Browser, services: Services, monkeypatch: pytest.MonkeyPatch):
    """Where the database is away pages say so, and are no error of ours."""
    browser.sign_in("rita")

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    monkeypatch.setattr(type(services.store.sessions), "find", away)
    answer = browser.get("/me")
    assert answer.status_code == 503
    assert "cannot be reached" in answer.text
    assert issubclass(DatabaseUnavailable, StoreError)


def test_sessions_that_ended_leave_the_table(browser: Browser, bench: Bench, services: Services):
    """The table is bounded: a sign-in takes away what has ended."""
    browser.sign_in("rita")
    bench.clock.advance(services.lifetime.total_seconds())
    browser_on(services).sign_in("aude")
    assert bench.count(SessionRow) == 1
