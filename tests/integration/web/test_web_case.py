"""The list and a case over HTTP: what is asked for in the address, who may decide, and who was faster."""

from pathlib import Path

import pytest
from small_pack import small_pack
from store_bench import PATIENT, Bench, artefacts_of
from web_client import Browser, add_user, browser_on

from alerts import ZIP, ArtefactKind, Draft
from db import UserRole, Verdict
from dicom_node.web import Services


@pytest.fixture
def alert(bench: Bench, services: Services) -> int:
    """An open alert whose images are kept."""
    draft = Draft(kind=ArtefactKind.VIEW, name="view.zip", media_type=ZIP, content=small_pack())
    view = draft.artefact()
    (services.results_dir / view.path).parent.mkdir(parents=True)
    (services.results_dir / view.path).write_bytes(draft.content)
    recorded = bench.record(bench.running(), artefacts=(*artefacts_of("report"), view))
    assert recorded.alert_id is not None
    return recorded.alert_id


def test_list_shows_the_alert_and_the_address_narrows(browser: Browser, alert: int):
    """The line stands in the list; a filter that it does not meet leaves it out, one that it meets keeps it."""
    browser.sign_in("rita")
    assert f'data-alert="{alert}"' in browser.get("/").text
    for query, shown in (
        ("kind=ctac", False),
        ("kind=chest_ct", True),
        ("state=dismissed", False),
        ("scanner=CT1&sort=burden&turned=yes", True),
        ("sort=<script>&page=-4&kind=%00", True),
    ):
        answer = browser.get(f"/?{query}")
        assert answer.status_code == 200
        assert (f'data-alert="{alert}"' in answer.text) is shown, query


def test_order_is_told_in_words(browser: Browser, alert: int):
    """What comes first stands above the rows, as the address asks for it."""
    browser.sign_in("rita")
    for query, told in (
        ("", "Most pressing first: overdue, then ACR category"),
        ("sort=burden", "Largest share of opacity first"),
        ("sort=burden&turned=yes", "Smallest share of opacity first"),
    ):
        page = browser.get(f"/?{query}").text
        assert f'data-alert="{alert}"' in page
        assert told in page.partition("<caption>")[2].partition("</caption>")[0], query


def test_search_is_sealed_for_the_session(browser: Browser, services: Services, alert: int):
    """What was searched for leads to its rows in this session, in both lists; in another it says nothing."""
    browser.sign_in("rita")
    for text, shown in (("ACC-1", True), (PATIENT, True), ("nothing", False), ("\0", True)):
        for path, row in (("/", f'data-alert="{alert}"'), ("/series", 'href="/series/')):
            browser.get(path)
            address = browser.post("/search", {"q": text, "list": path, "state": ""}).headers["location"]
            assert text not in address
            answer = browser.get(address)
            assert answer.status_code == 200
            assert (row in answer.text.partition("<tbody>")[2]) is shown, (text, path)
    address = browser.post("/search", {"q": "nothing"}).headers["location"]
    other = browser_on(services)
    other.sign_in("rita")
    assert f'data-alert="{alert}"' in other.get(address).text
    assert browser.post("/search", {"q": "x", "list": "//elsewhere.example"}).status_code == 404


def test_masked_by_default_and_revealed_on_the_record(browser: Browser, bench: Bench, alert: int):
    """The patient's ID stands in no page; a reveal tells it, after its row of the audit is written."""
    browser.sign_in("rita")
    for path in ("/", f"/alerts/{alert}", f"/alerts/{alert}/preview"):
        assert PATIENT not in browser.get(path).text
    browser.get(f"/alerts/{alert}")
    answer = browser.post(f"/alerts/{alert}/reveal")
    assert answer.json() == {"patient": PATIENT}
    revealed = bench.store.audit.list(action="revealed")
    assert [(one.who, one.subject) for one in revealed] == [("rita", f"alert {alert}")]
    assert PATIENT not in str(bench.store.audit.list())


def test_only_who_opened_decides(browser: Browser, bench: Bench, alert: int):
    """Without a look at the images there is no decision, and no row of it."""
    browser.sign_in("rita")
    browser.get(f"/alerts/{alert}")
    assert browser.post(f"/alerts/{alert}/take-up").status_code == 409
    assert bench.store.alerts.get(alert).state.value == "open"  # pyright: ignore[reportOptionalMemberAccess]
    assert not bench.store.audit.list(action="taken up")
    browser.post(f"/alerts/{alert}/open")
    assert browser.post(f"/alerts/{alert}/take-up", {"note": "called"}).status_code == 303
    taken = bench.store.alerts.get(alert)
    assert taken is not None
    assert (taken.state.value, taken.decided_by, taken.note) == ("acknowledged", "rita", "called")
    assert [one.who for one in bench.store.audit.list(action="taken up")] == ["rita"]


def test_of_two_readers_one_wins_and_the_other_is_told_who(browser: Browser, services: Services, alert: int):
    """The second gets 409 with the name and the time of the first, and the audit trail tells of both as it was."""
    add_user(services.store, "ben", [UserRole.READER])
    other = browser_on(services)
    for one, name in ((browser, "rita"), (other, "ben")):
        one.sign_in(name)
        one.get(f"/alerts/{alert}")
        one.post(f"/alerts/{alert}/open")
    assert browser.post(f"/alerts/{alert}/take-up").status_code == 303
    answer = other.post(f"/alerts/{alert}/take-up")
    assert answer.status_code == 409
    assert "rita was faster: taken up at 12:00:00" in answer.text
    assert [one.who for one in services.store.audit.list(action="taken up")] == ["rita"]
    assert [(one.who, one.detail) for one in services.store.audit.list(action="refused")] == [("ben", "taken up")]


