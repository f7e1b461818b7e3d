"""How models do in readers' eyes: verdicts, positive predictive value with its interval, agreement of a shadow."""

import csv
import io
from collections import defaultdict
from dataclasses import dataclass

from starlette.responses import Response

from analysis.findings import Profile
from db import LEAST_VERDICTS, ModelRole, Verdict
from db.feedback import wilson
from dicom_node.export.cells import cells
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit

__all__ = ["export", "page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Verdicts of one profile, model and scanner; ``ppv`` in percent with its interval, where there are enough."""

    profile: str
    model: str
    calling_ae_title: str
    there: int
    not_there: int
    unsure: int
    ppv: tuple[float, float, float] | None

    @property
    def count(self) -> int:
        """Verdicts that say yes or no."""
        return self.there + self.not_there


WEEKS = 12
"""How far drift is shown back."""


def page(visit: Visit) -> Response:
    """What is in use, what readers said, and how the shadow agrees."""
    store = visit.store
    assignments = store.models.assignments()
    shadows = [(model, store.drift.shadow(model.reference)) for model in assignments if model.role is ModelRole.SHADOW]
    return render(
        visit,
        "models.html",
        assignments=assignments,
        profiles=list(Profile),
        figures=figures(visit),
        least=LEAST_VERDICTS,
        shadows=shadows,
        weeks=store.drift.weeks(WEEKS),
    )


def figures(visit: Visit) -> list[Figure]:
    """The verdicts, by profile, model and scanner, and all together first."""
    counts: dict[tuple[str, str, str], dict[Verdict, int]] = defaultdict(lambda: dict.fromkeys(Verdict, 0))
    for one in visit.store.feedback.counts():
        counts[one.profile, f"{one.model_name} {one.model_version}", one.calling_ae_title][one.verdict] += one.count
        counts["all", "", ""][one.verdict] += one.count
    ordered = sorted(counts, key=lambda key: (key[0] != "all", key))
    return [_figure(key, counts[key]) for key in ordered]


def export(visit: Visit) -> Response:
    """The verdicts as a table for other programs: counts only."""
    visit.audit("verdicts exported")
    buffer = io.StringIO()
    lines = csv.writer(buffer)
    lines.writerow(("profile", "model", "scanner", "there", "not there", "unsure"))
    for one in figures(visit):
        lines.writerow(cells((one.profile, one.model, one.calling_ae_title, one.there, one.not_there, one.unsure)))
    return Response(
        buffer.getvalue(),
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="verdicts.csv"'},
    )


def _figure(key: tuple[str, str, str], verdicts: dict[Verdict, int]) -> Figure:
    there, not_there = verdicts[Verdict.THERE], verdicts[Verdict.NOT_THERE]
    count = there + not_there
    return Figure(
        profile=key[0],
        model=key[1],
        calling_ae_title=key[2],
        there=there,
        not_there=not_there,
        unsure=verdicts[Verdict.UNSURE],
        ppv=wilson(there, count) if count >= LEAST_VERDICTS else None,
    )
