"""Signing in at the identity provider: there and back, and who comes back has the roles that it vouches for."""

from dataclasses import fields
from urllib.parse import parse_qs

from starlette.responses import RedirectResponse, Response

from db import StaleState, User, is_user_name
from dicom_node.secret import digest, same
from dicom_node.web import cookies
from dicom_node.web.errors import NotThere, Refused
from dicom_node.web.pages.sign_in import enter, own_path
from dicom_node.web.pages.users import base_address
from dicom_node.web.provider import Attempt, Person, Provider, ProviderRefused
from dicom_node.web.visit import Visit

__all__ = ["begin", "finish"]

_BACK = "/oidc/callback"
_ACTOR = "identity provider"


def begin(visit: Visit) -> Response:
    """On to the provider."""
    address, attempt = _provider(visit).begin(own_path(visit.query.get("next", "")), base_address(visit) + _BACK)
    response = RedirectResponse(address, 303)
    cookies.hold(response, visit.services, cookies.PROVIDER, attempt.as_text())
    return response


def finish(visit: Visit) -> Response:
    """Back from the provider: the answer fits what this browser asked for, or it counts for nothing."""
    provider, attempt = _provider(visit), _attempt(visit)
    if attempt is None or not same(visit.query.get("state", ""), attempt.state):
        raise ProviderRefused
    if "error" in visit.query or not visit.query.get("code"):
        raise ProviderRefused
    person = provider.finish(visit.query["code"], attempt, base_address(visit) + _BACK)
    user = _user(visit, person)
    visit.store.audit.record(who=user.name, action="signed in", address=visit.address, detail="at the provider")
    response = enter(visit, user, attempt.target)
    cookies.forget(response, visit.services, cookies.PROVIDER)
    return response


def _user(visit: Visit, person: Person) -> User:
    """The user of this person, new at the first sign-in, with the roles of now.

    Raises:
        Refused: the person has no role here, or may not sign in.
    """
    users = visit.store.users
    user = users.with_subject(person.subject)
    if user is not None and user.disabled_at is not None:
        raise Refused("You may not sign in here any more.")
    if not person.roles:
        raise Refused("Your account has no role here. An administrator of accounts can give it one.")
    if user is None:
        name = person.name
        if not is_user_name(name) or users.named(name) is not None:
            name = f"user-{digest(person.subject)[:12]}"
        user = users.add(name, person.roles, subject=person.subject)
        _audit(visit, "user added", user.name, person)
    elif user.roles != person.roles:
        try:
            user = users.set_roles(user.name, person.roles)
        except StaleState as error:
            raise Refused(str(error)) from error
        _audit(visit, "roles set", user.name, person)
    return user


def _audit(visit: Visit, action: str, name: str, person: Person) -> None:
    detail = ", ".join(sorted(person.roles))
    visit.store.audit.record(who=_ACTOR, action=action, subject=name, address=visit.address, detail=detail)


def _provider(visit: Visit) -> Provider:
    if visit.services.provider is None:
        raise NotThere
    return visit.services.provider


def _attempt(visit: Visit) -> Attempt | None:
    held = parse_qs(cookies.held(visit.request, visit.services, cookies.PROVIDER), keep_blank_values=True)
    names = [one.name for one in fields(Attempt)]
    return Attempt(**{name: held[name][0] for name in names}) if set(names) == set(held) else None
