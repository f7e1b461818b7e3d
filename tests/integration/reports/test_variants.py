"""A report in simpler forms: nothing of its content is lost, and each form is an object of its own.

dciodvfy judges them, and dsrdump reads them.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage
from sr_reports import SERIES, content_items, dciodvfy, make_findings, name_code, write_sr

from alerts import Draft
from alerts.artefact import REPORT_CLASSES
from alerts.reports import SegmentReference, read_evidence
from alerts.reports.variants import report_variant

GGO = "Ground-glass opacity, both lungs"
SEGMENTATION = f"{SERIES}.99.1"


def _written(sources: list[Path], out: Path, burden_ml: float = 300.0, in_force: Path | None = None) -> Draft:
    evidence = read_evidence(sources, series_instance_uid=SERIES)
    instance = replace(
        evidence.instances[0],
        sop_class_uid=SegmentationStorage,
        sop_instance_uid=SEGMENTATION,
        series_instance_uid=f"{SERIES}.99",
    )
    findings = make_findings()
    whole = replace(findings.both_lungs, ggo_volume_ml=burden_ml)
    segments = {GGO: SegmentReference(instance=instance, number=1)}
    return write_sr(replace(findings, both_lungs=whole), sources, out, segments=segments, in_force=in_force)


def _items(report: Dataset) -> Iterator[tuple[str, str, str]]:
    for item in content_items(report):
        value = item.get("TextValue") or item.get("UID") or ""
        if "MeasuredValueSequence" in item:
            value = str(item.MeasuredValueSequence[0].NumericValue)
        if "ConceptCodeSequence" in item:
            value = item.ConceptCodeSequence[0].CodeValue
        yield name_code(item), item.ValueType, value


def _dsrdump(path: Path) -> str:
    """The tree as dcmtk reads it, which complains of nothing."""
    if shutil.which("dsrdump") is None:
        if os.environ.get("CI"):
            pytest.fail("dsrdump (Debian package dcmtk) is missing")
        pytest.skip("dsrdump (Debian package dcmtk) is missing")
    done = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("without", [False, True], ids=["with segments", "without"])
@pytest.mark.parametrize("sop_class", REPORT_CLASSES)
def test_every_form_is_valid_and_says_the_same(
    sop_class: str, without: bool, sources: list[Path], tmp_path: Path
) -> None:
    """Dciodvfy finds no error; the tree is the same, but for references to a segmentation that is not there."""
    draft = _written(sources, tmp_path / "report.dcm")
    made = report_variant(draft.content, sop_class_uid=sop_class, absent={SEGMENTATION} if without else ())
    if sop_class == Comprehensive3DSRStorage and not without:
        assert made is None
        return
    assert made is not None
    (tmp_path / "variant.dcm").write_bytes(made.content)
    assert "Error" not in dciodvfy(tmp_path / "variant.dcm")
    assert ("Referenced Segment" in _dsrdump(tmp_path / "variant.dcm")) is not without
    first, variant = pydicom.dcmread(tmp_path / "report.dcm"), pydicom.dcmread(tmp_path / "variant.dcm")
    left_out = {"121191", "121232"} if without else set[str]()
    assert list(_items(variant)) == [item for item in _items(first) if item[0] not in left_out]
    assert len({first.SOPInstanceUID, variant.SOPInstanceUID}) == len(
        {first.SeriesInstanceUID, variant.SeriesInstanceUID}
    )
    assert variant.SOPInstanceUID != first.SOPInstanceUID
    assert (SEGMENTATION.encode() in made.content) is not without
    assert report_variant(draft.content, sop_class_uid=sop_class, absent={SEGMENTATION} if without else ()) == made


def test_a_variant_names_the_variant_of_its_predecessor(sources: list[Path], tmp_path: Path) -> None:
    """At a destination that gets variants, the chain of predecessors is one of objects that it has."""
    older = _written(sources, tmp_path / "older.dcm")
    newer = _written(sources, tmp_path / "newer.dcm", 350.0, in_force=tmp_path / "older.dcm")
    simple = REPORT_CLASSES[1]
    before, after = (report_variant(one.content, sop_class_uid=simple) for one in (older, newer))
    assert before is not None
    assert after is not None
    (study,) = pydicom.dcmread(BytesIO(after.content)).PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (named,) = series.ReferencedSOPSequence
    assert series.SeriesInstanceUID == before.series_instance_uid
    assert (named.ReferencedSOPClassUID, named.ReferencedSOPInstanceUID) == (simple, before.sop_instance_uid)
