"""A phantom with opacities as a series that was analysed, in whatever way it was stored."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from model_sets import models_with
from stored_copies import Storing, read_slices, write_copy
from threshold_segmenter import ThresholdSegmenter

from alerts.reports import Evidence, read_evidence
from analysis.pipeline import AnalysedSeries, analyse
from analysis.series import Series, read_series
from dicom_node.simulator import Phantom, PhantomSpec, build_phantom, header_for, write_series

NAME, PATIENT_ID, ACCESSION = "Quillfeather^Zebulon", "QF-4711-Z", "ACC-88-1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnalysedFolder:
    """A series in a folder, what was found in it, and the instances that its result refers to."""

    folder: Path
    series: Series
    analysed: AnalysedSeries
    sources: Evidence


@cache
def _phantom() -> Phantom:
    return build_phantom(PhantomSpec.opacities(matrix=128))


def analysed_phantom(folder: Path, storing: Storing | None = None) -> AnalysedFolder:
    """The phantom written to a folder, stored as told, and analysed with thresholds in place of the network."""
    phantom = _phantom()
    header = replace(header_for(phantom), patient_name=NAME, patient_id=PATIENT_ID, accession_number=ACCESSION)
    paths = write_series(phantom, folder / "as-made", header)
    if storing is not None:
        return analysed_folder(write_copy(read_slices(paths), folder / "stored", storing=storing))
    return analysed_folder(folder / "as-made")


def analysed_folder(folder: Path) -> AnalysedFolder:
    """The one series of a folder, analysed with thresholds in place of the network."""
    (series,) = read_series([folder]).series
    analysed = analyse(series, models=models_with(ThresholdSegmenter()))
    assert isinstance(analysed, AnalysedSeries), analysed.screening.reason
    sources = read_evidence([header.path for header in series.headers], series_instance_uid=series.series_instance_uid)
    return AnalysedFolder(folder=folder, series=series, analysed=analysed, sources=sources)
