"""Findings for research: as tables and as FHIR, page by page, and without a patient where that is asked for."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from fhir.resources.observation import Observation
from filled_store import FLAGGED, PATIENT, STUDY, FilledNode, filled_node
from pyarrow import parquet
from store_bench import DATABASES, ELIGIBLE, START, instance, opened
from store_bench import STUDY as BENCH_STUDY

from db.store import exporting
from dicom_node.export import COLUMNS, ExportError, Pseudonyms, line_of, observation, write_csv

KEY = "0123456789abcdef" * 2
EARLIER, EARLIER_STUDY = "1.2.3.300.31", "1.2.3.300"


@pytest.fixture
def node(tmp_path: Path) -> FilledNode:
    """A node with two flagged results of one patient, seventeen days apart."""
    made = filled_node(tmp_path)
    made.examine_before(EARLIER, EARLIER_STUDY, "20260114")
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / "other key").write_text(f"{KEY[::-1]}\n")
    return made


def _lines(node: FilledNode, out: Path, *words: str) -> list[dict[str, str]]:
    node.run("export", "csv", str(out), *words)
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_result_in_force_is_a_line(node: FilledNode, tmp_path: Path) -> None:
    """With its figures and its patient; the file is nobody else's to read, and is not written over."""
    lines = _lines(node, tmp_path / "all.csv")
    assert [line["series_instance_uid"] for line in lines] == [FLAGGED, EARLIER]
    assert (lines[0]["patient_id"], lines[0]["accession_number"], lines[0]["study_date"]) == (
        PATIENT,
        "ACC-1",
        "20260131",
    )
    assert (lines[0]["burden_percent"], lines[0]["flagged"], lines[0]["category"]) == ("10.0", "True", "3")
    assert (tmp_path / "all.csv").stat().st_mode & 0o777 == 0o600
    node.run("export", "csv", str(tmp_path / "all.csv"), code=2)
    assert _lines(node, tmp_path / "none.csv", "--before", "2020-01-01") == []
    with node.store() as store:
        assert [one.detail for one in store.audit.list(action="findings exported")] == ["csv, with patient IDs"] * 2


def test_a_text_is_no_formula(node: FilledNode) -> None:
    """What a header says is shown by a spreadsheet and not computed."""
    with node.store() as store:
        (entry, _) = store.exporting.results(START - timedelta(days=9999), datetime.now(UTC))
    written = StringIO()
    write_csv([replace(entry, study_description='=HYPERLINK("http://x")')], written)
    (line,) = csv.DictReader(StringIO(written.getvalue()))
    assert line["study_description"] == '\'=HYPERLINK("http://x")'


def test_the_three_formats_tell_the_same(node: FilledNode, tmp_path: Path) -> None:
    """Parquet with typed columns; every FHIR line is an Observation by the judge of another library."""
    lines = _lines(node, tmp_path / "x.csv")
    node.run("export", "parquet", str(tmp_path / "x.parquet"))
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.schema.names == list(COLUMNS)
    assert table.schema.metadata[b"note"].startswith(b"Research use only")
    for line, row in zip(lines, table.to_pylist(), strict=True):
        assert {name: "" if value is None else str(value) for name, value in row.items() if name != "recorded_at"} == {
            name: value for name, value in line.items() if name != "recorded_at"
        }
    node.run("export", "fhir", str(tmp_path / "x.ndjson"))
    for line, text in zip(lines, (tmp_path / "x.ndjson").read_text(encoding="utf-8").splitlines(), strict=True):
        judged = Observation.model_validate_json(text)
        assert judged.status == "preliminary"
        told = json.loads(text)
        shares = [one for one in told["component"] if one["code"]["text"] == "Opacities as a share of the lungs"]
        assert [one["valueQuantity"]["value"] for one in shares] == [float(line["burden_percent"])]
        assert told["effectiveDateTime"].replace("-", "") == line["study_date"]


def test_who_has_no_id_is_not_one_person(node: FilledNode) -> None:
    """An ID stands beside who issued it; where there is none FHIR has no subject, and the table no patient."""
    with node.store() as store:
        (entry, _) = store.exporting.results(START - timedelta(days=9999), datetime.now(UTC))
    issued = replace(entry, issuer_of_patient_id="WARD 1")
    assert observation(issued)["subject"] == {"identifier": {"value": PATIENT, "assigner": {"display": "WARD 1"}}}
    assert line_of(issued)["issuer_of_patient_id"] == "WARD 1"
    nobody = replace(entry, patient_id="")
    assert "subject" not in observation(nobody)
    assert line_of(nobody)["patient_id"] is None


