"""Files to volumes: the same patient gives the same array however it was stored."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, RLELossless

from analysis.errors import InconsistentGeometry, UndecodablePixels, UnreadableInstance
from analysis.series import assemble, read_series
from analysis.series.volume import to_hounsfield

_RIGHT_TO_LEFT, _FRONT_TO_BACK = (1, 0, 0), (0, 1, 0)


def _dataset(index: int, pixels: np.ndarray, sop_class: str = CTImageStorage) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"1.2.3.{index + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2", "1.2.3", "1.2.4"
    dataset.Modality, dataset.InstanceNumber = "CT", index + 1
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()
    return dataset


def _write(
    folder: Path, hu: np.ndarray, *, transposed=False, flip_rows=False, flip_columns=False, reverse=False, **extra
) -> Path:
    """Store a canonical volume (3, 0.5 and 0.8 mm) in some other order, with a geometry that says so."""
    folder.mkdir(parents=True, exist_ok=True)
    count, rows, columns = hu.shape
    order = range(count - 1, -1, -1) if reverse else range(count)
    for number, z in enumerate(order):
        plane = (hu[z] + 1024).astype(np.uint16)
        down, across = np.asarray(_FRONT_TO_BACK), np.asarray(_RIGHT_TO_LEFT)
        origin = np.asarray([-100.0, -50.0, 3.0 * z])
        if flip_rows:
            plane, origin, down = plane[::-1], origin + down * 0.5 * (rows - 1), -down
        if flip_columns:
            plane, origin, across = plane[:, ::-1], origin + across * 0.8 * (columns - 1), -across
        spacing = [0.5, 0.8]
        if transposed:
            plane, down, across, spacing = plane.T, across, down, spacing[::-1]
        dataset = _dataset(number, plane)
        dataset.ImageOrientationPatient = [*map(int, across), *map(int, down)]
        dataset.ImagePositionPatient = [float(value) for value in origin]
        dataset.PixelSpacing, dataset.SliceThickness = spacing, 3
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        for keyword, value in extra.items():
            setattr(dataset, keyword, value)
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder


def _hu(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1024, 900, (4, 6, 5)).astype(np.int16)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flags=st.fixed_dictionaries(
        {name: st.booleans() for name in ("transposed", "flip_rows", "flip_columns", "reverse")}
    )
)
def test_every_stored_order_gives_the_same_volume(tmp_path, flags):
    """Feet first, prone, mirrored, transposed and reversed copies agree, and masks find their way back."""
    hu = _hu()
    folder = _write(tmp_path / "".join(str(int(flag)) for flag in flags.values()), hu, **flags)
    (series,) = read_series([folder]).series
    volume = assemble(series)
    np.testing.assert_array_equal(volume.hu, hu)
    assert (volume.row_spacing_mm, volume.column_spacing_mm) == (0.5, 0.8)
    assert volume.slice_positions_mm.tolist() == [0, 3, 6, 9]
    stored = {
        header.sop_instance_uid: np.frombuffer(_pixels(header.path), "<u2").reshape(header.rows, header.columns)
        for header in series.headers
    }
    for uid, plane in zip(volume.sop_instance_uids, volume.to_native(volume.hu), strict=True):
        np.testing.assert_array_equal(plane, stored[uid].astype(np.int32) - 1024)


def _pixels(path: Path) -> bytes:
    return path.read_bytes()[-6 * 5 * 2 :]


def test_unequal_steps_give_each_slice_the_space_it_stands_for(tmp_path):
    """Steps of 2, 2 and 5 mm make slices of 2, 2, 3.5 and 5 mm."""
    folder = _write(tmp_path, _hu())
    (series,) = read_series([folder]).series
    for header, z in zip(series.headers, (0, 2, 4, 9), strict=True):
        dataset = pydicom.dcmread(header.path)
        dataset.ImagePositionPatient = [0, 0, z]
        dataset.save_as(header.path)
    assert assemble(read_series([folder]).series[0]).slice_weights_mm.tolist() == [2, 2, 3.5, 5]


def test_an_enhanced_ct_gives_the_same_volume(tmp_path):
    """Frames of one instance are slices, each with its own place and rescale."""
    hu = _hu()
    dataset = _dataset(0, (hu[::-1] + 1024).astype(np.uint16), EnhancedCTImageStorage)
    dataset.NumberOfFrames = len(hu)
    frames = []
    for z in reversed(range(len(hu))):
        frame, plane, rescale = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = [0, 0, 3 * z]
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
        frame.PlanePositionSequence = Sequence([plane])
        frame.PixelValueTransformationSequence = Sequence([rescale])
        frames.append(frame)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.8], 3
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    volume = assemble(read_series([tmp_path]).series[0])
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.frame_numbers == (4, 3, 2, 1)


def test_padding_becomes_air(tmp_path):
    """The padding value of the header is no attenuation."""
    hu = _hu()
    hu[0, 0, 0] = 500
    volume = assemble(read_series([_write(tmp_path, hu, PixelPaddingValue=1524)]).series[0])
    assert volume.hu[0, 0, 0] == -1024
    assert volume.hu[1, 0, 0] == hu[1, 0, 0]


@given(
    st.integers(0, 65535),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([-1024.0, -8192.0, 0.0, 0.5]),
)
def test_rescale_is_exact_and_bounded(stored, slope, intercept):
    """Unsigned pixels never wrap; what is out of range is clipped."""
    found = to_hounsfield(np.asarray([stored], np.uint16), slope, intercept, None)[0]
    assert abs(int(found) - min(max(stored * slope + intercept, -1024), 32767)) <= 0.5


def test_compressed_and_plain_pixels_agree(tmp_path):
    """RLE decodes to the same volume as plain pixels."""
    hu = _hu()
    folder = _write(tmp_path, hu)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path)
    np.testing.assert_array_equal(assemble(read_series([folder]).series[0]).hu, hu)


def test_files_that_are_not_instances_are_named_with_a_reason(tmp_path):
    """Text, an empty file, a missing one and a repeat are listed; the series is read all the same."""
    folder = _write(tmp_path, _hu())
    (folder / "notes.txt").write_text("no image")
    (folder / "empty.dcm").touch()
    (folder / "repeat.dcm").write_bytes((folder / "0.dcm").read_bytes())
    reading = read_series([folder, tmp_path / "gone.dcm"])
    assert len(reading.series) == 1
    assert len(reading.series[0].headers) == 4
    assert {path.name: why for path, why in reading.unreadable} == {
        "notes.txt": "not a DICOM file",
        "empty.dcm": "not a DICOM file",
        "repeat.dcm": "repeats the SOP Instance UID of another file",
        "gone.dcm": "no such file",
    }


def test_truncated_pixels_are_an_error_that_names_the_instance(tmp_path):
    """A truncated file raises, by UID; a file that has gone does too."""
    folder = _write(tmp_path, _hu())
    (series,) = read_series([folder]).series
    path = folder / "2.dcm"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises((UndecodablePixels, UnreadableInstance), match=r"1\.2\.3\.3"):
        assemble(series)
    path.unlink()
    with pytest.raises(UnreadableInstance, match=r"1\.2\.3\.3"):
        assemble(series)


def test_slices_of_different_size_do_not_form_a_volume(make_series):
    """Geometry is checked before any pixel is read."""
    with pytest.raises(InconsistentGeometry):
        assemble(make_series(rows=lambda index: 512 + index))


def test_garbage_in_attributes_counts_as_absent(tmp_path):
    """Text where a number should be, a zero spacing, parallel axes: read as absent, never raised."""
    folder = _write(tmp_path, _hu())
    path = folder / "0.dcm"
    dataset = pydicom.dcmread(path)
    dataset.PixelSpacing = [0, 0]
    dataset.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    dataset.save_as(path)
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x001 ", b"IS\x02\x00x "))
    (series,) = read_series([folder]).series
    header = next(header for header in series.headers if header.path == path)
    assert header.pixel_spacing_mm is None
    assert header.image_orientation_patient is None
    assert header.instance_number is None
