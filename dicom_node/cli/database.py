"""``db``: bring the schema to this version, and copy the database while the node runs."""

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.copies import pack, unpack
from dicom_node.cli.invocation import Invocation, is_sqlite, sqlite_file
from dicom_node.cli.manual import epilog
from dicom_node.cli.options import Json
from dicom_node.cli.output import print_json, say

app = typer.Typer(no_args_is_help=True, help="The database: its schema and a copy of it.")


@app.command(epilog=epilog("lungsentry db upgrade"))
def upgrade(ctx: typer.Context, *, as_json: Json = False) -> None:
    """Make the database if there is none, and bring its schema to this version.

    The node may run meanwhile: what is said at the end tells whether processes of the earlier version go on.
    """
    settings = Invocation.of(ctx).settings()
    import db

    if is_sqlite(settings):
        sqlite_file(settings).parent.mkdir(parents=True, exist_ok=True)
        before = db.current_revision(settings.database_url) if sqlite_file(settings).exists() else None
    else:
        before = db.current_revision(settings.database_url)
    goes_on = db.upgrade(settings.database_url)
    now = db.current_revision(settings.database_url)
    if as_json:
        print_json({"before": before, "now": now, "earlier_version_goes_on": goes_on})
    elif before == now:
        say(f"the schema is up to date ({now})")
    else:
        say(f"the schema was {before or 'empty'} and is now {now}")
        if before is not None:
            told = (
                "go on; start them anew one after the other" if goes_on else "cannot go on: start all of them anew now"
            )
            say(f"processes of the earlier version {told}")


@app.command(epilog=epilog("lungsentry db backup /var/backups/lungsentry.tar"))
def backup(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(help="Where the copy goes; it must not exist.")]
) -> None:
    """Copy a SQLite database and the installed models, while the node runs. For PostgreSQL: says what copies it."""
    settings = Invocation.of(ctx).settings()
    pack(settings, file)
    say(f"copied to {file} ({file.stat().st_size / 1e6:.1f} MB); the instances in {settings.archive_dir} are not in it")


@app.command(epilog=epilog("lungsentry db restore /var/backups/lungsentry.tar"))
def restore(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A backup.")]
) -> None:
    """Put the database and the models of a backup back, where there are none. Stop the node before."""
    settings = Invocation.of(ctx).settings()
    unpack(settings, file)
    say(f"restored from {file}; `lungsentry verify --rebuild` indexes what was received since")