@pytest.mark.parametrize("kind", ["csv", "fhir", "parquet"])
def test_deidentified_it_names_nobody(node: FilledNode, tmp_path: Path, kind: str) -> None:
    """No ID, no accession number, no UID, no description, no AE title, no date of the calendar."""
    out = tmp_path / "study"
    node.run("export", kind, str(out), "--deidentify", "--key-file", str(tmp_path / "key"))
    content = out.read_bytes()
    if kind == "parquet":
        content = str(parquet.read_table(out).to_pylist()).encode()
    for told in (PATIENT, "ACC-1", STUDY, FLAGGED, EARLIER_STUDY, "WHOLE BODY", "CT1", "20260131", "2026-01-31"):
        assert told.encode() not in content, told


def test_pseudonyms_hold_together_by_the_key(node: FilledNode, tmp_path: Path) -> None:
    """One patient is one pseudonym, seventeen days stay seventeen days; under another key all is other."""
    first = _lines(node, tmp_path / "1.csv", "--deidentify", "--key-file", str(tmp_path / "key"))
    again = _lines(node, tmp_path / "2.csv", "--deidentify", "--key-file", str(tmp_path / "key"))
    other = _lines(node, tmp_path / "3.csv", "--deidentify", "--key-file", str(tmp_path / "other key"))
    assert first == again
    assert len({line["patient_id"] for line in first}) == 1
    days = [datetime.strptime(line["study_date"], "%Y%m%d").replace(tzinfo=UTC) for line in first]
    assert abs(days[0] - days[1]) == timedelta(days=17)
    first, other = ([*sorted(lines, key=lambda line: line["burden_percent"])] for lines in (first, other))
    for name in ("patient_id", "study_instance_uid", "series_instance_uid", "scanner"):
        assert {line[name] for line in first}.isdisjoint({line[name] for line in other}), name
    assert [line["burden_percent"] for line in first] == [line["burden_percent"] for line in other]


def test_neither_order_nor_moments_tell_the_true_days(tmp_path: Path) -> None:
    """Lines follow the key and not the time; every moment is moved, also that of a patient without an ID."""
    pseudonyms = Pseudonyms(key=bytes(range(32)))
    with opened("sqlite", tmp_path) as bench:
        for number in range(8):
            study = f"1.8.{number}"
            bench.store.intake.record_instance(
                instance(series=f"{study}.1", study_instance_uid=study, patient_id="" if number % 2 else f"P{number}")
            )
            bench.store.intake.mark_complete(f"{study}.1", 1, "in a test")
            bench.store.jobs.enqueue(f"{study}.1", 1, ELIGIBLE, 3)
            bench.record(bench.claim())
            bench.clock.advance(86_400)
        span = START, bench.clock.now
        in_time = list(bench.store.exporting.results(*span))
        numbers = pseudonyms.shuffled(bench.store.exporting.numbers(*span))
        by_key = list(bench.store.exporting.numbered(numbers))
    assert sorted(one.result.id for one in by_key) == [one.result.id for one in in_time]
    assert [one.result.id for one in by_key] not in (sorted(numbers), sorted(numbers, reverse=True))
    assert all(pseudonyms.of(one).result.created_at.date() < one.result.created_at.date() for one in by_key)


def test_a_short_key_and_half_an_option_are_refused(node: FilledNode, tmp_path: Path) -> None:
    """Nothing is written then."""
    (tmp_path / "short").write_text("secret")
    out = tmp_path / "x.csv"
    node.run("export", "csv", str(out), "--deidentify", code=2)
    node.run("export", "csv", str(out), "--deidentify", "--key-file", str(tmp_path / "short"), code=1)
    assert not out.exists()
    with pytest.raises(ExportError, match="cannot be read"):
        Pseudonyms.of_file(tmp_path / "none")


@pytest.mark.parametrize("kind", DATABASES)
def test_an_export_holds_a_page_and_misses_nothing(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of the same moment and of later ones, two a page: each once, in order, superseded ones not."""
    monkeypatch.setattr(exporting, "PAGE", 2)
    with opened(kind, tmp_path) as bench:
        series = [f"{BENCH_STUDY}.{number}" for number in range(1, 6)]
        for number, uid in enumerate(series):
            bench.record(bench.running(uid))
            if number >= 2:
                bench.clock.advance(1)
        bench.record(bench.again(series[0]))
        bench.clock.advance(1)
        found = [one.result.series_instance_uid for one in bench.store.exporting.results(START, bench.clock.now)]
        assert found == [*series[1:], series[0]]
        assert list(bench.store.exporting.results(bench.clock.now, bench.clock.now)) == []
