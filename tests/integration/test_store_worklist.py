"""The worklist on both databases: what a filter chooses, in which order, by page, and what stands in a line."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from store_bench import DATABASES, ELIGIBLE, START, Bench, artefacts_of, decision_of, findings_of, instance, opened

from alerts import AlertState, Category, PolicyDecision
from analysis.findings import Profile, QualityLevel
from db import Actor, WorklistFilter, WorklistSort

HOUR = timedelta(hours=1)
CASES: tuple[dict[str, Any], ...] = (
    {"category": "3", "burden": 4.0, "profile": "ctac", "quality": "limited", "sender": "PETCT1"},
    {"category": "2", "burden": 9.0, "profile": "chest_ct", "quality": "diagnostic", "sender": "CT2"},
    {"category": "2", "burden": 9.0, "profile": "ctac", "quality": "diagnostic", "sender": "PETCT1"},
    {"category": "1", "burden": 2.0, "profile": "chest_ct", "quality": "limited", "sender": "CT2", "incidental": False},
)
"""The series of study ``1.2.N`` is ``1.2.N.7``, its accession number ``LS-10N``, its patient ``P-N``; one an hour."""


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bench with the four cases, of which the second is acknowledged."""
    with opened(request.param, tmp_path) as made:
        for number, case in enumerate(CASES, 1):
            _flag(made, number, **case)
        made.store.alerts.acknowledge(2, "reader", "seen")
        yield made


def _flag(
    bench: Bench,
    number: int,
    *,
    category: str,
    burden: float,
    profile: str,
    quality: str,
    sender: str,
    incidental: bool = True,
) -> None:
    study = f"1.2.{number}"
    arrival = instance(
        series=f"{study}.7",
        study_instance_uid=study,
        patient_id=f"P-{number}",
        calling_ae_title=sender,
        received_at=START + number * HOUR,
        header={"accession_number": f"LS-10{number}", "study_description": f"study {number}"},
    )
    revision = bench.store.intake.record_instance(arrival).revision
    bench.store.intake.mark_complete(arrival.series_instance_uid, revision, "in a test")
    bench.store.jobs.enqueue(arrival.series_instance_uid, revision, ELIGIBLE, 3)
    job = bench.claim()
    findings = findings_of(job)
    alert = decision_of(job, alert=True).alert
    assert alert is not None
    bench.store.results.record(
        job,
        "w",
        findings=replace(
            findings, profile=Profile(profile), quality=replace(findings.quality, level=QualityLevel(quality))
        ),
        screening=ELIGIBLE,
        decision=PolicyDecision(
            alert=replace(alert, category=Category(category), burden_percent=burden, incidental=incidental),
            reasons=(),
            explanation="",
        ),
        artefacts=artefacts_of(f"{study}.9"),
        seconds={},
    )


def _ids(bench: Bench, chosen: WorklistFilter | None = None, **how: Any) -> list[int]:
    page = bench.store.worklist.page(chosen, **how)
    assert how or page.total == len(page.entries)
    return [one.alert.id for one in page.entries]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (WorklistSort.PRESSING, [4, 2, 3, 1]),
        (WorklistSort.RAISED, [4, 3, 2, 1]),
        (WorklistSort.RECEIVED, [4, 3, 2, 1]),
        (WorklistSort.BURDEN, [3, 2, 1, 4]),
    ],
)
def test_orders_and_their_reverse_page_by_page(bench: Bench, sort: WorklistSort, expected: Sequence[int]) -> None:
    """Each order is total, whole in pages of one, and turned round entry by entry."""
    assert _ids(bench, sort=sort) == expected
    assert _ids(bench, sort=sort, reverse=True) == expected[::-1]
    assert [_ids(bench, sort=sort, limit=1, offset=number) for number in range(5)] == [*([one] for one in expected), []]
    assert bench.store.worklist.page(sort=sort, limit=1, offset=4).total == 4


