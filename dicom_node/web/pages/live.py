"""The stream of events that keeps pages up to date: numbers only, nothing about a patient."""

from starlette.responses import Response, StreamingResponse

from dicom_node.web.errors import SignInFirst
from dicom_node.web.visit import Visit, whole_number

__all__ = ["stream"]


def stream(visit: Visit) -> Response:
    """Events from where the browser left off."""
    if visit.session is None:
        raise SignInFirst
    last = visit.request.headers.get("last-event-id", "") or visit.query.get("after", "")
    after = whole_number(last)
    return StreamingResponse(
        visit.request.app.state.feed.frames(after, visit.session.key),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )
