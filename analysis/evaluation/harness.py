"""Evaluates a model on a set, one case in memory at a time; a case that fails is told and the rest goes on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.anatomy import LobeModel
from analysis.errors import AnalysisError, UntrustedWeights
from analysis.evaluation.cases import CaseFile, EvaluationSet, find_cases, find_controls
from analysis.evaluation.ctac import simulate_ctac
from analysis.evaluation.errors import NoCases
from analysis.evaluation.lobes import score_lobes
from analysis.evaluation.models import Models
from analysis.evaluation.reading import read_covid20, read_lctsc, read_lobes, read_picture, read_pictures
from analysis.evaluation.results import CaseResult, FailedCase, Progress
from analysis.evaluation.series import score_folder
from analysis.evaluation.slices import score_block, score_slice
from analysis.evaluation.volumes import score_control, score_patient
from analysis.findings import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a model did on a set; ``controls`` are scans without opacities that stood beside the patients of the set."""

    which: EvaluationSet
    results: tuple[CaseResult, ...]
    controls: tuple[CaseResult, ...]
    failed: tuple[FailedCase, ...]

    @property
    def profile(self) -> Profile:
        """The profile by which the set's cases are judged."""
        return profile_of(self.which)


def profile_of(which: EvaluationSet) -> Profile:
    """The profile by which a set's cases are judged; DICOM series tell their own."""
    return Profile.CTAC if which is EvaluationSet.CTAC else Profile.CHEST_CT


def evaluate_set(
    data: Path,
    which: EvaluationSet,
    models: Models,
    *,
    seed: int = 0,
    pictures: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate every case of a set below ``data``; ``seed`` fixes what is simulated.

    Raises:
        NoCases: there is none.
        UntrustedWeights: a model cannot be loaded; nothing could be evaluated.
        NoFold: a cross-validation was asked of a set without folds.
    """
    cases, controls = find_cases(data, which), find_controls(data, which)
    score = _Scorer(which=which, models=models, seed=seed, pictures=pictures, progress=progress)
    found = dict(_evaluated([*cases, *controls], score))
    results = [outcome for case in (*cases, *controls) for outcome in found[case]]
    own = [outcome for case in cases for outcome in found[case]]
    beside = [outcome for case in controls for outcome in found[case]]
    return Evaluation(
        which=which,
        results=tuple(one for one in own if isinstance(one, CaseResult)),
        controls=tuple(one for one in beside if isinstance(one, CaseResult)),
        failed=tuple(one for one in results if isinstance(one, FailedCase)),
    )


_Outcome = CaseResult | FailedCase


def _evaluated(cases: Sequence[CaseFile], score: "_Scorer") -> Iterator[tuple[CaseFile, tuple[_Outcome, ...]]]:
    """Fold by fold, so that each model is loaded once."""
    ordered = sorted(cases, key=lambda case: -1 if case.fold is None else case.fold)
    for done, case in enumerate(ordered):
        if score.progress is not None:
            score.progress(case.name, done, len(ordered))
        try:
            yield case, tuple(score(case))
        except (UntrustedWeights, NoCases):
            raise
        except AnalysisError as error:
            yield case, (FailedCase(case=case.name, reason=str(error)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scorer:
    """Reads a case and scores the model that judges it."""

    which: EvaluationSet
    models: Models
    seed: int
    pictures: bool
    progress: Progress | None

    def __call__(self, case: CaseFile) -> Iterable[_Outcome]:
        if case.source is EvaluationSet.DICOM:
            return score_folder(case.path, self.models.of(case), picture=self.pictures, progress=self.progress)
        if case.source is EvaluationSet.LOBES:
            model = LobeModel.load(self.models.source.directory_for(case))
            return [score_lobes(case.name, read_lobes(case.path), model, picture=self.pictures)]
        if case.source is EvaluationSet.MEDSEG:
            return [
                score_slice(case.name, read_picture(case.path), self.models.of(case).lesions, picture=self.pictures)
            ]
        if case.source is EvaluationSet.SARS:
            return [score_block(case.name, read_pictures(case.path, case.images), self.models.of(case).lesions)]
        return [self._volume(case)]

    def _volume(self, case: CaseFile) -> CaseResult:
        is_control = case.source is EvaluationSet.LCTSC
        scan = read_lctsc(case.path) if is_control else read_covid20(case.path)
        look = None
        if self.which is EvaluationSet.CTAC:
            scan, look = simulate_ctac(case.name, scan, seed=self.seed)
        profile = profile_of(self.which)
        score = score_control if is_control else score_patient
        result = score(case.name, scan, self.models.of(case, profile), profile=profile, picture=self.pictures)
        if look is None:
            return result
        return CaseResult(
            case=result.case, figures={**result.figures, "simulated": look.document()}, picture=result.picture
        )
