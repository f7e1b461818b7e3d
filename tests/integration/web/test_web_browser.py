"""The worklist in a real browser: the whole path by keys, no violation of accessibility, no complaint of the policy."""

import base64
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import store_bench
from axe_playwright_python.sync_playwright import Axe
from flagged_cases import flagged
from small_pack import COLUMNS, CORE, LESION, ROWS, SLICES, chest, small_pack
from store_bench import PATIENT, Bench, artefacts_of
from web_client import PASSWORD, add_user
from web_server import chromium, served

from alerts import ZIP, ArtefactKind, Draft
from analysis.findings import Lobe, RegionFindings
from db import Store, UserRole

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
LOBES = {
    lobe: RegionFindings(lung_volume_ml=900, ggo_volume_ml=ggo, high_opacity_volume_ml=0, high_density_volume_ml=0)
    for lobe, ggo in (dict.fromkeys(Lobe, 0.0) | {Lobe.RIGHT_LOWER: 450.0}).items()
}
TAGS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@dataclass
class Screen:
    """A page of the browser, the bench behind it, and everything that the browser complained of."""

    page: Any
    address: str
    bench: Bench
    alert: int
    complaints: list[str] = field(default_factory=list)

    def sign_in(self) -> None:
        """By keys alone."""
        self.page.goto(f"{self.address}/login")
        self.page.wait_for_function("document.activeElement.name === 'name'")
        self.page.keyboard.type("anna")
        self.page.keyboard.press("Tab")
        self.page.keyboard.type(PASSWORD)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(f"tr[data-alert='{self.alert}']")


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    folder: Path = tmp_path_factory.mktemp("web")
    url = store_bench.new_database("sqlite", folder)
    with Store.open(url) as store:
        add_user(store, "anna", list(UserRole))
        bench = Bench(store=store, url=url)
        draft = Draft(kind=ArtefactKind.VIEW, name="view.zip", media_type=ZIP, content=small_pack())
        view = draft.artefact()
        (folder / "results" / view.path).parent.mkdir(parents=True)
        (folder / "results" / view.path).write_bytes(draft.content)
        header = {"slice_position_mm": 1.0, "series_description": HOSTILE, "study_description": HOSTILE}
        recorded = store.intake.record_instance(store_bench.instance(header=header))
        store.intake.mark_complete(store_bench.SERIES, recorded.revision, "in a test")
        store.jobs.enqueue(store_bench.SERIES, recorded.revision, store_bench.ELIGIBLE, 3)
        alert = bench.record(bench.claim(), artefacts=(*artefacts_of("report"), view), lobes=LOBES).alert_id
        assert alert is not None
        with served(url, folder) as (address, _), chromium() as browser:
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            page.set_default_timeout(8000)
            shown = Screen(page=page, address=address, bench=bench, alert=alert)
            page.on("console", lambda one: one.type == "error" and shown.complaints.append(one.text))
            page.on("pageerror", lambda error: shown.complaints.append(str(error)))
            page.on("dialog", lambda one: shown.complaints.append(f"dialog {one.message}"))
            shown.sign_in()
            yield shown


def test_slice_and_overlay_are_those_of_the_series(screen: Screen):
    """Grey values on the canvas are the window's within one step; the overlay is the label map, voxel for voxel."""
    volume, _, _, labels, _ = chest()
    page = screen.page
    page.goto(f"{screen.address}/alerts/{screen.alert}")
    page.wait_for_selector("#axial[data-shown='3']")
    script = """async () => {
        const seen = await new Promise((done) => {
            addEventListener('slice', (event) => done(event.detail.view), { once: true });
            document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowUp', bubbles: true })); });
        const read = (canvas) => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
        return [read(seen.base), read(seen.cover)]; }"""
    grey, cover = page.evaluate(script)
    shown = np.asarray(grey).reshape(64, 80, 4)[:, :, 0]
    expected = np.clip(np.rint(((volume.hu[4] + 600) / 1500 + 0.5) * 255), 0, 255)
    assert np.abs(shown - expected).max() <= 1
    marks = np.asarray(cover).reshape(64, 80, 4)
    assert ((marks[:, :, 3] > 0) == (labels[4] > 0)).all()
    assert (CORE[0].start, LESION[0].stop) == (3, 5)


