"""Who may ask for what: every address against a table, and texts of headers that would be code."""

from pathlib import Path

import pytest
from store_bench import ELIGIBLE, PATIENT, SERIES, Bench, instance
from web_client import Browser, browser_on, services_for

from dicom_node.web import Services
from dicom_node.web.routes import PAGES

R, A, S, U = "rita", "adam", "sven", "aude"  # reader, administrator, scientist, auditor
ALLOWED = {
    ("GET", "/"): R,
    ("GET", "/events"): R + A + S + U,
    ("POST", "/search"): R + A + S,
    ("GET", "/alerts/{alert:int}"): R,
    ("GET", "/alerts/{alert:int}/preview"): R,
    ("GET", "/alerts/{alert:int}/pictures/{name}"): R,
    ("GET", "/alerts/{alert:int}/pack/{name:path}"): R,
    ("GET", "/alerts/{alert:int}/earlier/{name:path}"): R,
    ("GET", "/alerts/{alert:int}/viewer/{viewer}"): R,
    ("POST", "/alerts/{alert:int}/open"): R,
    ("POST", "/alerts/{alert:int}/take-up"): R,
    ("POST", "/alerts/{alert:int}/dismiss"): R,
    ("POST", "/alerts/{alert:int}/pass-on"): R,
    ("POST", "/alerts/{alert:int}/undo"): R,
    ("POST", "/alerts/{alert:int}/verdict"): R,
    ("POST", "/alerts/{alert:int}/run-again"): R,
    ("POST", "/alerts/{alert:int}/reveal"): R,
    ("GET", "/patients/{alert:int}"): R,
    ("GET", "/series"): R + A + S,
    ("GET", "/series/{uid}"): R + A + S,
    ("POST", "/series/{uid}/run-again"): R + A,
    ("GET", "/IHEInvokeImageDisplay"): R,
    ("GET", "/a/{accession}"): R,
    ("GET", "/s/{study}"): R,
    ("GET", "/node"): A,
    ("POST", "/node/peers/allow"): A,
    ("POST", "/node/peers/remove"): A,
    ("POST", "/node/destinations/pause"): A,
    ("POST", "/node/destinations/resume"): A,
    ("POST", "/node/destinations/test"): A,
    ("POST", "/node/destinations/retry"): A,
    ("POST", "/node/deliveries/{delivery:int}/retry"): A,
    ("POST", "/node/deliveries/{delivery:int}/cancel"): A,
    ("GET", "/models"): A + S,
    ("GET", "/models.csv"): S,
    ("GET", "/help"): R + A + S + U,
    ("POST", "/logout"): R + A + S + U,
    ("GET", "/me"): R + A + S + U,
    ("GET", "/me/here"): R + A + S + U,
    ("POST", "/me/preferences"): R + A + S + U,
    ("POST", "/me/theme"): R + A + S + U,
    ("POST", "/me/password"): R + A + S + U,
    ("POST", "/me/sessions"): R + A + S + U,
    ("GET", "/users"): A,
    ("POST", "/users"): A,
    ("POST", "/users/{name}/roles"): A,
    ("POST", "/users/{name}/enabled"): A,
    ("POST", "/users/{name}/link"): A,
    ("GET", "/audit"): U,
    ("GET", "/audit.csv"): U,
}
PUBLIC = {
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/join/{token}"),
    ("POST", "/join/{token}"),
    ("GET", "/oidc/start"),
    ("GET", "/oidc/callback"),
}
HOSTILE = ('<script>alert("x")</script>', '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "' onfocus='alert(1)")


def test_the_table_knows_every_address():
    """An address that is added is added here as well, with who may ask for it."""
    assert {(page.method, page.path) for page in PAGES} == set(ALLOWED) | PUBLIC


@pytest.mark.parametrize("who", [R, A, S, U])
def test_role_sees_what_the_table_allows_and_no_more(services: Services, bench: Bench, who: str):
    """What a role may not see is not there: 404. Without signing in pages lead to the sign-in, and nothing moves."""
    bench.analysed()
    insider, stranger = browser_on(services), browser_on(services)
    insider.sign_in(who)
    stranger.get("/login")
    before = bench.content(without=("audit", "sessions"))
    for (method, path), allowed in ALLOWED.items():
        if who in allowed or method == "GET":
            continue
        assert insider.post(_filled(path)).status_code == 404, path
        assert stranger.post(_filled(path)).status_code in {401, 403}, path
    assert bench.content(without=("audit", "sessions")) == before
    for (method, path), allowed in ALLOWED.items():
        if method != "GET" or path == "/events":
            continue
        answer = insider.get(_filled(path))
        if who not in allowed:
            assert answer.status_code == 404, path
        elif path in {"/", "/series", "/node", "/models", "/users", "/audit", "/me", "/help", "/series/{uid}"}:
            assert answer.status_code == 200, path
        assert stranger.get(_filled(path)).status_code == 303, path


def _filled(path: str) -> str:
    for name, value in {
        "{alert:int}": "1", "{delivery:int}": "1", "{name:path}": "manifest.json", "{name}": "rita", "{viewer}": "pacs",
        "{uid}": SERIES, "{accession}": "ACC-1", "{study}": "1.2.3",
    }.items():  # fmt: skip
        path = path.replace(name, value)
    return path


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_headers_is_text(browser: Browser, bench: Bench, text: str):
    """Descriptions, IDs and accession numbers that would be code stand on the pages as what they are: text."""
    header = {"slice_position_mm": 1.0, "series_description": text, "study_description": text, "accession_number": text}
    recorded = bench.store.intake.record_instance(instance(header=header, patient_id=text, calling_ae_title="<b>CT"))
    bench.store.intake.mark_complete(SERIES, recorded.revision, "in a test")
    bench.store.jobs.enqueue(SERIES, recorded.revision, ELIGIBLE, 3)
    alert = bench.record(bench.claim()).alert_id
    browser.sign_in("rita")
    for path in (
        "/",
        f"/alerts/{alert}",
        f"/alerts/{alert}/preview",
        "/series",
        f"/series/{SERIES}",
        f"/patients/{alert}",
    ):
        page = browser.get(path).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "<b>CT" not in page
        assert "onfocus='alert" not in page
    assert "49" not in browser.get("/series").text.split("<tbody>")[1].split("</tbody>")[0] or "{{" not in text


def test_links_from_elsewhere_lead_to_the_case(browser: Browser, bench: Bench):
    """IHE Invoke Image Display, and the short ones; after signing in one goes on to where the link led."""
    alert = bench.analysed().alert_id
    answer = browser.get("/IHEInvokeImageDisplay?requestType=STUDY&accessionNumber=ACC-1")
    assert answer.headers["location"].startswith("/login?next=%2FIHEInvokeImageDisplay")
    browser.sign_in("rita")
    for path in (
        "/IHEInvokeImageDisplay?requestType=STUDY&studyUID=1.2.3",
        "/IHEInvokeImageDisplay?requestType=STUDY&accessionNumber=ACC-1",
        "/a/ACC-1",
        "/s/1.2.3",
    ):
        assert browser.get(path).headers["location"] == f"/alerts/{alert}"
    assert browser.get("/IHEInvokeImageDisplay?requestType=PATIENT&patientID=1").status_code == 404
    assert browser.get("/a/unknown").status_code == 404


def test_what_is_no_number_is_none(browser: Browser, bench: Bench):
    """Digits of other scripts, and numbers that no database holds, neither end a page nor are they taken for some."""
    bench.analysed()
    browser.sign_in("rita")
    for path in ("/?page=²", "/?page=99999999999999999999", "/series?page=²", "/series?page=-1"):
        assert browser.get(path).status_code == 200, path
    browser.post("/logout")
    browser.sign_in("aude")
    for path in ("/audit?before=²", "/audit?before=99999999999999999999", "/audit?before=٣"):
        assert browser.get(path).status_code == 200, path


def test_link_opens_no_other_examination(browser: Browser, bench: Bench):
    """Neither one whose number or patient ID merely begins alike, nor one of two that share a number."""
    browser.sign_in("rita")
    for number, accession, patient in ((1, "12345", "A"), (2, "77", "1234"), (3, "88", "B"), (4, "88", "C")):
        header = {"slice_position_mm": 5.0, "accession_number": accession}
        uid = f"1.7.{number}"
        sent = instance(series=f"{uid}.1", study_instance_uid=uid, header=header, patient_id=patient)
        bench.store.intake.record_instance(sent)
    assert browser.get("/a/1234").status_code == 404
    assert browser.get("/IHEInvokeImageDisplay?requestType=STUDY&studyUID=1.7").status_code == 404
    assert browser.get("/a/12345").headers["location"] == "/series/1.7.1.1"
    several = browser.get("/a/88").headers["location"]
    assert several.startswith("/series?found=")
    listed = browser.get(several).text
    assert ("1.7.3.1" in listed, "1.7.4.1" in listed, "1.7.1.1" in listed) == (True, True, False)


def test_who_may_not_see_an_id_does_not_find_it(browser: Browser, bench: Bench):
    """A scientist finds series by UIDs; by the beginning of a patient ID an administrator does."""
    bench.store.intake.record_instance(instance())
    for name, finds in (("sven", False), ("adam", True)):
        browser.sign_in(name)
        asked = browser.post("/search", {"list": "/series", "q": PATIENT[:3]}).headers["location"]
        assert (SERIES in browser.get(asked).text) is finds, name
        asked = browser.post("/search", {"list": "/series", "q": SERIES}).headers["location"]
        assert SERIES in browser.get(asked).text
        browser.post("/logout")


def test_refused_peer_is_allowed_from_where_it_called(browser: Browser, bench: Bench):
    """One press lets a scanner in that was refused, from its address alone; the audit tells who did it."""
    bench.store.peers.record_refusal("CT9", "LUNGSENTRY", "10.1.2.18", "the calling AE title is not known")
    browser.sign_in("adam")
    browser.get("/node")
    assert browser.post("/node/peers/allow", {"ae_title": "CT8", "address": "10.1.2.18"}).status_code == 404
    assert browser.post("/node/peers/allow", {"ae_title": "CT9", "address": "10.1.2.18"}).status_code == 303
    assert [(one.ae_title, one.cidr) for one in bench.store.peers.list()] == [("CT9", "10.1.2.18/32")]
    assert [one.subject for one in bench.store.audit.list(action="peer allowed")] == ["CT9"]


def test_several_examinations_of_one_number_are_listed_and_no_other(browser: Browser, bench: Bench):
    """A link by an accession number that belongs to two studies lists these, and none whose number begins alike."""
    browser.sign_in("rita")
    for number, accession in ((1, "88"), (2, "88"), (3, "889")):
        header = {"slice_position_mm": 5.0, "accession_number": accession}
        uid = f"1.7.{number}"
        bench.store.intake.record_instance(instance(series=f"{uid}.1", study_instance_uid=uid, header=header))
    listed = browser.get(browser.get("/a/88").headers["location"]).text
    assert [f"1.7.{number}.1" in listed for number in (1, 2, 3)] == [True, True, False]


@pytest.mark.usefixtures("services")
def test_where_no_id_is_shown_none_finds_a_case(bench: Bench, tmp_path: Path):
    """With ``patient_data`` none a reader finds a flagged case by its UID, and not by the beginning of an ID."""
    bench.analysed()
    for shown, finds in (("none", False), ("masked", True)):
        browser = browser_on(services_for(bench.store, tmp_path, patient_data=shown))
        browser.sign_in("rita")
        for text, found in ((PATIENT[:3], finds), ("ACC", finds), ("1.2.3", True)):
            asked = browser.post("/search", {"list": "/", "q": text}).headers["location"]
            assert ('href="/alerts/1"' in browser.get(asked).text) is found, (shown, text)


def test_who_works_on_a_page_stays_signed_in(browser: Browser, bench: Bench):
    """A page's own questions keep nobody signed in; that somebody presses keys or scrolls does."""
    for asks, signed_in in ((False, 303), (True, 200)):
        browser.sign_in("rita")
        for _ in range(4):
            bench.clock.advance(10 * 60)
            browser.get("/", headers={"x-quiet": "1"})
            if asks:
                assert browser.get("/me/here").status_code == 204
        assert browser.get("/").status_code == signed_in


def test_what_is_not_shown_says_what_to_do(browser: Browser):
    """An address that is none, before and after signing in, with the way on that who asks has."""
    assert 'href="/login"' in browser.get("/nowhere").text
    browser.sign_in("aude")
    answer = browser.get("/nowhere")
    assert (answer.status_code, 'href="/audit"' in answer.text) == (404, True)
    assert browser.get("/").status_code == 404
