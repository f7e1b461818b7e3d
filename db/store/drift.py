"""How results change: from week to week, as a scanner or a model drifts, and from one model to another."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import fmean, median

from sqlalchemy import select

from analysis.findings import Profile
from db.drift import ShadowAgreement, WeekOfResults
from db.rows import ResultRow, ShadowResultRow
from db.store.room import Room

__all__ = ["Drift"]

MOST_RESULTS = 5_000
"""The newest ones in force: the table grows, what is read of it does not."""
_FLAGGED = ResultRow.alert.is_not(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift(Room):
    """Results in sum."""

    def weeks(self, count: int) -> tuple[WeekOfResults, ...]:
        """The last weeks, the newest first, by profile: as far as the newest 5,000 results reach."""
        findings = ResultRow.findings
        statement = (
            select(
                ResultRow.created_at,
                findings["profile"].as_string(),
                ResultRow.burden_percent,
                findings["quality"]["noise_hu"].as_float(),
                findings["lesion_mean_hu"].as_float(),
                _FLAGGED,
            )
            .where(ResultRow.superseded_at.is_(None))
            .order_by(ResultRow.created_at.desc(), ResultRow.id.desc())
            .limit(MOST_RESULTS)
        )
        this_week = _monday(self.clock().date())
        found: dict[tuple[date, str], list[tuple[float, float | None, float | None, bool]]] = defaultdict(list)
        with self.database.read() as session:
            for at, profile, burden, noise, lesion, flagged in session.execute(statement):
                week = _monday(at.date())
                if week > this_week - timedelta(weeks=count):
                    found[week, profile].append((burden, noise, lesion, bool(flagged)))
        return tuple(_week(*key, found[key]) for key in sorted(found, key=lambda key: (-key[0].toordinal(), key[1])))

    def shadow(self, reference: str) -> ShadowAgreement:
        """How the model in shadow (name@version) agrees with the active one, on the newest 5,000 series of it."""
        name, _, version = reference.rpartition("@")
        statement = (
            select(ShadowResultRow.would_alert, _FLAGGED, ShadowResultRow.lesion_dice)
            .join(ResultRow, ResultRow.id == ShadowResultRow.result_id)
            .where(ShadowResultRow.model_name == name, ShadowResultRow.model_version == version)
            .order_by(ShadowResultRow.id.desc())
            .limit(MOST_RESULTS)
        )
        with self.database.read() as session:
            found = [(would, bool(does), dice) for would, does, dice in session.execute(statement)]
        judged = [(would, does) for would, does, _ in found if would is not None]
        dice = [value for _, _, value in found if value is not None]
        return ShadowAgreement(
            both=judged.count((True, True)),
            shadow_only=judged.count((True, False)),
            active_only=judged.count((False, True)),
            neither=judged.count((False, False)),
            failed=len(found) - len(judged),
            dice=fmean(dice) if dice else None,
        )


def _week(begun: date, profile: str, results: list[tuple[float, float | None, float | None, bool]]) -> WeekOfResults:
    burdens, noises, lesions, flags = zip(*results, strict=True)
    return WeekOfResults(
        begun=begun,
        profile=Profile(profile),
        count=len(results),
        flagged=sum(flags),
        burden_percent=median(burdens),
        noise_hu=_median(noises),
        lesion_hu=_median(lesions),
    )


def _median(values: tuple[float | None, ...]) -> float | None:
    told = [value for value in values if value is not None]
    return median(told) if told else None


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())
