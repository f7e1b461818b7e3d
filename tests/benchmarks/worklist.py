"""How quick the worklist is in a browser: a list of 5,000 open alerts, and a case of 128 slices of 512 x 512.

The server is a process of its own and the browser a headless Chromium; both share the machine. Bounds are for two
cores that have nothing else to do.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sqlalchemy import create_engine, insert, select

from alerts import ZIP, Artefact, ArtefactKind, Draft
from analysis.findings import KeySlice
from analysis.view_pack import view_pack
from db import Store, UserRole, upgrade
from db.rows import ArtefactRow
from tests.benchmarks import measuring, store

sys.path.append(str(Path(__file__).resolve().parents[1] / "factories"))
from store_bench import Bench, artefacts_of
from web_client import PASSWORD, add_user
from web_process import web_process
from web_server import chromium

ALERTS = 5_000
REPEATS = 5
WHEEL_STEPS = 60
PREFETCHED = 120
"""Slices that lie in the browser's memory (96 MB) once it has fetched ahead."""

_ON_LIST = """async (act) => {
    const table = document.getElementById('list');
    const begun = performance.now();
    act === 'sort' ? document.querySelector('#list thead th:nth-child(5) a').click()
        : (document.querySelector('[name=quality]').value = act, document.getElementById('filters').requestSubmit());
    while (document.getElementById('list') === table) await new Promise(requestAnimationFrame);
    return performance.now() - begun; }"""
_ON_CASE = """async ([what, count]) => {
    const canvas = document.getElementById('axial'), taken = [];
    const drawn = () => canvas.getContext('2d').getImageData(0, 0, 1, 1);
    const press = (key) => document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    for (let step = 0; step < count; step += 1) {
        await new Promise(requestAnimationFrame);
        const begun = performance.now();
        if (what === 'wheel') {
            const shown = new Promise((done) => addEventListener('slice', done, { once: true }));
            canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: step % 50 < 25 ? 1 : -1, cancelable: true }));
            await shown;
        } else press(step % 2 ? '1' : '2');
        drawn();
        taken.push(performance.now() - begun);
    }
    return taken; }"""
_FETCHED = (
    "(count) => performance.getEntriesByType('resource').filter((one) => one.name.includes('/hu/')).length >= count"
)


def main() -> None:
    """Fill a node, look at it as a reader does, print what it took and what it should take at most."""
    with tempfile.TemporaryDirectory(prefix="bench-worklist-") as name:
        folder = Path(name)
        url = f"sqlite:///{folder}/store.sqlite3"
        alert = _filled(url, folder)
        with web_process(url, folder) as server, chromium() as browser:
            page = browser.new_page(viewport={"width": 1680, "height": 1050})
            page.add_init_script("performance.setResourceTimingBufferSize(2000)")
            page.goto(f"{server.address}/login")
            page.fill("input[name=name]", "rita")
            page.fill("input[name=password]", PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_selector("#live[data-state='live']")
            for what, bound, taken in (*_list(page, server.address), *_case(page, server.address, alert)):
                most = f", at most {bound}" if bound else ""
                print(f"{what}: median {median(taken):.1f} ms, p95 {np.percentile(taken, 95):.1f} ms{most}")


def _list(page: Any, address: str) -> list[tuple[str, str, list[float]]]:
    opened: list[float] = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        page.goto(address, wait_until="domcontentloaded")
        page.keyboard.press("j")
        page.wait_for_selector("tr[aria-selected=true]")
        opened.append(1000 * (time.perf_counter() - begun))
    sorted_ = [float(page.evaluate(_ON_LIST, "sort")) for _ in range(REPEATS)]
    filtered = [float(page.evaluate(_ON_LIST, ("diagnostic", "")[step % 2])) for step in range(2 * REPEATS)]
    return [
        (f"list of {ALERTS} open alerts, until it hears keys", "1000 ms", opened),
        ("sort", "400 ms", sorted_),
        ("filter", "400 ms", filtered),
    ]


def _case(page: Any, address: str, alert: int) -> list[tuple[str, str, list[float]]]:
    pictured: list[float] = []
    shown: list[float] = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        page.goto(f"{address}/alerts/{alert}", wait_until="commit")
        page.wait_for_function("() => document.getElementById('first')?.naturalWidth > 0")
        pictured.append(1000 * (time.perf_counter() - begun))
        page.wait_for_selector("#axial[data-shown]", state="attached")
        shown.append(1000 * (time.perf_counter() - begun))
    page.wait_for_function(_FETCHED, arg=PREFETCHED, timeout=120_000)
    return [
        ("first slice", "500 ms", pictured),
        ("... with every voxel, on the canvas", "", shown),
        (
            f"{WHEEL_STEPS} wheel steps after fetching ahead",
            "33 ms (p95)",
            page.evaluate(_ON_CASE, ["wheel", WHEEL_STEPS]),
        ),
        ("window change", "16 ms", page.evaluate(_ON_CASE, ["window", WHEEL_STEPS])),
    ]


def _filled(url: str, folder: Path) -> int:
    """The node's store, and the alert whose case is looked at; every alert has that case's images."""
    upgrade(url)
    view = _view(folder / "results")
    with Store.open(url) as opened:
        bench = Bench(store=opened, url=url)
        add_user(opened, "rita", [UserRole.READER])
        recorded = bench.record(bench.running(), artefacts=(*artefacts_of("report"), view))
    engine = create_engine(url)
    store.fill(engine, results=ALERTS, instances_a_series=1, alert_every=1, open_every=1)
    with engine.begin() as connection:
        kept = select(ArtefactRow.__table__).where(ArtefactRow.kind == ArtefactKind.VIEW.value)
        template = {name: value for name, value in connection.execute(kept).mappings().one().items() if name != "id"}
        rows = [{**template, "result_id": 10 + number} for number in range(ALERTS)]
        connection.execute(insert(ArtefactRow.__table__), rows)
    engine.dispose()
    assert recorded.alert_id is not None
    return recorded.alert_id


def _view(results_dir: Path) -> Artefact:
    volume, lungs, labels, lobes = measuring.case()
    areas = np.stack([(labels == one).sum(axis=(1, 2)) for one in (1, 2)]) * volume.row_spacing_mm**2
    most = int(areas.sum(axis=0).argmax())
    key = KeySlice(
        sop_instance_uid=volume.sop_instance_uids[most],
        frame_number=None,
        slice_index=most,
        position_mm=float(volume.slice_positions_mm[most]),
        ggo_area_mm2=float(areas[0, most]),
        high_opacity_area_mm2=float(areas[1, most]),
    )
    content = view_pack(volume, lungs, lobes, labels, (key,))
    draft = Draft(kind=ArtefactKind.VIEW, name="view.zip", media_type=ZIP, content=content)
    view = draft.artefact()
    (results_dir / view.path).parent.mkdir(parents=True)
    (results_dir / view.path).write_bytes(content)
    return view
