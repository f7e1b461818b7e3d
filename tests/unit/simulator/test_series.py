"""Series of a phantom, their variants, and the replay of files under new UIDs."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from dicom_node.simulator import (
    NothingToReplay,
    Phantom,
    PhantomSpec,
    ReplayedPatient,
    Variant,
    build_phantom,
    header_for,
    replay,
    write_pet_series,
    write_series,
    write_variant,
)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return build_phantom(PhantomSpec.cardiac_ctac(matrix=128, ggo_ml=100.0))


def test_a_series_gives_the_phantom_back(phantom: Phantom, tmp_path: Path) -> None:
    """Stored values with slope and intercept, ordered by position, are the phantom's HU."""
    datasets = sorted((dcmread(path) for path in write_series(phantom, tmp_path)), key=lambda d: d.SliceLocation)
    hu = np.stack([d.pixel_array.astype(int) * int(d.RescaleSlope) + int(d.RescaleIntercept) for d in datasets])
    assert np.array_equal(hu, phantom.hu)
    steps = np.diff([float(d.ImagePositionPatient[2]) for d in datasets])
    assert np.allclose(steps, phantom.slice_spacing_mm)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_syntaxes_keep_the_pixels(syntax: str, phantom: Phantom, tmp_path: Path) -> None:
    """A compressed series decodes to the same values and says which syntax it is in."""
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    first = write_series(phantom, plain)[5]
    second = write_series(phantom, packed, header_for(phantom, transfer_syntax_uid=str(syntax)))[5]
    compressed = dcmread(second)
    assert compressed.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(compressed.pixel_array, dcmread(first).pixel_array)
    assert compressed.SOPInstanceUID == dcmread(first).SOPInstanceUID


def test_same_phantom_same_uids_other_salt_other_uids(phantom: Phantom) -> None:
    """UIDs follow from the salt alone."""
    assert header_for(phantom).study_instance_uid == header_for(phantom).study_instance_uid
    assert header_for(phantom, salt="another").study_instance_uid != header_for(phantom).study_instance_uid


def test_pet_shares_study_and_frame_of_reference(phantom: Phantom, tmp_path: Path) -> None:
    """The PET series is another series of the same study in the same frame of reference."""
    ct = dcmread(write_series(phantom, tmp_path / "ct")[0])
    pet = dcmread(write_pet_series(phantom, tmp_path / "pt")[0])
    assert pet.Modality == "PT"
    assert (pet.StudyInstanceUID, pet.FrameOfReferenceUID) == (ct.StudyInstanceUID, ct.FrameOfReferenceUID)
    assert pet.SeriesInstanceUID != ct.SeriesInstanceUID


@pytest.mark.parametrize(
    ("variant", "claim"),
    [
        (Variant.MR, lambda d: d.Modality == "MR"),
        (Variant.LOCALIZER, lambda d: d.ImageType[2] == "LOCALIZER"),
        (Variant.NO_LUNGS, lambda d: "water" in d.SeriesDescription),
        (Variant.MU_MAP, lambda d: d.RescaleType == "US" and d.pixel_array.max() < 3000),
        (Variant.TILTED, lambda d: abs(float(d.ImageOrientationPatient[5])) > 0.1 and float(d.GantryDetectorTilt) > 0),
    ],
)
def test_variants_are_wrong_in_the_way_they_say(variant: Variant, claim, phantom: Phantom, tmp_path: Path) -> None:
    """Every file of a variant shows what is wrong with it."""
    assert all(claim(dcmread(path)) for path in write_variant(variant, phantom, tmp_path))


def test_missing_slice_leaves_one_gap(phantom: Phantom, tmp_path: Path) -> None:
    """One slice in the middle is absent, and its file too."""
    paths = write_variant(Variant.MISSING_SLICE, phantom, tmp_path)
    positions = sorted(float(dcmread(path).SliceLocation) for path in paths)
    steps = np.diff(positions)
    assert (steps > 1.5 * phantom.slice_spacing_mm).sum() == 1
    assert len(paths) == len(list(tmp_path.iterdir())) == len(phantom.hu) - 1


def test_two_reconstructions_share_the_acquisition(phantom: Phantom, tmp_path: Path) -> None:
    """Two series of one study and frame of reference differ in kernel."""
    datasets = [dcmread(path) for path in write_variant(Variant.TWO_RECONSTRUCTIONS, phantom, tmp_path)]
    assert len({d.SeriesInstanceUID for d in datasets}) == 2
    assert len({(d.StudyInstanceUID, d.FrameOfReferenceUID) for d in datasets}) == 1
    assert len({d.ConvolutionKernel for d in datasets}) == 2


def test_replay_keeps_pixels_and_renames_alike(phantom: Phantom, tmp_path: Path) -> None:
    """Pixel data stays byte for byte; every UID of a thing changes, the same one to the same."""
    originals = write_series(phantom, tmp_path / "a", header_for(phantom, transfer_syntax_uid=str(RLELossless)))
    patient = ReplayedPatient(patient_id="REPLAYED", patient_name="Replayed^Chest")
    copies = replay(originals, tmp_path / "b", salt="x", patient=patient)
    pairs = [(dcmread(one), dcmread(two)) for one, two in zip(originals, copies, strict=True)]
    assert all(one.PixelData == two.PixelData for one, two in pairs)
    assert all(one.file_meta.TransferSyntaxUID == two.file_meta.TransferSyntaxUID for one, two in pairs)
    for keyword, distinct in (
        ("StudyInstanceUID", 1),
        ("SeriesInstanceUID", 1),
        ("FrameOfReferenceUID", 1),
        ("SOPInstanceUID", len(pairs)),
    ):
        before, after = ({str(getattr(pair[i], keyword)) for pair in pairs} for i in (0, 1))
        assert len(after) == distinct, keyword
        assert not before & after, keyword
    assert all(two.SOPClassUID == one.SOPClassUID for one, two in pairs)
    assert all(two.file_meta.MediaStorageSOPInstanceUID == two.SOPInstanceUID for _, two in pairs)
    assert {str(two.PatientID) for _, two in pairs} == {"REPLAYED"}


def test_replay_draws_new_uids_each_time(phantom: Phantom, tmp_path: Path) -> None:
    """Without a salt two replays are two examinations."""
    originals = write_series(phantom, tmp_path / "a")[:2]
    one, two = (dcmread(replay(originals, tmp_path / name)[0]) for name in ("b", "c"))
    assert one.StudyInstanceUID != two.StudyInstanceUID


def test_replay_of_no_dicom_is_an_error(tmp_path: Path) -> None:
    """A folder without DICOM files is told, not silently sent as nothing."""
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(NothingToReplay):
        replay(tmp_path.iterdir(), tmp_path / "out")


@pytest.mark.real_data
def test_real_series_is_replayed_with_its_compressed_pixels(shared_data: Path, tmp_path: Path) -> None:
    """JPEG Lossless fragments of a real scanner travel unchanged into the copy."""
    originals = sorted((shared_data / "dicom" / "normal001").glob("*.dcm"))[:3]
    copies = replay(originals, tmp_path, salt="x")
    for one, two in zip(originals, copies, strict=True):
        assert dcmread(one).PixelData == dcmread(two).PixelData
        assert dcmread(one).SeriesInstanceUID != dcmread(two).SeriesInstanceUID
