"""A hospital's masks reach the training data to the voxel, and what does not fit is refused with its file's name."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.coding import Code

from analysis.series import assemble, read_series
from analysis.training.datasets import CLASS_BITS, LUNG, Source
from analysis.training.hospital import Region, UnusableMask, find_cases, read_case, region_of_code, region_of_words
from analysis.training.hospital.grid import Grid
from analysis.training.prepare import build_cache
from dicom_node.simulator import Phantom, PhantomSpec, build_phantom, header_for, write_series

LUNG_CODE = Code("39607008", "SCT", "Lung")
GGO_CODE = Code("112120", "DCM", "Ground glass opacity")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
SLICES = slice(8, 20)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """Twelve slices of a chest with opacities of both classes."""
    whole = build_phantom(PhantomSpec.ctac_opacities(matrix=128))
    cut = replace(whole, hu=whole.hu[SLICES], lungs=whole.lungs[SLICES], lesions=whole.lesions[SLICES])
    assert {1, 2} <= set(np.unique(cut.lesions).tolist())
    return cut


@pytest.fixture
def folder(tmp_path: Path, phantom: Phantom) -> Path:
    """The phantom as a CT series."""
    write_series(phantom, tmp_path / "ct")
    return tmp_path


def _describe(number: int, label: str, code: Code) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=ABNORMAL,
        segmented_property_type=code,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def write_seg(
    path: Path,
    sources: list[Any],
    segments: dict[str, tuple[Code, np.ndarray]],
    kind: SegmentationTypeValues = SegmentationTypeValues.BINARY,
    *,
    omit_empty_frames: bool = True,
) -> None:
    """Write a SEG of masks that lie slice by slice on the sources."""
    masks = np.stack([mask for _, mask in segments.values()], axis=-1)
    pixels = masks.astype(np.float32) if kind is SegmentationTypeValues.FRACTIONAL else masks.astype(np.uint8)
    Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[
            _describe(number, label, code) for number, (label, (code, _)) in enumerate(segments.items(), start=1)
        ],
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="0",
        device_serial_number="0",
        omit_empty_frames=omit_empty_frames,
    ).save_as(path)


def _sources(folder: Path) -> list[Any]:
    """The slices, as they are stored, from feet to head: in the phantom's order."""
    read = [pydicom.dcmread(path) for path in sorted((folder / "ct").glob("*.dcm"))]
    return sorted(read, key=lambda image: float(image.ImagePositionPatient[2]))


def write_nifti(folder: Path, name: str, mask: np.ndarray, axes: str = "LPS") -> Path:
    """Write a mask of the series' canonical voxels as NIfTI, its axes turned to ``axes``."""
    (series,) = read_series([folder]).series
    volume = assemble(series)
    grid = Grid.of(series, volume)
    steps = np.diff(grid.origins_mm, axis=0).mean(axis=0)
    affine = np.eye(4)  # from (column, row, slice) to LPS
    affine[:3] = np.c_[grid.column_step_mm, grid.row_step_mm, steps, grid.origins_mm[0]]
    image = nibabel.Nifti1Image(mask.transpose(2, 1, 0).astype(np.uint8), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    turned = image.as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(axes))
        )
    )
    nibabel.save(turned, folder / name)
    return folder / name


def _only(folder: Path, told: list[str] | None = None) -> Any:
    (case,) = find_cases(folder, (told if told is not None else []).append)
    return read_case(case, (told if told is not None else []).append)


def _expected(phantom: Phantom) -> tuple[np.ndarray, np.ndarray]:
    return phantom.lesions, (phantom.lungs > 0) | (phantom.lesions > 0)


def _compare(scan: Any, phantom: Phantom) -> None:
    """The slices that hold lung, voxel by voxel; a CTAC's slices are far enough apart to be kept all."""
    label, lung = _expected(phantom)
    inside = np.flatnonzero(lung.any(axis=(1, 2)))
    kept = slice(inside[0], inside[-1] + 1)
    np.testing.assert_array_equal(scan.label, label[kept])
    np.testing.assert_array_equal(scan.lung, lung[kept])
    assert scan.hu.shape == scan.label.shape


