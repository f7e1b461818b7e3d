"""Tiny labelled sets in the layouts that ``evaluate`` reads, and a model that is right on them."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from analysis.findings import Profile, Provenance

LUNG_HU, GGO_HU, HIGH_HU, TISSUE_HU = -850, -500, -150, 40
_SLOPE, _INTERCEPT = 5.0, -1000.0
SHAPE = (4, 48, 64)
LUNG_VOXELS = 4 * 32 * 32
LESION_VOXELS = 2 * 8 * 16
BURDEN_PERCENT = 100 * LESION_VOXELS / LUNG_VOXELS


class BandSegmenter:
    """Calls lung between -700 and -300 HU ground glass and between -300 and -50 HU high opacity."""

    def __init__(self, name: str = "bands", *, missing_slices: tuple[int, ...] = (), sha256: str = "0" * 64) -> None:
        self.name = name
        self.missing_slices = missing_slices
        self.sha256 = sha256
        self.profiles: list[Profile] = []

    def segment(
        self,
        hu: npt.NDArray[np.int16],
        lung_mask: npt.NDArray[np.bool_],
        *,
        slice_spacing_mm: float,
        profile: Profile = Profile.CHEST_CT,
        margin_percent: float | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Label by bands (slice, row, column); nothing in the slices that it misses."""
        assert slice_spacing_mm > 0
        assert margin_percent is None or margin_percent >= 0
        self.profiles.append(profile)
        labels = np.zeros(hu.shape, np.uint8)
        labels[lung_mask & (hu > -700) & (hu <= -300)] = 1
        labels[lung_mask & (hu > -300) & (hu <= -50)] = 2
        for index in self.missing_slices:
            labels[index] = 0
        return labels

    def provenance(self, profile: Profile) -> Provenance:
        """Say that this is a test."""
        del profile
        return Provenance(
            model_name=self.name,
            model_version="0.0.0-test",
            weights_sha256=self.sha256,
            thresholds={},
            runtime="numpy",
            device="cpu",
            software_version="test",
        )


def chest(*, lesions: bool = True) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """HU and labels (0, 1 lung, 2 lesion) of two lungs that are boxes, with ground glass in the two middle slices."""
    hu = np.full(SHAPE, TISSUE_HU, np.int16)
    label = np.zeros(SHAPE, np.uint8)
    for columns in (slice(8, 24), slice(40, 56)):
        hu[:, 8:40, columns] = LUNG_HU
        label[:, 8:40, columns] = 1
    if lesions:
        hu[1:3, 16:24, 8:24] = GGO_HU
        label[1:3, 16:24, 8:24] = 2
    return hu, label


def write_covid20(folder: Path, name: str, *, lesions: bool = True) -> Path:
    """A case of covid20: JPEG slices, labels and what leads back to HU."""
    hu, label = chest(lesions=lesions)
    count, rows, columns = hu.shape
    meta = {
        "case": name,
        "shape": list(hu.shape),
        "boxes": [[0, rows, 0, columns]] * count,
        "hu_slope": _SLOPE,
        "hu_intercept": _INTERCEPT,
        "mirror_columns_first": False,
        "rot90": 0,
        "flip_rows_last": False,
        "source_slice": list(range(1, count + 1)),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.json", json.dumps(meta))
        stored = io.BytesIO()
        np.savez_compressed(stored, label=label)
        archive.writestr("label.npz", stored.getvalue())
        for k, plane in enumerate(np.rint((hu - _INTERCEPT) / _SLOPE).astype(np.uint8)):
            stored = io.BytesIO()
            Image.fromarray(plane).save(stored, "JPEG", quality=100)
            archive.writestr(f"slices/{k:03d}.jpg", stored.getvalue())
    return path


def write_lctsc(folder: Path, name: str, *, false_voxels: int = 0) -> Path:
    """A control of lctsc; so many voxels of its lung look like ground glass."""
    hu, label = chest(lesions=False)
    inside = np.argwhere(label > 0)[:false_voxels]
    hu[tuple(inside.T)] = GGO_HU
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    np.savez_compressed(path, hu=hu, lung=label > 0, spacing_mm=np.array([3.0, 2.0, 2.0]))
    return path


def write_medseg(folder: Path, name: str, *, high_opacity: bool = True) -> Path:
    """A picture of medseg with its truth, both rotated as the set has them; returns the picture's path."""
    grey, label = np.full((96, 96), 200, np.uint8), np.zeros((96, 96), np.uint8)
    grey[16:80, 16:80] = 20
    for rows, value, kind in ((slice(24, 40), 100, 1), (slice(56, 64), 160, 2)):
        if kind == 1 or high_opacity:
            grey[rows, 24:56], label[rows, 24:56] = value, kind
    for below in ("Imgs", "GT"):
        (folder / below).mkdir(parents=True, exist_ok=True)
    path = folder / "Imgs" / f"{name}.jpg"
    Image.fromarray(np.ascontiguousarray(grey.T)).save(path, quality=100)
    Image.fromarray(np.ascontiguousarray(label.T)).save(folder / "GT" / f"{name}.png")
    return path


def write_sars(folder: Path, *, covid: int, others: int) -> Path:
    """Single slices with a label each: those with COVID hold ground glass, each a little more; every tenth has none."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["file,label"]
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for label, count in (("covid", covid), ("noncovid", others)):
            for number in range(1, count + 1):
                grey = np.full((64, 64), 236, np.uint8)
                grey[8:56, 8:56] = 85
                if label == "covid" and number % 10:
                    grey[20 : 20 + number % 10, 20:40] = 145
                stored = io.BytesIO()
                Image.fromarray(grey).save(stored, "JPEG", quality=100)
                archive.writestr(f"{label}/{label}_{number}.jpg", stored.getvalue())
                rows.append(f"{label}/{label}_{number}.jpg,{label}")
    (folder / "index.csv").write_text("\n".join(rows) + "\n")
    return folder


def lobe_boxes() -> npt.NDArray[np.uint8]:
    """Lobe labels 4 to 8 (slice, row, column) as boxes: upper above lower, the middle lobe in front."""
    lobes = np.zeros((20, 24, 40), np.uint8)
    lobes[10:18, 4:20, 4:16] = 4
    lobes[2:10, 4:12, 4:16] = 5
    lobes[2:10, 12:20, 4:16] = 6
    lobes[10:18, 4:20, 24:36] = 7
    lobes[2:10, 4:20, 24:36] = 8
    return lobes


def write_lobes(folder: Path, name: str) -> Path:
    """A map of lobes at 2 mm, with an airway."""
    lobes = lobe_boxes()
    lobes[10, 10, 18:22] = 255
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    np.savez_compressed(path, lobes=lobes, spacing_mm=np.array([2.0, 2.0, 2.0]))
    return path
