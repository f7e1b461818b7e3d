"""``config``: check, show and begin a settings file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_node.cli.failures import CommandError
from dicom_node.cli.invocation import Invocation
from dicom_node.cli.manual import epilog
from dicom_node.cli.output import print_fields, print_json, say

app = typer.Typer(no_args_is_help=True, help="Check, show and begin the settings.")

_DEFAULT_FILE = Path("lungsentry.toml")


@app.command(epilog=epilog("lungsentry --config /etc/lungsentry/lungsentry.toml config check"))
def check(ctx: typer.Context) -> None:
    """Read the settings as the node would, and say whether it could use them."""
    invocation = Invocation.of(ctx)
    invocation.settings()
    from dicom_node.settings import find_file

    file = find_file(invocation.config_file)
    say(
        f"ok: the settings of {file} can be used" if file else "ok: no settings file, the defaults are in force",
        style="green",
    )


@app.command(epilog=epilog("lungsentry config show", "lungsentry config show --json"))
def show(ctx: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show every setting in force, from the file, the environment and the defaults; passwords are hidden."""
    settings = Invocation.of(ctx).settings()
    from dicom_node.settings import shown

    values = shown(settings)
    if as_json:
        print_json(values)
    else:
        print_fields(dict(_flat(values)))


@app.command(epilog=epilog("lungsentry config init", "lungsentry config init /etc/lungsentry/lungsentry.toml"))
def init(
    file: Annotated[Path, typer.Argument(help="Where to write it.")] = _DEFAULT_FILE,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a settings file with every field, its default and what it is for."""
    from dicom_node.settings import document

    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(document())
    except FileExistsError as error:
        raise CommandError(f"{file} exists; --force replaces it") from error
    say(f"wrote {file}; edit it, then `lungsentry --config {file} config check`")


def _flat(values: dict[str, Any], above: str = "") -> list[tuple[str, object]]:
    fields: list[tuple[str, object]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            fields.extend(_flat(value, f"{above}{name}."))
        elif isinstance(value, list):
            fields.append((above + name, ", ".join(str(item) for item in value)))
        else:
            fields.append((above + name, value))
    return fields
