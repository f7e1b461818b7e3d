"""Pages from templates: everything escaped, times in the reader's zone, figures as people write them."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from alerts.wording import RESEARCH_USE
from db import UserRole
from dicom_node.web.visit import Visit

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["fragment", "render"]

_DAY = timedelta(days=1)
_NOTHING, _MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
_NAVIGATION = (
    ("/", "Flagged", frozenset({UserRole.READER})),
    ("/series", "Examinations", frozenset({UserRole.READER, UserRole.ADMINISTRATOR, UserRole.SCIENTIST})),
    ("/node", "Node", frozenset({UserRole.ADMINISTRATOR})),
    ("/models", "Models", frozenset({UserRole.SCIENTIST, UserRole.ADMINISTRATOR})),
    ("/users", "Users", frozenset({UserRole.ADMINISTRATOR})),
    ("/audit", "Audit", frozenset({UserRole.AUDITOR})),
)


def render(visit: Visit, template: str, *, status: int = 200, **context: object) -> Response:
    """A page for this visit."""
    return HTMLResponse(fragment(visit, template, status=status, **context), status)


def fragment(visit: Visit, template: str, **context: object) -> str:
    """What the template makes for this visit."""
    return (
        _environment()
        .get_template(template)
        .render(
            visit=visit,
            user=visit.session.user if visit.session else None,
            csrf=visit.session.csrf_token if visit.session else "",
            navigation=[(path, name) for path, name, roles in _NAVIGATION if not roles.isdisjoint(visit.roles)],
            here=visit.request.url.path,
            theme=visit.preferences.get("theme", "dark"),
            research_use=RESEARCH_USE,
            zone=visit.zone,
            now=visit.services.clock(),
            **context,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dicom_node.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_filters())
    return environment


def _filters() -> dict[str, Any]:
    return {
        "number": number,
        "signed": signed,
        "when": _when,
        "clock": _clock,
        "span": span,
        "date": study_date,
    }


def number(value: float | None, decimals: int = 1) -> str:
    """A figure with thousands set apart; a dash where there is none."""
    return _NOTHING if value is None else f"{value:,.{decimals}f}"


def signed(value: float, decimals: int = 1) -> str:
    """A difference with its sign, a true minus."""
    rounded = round(value, decimals)
    return f"±{abs(rounded):.{decimals}f}" if rounded == 0 else f"{rounded:+.{decimals}f}".replace("-", _MINUS)


def span(seconds: float) -> str:
    """A time that has passed, or is left, in its two largest units."""
    minutes = int(abs(seconds) // 60)
    hours, days = minutes // 60, minutes // 1440
    if minutes < 1:
        return "under a minute"
    if hours < 1:
        return f"{minutes} min"
    if days < 1:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"


def study_date(date: str) -> str:
    """A date (DA) as people write it."""
    try:
        return datetime.strptime(date.strip(), "%Y%m%d").replace(tzinfo=UTC).strftime("%-d %b %Y")
    except ValueError:
        return date or "date unknown"


@pass_context
def _when(context: Context, moment: datetime | None) -> str | Markup:
    """A time in the reader's zone, as short as it can be told from today."""
    if moment is None:
        return _NOTHING
    zone: ZoneInfo = context["zone"]
    local, today = moment.astimezone(zone), context["now"].astimezone(zone)
    if local.date() == today.date():
        shown = local.strftime("%H:%M")
    elif abs(local.date() - today.date()) < 6 * _DAY:
        shown = local.strftime("%a %H:%M")
    elif local.year == today.year:
        shown = local.strftime("%-d %b %H:%M")
    else:
        shown = local.strftime("%-d %b %Y %H:%M")
    return _marked(moment, shown)


@pass_context
def _clock(context: Context, moment: datetime | None) -> str | Markup:
    """A time in the reader's zone in full."""
    return (
        _NOTHING
        if moment is None
        else _marked(moment, moment.astimezone(context["zone"]).strftime("%-d %b %Y %H:%M:%S"))
    )


def _marked(moment: datetime, shown: str) -> Markup:
    utc = moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}">{}</time>').format(utc, shown)
