"""Earlier examinations of the same patient, as the commands show them."""

from pathlib import Path

import pytest
from filled_store import FLAGGED, PATIENT, STUDY, FilledNode, filled_node

EARLIER_STUDY, EARLIER = "1.2.3.50", "1.2.3.50.1"


@pytest.fixture
def node(tmp_path: Path) -> FilledNode:
    """A node whose flagged patient was examined a month before."""
    made = filled_node(tmp_path)
    made.examine_before(EARLIER, EARLIER_STUDY, "20251231")
    return made


@pytest.mark.parametrize("words", [("series", "show", FLAGGED), ("studies", "show", STUDY), ("alerts", "show", "1")])
def test_the_change_since_is_shown(node: FilledNode, words: tuple[str, ...]) -> None:
    """Date, figures of then, and what has changed, with its sign; never who the patient is."""
    shown = node.run(*words).stdout
    assert "2025-12-31" in shown
    assert "2.50" in shown
    assert "+7.50" in shown
    assert "+300.0" in shown
    assert "Research use only" in shown
    assert PATIENT not in shown


def test_json_holds_the_change(node: FilledNode) -> None:
    """The earlier examination with its date, series, figures, report and the difference."""
    (one,) = node.json("series", "show", FLAGGED)["earlier"]
    assert (one["study_date"], one["series_instance_uid"], one["burden_percent"]) == ("20251231", EARLIER, 2.5)
    assert one["change"]["burden_points"] == 7.5
    assert one["change"]["lung_volume_ml"] == 0
    assert node.json("alerts", "show", "1")["earlier"] == [one]
    assert node.json("studies", "show", STUDY)["earlier"] == {FLAGGED: [one]}


def test_an_examination_without_an_earlier_one_shows_none(node: FilledNode) -> None:
    """The first examination has nothing to be compared with: an empty list, and no table."""
    assert node.json("series", "show", EARLIER)["earlier"] == []
    assert "earlier examinations" not in node.run("series", "show", EARLIER).stdout


def test_a_result_shows_scores_quality_and_what_they_rest_on(node: FilledNode) -> None:
    """Why there are no scores, the reasons of the quality, and the share of each region."""
    shown = node.run("series", "show", FLAGGED).stdout
    assert "severity scores (LSS, LHOS) are not given" in shown
    assert "no inspiration scan" in shown
    assert "10.00" in shown
