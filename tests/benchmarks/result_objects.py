"""How long the objects of a flagged result take, and how large segmentations are.

The series is the phantom with opacities brought to 300 slices of 512 x 512, as in ``measuring``; the sizes are of a
real chest CT as the shipped model reads it, where the data are there. Two threads.
"""

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from alerts import PolicyDecision, evaluate
from alerts.reports import (
    Evidence,
    key_slice_captures,
    opacities_segmentation,
    read_evidence,
    result_page,
    structured_report,
    summary_capture,
)
from analysis.findings import Findings, Profile, Provenance
from analysis.measure import assess_quality, measure
from analysis.models import ModelSet
from analysis.pipeline import AnalysedSeries, analyse
from analysis.series import Screening, read_series
from dicom_node.settings import Policy
from dicom_node.work.publishing import alert_policy, request_context
from tests.benchmarks import measuring

_SLICES, _MATRIX = 300, 512
_REPEATS = 5
_THREADS = 2
_FLOOR_S = 1.5
_EXPLICIT_MB, _DEFLATED_MB = 6.0, 0.1


def main() -> None:
    """Make each object, print the median of each and of the sum; then the sizes."""
    cv2.setNumThreads(_THREADS)
    with tempfile.TemporaryDirectory() as name:
        case = _case(Path(name))
        gc.collect()
        gc.freeze()  # as a worker does
        _time(*case)
    _weigh()


def _time(analysed: AnalysedSeries, sources: Evidence, decision: PolicyDecision) -> None:
    findings = analysed.findings
    written = opacities_segmentation(analysed, sources)
    assert written is not None
    parts: dict[str, Callable[[], object]] = {
        "opacities SEG": lambda: opacities_segmentation(analysed, sources),
        "SR": lambda: structured_report(findings, decision, sources=sources, segments=written.segments),
        "SC, summary": lambda: summary_capture(findings, result_page(analysed, decision), sources),
        "SC, key slices": lambda: key_slice_captures(analysed, sources),
    }
    print(f"{_SLICES} x {_MATRIX} x {_MATRIX}, {_REPEATS} repeats, {_THREADS} threads")
    total = 0.0
    for name, part in parts.items():
        seconds = statistics.median(_timed(part) for _ in range(_REPEATS))
        total += seconds
        print(f"{name}: {seconds:.3f} s")
    print(f"SEG, SR and SC, median: {total:.3f} s (floor {_FLOOR_S} s)")


def _timed(part: Callable[[], object]) -> float:
    started = time.perf_counter()
    part()
    return time.perf_counter() - started


def _case(folder: Path) -> tuple[AnalysedSeries, Evidence, PolicyDecision]:
    volume, lungs, labels, lobes = measuring.case(_SLICES)
    for index, uid in enumerate(volume.sop_instance_uids):
        _write_header(folder / f"{index}.dcm", uid, float(volume.slice_positions_mm[index]), volume.row_spacing_mm)
    (series,) = read_series([folder]).series
    screening = Screening(results=(), profile=Profile.CHEST_CT)
    measured = measure(volume, lungs, labels, lobes=lobes)
    findings = Findings(
        study_instance_uid=series.study_instance_uid,
        series_instance_uid=series.series_instance_uid,
        revision=1,
        profile=Profile.CHEST_CT,
        profile_cues=(),
        slice_count=_SLICES,
        both_lungs=measured.both_lungs,
        right_lung=measured.right_lung,
        left_lung=measured.left_lung,
        lobes=measured.lobes,
        lss=measured.lss,
        lhos=measured.lhos,
        lesion_count=measured.lesion_count,
        lesion_mean_hu=measured.both_lungs.lesion_mean_hu,
        lesion_sd_hu=measured.both_lungs.lesion_sd_hu,
        key_slices=measured.key_slices,
        quality=assess_quality(volume, lungs, Profile.CHEST_CT, screening, lesions=labels),
        provenance=Provenance(
            model_name="none",
            model_version="0",
            weights_sha256="0" * 64,
            thresholds={},
            runtime="none",
            device="cpu",
            software_version="0",
        ),
    )
    analysed = AnalysedSeries(
        series=series,
        findings=findings,
        screening=screening,
        volume=replace(volume),
        lungs=lungs,
        labels=np.where(lungs.mask, labels, 0).astype(np.uint8),
        lobes=lobes,
        seconds={},
    )
    decision = evaluate(findings, request_context(series), alert_policy(Policy()))
    assert decision.alert is not None
    sources = read_evidence([one.path for one in series.headers], series_instance_uid=series.series_instance_uid)
    return analysed, sources, decision


def _write_header(path: Path, uid: str, position_mm: float, spacing_mm: float) -> None:
    """A CT image without its pixels, which nothing here reads."""
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, uid
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2", "1.2.3", "1.2.4"
    image.PatientName, image.PatientID, image.Modality = "Bench^Mark", "BENCH", "CT"
    image.StudyDate, image.StudyTime = "20260302", "101500"
    image.Rows = image.Columns = _MATRIX
    image.PixelSpacing = [f"{spacing_mm:.6f}"] * 2
    image.SliceThickness = "1"
    image.ImagePositionPatient = ["-180", "-180", f"{position_mm:.4f}"]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, uid
    image.save_as(path, enforce_file_format=True)


def _weigh() -> None:
    data = Path(os.environ.get("LUNGSENTRY_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    folder = data / "dicom" / "covid_P001"
    if not folder.is_dir():
        print(f"sizes skipped: no real CT at {folder} (set LUNGSENTRY_DATA)")
        return
    (series,) = read_series([folder]).series
    analysed = analyse(series, models=ModelSet.load())
    assert isinstance(analysed, AnalysedSeries)
    sources = read_evidence([one.path for one in series.headers], series_instance_uid=series.series_instance_uid)
    written = opacities_segmentation(analysed, sources)
    assert written is not None
    dataset, buffer = pydicom.dcmread(BytesIO(written.draft.content)), BytesIO()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(buffer)
    explicit, deflated = len(buffer.getvalue()) / 1e6, len(written.draft.content) / 1e6
    print(
        f"opacities SEG of covid_P001: {explicit:.2f} MB explicit (at most {_EXPLICIT_MB} MB), "
        f"{deflated:.3f} MB deflated (at most {_DEFLATED_MB} MB)"
    )
