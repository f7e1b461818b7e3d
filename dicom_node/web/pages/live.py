"""The stream of events that keeps pages up to date: numbers only, nothing about a patient."""

from starlette.responses import Response, StreamingResponse

from dicom_node.web.errors import SignInFirst
from dicom_node.web.visit import Visit

__all__ = ["stream"]


def stream(visit: Visit) -> Response:
    """Events from where the browser left off."""
    if visit.session is None:
        raise SignInFirst
    last = visit.request.headers.get("last-event-id", "") or visit.query.get("after", "")
    after = int(last) if last.isdigit() and len(last) < 16 else None
    return StreamingResponse(
        visit.request.app.state.feed.frames(after, visit.session.key),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )
