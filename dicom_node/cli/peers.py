"""``peers``: who may send to the node, who was refused, and the command that would let them in."""

from __future__ import annotations

import ipaddress
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.failures import CommandError, UsageError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import ExitCode, epilog
from dicom_node.cli.options import Json, this_user
from dicom_node.cli.output import plain, print_json, print_table, say, text
from dicom_node.cli.trail import recorded

if TYPE_CHECKING:
    from db import RefusedAssociation

app = typer.Typer(no_args_is_help=True, help="Who may send to the node. Unknown peers are refused, and listed here.")

_MOST_AE_TITLE = 16
_AeTitle = Annotated[str, typer.Argument(metavar="AE_TITLE", help="The peer's (calling) AE title, letter case counts.")]
_CalledAe = Annotated[
    str | None, typer.Option("--called", metavar="AE_TITLE", help="The AE title it calls, if not the node's.")
]


@app.command("list", epilog=epilog("lungsentry peers list --json"))
def list_(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List the peers that may send."""
    with Invocation.of(ctx).store() as store:
        peers = store.peers.list()
    if as_json:
        print_json({"peers": peers})
        return
    print_table(
        ("AE title", "calls", "from", "listens on", "role"),
        [
            (
                peer.ae_title,
                peer.called_ae_title or "the node's AE title",
                peer.cidr or "any address",
                f"{peer.host}:{peer.port}" if peer.host and peer.port else "-",
                text(peer.role),
            )
            for peer in peers
        ],
        empty="no peer is allowed: every association is refused. `lungsentry peers allow AE_TITLE` allows one",
    )


@app.command(
    epilog=epilog(
        "lungsentry peers allow CT1 --address 10.1.2.17",
        "lungsentry peers allow PACS --address 10.1.0.0/16 --host pacs.example.org --port 104",
    )
)
def allow(
    ctx: typer.Context,
    ae_title: _AeTitle,
    *,
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Only from this address or range (10.1.2.17, 10.1.2.0/24).")
    ] = None,
    called: _CalledAe = None,
    host: Annotated[str | None, typer.Option(help="Where it listens itself, for `echo` and `send`.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port it listens on.")] = None,
    role: Annotated[str, typer.Option(help="What it is, for your own list: scanner, pacs, router.")] = "scanner",
) -> None:
    """Let a peer send to the node; what was allowed for the same AE title and address before is replaced."""
    from db import Peer

    peer = Peer(
        ae_title=_checked_title(ae_title),
        called_ae_title=_checked_title(called) if called else None,
        cidr=_range(address),
        host=host,
        port=port,
        role=role,
    )
    invocation = Invocation.of(ctx)
    source = f"from {peer.cidr or 'any address'}"
    with invocation.store() as store, recorded(store, "peer allowed", peer.ae_title, source):
        store.peers.allow(peer, this_user())
    say(f"{peer.ae_title} may send to {peer.called_ae_title or invocation.settings().node.ae_title} {source}")


@app.command(epilog=epilog("lungsentry peers remove CT1", codes={ExitCode.FAILED: "there is no such peer"}))
def remove(ctx: typer.Context, ae_title: _AeTitle) -> None:
    """Refuse a peer from now on; associations that are open are not cut."""
    with Invocation.of(ctx).store() as store:
        if not any(peer.ae_title == ae_title for peer in store.peers.list()):
            raise CommandError(f"no peer {ae_title} is allowed; `lungsentry peers list` shows who is")
        with recorded(store, "peer removed", ae_title):
            store.peers.remove(ae_title, this_user())
    say(f"{ae_title} may no longer send")


@app.command(epilog=epilog("lungsentry peers refused"))
def refused(ctx: typer.Context, *, as_json: Json = False) -> None:
    """List who was refused, by AE title, address or TLS, why, and the command that would allow each."""
    invocation = Invocation.of(ctx)
    with invocation.store() as store:
        refusals = store.peers.refusals()
    own = invocation.settings().node.ae_title
    listed: list[dict[str, Any]] = [{**plain(one), "allow": allowing(one, own)} for one in refusals]
    if as_json:
        print_json({"refused": listed})
        return
    print_table(
        ("last", "times", "calling", "called", "address", "why"),
        [
            (
                text(one.last_at),
                str(one.count),
                text(one.calling_ae_title),
                text(one.called_ae_title),
                one.address,
                one.reason,
            )
            for one in refusals
        ],
        numeric=("times",),
        empty="nobody was refused",
    )
    commands = [one["allow"] for one in listed if one["allow"] is not None]
    if commands:
        say("To allow one of them, if you know the machine:")
        for command in dict.fromkeys(commands):
            say(f"  {command}")
    if len(commands) < len(listed):
        trusted = (invocation.settings().tls.certificates or Path("certificates")) / "trusted"
        say(
            "Who failed at TLS called the wrong port, or showed no trusted certificate. If you know the machine, "
            f"put the certificate of its authority, or its own, into {trusted} (*.pem): it counts at once."
        )


def allowing(refusal: RefusedAssociation, own_ae_title: str) -> str | None:
    """The one command that would have let this association in; None where it failed at TLS, before any AE title."""
    from dicom_node.peers.admission import BY_TLS

    if refusal.reason.startswith(BY_TLS):
        return None
    words = ["lungsentry", "peers", "allow", refusal.calling_ae_title, "--address", refusal.address]
    if refusal.called_ae_title != own_ae_title:
        words += ["--called", refusal.called_ae_title]
    return shlex.join(words)


def _checked_title(title: str) -> str:
    stripped = title.strip()
    if (
        not 1 <= len(stripped) <= _MOST_AE_TITLE
        or "\\" in stripped
        or not stripped.isascii()
        or not stripped.isprintable()
    ):
        raise UsageError(f"{title!r} is no AE title: 1 to {_MOST_AE_TITLE} ASCII characters, no backslash")
    return stripped


def _range(address: str | None) -> str | None:
    if address is None:
        return None
    from dicom_node.peers.admission import plain_address

    try:
        return str(ipaddress.ip_network(address if "/" in address else plain_address(address), strict=False))
    except ValueError as error:
        raise UsageError(f"{address!r} is no address or range: give 10.1.2.17 or 10.1.2.0/24") from error
