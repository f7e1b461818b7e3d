"""``users``: who may sign in to the worklist, and ``audit``: what they did there."""

from __future__ import annotations

import csv
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.failures import CommandError, UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Json, Limit, moment
from dicom_node.cli.output import iso_utc, print_json, print_table, say, text
from dicom_node.cli.roles import worklist_address
from dicom_node.cli.trail import record, recorded

if TYPE_CHECKING:
    from collections.abc import Collection

    from db import Store, User, UserRole
    from dicom_node.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Who may sign in to the worklist, and with which roles.")
audit = typer.Typer(no_args_is_help=True, help="What people did in the worklist: list, export.")

LINK_LIFETIME = timedelta(hours=24)
_COLUMNS = ("number", "time", "who", "action", "subject", "address", "detail")
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name; letter case counts.")]
_Roles = Annotated[
    list[str], typer.Option("--role", help="reader, administrator, scientist or auditor. Repeatable: roles add up.")
]
_REFUSED = {ExitCode.FAILED: "there is no such user, or nobody would be left to administer"}


@app.command("list", epilog=epilog("lungsentry users list --json"))
def list_(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List the users and their roles."""
    with Invocation.of(ctx).store() as store:
        users = store.users.list()
    if as_json:
        print_json({"users": [_document(one) for one in users]})
        return
    print_table(
        ("name", "roles", "since", "password", "may sign in"),
        [
            (
                one.name,
                ", ".join(sorted(one.roles)),
                text(one.created_at),
                "at the identity provider" if one.subject else "chosen" if one.password_hash else "not chosen yet",
                "yes" if one.disabled_at is None else f"no, since {text(one.disabled_at)}",
            )
            for one in users
        ],
        empty="there is no user: `lungsentry users add NAME --role reader` adds one",
    )


@app.command(epilog=epilog("lungsentry users add rita --role reader", codes={ExitCode.FAILED: "the name is taken"}))
def add(ctx: typer.Context, name: _Name, *, role: _Roles) -> None:
    """Add a user, and print the link with which the user chooses a password. It works once, for a day."""
    roles = _roles(role)
    invocation = Invocation.of(ctx)
    with invocation.store() as store:
        with recorded(store, "user added", name, ", ".join(sorted(roles))):
            store.users.add(name, roles)
        say(_new_link(store, invocation.settings(), name))


@app.command(epilog=epilog("lungsentry users link rita", codes=_REFUSED))
def link(ctx: typer.Context, name: _Name) -> None:
    """Print a new link with which the user chooses another password; older links of the user work no more."""
    invocation = Invocation.of(ctx)
    with invocation.store() as store:
        with recorded(store, "link made", name):
            made = _new_link(store, invocation.settings(), name)
        say(made)


@app.command(epilog=epilog("lungsentry users roles rita --role reader --role auditor", codes=_REFUSED))
def roles(ctx: typer.Context, name: _Name, *, role: _Roles) -> None:
    """Give a user these roles and no others."""
    wanted = _roles(role)
    told = ", ".join(sorted(wanted))
    with Invocation.of(ctx).store() as store, recorded(store, "roles set", name, told):
        store.users.set_roles(name, wanted)
    say(f"{name}: {told}")


@app.command(epilog=epilog("lungsentry users disable rita", codes=_REFUSED))
def disable(ctx: typer.Context, name: _Name) -> None:
    """Let a user sign in no more; what is open ends at once."""
    with Invocation.of(ctx).store() as store, recorded(store, "user disabled", name):
        store.users.set_enabled(name, enabled=False)
    say(f"{name} cannot sign in any more")


@app.command(epilog=epilog("lungsentry users enable rita", codes=_REFUSED))
def enable(ctx: typer.Context, name: _Name) -> None:
    """Let a user sign in again."""
    with Invocation.of(ctx).store() as store, recorded(store, "user enabled", name):
        store.users.set_enabled(name, enabled=True)
    say(f"{name} can sign in")


@audit.command("list", epilog=epilog("lungsentry audit list --who rita", "lungsentry audit list --since 7d --json"))
def list_audit(
    ctx: typer.Context,
    *,
    who: Annotated[str, typer.Option(help="Only what this user did.")] = "",
    action: Annotated[str, typer.Option(help='Only this, such as "signed in" or "revealed".')] = "",
    since: Annotated[str | None, typer.Option(help="Since a time, or so long ago (12h, 7d).")] = None,
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List what people did, the newest first."""
    with Invocation.of(ctx).store() as store:
        entries = store.audit.list(who=who, action=action, since=moment(since), limit=limit)
    if as_json:
        print_json({"audit": entries})
        return
    print_table(
        _COLUMNS,
        [(str(one.id), text(one.at), one.who, one.action, one.subject, one.address, one.detail) for one in entries],
        numeric=("number",),
        empty="no entry",
    )


@audit.command("export", epilog=epilog("lungsentry audit export --since 30d > audit.csv"))
def export_audit(
    ctx: typer.Context,
    *,
    since: Annotated[str | None, typer.Option(help="Since a time, or so long ago (12h, 7d).")] = None,
) -> None:
    """Write every entry to standard output as CSV, in order, times in UTC."""
    from dicom_node.export.cells import cells

    lines = csv.writer(sys.stdout)
    with Invocation.of(ctx).store() as store:
        record(store, "audit exported")
        lines.writerow(_COLUMNS)
        for one in store.audit.export(since=moment(since)):
            told = (one.id, iso_utc(one.at), one.who, one.action, one.subject, one.address, one.detail)
            lines.writerow(cells(told))


def new_link(store: Store, name: str, address: str, *, asks_password: bool = True) -> str:
    """A link to the worklist at this address that works once."""
    from dicom_node.secret import digest, new_token

    token = new_token()
    store.users.add_link(name, key=digest(token), lifetime=LINK_LIFETIME, asks_password=asks_password)
    return f"{address}/join/{token}"


def _new_link(store: Store, settings: Settings, name: str) -> str:
    web = settings.web
    if web.port is None and not web.public_url:
        raise CommandError("there is no worklist: set web.port in the settings, then `lungsentry users link` the user")
    return new_link(store, name, worklist_address(settings, web.port or 0))


def _roles(given: Collection[str]) -> frozenset[UserRole]:
    from db import UserRole

    known = [role.value for role in UserRole]
    for name in given:
        if name not in known:
            raise UsageError(f"there is no role {name!r}; roles are {', '.join(known)}")
    return frozenset(UserRole(name) for name in given)


def _document(user: User) -> dict[str, object]:
    return {
        "name": user.name,
        "roles": sorted(user.roles),
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
        "has_password": user.password_hash is not None,
        "at_identity_provider": user.subject is not None,
    }
