"""The flagged list: what is asked for stands in the address, so that it can be kept, shared and loaded again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from alerts.alert import UNDECIDED, AlertState, Category
from analysis.findings import Profile, QualityLevel
from db import WorklistEntry, WorklistFilter, WorklistSort
from dicom_node.web.errors import NotThere
from dicom_node.web.identity import may_find
from dicom_node.web.lines import lines_of
from dicom_node.web.packs import pack_of
from dicom_node.web.pages.search import FOUND, searched
from dicom_node.web.templating import fragment, render
from dicom_node.web.visit import Visit, whole_number

__all__ = ["Query", "page", "picture", "preview"]

PAGE = 50
_DAY = timedelta(days=1)
_STATES: Mapping[str, tuple[str, frozenset[AlertState]]] = {
    "open": ("Open", UNDECIDED),
    "taken": ("Taken up", frozenset({AlertState.ACKNOWLEDGED})),
    "passed": ("Passed on", frozenset({AlertState.PASSED_ON})),
    "dismissed": ("Dismissed", frozenset({AlertState.DISMISSED})),
    "superseded": ("Superseded", frozenset({AlertState.SUPERSEDED})),
    "all": ("All", frozenset()),
}
_SPANS = {"1": "Last 24 hours", "7": "Last 7 days", "30": "Last 30 days", "": "Any time"}
_CHOICES: Mapping[str, Mapping[str, str]] = {
    "kind": {"": "Any kind", Profile.CHEST_CT.value: "Chest CT", Profile.CTAC.value: "CTAC"},
    "category": {"": "Any category", "1": "Category 1", "2": "Category 2", "3": "Category 3"},
    "incidental": {"": "Incidental or not", "yes": "Incidental", "no": "Asked for"},
    "quality": {
        "": "Any quality",
        QualityLevel.DIAGNOSTIC.value: "Diagnostic",
        QualityLevel.LIMITED.value: "Limited",
        QualityLevel.NOT_ANALYSABLE.value: "Not analysable",
    },
    "days": _SPANS,
}
_NAMES = ("state", *_CHOICES, "scanner", FOUND, "sort", "turned", "page")
_ORDERS: Mapping[WorklistSort, tuple[str, str]] = {
    WorklistSort.PRESSING: (
        "Most pressing first: overdue, then ACR category, then the earliest received",
        "Least pressing first: the reverse of overdue, ACR category, the earliest received",
    ),
    WorklistSort.DUE: ("Due first", "Due last"),
    WorklistSort.RAISED: ("Newest alert first", "Oldest alert first"),
    WorklistSort.RECEIVED: ("Last received first", "First received first"),
    WorklistSort.BURDEN: ("Largest share of opacity first", "Smallest share of opacity first"),
}
"""Each order in words, and turned round."""
_MOST_PAGE = 9999
_PICTURES = frozenset({"preview.jpg", "first.jpg", *(f"thumb-{number}.jpg" for number in range(5))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What the address asks for; what it cannot mean counts as not asked.

    ``text`` is what is searched for, ``people`` whether who asks may look for patients.
    """

    asked: Mapping[str, str]
    text: str = field(repr=False)
    people: bool

    @classmethod
    def of(cls, visit: Visit) -> "Query":
        """The query of an address."""
        given, text = visit.query, searched(visit)
        asked = {name: given.get(name, "").strip() for name in _NAMES}
        for name, choices in _CHOICES.items():
            if asked[name] not in choices:
                asked[name] = ""
        if asked["state"] not in _STATES:
            asked["state"] = "open"
        if asked["sort"] not in [sort.value for sort in WorklistSort]:
            asked["sort"] = WorklistSort.PRESSING.value
        if not text:
            asked[FOUND] = ""
        return cls(asked=asked, text=text, people=may_find(visit))

    @property
    def number(self) -> int:
        """The page, from 1 on."""
        return min(max(1, whole_number(self.asked["page"]) or 1), _MOST_PAGE)

    @property
    def sort(self) -> WorklistSort:
        """What comes first."""
        return WorklistSort(self.asked["sort"])

    @property
    def order(self) -> str:
        """What comes first, in words."""
        return _ORDERS[self.sort][self.turned]

    @property
    def turned(self) -> bool:
        """Whether what comes first comes last."""
        return self.asked["turned"] == "yes"

    def address(self, **changes: str | int) -> str:
        """The address with these changes; a change of anything but the page begins at the first."""
        values = {**self.asked, **({} if "page" in changes else {"page": ""}), **changes}
        defaults = {"state": "open", "sort": WorklistSort.PRESSING.value, "page": 1}
        kept = {name: value for name, value in values.items() if value and str(value) != str(defaults.get(name, ""))}
        return f"?{urlencode(kept)}" if kept else "?"

    def chosen(self, now: datetime) -> WorklistFilter:
        """The filter."""
        asked = self.asked
        return WorklistFilter(
            states=_STATES[asked["state"]][1],
            categories=frozenset({Category(asked["category"])}) if asked["category"] else frozenset(),
            incidental={"yes": True, "no": False}.get(asked["incidental"]),
            profile=Profile(asked["kind"]) if asked["kind"] else None,
            quality=QualityLevel(asked["quality"]) if asked["quality"] else None,
            calling_ae_title=asked["scanner"] or None,
            received_since=now - int(asked["days"]) * _DAY if asked["days"] else None,
            found=self.text or None,
            people=self.people,
        )


def page(visit: Visit) -> Response:
    """The list; for a script the lines alone."""
    query = Query.of(visit)
    now = visit.services.clock()
    after = visit.store.feed.last()  # before the rows are read: what comes meanwhile is told twice rather than never
    found = visit.store.worklist.page(
        query.chosen(now), sort=query.sort, reverse=query.turned, offset=(query.number - 1) * PAGE, limit=PAGE
    )
    states, overdue = visit.store.surroundings.alert_counts()
    counts = {key: sum(states[one] for one in chosen) for key, (_, chosen) in _STATES.items() if chosen}
    context: dict[str, Any] = {
        "after": after,
        "query": query,
        "lines": lines_of(visit, found.entries),
        "total": found.total,
        "pages": max(1, -(-found.total // PAGE)),
        "states": [(key, name, counts.get(key)) for key, (name, _) in _STATES.items()],
        "overdue": overdue,
        "day": visit.store.surroundings.day_counts(now - _DAY),
        "choices": _CHOICES,
        "scanners": visit.store.surroundings.scanners(),
    }
    if visit.request.headers.get("x-part") == "lines":
        return Response(fragment(visit, "lines.html", **context), media_type="text/html")
    return render(visit, "flagged.html", **context)


def preview(visit: Visit) -> Response:
    """The pane beside the list for one examination."""
    entry = _entry(visit)
    return render(visit, "preview.html", line=lines_of(visit, [entry])[0])


def picture(visit: Visit) -> Response:
    """A small picture of a flagged examination."""
    name = visit.request.path_params["name"]
    entry = _entry(visit)
    result = visit.store.results.get(entry.alert.result_id)
    pack = pack_of(visit.services, result) if result is not None else None
    content = pack.member(name) if pack is not None and name in _PICTURES else None
    if content is None:
        raise NotThere
    return Response(content, media_type="image/jpeg")


def _entry(visit: Visit) -> WorklistEntry:
    entry = visit.store.worklist.get(visit.number("alert"))
    if entry is None:
        raise NotThere("There is no such alert.")
    return entry
