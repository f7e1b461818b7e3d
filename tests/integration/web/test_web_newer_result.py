"""A case whose result changes while it is looked at, and one without images, in a real browser and without."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import store_bench
from small_pack import small_pack
from store_bench import Bench, artefacts_of, instance
from web_client import PASSWORD, Browser, add_user, browser_on, services_for
from web_server import chromium, served

from alerts import ZIP, AlertState, Artefact, ArtefactKind, Draft
from db import Store, UserRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Worklist:
    """A bench whose cases a worklist shows, and the folder of its files."""

    bench: Bench
    folder: Path

    def view(self) -> Artefact:
        """Images of a case."""
        draft = Draft(kind=ArtefactKind.VIEW, name="view.zip", media_type=ZIP, content=small_pack())
        path = self.folder / "results" / draft.artefact().path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draft.content)
        return draft.artefact()

    def flag(self) -> int:
        """A flagged case with images; the alert."""
        recorded = self.bench.record(self.bench.running(), artefacts=(*artefacts_of("report"), self.view()))
        assert recorded.alert_id is not None
        return recorded.alert_id

    def flag_worse(self) -> int:
        """The series is analysed again, and shows more; the result."""
        made = (*artefacts_of("newer report"), self.view())
        return self.bench.record(self.bench.again(), artefacts=made, burden=40.0).result_id


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[Worklist]:
    url = store_bench.new_database("sqlite", tmp_path)
    with Store.open(url) as store:
        add_user(store, "anna", list(UserRole))
        yield Worklist(bench=Bench(store=store, url=url), folder=tmp_path)


@pytest.fixture
def browser(worklist: Worklist) -> Browser:
    made = browser_on(services_for(worklist.bench.store, worklist.folder))
    made.sign_in("anna")
    return made


@pytest.fixture
def page(worklist: Worklist) -> Iterator[Any]:
    with served(worklist.bench.url, worklist.folder) as (address, _), chromium() as opened:
        shown = opened.new_page(base_url=address)
        shown.set_default_timeout(15_000)
        shown.goto("/login")
        shown.fill("[name=name]", "anna")
        shown.fill("[name=password]", PASSWORD)
        shown.press("[name=password]", "Enter")
        shown.wait_for_selector("#main")
        yield shown


def test_nobody_decides_upon_pictures_of_another_result(worklist: Worklist, page: Any) -> None:
    """A newer result while the case is open: the page says so and lets nobody decide, until its images were there."""
    alert = worklist.flag()
    page.goto(f"/alerts/{alert}")
    page.wait_for_selector("[data-asks='take-up']:not(:disabled)")
    newer = worklist.flag_worse()
    page.wait_for_selector("#newer:not([hidden])")
    assert page.locator("[data-asks]:not(:disabled), #decision fieldset:not(:disabled)").count() == 0
    page.keyboard.press("a")
    assert page.locator("dialog[open]").count() == 0
    page.click("#newer a")
    page.wait_for_selector(f"body[data-result='{newer}'] [data-asks='take-up']:not(:disabled)")


def test_case_without_images_is_looked_at_by_its_button(worklist: Worklist, page: Any) -> None:
    """One press, and the reader may decide."""
    alert = worklist.bench.record(worklist.bench.running()).alert_id
    page.goto(f"/alerts/{alert}")
    assert page.locator("[data-asks='take-up']:disabled").count() == 1
    page.click("#looked")
    page.wait_for_selector("[data-asks='take-up']:not(:disabled)")
    assert worklist.bench.store.feedback.has_opened(alert, "anna")


def test_damaged_images_leave_figures_and_decision(worklist: Worklist, browser: Browser) -> None:
    """A pack that was cut off: the page is there, says that no images are, and asks whether the case was looked at."""
    alert = worklist.flag()
    for file in (worklist.folder / "results").rglob("*.zip"):
        file.write_bytes(file.read_bytes()[:100])
    page = browser.get(f"/alerts/{alert}")
    assert page.status_code == 200
    assert "No images are kept of this case" in page.text
    assert "I have looked at this case" in page.text


def test_who_saw_the_earlier_result_has_not_seen_the_newer_one(worklist: Worklist, browser: Browser) -> None:
    """Whoever opened the case before decides neither upon the newer result nor says what it shows."""
    alert, bench = worklist.flag(), worklist.bench
    browser.get(f"/alerts/{alert}")
    browser.post(f"/alerts/{alert}/open")
    seen = bench.store.alerts.get(alert)
    assert seen is not None
    result = worklist.flag_worse()
    assert bench.store.feedback.opened((alert,)) == {}
    assert browser.post(f"/alerts/{alert}/take-up").status_code == 409
    page = browser.get(f"/alerts/{alert}").text
    assert f'data-result="{result}" data-opened="no"' in page
    browser.post(f"/alerts/{alert}/open")
    old = {"verdict": "not there", "seen": f"{seen.state.value} {seen.result_id}"}
    assert browser.post(f"/alerts/{alert}/verdict", old).status_code == 409
    assert bench.store.feedback.of_alert(alert) == ()
    assert browser.post(f"/alerts/{alert}/take-up").status_code == 303
    now = bench.store.alerts.get(alert)
    assert now is not None
    assert now.state is AlertState.ACKNOWLEDGED
    assert now.opened_at is not None


def test_figures_and_images_are_of_one_result(worklist: Worklist, browser: Browser) -> None:
    """A later run that flags nothing: the page of the alert goes on to show what was flagged."""
    alert = worklist.flag()
    worklist.bench.record(worklist.bench.again(), alert=False)
    page = browser.get(f"/alerts/{alert}")
    assert "superseded" in page.text
    assert 'data-pack="yes"' in page.text
    assert browser.get(f"/alerts/{alert}/pack/manifest.json").status_code == 200


def test_earlier_figures_are_of_the_same_person(worklist: Worklist, browser: Browser) -> None:
    """The list compares with the same ID of the same issuer, and with nobody where birth dates contradict."""
    store = worklist.bench.store

    def flag(number: int, date: str, **other: object) -> int:
        study = f"1.9.{number}"
        header = {"slice_position_mm": 5.0, "study_date": date}
        first = instance(series=f"{study}.1", study_instance_uid=study, header=header, **other)
        revision = store.intake.record_instance(first).revision
        store.intake.mark_complete(f"{study}.1", revision, "in a test")
        store.jobs.enqueue(f"{study}.1", revision, store_bench.ELIGIBLE, 3)
        alert = worklist.bench.record(worklist.bench.claim()).alert_id
        assert alert is not None
        return alert

    flag(1, "20250215", issuer_of_patient_id="OTHER")
    flag(2, "20250201", issuer_of_patient_id="HERE")
    now = flag(3, "20250301", issuer_of_patient_id="HERE")
    entry = store.worklist.get(now)
    assert entry is not None
    then = store.surroundings.of([entry])[now].then
    assert then is not None
    assert (then.study_date, then.burden_percent) == ("20250201", 10.0)
    flag(4, "20250115", issuer_of_patient_id="HERE", patient_birth_date="19500101")
    flag(5, "20250116", issuer_of_patient_id="HERE", patient_birth_date="19700101")
    assert store.surroundings.of([entry])[now].then is None
    assert "differ in birth date or sex" in browser.get(f"/alerts/{now}").text
