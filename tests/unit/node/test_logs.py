"""Logs carry dotted events and UIDs, as JSON lines, and never a patient, whoever writes them."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from analysis.errors import UnreadableInstance
from dicom_node.logs import REMOVED, cause_of, configure, remove_patient_fields
from dicom_node.settings import Logging

PATIENT = "Doe^Jane"


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure(Logging(format="json"), role="worker", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def test_event_is_one_json_line_with_its_role(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """An event keeps its name and UIDs and says when, how grave and in which role."""
    structlog.stdlib.get_logger().info("series.completed", series_instance_uid="1.2.3")
    (line,) = lines()
    assert (line["event"], line["series_instance_uid"], line["role"], line["level"]) == (
        "series.completed",
        "1.2.3",
        "worker",
        "info",
    )
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    "field",
    ["patient_name", "PatientID", "patients_birth_date", "accession_number", "referring_physician_name", "sex", "ds"],
)
def test_patient_fields_are_removed(lines: Callable[[], list[dict[str, Any]]], field: str) -> None:
    """A field named like a patient's attribute loses its value, also inside a mapping."""
    structlog.stdlib.get_logger().info("instance.stored", **{field: PATIENT}, header={field: PATIENT, "rows": 512})
    (line,) = lines()
    assert line[field] == REMOVED
    assert line["header"] == {field: REMOVED, "rows": 512}


@given(st.text(max_size=8), st.sampled_from(["patient", "Patient", "PATIENT"]), st.text(max_size=8))
def test_no_spelling_of_patient_gets_through(before: str, word: str, after: str) -> None:
    """Whatever stands around the word patient, the value is gone."""
    name = f"x{before}{word}{after}"
    assert remove_patient_fields(None, "", {name: PATIENT}) == {name: REMOVED}


@pytest.mark.parametrize("name", ["pydicom", "pynetdicom.assoc", "highdicom.sr"])
def test_text_of_libraries_that_hold_datasets_is_dropped(lines: Callable[[], list[dict[str, Any]]], name: str) -> None:
    """Pynetdicom and its kin may quote a dataset: their place is logged, their words are not."""
    logging.getLogger(name).error("Invalid value for PN: %s", PATIENT)
    logging.getLogger(name).info("dataset %s", PATIENT)
    (line,) = lines()
    assert line["event"] == "library.reported"
    assert line["where"].startswith(name)
    assert PATIENT not in json.dumps(line)


def test_warning_keeps_its_place_only(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """A Python warning (pydicom quotes values in them) is logged by where it was raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn(f"Invalid value {PATIENT}", UserWarning, stacklevel=1)
    (line,) = lines()
    assert "test_logs.py" in line["where"]
    assert PATIENT not in json.dumps(line)


def test_exception_is_told_by_type_and_place(lines: Callable[[], list[dict[str, Any]]]) -> None:
    """The message of a foreign exception may quote a dataset; its type and line are enough to find it."""
    try:
        int(PATIENT)
    except ValueError:
        structlog.stdlib.get_logger().exception("job.failed")
        logging.getLogger("apscheduler").exception("job raised")
    ours, foreign = lines()
    assert ours["cause"].startswith("ValueError at tests/unit/node/test_logs.py:")
    assert foreign["cause"] == ours["cause"]
    assert PATIENT not in json.dumps([ours, foreign])


def test_own_errors_speak_for_themselves() -> None:
    """Our errors hold no patient data by construction, so their message is the cause."""
    assert cause_of(UnreadableInstance("1.2.3")) == "UnreadableInstance: A DICOM instance cannot be read. 1.2.3"
    assert cause_of(OSError(28, "No space", PATIENT)) == "OSError (errno 28)"
