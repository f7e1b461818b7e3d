"""Builds the training cache from the data sets on disk: ``python -m analysis.training.prepare --data DIR --out FILE``.

Reads ``covid20/*.zip``, ``medseg/*/Imgs`` with ``GT`` and ``lctsc/*.npz``; and series of a hospital with their masks
(:mod:`.hospital`), below ``hospital/`` or, where DIR has none of these, below DIR itself. Every slice is cropped to the
lung box of its scan with :data:`MARGIN_PERCENT` around it, in all slices alike, and resampled to 256x256, as the
segmenter does.
"""

import argparse
import io
import itertools
import json
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analysis.errors import AnalysisError
from analysis.model.crop import LungBox, lung_box
from analysis.model.resampling import CEILING_HU, FLOOR_HU, OUTSIDE_HU, resampled
from analysis.training.datasets import (
    KNOWN,
    LESION_OF_OPEN_CLASS,
    LUNG,
    SIZE,
    Cache,
    Case,
    Source,
    encode_hu,
    fold_of,
    medseg_pictures,
    save_cache,
)

_SOFT_TISSUE_HU = 40.0
_AERATED_HU = -930.0  # the darkest lung and the airways
_SATURATED = 250
_MALFORMED = (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


class UnreadableData(AnalysisError):
    """A file of the training data cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scan:
    """A scan: HU float32, class uint8, lung bool and known bool, all ``(slice, row, column)``."""

    name: str
    hu: NDArray[np.float32]
    label: NDArray[np.uint8]
    lung: NDArray[np.bool_]
    known: NDArray[np.bool_]


def read_covid20(path: Path) -> _Scan:
    """A case of covid20 (its README names the layout); lesions are of open class, lung includes them."""
    with zipfile.ZipFile(path) as archive:
        meta = json.loads(archive.read("meta.json"))
        label = np.load(io.BytesIO(archive.read("label.npz")))["label"]
        grey = np.zeros(meta["shape"], np.float32)
        known = np.zeros(meta["shape"], bool)
        for k, (top, bottom, left, right) in enumerate(meta["boxes"]):
            picture = np.asarray(Image.open(io.BytesIO(archive.read(f"slices/{k:03d}.jpg"))))
            picture = picture[:, ::-1] if meta["mirror_columns_first"] else picture
            picture = np.ascontiguousarray(np.rot90(picture, meta["rot90"]))
            if picture.shape != (bottom - top, right - left):
                picture = np.asarray(
                    Image.fromarray(picture).resize((right - left, bottom - top), Image.Resampling.LANCZOS)
                )
            grey[k, top:bottom, left:right] = picture[::-1] if meta["flip_rows_last"] else picture
            known[k, top:bottom, left:right] = True
    hu = grey * np.float32(meta["hu_slope"]) + np.float32(meta["hu_intercept"])
    hu[~known] = OUTSIDE_HU
    lesion = (label > 1).astype(np.uint8) * np.uint8(LESION_OF_OPEN_CLASS)
    return _Scan(name=meta["case"], hu=hu, label=lesion, lung=label > 0, known=known)


def read_lctsc(path: Path) -> _Scan:
    """A control of lctsc: the slices that hold lung; no lesion anywhere; nothing is known outside the lung's box."""
    with np.load(path) as stored:
        inside = stored["lung"].any(axis=(1, 2))
        hu = stored["hu"][inside].astype(np.float32)
        lung = stored["lung"][inside]
    return _Scan(
        name=f"lctsc_{path.stem}", hu=hu, label=np.zeros(hu.shape, np.uint8), lung=lung, known=np.ones_like(lung)
    )


def read_medseg(picture: Path, truth: Path) -> _Scan:
    """A picture of medseg with both classes; grey values are put on an HU scale by soft tissue and aerated lung."""
    grey = np.asarray(Image.open(picture).convert("L")).T.astype(np.float32)
    label = np.ascontiguousarray(np.asarray(Image.open(truth)).T).astype(np.uint8)
    smooth = cv2.GaussianBlur(np.ascontiguousarray(grey), (0, 0), 1.5)
    counts = np.bincount(np.rint(smooth).astype(int).ravel(), minlength=256)
    counts[:140] = 0
    bright = float(np.argmax(np.convolve(counts, np.ones(7), mode="same")))
    bright = min(bright, float(_SATURATED))
    dark = float(np.percentile(smooth, 2))
    hu = _AERATED_HU + (grey - dark) * (_SOFT_TISSUE_HU - _AERATED_HU) / (bright - dark)
    shape = (1, *label.shape)
    return _Scan(
        name=f"{picture.parent.parent.name}_{picture.stem}",
        hu=np.ascontiguousarray(hu).reshape(shape),
        label=label.reshape(shape),
        lung=np.zeros(shape, bool),
        known=np.ones(shape, bool),
    )


def _resampled(scan: _Scan, box: LungBox) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grey and mask bytes of a scan at 256x256 inside its box; outside the scan is soft tissue, and not known."""

    def crop(plane: NDArray[np.float32], fill: float) -> NDArray[np.float32]:
        return resampled(plane, box, size=SIZE, fill=fill)

    grey = np.empty((len(scan.hu), SIZE, SIZE), np.uint8)
    mask = np.zeros_like(grey)
    for k, plane in enumerate(scan.hu):
        grey[k] = encode_hu(crop(np.clip(plane, FLOOR_HU, CEILING_HU), OUTSIDE_HU))
        for value in np.unique(scan.label[k][scan.label[k] > 0]):
            mask[k][crop((scan.label[k] == value).astype(np.float32), 0) >= 0.5] = value
        for bit, region in ((LUNG, scan.lung[k]), (KNOWN, scan.known[k])):
            mask[k][crop(region.astype(np.float32), 0) >= 0.5] |= np.uint8(bit)
    return grey, mask


def _scans(data: Path) -> Iterator[tuple[Source, int, int, _Scan]]:
    found: tuple[tuple[Source, list[Path], Callable[[Path], _Scan]], ...] = (
        (Source.COVID20, sorted((data / "covid20").glob("*.zip")), read_covid20),
        (Source.LCTSC, sorted((data / "lctsc").glob("*.npz")), read_lctsc),
        (Source.MEDSEG, medseg_pictures(data / "medseg"), _read_pair),
    )
    for source, paths, read in found:
        for index, path in enumerate(paths):
            with readable(f"{path}", UnreadableData):
                scan = read(path)
                _check(scan, source)
            yield source, index, len(paths), scan


def _read_pair(picture: Path) -> _Scan:
    return read_medseg(picture, picture.parent.parent / "GT" / f"{picture.stem}.png")


def _check(scan: _Scan, source: Source) -> None:
    """ValueError where a scan cannot be cropped to its lungs."""
    if scan.label.shape != scan.hu.shape or scan.lung.shape != scan.hu.shape:
        raise ValueError(f"labels of shape {scan.label.shape} for images of shape {scan.hu.shape}")
    if source is not Source.MEDSEG and not scan.lung.any():
        raise ValueError("no lung is marked in it")


@contextmanager
def readable(told: str, error: type[AnalysisError]) -> Generator[None]:
    """Whatever a malformed file makes the readers raise becomes this error, which names the file as it is told."""
    try:
        yield
    except _MALFORMED as cause:
        why = f"it lacks {cause.args[0]}" if isinstance(cause, KeyError) else str(cause) or type(cause).__name__
        raise error(f"{told}: {why.removesuffix('.')}.") from cause


def _hospital_scans(data: Path, tell: Callable[[str], None]) -> Iterator[tuple[Source, int, int, _Scan]]:
    """A hospital's scans; the place of a patient is that of the digest of the ID among all."""
    if not data.is_dir():
        return
    from analysis.training.hospital import find_cases, read_case

    cases = find_cases(data, tell)
    patients = sorted({case.patient for case in cases})
    for case in cases:
        scan = read_case(case, tell)
        if scan is not None:
            source = Source.HOSPITAL if scan.label.any() else Source.HOSPITAL_CONTROL
            read = _Scan(name=case.name, hu=scan.hu, label=scan.label, lung=scan.lung, known=np.ones_like(scan.lung))
            yield source, patients.index(case.patient), len(patients), read


def build_cache(data: Path, tell: Callable[[str], None] = print) -> Cache:
    """The cache of every data set found under ``data``; ``tell`` hears what is left out, and why.

    Raises:
        FileNotFoundError: there is none.
        AnalysisError: a file of one cannot be read or used; says which.
    """
    greys: list[NDArray[np.uint8]] = []
    masks: list[NDArray[np.uint8]] = []
    cases: list[Case] = []
    at = 0
    known = any((data / source.value).is_dir() for source in (Source.COVID20, Source.LCTSC, Source.MEDSEG))
    own = data / Source.HOSPITAL.value if known or (data / Source.HOSPITAL.value).is_dir() else data
    for source, index, count, scan in itertools.chain(_scans(data), _hospital_scans(own, tell)):
        whole = LungBox(top=0, bottom=scan.hu.shape[1], left=0, right=scan.hu.shape[2])
        box = whole if source is Source.MEDSEG else lung_box(scan.lung)
        grey, mask = _resampled(scan, box)
        fold = fold_of(source, index, count)
        cases.append(Case(name=scan.name, source=source, fold=fold, start=at, stop=at + len(grey)))
        at += len(grey)
        greys.append(grey)
        masks.append(mask)
    if not cases:
        raise FileNotFoundError("no data set of a known layout in the folder of --data")
    return Cache(grey=np.concatenate(greys), mask=np.concatenate(masks), cases=tuple(cases))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: build and write the cache."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path(".train/cache.npz"), help="file to write (%(default)s)")
    arguments = parser.parse_args(argv)
    try:
        cache = build_cache(arguments.data)
    except (AnalysisError, FileNotFoundError) as error:
        parser.error(f"{error}")
    save_cache(cache, arguments.out)
    size = arguments.out.stat().st_size / 2**20
    print(f"{len(cache.cases)} cases, {len(cache.grey)} slices, {size:.1f} MiB in {arguments.out}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
