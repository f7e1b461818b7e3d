"""The audit trail: who did what, when, and from where."""

import csv
import io
from collections.abc import Iterator

from starlette.responses import Response, StreamingResponse

from dicom_node.export.cells import cells
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit, whole_number

__all__ = ["export", "page"]

_ROWS = 100
_COLUMNS = ("number", "time", "who", "action", "subject", "address", "detail")


def page(visit: Visit) -> Response:
    """The newest entries; who and what narrow them."""
    before = visit.query.get("before", "")
    who, action = visit.query.get("who", "").strip(), visit.query.get("action", "").strip()
    entries = visit.store.audit.list(who=who, action=action, before=whole_number(before), limit=_ROWS + 1)
    more = entries[_ROWS - 1].id if len(entries) > _ROWS else None
    return render(visit, "audit.html", entries=entries[:_ROWS], who=who, action=action, more=more)


def export(visit: Visit) -> Response:
    """Every entry as a table for other programs."""
    visit.audit("audit exported")

    def lines() -> Iterator[str]:
        yield _line(_COLUMNS)
        for one in visit.store.audit.export():
            yield _line((str(one.id), one.at.isoformat(), one.who, one.action, one.subject, one.address, one.detail))

    return StreamingResponse(
        lines(), media_type="text/csv", headers={"Content-Disposition": 'attachment; filename="audit.csv"'}
    )


def _line(values: tuple[str, ...]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells(values))
    return buffer.getvalue()
