"""Who may send."""

import pytest

from db import IMPORTED, Peer
from dicom_node.peers.admission import Refusal, RefusalBook, judge


def peer(ae_title: str = "CT1", called_ae_title: str | None = None, cidr: str | None = None) -> Peer:
    return Peer(ae_title=ae_title, called_ae_title=called_ae_title, cidr=cidr, host=None, port=None, role="scanner")


PEERS = [peer(cidr="10.1.0.0/16"), peer("CT2"), peer("CT3", "RESEARCH"), peer("CT4", cidr="2001:db8::/32")]


@pytest.mark.parametrize(
    ("calling", "called", "address", "expected"),
    [
        ("CT1", "LUNGSENTRY", "10.1.2.3", None),
        ("CT1", "LUNGSENTRY", "::ffff:10.1.2.3", None),
        ("CT1", "LUNGSENTRY", "10.2.2.3", Refusal.ADDRESS),
        ("CT2", "LUNGSENTRY", "192.0.2.1", None),
        ("CT2", "RESEARCH", "192.0.2.1", Refusal.CALLED_AE_TITLE),
        ("CT3", "RESEARCH", "192.0.2.1", None),
        ("CT4", "LUNGSENTRY", "2001:db8::7%eth0", None),
        ("ct2", "LUNGSENTRY", "192.0.2.1", Refusal.CALLING_AE_TITLE),
        ("", "", "192.0.2.1", Refusal.CALLING_AE_TITLE),
    ],
)
def test_association_is_judged(calling: str, called: str, address: str, expected: Refusal | None) -> None:
    """Both AE titles and the address have to be one peer's; the refusal names what did not fit."""
    verdict = judge(
        PEERS, calling=calling, called=called, address=address, node_ae_title="LUNGSENTRY", accept_unknown=False
    )

    assert verdict is expected


def test_test_bench_takes_anybody() -> None:
    """With accept_unknown nobody is refused."""
    assert judge([], calling="X", called="Y", address="::1", node_ae_title="L", accept_unknown=True) is None


@pytest.mark.parametrize(
    ("refusal", "rejection"),
    [(Refusal.CALLING_AE_TITLE, (1, 1, 3)), (Refusal.CALLED_AE_TITLE, (1, 1, 7)), (Refusal.STOPPING, (2, 3, 1))],
)
def test_rejection_is_the_standards(refusal: Refusal, rejection: tuple[int, int, int]) -> None:
    """The numbers are those of PS3.8 table 9-21: permanent where the titles are wrong, transient while stopping."""
    assert refusal.rejection == rejection


def test_flood_of_refusals_is_bounded() -> None:
    """A thousand refusals at once write down the burst; with time more are written."""
    now = [0.0]
    written: list[tuple[str, ...]] = []
    book = RefusalBook(lambda *row: written.append(row), burst=20, per_second=2.0, clock=lambda: now[0])

    for number in range(1000):
        book.note(Refusal.CALLING_AE_TITLE.words, calling=f"X{number}", called="L", address="192.0.2.1")
    assert len(written) == 20
    now[0] = 1.0
    for number in range(10):
        book.note(Refusal.CALLING_AE_TITLE.words, calling=f"Y{number}", called="L", address="192.0.2.1")

    assert len(written) == 22
    assert written[0] == ("X0", "L", "192.0.2.1", "the calling AE title is not known")


@pytest.mark.parametrize("accept_unknown", [False, True])
def test_nobody_calls_as_an_import(accept_unknown: bool) -> None:
    """What is sent under that title would be flagged in silence: it is refused, even to who is listed."""
    listed = [Peer(ae_title=IMPORTED, called_ae_title=None, cidr=None, host=None, port=None)]
    found = judge(
        listed, calling=IMPORTED, called="NODE", address="10.1.2.3", node_ae_title="NODE", accept_unknown=accept_unknown
    )
    assert found is Refusal.CALLING_AE_TITLE
