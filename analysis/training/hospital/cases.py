"""From a folder of series and masks to scans that can be trained on."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom

from analysis.anatomy.lungs import LungModel, segment_lungs
from analysis.series import Series, assemble, read_series
from analysis.training.hospital.errors import UnusableMask
from analysis.training.hospital.grid import Grid
from analysis.training.hospital.nifti import is_nifti, read_nifti, stem
from analysis.training.hospital.regions import Region, region_of_words
from analysis.training.hospital.segmentation import SegmentationHeader, read_header, read_segments

_LESIONS = (Region.LESION, Region.GROUND_GLASS, Region.HIGH_OPACITY)  # the later one wins where they overlap
_LEAST_STEP_MM = 1.0  # slices nearer than this are thinned: windows of training are at least so far apart
_NAME_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class HospitalCase:
    """A series and the masks that mark it. ``patient`` is a digest that is compared and stored nowhere."""

    name: str
    series: Series
    patient: str
    segmentations: tuple[Path, ...]
    masks: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HospitalScan:
    """Slices that hold lung, from feet to head: HU float32, lung bool, ``label`` uint8 as in the training cache."""

    hu: npt.NDArray[np.float32]
    label: npt.NDArray[np.uint8]
    lung: npt.NDArray[np.bool_]


def find_cases(folder: Path, tell: Callable[[str], None]) -> tuple[HospitalCase, ...]:
    """The CT series below a folder that have masks, by the digest of their patient; ``tell`` hears what is left out.

    Raises:
        UnusableMask: masks lie where no series does, or where several do.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    niftis = [path for path in files if is_nifti(path)]
    dicoms = [path for path in files if not is_nifti(path)]
    segmentations = [header for path in dicoms if (header := read_header(path)) is not None]
    of_seg = {header.path for header in segmentations}
    read = read_series([path for path in dicoms if path not in of_seg])
    series = [one for one in read.series if one.headers and one.headers[0].modality == "CT"]
    by_folder: dict[Path, list[Series]] = {}
    for one in series:
        for place in {header.path.parent for header in one.headers}:
            by_folder.setdefault(place, []).append(one)
    beside: dict[str, list[Path]] = {}
    for path in niftis:
        there = by_folder.get(path.parent, [])
        if len(there) != 1:
            raise UnusableMask(
                f"{path}: {len(there)} CT series lie in its folder; it must be the folder of the one that it marks."
            )
        beside.setdefault(there[0].series_instance_uid, []).append(path)
    cases: list[HospitalCase] = []
    for one in series:
        marks = [header for header in segmentations if _is_of(header, one)]
        masks = beside.get(one.series_instance_uid, [])
        name = _digest(one.series_instance_uid)[:_NAME_DIGITS]
        if not marks and not masks:
            tell(
                f"{one.headers[0].path.parent}: a CT series of {len(one.headers)} instances without a mask is left out"
            )
            continue
        cases.append(
            HospitalCase(
                name=f"hospital_{name}",
                series=one,
                patient=_patient(one),
                segmentations=tuple(mark.path for mark in marks),
                masks=tuple(masks),
            )
        )
    return tuple(sorted(cases, key=lambda case: (case.patient, case.name)))


def read_case(case: HospitalCase, tell: Callable[[str], None]) -> HospitalScan | None:
    """The scan with its labels; None, and ``tell`` hears why, where nobody marked whether it has lesions.

    Raises:
        AnalysisError: the series does not form a volume, or a mask does not fit it.
    """
    volume = assemble(case.series)
    grid = Grid.of(case.series, volume)
    regions: dict[Region, npt.NDArray[np.bool_]] = {}
    for path in case.segmentations:
        segments, strangers = read_segments(path, volume, grid)
        for label in strangers:
            tell(
                f"{path}: the segment {label!r} is none of lung, ground glass, high opacity or lesion, and is not used"
            )
        _add(regions, segments)
    for path in case.masks:
        region = region_of_words(stem(path))
        if region is None:
            raise UnusableMask(f"{path}: name it after what it marks: lung, ggo, high_opacity or lesion.")
        _add(regions, {region: read_nifti(path, grid)})
    if not any(region in regions for region in _LESIONS):
        where = case.series.headers[0].path.parent
        tell(f"{where}: left out, as no lesion is marked, nor that there is none (an empty mask)")
        return None
    label = np.zeros(grid.shape, np.uint8)
    for region, value in zip(_LESIONS, (3, 1, 2), strict=True):
        if region in regions:
            label[regions[region]] = value
    lung = regions.get(Region.LUNG)
    if lung is None:
        lung = segment_lungs(volume, LungModel.load()).mask
    lung = lung | (label > 0)
    with_lung = np.flatnonzero(lung.any(axis=(1, 2)))
    if not len(with_lung):
        raise UnusableMask(f"{case.series.headers[0].path.parent}: no lung is marked, and none was found.")
    thinned = max(1, math.ceil(_LEAST_STEP_MM / volume.slice_spacing_mm - 0.01))
    kept = slice(int(with_lung[0]), int(with_lung[-1]) + 1, thinned)
    return HospitalScan(hu=volume.hu[kept].astype(np.float32), label=label[kept], lung=lung[kept])


def _add(regions: dict[Region, npt.NDArray[np.bool_]], more: Mapping[Region, npt.NDArray[np.bool_]]) -> None:
    for region, mask in more.items():
        regions[region] = regions[region] | mask if region in regions else mask


def _is_of(header: SegmentationHeader, series: Series) -> bool:
    if header.series_uids:
        return series.series_instance_uid in header.series_uids
    return any(instance.sop_instance_uid in header.instance_uids for instance in series.headers)


def _patient(series: Series) -> str:
    """A digest of the patient's ID; of the study where the ID is empty, which is the nearest that can be told."""
    header = pydicom.dcmread(series.headers[0].path, stop_before_pixels=True, specific_tags=["PatientID"])
    return _digest(str(header.get("PatientID") or "") or series.study_instance_uid)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