def test_dismissal_needs_a_reason(browser: Browser, bench: Bench, alert: int):
    """One of five reasons, or nothing happens."""
    browser.sign_in("rita")
    browser.get(f"/alerts/{alert}")
    browser.post(f"/alerts/{alert}/open")
    assert browser.post(f"/alerts/{alert}/dismiss").status_code == 400
    assert browser.post(f"/alerts/{alert}/dismiss", {"reason": "boring"}).status_code == 400
    assert browser.post(f"/alerts/{alert}/dismiss", {"reason": "known", "note": "since May"}).status_code == 303
    dismissed = bench.store.alerts.get(alert)
    assert dismissed is not None
    assert (dismissed.reason, dismissed.note) == ("known", "since May")


def test_passed_on_case_names_whom_and_is_taken_back(browser: Browser, bench: Bench, services: Services, alert: int):
    """A case goes to a reader who may sign in; who passed it on takes that back for ten minutes, and nobody else."""
    add_user(services.store, "ben", [UserRole.READER])
    other = browser_on(services)
    for one, name in ((browser, "rita"), (other, "ben")):
        one.sign_in(name)
        one.get(f"/alerts/{alert}")
        one.post(f"/alerts/{alert}/open")
    for nobody in ("", "rita", "adam", "<b>"):
        assert browser.post(f"/alerts/{alert}/pass-on", {"to": nobody}).status_code == 400
    assert browser.post(f"/alerts/{alert}/pass-on", {"to": "ben"}).status_code == 303
    assert "Passed on</b> to ben by rita" in browser.get(f"/alerts/{alert}").text
    assert f'data-alert="{alert}"' in other.get("/?state=passed").text
    assert other.post(f"/alerts/{alert}/undo").status_code == 409
    assert f'formaction="/alerts/{alert}/undo"' not in other.get(f"/alerts/{alert}").text
    assert browser.post(f"/alerts/{alert}/undo").status_code == 303
    assert f'data-alert="{alert}"' in browser.get("/").text
    browser.post(f"/alerts/{alert}/take-up")
    bench.clock.advance(11 * 60)
    assert browser.post(f"/alerts/{alert}/undo").status_code == 409
    told = [one.action for one in reversed(bench.store.audit.list()) if one.subject == f"alert {alert}"]
    assert told == ["passed on", "refused", "undone", "taken up", "refused"]


def test_what_has_changed_since_the_page_was_made_is_not_decided(browser: Browser, bench: Bench, alert: int):
    """The page says what it showed; an alert that is something else by now is not decided by it."""
    browser.sign_in("rita")
    page = browser.get(f"/alerts/{alert}").text
    seen = page.split('data-seen="')[1].split('"')[0]
    browser.post(f"/alerts/{alert}/open")
    assert browser.post(f"/alerts/{alert}/take-up", {"seen": f"acknowledged {seen.split()[1]}"}).status_code == 409
    assert browser.post(f"/alerts/{alert}/take-up", {"seen": f"{seen}0"}).status_code == 409
    assert browser.post(f"/alerts/{alert}/take-up", {"seen": seen}).status_code == 303
    assert bench.store.alerts.get(alert).decided_by == "rita"  # pyright: ignore[reportOptionalMemberAccess]


def test_verdict_is_kept_and_replaced_by_the_same_reader(browser: Browser, bench: Bench, alert: int):
    """One verdict a reader and result; nothing is chosen beforehand."""
    browser.sign_in("rita")
    page = browser.get(f"/alerts/{alert}").text
    assert " checked" not in page
    browser.post(f"/alerts/{alert}/open")
    for verdict, more in (("unsure", {}), ("there", {"looks_like": "other pneumonia", "extent": "25-50"})):
        assert browser.post(f"/alerts/{alert}/verdict", {"verdict": verdict, **more}).status_code == 303
    (kept,) = bench.store.feedback.of_alert(alert)
    assert (kept.verdict, kept.looks_like and kept.looks_like.value) == (Verdict.THERE, "other pneumonia")
    assert [(one.verdict, one.count) for one in bench.store.feedback.counts()] == [(Verdict.THERE, 1)]


def test_images_are_sent_as_they_lie(browser: Browser, alert: int):
    """A slice comes compressed, is kept by nobody, and no path leaves the pack."""
    browser.sign_in("rita")
    answer = browser.get(f"/alerts/{alert}/pack/labels/3")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.content) == 64 * 80
    for name in ("hu/99", "../report.dcm", "..%2Freport.dcm", "hu/-1", ""):
        assert browser.get(f"/alerts/{alert}/pack/{name}").status_code == 404


def test_case_without_images_says_so(browser: Browser, bench: Bench, tmp_path: Path):
    """Where no pack was kept the figures stand, and a reader may still say that the case was looked at."""
    recorded = bench.analysed()
    assert not (tmp_path / "results").exists()
    browser.sign_in("rita")
    page = browser.get(f"/alerts/{recorded.alert_id}").text
    assert "No images are kept of this case" in page
    assert "I have looked at this case" in page


def test_run_again_queues_the_series(browser: Browser, bench: Bench, alert: int):
    """A reader may have it analysed once more; the reader's name is on the event."""
    browser.sign_in("rita")
    browser.get(f"/alerts/{alert}")
    browser.post(f"/alerts/{alert}/open")
    assert browser.post(f"/alerts/{alert}/run-again").status_code == 303
    assert bench.events("job")[-1].actor is not None
    assert browser.post(f"/alerts/{alert}/run-again").status_code == 409