@pytest.mark.parametrize(
    "kind",
    [SegmentationTypeValues.BINARY, SegmentationTypeValues.FRACTIONAL, SegmentationTypeValues.LABELMAP],
    ids=lambda kind: kind.value,
)
@pytest.mark.parametrize("reversed_order", [False, True], ids=["feet first", "head first"])
def test_a_dicom_seg_comes_back_to_the_voxel(
    folder: Path, phantom: Phantom, kind: SegmentationTypeValues, *, reversed_order: bool
) -> None:
    """Lung, ground glass and high opacity, binary, fractional or as a label map, in any order of frames."""
    ggo, high = phantom.lesions == 1, phantom.lesions == 2
    lung = (phantom.lungs > 0) & ~ggo & ~high  # a label map has one segment a voxel; lesions belong to the lung anyway
    step = -1 if reversed_order else 1
    write_seg(
        folder / "marks.dcm",
        _sources(folder)[::step],
        {
            "both lungs": (LUNG_CODE, lung[::step]),
            "GGO": (GGO_CODE, ggo[::step]),
            "consolidation": (ABNORMAL, high[::step]),
        },
        kind,
    )
    _compare(_only(folder), phantom)


@pytest.mark.parametrize("lacking", ["PlanePositionSequence", "DerivationImageSequence"])
def test_position_or_reference_alone_place_a_frame(folder: Path, phantom: Phantom, lacking: str) -> None:
    """A SEG of which either is missing lands on the same slices."""
    write_seg(
        folder / "marks.dcm",
        _sources(folder),
        {"lung": (LUNG_CODE, phantom.lungs > 0), "GGO": (GGO_CODE, phantom.lesions > 0)},
    )
    dataset = pydicom.dcmread(folder / "marks.dcm")
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        delattr(groups, lacking)
    dataset.save_as(folder / "marks.dcm")
    scan = _only(folder)
    np.testing.assert_array_equal(scan.label.any(axis=(1, 2)).sum(), phantom.lesions.any(axis=(1, 2)).sum())
    assert int((scan.label == 1).sum()) == int((phantom.lesions > 0).sum())
    assert not (scan.label[scan.hu < -1000] > 0).any()


def test_a_frame_whose_position_and_reference_differ_is_refused(folder: Path, phantom: Phantom) -> None:
    """Neither is believed: the error names the file and the frame."""
    write_seg(folder / "marks.dcm", _sources(folder), {"GGO": (GGO_CODE, phantom.lesions > 0)})
    dataset = pydicom.dcmread(folder / "marks.dcm")
    first, second = dataset.PerFrameFunctionalGroupsSequence[:2]
    first.PlanePositionSequence, second.PlanePositionSequence = (
        second.PlanePositionSequence,
        first.PlanePositionSequence,
    )
    dataset.save_as(folder / "marks.dcm")
    with pytest.raises(UnusableMask, match=r"marks\.dcm, frame 1: .* refers to another slice"):
        _only(folder)


def test_a_seg_between_the_slices_is_refused(folder: Path, phantom: Phantom) -> None:
    """Moved by a millimetre it is on another grid, and nobody resamples it in silence."""
    write_seg(folder / "marks.dcm", _sources(folder), {"GGO": (GGO_CODE, phantom.lesions > 0)})
    dataset = pydicom.dcmread(folder / "marks.dcm")
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        x, y, z = groups.PlanePositionSequence[0].ImagePositionPatient
        groups.PlanePositionSequence[0].ImagePositionPatient = [x, y, float(z) + 1.0]
    dataset.save_as(folder / "marks.dcm")
    with pytest.raises(UnusableMask, match=r"marks\.dcm, frame 1: .*1\.00 mm off"):
        _only(folder)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "LAS", "PIR", "SAL"])
def test_nifti_masks_come_back_to_the_voxel(folder: Path, phantom: Phantom, axes: str) -> None:
    """Whatever the order and direction of the NIfTI's axes."""
    write_nifti(folder / "ct", "lung.nii.gz", phantom.lungs > 0, axes)
    write_nifti(folder / "ct", "ggo.nii.gz", phantom.lesions == 1, axes)
    write_nifti(folder / "ct", "high_opacity.nii.gz", phantom.lesions == 2, axes)
    _compare(_only(folder), phantom)


