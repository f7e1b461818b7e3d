"""What a person typed at the scanner stays out of the log and the events: they name the rule."""

from pathlib import Path

import node_harness as harness
import pytest
from structlog.testing import capture_logs

from db import SeriesState, Store
from dicom_node.node import prepare
from dicom_node.settings import Settings

NAME = "ZZMARKER"


@pytest.mark.parametrize(
    ("attributes", "rule"),
    [
        ({"Modality": NAME, "SeriesDescription": NAME, "RescaleType": NAME}, "modality"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER", NAME], "SeriesDescription": f"SCOUT {NAME}"}, "image type"),
    ],
)
def test_an_exclusion_is_logged_by_its_rule(tmp_path: Path, attributes: dict[str, object], rule: str) -> None:
    """A name in a field that a rule looks at shows in the reason for people, and in no log line or event."""
    settings = Settings(node={"data_dir": tmp_path / "node"})
    prepare(settings)
    with Store.open(settings.database_url) as store, capture_logs() as logs:
        uid = harness.index(settings, store, harness.write_ct(tmp_path / "ct", **attributes))
        triage = harness.triage_of(settings, store)
        for units in (triage.completions, triage.screenings):
            for unit in tuple(units()):
                unit.run()
        series, events = store.series.get(uid), store.series.events(uid)
    assert series is not None
    assert series.state is SeriesState.EXCLUDED
    assert series.reason
    assert [entry for entry in logs if entry["event"] == "series.excluded"]
    assert NAME not in repr(logs)
    assert NAME not in repr(events)
    assert rule in repr(events)
