"""The figures of deploy/capacity.md are those of the command, and its simulation is of a queue."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest

from tests.capacity.__main__ import DOCUMENT, written
from tests.capacity.model import HERE, Load, arrivals, figures, load, week


@pytest.fixture(scope="module")
def given() -> Load:
    return load()


def test_the_document_has_the_commands_figures() -> None:
    """`python -m tests.capacity --write` would change nothing."""
    document = DOCUMENT.read_text(encoding="utf-8")
    assert written(document, figures()) == document


def test_the_week_has_the_rhythm_and_the_number(given: Load) -> None:
    """A year's examinations over its weeks; a Sunday has fewer, a night fewer still."""
    at = arrivals(given)
    assert len(at) == pytest.approx(given.examinations_a_year / (365.25 / 7), rel=0.01)
    days = np.bincount((at // 86_400).astype(int), minlength=7)
    assert days[6] < days[5] < days[0]
    assert given.rates[3] < given.rates[10] / 5


def test_a_queue_that_can_be_reckoned_by_hand(given: Load) -> None:
    """One core, three that come at once, then one alone: the second waits once, the third twice, the last not."""
    slow = replace(given, costs={**given.costs, "analysis_processor_s": 10.0, "analysis_images": 1})
    service = slow.analysis_s
    told = week(slow, np.array([0.0, 0.0, 0.0, 100 * service]), 1)
    assert told.longest_s == pytest.approx(3 * service)
    assert told.longest_line == 2
    assert week(slow, np.array([0.0, 0.0, 0.0]), 3).longest_s == pytest.approx(service)


def test_more_cores_never_make_it_later(given: Load) -> None:
    """And twice the work needs more than the same cores give."""
    at = arrivals(given)[:20_000]
    few, many = (week(given, at, cores) for cores in (20, 40))
    assert many.p95_s <= few.p95_s
    assert many.busy == pytest.approx(few.busy / 2)


def test_each_cost_names_where_it_was_measured() -> None:
    """A benchmark of the repository prints it."""
    text = (HERE / "costs.toml").read_text(encoding="utf-8")
    printed = (HERE.parent / "benchmarks" / "unit_costs.py").read_text(encoding="utf-8")
    assert "python -m tests.benchmarks unit-costs" in text
    assert all(f"{name} =" in printed for name in tomllib.loads(text))
