"""A real chest with opacities in the browser: the list, the case, its overlay and why it is flagged."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import store_bench
from analysed_phantoms import analysed_folder
from sr_reports import decide
from store_bench import ELIGIBLE, Bench, artefacts_of
from stored_copies import read_slices, write_copy
from web_client import PASSWORD, add_user
from web_server import chromium, served

from alerts import ZIP, ArtefactKind, Draft
from analysis.view_pack import view_pack
from db import Store, UserRole

_OVERLAY = """(place) => new Promise((done) => {
    addEventListener('slice', (event) => {
        const cover = event.detail.view.cover;
        const data = cover.getContext('2d').getImageData(0, 0, cover.width, cover.height).data;
        done([...data].filter((_, at) => at % 4 === 3).map((one) => one > 0 ? 1 : 0)); }, { once: true });
    document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowUp', bubbles: true })); })"""


@pytest.mark.real_data
def test_a_real_case_is_shown_as_it_was_analysed(tmp_path: Path, shared_data: Path) -> None:
    """covid_P001, every fourth slice: burden in list and case, the labels over the slice, key slices, and why."""
    slices = read_slices(sorted((shared_data / "dicom" / "covid_P001").iterdir()))[::4]
    analysed = analysed_folder(write_copy(slices, tmp_path / "ct")).analysed
    keys = analysed.findings.key_slices
    url = store_bench.new_database("sqlite", tmp_path)
    with Store.open(url) as store:
        add_user(store, "anna", [UserRole.READER])
        bench = Bench(store=store, url=url)
        content = view_pack(analysed.volume, analysed.lungs, analysed.lobes, analysed.labels, keys)
        draft = Draft(kind=ArtefactKind.VIEW, name="view.zip", media_type=ZIP, content=content)
        view = draft.artefact()
        (tmp_path / "results" / view.path).parent.mkdir(parents=True)
        (tmp_path / "results" / view.path).write_bytes(content)
        job = bench.running(analysed.findings.series_instance_uid, study=analysed.findings.study_instance_uid)
        findings = replace(analysed.findings, revision=job.revision)
        decision = decide(findings)
        alert = store.results.record(
            job,
            "w",
            findings=findings,
            screening=ELIGIBLE,
            decision=decision,
            artefacts=(*artefacts_of("report"), view),
            seconds={},
        ).alert_id
        assert decision.alert is not None
        with served(url, tmp_path) as (address, _), chromium() as browser:
            page = browser.new_page(viewport={"width": 1680, "height": 1050})
            complaints: list[str] = []
            page.on("console", lambda one: one.type == "error" and complaints.append(one.text))
            page.goto(f"{address}/login")
            page.fill("[name=name]", "anna")
            page.fill("[type=password]", PASSWORD)
            page.keyboard.press("Enter")
            burden = f"{findings.burden_percent:.1f} %"
            assert burden in page.inner_text(f"tr[data-alert='{alert}'] .amount")
            page.locator("[data-open-case]").click()
            first = keys[0].slice_index
            page.wait_for_selector(f"#axial[data-shown='{first}']")
            page.wait_for_selector("#coronal[data-shown]")
            assert burden in page.inner_text("body")
            assert re.sub(r"\s+", " ", decision.alert.reasons[0]) in re.sub(r"\s+", " ", page.inner_text("body"))
            assert " ".join(findings.quality.reasons) in page.inner_text("body")
            shown = np.asarray(page.evaluate(_OVERLAY)).reshape(analysed.labels.shape[1:])
            np.testing.assert_array_equal(shown, analysed.labels[first + 1] > 0)
            for number in range(min(5, len(keys))):
                assert page.request.get(f"{address}/alerts/{alert}/pictures/thumb-{number}.jpg").ok
            assert complaints == []
