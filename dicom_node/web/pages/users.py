"""Local users: who there is, with which roles; new ones get a link that works once."""

from starlette.responses import RedirectResponse, Response

from db import UserRole, is_user_name
from dicom_node.secret import digest, new_token
from dicom_node.web.errors import Conflict, NotThere, Unusable
from dicom_node.web.pages.sign_in import LINK_LIFETIME
from dicom_node.web.templating import render
from dicom_node.web.visit import Visit

__all__ = ["add", "new_link", "page", "set_enabled", "set_roles"]


def page(visit: Visit) -> Response:
    """Everybody."""
    return _page(visit)


def add(visit: Visit) -> Response:
    """A new user, and the link to choose a password with; it is shown once."""
    name = visit.form.get("name", "").strip()
    if not is_user_name(name):
        return _page(visit, error="A name is made of letters, digits and . _ @ + -, at most 64 of them.", status=400)
    roles = _roles(visit)
    try:
        with visit.deciding("user added", name, ", ".join(sorted(roles))):
            visit.store.users.add(name, roles)
    except Conflict as error:
        return _page(visit, error=str(error), status=409)
    return _link(visit, name)


def set_roles(visit: Visit) -> Response:
    """These roles and no others."""
    name, roles = _local(visit), _roles(visit)
    with visit.deciding("roles set", name, ", ".join(sorted(roles))):
        visit.store.users.set_roles(name, roles)
    return RedirectResponse("/users", 303)


def set_enabled(visit: Visit) -> Response:
    """Let a user sign in, or not any more."""
    name, enabled = _name(visit), visit.form.get("enabled") == "yes"
    with visit.deciding("user enabled" if enabled else "user disabled", name):
        visit.store.users.set_enabled(name, enabled=enabled)
    return RedirectResponse("/users", 303)


def new_link(visit: Visit) -> Response:
    """A new link for who has lost the password; the old password works until another is chosen."""
    name = _local(visit)
    visit.audit("link made", name)
    return _link(visit, name)


def base_address(visit: Visit) -> str:
    """What people type to come here."""
    return visit.services.web.public_url or str(visit.request.base_url).rstrip("/")


def _link(visit: Visit, name: str) -> Response:
    token = new_token()
    visit.store.users.add_link(name, key=digest(token), lifetime=LINK_LIFETIME, asks_password=True)
    return _page(visit, link=f"{base_address(visit)}/join/{token}", link_of=name)


def _name(visit: Visit) -> str:
    name = visit.request.path_params["name"]
    if not is_user_name(name) or visit.store.users.named(name) is None:
        raise NotThere
    return name


def _local(visit: Visit) -> str:
    """The name of a user who signs in here by password.

    Raises:
        Conflict: the user signs in at the identity provider, which says what the user may do.
    """
    name = _name(visit)
    user = visit.store.users.named(name)
    if user is not None and user.subject is not None:
        raise Conflict("This user's password and roles are those of the identity provider.")
    return name


def _roles(visit: Visit) -> frozenset[UserRole]:
    roles = frozenset(role for role in UserRole if f"role-{role.value}" in visit.form)
    if not roles:
        raise Unusable("A user needs a role.")
    return roles


def _page(visit: Visit, *, error: str = "", link: str = "", link_of: str = "", status: int = 200) -> Response:
    return render(
        visit,
        "users.html",
        status=status,
        users=visit.store.users.list(),
        roles=list(UserRole),
        error=error,
        link=link,
        link_of=link_of,
        link_hours=int(LINK_LIFETIME.total_seconds() // 3600),
    )
