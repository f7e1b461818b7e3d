"""The training cache: every labelled slice as a 256x256 lung-box crop, in one file, and the folds by patient.

``CODE_HU`` HU a step from -1024 HU make a grey value a byte.
The ``mask`` byte of a pixel holds its class (0 background, 1 ground glass, 2 high opacity, 3 lesion of open class) in
bits 0-1, ``LUNG`` where it is lung and ``KNOWN`` where its grey value and label are known.
Needs numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CODE_HU = 8.0
CODE_ZERO_HU = -1024.0
CLASS_BITS = 3
LESION_OF_OPEN_CLASS = 3
LUNG = 4
KNOWN = 8
SIZE = 256
FOLD_COUNT = 5
EVERYTHING = "all"
"""What the run on every case is called where a fold has its number."""


class Source(StrEnum):
    """Where a slice comes from, which decides what its labels mean."""

    COVID20 = "covid20"
    MEDSEG = "medseg"
    LCTSC = "lctsc"
    HOSPITAL = "hospital"
    """A hospital's own scans with opacities that it marked."""
    HOSPITAL_CONTROL = "hospital_control"
    """A hospital's own scans in which it marked that there are none."""


PATIENTS = (Source.COVID20, Source.HOSPITAL)
"""Scans with opacities."""
CONTROLS = (Source.LCTSC, Source.HOSPITAL_CONTROL)
"""Scans in which there are none."""
_PICTURES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The slices ``start:stop`` of the cache that belong to one patient's scan (medseg: to one picture)."""

    name: str
    source: Source
    fold: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """All slices: ``grey`` and ``mask`` uint8 ``(slice, 256, 256)``, in patient order; cases tile the slices."""

    grey: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        if self.grey.shape != self.mask.shape or self.grey.shape[1:] != (SIZE, SIZE):
            raise ValueError(f"slices of another shape: {self.grey.shape}, {self.mask.shape}")
        stops = [case.stop for case in self.cases]
        if [case.start for case in self.cases] != [0, *stops[:-1]] or stops[-1] != len(self.grey):
            raise ValueError("the cases do not tile the slices")

    def held_out(self, fold: int | None) -> tuple[Case, ...]:
        """The cases kept from training in this fold; none where ``fold`` is None (training on everything)."""
        return tuple(case for case in self.cases if case.fold == fold)

    def training(self, fold: int | None) -> tuple[Case, ...]:
        """The cases to train on in this fold."""
        return tuple(case for case in self.cases if case.fold != fold)

    def trained_on(self, fold: int | None) -> tuple[str, ...]:
        """Each source that is trained on in this fold with its count of slices, as a model's manifest names them."""
        counts = dict.fromkeys(Source, 0)
        for case in self.training(fold):
            counts[case.source] += case.stop - case.start
        return tuple(f"{source.value} ({count})" for source, count in counts.items() if count)

    def lung_statistics_hu(self, cases: Sequence[Case]) -> tuple[float, float]:
        """Mean and standard deviation of the lung voxels of these cases, HU clipped at 600, for the z-score."""
        values = np.concatenate([self.grey[c.start : c.stop][(self.mask[c.start : c.stop] & LUNG) > 0] for c in cases])
        return float(values.mean(dtype=np.float64) * CODE_HU + CODE_ZERO_HU), float(
            values.std(dtype=np.float64) * CODE_HU
        )


def encode_hu(hu: NDArray[np.floating]) -> NDArray[np.uint8]:
    """HU to the cache's byte, clipped to its range."""
    return np.clip(np.rint((hu - CODE_ZERO_HU) / CODE_HU), 0, 255).astype(np.uint8)


def fold_name(fold: int | None) -> str:
    """What a fold is called in files and on the command line; None is the run on every case."""
    return EVERYTHING if fold is None else str(fold)


def fold_of(source: Source, index: int, count: int) -> int:
    """The fold of the ``index``-th of ``count`` patients of a source.

    Pictures of medseg come without patient numbers and neighbours may share a patient, so they are split in blocks.
    The other sources start at different folds, so that folds are of like size.
    """
    if source is Source.MEDSEG:
        return min(index * FOLD_COUNT // count, FOLD_COUNT - 1)
    return (index + (2 if source is Source.LCTSC else 0)) % FOLD_COUNT


def medseg_pictures(folder: Path) -> list[Path]:
    """The pictures in medseg's folder, or in that of one of its sets, in the order in which folds are dealt."""
    pattern = "Imgs/*" if (folder / "Imgs").is_dir() else "*/Imgs/*"
    paths = [path for path in folder.glob(pattern) if path.suffix.lower() in _PICTURES]
    return sorted(
        paths, key=lambda path: (int(path.stem) if path.stem.isdecimal() else -1, path.parent.parent.name, path.name)
    )


def source_told(told: str) -> str:
    """The source in an entry of :meth:`Cache.trained_on`, which a manifest keeps; it may be of another version's."""
    return told.partition(" (")[0]


def save_cache(cache: Cache, path: Path) -> None:
    """Write the cache, compressed: grey values as differences along rows and columns, which halves the file.

    The file is there when it is whole, and not before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as stream:
        np.savez_compressed(
            stream,
            grey_steps=_differences(cache.grey),
            mask=cache.mask,
            name=np.array([c.name for c in cache.cases]),
            source=np.array([c.source.value for c in cache.cases]),
            fold=np.array([c.fold for c in cache.cases]),
            start=np.array([c.start for c in cache.cases]),
            stop=np.array([c.stop for c in cache.cases]),
        )
    partial.replace(path)


def load_cache(path: Path) -> Cache:
    """Read what :func:`save_cache` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        cases = tuple(
            Case(name=str(name), source=Source(str(source)), fold=int(fold), start=int(start), stop=int(stop))
            for name, source, fold, start, stop in zip(
                *(stored[key] for key in ("name", "source", "fold", "start", "stop")), strict=True
            )
        )
        return Cache(grey=_summed(stored["grey_steps"]), mask=stored["mask"], cases=cases)


def _differences(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.diff(np.diff(grey, axis=2, prepend=np.uint8(0)), axis=1, prepend=np.uint8(0))


def _summed(steps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.cumsum(np.cumsum(steps, axis=1, dtype=np.uint8), axis=2, dtype=np.uint8)
