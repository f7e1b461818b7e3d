"""A phantom as a DICOM series: CT Image Storage as a scanner of its kind would write it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

from dicom_node.simulator.phantom import Phantom, PhantomProfile

UID_ROOT = "1.2.826.0.1.3680043.8.498."
MANUFACTURER = "Lungsentry"
_OFFSET_HU = 1024
_LARGEST_STORED = 4095


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesHeader:
    """What the headers say beside the geometry. UIDs follow from ``salt``: another salt is another examination."""

    salt: str
    patient_id: str
    patient_name: str = "Phantom^Chest"
    study_description: str
    series_description: str
    protocol: str
    kernel: str
    model_name: str
    kvp: float
    tube_current_ma: int
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    series_number: int = 2
    study_date: str = "20260302"
    study_time: str = "101500"
    accession_number: str = ""
    transfer_syntax_uid: str = str(ExplicitVRLittleEndian)

    def uid(self, *parts: object) -> str:
        """The UID of something within this examination: the same parts, the same UID."""
        return generate_uid(prefix=UID_ROOT, entropy_srcs=[self.salt, *map(str, parts)])

    @property
    def study_instance_uid(self) -> str:
        """UID of the study."""
        return self.uid("study")

    @property
    def series_instance_uid(self) -> str:
        """UID of the series."""
        return self.uid("series", self.series_number)

    @property
    def frame_of_reference_uid(self) -> str:
        """UID of the frame of reference, shared by all series of the examination."""
        return self.uid("frame of reference")


def header_for(phantom: Phantom, **changes: object) -> SeriesHeader:
    """The header that fits a phantom's profile, with any field changed.

    The default salt comes from the specification: the same phantom is the same examination.
    """
    spec = phantom.spec
    common: dict[str, Any] = {
        "salt": f"{spec.profile}/{spec.seed}/{spec.matrix}/{spec.ggo_ml}/{spec.high_opacity_ml}",
        "patient_id": f"PHANTOM-{spec.seed:04d}",
    }
    if spec.profile is PhantomProfile.CHEST_CT:
        header = SeriesHeader(
            **common,
            study_description="CT CHEST WITHOUT CONTRAST",
            series_description="Chest 2.5 Br40",
            protocol="Chest routine",
            kernel="Br40",
            model_name="Lungsentry Phantom CT",
            kvp=120,
            tube_current_ma=160,
        )
    else:
        cardiac = spec.profile is PhantomProfile.CARDIAC_CTAC
        header = SeriesHeader(
            **common,
            study_description="NM MYOCARDIAL PERFUSION SPECT/CT" if cardiac else "PET/CT WHOLE BODY FDG",
            series_description="CTAC Cardiac 4.0" if cardiac else "AC CT 5.0",
            protocol="Cardiac SPECT CTAC" if cardiac else "PET WB AC CT",
            kernel="B31s" if cardiac else "B19f",
            model_name="Lungsentry Phantom SPECT/CT" if cardiac else "Lungsentry Phantom PET/CT",
            kvp=130 if cardiac else 120,
            tube_current_ma=20 if cardiac else 40,
            image_type=("ORIGINAL", "PRIMARY", "AXIAL") if cardiac else ("DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 SPI"),
        )
    return replace(header, **changes)  # pyright: ignore[reportArgumentType]


def write_series(phantom: Phantom, folder: Path, header: SeriesHeader | None = None) -> list[Path]:
    """Write one file a slice into the folder (made if absent), head first; return them in that order.

    The transfer syntax is the header's: uncompressed, RLE, JPEG-LS lossless or JPEG 2000 lossless.
    """
    header = header or header_for(phantom)
    folder.mkdir(parents=True, exist_ok=True)
    count = len(phantom.hu)
    paths: list[Path] = []
    for number in range(1, count + 1):
        index = count - number
        dataset = ct_image(phantom, header, index=index, number=number)
        paths.append(save(dataset, folder / f"{header.series_number:02d}-{number:04d}.dcm", header.transfer_syntax_uid))
    return paths


def ct_image(phantom: Phantom, header: SeriesHeader, *, index: int, number: int) -> Dataset:
    """One slice as a CT Image (PS3.3 section A.3), uncompressed."""
    dataset = examination(header, modality="CT")
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = header.uid("image", header.series_number, number)
    dataset.ImageType = list(header.image_type)
    _describe_acquisition(dataset, phantom, header)
    x_mm, y_mm, z_mm = phantom.first_position_mm
    position = z_mm + index * phantom.slice_spacing_mm
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [decimal(x_mm), decimal(y_mm), decimal(position)]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SliceLocation = decimal(position)
    set_pixels(dataset, np.clip(phantom.hu[index].astype(np.int32) + _OFFSET_HU, 0, _LARGEST_STORED).astype(np.uint16))
    dataset.RescaleIntercept = -_OFFSET_HU
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter = [40, -600]
    dataset.WindowWidth = [400, 1500]
    return dataset


def examination(header: SeriesHeader, *, modality: str) -> Dataset:
    """The modules that all images of an examination share: patient, study, series, equipment."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, header.study_date)
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, header.study_time)
    dataset.AccessionNumber = header.accession_number
    dataset.Modality = modality
    dataset.Manufacturer = MANUFACTURER
    dataset.InstitutionName = "Phantom hospital"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = header.study_description
    dataset.SeriesDescription = header.series_description
    dataset.ManufacturerModelName = header.model_name
    dataset.DeviceSerialNumber = "0000"
    dataset.SoftwareVersions = "simulator"
    dataset.PatientName = header.patient_name
    dataset.PatientID = header.patient_id
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.BodyPartExamined = "CHEST"
    dataset.ProtocolName = header.protocol
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = header.study_instance_uid
    dataset.SeriesInstanceUID = header.series_instance_uid
    dataset.StudyID = "1"
    dataset.SeriesNumber = header.series_number
    dataset.AcquisitionNumber = 1
    dataset.FrameOfReferenceUID = header.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    return dataset


def _describe_acquisition(dataset: Dataset, phantom: Phantom, header: SeriesHeader) -> None:
    dataset.SliceThickness = decimal(phantom.slice_spacing_mm)
    dataset.PixelSpacing = [decimal(phantom.pixel_spacing_mm)] * 2
    dataset.ReconstructionDiameter = decimal(phantom.pixel_spacing_mm * phantom.hu.shape[2])
    dataset.KVP = decimal(header.kvp)
    dataset.GantryDetectorTilt = 0
    dataset.TableHeight = 140
    dataset.RotationDirection = "CW"
    dataset.ExposureTime = 500
    dataset.XRayTubeCurrent = header.tube_current_ma
    dataset.Exposure = header.tube_current_ma // 2
    dataset.ConvolutionKernel = header.kernel


def set_pixels(dataset: Dataset, stored: np.ndarray) -> None:
    """Put a slice of unsigned stored values (row, column) into a dataset, with what describes it."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 16
    twelve_bits = int(stored.max(initial=0)) <= _LARGEST_STORED
    dataset.BitsStored = 12 if twelve_bits else 16
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"


def save(dataset: Dataset, path: Path, transfer_syntax_uid: str = str(ExplicitVRLittleEndian)) -> Path:
    """Write a dataset as a file in the transfer syntax, compressing it where the syntax does."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    syntax = UID(transfer_syntax_uid)
    if syntax.is_compressed and not syntax.is_deflated:
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    return path


def decimal(value: float) -> str:
    """A number as DICOM's decimal string: at most 16 characters."""
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"