def test_lesion_lies_where_it_does_in_the_patient(screen: Screen):
    """Right, low and posterior: left and low on both planes, in the thumbnail and in the diagram of the lobes."""
    page = screen.page
    page.goto(f"{screen.address}/alerts/{screen.alert}")
    page.wait_for_selector("#axial[data-shown='3']")
    page.wait_for_selector("#coronal[data-shown]")
    rows, columns = (LESION[1].start + LESION[1].stop) / 2, (LESION[2].start + LESION[2].stop) / 2
    height = SLICES - (LESION[0].start + LESION[0].stop) / 2
    covered = {}
    for name in ("axial", "coronal"):
        with_, size = _pixels(page, name)
        page.keyboard.press("o")
        without, _ = _pixels(page, name)
        page.keyboard.press("o")
        covered[name] = (_centre(np.abs(with_ - without).max(axis=2) > 0), size)
    for name, place, shape in (
        ("axial", (rows / ROWS, columns / COLUMNS), (ROWS, COLUMNS)),
        ("coronal", (height / SLICES, columns / COLUMNS), (SLICES, COLUMNS)),
    ):
        (y, x), (canvas_height, canvas_width) = covered[name]
        scale = min(canvas_height / shape[0], canvas_width / shape[1])  # every side of a voxel is 5 mm
        shown = (
            canvas_height / 2 + (place[0] - 0.5) * shape[0] * scale,
            canvas_width / 2 + (place[1] - 0.5) * shape[1] * scale,
        )
        assert np.hypot(y - shown[0], x - shown[1]) < scale, name
    answer = page.request.get(f"{screen.address}/alerts/{screen.alert}/pictures/thumb-0.jpg")
    thumb = cv2.imdecode(np.frombuffer(answer.body(), np.uint8), cv2.IMREAD_COLOR).astype(int)
    y, x = _centre(thumb.max(axis=2) - thumb.min(axis=2) > 60)
    assert y > 0.6 * thumb.shape[0]
    assert x < 0.4 * thumb.shape[1]
    diagram = page.locator(".lobetable svg.lobes")
    fill = diagram.locator(".lobe-4").evaluate("(one) => getComputedStyle(one).fill")
    colour = [int(one) for one in re.findall(r"\d+", fill)][::-1]
    drawn = cv2.imdecode(np.frombuffer(diagram.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    y, x = _centre(np.all(drawn == colour, axis=2))
    assert y > 0.6 * drawn.shape[0]
    assert x < 0.4 * drawn.shape[1]


def _pixels(page: Any, name: str) -> tuple[np.ndarray, tuple[int, int]]:
    address = page.evaluate("(id) => document.getElementById(id).toDataURL('image/png')", name)
    png = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    pixels = cv2.imdecode(png, cv2.IMREAD_COLOR).astype(int)
    return pixels, (pixels.shape[0], pixels.shape[1])


def _centre(marked: np.ndarray) -> tuple[float, float]:
    assert marked.any()
    y, x = np.nonzero(marked)
    return float(y.mean()), float(x.mean())


def test_case_prints_on_one_page(screen: Screen):
    """The case as it lies on paper: one page of A4."""
    page = screen.page
    page.goto(f"{screen.address}/alerts/{screen.alert}")
    page.wait_for_selector("#axial[data-shown='3']")
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", printed)) == 1


def test_address_restores_the_rows(screen: Screen):
    """What was sorted and filtered by keys stands in the address; a reload shows the same rows."""
    page = screen.page
    page.goto(f"{screen.address}/?state=all")
    page.focus("#list thead th:nth-child(5) a")
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.search.includes('sort=burden')")
    page.select_option("[name=kind]", "ctac")
    page.wait_for_function("() => location.search.includes('kind=ctac')")
    page.wait_for_selector("#list .none")
    page.reload()
    assert page.locator("tr[data-alert]").count() == 0
    assert page.input_value("[name=kind]") == "ctac"
    page.select_option("[name=kind]", "chest_ct")
    page.wait_for_selector(f"tr[data-alert='{screen.alert}']")
    page.reload()
    assert page.get_attribute("#list th[aria-sort]", "aria-sort") == "ascending"
    assert page.locator("tr[data-alert]").count() >= 1


def test_what_is_searched_for_stands_in_no_address(screen: Screen):
    """A search by patient ID finds the case and survives a reload; the address holds it sealed."""
    page = screen.page
    page.goto(f"{screen.address}/?state=all")
    page.keyboard.press("/")
    page.keyboard.type(PATIENT[:-1])
    page.keyboard.press("Enter")
    page.wait_for_function("() => location.search.includes('found=')")
    for _ in range(2):
        page.wait_for_selector(f"tr[data-alert='{screen.alert}']")
        assert PATIENT[:-1] not in page.url
        assert page.input_value("#q") == PATIENT[:-1]
        page.reload()
    page.fill("#q", "nothing")
    page.keyboard.press("Enter")
    page.wait_for_selector("#list .none")
    page.fill("#q", "")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !location.search.includes('found=')")
    page.wait_for_selector(f"tr[data-alert='{screen.alert}']")


def test_whole_path_by_keys(screen: Screen):
    """List, open, scroll, window, overlay, take up, back: no pointer, and somewhere the focus is seen."""
    page = screen.page
    page.goto(screen.address)
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.dataset.alert") == str(screen.alert)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    page.wait_for_selector("#axial[data-shown='3']")
    for key, place, seen in (
        ("ArrowDown", "#number", "3 / 12"),
        ("End", "#number", "1 / 12"),
        ("2", "#window-told", "W 400 L 40"),
    ):
        page.keyboard.press(key)
        told = "([where, what]) => document.querySelector(where).textContent === what"
        page.wait_for_function(told, arg=[place, seen])
    page.keyboard.press("o")
    assert page.get_attribute("#overlay", "aria-pressed") == "false"
    page.wait_for_selector("[data-asks='take-up']:not(:disabled)")
    page.keyboard.press("a")
    page.wait_for_selector("#ask-take-up[open]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#decided:not([hidden])")
    assert f"Alert {screen.alert} is taken up" in page.inner_text("#decided")
    page.keyboard.press("u")
    page.wait_for_url("**/")
    taken = screen.bench.store.alerts.get(screen.alert)
    assert taken is not None
    assert (taken.state.value, taken.decided_by) == ("acknowledged", "anna")


def test_new_alert_is_announced_and_the_list_keeps_still(screen: Screen):
    """A commit shows as "1 new"; nothing moves until the reader wants it."""
    page = screen.page
    page.goto(f"{screen.address}/?state=all")
    page.wait_for_selector("#live[data-state='live']")
    before = page.locator("tr[data-alert]").count()
    another = flagged(screen.bench, threading.get_native_id())
    page.wait_for_selector("#news:not([hidden])", timeout=5000)
    assert "1 new" in page.inner_text("#news")
    assert page.locator("tr[data-alert]").count() == before
    page.keyboard.press("r")
    page.wait_for_selector(f"tr[data-alert='{another}']")


def test_a_newcomer_takes_up_the_worst_case_with_four_clicks(screen: Screen):
    """By what is to be read on the pages: sort by opacity, open the first, see why, take up, confirm."""
    draft = Draft(kind=ArtefactKind.VIEW, name="view.zip", media_type=ZIP, content=small_pack())
    job = screen.bench.running("1.2.77.7", study="1.2.77")
    recorded = screen.bench.record(job, artefacts=(*artefacts_of("worst"), draft.artefact()), burden=40.0)
    page = screen.page
    page.goto(screen.address)
    began = page.evaluate("performance.timeOrigin")
    page.get_by_role("link", name="Opacity of lung").click()
    page.get_by_text("Largest share of opacity first").wait_for()
    first = page.locator("tr[data-alert]").first
    assert first.get_attribute("data-alert") == str(recorded.alert_id)
    first.get_by_role("link").click()
    page.get_by_role("heading", name="Why flagged").wait_for()
    assert page.locator(".why li").first.inner_text()
    page.get_by_role("button", name="Take up").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Take up").click()
    page.get_by_text(f"Alert {recorded.alert_id} is taken up").wait_for()
    assert page.evaluate("Date.now()") - began < 60_000
    taken = screen.bench.store.alerts.get(recorded.alert_id or 0)
    assert taken is not None
    assert (taken.state.value, taken.decided_by) == ("acknowledged", "anna")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_page_violates_accessibility(screen: Screen, theme: str):
    """Axe finds nothing against WCAG 2.2 AA, and no page is wider than a screen of 1366 pixels, or at 200 %."""
    screen.bench.store.users.prefer("anna", {"theme": theme})
    page = screen.page
    found: list[str] = []
    for path in (
        "/?state=all", "/?kind=ctac", f"/alerts/{screen.alert}", "/series", f"/series/{store_bench.SERIES}",
        f"/patients/{screen.alert}", "/node", "/models", "/users", "/audit", "/me", "/help", "/nowhere",
    ):  # fmt: skip
        page.goto(screen.address + path)
        page.wait_for_load_state("load")
        results = Axe().run(page, options={"runOnly": TAGS["runOnly"]})
        found += [
            f"{path}: {one['id']} {one['nodes'][0]['target']} {one['nodes'][0]['html'][:120]}"
            for one in results.response["violations"]
        ]
        for width in (1366, 683):
            page.set_viewport_size({"width": width, "height": 768})
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{path}: wider than {width}")
        page.set_viewport_size({"width": 1366, "height": 768})
    assert found == []


def test_nothing_ran_and_nothing_told_the_patient(screen: Screen):
    """In the whole run no text of a header ran, the policy refused nothing, and the patient's ID stood nowhere."""
    expected = [one for one in screen.complaints if "404" not in one]
    assert expected == []
    screen.page.goto(f"{screen.address}/?state=all")
    assert PATIENT not in screen.page.content()
    assert PATIENT not in screen.page.title()
