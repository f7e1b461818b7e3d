"""A pack of images gives back every voxel, and shows a lesion where it lies."""

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_pack import COLUMNS, LESION, ROWS, SLICES, chest, small_pack

from analysis.view_pack import ViewPack, ViewPackUnreadable, decode_plane, encode_plane


@given(arrays(np.int16, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1024, 32767)))
def test_plane_comes_back_as_it_was(plane: np.ndarray):
    """Whatever the values, coding loses none."""
    assert (decode_plane(encode_plane(plane), *plane.shape) == plane).all()


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> ViewPack:
    path = tmp_path_factory.mktemp("pack") / "view.pack"
    path.write_bytes(small_pack())
    return ViewPack(path=path)


def test_every_slice_and_label_is_there(pack: ViewPack):
    """All slices in HU and all labels, voxel for voxel; areas by slice are theirs."""
    volume, lungs, lobes, labels, _ = chest()
    manifest = pack.manifest()
    for index in range(SLICES):
        member, marks = pack.member(f"hu/{index}"), pack.member(f"labels/{index}")
        assert member is not None
        assert marks is not None
        assert (decode_plane(member, ROWS, COLUMNS) == volume.hu[index]).all()
        codes = np.frombuffer(zlib.decompress(marks, 31), np.uint8).reshape(ROWS, COLUMNS)
        assert (codes & 3 == labels[index]).all()
        assert (codes >> 2 & 3 == lungs.labels[index]).all()
        assert (codes >> 4 == lobes.labels[index]).all()
    assert manifest["ggo_mm2"][3] == pytest.approx((8 * 10 - 16) * 25)
    assert manifest["lungs"] == [1, 10]
    assert pack.member("hu/99") is None


def test_lesion_of_the_right_lower_back_is_shown_there(pack: ViewPack):
    """On the thumbnail left and below, for the patient's right is on the left; on the coronal left and low."""
    thumb = pack.member("thumb-0.jpg")
    assert thumb is not None
    picture = cv2.imdecode(np.frombuffer(thumb, np.uint8), cv2.IMREAD_COLOR).astype(int)
    orange = (picture[:, :, 2] - picture[:, :, 0]) > 60
    rows, columns = np.nonzero(orange)
    assert columns.mean() / picture.shape[1] == pytest.approx(19 / COLUMNS, abs=0.03)
    assert rows.mean() / picture.shape[0] == pytest.approx(48 / ROWS, abs=0.03)
    marks = pack.member("coronal/labels")
    assert marks is not None
    coronal = np.frombuffer(zlib.decompress(marks, 31), np.uint8).reshape(SLICES, COLUMNS) & 3
    rows, columns = np.nonzero(coronal)
    assert rows.min() == SLICES - LESION[0].stop  # the head is above
    assert (columns.min(), columns.max() + 1) == (LESION[2].start, LESION[2].stop)


def test_equal_input_makes_equal_bytes():
    """No clock and no name stands in a pack."""
    assert small_pack() == small_pack()


@pytest.mark.parametrize("content", [b"", b"not a pack", None])
def test_damaged_pack_is_told(tmp_path: Path, content: bytes | None):
    """A file that is missing or damaged is an error with a reason, never an empty picture."""
    path = tmp_path / "view.pack"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ViewPackUnreadable):
        ViewPack(path=path).manifest()