def test_what_is_overdue_comes_before_a_more_pressing_category(bench: Bench) -> None:
    """Overdue, then category, then receipt, in pages of any size and turned round; a decided one is never overdue."""
    bench.clock.advance(5 * HOUR.total_seconds())
    _flag(bench, 5, category="1", burden=1.0, profile="ctac", quality="limited", sender="CT2")
    expected = [4, 3, 5, 2, 1]
    for size in (1, 2, 3, 5):
        for reverse, order in ((False, expected), (True, expected[::-1])):
            pages = [_ids(bench, limit=size, offset=first, reverse=reverse) for first in range(0, 6, size)]
            assert [one for page in pages for one in page] == order, (size, reverse)
    waiting = WorklistFilter(states=frozenset({AlertState.OPEN}))
    assert _ids(bench, waiting) == [4, 3, 5, 1]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (WorklistFilter(), [1, 2, 3, 4]),
        (WorklistFilter(states=frozenset({AlertState.ACKNOWLEDGED})), [2]),
        (WorklistFilter(states=frozenset({AlertState.OPEN, AlertState.ACKNOWLEDGED})), [1, 2, 3, 4]),
        (WorklistFilter(categories=frozenset({Category.CATEGORY_1, Category.CATEGORY_3})), [1, 4]),
        (WorklistFilter(incidental=False), [4]),
        (WorklistFilter(profile=Profile.CTAC), [1, 3]),
        (WorklistFilter(quality=QualityLevel.LIMITED), [1, 4]),
        (WorklistFilter(calling_ae_title="CT2"), [2, 4]),
        (WorklistFilter(calling_ae_title="CT2", states=frozenset({AlertState.OPEN})), [4]),
        (WorklistFilter(received_since=START + 3 * HOUR), [3, 4]),
        (WorklistFilter(received_since=START + 2 * HOUR, received_before=START + 4 * HOUR), [2, 3]),
        (WorklistFilter(found="LS-10"), [1, 2, 3, 4]),
        (WorklistFilter(found="LS-103"), [3]),
        (WorklistFilter(found="P-2"), [2]),
        (WorklistFilter(found="1.2.3"), [3]),
        (WorklistFilter(found=".4"), [4]),
        (WorklistFilter(found="1.2.1.7"), [1]),
        (WorklistFilter(found="4.7"), [4]),
        (WorklistFilter(found="%"), []),
        (WorklistFilter(found="\U0010ffff"), []),
    ],
)
def test_filters_narrow(bench: Bench, chosen: WorklistFilter, expected: Sequence[int]) -> None:
    """Each filter by itself and two at once; a text is found where it begins or ends what people type, never as one."""
    assert sorted(_ids(bench, chosen)) == expected


def test_a_line_has_what_a_page_shows(bench: Bench) -> None:
    """Alert, findings, series, sender and study come with one statement; the patient is in no text of the value."""
    entry = bench.store.worklist.get(1)
    assert entry is not None
    assert entry == bench.store.worklist.page(WorklistFilter(found="LS-101")).entries[0]
    assert (entry.alert.alert.category, entry.alert.state) == (Category.CATEGORY_3, AlertState.OPEN)
    assert (entry.findings.profile, entry.findings.burden_percent) == (Profile.CTAC, 10.0)
    assert (entry.series.series_instance_uid, entry.series.calling_ae_title) == ("1.2.1.7", "PETCT1")
    assert (entry.study_description, entry.patient_id, entry.accession_number) == ("study 1", "P-1", "LS-101")
    assert "P-1" not in repr(entry)
    assert "LS-101" not in repr(entry)
    assert bench.store.worklist.get(99) is None


def test_a_renewed_alert_is_filed_anew(bench: Bench) -> None:
    """A new result of the same series changes what the alert is found by."""
    bench.store.requeue.apply(
        bench.store.requeue.select(_series("1.2.1.7")),
        "admin",
    )
    job = bench.claim()
    bench.record(job)
    assert _ids(bench, WorklistFilter(profile=Profile.CTAC)) == [3]
    assert _ids(bench, WorklistFilter(quality=QualityLevel.DIAGNOSTIC), sort=WorklistSort.BURDEN) == [1, 3, 2]


def test_events_name_who_did_it_and_what_he_is(bench: Bench) -> None:
    """The scanner sent, the node's services and worker worked, a person decided."""
    by = {(one.subject_kind, one.event): one.actor for one in bench.store.series.events("1.2.2.7")}
    assert by["series", "receive"] == Actor.peer("CT2")
    assert by["series", "complete"] == by["job", "enqueue"] == Actor.process("completion")
    assert by["job", "claim"] == by["alert", "raise"] == Actor.process("w")
    assert by["alert", "acknowledge"] == Actor.user("reader")


def _series(uid: str) -> Any:
    from db import RequeueFilter

    return RequeueFilter(series=uid)
