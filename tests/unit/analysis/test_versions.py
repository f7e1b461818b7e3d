"""Which bytes show the same: every encoding of one image does, and no other image does."""

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from ct_files import ct_slice, item, set_pixels, write
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from analysis.series import show_the_same

Change = Callable[[Dataset], object]


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """One slice with a name in an alphabet of its own, a nested item, padding and a private element."""
    dataset = ct_slice(3, SpecificCharacterSet="ISO_IR 100", PatientName="J\u00f8rgensen^S", PixelPaddingValue=0)
    dataset.RequestAttributesSequence = [item(ReasonForTheRequestedProcedure="cough")]
    dataset.private_block(0x0009, "VENDOR", create=True).add_new(1, "LO", "something")
    write([dataset], tmp_path)
    return tmp_path / "00000.dcm"


def _again(first: Path, change: Change, syntax: str = ExplicitVRLittleEndian) -> Path:
    dataset = pydicom.dcmread(first)
    change(dataset)
    path = first.with_name("again.dcm")
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return path


def _compressed(syntax: str) -> Change:
    return lambda dataset: dataset.compress(syntax, generate_instance_uid=False)


def _said_of_itself(dataset: Dataset) -> None:
    dataset.DerivationDescription, dataset.LossyImageCompression = "Lossless, ratio 2.1", "00"
    dataset.ContributingEquipmentSequence = [item(Manufacturer="GATEWAY")]


def _in_utf8(dataset: Dataset) -> None:
    name = str(dataset.PatientName)
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 192", name


@pytest.mark.parametrize(
    ("change", "syntax"),
    [
        (lambda _: None, ExplicitVRLittleEndian),
        (lambda _: None, ImplicitVRLittleEndian),
        (lambda _: None, DeflatedExplicitVRLittleEndian),
        (_compressed(JPEGLSLossless), JPEGLSLossless),
        (_compressed(RLELossless), RLELossless),
        (_said_of_itself, ExplicitVRLittleEndian),
        (_in_utf8, ExplicitVRLittleEndian),
        (lambda dataset: dataset.remove_private_tags(), ExplicitVRLittleEndian),
        (lambda dataset: dataset.add_new(0xFFFCFFFC, "OB", b"\0\0"), ExplicitVRLittleEndian),
        (lambda dataset: setattr(dataset, "AccessionNumber", ""), ExplicitVRLittleEndian),
    ],
)
def test_another_encoding_shows_the_same(first: Path, change: Change, syntax: str) -> None:
    """Whatever syntax, alphabet, padding or private element: the same image, in either order."""
    again = _again(first, change, syntax)
    assert show_the_same(first, again)
    assert show_the_same(again, first)


def _one_pixel(dataset: Dataset) -> None:
    pixels = dataset.pixel_array.copy()
    pixels[30, 30] += 1
    set_pixels(dataset, pixels)


def _set(keyword: str, value: object) -> Change:
    return lambda dataset: setattr(dataset, keyword, value)


def _beyond(dataset: Dataset) -> None:
    dataset.BitsStored, dataset.HighBit = 12, 11


@pytest.mark.parametrize(
    ("change", "syntax"),
    [
        (_one_pixel, ExplicitVRLittleEndian),
        (_set("PatientName", "Another"), ExplicitVRLittleEndian),
        (_set("RescaleIntercept", -1000), ExplicitVRLittleEndian),
        (_set("PixelPaddingValue", 24), ExplicitVRLittleEndian),
        (_set("ImagePositionPatient", [-192, -192, 15.01]), ExplicitVRLittleEndian),
        (_set("LossyImageCompression", "01"), ExplicitVRLittleEndian),
        (_set("RequestAttributesSequence", [item(ReasonForTheRequestedProcedure="fever")]), ExplicitVRLittleEndian),
        (_set("RequestAttributesSequence", []), ExplicitVRLittleEndian),
        (_beyond, ExplicitVRLittleEndian),
        (lambda dataset: dataset.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False), None),
    ],
)
def test_another_image_shows_another(first: Path, change: Change, syntax: str | None) -> None:
    """A pixel, a name, a place, what lossy compression leaves, the bits that count: another image."""
    again = _again(first, change, syntax or JPEGLSNearLossless)
    assert not show_the_same(first, again)
    assert not show_the_same(again, first)


def test_what_cannot_be_read_shows_nothing(first: Path, tmp_path: Path) -> None:
    """Gone, no DICOM, cut off in its pixels."""
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(first.read_bytes()[:-100])
    (tmp_path / "text.dcm").write_text("no DICOM")
    for other in (tmp_path / "gone.dcm", tmp_path / "text.dcm", torn):
        assert not show_the_same(first, other)
