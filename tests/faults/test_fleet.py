"""Several of each role on one PostgreSQL and one archive: who dies takes nothing with it."""

import os
from pathlib import Path

import pytest

from tests.fleet.fleet import Size
from tests.fleet.judgement import overlaps
from tests.fleet.run import Plan, run

SECONDS = float(os.environ.get("LUNGSENTRY_FLEET_SECONDS", "12"))
SMALL = Size(receivers=2, workers=2, schedulers=2, webs=1, senders=2)


@pytest.mark.slow
@pytest.mark.timeout(900 + 2 * SECONDS)
def test_whoever_of_a_fleet_dies_nothing_is_lost_doubled_or_analysed_twice_at_once(tmp_path: Path) -> None:
    """Scanners send to any receiver while processes and PostgreSQL are killed.

    In the end each acknowledged image is in the archive as it was sent, each series has a result of its newest
    revision, each study one alert, the destination each report, under each UID one content.
    """
    size = SMALL if SECONDS < 60 else Size()
    done = run(Plan(size=size, seconds=SECONDS, every_s=3, seed=1), tmp_path)
    assert done.judgement.series >= size.senders
    assert done.kills["postgresql"] == 1
    assert done.judgement.faults == {}


def test_two_analyses_at_once_are_seen(tmp_path: Path) -> None:
    """Of one that was killed the analysis ended then; without the kill it would have gone on beside the second."""
    first, second = tmp_path / "worker-0", tmp_path / "worker-1"
    first.write_text("begin 1.2.3 1 10.0\nbegin 1.2.4 1 30.0\nend 1.2.4 1 31.0\n")
    second.write_text("begin 1.2.3 1 15.0\nend 1.2.3 1 16.0\n")
    assert overlaps([first, second], {"worker-0": [12.0]}) == []
    assert overlaps([first, second], {}) == ["1.2.3"]