def test_a_nifti_of_another_grid_is_refused(folder: Path, phantom: Phantom) -> None:
    """Half a voxel off, or of another size: the error names the file and says what to do."""
    path = write_nifti(folder / "ct", "lesion.nii.gz", phantom.lesions > 0)
    image = nibabel.load(path)
    moved = image.affine.copy()
    moved[0, 3] += 2.0
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), moved), path)
    with pytest.raises(UnusableMask, match=r"lesion\.nii\.gz: .*resample"):
        _only(folder)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[::2], image.affine), path)
    with pytest.raises(UnusableMask, match=r"lesion\.nii\.gz: .*64x128x12 voxels .*12x128x128"):
        _only(folder)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("lesion.nii.gz", b"no nifti", "no NIfTI file"),
        ("liver.nii.gz", None, "name it after what it marks"),
    ],
)
def test_a_mask_that_is_none_is_named(
    folder: Path, phantom: Phantom, name: str, content: bytes | None, why: str
) -> None:
    """A broken file, and one whose name says nothing."""
    path = write_nifti(folder / "ct", name, phantom.lesions > 0)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnusableMask, match=f"{name}.*{why}"):
        _only(folder)


def test_a_mask_without_a_series_beside_it_is_refused(folder: Path, phantom: Phantom) -> None:
    """Nobody guesses which series it marks."""
    path = write_nifti(folder / "ct", "lesion.nii.gz", phantom.lesions > 0)
    path.rename(folder / "lesion.nii.gz")
    with pytest.raises(UnusableMask, match=r"lesion\.nii\.gz: 0 CT series"):
        find_cases(folder, print)


def test_what_is_not_marked_is_left_out_and_told(folder: Path, phantom: Phantom) -> None:
    """Neither a series without masks nor one with lungs alone is taken for a control."""
    told: list[str] = []
    assert find_cases(folder, told.append) == ()
    assert "without a mask" in told[0]
    write_nifti(folder / "ct", "lung.nii.gz", phantom.lungs > 0)
    assert _only(folder, told) is None
    assert "no lesion is marked" in told[-1]


def _patients(folder: Path, phantom: Phantom, count: int) -> Iterator[Path]:
    """Series of patients, each with a lesion mask; that of the last is empty."""
    for number in range(count):
        header = header_for(phantom, patient_id=f"SECRET-{number}", salt=f"patient {number}")
        write_series(phantom, folder / f"p{number}", header)
        lesions = phantom.lesions * (number < count - 1)
        write_nifti(folder / f"p{number}", "lesion.nii", lesions > 0)
        write_nifti(folder / f"p{number}", "lung.nii", phantom.lungs > 0)
        yield folder / f"p{number}"


def test_the_cache_joins_them_by_patient_without_naming_one(tmp_path: Path, phantom: Phantom) -> None:
    """Two series of a patient share a fold, an empty lesion mask makes a control, and no ID is kept."""
    first, *_ = list(_patients(tmp_path, phantom, 3))
    again = header_for(phantom, patient_id="SECRET-0", salt="another study")
    write_series(phantom, tmp_path / "p0b", again)
    write_nifti(tmp_path / "p0b", "lesion.nii", phantom.lesions > 0)
    write_nifti(tmp_path / "p0b", "lung.nii", phantom.lungs > 0)
    told: list[str] = []
    cache = build_cache(tmp_path, told.append)
    assert not told
    assert [case.source for case in cache.cases].count(Source.HOSPITAL_CONTROL) == 1
    folds = {case.name: case.fold for case in cache.cases}
    cases = {case.series.headers[0].path.parent: case.name for case in find_cases(tmp_path, told.append)}
    assert folds[cases[first]] == folds[cases[tmp_path / "p0b"]]
    assert len(set(folds.values())) == 3
    assert not any("SECRET" in name for name in folds)
    for case in cache.cases:
        mask = cache.mask[case.start : case.stop]
        assert ((mask & CLASS_BITS) > 0).any() == (case.source is Source.HOSPITAL)
        assert ((mask & LUNG) > 0).any()


@pytest.mark.parametrize(
    ("words", "region"),
    [
        ("Left lung", Region.LUNG),
        ("lung lesion", Region.LESION),
        ("Ground-glass opacity", Region.GROUND_GLASS),
        ("COVID-19 infection", Region.LESION),
        ("high_opacity", Region.HIGH_OPACITY),
        ("Pleural effusion", Region.HIGH_OPACITY),
        ("Heart", None),
    ],
)
def test_words_name_regions(words: str, region: Region | None) -> None:
    """The more specific word decides; what is none of ours is none."""
    assert region_of_words(words) is region


def test_codes_name_regions() -> None:
    """A code counts with its scheme."""
    assert region_of_code("DCM", "112120") is Region.GROUND_GLASS
    assert region_of_code("SCT", "112120") is None
