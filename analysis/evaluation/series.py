"""Runs DICOM series through the whole pipeline, and holds it against labels of slices and lobes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.evaluation.errors import NoCases, UnreadableCase
from analysis.evaluation.overlays import lesion_slice
from analysis.evaluation.results import CaseResult, FailedCase, Picture, Progress
from analysis.evaluation.statistics import auroc
from analysis.findings import Findings
from analysis.models import ModelSet
from analysis.pipeline import AnalysedSeries, analyse
from analysis.series import Series, choose_reconstruction, group_acquisitions, read_series, screen_series

FLAGGED_LOBE_PERCENT = 1.0
"""A lobe counts as flagged above this share of opacity."""

_SAME_SLICE_MM = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceLabels:
    """Truth of a series: for each labelled level (z of its Image Position (Patient), mm) whether it holds infection.

    ``lobes`` are those that any level marks.
    """

    infected: Mapping[float, bool]
    lobes: frozenset[str]


def read_labels(path: Path) -> SliceLabels:
    """Read ``<name>.labels.json``.

    Raises:
        UnreadableCase: it is malformed.
    """
    try:
        slices = json.loads(path.read_text(encoding="utf-8"))["slices"]
        return SliceLabels(
            infected={float(one["z_mm"]): bool(one["infection"]) for one in slices},
            lobes=frozenset(str(lobe) for one in slices for lobe in one["lobes"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableCase(f"{path.name}: {error}.") from error


def score_folder(
    folder: Path, models: ModelSet, *, picture: bool = False, progress: Progress | None = None
) -> Iterator[CaseResult | FailedCase]:
    """Each series below a folder: analysed, excluded with its reason, or failed. Of reconstructions one is analysed.

    Raises:
        NoCases: no file below the folder is a DICOM instance.
    """
    series = read_series([folder], derive=True).series
    if not series:
        raise NoCases(f"no file below {folder} is a DICOM instance.")
    names = _names(series, folder)
    eligible: list[Series] = []
    for one in series:
        volume, screening = screen_series(one)
        if screening.eligible:
            eligible.append(volume)
        else:
            yield _excluded(names[one.series_instance_uid], screening.reason)
    groups = group_acquisitions(eligible)
    for done, group in enumerate(groups):
        choice = choose_reconstruction(group)
        if progress is not None:
            progress(names[choice.chosen], done, len(groups))
        for one in group:
            name = names[one.series_instance_uid]
            if one.series_instance_uid != choice.chosen:
                yield _excluded(name, choice.rejected[one.series_instance_uid].sentence)
                continue
            try:
                yield _score(name, one, models, picture=picture)
            except AnalysisError as error:
                yield FailedCase(case=name, reason=str(error))


def _score(name: str, series: Series, models: ModelSet, *, picture: bool) -> CaseResult:
    folder = series.headers[0].path.parent
    beside = folder.parent / f"{folder.name}.labels.json"
    labels = read_labels(beside) if beside.is_file() else None
    outcome = analyse(series, models=models)
    if not isinstance(outcome, AnalysedSeries):
        return _excluded(name, outcome.screening.reason)
    figures: dict[str, Any] = {"status": "analysed", "reason": None, **_measured(outcome.findings)}
    if labels is not None:
        figures |= _against_labels(outcome, labels, figures["lobes_flagged"])
    shown = None
    if picture:
        shown = Picture(
            png=lesion_slice(outcome.volume, outcome.labels, outcome.lungs.mask),
            caption=f"{name}: burden {outcome.findings.burden_percent:.2f} %",
            badness=outcome.findings.burden_percent,
        )
    return CaseResult(case=name, figures=figures, picture=shown)


def _measured(findings: Findings) -> dict[str, Any]:
    lobes = {lobe.value: region.burden_percent for lobe, region in findings.lobes.items()}
    whole = findings.both_lungs
    return {
        "profile": findings.profile.value,
        "burden_percent": findings.burden_percent,
        "lung_volume_ml": whole.lung_volume_ml,
        "ggo_volume_ml": whole.ggo_volume_ml,
        "high_opacity_volume_ml": whole.high_opacity_volume_ml,
        "lss": findings.lss,
        "lhos": findings.lhos,
        "quality": findings.quality.level.value,
        "quality_reasons": list(findings.quality.reasons),
        "lobe_burden_percent": lobes,
        "lobes_flagged": sorted(lobe for lobe, burden in lobes.items() if burden > FLAGGED_LOBE_PERCENT),
    }


def _against_labels(outcome: AnalysedSeries, labels: SliceLabels, flagged: Sequence[str]) -> dict[str, Any]:
    """Area of opacity in each labelled slice against its label, and the lobes flagged against those marked."""
    levels = outcome.volume.slice_positions_mm
    areas = np.count_nonzero(outcome.labels, axis=(1, 2)) * (
        outcome.volume.row_spacing_mm * outcome.volume.column_spacing_mm
    )
    scores: dict[bool, list[float]] = {True: [], False: []}
    for z_mm, infected in labels.infected.items():
        nearest = int(np.argmin(np.abs(levels - z_mm)))
        if abs(levels[nearest] - z_mm) <= _SAME_SLICE_MM:
            scores[infected].append(float(areas[nearest]))
    told = {lobe.value for lobe in outcome.findings.lobes}
    return {
        "slices_with_infection": len(scores[True]),
        "slices_without_infection": len(scores[False]),
        "slice_auroc": auroc(scores[True], scores[False]) if scores[True] and scores[False] else None,
        "lobes_labelled": sorted(labels.lobes),
        "lobes_missed": sorted(labels.lobes - set(flagged)),
        "clean_lobes_flagged": sorted((told - labels.lobes) & set(flagged)),
    }


def _excluded(name: str, reason: str | None) -> CaseResult:
    return CaseResult(case=name, figures={"status": "excluded", "reason": reason})


def _names(series: Sequence[Series], root: Path) -> dict[str, str]:
    """Folder of each series below the root; with the end of its UID where several share a folder."""
    folders = {one.series_instance_uid: _folder_name(one.headers[0].path.parent, root) for one in series}
    shared = list(folders.values())
    return {uid: name if shared.count(name) == 1 else f"{name}/...{uid[-8:]}" for uid, name in folders.items()}


def _folder_name(folder: Path, root: Path) -> str:
    if folder == root or not folder.is_relative_to(root):
        return folder.name
    return folder.relative_to(root).as_posix()
