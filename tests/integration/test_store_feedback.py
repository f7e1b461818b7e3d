"""What readers said, counted as it is given, and how late results were, on both databases."""

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_bench import DATABASES, STUDY, Bench, opened

from db import Verdict
from db.feedback import wilson
from db.lateness import Lateness, lateness_of


@pytest.fixture(params=DATABASES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A bench on each database."""
    with opened(request.param, tmp_path) as made:
        yield made


def test_the_last_verdict_of_a_result_counts(bench: Bench) -> None:
    """Two readers, one of whom thinks again; a newer result counts by itself, for the model that made it."""
    alert = bench.analysed(version="1.0").alert_id
    assert alert is not None
    for who, verdict in (("anna", Verdict.THERE), ("ben", Verdict.NOT_THERE), ("anna", Verdict.UNSURE)):
        bench.clock.advance(1)
        bench.store.feedback.give(alert, who, verdict)
    assert [(one.verdict, one.count) for one in bench.store.feedback.counts()] == [(Verdict.UNSURE, 1)]
    bench.record(bench.again(), version="2.0")
    bench.store.feedback.give(alert, "anna", Verdict.THERE)
    counts = bench.store.feedback.counts()
    assert [(one.model_version, one.verdict, one.count) for one in counts] == [
        ("1.0", Verdict.UNSURE, 1),
        ("2.0", Verdict.THERE, 1),
    ]
    assert {(one.profile, one.model_name, one.calling_ae_title) for one in counts} == {("chest_ct", "test", "CT1")}


def test_readers_at_once_are_counted_once_each(bench: Bench) -> None:
    """Eight readers of one result in threads of their own: the counts come to one, that of the last."""
    alert = bench.analysed().alert_id
    assert alert is not None
    together = Barrier(8)

    def say(number: int) -> None:
        together.wait()
        bench.store.feedback.give(alert, f"reader{number}", list(Verdict)[number % 3])

    threads = [Thread(target=say, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.count for one in bench.store.feedback.counts()) == 1
    assert len(bench.store.feedback.of_alert(alert)) == 8


@given(hits=st.integers(0, 400), more=st.integers(0, 400))
def test_wilson_holds_the_share_and_narrows(hits: int, more: int) -> None:
    """The interval lies within 0 and 100, around the share, and ten times as many verdicts narrow it."""
    count = hits + more + 1
    share, lower, upper = wilson(hits, count)
    assert -1e-9 <= lower <= share + 1e-9
    assert share - 1e-9 <= upper <= 100 + 1e-9
    _, lower_of_more, upper_of_more = wilson(10 * hits, 10 * count)
    assert upper_of_more - lower_of_more < upper - lower


def test_wilson_is_that_of_the_books() -> None:
    """Newcombe 1998 (Stat Med 17:857), his example of 81 of 263: 0.2553 to 0.3662."""
    _, lower, upper = wilson(81, 263)
    assert (round(lower, 2), round(upper, 2)) == (25.53, 36.62)


def test_lateness_is_from_the_last_image_to_the_receipt(bench: Bench) -> None:
    """Of fresh examinations only, whatever number of objects; a re-run of years later is not late."""
    assert bench.store.lateness.lately() is None
    for number, seconds in ((1, 40.0), (2, 100.0)):
        start = bench.clock.now
        bench.record(bench.running(f"{STUDY}.{number}"))
        bench.clock.now = start
        received = bench.store.series.get(f"{STUDY}.{number}")
        assert received is not None
        bench.clock.now = received.last_received_at
        bench.clock.advance(seconds)
        _deliver(bench)
    assert bench.store.lateness.lately() == Lateness(count=2, p50_s=40.0, p95_s=100.0)
    bench.clock.advance(1e7)
    bench.record(bench.again(f"{STUDY}.1"))
    _deliver(bench)
    assert bench.store.lateness.lately() == Lateness(count=2, p50_s=40.0, p95_s=100.0)


def test_percentiles_are_times_that_were_seen() -> None:
    """By nearest rank."""
    assert lateness_of([]) is None
    assert lateness_of([float(one) for one in range(100, 0, -1)]) == Lateness(count=100, p50_s=50.0, p95_s=95.0)


def _deliver(bench: Bench) -> None:
    due = bench.store.outbox.claim("P", bench.clock.now, 60)
    assert due is not None
    bench.store.outbox.sent(due)
