"""What goes once it is old, on both databases; what stands keeps what people ask it about; counts stay true."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from store_bench import DATABASES, NO_LUNG, SERIES, STUDY, Bench, instance, opened
from structlog.testing import capture_logs

from db import AssociationRecord, CommitmentRequest, DismissalReason, JobState
from db.rows import AssociationRow, CommitmentRow, EventRow, JobRow, RefusalRow, StateCountRow
from db.store import pruning
from dicom_node.settings import Settings
from dicom_node.storage.history import History
from dicom_node.sweep import Sweep
from dicom_node.sweeps import Sweeps

YEARS = timedelta(days=800).total_seconds()


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bench on each database."""
    with opened(request.param, tmp_path) as made:
        yield made


def _tick(bench: Bench) -> None:
    """Look as the scheduler looks."""
    history = History(settings=Settings().retention, store=bench.store, clock=bench.clock)
    sweeps = tuple(Sweep(name=one.__name__, every_s=1, units=one) for one in (history.removals, history.counts))
    runner = Sweeps(sweeps, leads=lambda: True)
    with capture_logs() as logs:
        for sweep in sweeps:
            runner.tick(sweep)
    assert not [one for one in logs if one["log_level"] == "error"]


def _commit(bench: Bench, uid: str) -> int:
    request = CommitmentRequest(
        transaction_uid=uid,
        calling_ae_title="CT1",
        called_ae_title="LUNGSENTRY",
        address="10.1.2.17",
        references=(("1.2", "1.2.3.1.1"),),
    )
    return bench.store.commitments.request(request, max_attempts=3, begin=True).id


def test_old_rows_go_in_batches_and_young_ones_stay(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two, and more than two of everything: a look removes them all, and what came since then nothing."""
    monkeypatch.setattr(pruning, "AT_ONCE", 2)
    monkeypatch.setattr("dicom_node.storage.history.PRUNED_AT_ONCE", 2)
    store = bench.store

    def happen(number: int) -> None:
        bench.store.jobs.fail(bench.running(f"{STUDY}.{number}"), "UndecodablePixels", transient=False)
        _commit(bench, f"2.{number}")
        store.commitments.answered(store.commitments.list(limit=1)[0], committed=1, failed=0)
        name = f"a{number}"
        store.intake.open_association(
            AssociationRecord(
                association_id=name,
                receiver_id="r",
                calling_ae_title="CT1",
                called_ae_title="N",
                address="",
                opened_at=bench.clock(),
            )
        )
        store.intake.close_association(name)
        store.peers.record_refusal(f"X{number}", "LUNGSENTRY", "10.1.2.18", "not known")

    for number in range(1, 6):
        happen(number)
    bench.clock.advance(YEARS)
    happen(6)
    events = bench.count(EventRow)
    _tick(bench)
    assert [bench.count(table) for table in (JobRow, CommitmentRow, AssociationRow, RefusalRow)] == [1, 1, 1, 1]
    assert 0 < bench.count(EventRow) < events / 5
    status = store.status()
    assert (status.jobs["failed"], status.commitments["answered"], status.series["failed"]) == (1, 1, 6)
    left = bench.content()
    _tick(bench)
    assert bench.content() == left


def test_what_stands_keeps_its_story(bench: Bench) -> None:
    """Years later: how the series came to its result and who decided stands; attempts go, and what was excluded."""
    bench.analysed()
    bench.store.alerts.acknowledge(1, "reader", "seen")
    bench.store.intake.exclude(f"{STUDY}.2", bench.complete(f"{STUDY}.2"), NO_LUNG)
    bench.clock.advance(YEARS)
    _tick(bench)
    assert [(one.subject_kind, one.event) for one in bench.store.series.events(SERIES)] == [
        ("series", "receive"),
        ("series", "complete"),
        ("series", "enqueue"),
        ("result", "record"),
        ("series", "analyse"),
        ("alert", "raise"),
        ("alert", "acknowledge"),
    ]
    assert bench.store.series.events(f"{STUDY}.2") == ()
    assert bench.store.series.why(f"{STUDY}.2") is not None
    assert [one.state for one in bench.store.jobs.list()] == [JobState.SUCCEEDED]
    assert bench.again().run == 2


def test_open_associations_and_unanswered_commitments_never_go(bench: Bench) -> None:
    """They are work in hand, however old."""
    bench.store.intake.open_association(
        AssociationRecord(
            association_id="a",
            receiver_id="r",
            calling_ae_title="CT1",
            called_ae_title="N",
            address="",
            opened_at=bench.clock(),
        )
    )
    _commit(bench, "2.1")
    bench.clock.advance(YEARS)
    _tick(bench)
    assert (bench.count(AssociationRow), bench.count(CommitmentRow)) == (1, 1)


def test_refusals_of_ever_new_names_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood under new names fills so many rows and no more; the last stay."""
    monkeypatch.setattr(pruning, "MOST_REFUSALS", 3)
    for number in range(10):
        bench.clock.advance(1)
        bench.store.peers.record_refusal(f"X{number}", "LUNGSENTRY", "10.1.2.18", "not known")
    _tick(bench)
    assert [one.calling_ae_title for one in bench.store.peers.refusals()] == ["X9", "X8", "X7"]


def test_counts_are_those_of_the_rows_whatever_happened(bench: Bench) -> None:
    """After moves of every kind the status is what counting the rows would say, added up or not."""
    bench.analysed()
    bench.store.jobs.fail(bench.running(f"{STUDY}.2"), "UndecodablePixels", transient=False)
    bench.store.jobs.fail(bench.running(f"{STUDY}.3"), "later", transient=True)
    bench.store.jobs.cancel(bench.queued(f"{STUDY}.4").id, "admin")
    bench.store.intake.record_instance(instance(2))
    bench.store.alerts.dismiss(1, "reader", reason=DismissalReason.OTHER)
    _commit(bench, "2.1")
    before = bench.store.status()
    assert before.series == _counted(bench, "series", before.series)
    assert before.jobs == _counted(bench, "jobs", before.jobs)
    assert before.alerts == _counted(bench, "alerts", before.alerts)
    assert before.deliveries == _counted(bench, "deliveries", before.deliveries)
    assert before.commitments == _counted(bench, "commitments", before.commitments)
    for number in range(5, 60):
        bench.queued(f"{STUDY}.{number}")
    rows = bench.count(StateCountRow)
    standing = bench.store.status()
    _tick(bench)
    assert bench.count(StateCountRow) < 20 < rows
    assert bench.store.status() == standing


def _counted(bench: Bench, table: str, states: dict[str, int]) -> dict[str, int]:
    from sqlalchemy import create_engine, text

    engine = create_engine(bench.url)
    with engine.connect() as connection:
        rows = connection.execute(text(f"SELECT state, COUNT(*) FROM {table} GROUP BY state")).all()  # noqa: S608
    engine.dispose()
    return dict.fromkeys(states, 0) | {row[0]: row[1] for row in rows}
