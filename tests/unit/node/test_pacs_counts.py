"""The PACS is asked once a series pauses, again while it is waited for, and left alone while it is away."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from db import Peer, SeriesEvidence
from dicom_node.completion.pacs_counts import AGAIN_S, AWAY_S, PacsAnswer, PacsCounts
from dicom_node.peers.addresses import address_book
from dicom_node.peers.errors import Unreachable
from dicom_node.peers.remote import Remote
from dicom_node.retrieval import Criteria, FoundSeries
from dicom_node.settings import Completion, Settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SERIES = "1.2.3"
SETTINGS = Settings(completion=Completion(pacs="PACS", quiet_s=5))


def _evidence(quiet_s: float, uid: str = SERIES) -> SeriesEvidence:
    return SeriesEvidence(
        series_instance_uid=uid,
        study_instance_uid="1.2",
        revision=1,
        modality="CT",
        instance_count=5,
        last_received_at=NOW - timedelta(seconds=quiet_s),
        open_associations=0,
    )


class _Bench:
    """A PACS that holds seven instances of the series, and what it is asked."""

    def __init__(self, *evidence: SeriesEvidence, settings: Settings = SETTINGS) -> None:
        self.evidence = list(evidence)
        self.asked: list[tuple[str, str | None]] = []
        self.away = False
        self.time_s = 0.0
        peer = Peer(ae_title="PACS", called_ae_title=None, cidr=None, host="pacs.example.org", port=104)
        store: Any = SimpleNamespace(
            intake=SimpleNamespace(receiving_series=self._receiving),
            peers=SimpleNamespace(list=lambda: (peer,)),
        )
        self.counts = PacsCounts(
            settings=settings.completion,
            store=store,
            addresses=address_book(settings, store),
            find=self._find,
            clock=lambda: NOW,
            monotonic=lambda: self.time_s,
        )

    def _receiving(self, quiet_since: datetime) -> tuple[SeriesEvidence, ...]:
        return tuple(one for one in self.evidence if one.last_received_at <= quiet_since)

    def sweep(self) -> int:
        """One look; how often the PACS was asked in it."""
        before = len(self.asked)
        for unit in self.counts.units():
            unit.run()
        return len(self.asked) - before

    def _find(self, peer: Remote, criteria: Criteria) -> tuple[FoundSeries, ...]:
        self.asked.append((peer.host, criteria.study_instance_uid))
        if self.away:
            raise Unreachable
        return (
            FoundSeries(
                study_instance_uid="1.2",
                series_instance_uid=SERIES,
                study_date="",
                modality="CT",
                description="",
                instance_count=7,
            ),
        )


def test_asked_once_a_study_pauses_and_again_while_it_waits() -> None:
    """Not while instances come; one query for the study, whatever the number of its series; again after a while."""
    bench = _Bench(_evidence(1), _evidence(1, "1.2.4"))
    assert bench.sweep() == 0
    assert bench.counts.answer(bench.evidence[0]) == PacsAnswer(instances=None, pending=True)
    bench.evidence = [_evidence(3), _evidence(3, "1.2.4")]
    assert bench.sweep() == 1
    assert bench.asked == [("pacs.example.org", "1.2")]
    assert [bench.counts.answer(one) for one in bench.evidence] == [
        PacsAnswer(instances=7, pending=False),
        PacsAnswer(instances=None, pending=False),  # the PACS does not know that series
    ]
    assert bench.sweep() == 0
    bench.time_s += AGAIN_S
    assert bench.sweep() == 1


def test_answer_of_before_the_last_instance_does_not_count() -> None:
    """Something came since it was asked: it is asked anew."""
    bench = _Bench(_evidence(10))
    bench.sweep()
    bench.evidence = [_evidence(4)]
    assert bench.counts.answer(bench.evidence[0]) == PacsAnswer(instances=None, pending=True)
    assert bench.sweep() == 1


def test_pacs_that_is_away_holds_nothing_up() -> None:
    """After one failure it is not asked for a minute, and no series waits for its answer."""
    bench = _Bench(_evidence(10))
    bench.away = True
    assert bench.sweep() == 1
    assert bench.sweep() == 0
    assert bench.counts.answer(bench.evidence[0]) == PacsAnswer(instances=None, pending=False)
    bench.away, bench.time_s = False, AWAY_S
    assert bench.sweep() == 1


def test_without_a_pacs_nobody_is_asked() -> None:
    """Off by default."""
    bench = _Bench(_evidence(10), settings=Settings())
    assert bench.sweep() == 0
    assert bench.counts.answer(bench.evidence[0]) is None
