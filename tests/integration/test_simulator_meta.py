"""A file whose meta information lacks the SOP Instance UID is sent all the same, its data set untouched."""

from pathlib import Path

import numpy as np
from pydicom import dcmread
from pynetdicom.dsutils import split_dataset

from dicom_node.peers.meta import with_whole_meta
from dicom_node.simulator import PhantomSpec, build_phantom, write_series


def test_missing_uid_is_taken_from_the_data_set(tmp_path: Path) -> None:
    """The copy has both UIDs and the same data set, byte for byte; a file that is whole is not copied."""
    whole = write_series(build_phantom(PhantomSpec.cardiac_ctac(matrix=128)), tmp_path / "series")[0]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    assert with_whole_meta(whole, scratch)[0] == whole
    poor = tmp_path / "poor.dcm"
    image = dcmread(whole)
    del image.file_meta.MediaStorageSOPInstanceUID
    image.save_as(poor, enforce_file_format=False)
    copy, meta = with_whole_meta(poor, scratch)
    assert copy.parent == scratch
    assert meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert dcmread(copy).file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert copy.read_bytes()[split_dataset(copy)[1] :] == poor.read_bytes()[split_dataset(poor)[1] :]
    assert np.array_equal(dcmread(copy).pixel_array, image.pixel_array)
