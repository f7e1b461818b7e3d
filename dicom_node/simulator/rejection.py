"""What a peer said when it rejected an association, and what to do about it (PS3.8 table 9-21)."""

__all__ = ["explain_rejection"]


def explain_rejection(reason: str, *, where: str, calling_ae_title: str, called_ae_title: str) -> str:
    """A sentence for the person who sends; ``where`` names the peer."""
    said = f"{where} rejected the association: {reason or 'no reason given'}"
    text = reason.casefold()
    if "called" in text:
        return f"{said}; {called_ae_title} is not the AE title it answers to (`lungsentry config show` there)"
    if "calling" in text:
        return (
            f"{said}; ask the node's administrator to run "
            f"`lungsentry peers allow {calling_ae_title} --address CIDR` with this machine's address "
            "(`lungsentry peers refused` there lists it)"
        )
    if "limit" in text or "congestion" in text:
        return f"{said}; it is busy, try again later"
    return f"{said}; `lungsentry peers refused` on the node says why"
