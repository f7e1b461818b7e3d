"""What a reader needs to look at a flagged series after its images are gone: every slice in HU, its labels, pictures.

A pack is a ZIP file whose members are stored as they are sent: slices and labels compressed with gzip, pictures as
JPEG, and ``manifest.json``. Equal input makes equal bytes. A slice is int16 HU (row, column) on the canonical axes of
its volume, as differences from the mean of the left and the upper neighbour (rounded down), zigzag-coded to uint16, all
low bytes first: that takes a third less than the plain values.
"""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from analysis.anatomy.lobes import LOBE_LABELS, Lobes
from analysis.anatomy.lungs import Lungs
from analysis.errors import AnalysisError
from analysis.findings import KeySlice
from analysis.measure.regions import GGO, HIGH_OPACITY
from analysis.panels import coronal_row
from analysis.series.volume import Volume

__all__ = ["ViewPack", "ViewPackUnreadable", "decode_plane", "encode_plane", "view_pack"]

FORMAT = 1
MANIFEST = "manifest.json"
CLASS_BITS = 0b11
SIDE_SHIFT, LOBE_SHIFT = 2, 4
"""A label's bits: class of opacity (GGO 1, high opacity 2), side (right 1, left 2), lobe as in ``LOBE_LABELS``."""

_LUNG_WINDOW_HU = (-1350.0, 150.0)
_SKY, _ORANGE = (233, 180, 86), (0, 159, 230)  # BGR of the pair that every kind of colour vision tells apart
_PICTURE_PX, _THUMB_PX = 760, 240
_JPEG_QUALITY, _THUMB_QUALITY = 88, 82
_GZIP_LEVEL = 6
_GZIP = 31
_THREADS = 2
_LOCAL_HEADER_BYTES = 30
_LONG_AGO = (1980, 1, 1, 0, 0, 0)

_Plane = npt.NDArray[np.int16]
_Labels = npt.NDArray[np.uint8]


class ViewPackUnreadable(AnalysisError):
    """The pack of images cannot be read."""


def view_pack(volume: Volume, lungs: Lungs, lobes: Lobes, labels: _Labels, key_slices: tuple[KeySlice, ...]) -> bytes:
    """The pack of an analysed series; ``labels`` is (slice, row, column) on the grid of the volume.

    Time: some 25 ms a slice of 512 x 512 and thread; memory: the pack itself.
    """
    codes = labels | (lungs.labels << SIDE_SHIFT) | (np.where(lungs.labels > 0, lobes.labels, 0) << LOBE_SHIFT)
    codes = codes.astype(np.uint8)
    row = coronal_row(lungs, labels)
    first = key_slices[0].slice_index if key_slices else len(volume.hu) // 2
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive, ThreadPoolExecutor(_THREADS) as pool:
        _add(archive, MANIFEST, json.dumps(_manifest(volume, codes, key_slices, row, first)).encode())
        for index, plane in enumerate(pool.map(encode_plane, volume.hu)):
            _add(archive, f"hu/{index}", plane)
        for index, plane in enumerate(codes):
            _add(archive, f"labels/{index}", _gzip(plane.tobytes()))
        _add(archive, "coronal/hu", encode_plane(volume.hu[::-1, row]))
        _add(archive, "coronal/labels", _gzip(np.ascontiguousarray(codes[::-1, row]).tobytes()))
        for name, picture in _pictures(volume, labels, key_slices, first):
            _add(archive, name, picture)
    return buffer.getvalue()


def encode_plane(plane: _Plane) -> bytes:
    """A plane (row, column) of HU as a member of the pack."""
    values = plane.astype(np.int32)
    ahead = values.copy()
    ahead[0, 1:] -= values[0, :-1]
    ahead[1:, 0] -= values[:-1, 0]
    ahead[1:, 1:] -= (values[1:, :-1] + values[:-1, 1:]) >> 1
    wrapped = ahead.astype(np.int16).astype(np.int32)  # sums are taken modulo 2**16 on both sides
    zigzag = ((wrapped << 1) ^ (wrapped >> 31)).astype("<u2").reshape(-1)
    split = zigzag.view(np.uint8).reshape(-1, 2)
    return _gzip(np.ascontiguousarray(split.T).tobytes())


def decode_plane(member: bytes, rows: int, columns: int) -> _Plane:
    """The plane again, as a browser decodes it."""
    split = np.frombuffer(zlib.decompress(member, _GZIP), np.uint8).reshape(2, rows * columns)
    zigzag = split[0].astype(np.int32) | (split[1].astype(np.int32) << 8)
    ahead = ((zigzag >> 1) ^ -(zigzag & 1)).reshape(rows, columns)
    values = ahead.tolist()
    for row, here in enumerate(values):
        above = values[row - 1] if row else None
        for column in range(columns):
            left = here[column - 1] if column else None
            here[column] = _wrapped(here[column] + _guess(left, above[column] if above else None))
    return np.asarray(values, np.int16)


def _guess(left: int | None, above: int | None) -> int:
    if left is None or above is None:
        return above or left or 0
    return (left + above) >> 1


def _wrapped(value: int) -> int:
    return (value + 0x8000) % 0x10000 - 0x8000


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPack:
    """A pack on disk. It is written once, so that where its members lie is remembered."""

    path: Path

    def manifest(self) -> Mapping[str, Any]:
        """What the pack holds: geometry, areas of lung and opacity by slice (mm²), the key slices.

        Raises:
            ViewPackUnreadable: the file is missing or damaged.
        """
        return _manifest_of(self.path)

    def member(self, name: str) -> bytes | None:
        """A member as it is sent; None where the pack has none of this name.

        Raises:
            ViewPackUnreadable: the file is missing or damaged.
        """
        try:
            place = _index(self.path).get(name)
            if place is None:
                return None
            with self.path.open("rb") as file:
                return os.pread(file.fileno(), place[1], place[0])
        except (OSError, zipfile.BadZipFile) as error:
            raise ViewPackUnreadable from error


@lru_cache(maxsize=64)
def _index(path: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of every member's bytes."""
    with zipfile.ZipFile(path) as archive:
        return {one.filename: (_start(one), one.file_size) for one in archive.infolist()}


def _start(one: zipfile.ZipInfo) -> int:
    return one.header_offset + _LOCAL_HEADER_BYTES + len(one.filename.encode())


@lru_cache(maxsize=64)
def _manifest_of(path: Path) -> Mapping[str, Any]:
    found = ViewPack(path=path).member(MANIFEST)
    try:
        manifest = json.loads(found or b"")
    except ValueError as error:
        raise ViewPackUnreadable from error
    if manifest.get("format") != FORMAT:
        raise ViewPackUnreadable(f"Its format is {manifest.get('format')!r}.")
    return manifest


def _manifest(
    volume: Volume, codes: _Labels, key_slices: tuple[KeySlice, ...], row: int, first: int
) -> dict[str, object]:
    pixel_mm2 = volume.row_spacing_mm * volume.column_spacing_mm

    def areas(chosen: npt.NDArray[np.bool_]) -> list[float]:
        return [round(float(count) * pixel_mm2, 1) for count in np.count_nonzero(chosen, axis=(1, 2))]

    classes = codes & CLASS_BITS
    lungs = np.flatnonzero(((codes >> SIDE_SHIFT) & 3).any(axis=(1, 2)))
    return {
        "format": FORMAT,
        "slices": len(volume.hu),
        "rows": volume.hu.shape[1],
        "columns": volume.hu.shape[2],
        "row_spacing_mm": volume.row_spacing_mm,
        "column_spacing_mm": volume.column_spacing_mm,
        "slice_spacing_mm": volume.slice_spacing_mm,
        "positions_mm": [round(float(position), 3) for position in volume.slice_positions_mm],
        "ggo_mm2": areas(classes == GGO),
        "high_opacity_mm2": areas(classes == HIGH_OPACITY),
        "lung_mm2": areas(((codes >> SIDE_SHIFT) & 3) > 0),
        "lungs": [int(lungs[0]), int(lungs[-1])] if lungs.size else [],
        "lobes": {str(label): lobe.value for label, lobe in LOBE_LABELS.items()},
        "key_slices": [one.slice_index for one in key_slices],
        "first": first,
        "coronal_row": row,
    }


def _pictures(
    volume: Volume, labels: _Labels, key_slices: tuple[KeySlice, ...], first: int
) -> Iterator[tuple[str, bytes]]:
    """The first slice plain, so that something stands there at once; the same with its opacities; small key slices."""
    spacing = (volume.row_spacing_mm, volume.column_spacing_mm)
    plain = _picture(volume.hu[first], spacing, _PICTURE_PX)
    yield "first.jpg", _jpeg(plain, _JPEG_QUALITY)
    yield "preview.jpg", _jpeg(_marked(plain, labels[first]), _JPEG_QUALITY)
    indices = [one.slice_index for one in key_slices] or [first]
    for number, index in enumerate(indices):
        small = _marked(_picture(volume.hu[index], spacing, _THUMB_PX), labels[index])
        yield f"thumb-{number}.jpg", _jpeg(small, _THUMB_QUALITY)


def _picture(plane: _Plane, spacing_mm: tuple[float, float], width_px: int) -> npt.NDArray[np.uint8]:
    low, high = _LUNG_WINDOW_HU
    grey = np.clip((plane.astype(np.float32) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    width_mm, height_mm = plane.shape[1] * spacing_mm[1], plane.shape[0] * spacing_mm[0]
    size = (width_px, max(1, round(width_px * height_mm / width_mm)))
    return np.asarray(cv2.cvtColor(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2BGR), np.uint8)


def _marked(picture: npt.NDArray[np.uint8], classes: _Labels) -> npt.NDArray[np.uint8]:
    """The picture with ground glass in sky blue, thin, and high opacity in orange, thick."""
    marked = picture.copy()
    for label, colour, width in ((GGO, _SKY, 1), (HIGH_OPACITY, _ORANGE, 2)):
        mask = cv2.resize(
            (classes == label).astype(np.uint8) * 255, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR
        )
        inside = mask > 127
        marked[inside] = (marked[inside] * 0.7 + np.asarray(colour) * 0.3).astype(np.uint8)
        outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(marked, outlines, -1, colour, width, cv2.LINE_AA)
    return marked


def _jpeg(picture: npt.NDArray[np.uint8], quality: int) -> bytes:
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError("the picture cannot be encoded")
    return encoded.tobytes()


def _gzip(content: bytes) -> bytes:
    """Compressed, without a time or a name: equal content gives equal bytes."""
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
    return packer.compress(content) + packer.flush()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), content)
