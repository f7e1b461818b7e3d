"""Which cases a folder holds, by the layout of each set, and which fold of a cross-validation a case belongs to."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path

from analysis.evaluation.errors import NoCases
from analysis.training.datasets import FOLD_COUNT, Source, fold_of, medseg_pictures


class EvaluationSet(StrEnum):
    """A layout of labelled data and what is measured on it."""

    COVID20 = "covid20"
    MEDSEG = "medseg"
    LCTSC = "lctsc"
    LOBES = "lobes"
    DICOM = "dicom"
    CTAC = "ctac"
    SARS = "sars"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """One case on disk: ``path`` is its file (medseg: the picture; dicom: the folder that is searched).

    ``source`` is the data set it comes from and ``fold`` the fold that kept it from training, by its place among the
    cases of its folder; None where there are no folds. ``images`` are those of an archive that the case is made of.
    """

    name: str
    path: Path
    source: EvaluationSet
    fold: int | None
    images: tuple[str, ...] = ()


SARS_FOLDER, SARS_INDEX, SARS_IMAGES = "sars_cov_2_ct", "index.csv", "images.zip"
SARS_BLOCK = 25
"""Images in a block: few enough for some sixty blocks, more than the images of most patients."""

_LAYOUTS: Mapping[EvaluationSet, str] = {
    EvaluationSet.COVID20: "covid20/*.zip",
    EvaluationSet.MEDSEG: "medseg/*/Imgs with medseg/*/GT beside it",
    EvaluationSet.LCTSC: "lctsc/*.npz",
    EvaluationSet.LOBES: "lobes/*.npz",
    EvaluationSet.DICOM: "DICOM files anywhere below it",
    EvaluationSet.CTAC: "covid20/*.zip or lctsc/*.npz, which it is simulated from",
    EvaluationSet.SARS: "sars_cov_2_ct/index.csv with images.zip beside it",
}


def find_cases(data: Path, which: EvaluationSet) -> tuple[CaseFile, ...]:
    """The cases of a set below ``data``, which is the folder of all sets or the set's own folder; sorted by name.

    Raises:
        NoCases: there is none; says where they are looked for.
    """
    found = tuple(_FINDERS[which](data)) if data.is_dir() else ()
    if not found:
        raise NoCases(f"{data} is expected to hold {_LAYOUTS[which]}, or to be the set's own folder.")
    return found


def find_controls(data: Path, which: EvaluationSet) -> tuple[CaseFile, ...]:
    """The controls of lctsc that stand beside the patients of a set; none where ``data`` is the set's own folder."""
    if which not in {EvaluationSet.COVID20, EvaluationSet.CTAC} or not (data / EvaluationSet.COVID20).is_dir():
        return ()
    return tuple(_volumes(data / EvaluationSet.LCTSC, EvaluationSet.LCTSC, "*.npz"))


def _own_or_below(data: Path, which: EvaluationSet) -> Path:
    below = data / which.value
    return below if below.is_dir() else data


def _volumes(folder: Path, which: EvaluationSet, pattern: str) -> Iterator[CaseFile]:
    paths = sorted(folder.glob(pattern))
    for index, path in enumerate(paths):
        yield CaseFile(name=_volume_name(path, which), path=path, source=which, fold=_fold(which, index, len(paths)))


def _fold(which: EvaluationSet, index: int, count: int) -> int:
    """The fold of the index-th case, by the rule that training splits by (lobes: ``analysis.training.lobes``)."""
    return index % FOLD_COUNT if which is EvaluationSet.LOBES else fold_of(Source(which.value), index, count)


def _volume_name(path: Path, which: EvaluationSet) -> str:
    """The name that training gives the same case."""
    return f"lctsc_{path.stem}" if which is EvaluationSet.LCTSC else path.stem


def _find_covid20(data: Path) -> Iterator[CaseFile]:
    return _volumes(_own_or_below(data, EvaluationSet.COVID20), EvaluationSet.COVID20, "*.zip")


def _find_lctsc(data: Path) -> Iterator[CaseFile]:
    return _volumes(_own_or_below(data, EvaluationSet.LCTSC), EvaluationSet.LCTSC, "*.npz")


def _find_lobes(data: Path) -> Iterator[CaseFile]:
    return _volumes(_own_or_below(data, EvaluationSet.LOBES), EvaluationSet.LOBES, "*.npz")


def _find_medseg(data: Path) -> Iterator[CaseFile]:
    paths = medseg_pictures(_own_or_below(data, EvaluationSet.MEDSEG))
    for index, path in enumerate(paths):
        yield CaseFile(
            name=f"{path.parent.parent.name}_{path.stem}",
            path=path,
            source=EvaluationSet.MEDSEG,
            fold=fold_of(Source.MEDSEG, index, len(paths)),
        )


def _find_ctac(data: Path) -> Iterator[CaseFile]:
    patients = tuple(_find_covid20(data))
    return iter(patients or tuple(_find_lctsc(data)))


def _find_dicom(data: Path) -> Iterator[CaseFile]:
    """The folder as a whole: which series it holds is known when its files have been read."""
    folder = _own_or_below(data, EvaluationSet.DICOM)
    if any(path.is_file() for path in folder.rglob("*")):
        yield CaseFile(name=folder.name, path=folder, source=EvaluationSet.DICOM, fold=None)


def _find_sars(data: Path) -> Iterator[CaseFile]:
    """Blocks of consecutive files of one label: numbers run patient by patient, so that images of a block are kin."""
    below = data / SARS_FOLDER
    folder = below if below.is_dir() else data
    if not (folder / SARS_INDEX).is_file() or not (folder / SARS_IMAGES).is_file():
        return
    with (folder / SARS_INDEX).open(newline="", encoding="utf-8") as stream:
        rows = [(row["label"], row["file"]) for row in csv.DictReader(stream)]
    for label, group in groupby(sorted(rows, key=_block_order), key=lambda row: row[0]):
        files = [file for _, file in group]
        for start in range(0, len(files), SARS_BLOCK):
            images = tuple(files[start : start + SARS_BLOCK])
            name = f"{label}_{_number(images[0])}_to_{_number(images[-1])}"
            yield CaseFile(name=name, path=folder / SARS_IMAGES, source=EvaluationSet.SARS, fold=None, images=images)


def _block_order(row: tuple[str, str]) -> tuple[str, int]:
    return row[0], _number(row[1])


def _number(file: str) -> int:
    digits = re.findall(r"\d+", Path(file).stem)
    return int(digits[-1]) if digits else 0


_FINDERS: Mapping[EvaluationSet, Callable[[Path], Iterator[CaseFile]]] = {
    EvaluationSet.COVID20: _find_covid20,
    EvaluationSet.MEDSEG: _find_medseg,
    EvaluationSet.LCTSC: _find_lctsc,
    EvaluationSet.LOBES: _find_lobes,
    EvaluationSet.DICOM: _find_dicom,
    EvaluationSet.CTAC: _find_ctac,
    EvaluationSet.SARS: _find_sars,
}
