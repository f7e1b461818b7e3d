"""The page of the node: destinations paused, resumed and tested, dead letters tried again and set aside."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]
from small_pack import small_pack
from store_bench import Bench, artefacts_of
from web_client import Browser, browser_on

from alerts import ZIP, ArtefactKind, DeliveryState, Draft
from db import StoredDelivery
from dicom_node.composition import delivery_channels
from dicom_node.settings import Database, DicomDestination, Node, Settings, Web
from dicom_node.web import Services


@contextmanager
def _pacs() -> Iterator[int]:
    """A PACS that answers C-ECHO; its port."""
    entity = AE(ae_title="PACS")
    entity.require_called_aet = True
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()


def _administrator(services: Services, bench: Bench, port: int) -> Browser:
    """Signed in at a worklist whose node has this PACS as its destination."""
    settings = Settings(
        node=Node(data_dir=services.results_dir.parent),
        database=Database(url=bench.url),
        destinations=(DicomDestination(name="Archive", ae_title="PACS", host="127.0.0.1", port=port),),
        web=Web(port=0),
    )
    built = Services.of(settings, bench.store, delivery_channels(settings, bench.store), threading.Event())
    browser = browser_on(replace(built, clock=bench.clock))
    browser.sign_in("adam")
    browser.get("/node")
    return browser


def _dead_letter(bench: Bench) -> StoredDelivery:
    bench.record(bench.running(), destinations="P", alert=False)
    delivery = bench.store.outbox.claim("P", bench.clock(), 60)
    assert delivery is not None
    return bench.store.outbox.failed(delivery, "PACS replied 0xA900", transient=False)


def test_destination_is_tested_by_the_way_that_results_go(services: Services, bench: Bench):
    """One press asks by C-ECHO: the answer stands on the page, as does that nobody answers."""
    with _pacs() as port:
        browser = _administrator(services, bench, port)
        answer = browser.post("/node/destinations/test", {"name": "Archive"})
        assert answer.status_code == 200
        assert f"PACS at 127.0.0.1:{port} answered C-ECHO with success" in answer.text
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    browser = _administrator(services, bench, port)
    answer = browser.post("/node/destinations/test", {"name": "Archive"})
    assert "answered" not in answer.text
    assert 'class="error" role="alert">Archive: ' in answer.text
    assert browser.post("/node/destinations/test", {"name": "Elsewhere"}).status_code == 404
    assert [one.subject for one in bench.store.audit.list(action="destination tested")] == ["Archive", "Archive"]


def test_destination_is_paused_with_a_reason_and_resumed(services: Services, bench: Bench):
    """Who paused it and why stands on the page and in the audit; what waits is due again once it is resumed."""
    browser = _administrator(services, bench, 104)
    assert browser.post("/node/destinations/pause", {"name": "Archive", "reason": "<b>update"}).status_code == 303
    page = browser.get("/node").text
    assert "by adam: &lt;b&gt;update" in page
    assert [(one.name, one.paused_by) for one in bench.store.destinations.paused()] == [("Archive", "adam")]
    assert browser.post("/node/destinations/resume", {"name": "Archive"}).status_code == 303
    assert bench.store.destinations.paused() == ()
    assert "Paused" not in browser.get("/node").text
    assert browser.post("/node/destinations/pause", {"name": "Elsewhere"}).status_code == 404
    assert [one.action for one in bench.store.audit.list(who="adam")][:2] == [
        "destination resumed",
        "destination paused",
    ]


def test_dead_letter_is_tried_again_or_set_aside(services: Services, bench: Bench):
    """Retry makes it due with attempts anew, cancel takes it off the list; a second press finds it changed: 409."""
    dead = _dead_letter(bench)
    browser = _administrator(services, bench, 104)
    assert "PACS replied 0xA900" in browser.get("/node").text
    assert browser.post(f"/node/deliveries/{dead.id}/retry").status_code == 303
    again = bench.store.deliveries.get(dead.id)
    assert again is not None
    assert (again.state, again.attempt) == (DeliveryState.PENDING, 0)
    assert browser.post(f"/node/deliveries/{dead.id}/retry").status_code == 409
    assert browser.post(f"/node/deliveries/{dead.id}/cancel").status_code == 303
    assert browser.post(f"/node/deliveries/{dead.id}/cancel").status_code == 409
    assert browser.post("/node/deliveries/999/cancel").status_code == 409
    cancelled = bench.store.deliveries.get(dead.id)
    assert cancelled is not None
    assert cancelled.state is DeliveryState.CANCELLED


def test_all_dead_letters_of_a_destination_are_tried_again(services: Services, bench: Bench):
    """After an outage one press makes them due, but not what a newer result has taken out of force."""
    for number, series in enumerate(("1.2.3.1", "1.2.3.2")):
        bench.record(bench.running(series), destinations=("Archive",), alert=False)
        delivery = bench.store.outbox.claim("Archive", bench.clock(), 60)
        assert delivery is not None
        bench.store.outbox.failed(delivery, f"cause {number}", transient=False)
    bench.record(bench.again("1.2.3.2"), destinations="", alert=False, content="2.25.7")
    browser = _administrator(services, bench, 104)
    assert browser.post("/node/destinations/retry", {"name": "Archive"}).status_code == 303
    states = {one.series_instance_uid: one.state for one in bench.store.deliveries.list()}
    assert states == {"1.2.3.1": DeliveryState.PENDING, "1.2.3.2": DeliveryState.CANCELLED}


@pytest.mark.parametrize("kept", [True, False])
def test_list_tells_where_no_images_are_kept(services: Services, bench: Bench, browser: Browser, kept: bool):
    """A case without images shows no broken picture, in the list or beside it."""
    draft = Draft(kind=ArtefactKind.VIEW, name="view.zip", media_type=ZIP, content=small_pack())
    view = draft.artefact()
    (services.results_dir / view.path).parent.mkdir(parents=True)
    if kept:
        (services.results_dir / view.path).write_bytes(draft.content)
    alert = bench.record(bench.running(), artefacts=(*artefacts_of("report"), view)).alert_id
    browser.sign_in("rita")
    for path in ("/?state=all", f"/alerts/{alert}/preview"):
        page = browser.get(path).text
        assert ("/pictures/" in page) is kept, path
        assert ("images" in page and "kept" in page) is not kept, path
